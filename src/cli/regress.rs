//! `bench regress`: two programs side by side, or records that are there already, and a verdict.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Subcommand};

use crate::base::stats::ChangeRules;
use crate::base::text::{self, count, printable};
use crate::base::units::Seconds;
use crate::base::{clock, env, redact, sys};
use crate::catalog::{self as rows, Catalog};
use crate::record::{self, Record};
use crate::regress::Error;
use crate::regress::gate::{
    self, Decision, Gate, GateResult, Looks, Margin, Margins, Observer, Side, Verdict,
};
use crate::regress::history::{self, Acknowledged, Line};
use crate::regress::last_gate::last_gate;
use crate::regress::micro;
use crate::regress::store::url::Moved;
use crate::regress::store::{self, Point, Series, Store, Synced};
use crate::report::exchange::{self, ImportError, Options};
use crate::report::{ci, terminal};
use crate::run::session::SMALL_MODEL;

use super::destination::folder;
use super::values::share::tolerance;
use super::values::time::{time, time_or_none};
use super::{Output, exit, usage};

/// `bench regress`.
#[derive(Debug, Args)]
pub(super) struct RegressArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run two programs, or any two commands, in turn on this box: FAIL (exit 10), PASS (0), INCONCLUSIVE (11) or INCOMPARABLE (12)
    Gate(GateArgs),
    /// The same verdict from records that are there already
    Check(CheckArgs),
    /// Where the figures of a folder of records moved, and between which commits; exit 10 on an unacknowledged slowdown, 11
    /// when there are too few points to tell
    History(HistoryArgs),
    /// Put a folder's records and gates into an object store; nothing there is overwritten
    Push(PushArgs),
    /// Take criterion's results into a folder of records, so that they have a history
    Criterion(CriterionArgs),
}

#[derive(Debug, Args)]
struct GateArgs {
    /// Baseline command, whose result `bench import` reads: llama-bench, `vllm bench serve`, `bench run --json -o -`
    #[arg(long, value_name = "CMD", requires = "candidate_command", conflicts_with_all = ["baseline", "candidate"], help_heading = "Two commands")]
    baseline_command: Option<String>,
    /// Candidate command
    #[arg(long, value_name = "CMD", requires = "baseline_command", conflicts_with_all = ["baseline", "candidate"], help_heading = "Two commands")]
    candidate_command: Option<String>,
    /// The file that the commands write their result into [default: their stdout]
    #[arg(long, value_name = "FILE", requires = "baseline_command", help_heading = "Two commands")]
    result: Option<PathBuf>,
    /// Baseline server; both get the load of `bench run --url` given after `--`, in turn
    #[arg(long, value_name = "URL", requires = "candidate_url", conflicts_with_all = ["baseline", "candidate", "baseline_command"], help_heading = "Two servers")]
    baseline_url: Option<String>,
    /// Candidate server
    #[arg(long, value_name = "URL", requires = "baseline_url", conflicts_with_all = ["baseline", "candidate", "candidate_command"], help_heading = "Two servers")]
    candidate_url: Option<String>,
    /// Baseline executable: the last release
    #[arg(long, value_name = "BENCH", required_unless_present_any = ["baseline_command", "baseline_url"], requires = "candidate", help_heading = "Two builds of bench")]
    baseline: Option<PathBuf>,
    /// Candidate executable
    #[arg(long, value_name = "BENCH", required_unless_present_any = ["candidate_command", "candidate_url"], requires = "baseline", help_heading = "Two builds of bench")]
    candidate: Option<PathBuf>,
    /// `--max-time 3s` for both executables: replicates of some 5 s with a small model
    #[arg(long, conflicts_with_all = ["baseline_command", "baseline_url"], help_heading = "Two builds of bench")]
    quick: bool,
    /// Pairs at the first look
    #[arg(long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..), allow_negative_numbers = true)]
    pairs: u16,
    /// Pairs at the second look, taken if the first is inconclusive [default: twice --pairs]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(2..), allow_negative_numbers = true)]
    max_pairs: Option<u16>,
    /// Time limit of one replicate; its process group is then killed, and the replicate retried once
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10m")]
    timeout: Seconds,
    /// Total time to wait for a quiet machine and repeat disturbed replicates; those still disturbed are kept and widen
    /// the interval
    #[arg(long, value_name = "TIME", value_parser = time_or_none, default_value = "3m")]
    patience: Seconds,
    #[command(flatten)]
    rules: Rules,
    /// Label of the candidate in histories [default: its commit]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Folder for gates
    #[arg(short, long, value_name = "DIR", default_value = "results/gates", value_parser = OsStringValueParser::new().try_map(folder))]
    output: PathBuf,
    #[command(flatten)]
    exports: Exports,
    /// Arguments of `bench run` for both builds or servers [default: --model synthetic:smollm2-135m:q4_0; for two servers
    /// --max-concurrency 16 --max-time 20s]
    #[arg(last = true, value_name = "RUN ARGUMENTS", conflicts_with = "baseline_command")]
    run: Vec<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Baseline and candidate, each a folder of records or of another tool's results, or a file of several runs; one
    /// gate's folder has both
    #[arg(value_name = "PATH", num_args = 1..=2, required_unless_present_any = ["baseline", "candidate"])]
    folders: Vec<PathBuf>,
    /// Records of the baseline, or a folder of them
    #[arg(long, value_name = "RECORD", num_args = 1.., requires = "candidate", conflicts_with = "folders")]
    baseline: Vec<PathBuf>,
    /// Records of the candidate, the first to be compared with the baseline's first, and so on
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
    /// Where to: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `file:///…`
    #[arg(value_name = "URL", value_parser = url)]
    url: String,
}

#[derive(Debug, Args)]
struct CriterionArgs {
    /// Where criterion left them
    #[arg(value_name = "DIR", default_value = "target/criterion")]
    folder: PathBuf,
    /// Folder of records and gates
    #[arg(long, value_name = "DIR", default_value = "results")]
    store: PathBuf,
    /// The program in a word: its commit
    #[arg(long, value_name = "TEXT")]
    label: String,
}

fn url(text: &str) -> Result<String, String> {
    let way_out = || format!("`{text}` is no URL; write s3://BUCKET/PREFIX, gs://…, az://… or file:///…");
    store::url::is_url(text).then(|| text.to_owned()).ok_or_else(way_out)
}

#[derive(Debug, Args)]
struct HistoryArgs {
    /// Folder of records and gates, or the URL of an object store
    #[arg(value_name = "DIR", default_value = "results")]
    folder: PathBuf,
    /// Only metrics whose name contains this
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Only the series whose key begins so
    #[arg(long, value_name = "KEY")]
    series: Option<String>,
    /// Series with fewer points have no line
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    least_points: u16,
    /// Note that the change that begins with this commit is known; with --metric of that metric alone
    #[arg(long, value_name = "COMMIT")]
    acknowledge: Option<String>,
    /// What is known of it
    #[arg(long, value_name = "TEXT", requires = "acknowledge")]
    note: Option<String>,
    /// Read every file again
    #[arg(long)]
    reindex: bool,
    /// Write the history as one page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl HistoryArgs {
    /// Whether a series is one of those that were named.
    fn named(&self, series: &Series) -> bool {
        self.metric.as_ref().is_none_or(|part| series.metric.contains(part.as_str()))
            && self.series.as_ref().is_none_or(|key| series.key.starts_with(key.as_str()))
    }

    fn wants(&self, series: &Series) -> bool {
        series.points >= usize::from(self.least_points) && self.named(series)
    }

    /// Why of these series none has a line, which is no all-clear.
    fn nothing(&self, all: &[Series]) -> String {
        let most = all.iter().filter(|series| self.named(series)).map(|series| series.points).max();
        match most {
            _ if all.is_empty() => {
                "there are no records here that a history could be made of; bench run, bench regress gate and bench regress criterion write them".to_owned()
            }
            None => {
                let metric = self.metric.iter().map(|value| format!("--metric {value}"));
                let series = self.series.iter().map(|value| format!("--series {value}"));
                let given: Vec<String> = metric.chain(series).collect();
                let has = if all.len() == 1 { "the one series" } else { "any of the series" };
                format!("{} does not fit {has} here ({})", given.join(" with "), all.len())
            }
            Some(most) => format!(
                "no series here has {} or more points, the longest has {most}; --least-points takes shorter ones",
                self.least_points
            ),
        }
    }
}

/// The result for other programs, each a file.
#[derive(Debug, Args)]
#[command(next_help_heading = "For CI")]
struct Exports {
    /// Append Markdown: a comment, or `$GITHUB_STEP_SUMMARY`
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
    /// Slowdown that is let pass, of prefill and decode throughput
    #[arg(long, value_name = "SHARE", value_parser = tolerance, allow_hyphen_values = true, default_value = "3%")]
    margin: f64,
    /// The same of times to and per token, and of joules per token
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
        What::Gate(args) => gate(args, &catalog()?, output, argv),
        What::Check(args) => {
            let margins = args.rules.margins();
            let [a, b] = match &args.folders[..] {
                [] => [&args.baseline[..], &args.candidate[..]],
                [both] => [std::slice::from_ref(both); 2],
                [a, b, ..] => [a, b].map(std::slice::from_ref),
            };
            gate::distinct_inputs(a, b)?;
            let catalog = catalog()?;
            let read = reader(&catalog, argv);
            let result = gate::check(a, b, &margins, args.rules.alpha, &read)?;
            args.exports.write(&result, output)?;
            publish(&result, output)
        }
        What::History(args) => look_back(&args, output),
        What::Push(args) => {
            let moved = store::url::push(&args.folder, &args.url, env::object_store())?;
            output.note(&format!("{} put, {} there already", count(moved.copied, "file"), moved.there));
            Ok(())
        }
        What::Criterion(args) => {
            let micro = micro::read(&args.folder, &redact::text(&args.label))?;
            let (path, new) = micro::keep(&micro, &args.store)?;
            let word = if new { "written to" } else { "there already as" };
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

fn gate(args: GateArgs, catalog: &Catalog, output: &Output, argv: &[OsString]) -> anyhow::Result<()> {
    let interrupt = sys::Interrupt::install()?;
    let first = usize::from(args.pairs);
    let most = args.max_pairs.map_or(2 * first, usize::from);
    if most < first {
        let flag = format!("--max-pairs {most}");
        let reason =
            format!("it is fewer than the {first} pairs of the first look; raise it, or lower --pairs");
        return Err(usage(&flag, &reason));
    }
    if let Some(flag) = args.run.iter().find(|argument| takes_the_record(argument)) {
        return Err(usage(flag, "the gate catches the records itself; leave it out after `--`"));
    }
    let mut pairs = vec![first];
    pairs.extend((most > first).then_some(most));
    let command = |url: Option<&String>| url.map(|url| load_on(url, &args.run)).transpose();
    let of_servers = [command(args.baseline_url.as_ref())?, command(args.candidate_url.as_ref())?];
    let [baseline_command, candidate_command] = of_servers;
    let mut arguments = args.run.clone();
    // Two programs may measure two models when none is named.
    if !arguments.iter().any(|argument| names_the_model(argument)) {
        arguments.extend(["--model".to_owned(), SMALL_MODEL.to_owned()]);
    }
    if args.quick && !arguments.iter().any(|argument| argument.starts_with("--max-time")) {
        arguments.extend(["--max-time".to_owned(), "3s".to_owned()]);
    }
    let side = |program: Option<PathBuf>, command: Option<String>| match (program, command) {
        (_, Some(text)) => Side::Command { text, result: args.result.clone() },
        (program, None) => Side::Bench { program: program.unwrap_or_default(), arguments: arguments.clone() },
    };
    let gate = Gate {
        baseline: side(args.baseline, args.baseline_command.or(baseline_command)),
        candidate: side(args.candidate, args.candidate_command.or(candidate_command)),
        patience: args.patience,
        looks: Looks { pairs, alpha: args.rules.alpha },
        margins: args.rules.margins(),
        timeout: args.timeout,
        output: args.output,
        label: args.label.map(|label| redact::text(&label).into_owned()),
        cache: env::cache_folder(),
    };
    let result = gate::run(&gate, &reader(catalog, argv), &mut Teller(output), &interrupt)?;
    args.exports.write(&result, output)?;
    publish(&result, output)
}

/// The command that puts a load on a server: this program's own, with its record on stdout.
fn load_on(url: &str, load: &[String]) -> Result<String, Error> {
    let has =
        |names: &[&str]| load.iter().any(|word| names.contains(&word.split('=').next().unwrap_or_default()));
    let program =
        std::env::current_exe().map_err(|source| Error::Io { path: "/proc/self/exe".into(), source })?;
    let mut words = vec![program.display().to_string(), "run".to_owned(), "--url".to_owned(), url.to_owned()];
    words.extend(load.iter().cloned());
    // One row, since a replicate of several takes as many times as long.
    if !has(&["--max-concurrency", "--concurrency", "--request-rate", "--rate"]) {
        words.extend(["--max-concurrency", "16"].map(str::to_owned));
    }
    if !has(&[
        "--max-time",
        "--max-seconds",
        "--duration",
        "--num-prompts",
        "--max-requests",
        "--request-count",
    ]) {
        words.extend(["--max-time", "20s"].map(str::to_owned));
    }
    words.extend(["--json", "--quiet", "--output", "-"].map(str::to_owned));
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    Ok(quoted.join(" "))
}

/// Whether an argument of `bench run` says where its record goes.
fn takes_the_record(argument: &str) -> bool {
    let short = argument.starts_with("-o") && !argument.starts_with("--");
    short || matches!(argument.split('=').next(), Some("--json" | "--output"))
}

/// Whether an argument of `bench run` says which model is measured.
fn names_the_model(argument: &str) -> bool {
    let short = argument.starts_with("-m") && !argument.starts_with("--");
    short || argument.split('=').next() == Some("--model")
}

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

fn look_back(args: &HistoryArgs, output: &Output) -> anyhow::Result<()> {
    let cache = env::cache_folder();
    let named = args.folder.to_str().filter(|text| store::url::is_url(text));
    let folder = match named {
        Some(url) => {
            let mirror = store::url::mirror(url, &cache);
            let moved = store::url::pull(url, &mirror, env::object_store())?;
            let Moved { copied, there, gone } = moved;
            output.note(&format!("{} fetched, {there} known, {gone} gone", count(copied, "file")));
            mirror
        }
        None => args.folder.clone(),
    };
    let (store, synced) = Store::open(&folder, &cache, args.reindex)?;
    for line in left_out(&synced) {
        output.note(&line);
    }
    let (all, rules) = (store.series()?, ChangeRules::default());
    let chosen: Vec<&Series> = all.iter().filter(|series| args.wants(series)).collect();
    if let Some(label) = &args.acknowledge {
        let lines: Result<Vec<Line>, Error> = chosen
            .iter()
            .map(|series| history::line(&store, series, &rules, &[]).map(|(line, _)| line))
            .collect();
        history::begins(label, &lines?)?;
        let known = Acknowledged {
            label: label.clone(),
            metric: args.metric.clone(),
            note: args.note.as_deref().map(|note| redact::text(note).into_owned()),
        };
        let path = history::acknowledge(store.folder(), known)?;
        if let Some(url) = named {
            store::url::replace(store.folder(), history::ACKNOWLEDGED, url, env::object_store())?;
        }
        output.note(&format!("noted in {}", path.display()));
    }
    let known = history::acknowledged(store.folder())?;
    let mut lines = Vec::new();
    for series in chosen {
        lines.push(history::line(&store, series, &rules, &known)?);
    }
    if let Some(path) = &args.html {
        let place = named.map_or_else(|| text::path(store.folder()), str::to_owned);
        let last = last_gate(&store)?;
        let page = crate::report::page::history(&lines, last.as_ref(), &place);
        std::fs::write(path, page).map_err(|source| {
            let flag = "--html";
            record::Error::WriteTo { flag, path: path.clone(), source }
        })?;
        output.note(&format!("written to {}", path.display()));
    }
    let lines: Vec<(Line, Vec<Point>)> = lines;
    if output.json {
        let only: Vec<&Line> = lines.iter().map(|(line, _)| line).collect();
        let value = serde_json::json!({
            "schema": "infercost.history/1",
            "folder": named.map_or_else(|| text::path(store.folder()), str::to_owned),
            "files": { "read": synced.read, "known": synced.known, "gone": synced.gone, "broken": synced.broken.len(),
                "invalid": synced.invalid.len(), "copies": synced.copies.len() },
            "series": only,
        });
        output.stdout(&(record::write::to_json(&value)? + "\n"))?;
    } else {
        output.human(&terminal::render_history(&lines, output.human_style()))?;
    }
    if lines.iter().any(|(line, _)| line.unknown_slowdowns().next().is_some()) {
        return Err(exit::Silent(10).into());
    }
    // Where no step of any size could be proven, that none was found says nothing.
    if !lines.iter().any(|(line, _)| line.can_see()) {
        let reason = if lines.is_empty() {
            args.nothing(&all)
        } else {
            "no series here has enough points for a proof".to_owned()
        };
        let text = format!("inconclusive: {reason}");
        if output.json {
            output.note(&text);
        } else {
            output.human(&(text + "\n"))?;
        }
        return Err(exit::Silent(11).into());
    }
    Ok(())
}

/// Which files a history is without, the first few by name.
fn left_out(synced: &Synced) -> Vec<String> {
    const NAMED: usize = 5;
    let more = |all: usize| (all > NAMED).then(|| format!("and {} more like the last", all - NAMED));
    let mut lines = Vec::new();
    for (path, reason) in synced.broken.iter().take(NAMED) {
        lines.push(format!("{}: left out, {reason}", path.display()));
    }
    lines.extend(more(synced.broken.len()));
    for path in synced.invalid.iter().take(NAMED) {
        lines.push(format!("{}: left out, its record is invalid", path.display()));
    }
    lines.extend(more(synced.invalid.len()));
    for (path, counted) in synced.copies.iter().take(NAMED) {
        lines.push(format!("{}: the same as {}, counted once", path.display(), counted.display()));
    }
    lines.extend(more(synced.copies.len()));
    for (id, records) in synced.same_id.iter().take(NAMED) {
        lines.push(format!(
            "{records} different records say that they are {}; each is counted",
            printable(id)
        ));
    }
    lines.extend(more(synced.same_id.len()));
    lines
}

/// Says on stderr where the gate is.
struct Teller<'a>(&'a Output);

impl Observer for Teller<'_> {
    fn replicate(&mut self, pair: usize, pairs: usize, program: char) {
        self.0.note(&format!("pair {pair} of at most {pairs}: {program}"));
    }

    fn failed(&mut self, pair: usize, program: char, reason: &str) {
        self.0.note(&format!("pair {pair}, {program}: no replicate, {reason}"));
    }

    fn disturbed(&mut self, pair: usize, program: char, reason: &str) {
        self.0.note(&format!("pair {pair}, {program}: disturbed, {reason}"));
    }

    fn looked(&mut self, decision: &Decision) {
        if decision.verdict == Verdict::Inconclusive {
            self.0.note("not decided yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_named_in_any_spelling_stands() {
        for named in ["--model", "--model=a.gguf", "-m", "-ma.gguf"] {
            assert!(names_the_model(named), "{named}");
        }
        for other in ["--max-time", "--models", "m", "-p", "--"] {
            assert!(!names_the_model(other), "{other}");
        }
    }
}
