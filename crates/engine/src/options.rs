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
    /// How our own engine launches kernels on a GPU.
    pub launches: Launches,
}

/// How kernels are launched on a GPU. The same kernels compute the same bits in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Launches {
    /// Those of a decode step at once, as a CUDA graph; others one by one.
    #[default]
    Graphs,
    /// One by one.
    Single,
    /// One by one, and each is waited for, so that the one that fails is named.
    Watched,
}

impl Launches {
    /// Its name in records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Graphs => "graphs",
            Self::Single => "single",
            Self::Watched => "watched",
        }
    }
}
