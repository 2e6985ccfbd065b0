//! The flags of `bench run`, and the request they make.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use rust_decimal::Decimal;

use crate::base::failure::Usage;
use crate::base::units::{Seconds, Watts};
use crate::engine::Launches;
use crate::engine::fused::{Isa, KvType};
use crate::hardware::device::DeviceRequest;
use crate::hardware::telemetry::choose::PowerRequest;
use crate::run::engines::Kind;
use crate::run::plan::{Limits, Tier, limits, ranges};
use crate::run::session::{Batch, LockClocks, RunRequest};

use super::super::destination::Destination;
use super::super::values::engine::{isa, kv_type};
use super::super::values::list::{List, batch, list};
use super::super::values::number::threads;
use super::super::values::time::time;
use super::super::values::{money, share};
use super::serving::args::ServingArgs;

/// `bench run`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// The model, same as --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub(in crate::cli) positional: Option<String>,
    /// Catalog id with `:quant`, path of a GGUF file or safetensors folder, `hf:org/repo[/file]`, or
    /// `synthetic:PRESET[:QUANT]` [default: synthetic weights in the shape of a model that APIs sell]
    #[arg(short, long, value_name = "MODEL", help_heading = "What")]
    pub(in crate::cli) model: Option<String>,
    /// Engine
    #[arg(long, value_enum, default_value_t = RunEngine::Auto, help_heading = "What")]
    pub(in crate::cli) engine: RunEngine,
    /// Prompt tokens: one row `ppP` each; lists `128,512` and ranges `128-1024*2` [default: 128, GPU and --url 512]
    #[arg(short = 'p', long, value_name = "P", value_parser = list, allow_negative_numbers = true, help_heading = "What")]
    pub(in crate::cli) prompt_tokens: Vec<List>,
    /// Output tokens: one row `tgN` each; under load, one row per pair of prompt and output length [default: 32, GPU
    /// and --url 128]
    #[arg(short = 'n', long, value_name = "N", value_parser = list, allow_negative_numbers = true, help_heading = "What")]
    pub(in crate::cli) output_tokens: Vec<List>,
    /// A joint row: prompt, then output; repeatable (also written -pg)
    #[arg(long, value_name = "P,N", value_parser = ranges::parse_joint, allow_negative_numbers = true, help_heading = "What")]
    pub(in crate::cli) pg: Vec<(u32, u32)>,
    /// Parallel sequences, or `auto`: double until throughput stops rising [default: 1, GPU auto]
    #[arg(short, long, value_name = "B", value_parser = batch, allow_negative_numbers = true, help_heading = "What")]
    pub(in crate::cli) batch: Option<Batch>,
    /// Tokens in the context before the row [default: 0]
    #[arg(short, long, value_name = "D", value_parser = list, allow_negative_numbers = true, help_heading = "What")]
    pub(in crate::cli) depth: Vec<List>,

    /// Expected GPU: a catalog id or family (`h100`), checked against the one found; with --url the server's, for the price
    #[arg(long, value_name = "ID", help_heading = "Where")]
    pub(in crate::cli) gpu: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Where")]
    pub(in crate::cli) device: DeviceRequest,
    /// Compute threads on the CPU [default: the physical cores]
    #[arg(short, long, value_name = "N", value_parser = threads, allow_negative_numbers = true, help_heading = "Where")]
    pub(in crate::cli) threads: Option<u16>,

    /// Limit `fused` to an instruction set: portable, avx2, avx512, avx512vnni or amx [default: the best available]
    #[arg(long, value_name = "ISA", value_parser = isa, help_heading = "Where")]
    pub(in crate::cli) isa: Option<Isa>,
    /// KV cache format of `fused`: `f16` or `q8_0` [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "What")]
    pub(in crate::cli) kv_type: Option<KvType>,
    /// Launch the GPU kernels of `fused` one by one, without CUDA graphs
    #[arg(long, help_heading = "Where")]
    pub(in crate::cli) no_graphs: bool,
    /// Wait for each GPU kernel of `fused`, so that an error names the kernel; slow, and without CUDA graphs
    #[arg(long, help_heading = "Where")]
    pub(in crate::cli) debug_kernels: bool,
    /// Energy sensors: auto (the computing device's), nvml, nvml:GPU (UUID, PCI address or NVML index), rapl or none
    #[arg(long, value_name = "SENSORS", default_value = "auto", help_heading = "Where")]
    pub(in crate::cli) power: PowerRequest,
    /// NVML library to load instead of the system's
    #[arg(long, value_name = "PATH", help_heading = "Where")]
    pub(in crate::cli) nvml_library: Option<PathBuf>,
    /// Lock the GPU's clocks at MHZ or at its default application clock; restored at the end; needs root
    #[arg(long, value_name = "MHZ", num_args = 0..=1, default_missing_value = "default", value_parser = clock, allow_negative_numbers = true, help_heading = "Where")]
    pub(in crate::cli) lock_clocks: Option<LockClocks>,
    /// Power limit of the GPU, restored at the end; one record per limit: `350,500,700`; needs root
    #[arg(long, value_name = "W", value_delimiter = ',', value_parser = watts, allow_negative_numbers = true, help_heading = "Where")]
    pub(in crate::cli) power_limit: Vec<Watts>,

    /// Trials per row, fewer if --max-time runs out
    #[arg(short, long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true, help_heading = "How long")]
    pub(in crate::cli) repetitions: Option<u32>,
    /// Stop a row when its 95% interval is this tight [default: 2%]
    #[arg(long, value_name = "SHARE", value_parser = share::above_zero, allow_hyphen_values = true, help_heading = "How long")]
    pub(in crate::cli) precision: Option<f64>,
    /// Limit on the whole run's measuring time: `60s`, `5m` [default: 60s; under load 40s a row]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, help_heading = "How long")]
    pub(in crate::cli) max_time: Option<Seconds>,
    /// Preset length: smoke (at most 60 s), nightly (5 trials of 20 s a row), publish (600 s a row)
    #[arg(long, value_enum, value_name = "TIER", help_heading = "How long")]
    pub(in crate::cli) tier: Option<TierName>,
    /// Seed of prompts and synthetic weights
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        help_heading = "How long"
    )]
    pub(in crate::cli) seed: u64,

    /// Rent of this machine, USD per hour [default: the catalog's price for such a machine]
    #[arg(long, value_name = "USD", value_parser = money::per_hour, allow_hyphen_values = true, help_heading = "Money and output")]
    pub(in crate::cli) price_per_hour: Option<Decimal>,
    /// API to compare with, `provider/model`; repeatable [default: those that serve this model]
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "Money and output")]
    pub(in crate::cli) api: Vec<String>,
    /// Print the plan with its memory and time, then stop
    #[arg(long, help_heading = "Money and output")]
    pub(in crate::cli) dry_run: bool,
    /// Where to write the record: a folder, FILE.json, or `-` for stdout. `json`, `jsonl`, `csv` or `md` prints
    /// llama-bench's rows instead and keeps the record in results/
    #[arg(short, long, value_name = "DEST", default_value = "results", value_parser = OsStringValueParser::new().try_map(Destination::parse), help_heading = "Money and output")]
    pub(in crate::cli) output: Destination,

    /// The load on a server or on an engine.
    #[command(flatten)]
    pub(in crate::cli) serving: ServingArgs,
}

impl RunArgs {
    /// What is asked; `argv` is the command line without secrets.
    ///
    /// # Errors
    /// [`Usage`] where flags about the length of the run contradict each other.
    pub(in crate::cli) fn request(&self, argv: Vec<String>) -> Result<RunRequest, Usage> {
        let limits = Limits::resolve(limits::Asked {
            precision: self.precision,
            max_time: self.max_time,
            repetitions: self.repetitions.map(|repetitions| repetitions as usize),
            tier: self.tier.map(Into::into),
        })?;
        Ok(RunRequest {
            argv,
            model: self.model.clone(),
            engine: self.engine.kind(),
            prompt_tokens: List::joined(&self.prompt_tokens),
            output_tokens: List::joined(&self.output_tokens),
            joint: self.pg.clone(),
            batch: self.batch.clone(),
            depth: List::joined(&self.depth),
            gpu: self.gpu.clone(),
            device: self.device,
            threads: self.threads,
            isa: self.isa,
            kv_type: self.kv_type,
            launches: match (self.debug_kernels, self.no_graphs) {
                (true, _) => Launches::Watched,
                (false, true) => Launches::Single,
                (false, false) => Launches::Graphs,
            },
            power: self.power.clone(),
            nvml_library: self.nvml_library.clone(),
            lock_clocks: self.lock_clocks,
            power_limits: self.power_limit.clone(),
            limits,
            seed: self.seed,
            usd_per_hour: self.price_per_hour,
            apis: self.api.clone(),
            plan_only: self.dry_run,
        })
    }
}

/// What is measured: an engine in this process, or a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum RunEngine {
    /// The best one for this model and machine; with --url, the server
    Auto,
    /// Our own, on CPUs and NVIDIA GPUs
    Fused,
    /// Stock candle-transformers
    Candle,
    /// The OpenAI-compatible server at --url
    Endpoint,
}

impl RunEngine {
    /// The engine in this process that was named; a server takes another way.
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto | Self::Endpoint => None,
            Self::Fused => Some(Kind::Fused),
            Self::Candle => Some(Kind::Candle),
        }
    }
}

/// Named lengths of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TierName {
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

fn clock(text: &str) -> Result<LockClocks, String> {
    match (text, text.trim_end_matches("MHz").trim().parse()) {
        ("default", _) => Ok(LockClocks::Default),
        (_, Ok(mhz)) if mhz > 0 => Ok(LockClocks::At(mhz)),
        _ => Err("a clock is a whole number of MHz, such as `1410`".to_owned()),
    }
}

/// A power limit: `500` or `500W`.
fn watts(text: &str) -> Result<Watts, String> {
    match text.trim_end_matches(['W', 'w']).trim().parse::<f64>() {
        Ok(watts) if (1.0..=100_000.0).contains(&watts) => Ok(Watts::new(watts)),
        _ => Err("a power limit is a number of watts above 0, such as `500`".to_owned()),
    }
}
