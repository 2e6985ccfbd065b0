//! Memory estimated from the header alone, for what candle really keeps.
//!
//! Read in candle's source and then measured; the surprises are: on a processor the quantized matrices that its
//! vector kernels like are kept twice, as stored and repacked with f32 scales; the embedding is kept as f32; Gemma's
//! rotary tables are made for 131,072 positions, once a block. Owns no limit and refuses nothing: the planner
//! compares the total with the memory available.

use crate::base::sys;
use crate::base::units::Bytes;
use crate::model::{Header, TensorInfo};

use super::driver::KEEP_CONTEXT_FROM;
use super::facts::CONTEXT_CHUNK;
use super::family::{Family, family_of, is_blocks, is_gguf, quantized_head};
use super::repack::Repacking;
use super::support::ignored_tensors;
use crate::engine::{Demand, Device, MemoryEstimate};

/// Program, libraries, the vocabulary while it is read, stacks, and what the allocator holds back.
///
/// Chosen on 2026-11-23 so that the resident set of 17 runs of ten models (222 MiB to 3.4 GiB; glibc,
/// x86-64, candle 0.11.1) came out between 0.94 and 1.02 of the estimate.
const RUNTIME: u64 = 24 << 20;

/// f32.
const ELEMENT: u64 = 4;

/// Positions of the rotary tables of candle's quantized Llama and of each block of its Gemma 3.
const LLAMA_POSITIONS: u64 = 4096;
const GEMMA_POSITIONS: u64 = 131_072;

/// Gemma 3's widest window of local attention (4B and larger), where we end its unquantized contexts.
const GEMMA_WINDOW: u64 = 1024;

/// Positions that candle's quantized Qwen3 takes memory for from the start; touched as they fill.
const QWEN3_POSITIONS: u64 = 4096;

/// What the process (or the GPU) will need at its peak while it runs `demand`.
///
/// An architecture that [`supports`](super::supports) refuses is counted as Llama.
pub fn memory_estimate(header: &Header, demand: Demand) -> MemoryEstimate {
    let family = family_of(header).unwrap_or(Family::Llama);
    let size = Size::new(header, family, demand);
    let (activations, scores) = (size.activations(), size.scores());
    let mut parts = vec![
        ("weights", size.weights()),
        ("weights repacked", size.repacked()),
        ("embedding as f32", size.embedding()),
        ("rotary tables", size.rotary_tables()),
        ("KV cache", size.kv_cache()),
        ("activations", activations),
        ("attention scores", scores),
        // What is kept of a context is taken when its steps' values are gone.
        ("context kept", size.kept_context().saturating_sub(activations + scores)),
        ("runtime", RUNTIME),
    ];
    // The embedding as stored is gone when the first step begins.
    let after_loading: u64 = parts.iter().map(|(_, bytes)| bytes).sum::<u64>() - size.loaded();
    parts.push(("loading", size.loading().saturating_sub(after_loading)));
    let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
    MemoryEstimate { parts: parts.map(|(name, bytes)| (name, Bytes::new(bytes))).collect() }
}

/// The sizes of one model under one demand.
struct Size<'a> {
    header: &'a Header,
    family: Family,
    demand: Demand,
    /// A GGUF file, as opposed to a folder of safetensors.
    gguf: bool,
    /// Bytes of an element of a plain weight and of the KV cache.
    element: u64,
    /// Tensors that candle reads and keeps as they are or as f32, the embedding's use as a head included.
    kept: Vec<&'a TensorInfo>,
    /// Tokens of the largest step, over the batch.
    rows: u64,
}

impl<'a> Size<'a> {
    fn new(header: &'a Header, family: Family, demand: Demand) -> Self {
        let gguf = is_gguf(header);
        let mut kept: Vec<&TensorInfo> = header.tensors.iter().collect();
        if gguf {
            let ignored = ignored_tensors(family, header);
            let tied = header.tensor("output.weight").is_none();
            kept.retain(|tensor| {
                let embedding = tensor.name == "token_embd.weight" && !tied;
                !embedding && tensor.name != "rope_freqs.weight" && !ignored.contains(&tensor.name)
            });
        }
        // As in `unquantized::load`.
        let as_stored =
            !gguf && demand.device != Device::Cpu && matches!(family, Family::Llama | Family::Qwen3);
        let element = if as_stored {
            header.weight_bytes().get().div_ceil(header.parameters().max(1))
        } else {
            ELEMENT
        };
        let mut size = Self { header, family, demand, gguf, element, kept, rows: 0 };
        size.rows = size.steps().map(|(length, _)| u64::from(demand.batch) * length).max().unwrap_or(0);
        size
    }

    /// The kinds of steps, as tokens of each sequence and positions after them.
    fn steps(&self) -> impl Iterator<Item = (u64, u64)> {
        let Demand { batch, context, prompt, output, .. } = self.demand;
        // As in `Facts::context_steps`: whole where chunks are wrong, single tokens in a batch.
        let chunk = match self.family {
            _ if batch > 1 && self.gguf && (quantized_head(self.header) || self.family == Family::Gemma3) => {
                1.min(context)
            }
            Family::Gemma3 if self.gguf => context,
            _ => context.min(CONTEXT_CHUNK),
        };
        [(chunk, context), (prompt, context + prompt), (output.min(1), context + prompt + output)]
            .into_iter()
            .map(|(length, positions)| (u64::from(length), u64::from(positions)))
    }

    fn positions(&self) -> u64 {
        self.steps().map(|(_, positions)| positions).max().unwrap_or(0)
    }

    fn batch(&self) -> u64 {
        u64::from(self.demand.batch)
    }

    fn on_cpu(&self) -> bool {
        self.demand.device == Device::Cpu
    }

    /// Weights as candle keeps them: blocks as stored, everything else as f32.
    fn weights(&self) -> u64 {
        let as_blocks = |tensor: &TensorInfo| is_blocks(tensor) && tensor.shape.len() > 1;
        let bytes = self.kept.iter().map(|tensor| {
            if as_blocks(tensor) { tensor.bytes().get() } else { tensor.elements() * self.element }
        });
        bytes.sum()
    }

    fn repacked(&self) -> u64 {
        if !self.on_cpu() {
            return 0;
        }
        let repacking = Repacking::here(&sys::instruction_sets(), sys::has_cpu_flag);
        let bytes = self.kept.iter().map(|tensor| {
            // The head sees one position of each sequence only.
            let head = matches!(tensor.name.as_str(), "output.weight" | "token_embd.weight");
            repacking.bytes(tensor, if head { self.batch() } else { self.rows })
        });
        bytes.sum()
    }

    fn embedding(&self) -> u64 {
        self.header.tensor("token_embd.weight").map_or(0, |embedding| embedding.elements() * ELEMENT)
    }

    fn is_tied(&self) -> bool {
        self.header.tensor("output.weight").is_none()
    }

    /// What stays for as long as the model is loaded and is there when loading ends.
    fn loaded(&self) -> u64 {
        self.weights() + self.embedding() + self.rotary_tables() + RUNTIME
    }

    /// What is read and let go again while the rest is there already.
    fn loading(&self) -> u64 {
        if !self.gguf {
            // One tensor of a block as read and as candle's tensor of the stored type.
            let of_blocks = self.kept.iter().filter(|tensor| tensor.name.starts_with("model.layers."));
            return 2 * of_blocks.map(|tensor| tensor.bytes().get()).max().unwrap_or(0);
        }
        // The embedding as stored lives next to its f32 form until the last weight is there, unless the
        // Llama's tied head takes it over; the others read it a second time for their head.
        self.header.tensor("token_embd.weight").map_or(0, |embedding| {
            let taken_over = self.family == Family::Llama && self.is_tied() && is_blocks(embedding);
            if taken_over { 0 } else { embedding.bytes().get() }
        })
    }

    fn rotary_tables(&self) -> u64 {
        let spec = &self.header.spec;
        let table = |positions: u64| positions * u64::from(spec.head_size) * ELEMENT;
        let made_for = u64::from(spec.context_length);
        match self.family {
            Family::Llama if self.gguf => table(LLAMA_POSITIONS),
            // Kept twice: as tensors and as plain vectors.
            Family::Qwen3 if self.gguf => 2 * table(made_for),
            Family::Gemma3 if self.gguf => u64::from(spec.layers) * table(GEMMA_POSITIONS),
            Family::Gemma3 => u64::from(spec.layers) * table(made_for.min(GEMMA_WINDOW)),
            Family::Llama | Family::Qwen2 | Family::Qwen3 | Family::Phi3 => table(made_for),
        }
    }

    fn kv_cache(&self) -> u64 {
        let spec = &self.header.spec;
        let position = spec.kv_bytes_per_position(32 * self.element).get() * self.batch();
        // Growing one block's cache needs the old and the new at once.
        let growing = position / u64::from(spec.layers.max(1)) * self.positions();
        match self.family {
            // What was fed in steps of several tokens lies in a cache for such steps and in one for decoding.
            Family::Qwen3 if self.on_cpu() && self.gguf => {
                let prefilled = u64::from(self.demand.context) + u64::from(self.demand.prompt);
                position * (self.positions() + prefilled) + growing
            }
            // Taken at once; a processor's memory is touched as it fills.
            Family::Phi3 if self.gguf && !self.on_cpu() => position * u64::from(spec.context_length),
            Family::Phi3 if self.gguf => position * self.positions(),
            _ => position * self.positions() + growing,
        }
    }

    /// A second cache, as it was after the context.
    fn kept_context(&self) -> u64 {
        let position = self.header.spec.kv_bytes_per_position(32 * self.element).get() * self.batch();
        let context = u64::from(self.demand.context);
        match self.family {
            _ if context < KEEP_CONTEXT_FROM => 0,
            // The one cannot be copied, of the other both are parts of one allocation.
            Family::Qwen2 | Family::Phi3 if self.gguf => 0,
            // Its decode cache is copied with all that it has taken, for keeping and for going on.
            Family::Qwen3 if self.on_cpu() && self.gguf => {
                2 * position * self.positions().next_power_of_two().max(QWEN3_POSITIONS)
            }
            _ => position * context,
        }
    }

    /// The largest step's intermediate values in its feed-forward layer or its attention, whichever
    /// is larger, next to the residual stream; and the logits.
    fn activations(&self) -> u64 {
        let spec = &self.header.spec;
        let (width, feed_forward) = (u64::from(spec.width), u64::from(spec.feed_forward));
        let queries = u64::from(spec.heads) * u64::from(spec.head_size);
        // Gate, up, SiLU of the gate and their product; the input quantized to 8 bits and its scales.
        let feed = self.rows * feed_forward * (4 * ELEMENT + 1);
        // Queries, keys and values before and after rotation; keys and values repeated for each query head.
        let repeated = 2 * self.batch() * self.positions() * queries * ELEMENT;
        let attend = self.rows * queries * 4 * ELEMENT + repeated;
        let residual = self.rows * width * 4 * ELEMENT;
        let logits = 2 * self.batch() * u64::from(spec.vocabulary) * ELEMENT;
        feed.max(attend) + residual + logits
    }

    /// Scores of one block at the largest step, of which three copies live at once: scaled, masked
    /// and normalised.
    fn scores(&self) -> u64 {
        if self.family == Family::Qwen3 && self.on_cpu() {
            return 0;
        }
        let heads = u64::from(self.header.spec.heads);
        let largest = self.steps().map(|(length, positions)| length * positions).max().unwrap_or(0);
        3 * self.batch() * heads * largest * ELEMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::model::Synthetic;

    fn estimate(row: &str, quant: &str, demand: Demand) -> Vec<(&'static str, u64)> {
        let synthetic = Synthetic::new(Catalog::bundled().model(row).unwrap(), quant, 1).unwrap();
        let parts = memory_estimate(synthetic.header(), demand).parts;
        parts.into_iter().map(|(name, bytes)| (name, bytes.get())).collect()
    }

    fn part(parts: &[(&str, u64)], name: &str) -> u64 {
        parts.iter().find(|(found, _)| *found == name).map_or(0, |(_, bytes)| *bytes)
    }

    const CPU: Demand = Demand { batch: 1, context: 0, prompt: 128, output: 1, device: Device::Cpu };

    #[test]
    fn llama_1b_by_hand() {
        let parts = estimate("llama-3.2-1b", "q4_k_m", CPU);
        let header_bytes = {
            let row = Catalog::bundled();
            let row = row.model("llama-3.2-1b").unwrap();
            Synthetic::new(row, "q4_k_m", 1).unwrap().header().weight_bytes().get()
        };
        // All weights stay as stored but the rotary factors, which candle does not read.
        assert_eq!(part(&parts, "weights"), header_bytes - 32 * 4);
        assert_eq!(part(&parts, "embedding as f32"), 128_256 * 2048 * 4);
        assert_eq!(part(&parts, "rotary tables"), 4096 * 32 * 2 * 4);
        // 16 blocks of 8 heads of 64, keys and values, 129 positions; and one block more while it grows.
        assert_eq!(part(&parts, "KV cache"), 17 * 8 * 64 * 2 * 4 * 129);
        assert_eq!(part(&parts, "attention scores"), 3 * 32 * 128 * 128 * 4);
    }

    #[test]
    fn a_gpu_repacks_nothing_and_a_context_is_kept_beside_its_continuation() {
        let gpu = estimate("llama-3.2-1b", "q4_k_m", Demand { device: Device::Cuda(0), ..CPU });
        assert_eq!(part(&gpu, "weights repacked"), 0);
        let deep = Demand { context: 2048, prompt: 0, output: 32, ..CPU };
        let parts = estimate("llama-3.2-1b", "q4_k_m", deep);
        // Fed in steps of 512, so the scores are far from 2048 × 2048.
        assert_eq!(part(&parts, "attention scores"), 3 * 32 * 512 * 2048 * 4);
        let busy = part(&parts, "attention scores") + part(&parts, "activations");
        assert_eq!(part(&parts, "context kept"), (16 * 8 * 64 * 2 * 4 * 2048u64).saturating_sub(busy));
    }
}
