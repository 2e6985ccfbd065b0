//! `bench run`: measure one model on this machine, write one record, print what it costs.
//!
//! The steps are those of [`session`]; here they are asked for, told to the user, and their results printed.

pub(super) mod flags;
mod serving;
mod settle;
pub(super) mod show;
mod steps;

use std::ffi::OsString;

use crate::base::sys;
use crate::base::text::count;
use crate::base::units::Watts;
use crate::catalog::{self, Catalog};
use crate::record::{Record, Verdict};
use crate::report::terminal::Bar;
use crate::run::session::{self, Measured, Session};

use super::{Output, exit};

use flags::RunArgs;
use serving::Load;
use show::Shown;
use steps::{announce, resolve};

pub(super) fn run(
    mut args: RunArgs,
    catalog: &dyn Fn() -> Result<Catalog, catalog::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    settle::settle(&mut args, output)?;
    match serving::is_asked(&args)? {
        Some(Load::OnAServer) => return serving::run(&args, catalog, output, argv),
        Some(Load::Here) => return serving::run_here(&args, catalog, output, argv),
        None => {}
    }
    let args = &args;
    let interrupt = sys::Interrupt::install()?;
    session::limit_threads(args.threads)?;
    let request = args.request(super::typed(argv))?;
    let catalog = catalog()?;
    let session = Session::begin(&request, &catalog, &interrupt)?;
    let chosen = session.model();
    announce(&session, &chosen, output);
    if !args.dry_run {
        args.output.probe()?;
    }

    let bar = output.bar();
    let resolved = resolve(&session, &chosen, args, &bar, output)?;
    let planned = session.plan(resolved)?;
    if !args.dry_run {
        planned.check_memory()?;
    }
    bar.spin("measuring the processors' peak performance");
    let estimated = planned.estimate();
    bar.clear();
    show::plan(args, estimated.plan(), session.place.available, output)?;
    if args.dry_run {
        estimated.check_memory()?;
        estimated.check_settings()?;
        return Ok(estimated.check_time()?);
    }
    estimated.check_time()?;

    bar.spin("reading the model's hash");
    let content = estimated.content();
    bar.clear();
    let mut ready = estimated.ready(content)?;
    let shown = Shown { args, output, interrupt: &interrupt };
    let (runs, mut records) = (ready.records(), Vec::new());
    let ended = each(runs, &shown, &mut records, &mut |number, bar| ready.measure(number, bar));
    // The GPU's settings are put back first.
    drop(ready);
    // What was measured is told also when a later power limit failed.
    shown.summary(&records)?;
    ended
}

/// A record, and the power limit under which it was measured.
type Limited = (Option<Watts>, Record);

/// Measures as many records as there are `runs`, keeps each and prints it; what came before an error is in `records`.
fn each(
    runs: usize,
    shown: &Shown<'_>,
    records: &mut Vec<Limited>,
    measure: &mut dyn FnMut(usize, &mut Bar) -> Result<Measured, session::Error>,
) -> anyhow::Result<()> {
    let mut worst = Ok(());
    for number in 0..runs {
        let Measured { record, power_limit, stopped, rows } = measure(number, &mut shown.output.bar())?;
        let kept = shown.publish(&record)?;
        let verdict = record.validity.verdict;
        records.push((power_limit, record));
        match stopped.map(|stopped| stopped.error) {
            Some(None) => return Err(exit::Silent(shown.interrupt.exit_code().unwrap_or(130)).into()),
            Some(Some(error)) => {
                let rows = count(rows, "row");
                return Err(
                    anyhow::Error::from(error).context(format!("{rows} measured before are kept in {kept}"))
                );
            }
            None if verdict == Verdict::Invalid => worst = Err(exit::Silent(12).into()),
            None => {}
        }
    }
    worst
}

#[cfg(test)]
mod failing;
#[cfg(test)]
mod tests;
