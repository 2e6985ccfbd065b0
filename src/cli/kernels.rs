//! `bench kernels check`: every GPU kernel of this program compiled for every kind of GPU, on a machine with or without one.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::base::clock;
use crate::base::text::count;
use crate::hardware::cuda::survey::{self, Entry, GENERATIONS};
use crate::hardware::cuda::{Architecture, Kind, Nvrtc, Places};
use crate::hardware::device;
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
    /// spills. Needs NVRTC
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Compute capabilities, `sm_80,sm_90a` [default: 8.0, 8.6, 8.9, 9.0, 10.0, 12.0]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    arch: Vec<Architecture>,
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

pub(super) fn run(args: &KernelsArgs, output: &Output) -> anyhow::Result<()> {
    let What::Check(args) = &args.what;
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
