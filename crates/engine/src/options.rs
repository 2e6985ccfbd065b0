//! How to load a model, whichever engine takes it.

use crate::Device;
use crate::fused::{Isa, KvType};

/// How to load a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Where to compute.
    pub device: Device,
    /// Most positions that any sequence will have, where known.
    pub max_positions: Option<u32>,
    /// Most sequences that will run together, where known.
    pub max_batch: Option<u32>,
    /// Threads that compute on the processor; the engine's own choice when `None`.
    pub threads: Option<usize>,
    /// Instruction set that our own engine is held to; the best there is when `None`.
    pub isa: Option<Isa>,
    /// Format of our own engine's KV cache.
    pub kv_type: KvType,
}
