//! `bench regress`: a verdict on two programs or on existing records, and the history of a folder.

mod gate;
mod history;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::base::text::count;
use crate::base::{clock, env, redact};
use crate::catalog::{self as rows, Catalog};
use crate::record::{self, Record};
use crate::regress::gate::{self as decide, GateResult, Margin, Margins, Verdict};
use crate::regress::micro;
use crate::regress::store;
use crate::report::exchange::{self, ImportError, Options};
use crate::report::{ci, terminal};

use super::values::share::tolerance;
use super::{Output, exit};

/// `bench regress`.
#[derive(Debug, Args)]
pub(super) struct RegressArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run two programs, or any two commands, alternately on this machine: FAIL (exit 10), PASS (0), INCONCLUSIVE
    /// (11) or INCOMPARABLE (12)
    Gate(gate::GateArgs),
    /// The gate's verdict from existing records
    Check(CheckArgs),
    /// Find where a folder's figures changed, and between which commits; exit 10 on an unacknowledged slowdown, 11 if
    /// there are too few points to tell
    History(history::HistoryArgs),
    /// Upload a folder's records and gates to an object store; never overwrites anything
    Push(PushArgs),
    /// Store criterion's results in a folder of records, so that they get a history
    Criterion(CriterionArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Baseline and candidate, each a folder of records or of another tool's results, or a file of several runs; a
    /// gate's folder has both
    #[arg(value_name = "PATH", num_args = 1..=2, required_unless_present_any = ["baseline", "candidate"])]
    folders: Vec<PathBuf>,
    /// Records of the baseline, or a folder of them
    #[arg(long, value_name = "RECORD", num_args = 1.., requires = "candidate", conflicts_with = "folders")]
    baseline: Vec<PathBuf>,
    /// Records of the candidate, paired in order with the baseline's
    #[arg(long, value_name = "RECORD", num_args = 1.., requires = "baseline", conflicts_with = "folders")]
    candidate: Vec<PathBuf>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    exports: Exports,
}

#[derive(Debug, Args)]
struct PushArgs {
    /// Folder of records and gates
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Destination: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `file:///…`
    #[arg(value_name = "URL", value_parser = url)]
    url: String,
}

#[derive(Debug, Args)]
struct CriterionArgs {
    /// Folder of criterion's results
    #[arg(value_name = "DIR", default_value = "target/criterion")]
    folder: PathBuf,
    /// Folder of records and gates
    #[arg(long, value_name = "DIR", default_value = "results")]
    store: PathBuf,
    /// Label of the measured program, such as its commit
    #[arg(long, value_name = "TEXT")]
    label: String,
}

fn url(text: &str) -> Result<String, String> {
    let way_out = || format!("`{text}` is not a URL; write s3://BUCKET/PREFIX, gs://…, az://… or file:///…");
    store::url::is_url(text).then(|| text.to_owned()).ok_or_else(way_out)
}

/// The result for other programs, each a file.
#[derive(Debug, Args)]
#[command(next_help_heading = "For CI")]
struct Exports {
    /// Append Markdown for a comment or `$GITHUB_STEP_SUMMARY`
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print `::error` and `::warning` lines for GitHub
    #[arg(long)]
    annotations: bool,
    /// Write `JUnit` XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write Bencher's metric format
    #[arg(long, value_name = "FILE")]
    bencher: Option<PathBuf>,
    /// Write Prometheus' text format
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
}

impl Exports {
    fn write(&self, result: &GateResult, output: &Output) -> anyhow::Result<()> {
        let written = |flag: &'static str, path: &Path, done: std::io::Result<()>| {
            done.map_err(|source| record::Error::WriteTo { flag, path: path.to_owned(), source })
        };
        if let Some(path) = &self.markdown {
            let mut open = std::fs::File::options().create(true).append(true).open(path);
            written(
                "--markdown",
                path,
                open.as_mut()
                    .map_err(|error| std::io::Error::new(error.kind(), error.to_string()))
                    .and_then(|file| file.write_all(ci::markdown(result).as_bytes())),
            )?;
        }
        for (flag, path, text) in [
            ("--junit", &self.junit, ci::junit(result)),
            ("--bencher", &self.bencher, record::write::to_json(&ci::bencher(result))? + "\n"),
            ("--prometheus", &self.prometheus, ci::prometheus(result)),
        ] {
            if let Some(path) = path {
                written(flag, path, std::fs::write(path, text))?;
            }
        }
        if self.annotations {
            output.human(&ci::annotations(result))?;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Rules {
    /// Slowdown to tolerate in prefill and decode throughput
    #[arg(long, value_name = "SHARE", value_parser = tolerance, allow_hyphen_values = true, default_value = "3%")]
    margin: f64,
    /// The same for time to first token, time per output token and joules per token
    #[arg(long, value_name = "SHARE", value_parser = tolerance, allow_hyphen_values = true, default_value = "5%")]
    margin_times: f64,
    /// Chance of a false verdict at each look
    #[arg(long, value_name = "SHARE", value_parser = tolerance, allow_hyphen_values = true, default_value = "2%")]
    alpha: f64,
}

impl Rules {
    fn margins(&self) -> Margins {
        Margins { throughput: Margin(self.margin), others: Margin(self.margin_times) }
    }
}

pub(super) fn run(
    args: RegressArgs,
    catalog: &dyn Fn() -> Result<Catalog, rows::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    match args.what {
        What::Gate(args) => gate::run(args, &catalog()?, output, argv),
        What::Check(args) => {
            let margins = args.rules.margins();
            let [a, b] = match &args.folders[..] {
                [] => [&args.baseline[..], &args.candidate[..]],
                [both] => [std::slice::from_ref(both); 2],
                [a, b, ..] => [a, b].map(std::slice::from_ref),
            };
            decide::distinct_inputs(a, b)?;
            let catalog = catalog()?;
            let read = reader(&catalog, argv);
            let result = decide::check(a, b, &margins, args.rules.alpha, &read)?;
            args.exports.write(&result, output)?;
            publish(&result, output)
        }
        What::History(args) => history::run(&args, output),
        What::Push(args) => {
            let moved = store::url::push(&args.folder, &args.url, env::object_store())?;
            output.note(&format!("{} uploaded, {} already there", count(moved.copied, "file"), moved.there));
            Ok(())
        }
        What::Criterion(args) => {
            let micro = micro::read(&args.folder, &redact::text(&args.label))?;
            let (path, new) = micro::keep(&micro, &args.store)?;
            let word = if new { "written to" } else { "already stored as" };
            output.note(&format!(
                "{} of {}, {word} {}",
                count(micro.points.len(), "benchmark"),
                micro.label,
                path.display()
            ));
            Ok(())
        }
    }
}

/// A record, or what another tool wrote, which becomes records.
fn reader<'a>(
    catalog: &'a Catalog,
    argv: &[OsString],
) -> impl Fn(&Path, Vec<u8>) -> Result<Vec<Record>, String> + use<'a> {
    /// What a gate compares is the same on both sides, named or not.
    const UNNAMED: &str = "hf:unnamed";
    let argv: Vec<String> = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    move |path, bytes| {
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(BEGIN)]);
        if begin.contains("\"infercost.record/") {
            let parsed = record::read::parse(&String::from_utf8_lossy(&bytes));
            return parsed
                .map(|record| vec![record])
                .map_err(|reason| record::Error::Unreadable { path: path.to_owned(), reason }.to_string());
        }
        let import = |model| {
            let options = Options {
                format: None,
                model,
                gpu: None,
                gpus: None,
                price_per_hour: None,
                catalog,
                today: clock::today(),
                now: clock::wall(),
                argv: &argv,
            };
            exchange::import_from(path, &bytes[..], &options)
        };
        match import(None) {
            Err(ImportError::File(exchange::Error::NoModel { .. })) => import(Some(UNNAMED)),
            done => done,
        }
        .map_err(|error| match error {
            // Nothing here takes the name of a format.
            ImportError::File(exchange::Error::Unrecognised { path, seen, known }) => {
                format!("{}: {seen}; supported: {known}, and records of infercost", path.display())
            }
            other => other.to_string(),
        })
    }
}

/// A record says what it is in its first bytes.
const BEGIN: usize = 1024;

fn publish(result: &GateResult, output: &Output) -> anyhow::Result<()> {
    if output.json {
        output.stdout(&(record::write::to_json(result)? + "\n"))?;
    } else {
        output.human(&terminal::render_gate(result, output.human_style()))?;
        if let Some(folder) = &result.folder {
            output.human(&format!("{}\n", folder.display()))?;
        }
    }
    match result.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Fail => Err(exit::Silent(10).into()),
        Verdict::Inconclusive => Err(exit::Silent(11).into()),
        Verdict::Incomparable => {
            if output.json {
                let reason = result.reason.as_deref().unwrap_or("no reason");
                output.note(&format!("incomparable: {reason}"));
            }
            Err(exit::Silent(12).into())
        }
    }
}
