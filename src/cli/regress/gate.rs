//! `bench regress gate`: two programs, commands or servers, alternately.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::base::units::Seconds;
use crate::base::{env, redact, sys};
use crate::catalog::Catalog;
use crate::cli::destination::folder;
use crate::cli::values::time::{time, time_or_none};
use crate::cli::{Output, usage};
use crate::regress::Error;
use crate::regress::gate::{self, Decision, Gate, Looks, Observer, Side, Verdict};
use crate::run::session::SMALL_MODEL;

use super::{Exports, Rules, publish, reader};

#[derive(Debug, Args)]
pub(super) struct GateArgs {
    /// Baseline command, with a result `bench import` reads: llama-bench, `vllm bench serve`, `bench run --json -o -`
    #[arg(long, value_name = "CMD", requires = "candidate_command", conflicts_with_all = ["baseline", "candidate"], help_heading = "Two commands")]
    baseline_command: Option<String>,
    /// Candidate command
    #[arg(long, value_name = "CMD", requires = "baseline_command", conflicts_with_all = ["baseline", "candidate"], help_heading = "Two commands")]
    candidate_command: Option<String>,
    /// File to which the commands write their result [default: their stdout]
    #[arg(long, value_name = "FILE", requires = "baseline_command", help_heading = "Two commands")]
    result: Option<PathBuf>,
    /// Baseline server; both get the load given after `--` (flags of `bench run --url`), alternately
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
    /// `--max-time 3s` for both executables: replicates of about 5 s with a small model
    #[arg(long, conflicts_with_all = ["baseline_command", "baseline_url"], help_heading = "Two builds of bench")]
    quick: bool,
    /// Pairs at the first look
    #[arg(long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..), allow_negative_numbers = true)]
    pairs: u16,
    /// Pairs at the second look, taken if the first is inconclusive [default: twice --pairs]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(2..), allow_negative_numbers = true)]
    max_pairs: Option<u16>,
    /// Time limit of a replicate, after which its process group is killed and it is retried once
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

pub(super) fn run(
    args: GateArgs,
    catalog: &Catalog,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
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
        return Err(usage(flag, "the gate collects the records itself; leave it out after `--`"));
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
