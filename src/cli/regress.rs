//! `bench regress`: two programs side by side, or records that are there already, and a verdict.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::base::units::Seconds;
use crate::base::{env, sys};
use crate::record;
use crate::regress::Error;
use crate::regress::gate::{self, Decision, Gate, GateResult, Looks, Margin, Margins, Observer, Verdict};
use crate::report::terminal;

use super::args::{share, time};
use super::{Output, exit};

/// `bench regress`.
#[derive(Debug, Args)]
pub(super) struct RegressArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run two programs in turn on this box: FAIL (exit 10), PASS (0), INCONCLUSIVE (11) or INCOMPARABLE (12)
    Gate(GateArgs),
    /// The same verdict from records that are there already
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct GateArgs {
    /// The program to compare with: the last release
    #[arg(long, value_name = "BENCH")]
    baseline: PathBuf,
    /// The program in question
    #[arg(long, value_name = "BENCH")]
    candidate: PathBuf,
    /// Pairs at the first look
    #[arg(long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..))]
    pairs: u16,
    /// Pairs at the second look, which is taken when the first does not decide [default: twice --pairs]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(2..))]
    max_pairs: Option<u16>,
    /// Replicates of at most 5 s, load included
    #[arg(long)]
    quick: bool,
    /// Longest time of one replicate; it is ended then, and tried once more
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10m")]
    timeout: Seconds,
    #[command(flatten)]
    rules: Rules,
    /// Folder for gates
    #[arg(short, long, value_name = "DIR", default_value = "results/gates")]
    output: PathBuf,
    /// Arguments of `bench run` for both programs
    #[arg(last = true, value_name = "RUN ARGUMENTS")]
    run: Vec<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Records of the baseline, or a folder of them; a gate's folder may be given for both
    #[arg(long, value_name = "RECORD", required = true, num_args = 1..)]
    baseline: Vec<PathBuf>,
    /// Records of the candidate, the first to be compared with the baseline's first, and so on
    #[arg(long, value_name = "RECORD", required = true, num_args = 1..)]
    candidate: Vec<PathBuf>,
    #[command(flatten)]
    rules: Rules,
}

#[derive(Debug, Args)]
struct Rules {
    /// Slowdown that is let pass, of prefill and decode throughput
    #[arg(long, value_name = "SHARE", value_parser = margin, allow_hyphen_values = true, default_value = "3%")]
    margin: f64,
    /// The same of times to and per token, and of joules per token
    #[arg(long, value_name = "SHARE", value_parser = margin, allow_hyphen_values = true, default_value = "5%")]
    margin_times: f64,
    /// Chance of a false verdict at each look
    #[arg(long, value_name = "SHARE", value_parser = margin, allow_hyphen_values = true, default_value = "2%")]
    alpha: f64,
}

impl Rules {
    fn margins(&self) -> Margins {
        Margins { throughput: Margin(self.margin), others: Margin(self.margin_times) }
    }
}

fn margin(text: &str) -> Result<f64, String> {
    match share(text) {
        Ok(value) if value < 0.5 => Ok(value),
        _ => Err("a share above 0 and under 50%, such as `3%` or `0.03`".to_owned()),
    }
}

pub(super) fn run(args: RegressArgs, output: &Output) -> anyhow::Result<()> {
    match args.what {
        What::Gate(args) => gate(args, output),
        What::Check(args) => {
            let margins = args.rules.margins();
            publish(&gate::check(&args.baseline, &args.candidate, &margins, args.rules.alpha)?, output)
        }
    }
}

fn gate(args: GateArgs, output: &Output) -> anyhow::Result<()> {
    let interrupt = sys::Interrupt::install()?;
    let first = usize::from(args.pairs);
    let most = args.max_pairs.map_or(2 * first, usize::from);
    if most < first {
        let flag = format!("--max-pairs {most}");
        let reason =
            format!("it is fewer than the {first} pairs of the first look; raise it, or lower --pairs");
        return Err(Error::Usage { flag, reason }.into());
    }
    for named in ["--json", "--output", "-o"] {
        if args.run.iter().any(|argument| argument == named) {
            let reason = "the gate catches the records itself; leave it out behind `--`";
            return Err(Error::Usage { flag: named.to_owned(), reason: reason.to_owned() }.into());
        }
    }
    let mut pairs = vec![first];
    pairs.extend((most > first).then_some(most));
    let mut arguments = args.run.clone();
    if args.quick && !arguments.iter().any(|argument| argument.starts_with("--max-time")) {
        arguments.extend(["--max-time".to_owned(), "3s".to_owned()]);
    }
    let gate = Gate {
        baseline: args.baseline,
        candidate: args.candidate,
        arguments,
        looks: Looks { pairs, alpha: args.rules.alpha },
        margins: args.rules.margins(),
        timeout: args.timeout,
        output: args.output,
        cache: env::cache_folder(),
    };
    let result = gate::run(&gate, &mut Teller(output), &interrupt)?;
    publish(&result, output)?;
    Ok(())
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

/// Says on stderr where the gate is.
struct Teller<'a>(&'a Output);

impl Observer for Teller<'_> {
    fn replicate(&mut self, pair: usize, pairs: usize, program: char) {
        self.0.note(&format!("pair {pair} of at most {pairs}: {program}"));
    }

    fn failed(&mut self, pair: usize, program: char, reason: &str) {
        self.0.note(&format!("pair {pair}, {program}: no replicate, {reason}"));
    }

    fn looked(&mut self, decision: &Decision) {
        if decision.verdict == Verdict::Inconclusive {
            self.0.note("not decided yet");
        }
    }
}
