//! Steps of a session as the user meets them, for every kind of run.

use crate::cli::{Output, exit};
use crate::model;
use crate::model::resolve::Reach;
use crate::report::terminal::Bar;
use crate::run::session::{ModelChoice, Resolved, Session};

use super::flags::RunArgs;

/// Finds the model and fetches what has to be.
pub(in crate::cli) fn resolve(
    session: &Session<'_>,
    chosen: &ModelChoice,
    args: &RunArgs,
    bar: &Bar,
    output: &Output,
) -> anyhow::Result<Resolved> {
    let reach = if args.dry_run { Reach::Header } else { Reach::Weights };
    match session.resolve(&chosen.name, reach, bar) {
        Err(model::Error::Interrupted) => {
            bar.clear();
            output.note("interrupted; the partial download is kept, and the same command resumes it");
            Err(exit::Silent(session.interrupt.exit_code().unwrap_or(130)).into())
        }
        other => Ok(other?),
    }
}

/// The first lines: where it is measured, and what if no model was named.
pub(in crate::cli) fn announce(session: &Session<'_>, model: &ModelChoice, output: &Output) {
    if let Some(gpu) = &session.place.unused_gpu {
        output.note(&gpu.to_string());
    }
    if let Some(gpu) = &session.place.elsewhere {
        output.note(&format!(
            "no NVIDIA GPU here: this plan is for {} ({}) by its data sheet",
            gpu.name, gpu.id
        ));
    }
    if let Some(announcement) = &model.announcement {
        output.note(announcement);
    }
    if let Some(note) = session.sensors.as_ref().ok().and_then(|chosen| chosen.note.as_ref()) {
        output.note(note);
    }
}
