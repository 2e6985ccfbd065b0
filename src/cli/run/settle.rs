//! Checks and combines flags of `bench run` that depend on each other.

use std::path::Path;

use crate::base::failure::Usage;
use crate::report::exchange::RowForm;
use crate::run::plan::ranges;
use crate::run::session::Batch;

use super::super::Output;
use super::super::destination::Destination;
use super::RunArgs;

/// A larger batch than this may be llama-bench's `-b 2048`.
const LARGE_BATCH: u32 = 256;

/// Fills in what one flag says of another.
///
/// # Errors
/// [`Usage`] where they contradict each other.
pub(super) fn settle(args: &mut RunArgs, output: &Output) -> Result<(), Usage> {
    if args.model.is_none() {
        args.model = args.positional.take();
    }
    // `-p 512 1024`: the second number is no model.
    if let Some(number) =
        args.model.as_ref().filter(|name| ranges::parse(name).is_ok() && !Path::new(name).exists())
    {
        return Err(Usage::new(number, "not a model; a list is written with commas: `-p 512,1024`"));
    }
    let several = |name: &String| name.contains(',') && !Path::new(name).exists();
    if let Some(name) = args.model.as_ref().filter(|name| several(name)) {
        return Err(Usage::new(
            format!("--model {name}"),
            "a record covers one model. For several: `for m in A.gguf B.gguf; do bench run -m $m; done`, then `bench compare`",
        ));
    }
    if args.output.rows().is_some() {
        if output.json {
            return Err(Usage::new(
                "--json",
                "it prints the record, and `-o json`, `jsonl`, `csv` or `md` llama-bench's rows; leave one out",
            ));
        }
        if args.dry_run && args.output.rows() != Some(RowForm::Json) {
            return Err(Usage::new(
                "--output",
                "a plan has no rows; with --dry-run `-o json` prints the plan as JSON, and without -o it is text",
            ));
        }
        match args.batch {
            // llama-bench has one sequence at a time.
            None => args.batch = Some(Batch::These(vec![1])),
            Some(Batch::These(ref batches)) if batches == &[1] => {}
            Some(ref batch) => {
                return Err(Usage::new(
                    format!("--batch {batch}"),
                    "it is the number of parallel sequences, and llama-bench's rows have one; leave it out, or print the record with `--json`",
                ));
            }
        }
    }
    if let Some(Batch::These(batches)) = &args.batch
        && let Some(large) = batches.iter().find(|batch| **batch > LARGE_BATCH)
    {
        output.note(&format!(
            "--batch {large}: parallel sequences; llama-bench's -b, tokens per step, is chosen by the engine here"
        ));
    }
    if matches!(args.output, Destination::File(_)) && args.power_limit.len() > 1 {
        return Err(Usage::new("--output", "each power limit makes a record; give a folder"));
    }
    Ok(())
}
