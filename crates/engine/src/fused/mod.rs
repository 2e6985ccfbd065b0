//! Our own engine: quantized weights as they are, many sequences over a paged KV cache, one graph.
//!
//! `network` says what a model computes, `weights` brings its tensors where a back end wants them, `cpu` and `cuda`
//! compute a step, and [`schedule`](super::schedule) makes an [`Engine`] of steps. Start at [`load`]; the pass itself
//! is `cpu/forward/` or `cuda/pass.rs`. What it cannot compute is refused by name in [`supports`], never computed differently.

mod cpu;
mod cuda;
mod finite;
mod kv;
mod memory;
mod network;
mod rotary;
mod weights;
#[cfg(test)]
mod tests;

use crate::base::sys::Interrupt;
use crate::model::gguf::{self, Gguf};
use crate::model::{self, Model, Source};

use super::schedule::Scheduled;
use super::{Device, Engine, Error};
use crate::Options;

pub use cpu::Isa;
pub use cuda::CheckedKernel;
pub use cuda::OLDEST_CAPABILITY;
pub use kv::KvType;
pub use memory::memory_estimate;
pub use network::supports;

/// The engine's name in errors and records.
pub const NAME: &str = "fused";

/// Loads `model` and returns an engine with it; `progress` is told now and then which share of the weights is ready.
///
/// # Errors
/// [`Error::Unsupported`] as [`supports`] says, [`Error::NoDevice`] when the GPU is not there or lacks what it needs, [`Error::Load`] when the file cannot
/// be read or holds weights that are no numbers, and [`Error::Interrupted`] when the user asked to stop meanwhile.
pub fn load(
    model: &Model,
    options: &Options,
    interrupt: &Interrupt,
    progress: &dyn Fn(f64),
) -> Result<Box<dyn Engine>, Error> {
    let engine: Box<dyn Engine> = match options.device {
        Device::Cpu => Box::new(Scheduled::new(back_end(model, options, interrupt, progress)?)),
        Device::Cuda(ordinal) => {
            Box::new(Scheduled::new(gpu_back_end(model, (ordinal, options), interrupt, progress)?))
        }
    };
    Ok(engine)
}

/// [`load`] on the processor, without a scheduler.
fn back_end(
    model: &Model,
    options: &Options,
    interrupt: &Interrupt,
    progress: &dyn Fn(f64),
) -> Result<cpu::CpuEngine, Error> {
    let (file, network) = read(model, options, interrupt)?;
    cpu::CpuEngine::new(model, &file, network, options, interrupt, progress)
}

/// [`load`] on the GPU with this number, without a scheduler.
fn gpu_back_end(
    model: &Model,
    (ordinal, options): (usize, &Options),
    interrupt: &Interrupt,
    progress: &dyn Fn(f64),
) -> Result<cuda::CudaEngine, Error> {
    let (file, network) = read(model, options, interrupt)?;
    cuda::CudaEngine::new(model, &file, network, (ordinal, options), interrupt, progress)
}

/// Checks every GPU kernel, for all types and at the shapes of these models, on the GPU with this number, and tells `each` what
/// came of it; gives the GPU's name. No weight is loaded.
///
/// # Errors
/// As [`load`]; [`Error::Step`] with the kernel at which the device failed.
pub fn check_kernels(
    ordinal: usize,
    models: &[Model],
    interrupt: &Interrupt,
    each: &mut dyn FnMut(CheckedKernel),
) -> Result<String, Error> {
    let read = |model| Ok(read(model, &Options::default(), interrupt)?.1);
    let networks: Result<Vec<_>, Error> = models.iter().map(read).collect();
    let models: Vec<_> = models.iter().map(|model| &model.header).zip(networks?).collect();
    cuda::check_kernels(ordinal, &models, interrupt, each)
}

/// The file's header and what its model computes.
fn read(model: &Model, options: &Options, interrupt: &Interrupt) -> Result<(Gguf, network::Network), Error> {
    if let Source::Safetensors(_) = model.source {
        return Err(unsupported(
            "read a safetensors folder",
            format!("it reads GGUF files; {}", network::WAY_OUT),
        ));
    }
    let file = open(model, interrupt)?;
    let network = network::Network::new(&file.header, &file.metadata)?.for_positions(options.max_positions);
    Ok((file, network))
}

/// The file's header with its metadata; [`Model`] keeps only what planning needs.
fn open(model: &Model, interrupt: &Interrupt) -> Result<Gguf, Error> {
    let mut reader = model.open_gguf(interrupt).map_err(|error| unreadable(&error))?;
    let length = std::io::Seek::seek(&mut reader, std::io::SeekFrom::End(0));
    let length = length.and_then(|length| std::io::Seek::rewind(&mut reader).map(|()| length));
    let length = length.map_err(|error| not_loaded(format!("{}: {error}", model.origin)))?;
    let buffered = std::io::BufReader::with_capacity(1 << 16, reader);
    gguf::parse(buffered, length, std::path::Path::new(&model.origin)).map_err(|error| unreadable(&error))
}

fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Unsupported { engine: NAME, what: what.into(), reason: reason.into() }
}

fn not_loaded(reason: impl Into<String>) -> Error {
    Error::Load { engine: NAME, reason: reason.into() }
}

fn unreadable(error: &model::Error) -> Error {
    if error.is_interruption() { Error::Interrupted } else { not_loaded(error.to_string()) }
}
