//! All rows, one load after the other, or those that a search asks for.

use crate::base::clock;
use crate::base::event::{StepEvent, Tick};
use crate::base::failure::Usage;
use crate::base::requests::Ending;
use crate::hardware::telemetry::host::{self, HostWindow};
use crate::run::measure::serving;
use crate::workload::{self, Stopped};

use super::row::{Driven, Job, Length, Told, drive};
use super::search::{self, Search};
use super::{Error, Plan, PlannedRow};

/// All rows.
#[derive(Debug)]
pub struct Finished {
    /// Those that were driven, the last perhaps not to its end.
    pub rows: Vec<Driven>,
    /// Those for which there was no time left.
    pub left_out: Vec<PlannedRow>,
    /// What ended the run before its end.
    pub stopped: Option<Stopped>,
    /// What a search for a rate found, where one was asked for.
    pub search: Option<Search>,
    /// What happened on this machine meanwhile.
    pub host: HostWindow,
    /// Output tokens that the server generated meanwhile for all its clients, where it says so.
    pub generated: Option<f64>,
}

/// Drives every row on a server or an engine, or those that a search asks for.
///
/// # Errors
/// [`Error`] when no request was answered in any row, and for a load that cannot be driven at all.
pub fn run<E>(
    job: &Job<'_>,
    served_by: &mut dyn workload::Serving<Error = E>,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Finished, Error>
where
    Error: From<E>,
{
    let plan = job.plan;
    let generated_before = served_by.generated_tokens();
    let before = host::read();
    let begin = clock::now();
    let (mut rows, left_out, stopped, search) = match plan.find_share {
        None => {
            let (rows, left_out, stopped) = each(job, served_by, begin, tell)?;
            (rows, left_out, stopped, None)
        }
        Some(share) => {
            let (rows, stopped, search) = search::rates(job, share, served_by, tell)?;
            (rows, Vec::new(), stopped, Some(search))
        }
    };
    let answered = |row: &Driven| row.serving.counts.endings.contains_key(&Ending::Completed);
    if !rows.iter().any(answered) {
        return Err(match stopped {
            Some(Stopped::Interrupted) => Error::Interrupted,
            Some(Stopped::NoAnswers { last, .. } | Stopped::EngineFailed(last)) => Error::Failed(last),
            _ => nothing_in_time(&rows),
        });
    }
    share_time_out(&mut rows);
    let host = host::between(&before, &host::read());
    let generated_after = generated_before.and_then(|_| served_by.generated_tokens());
    let generated = generated_before.zip(generated_after).map(|(before, after)| after - before);
    Ok(Finished { rows, left_out, stopped, search, host, generated })
}

/// Rows that were driven, those for which no time was left, and what ended them before their end.
type Rows = (Vec<Driven>, Vec<PlannedRow>, Option<Stopped>);

/// Drives the planned rows, one after the other.
fn each<E>(
    job: &Job<'_>,
    served_by: &mut dyn workload::Serving<Error = E>,
    begin: Tick,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Rows, Error>
where
    Error: From<E>,
{
    let plan = job.plan;
    let (mut rows, mut left_out, mut stopped) = (Vec::new(), Vec::new(), None);
    for (number, row) in plan.rows.iter().enumerate() {
        let share = plan.share(clock::now().since(begin), plan.rows.len() - number);
        if stopped.is_some() || Plan::is_too_short(share) {
            left_out.push(row.clone());
            continue;
        }
        tell(Told::Begins { row, number: (number, plan.rows.len()), time: share });
        let length = Length { time: share, requests: plan.num_prompts };
        let (driven, end) = drive(job, served_by, row, number, length)?;
        tell(Told::Over(&driven));
        rows.push(driven);
        stopped = end;
    }
    Ok((rows, left_out, stopped))
}

/// Why there is no figure at all although the server answers.
fn nothing_in_time(rows: &[Driven]) -> Error {
    let failed = rows.iter().flat_map(|row| &row.stats.failures).next();
    match failed {
        Some((.., failure)) => Error::Failed(failure.clone()),
        None => Usage::new(
            "--max-time",
            "no request was answered within it; give more time, or shorter answers with -n",
        )
        .into(),
    }
}

/// Splits the time of each row whose steps were seen between input and output, by what they take alone in rows of the same
/// lengths.
fn share_time_out(rows: &mut [Driven]) {
    let lengths = |row: &Driven| (row.row.prompt_tokens, row.row.output_tokens);
    for index in 0..rows.len() {
        let alike = rows.iter().filter(|row| lengths(row) == lengths(&rows[index]));
        let steps: Vec<&[StepEvent]> =
            alike.filter_map(|row| row.work.as_ref()).map(|work| &work.steps[..]).collect();
        let row = &rows[index];
        let Some(work) = &row.work else { continue };
        let figures = serving::shared_out(&row.serving, work, &steps);
        rows[index].serving.figures.extend(figures);
    }
}
