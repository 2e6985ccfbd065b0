//! The processor's back end: a [`StepEngine`] over packed weights, a paged cache and its own threads.

mod activations;
mod arena;
mod attention;
mod bits;
mod choose;
mod forward;
mod isa;
mod kv;
mod lanes;
mod matmul;
mod pack;
mod pool;
mod prefetch;
mod rotary;
mod rows;
mod store;
mod trial;

use crate::base::sys::{self, Interrupt};
use crate::model::Model;
use crate::model::gguf::Gguf;

use super::super::{Capabilities, Error, PAGE_POSITIONS, StepBatch, StepEngine, StepLimits, StepOutput};
use super::kv::{KvLayout, KvType, check as kv_check};
use super::network::Network;
use super::{NAME, not_loaded, unreadable};
use crate::Options;

pub use isa::Isa;
pub(super) use store::{packed_bytes, split_bytes};

use arena::{Arena, Region};
use forward::Buffers;
use matmul::Form;
use pool::Pool;
use prefetch::Prefetch;
use rotary::Table;
use store::{Packed, Weights, matrices};

/// Tokens of a step at most: with more a prompt gets no faster, and the buffers no smaller.
pub(super) const TOKENS_PER_STEP: u32 = 512;

/// The engine on the processor.
#[derive(Debug)]
pub(super) struct CpuEngine {
    network: Network,
    weights: Weights,
    tables: Vec<Table>,
    cache: Arena,
    pages: Region,
    pool: Pool,
    isa: Isa,
    prefetch: Prefetch,
    kv_type: KvType,
    buffers: Buffers,
    capabilities: Capabilities,
    limits: StepLimits,
}

impl CpuEngine {
    /// Loads the weights and takes memory for the cache.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub(super) fn new(
        model: &Model,
        file: &Gguf,
        network: Network,
        options: &Options,
        interrupt: &Interrupt,
        progress: &dyn Fn(f64),
    ) -> Result<Self, Error> {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        isa.check().map_err(|reason| {
            super::unsupported(
                format!("compute with {isa}"),
                format!("{reason}; omit `--isa`, or name a lower one"),
            )
        })?;
        kv_check(network.head_size, options.kv_type)?;
        let threads = options.threads.unwrap_or_else(default_threads);
        let reader = model.open_gguf(interrupt).map_err(|error| unreadable(&error))?;
        let store = Packed::new(&file.header)?;
        let weights = Weights::load(reader, file, &network, store, progress)?;
        let mut pool = Pool::new(threads)
            .map_err(|error| not_loaded(format!("cannot start {threads} threads ({error})")))?;
        let asked = trial::choose(isa, &weights, &mut pool, threads);
        let positions = options.max_positions.unwrap_or(network.context_length).min(network.context_length);
        let batch = options.max_batch.unwrap_or(1);
        let layout = KvLayout {
            layers: network.layers.len(),
            kv_heads: network.kv_heads,
            head_size: network.head_size,
            kv_type: options.kv_type,
        };
        let pages = batch.saturating_mul(positions.div_ceil(PAGE_POSITIONS));
        let no_memory = |error: &dyn std::fmt::Display| {
            not_loaded(format!(
                "cannot allocate memory for a KV cache of {batch} sequences of {positions} positions ({error}); \
                 lower --batch or --depth"
            ))
        };
        let mut cache =
            Arena::new(pages as usize * layout.page_bytes()).map_err(|error| no_memory(&error))?;
        let region =
            cache.take(pages as usize * layout.page_bytes()).ok_or_else(|| no_memory(&"too large"))?;
        let factors = weights.rope_factors.as_deref();
        let tables = network
            .rotations
            .iter()
            .map(|rotation| Table::new(rotation, factors, positions as usize))
            .collect();
        let tokens = TOKENS_PER_STEP.max(batch);
        let kinds = weights.blocks.iter().flat_map(matrices).map(|matrix| matrix.layout.kind);
        let split = kinds.into_iter().any(|kind| Form::of(isa, kind) == Form::Parts);
        let buffers = Buffers::new(&network, tokens as usize, threads, split)
            .map_err(|error| not_loaded(format!("cannot allocate memory for a step's buffers ({error})")))?;
        Ok(Self {
            capabilities: Capabilities {
                engine: NAME,
                version: format!("{} {isa}", env!("CARGO_PKG_VERSION")),
                device: "cpu".to_owned(),
                threads: Some(threads),
                max_batch: batch,
                max_context: positions,
                kv_type: options.kv_type.label(),
                caveats: Vec::new(),
                choices: asked.said.into_iter().collect(),
                kernels: None,
            },
            limits: StepLimits { vocabulary: file.header.spec.vocabulary, pages, tokens_per_step: tokens },
            network,
            weights,
            tables,
            cache,
            pages: region,
            pool,
            isa,
            prefetch: asked.prefetch,
            kv_type: options.kv_type,
            buffers,
        })
    }
}

/// As many threads as processors that this process may use.
fn default_threads() -> usize {
    sys::allowed_cpus().len().max(1)
}

impl StepEngine for CpuEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn limits(&self) -> StepLimits {
        self.limits
    }

    fn step(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), Error> {
        // Kernels go where these numbers say.
        batch.check(self.limits).map_err(|reason| Error::Step {
            engine: NAME,
            what: "a step".to_owned(),
            reason,
        })?;
        forward::step(self, batch, output);
        Ok(())
    }
}
