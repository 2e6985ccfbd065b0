//! `bench kernels check`: every GPU kernel of this program compiled for every kind of GPU, on a machine with or without one; or,
//! with `--device`, run on one and held against the processor.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::base::text::count;
use crate::base::{clock, sys};
use crate::catalog::Catalog;
use crate::engine::fused::{self, CheckedKernel};
use crate::hardware::cuda::survey::{self, Entry, GENERATIONS};
use crate::hardware::cuda::{Architecture, Kind, Nvrtc, Places};
use crate::hardware::device::{self, DeviceRequest};
use crate::model::hub::HubSettings;
use crate::model::{Model, Reach, Request, Sources};
use crate::record;
use crate::report::terminal;

use super::{Output, exit};

/// `bench kernels`.
#[derive(Debug, Args)]
pub(super) struct KernelsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compile every kernel and report its registers, spills and shared memory; exit 1 if one doesn't compile or
    /// spills. Needs NVRTC. With --device, run every kernel on a GPU and compare its results with the CPU's; exit 1
    /// if any is wrong
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Compute capabilities, `sm_80,sm_90a` [default: 8.0, 8.6, 8.9, 9.0, 10.0, 12.0]
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "device")]
    arch: Vec<Architecture>,
    /// The GPU to run on, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", value_parser = ordinal)]
    device: Option<usize>,
    /// Model whose shapes are checked on the device, as in `bench run`; repeatable [default: the shapes of llama-3.1-8b,
    /// llama-3.1-70b, gpt-oss-20b, qwen3-30b-a3b and gemma-3-4b]
    #[arg(short, long, value_name = "MODEL", requires = "device")]
    model: Vec<String>,
}

/// Shapes that are checked when none are named: dense and mixtures, heads of 64, 128 and 256, each activation.
const SHAPES: [&str; 5] = ["llama-3.1-8b", "llama-3.1-70b", "gpt-oss-20b", "qwen3-30b-a3b", "gemma-3-4b"];

/// The number of a GPU.
fn ordinal(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(DeviceRequest::Cuda(ordinal)) => Ok(ordinal),
        _ => Err("kernels run on a GPU: cuda or cuda:N".to_owned()),
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct View<'a> {
    schema: &'static str,
    nvrtc: String,
    seconds: f64,
    spilling: usize,
    kernels: &'a [Entry],
}

/// The same with `--device`.
#[derive(Debug, Serialize)]
struct OnDevice<'a> {
    schema: &'static str,
    gpu: String,
    models: Vec<&'a str>,
    seconds: f64,
    wrong: usize,
    kernels: &'a [CheckedKernel],
}

pub(super) fn run(
    args: &KernelsArgs,
    catalog: &dyn Fn() -> Result<Catalog, crate::catalog::Error>,
    output: &Output,
) -> anyhow::Result<()> {
    let What::Check(args) = &args.what;
    match args.device {
        Some(ordinal) => on_device(args, ordinal, &catalog()?, output),
        None => compiled(args, output),
    }
}

/// Runs every kernel.
fn on_device(args: &CheckArgs, ordinal: usize, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    let interrupt = sys::Interrupt::install()?;
    let hub = HubSettings::from_env();
    let sources = Sources { catalog, hub: &hub, seed: 0, progress: &(), interrupt: &interrupt };
    let usual = SHAPES.map(|preset| format!("synthetic:{preset}"));
    let names: &[String] = if args.model.is_empty() { &usual } else { &args.model };
    let open = |name: &String| sources.open(&Request::parse(name)?, Reach::Weights);
    let models: Vec<Model> = names.iter().map(open).collect::<Result<_, _>>()?;
    let begin = clock::now();
    let mut done: Vec<CheckedKernel> = Vec::new();
    let gpu = fused::check_kernels(ordinal, &models, &interrupt, &mut |checked| {
        if let Some(wrong) = &checked.wrong {
            // Now, should the rest not come to its end.
            output.note(&format!("{} for {}: {wrong}", checked.kernel, checked.variant));
        }
        done.push(checked);
    })?;
    let seconds = clock::now().since(begin);
    let wrong = done.iter().filter(|checked| checked.wrong.is_some()).count();
    if output.json {
        let view = OnDevice {
            schema: "infercost.kernels-on-device/1",
            gpu,
            models: models.iter().map(|model| &*model.id).collect(),
            seconds: seconds.get(),
            wrong,
            kernels: &done,
        };
        output.stdout(&(record::write::to_json(&view)? + "\n"))?;
    } else {
        output.human(&terminal::render_checked(&done, &gpu, seconds, output.human_style()))?;
    }
    if wrong > 0 { Err(exit::Silent(1).into()) } else { Ok(()) }
}

/// Compiles every kernel.
fn compiled(args: &CheckArgs, output: &Output) -> anyhow::Result<()> {
    let Some(library) = Places::here().find(Kind::Nvrtc, None) else {
        return Err(device::Error::Absent(
            "libnvrtc was not found; install it with `pip install nvidia-cuda-nvrtc`, or name its folder in LD_LIBRARY_PATH"
                .to_owned(),
        )
        .into());
    };
    let nvrtc = Nvrtc::open(&library).map_err(device::Error::Absent)?;
    let architectures = if args.arch.is_empty() { &GENERATIONS[..] } else { &args.arch };
    output.note(&format!(
        "compiling every kernel for {} with NVRTC {}",
        count(architectures.len(), "kind of GPU").replace("kind of GPUs", "kinds of GPU"),
        nvrtc.version()
    ));
    let begin = clock::now();
    let entries = survey::survey(&nvrtc, architectures).map_err(anyhow::Error::msg)?;
    let seconds = clock::now().since(begin);
    let spilling = entries.iter().filter(|entry| entry.spills()).count();
    if output.json {
        let view = View {
            schema: "infercost.kernels/1",
            nvrtc: nvrtc.version(),
            seconds: seconds.get(),
            spilling,
            kernels: &entries,
        };
        output.stdout(&(record::write::to_json(&view)? + "\n"))?;
    } else {
        output.human(&terminal::render_kernels(&entries, seconds, output.human_style()))?;
    }
    if spilling > 0 { Err(exit::Silent(1).into()) } else { Ok(()) }
}
