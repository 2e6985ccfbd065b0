//! `bench quality --text FILE`: perplexity, and KL divergence and top-1 agreement against a reference.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::base::failure::{Class, Classed as _};
use crate::base::{clock, sys};
use crate::catalog::Catalog;
use crate::engine::fused::{Isa, KvType};
use crate::hardware::device::{self, DeviceRequest};
use crate::record;
use crate::report::terminal;
use crate::run::quality::LEAST_CONTEXT;
use crate::run::quality::scoring::{self, QualityRequest, Reference, Scoring};
use crate::run::session::{self, Place};

use super::values::engine::{EngineName, isa, kv_type};
use super::values::number::threads;
use super::{Output, exit};

/// `bench quality`.
#[derive(Debug, Args)]
pub(super) struct QualityArgs {
    /// As in `bench run`: catalog id with `:quant`, path of a GGUF file or safetensors folder, `hf:org/repo[/file]`
    #[arg(short, long, value_name = "MODEL", help_heading = "What")]
    model: String,
    /// File with plain UTF-8 text, at least twice as long as the context
    #[arg(long, value_name = "FILE", help_heading = "What")]
    text: PathBuf,
    /// Engine
    #[arg(long, value_enum, default_value_t = EngineName::Auto, help_heading = "What")]
    engine: EngineName,
    /// Reference model with the same vocabulary, such as the unquantized one
    #[arg(long, value_name = "MODEL", help_heading = "What")]
    reference: Option<String>,
    /// Engine of the reference; without --reference, compare with the same model on this engine
    #[arg(long, value_enum, value_name = "ENGINE", help_heading = "What")]
    reference_engine: Option<EngineName>,
    /// Tokens per chunk; the second half is scored
    #[arg(short, long, value_name = "N", default_value_t = 512, help_heading = "What",
        value_parser = clap::value_parser!(u32).range(i64::from(LEAST_CONTEXT)..), allow_negative_numbers = true)]
    ctx_size: u32,
    /// Score at most this many chunks [default: the whole text]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true, help_heading = "How long")]
    chunks: Option<u32>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Where")]
    device: DeviceRequest,
    /// Compute threads on the CPU [default: the physical cores]
    #[arg(short, long, value_name = "N", value_parser = threads, allow_negative_numbers = true, help_heading = "Where")]
    threads: Option<u16>,
    /// Limit `fused` to an instruction set: portable, avx2, avx512, avx512vnni or amx [default: the best available]
    #[arg(long, value_name = "ISA", value_parser = isa, help_heading = "Where")]
    isa: Option<Isa>,
    /// KV cache format of `fused`: `f16` or `q8_0` [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "Where")]
    kv_type: Option<KvType>,
}

impl QualityArgs {
    fn request(&self) -> QualityRequest {
        let engine = self.reference_engine.and_then(EngineName::kind);
        let asked = self.reference.is_some() || self.reference_engine.is_some();
        QualityRequest {
            text: self.text.clone(),
            model: self.model.clone(),
            engine: self.engine.kind(),
            reference: asked.then(|| Reference { model: self.reference.clone(), engine }),
            context: self.ctx_size,
            chunks: self.chunks,
            threads: self.threads,
            isa: self.isa,
            kv_type: self.kv_type,
        }
    }
}

pub(super) fn run(
    args: &QualityArgs,
    catalog: &dyn Fn() -> Result<Catalog, crate::catalog::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    let created = clock::wall();
    let interrupt = sys::Interrupt::install()?;
    session::limit_threads(args.threads)?;
    let request = args.request();
    let (text, info) = scoring::read(&request.text)?;
    let catalog = catalog()?;
    let place = Place::choose(args.device, None, &device::discover(), &catalog, None)?;
    if let Some(gpu) = &place.unused_gpu {
        output.note(&gpu.to_string());
    }
    let bar = output.bar();
    let scoring =
        Scoring { request: &request, catalog: &catalog, place: &place, watch: &bar, interrupt: &interrupt };
    let scored = scoring.score(&text, info);
    bar.clear();
    let stopped = |code: Option<u8>| anyhow::Error::from(exit::Silent(code.unwrap_or(130)));
    let scored = match scored {
        Err(error) if interrupt.requested() && matches!(error.class(), Class::Interrupted(_)) => {
            output.note("interrupted before anything was scored");
            return Err(stopped(interrupt.exit_code()));
        }
        other => other?,
    };
    let found = scored.assessment(super::typed(argv), created, interrupt.exit_code());
    if output.json {
        output.stdout(&(record::write::to_json(&found)? + "\n"))?;
    }
    if !(output.json && output.quiet) {
        output.human(&terminal::render_quality(&found, output.human_style()))?;
    }
    if found.interrupted.is_some() { Err(stopped(found.interrupted)) } else { Ok(()) }
}
