//! The back end on an NVIDIA GPU: a [`StepEngine`] over weights in the file's blocks, a paged cache and kernels of our own.
//!
//! Nothing is linked: driver and compiler are found at run time, kernels are compiled for the GPU and the model that are
//! here and kept in the cache. `launch` is where code is launched, `pass` one step of it, `store` where weights lie.
//!
//! Matrices have two families of kernels, both for every card from compute capability 8.0 on. The plain one takes every type
//! of tensor, in single precision throughout. The other uses tensor cores, for the types that `fragments` has a layout for.

mod buffers;
mod check;
mod fragments;
mod graphs;
mod launch;
mod pass;
mod store;
#[cfg(test)]
pub(super) mod tests;

use crate::base::env;
use crate::base::sys::Interrupt;
use crate::hardware::cuda::{Architecture, Device, Fault, Memory, Nvrtc, Places};
use crate::model::gguf::Gguf;
use crate::model::{Header, Model, TensorInfo, TensorType};
use crate::{Capabilities, Demand, Error, Options, StepBatch, StepEngine, StepLimits, StepOutput};

use super::kv::{self, KvLayout, KvType};
use super::network::Network;
use super::rotary::tables;
use super::weights::{Shape, is_matrix};
use super::{NAME, not_loaded, unreadable};

pub use check::variants::CheckedKernel;
pub(super) use check::variants::all as check_kernels;

use buffers::{Buffers, LOGIT_ROWS, attention_bytes, pages_of};
use fragments::Layout;
use graphs::Graphs;
use launch::{Halves, Kernels};
use store::{Resident, Weights};

/// Tokens of a step at most, unless there are more sequences.
const TOKENS_PER_STEP: u32 = 512;
/// Compute capability of the oldest GPUs that kernels are compiled for.
pub const OLDEST_CAPABILITY: (u32, u32) = (8, 0);
const OLDEST: Architecture = Architecture { major: OLDEST_CAPABILITY.0, minor: OLDEST_CAPABILITY.1 };
/// The driver's context, code and its own reserve; assumed, and taken off what is free.
const CONTEXT: u64 = 512 << 20;
/// What a record says of a kernel that is dropped; `scripts/gpu/selfcheck` looks for it.
const NOT_USED: &str = "is not used: its results are wrong";
/// What the device keeps free when pages are taken.
const SPARE: usize = 64 << 20;

/// The engine on one GPU.
#[derive(Debug)]
pub(super) struct CudaEngine {
    network: Network,
    /// Given back before the memory that they use.
    graphs: Graphs,
    weights: Weights,
    kernels: Kernels,
    buffers: Buffers,
    cache: Memory,
    layout: KvLayout,
    capabilities: Capabilities,
    limits: StepLimits,
}

/// What went wrong on the device while it did `what`.
fn not_done(what: &str, fault: Fault) -> Error {
    match fault {
        Fault::OutOfMemory(reason) => Error::OutOfMemory { engine: NAME, what: what.to_owned(), reason },
        Fault::Failed(reason) => Error::Step { engine: NAME, what: what.to_owned(), reason },
    }
}

/// The GPU and the compiler for it.
fn open(ordinal: usize) -> Result<(Device, Nvrtc), Error> {
    let places = Places::here();
    let device = Device::numbered(&places, ordinal).map_err(Error::NoDevice)?;
    if device.architecture < OLDEST {
        return Err(Error::NoDevice(format!(
            "{} has compute capability {}.{}, and the engine `{NAME}` needs {}.{} or higher; use --device cpu",
            device.name, device.architecture.major, device.architecture.minor, OLDEST.major, OLDEST.minor
        )));
    }
    let nvrtc = Nvrtc::of_driver(&places).map_err(Error::NoDevice)?;
    Ok((device, nvrtc))
}

impl CudaEngine {
    /// Opens the GPU, compiles the kernels, loads the weights and takes memory for the cache.
    ///
    /// # Errors
    /// As [`load`](super::load), and [`Error::OutOfMemory`] when the GPU's memory does not hold it.
    pub(super) fn new(
        model: &Model,
        file: &Gguf,
        network: Network,
        (ordinal, options): (usize, &Options),
        interrupt: &Interrupt,
        progress: &dyn Fn(f64),
    ) -> Result<Self, Error> {
        if let Some(isa) = options.isa {
            return Err(super::unsupported(
                format!("compute with {isa} on a GPU"),
                "it is a CPU instruction set; leave out `--isa`, or use `--device cpu`",
            ));
        }
        kv::check(network.head_size, options.kv_type)?;
        let (device, nvrtc) = open(ordinal)?;
        let cache_folder = env::cache_folder();
        let kinds = kinds(&file.header);
        let how = (options.kv_type, options.launches);
        let mut kernels = Kernels::new((&device, &nvrtc), &cache_folder, &network, how, &kinds)
            .map_err(|reason| not_loaded(format!("the kernels cannot be prepared: {reason}")))?;
        let reader = model.open_gguf(interrupt).map_err(|error| unreadable(&error))?;
        // Before weights are laid out: no other kernels can multiply by what is in fragments.
        let matrices = file.header.tensors.iter().filter(|tensor| is_matrix(tensor));
        let shapes: Vec<Shape> = matrices.filter_map(Shape::of).collect();
        check::tensor::check(&mut kernels, &shapes)
            .map_err(|fault| not_done("the check of its kernels for tensor cores", fault))?;
        let store = Resident::new(std::sync::Arc::clone(kernels.queue()), kernels.in_fragments());
        let weights = Weights::load(reader, file, &network, store, progress)?;
        let layout = KvLayout {
            layers: network.layers.len(),
            kv_heads: network.kv_heads,
            head_size: network.head_size,
            kv_type: options.kv_type,
        };
        let checked = check::all(&kernels, &network, &weights, layout).map_err(|wrong| match wrong {
            check::Wrong::Device(fault) => not_done("the check of its kernels", fault),
            check::Wrong::Kernel(reason) => not_loaded(format!(
                "{} gives wrong results: {reason}; check it with `bench doctor`, or use --device cpu",
                device.name
            )),
        })?;
        let positions = options.max_positions.unwrap_or(network.context_length).min(network.context_length);
        let batch = options.max_batch.unwrap_or(1);
        let tokens = TOKENS_PER_STEP.max(batch);
        let wanted = batch.saturating_mul(pages_of(positions)).max(1);
        let factors = weights.rope_factors.as_deref();
        let shape = (tokens as usize, wanted as usize);
        let buffers = Buffers::new(kernels.queue(), &network, shape, (positions as usize, factors))
            .map_err(|fault| not_done("the buffers of a step", fault))?;
        let no_cache = |fault| not_done("the KV cache", fault);
        let free = kernels.queue().free().map_err(no_cache)?;
        // One of them is no sequence's: tokens that fill a bucket are put there.
        let fit = (free.saturating_sub(SPARE) / layout.page_bytes()).saturating_sub(1);
        // A batch that grows is given what there is; its rows are checked one by one.
        let pages = wanted.min(u32::try_from(fit).unwrap_or(u32::MAX));
        if pages < pages_of(positions) {
            return Err(Error::OutOfMemory {
                engine: NAME,
                what: format!("a KV cache of {positions} positions"),
                reason: format!(
                    "{} MiB are left on the GPU after the weights; lower --depth, -p or -n, or use a smaller model",
                    free >> 20
                ),
            });
        }
        let cache = kernels.queue().alloc((pages as usize + 1) * layout.page_bytes()).map_err(no_cache)?;
        kernels.queue().finish().map_err(|fault| not_done("loading the model", fault))?;
        let mut engine = Self {
            capabilities: Capabilities {
                engine: NAME,
                version: format!("{} {}", env!("CARGO_PKG_VERSION"), device.architecture),
                device: options.device.to_string(),
                threads: None,
                max_batch: batch,
                max_context: positions,
                kv_type: options.kv_type.label(),
                caveats: Vec::new(),
                choices: Vec::new(),
                kernels: Some(named(&kernels)),
            },
            limits: StepLimits { vocabulary: file.header.spec.vocabulary, pages, tokens_per_step: tokens },
            graphs: Graphs::new(options.launches, batch, positions, pages),
            network,
            weights,
            kernels,
            buffers,
            cache,
            layout,
        };
        graphs::check(&mut engine).map_err(|fault| not_done("the check of a step", fault))?;
        engine.capabilities.choices = choices(&engine.kernels, &checked, &nvrtc.version());
        engine.capabilities.choices.push(engine.graphs.said());
        Ok(engine)
    }
}

/// Which kernels are used, for the record.
fn choices(kernels: &Kernels, plain: &[TensorType], nvrtc: &str) -> Vec<String> {
    let labels = |kinds: &[TensorType]| kinds.iter().map(|kind| kind.label()).collect::<Vec<_>>().join(", ");
    let mut said = vec![format!(
        "kernels: NVRTC {nvrtc}; all checked at load, in single precision for matrices of {}",
        labels(plain)
    )];
    let tensor = kernels.in_fragments();
    if !tensor.is_empty() {
        said.push(format!("tensor cores, activations in f16: matrices of {}", labels(&tensor)));
    }
    let dropped = kernels.dropped().iter();
    said.extend(
        dropped.map(|dropped| format!("{} for {} {NOT_USED}: {}", dropped.name, dropped.kind, dropped.why)),
    );
    said
}

/// A hash of the kernels' code, and what of it is not used.
fn named(kernels: &Kernels) -> String {
    let dropped = kernels.dropped().iter();
    let without = dropped.map(|dropped| format!(" without {} for {}", dropped.name, dropped.kind));
    kernels.hash().to_owned() + &without.collect::<String>()
}

/// Types of the matrices of a model, each once.
fn kinds(header: &Header) -> Vec<TensorType> {
    let mut kinds = Vec::new();
    for tensor in header.tensors.iter().filter(|tensor| is_matrix(tensor)) {
        if !kinds.contains(&tensor.dtype) {
            kinds.push(tensor.dtype);
        }
    }
    kinds
}

/// What the GPU's memory will hold while it runs `demand`, in named parts.
pub(super) fn memory(header: &Header, demand: Demand, kv_type: KvType) -> Vec<(&'static str, u64)> {
    let spec = &header.spec;
    let positions = u64::from(demand.context) + u64::from(demand.prompt) + u64::from(demand.output);
    let pages = u64::from(demand.batch) * positions.div_ceil(kv::PAGE as u64);
    let page = spec.kv_bytes_per_position(kv_type.block_bytes()).get() * kv::PAGE as u64;
    let tokens = u64::from(TOKENS_PER_STEP.max(demand.batch));
    let (width, vocabulary) = (u64::from(spec.width), u64::from(spec.vocabulary));
    let heads = (2 * u64::from(spec.heads) + 2 * u64::from(spec.kv_heads)) * u64::from(spec.head_size);
    // A token's gate, up and output, or those of each of its experts.
    let feed = match spec.experts {
        None => 2 * u64::from(spec.feed_forward) + width,
        Some(experts) => {
            u64::from(experts.used) * (2 * u64::from(experts.feed_forward) + width + 2)
                + u64::from(experts.count)
        }
    };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    // The layout of a matrix that is multiplied by in fragments has whole tiles.
    let in_fragments = |tensor: &TensorInfo| {
        let shape = Shape::of(tensor)?;
        Some((shape.count * Layout::of(shape.kind)?.bytes(shape.rows, shape.columns)) as u64)
    };
    let tied = !header.tensors.iter().any(|tensor| tensor.name == "output.weight");
    let weights = header.tensors.iter().map(|tensor| match (is_matrix(tensor), &*tensor.name) {
        (false, _) => tensor.elements() * 4,
        // Rows are looked up in the file's blocks.
        (true, "token_embd.weight") => {
            tensor.bytes().get() + in_fragments(tensor).filter(|_| tied).unwrap_or(0)
        }
        (true, _) => in_fragments(tensor).unwrap_or_else(|| tensor.bytes().get()),
    });
    let feed_forward = spec.experts.map_or(spec.feed_forward, |experts| experts.feed_forward);
    let pairs = spec.experts.map_or(1, |experts| u64::from(experts.used)) * tokens;
    let widest = spec.width.max(spec.heads * spec.head_size);
    let halves = Halves::sizes(size(tokens), widest as usize)
        .iter()
        .sum::<usize>()
        .max(Halves::sizes(size(pairs), feed_forward as usize).iter().sum()) as u64;
    let rows = LOGIT_ROWS as u64;
    let parts =
        attention_bytes(spec.heads as usize, spec.head_size as usize, size(tokens), size(positions)) as u64;
    vec![
        ("weights", weights.sum()),
        ("KV cache", (pages + 1) * page),
        ("activations", (tokens * (2 * width + heads + feed + 6) + pages) * 4 + parts + halves),
        ("logits", rows * (vocabulary + width) * 4),
        ("rotary tables", tables(spec) * positions * u64::from(spec.head_size) * 4),
        ("CUDA context", CONTEXT),
    ]
}

impl StepEngine for CudaEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn limits(&self) -> StepLimits {
        self.limits
    }

    fn step(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), Error> {
        // Kernels go where these numbers say.
        let refused = |reason| Error::Step { engine: NAME, what: "a step".to_owned(), reason };
        batch.check(self.limits).map_err(refused)?;
        let most = u64::from(self.capabilities.max_context);
        let beyond = |sequence: &&crate::StepSequence| {
            u64::from(sequence.position) + sequence.token_count as u64 > most
        };
        if let Some(sequence) = batch.sequences.iter().find(beyond) {
            return Err(refused(format!("{sequence:?} of a context of {most} positions")));
        }
        let used = self.graphs.are_used();
        let done = pass::step(self, batch, output).map_err(|fault| not_done("a step", fault));
        // What a driver fails to record later on is said too, in place of what was said at load.
        if used && !self.graphs.are_used() {
            self.capabilities.choices.pop();
            self.capabilities.choices.push(self.graphs.said());
        }
        done
    }
}
