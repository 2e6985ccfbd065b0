//! Our own engine: quantized weights as they are, many sequences over a paged KV cache, one graph.
//!
//! `network` says what a model computes, `weights` brings its tensors into the order the kernels want, `cpu`
//! computes a step, and [`schedule`](super::schedule) makes an [`Engine`] of steps. Start at [`load`]; the pass itself
//! is `cpu/forward.rs`. What it cannot compute is refused by name in [`supports`], never computed differently.

mod cpu;
mod finite;
mod memory;
mod network;
mod weights;
#[cfg(test)]
mod tests;

use crate::base::sys::Interrupt;
use crate::model::gguf::{self, Gguf};
use crate::model::{self, Header, Model, Source};

use super::schedule::Scheduled;
use super::{Demand, Device, Engine, Error};
use crate::Options;

pub use cpu::{Isa, KvType};
pub use memory::memory_foreseen;
pub use network::supports;

/// The engine's name in errors and records.
pub const NAME: &str = "fused";

/// Says whether this engine can run rows like `demand` on the model.
///
/// # Errors
/// [`Error::Unsupported`] with the number that is too large and the way out.
pub fn can_run(header: &Header, demand: Demand) -> Result<(), Error> {
    supports(header)?;
    if let Device::Cuda(_) = demand.device {
        return Err(Error::NoDevice(format!(
            "{} was asked for, and the engine `{NAME}` computes on the processor so far: `--engine candle`, or `--device cpu`",
            demand.device
        )));
    }
    Ok(())
}

/// Loads `model` and returns an engine with it; `progress` is told now and then which share of the weights is ready.
///
/// # Errors
/// [`Error::Unsupported`] as [`supports`] says, [`Error::NoDevice`] for a GPU, [`Error::Load`] when the file cannot
/// be read or holds weights that are no numbers, and [`Error::Interrupted`] when the user asked to stop meanwhile.
pub fn load(
    model: &Model,
    options: &Options,
    interrupt: &Interrupt,
    progress: &dyn Fn(f64),
) -> Result<Box<dyn Engine>, Error> {
    Ok(Box::new(Scheduled::new(back_end(model, options, interrupt, progress)?)))
}

/// [`load`] without a scheduler.
fn back_end(
    model: &Model,
    options: &Options,
    interrupt: &Interrupt,
    progress: &dyn Fn(f64),
) -> Result<cpu::CpuEngine, Error> {
    if matches!(options.device, Device::Cuda(_)) {
        return Err(Error::NoDevice(format!("the engine `{NAME}` computes on the processor so far")));
    }
    if let Source::Safetensors(_) = model.source {
        return Err(unsupported(
            "read a safetensors folder",
            format!("it reads GGUF files; {}", network::WAY_OUT),
        ));
    }
    let file = open(model, interrupt)?;
    let network = network::Network::new(&file.header, &file.metadata)?.for_positions(options.max_positions);
    cpu::CpuEngine::new(model, &file, network, options, interrupt, progress)
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
