//! Stock candle-transformers: the baseline, and every architecture it knows.
//!
//! candle is not patched here: the results are those of any program that uses it from the registry. So this room also
//! owns the list of what it does *not* do: [`supports`] and [`can_run`] refuse before anything is loaded,
//! [`Engine::run`] before the first step, and what runs, but with other numbers than the model's, is a caveat in
//! [`Capabilities`] that makes the record suspect. The list was read in the source of candle 0.11.1; tests hold the
//! parts that a processor can show.
//!
//! Start at [`load`]; `run` in `driver.rs` is the loop that is measured.

mod device;
mod driver;
mod facts;
mod family;
mod folder;
mod gguf;
mod memory;
mod network;
mod repack;
mod support;
mod unquantized;

// Rooms go by their own names here: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;
#[cfg(test)]
use infercost_catalog as catalog;
use infercost_engine as engine;
use infercost_model as model;

use std::sync::Arc;

use crate::base::sys::Interrupt;
use crate::model::{Model, Source};

use crate::engine::{Capabilities, Device, Engine, Error};

pub use memory::memory_estimate;
pub use support::{can_run, supports};

/// The engine's name in errors and records.
pub const NAME: &str = "candle";

/// Version of candle that this program links. `Cargo.toml` asks for exactly this one, so that no record can name another
/// and no other runs whose faults were not read; a test holds the two together.
pub const VERSION: &str = "0.11.1";

/// Threads that candle computes with on the CPU, from the environment or the machine's cores.
pub fn threads() -> usize {
    candle_core::utils::get_num_threads()
}

/// How to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Where to compute.
    pub device: Device,
    /// Most positions that any sequence will have, where known: Phi-3 takes memory for that many at once.
    pub max_positions: Option<u32>,
}

/// Loads `model` and returns an engine with it.
///
/// # Errors
/// [`Error::Unsupported`] as [`supports`] says, [`Error::NoDevice`] when the device is not there or
/// this binary has no code for it, [`Error::Load`] when candle or the file refuses, and
/// [`Error::Interrupted`] when the user asked to stop meanwhile.
pub fn load(model: &Model, options: &Options, interrupt: &Interrupt) -> Result<Box<dyn Engine>, Error> {
    supports(&model.header)?;
    let device = device::open(options.device)?;
    let loaded = match &model.source {
        Source::Gguf(_) | Source::Synthetic(_) => {
            let reader = model.open_gguf(interrupt).map_err(|error| unreadable(&error))?;
            gguf::load(reader, &model.header, options, &device, interrupt)?
        }
        Source::Safetensors(folder) => unquantized::load(folder, &model.header, options, &device, interrupt)?,
    };
    let capabilities = Capabilities {
        engine: NAME,
        version: VERSION.to_owned(),
        device: options.device.to_string(),
        threads: device::threads(options.device),
        max_batch: loaded.facts.max_batch,
        max_context: loaded.facts.max_context,
        kv_type: loaded.facts.kv_type,
        caveats: loaded.caveats,
        choices: Vec::new(),
        kernels: None,
    };
    Ok(Box::new(driver::Driver::new(
        loaded.network,
        Arc::new(loaded.facts),
        capabilities,
        device,
        model.header.spec.vocabulary,
    )))
}

fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Unsupported { engine: NAME, what: what.into(), reason: reason.into() }
}

fn not_loaded(reason: impl Into<String>) -> Error {
    Error::Load { engine: NAME, reason: reason.into() }
}

/// What candle says, without the backtrace that it appends when `RUST_BACKTRACE` is set.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn unreadable(error: &model::Error) -> Error {
    if error.is_interruption() { Error::Interrupted } else { not_loaded(error.to_string()) }
}

#[cfg(test)]
mod tests;
