//! What `bench run` prints: the plan, each record, and what several power limits gave.

use crate::base::text::count;
use crate::base::units::{Bytes, Watts};
use crate::base::{redact, sys};
use crate::record::{self, Record};
use crate::report::exchange::llama_bench_rows;
use crate::report::terminal;
use crate::run::plan::Plan;

use super::super::Output;
use super::{Limited, RunArgs};

/// The plan: all of it on stdout for `--dry-run`, else a line about how long it takes.
pub(super) fn plan(
    args: &RunArgs,
    plan: &Plan,
    available: Option<Bytes>,
    output: &Output,
) -> anyhow::Result<()> {
    match (args.dry_run, output.json || args.output.is_stdout()) {
        (true, true) => return output.stdout(&(record::write::to_json(plan)? + "\n")),
        (true, false) => return output.human(&terminal::render_plan(plan, available)),
        _ => {}
    }
    if let Some(estimate) = &plan.estimate {
        output.note(&estimate.to_string());
    }
    if output.verbose > 0 {
        output.note(terminal::render_plan(plan, available).trim_end());
    }
    Ok(())
}

/// Where a run's results go.
pub(super) struct Shown<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) output: &'a Output,
    pub(super) interrupt: &'a sys::Interrupt,
}

impl Shown<'_> {
    /// Whether stdout is for a machine.
    fn for_a_machine(&self) -> bool {
        self.output.json || self.args.output.is_stdout()
    }

    /// Text for people, on stderr if stdout is for a program, unless `-q` says less.
    fn human(&self, text: &str) -> anyhow::Result<()> {
        let text = redact::text(text);
        if !self.for_a_machine() {
            return self.output.stdout(&text);
        }
        if !self.output.quiet {
            eprint!("{text}");
        }
        Ok(())
    }

    /// Writes the record and prints it; says where it is.
    pub(super) fn publish(&self, record: &Record) -> anyhow::Result<String> {
        let style = self.output.human_style();
        let mut human = terminal::render(record, style);
        let written = self.args.output.keep(record);
        if let Ok(Some(path)) = &written {
            human = format!("{human}{} {}\n", style.strong("Record  "), path.display());
            human.push_str(&samples_note(record, style));
        }
        // A disk that is full must not take the figures along.
        self.human(&human)?;
        if self.for_a_machine() && self.args.output.rows().is_none() && self.args.power_limit.len() < 2 {
            self.output.stdout(&(record::write::to_json(record)? + "\n"))?;
        }
        Ok(written?.map_or_else(|| "the record on stdout".to_owned(), |path| path.display().to_string()))
    }

    /// llama-bench's rows when those were asked for. What several power limits gave: a table for people, one object for a
    /// machine.
    pub(super) fn summary(&self, records: &[Limited]) -> anyhow::Result<()> {
        if let Some(form) = self.args.output.rows() {
            let mut rows = Vec::new();
            for (_, record) in records {
                match llama_bench_rows(record) {
                    Ok(exported) => {
                        exported.notes(record).iter().for_each(|note| self.output.note(note));
                        rows.extend(exported.rows);
                    }
                    Err(error) => self.output.note(&error.to_string()),
                }
            }
            self.output.stdout(&form.text(&rows))?;
        }
        if self.args.power_limit.len() < 2 {
            return Ok(());
        }
        let swept: Vec<(Watts, &Record)> =
            records.iter().filter_map(|(limit, record)| Some(((*limit)?, record))).collect();
        if swept.len() > 1 && !self.output.quiet {
            self.human(&terminal::render_power_limits(&swept, self.output.human_style()))?;
        }
        if self.for_a_machine() && self.args.output.rows().is_none() {
            let records: Vec<&Record> = records.iter().map(|(_, record)| record).collect();
            let object = serde_json::json!({ "records": records });
            self.output.stdout(&(record::write::to_json(&object)? + "\n"))?;
        }
        Ok(())
    }
}

/// What the files called `samples-…` next to a record are, if there are any.
pub(in crate::cli) fn samples_note(record: &Record, style: terminal::Style) -> String {
    let lists = record::write::lists_beside(record);
    if lists == 0 {
        return String::new();
    }
    let most = record::write::INLINE_SAMPLES;
    let text =
        format!("{} of more than {most} raw samples in samples-….json next to it", count(lists, "list"));
    format!("         {}\n", style.dim(&text))
}
