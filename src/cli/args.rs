//! The command line as typed: validated by form alone, resolved elsewhere.

use std::fmt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use rust_decimal::Decimal;

use crate::base::units::{Seconds, Watts};
use crate::engine::Device;
use crate::engine::fused::{Isa, KvType};
use crate::hardware::device::DeviceRequest;
use crate::hardware::telemetry::choose::PowerRequest;
use crate::model::Header;
use crate::run::engines::Kind;
use crate::run::plan::{self, Tier, ranges};

use super::destination::Destination;

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

/// `bench run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The model, as of --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub(super) positional: Option<String>,
    /// Catalog id with `:quant`, path of a GGUF file or safetensors folder, `hf:org/repo[/file]`, or
    /// `synthetic:PRESET[:QUANT]` [default: synthetic weights in the shape of a model that APIs sell]
    #[arg(short, long, value_name = "MODEL", help_heading = "What")]
    pub(super) model: Option<String>,
    /// Engine
    #[arg(long, value_enum, default_value_t = EngineName::Auto, help_heading = "What")]
    pub(super) engine: EngineName,
    /// Prompt tokens: one row `ppP` each; lists `128,512` and ranges `128-1024*2` [default: 128, GPU 512]
    #[arg(short = 'p', long, value_name = "P", value_parser = list, allow_negative_numbers = true, help_heading = "What")]
    pub(super) prompt_tokens: Vec<List>,
    /// Output tokens: one row `tgN` each [default: 32, GPU 128]
    #[arg(short = 'n', long, value_name = "N", value_parser = list, allow_negative_numbers = true, help_heading = "What")]
    pub(super) output_tokens: Vec<List>,
    /// A joint row: prompt and output in one go; may be given again (also written -pg)
    #[arg(long, value_name = "P,N", value_parser = ranges::parse_joint, allow_negative_numbers = true, help_heading = "What")]
    pub(super) pg: Vec<(u32, u32)>,
    /// Parallel sequences, or `auto`: double until throughput stops rising [default: 1, GPU auto]
    #[arg(short, long, value_name = "B", value_parser = batch, allow_negative_numbers = true, help_heading = "What")]
    pub(super) batch: Option<Batch>,
    /// Tokens in the context before the row [default: 0]
    #[arg(short, long, value_name = "D", value_parser = list, allow_negative_numbers = true, help_heading = "What")]
    pub(super) depth: Vec<List>,

    /// GPU this is: a catalog id or family (`h100`), checked against the one found
    #[arg(long, value_name = "ID", help_heading = "Where")]
    pub(super) gpu: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Where")]
    pub(super) device: DeviceRequest,
    /// Threads that compute on the CPU [default: the physical cores]
    #[arg(short, long, value_name = "N", value_parser = threads, allow_negative_numbers = true, help_heading = "Where")]
    pub(super) threads: Option<u16>,

    /// Hold our own engine to an instruction set: portable, avx2, avx512 or avx512vnni [default: the best there is]
    #[arg(long, value_name = "ISA", value_parser = isa, help_heading = "Where")]
    pub(super) isa: Option<Isa>,
    /// Format of our own engine's KV cache: `f16` or `q8_0` [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "What")]
    pub(super) kv_type: Option<KvType>,
    /// Sensors of energy: auto (of the device that works), nvml, nvml:GPU (UUID, PCI address or NVML's index), rapl or none
    #[arg(long, value_name = "SENSORS", default_value = "auto", help_heading = "Where")]
    pub(super) power: PowerRequest,
    /// NVIDIA's management library, when it is not where the system looks
    #[arg(long, value_name = "PATH", help_heading = "Where")]
    pub(super) nvml_library: Option<PathBuf>,
    /// Hold the GPU's clocks, at MHZ or at its default application clock, and let them go at the end; needs root
    #[arg(long, value_name = "MHZ", num_args = 0..=1, default_missing_value = "default", value_parser = clock, allow_negative_numbers = true, help_heading = "Where")]
    pub(super) lock_clocks: Option<LockClocks>,
    /// Power limit of the GPU, put back at the end; several make a record each: `350,500,700`; needs root
    #[arg(long, value_name = "W", value_delimiter = ',', value_parser = watts, allow_negative_numbers = true, help_heading = "Where")]
    pub(super) power_limit: Vec<Watts>,

    /// This many trials a row, as far as --max-time reaches
    #[arg(short, long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true, help_heading = "How long")]
    pub(super) repetitions: Option<u32>,
    /// Stop a row when its 95% interval is this tight [default: 2%]
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true, help_heading = "How long")]
    pub(super) precision: Option<f64>,
    /// Bound on the measuring of the whole run: `60s`, `5m` [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, help_heading = "How long")]
    pub(super) max_time: Option<Seconds>,
    /// Named lengths: smoke (at most 60 s), nightly (5 trials of 20 s a row), publish (600 s a row)
    #[arg(long, value_enum, value_name = "TIER", help_heading = "How long")]
    pub(super) tier: Option<TierName>,
    /// Seed of prompts and synthetic weights
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        help_heading = "How long"
    )]
    pub(super) seed: u64,

    /// Rent of this machine, USD per hour [default: the catalog's price for such a machine]
    #[arg(long, value_name = "USD", value_parser = price, allow_hyphen_values = true, help_heading = "Money and output")]
    pub(super) price_per_hour: Option<Decimal>,
    /// API to compare with, `provider/model`; may be given again [default: those that serve this model]
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "Money and output")]
    pub(super) api: Vec<String>,
    /// Print the plan and the memory it will take, and do nothing
    #[arg(long, help_heading = "Money and output")]
    pub(super) dry_run: bool,
    /// Where the record goes: a folder, FILE.json, or `-` for stdout. `json`, `jsonl`, `csv` or `md` prints llama-bench's
    /// rows instead, and the record is kept in results/
    #[arg(short, long, value_name = "DEST", default_value = "results", value_parser = OsStringValueParser::new().try_map(Destination::parse), help_heading = "Money and output")]
    pub(super) output: Destination,
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
    /// The engine for the model that `header` describes.
    pub(super) fn kind(self, header: &Header, device: Device) -> Kind {
        match self {
            Self::Auto => Kind::best(header, device),
            Self::Fused => Kind::Fused,
            Self::Candle => Kind::Candle,
        }
    }
}

/// Named lengths of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TierName {
    /// At most 60 s in all, no claims about tails
    Smoke,
    /// At least 5 trials of at least 20 s a row
    Nightly,
    /// At least 600 s a row
    Publish,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Self {
        match name {
            TierName::Smoke => Self::Smoke,
            TierName::Nightly => Self::Nightly,
            TierName::Publish => Self::Publish,
        }
    }
}

/// Numbers in llama-bench's notation; a type of its own, since clap gives `Vec` a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List(pub(super) Vec<u32>);

impl List {
    /// All lists of a flag that was given more than once, one behind the other; `default` without any.
    pub(super) fn joined(lists: &[Self], default: u32) -> Vec<u32> {
        if lists.is_empty() { vec![default] } else { lists.iter().flat_map(|list| list.0.clone()).collect() }
    }
}

fn list(text: &str) -> Result<List, String> {
    ranges::parse(text).map(List)
}

/// `--batch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Batch {
    /// Doubles until throughput stops rising.
    Auto,
    /// These.
    These(Vec<u32>),
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::These(batches) => {
                f.write_str(&batches.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

fn batch(text: &str) -> Result<Batch, String> {
    if text == "auto" {
        return Ok(Batch::Auto);
    }
    let values = ranges::parse(text)?;
    if values.contains(&0) {
        return Err("a batch is at least 1 sequence".to_owned());
    }
    Ok(Batch::These(values))
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

/// `--lock-clocks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockClocks {
    /// At the GPU's default application clock.
    Default,
    /// At this one, in MHz.
    At(u32),
}

fn clock(text: &str) -> Result<LockClocks, String> {
    match (text, text.trim_end_matches("MHz").trim().parse()) {
        ("default", _) => Ok(LockClocks::Default),
        (_, Ok(mhz)) if mhz > 0 => Ok(LockClocks::At(mhz)),
        _ => Err("a clock is a whole number of MHz, such as `1410`".to_owned()),
    }
}

pub(super) fn isa(text: &str) -> Result<Isa, String> {
    text.parse()
}

pub(super) fn kv_type(text: &str) -> Result<KvType, String> {
    text.parse()
}

/// Flags of our own engine where none of the engines that run is it.
///
/// # Errors
/// [`plan::Error::Usage`] naming the first such flag that was given, and the engine that does not take it.
pub(super) fn only_for_our_engine(
    isa: Option<Isa>,
    kv_type: Option<KvType>,
    engines: &[Kind],
) -> Result<(), plan::Error> {
    let given = [("--isa", isa.is_some()), ("--kv-type", kv_type.is_some())];
    let (Some((flag, _)), Some(other)) = (given.into_iter().find(|(_, given)| *given), engines.first())
    else {
        return Ok(());
    };
    if engines.contains(&Kind::Fused) {
        return Ok(());
    }
    Err(plan::Error::Usage {
        flag: flag.to_owned(),
        reason: format!(
            "it is for the engine `{}`, and this takes `{}`: candle chooses for itself",
            Kind::Fused.name(),
            other.name()
        ),
    })
}

/// A power limit: `500` or `500W`.
fn watts(text: &str) -> Result<Watts, String> {
    match text.trim_end_matches(['W', 'w']).trim().parse::<f64>() {
        Ok(watts) if (1.0..=100_000.0).contains(&watts) => Ok(Watts::new(watts)),
        _ => Err("a power limit is a number of watts above 0, such as `500`".to_owned()),
    }
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
