//! The command line as typed: validated by form alone, resolved elsewhere.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use rust_decimal::Decimal;

use crate::base::units::Seconds;
use crate::engine::fused::{Isa, KvType};
use crate::run::engines::Kind;
use crate::run::plan::ranges;

use super::run::RunArgs;

/// What does a million tokens of this model cost here, and is that cheaper than buying them?
#[derive(Debug, Parser)]
#[command(name = "bench", version, about, long_about = None, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// How to say it.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Machine output on stdout and nothing else; human output goes to stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say less: no progress, no notes
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(super) color: Color,
    /// Folder with your own catalog files (gpus.toml, models.toml, prices/*.toml); before the one in the
    /// XDG config folder
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) config: Option<PathBuf>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure one model on this machine, write one record, print what it costs
    Run(Box<RunArgs>),
    /// Compare a record with API prices, or records with each other
    Compare(Box<super::compare::CompareArgs>),
    /// Price records again: another rent, another utilization, an owned machine; margin and target
    Cost(Box<super::cost::CostArgs>),
    /// Score a text: perplexity, and KL divergence and top-1 agreement against a reference
    Quality(Box<super::quality::QualityArgs>),
    /// Say what this box can do, and how to mend what it cannot
    Doctor(DoctorArgs),
    /// Foresee when the falling price of a class of models makes a use case pay
    Forecast(Box<super::forecast::ForecastArgs>),
    /// Write records in another tool's words: llama-bench's rows, vLLM's key names
    Export(super::export::ExportArgs),
    /// Take another tool's results as a record: llama-bench, vLLM, SGLang, guidellm, AIPerf …
    Import(super::import::ImportArgs),
    /// List and show GPUs, models and prices, each with its source
    Catalog(super::catalog::CatalogArgs),
    /// Prove a slowdown: two programs side by side
    Regress(super::regress::RegressArgs),
    /// Print the JSON Schema of a record
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `bench doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// NVML to load instead of the one that the system finds
    #[arg(long, value_name = "PATH")]
    pub(super) nvml_library: Option<PathBuf>,
    /// Measure the GPU's power sensor: its period, step and window (45 s; the GPU works meanwhile)
    #[arg(long)]
    pub(super) calibrate_power: bool,
}

/// Engines by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineName {
    /// The best one for this model and machine
    Auto,
    /// Our own, on the processor
    Fused,
    /// Stock candle-transformers
    Candle,
}

impl EngineName {
    /// The engine; `None` leaves the choice to the model and the device.
    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Fused => Some(Kind::Fused),
            Self::Candle => Some(Kind::Candle),
        }
    }
}

/// A number of threads; llama-bench takes a list.
pub(super) fn threads(text: &str) -> Result<u16, String> {
    if text.contains([',', '-']) && ranges::parse(text).is_ok() {
        return Err(
            "a run has one number of threads. For several: `for t in 1 2 4; do bench run -t $t; done`"
                .to_owned(),
        );
    }
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "expected a whole number from 1 to 65535".to_owned())
}

pub(super) fn isa(text: &str) -> Result<Isa, String> {
    text.parse()
}

pub(super) fn kv_type(text: &str) -> Result<KvType, String> {
    text.parse()
}

/// A share: `2%` or `0.02`, above 0 and at most 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let value = number.trim().parse::<f64>().map(|value| value / unit);
    match value {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("a share is above 0 and at most 100%, such as `2%` or `0.02`".to_owned()),
    }
}

/// A time: `90`, `60s`, `5m`, `1h 30m`; at least a tenth of a second.
pub(super) fn time(text: &str) -> Result<Seconds, String> {
    let wrong = || "a time is at least a tenth of a second, such as `60s`, `5m` or `1h 30m`".to_owned();
    let seconds = match text.trim().parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?.as_secs_f64(),
    };
    if (0.1..=604_800.0).contains(&seconds) { Ok(Seconds::new(seconds)) } else { Err(wrong()) }
}

/// The smallest amount above zero that a flag takes.
pub(super) const LEAST_USD: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

/// Dollars an hour, above zero.
pub(super) fn price(text: &str) -> Result<Decimal, String> {
    let dollars = text.trim().trim_start_matches('$').parse::<Decimal>();
    match dollars {
        Ok(dollars) if (LEAST_USD..=Decimal::from(1_000_000)).contains(&dollars) => Ok(dollars),
        Ok(_) => Err("a price is from 0.000001 to 1,000,000 USD per hour".to_owned()),
        Err(_) => Err("a price is a number of USD per hour, such as `2.49`".to_owned()),
    }
}

/// Input to output: `3:1` or `3`.
pub(super) fn blend(text: &str) -> Result<f64, String> {
    let number =
        |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
    let ratio = match text.split_once(':') {
        Some((input, output)) => number(input).zip(number(output)).map(|(input, output)| input / output),
        None => number(text),
    };
    ratio.ok_or_else(|| "a blend is input to output, such as `3:1`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shares_times_prices_and_blends() {
        for (text, expected) in [
            ("2%", Some(0.02)),
            ("0.5", Some(0.5)),
            ("100%", Some(1.0)),
            ("0", None),
            ("-1%", None),
            ("101%", None),
            ("x", None),
            ("NaN", None),
        ] {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("90", Some(90.0)),
            ("60s", Some(60.0)),
            ("5m", Some(300.0)),
            ("1h 30m", Some(5400.0)),
            ("0", None),
            ("-5s", None),
            ("inf", None),
            ("soon", None),
        ] {
            assert_eq!(time(text).ok().map(Seconds::get), expected, "{text}");
        }
        for (text, expected) in [
            ("2.49", Some("2.49")),
            ("$2", Some("2")),
            ("0", None),
            ("-1", None),
            ("free", None),
            ("1e30", None),
        ] {
            assert_eq!(price(text).ok().map(|p| p.to_string()).as_deref(), expected, "{text}");
        }
        for wrong in ["1e9", "1000001", "0", "0.0000001", "-1"] {
            let said = price(wrong).expect_err(wrong);
            assert!(said.contains("from 0.000001 to 1,000,000 USD"), "{wrong}: {said}");
        }
        for (text, expected) in
            [("3:1", Some(3.0)), ("4", Some(4.0)), ("1:2", Some(0.5)), ("0:1", None), ("1:0", None)]
        {
            assert_eq!(blend(text).ok(), expected, "{text}");
        }
    }
}
