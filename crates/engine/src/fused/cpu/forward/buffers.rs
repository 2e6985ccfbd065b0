//! Memory of the largest step, taken once when a model is loaded.

use std::sync::atomic::AtomicUsize;

use crate::fused::network::Network;

use super::super::activations;
use super::super::arena::{Arena, Region};
use super::super::attention::{MOST_ROWS, SCRATCH};
use super::super::matmul::split_bytes;
use super::super::pack::padded;
use super::experts::workspace::Workspace;
use super::plan::{Cut, Task, most_parts, tile};

/// Rows of logits that are computed at once: more would need memory in proportion to the vocabulary.
pub(super) const LOGIT_ROWS: usize = 32;

/// Memory of the largest step.
#[derive(Debug)]
pub(in super::super) struct Buffers {
    arena: Arena,
    /// `[tokens][width]`: what the layers add to.
    pub(super) residual: Region,
    /// `[tokens][width]`.
    pub(super) normed: Region,
    /// `[tokens][qkv_width]`: queries, keys and values of a token, each filled up to whole groups.
    pub(super) qkv: Region,
    /// `[tokens][heads × head_size]`.
    pub(super) attended: Region,
    /// `[tokens][2 × feed_forward]`, both filled up to whole groups.
    pub(super) gate_up: Region,
    /// `[tokens][width]`, filled up to whole groups: what a layer's last matrix gives.
    pub(super) out: Region,
    /// The quantized input of the matrix at hand, in tiles of tokens.
    pub(super) tiles: Region,
    /// The same split into parts; empty where no matrix takes it so.
    pub(super) split: Region,
    /// `[LOGIT_ROWS][vocabulary]`, filled up to whole groups, and the rows that they are of, normed.
    pub(super) logits: Region,
    pub(super) last: Region,
    /// Results of the parts of what was cut, [`part`] each.
    pub(super) parts: Region,
    /// [`scratch`] of each thread.
    pub(super) scratch: Region,
    pub(super) experts: Option<Workspace>,
    pub(super) tasks: Vec<Task>,
    pub(super) cuts: Vec<Cut>,
    /// One queue's head for each layer.
    pub(super) queues: Vec<AtomicUsize>,
    /// Rows of the step that logits are wanted of, with the sequence that a token is chosen for.
    pub(super) wanted: Vec<(usize, Option<usize>)>,
    /// Each thread's best logit of each row: its value and its token.
    pub(super) best: Vec<(f32, u32)>,
    pub(super) threads: usize,
}

impl Buffers {
    /// For steps of so many tokens; `split` says whether a matrix takes its input in parts.
    pub(in super::super) fn new(
        network: &Network,
        tokens: usize,
        threads: usize,
        split: bool,
    ) -> std::io::Result<Self> {
        let queries = network.heads * network.head_size;
        let widest = network.width.max(queries).max(network.feed_forward);
        let rows = |elements: usize| tokens * elements * 4;
        let sizes = [
            rows(network.width),
            rows(network.width),
            rows(qkv_width(network)),
            rows(queries),
            rows(2 * padded(network.feed_forward)),
            rows(padded(network.width)),
            activations::packed_bytes(tokens, widest),
            if split { split_bytes(tokens, widest) } else { 0 },
            LOGIT_ROWS * padded(network.vocabulary) * 4,
            LOGIT_ROWS * network.width * 4,
            most_parts(threads) * part(network) * 4,
            threads * scratch(network) * 4,
        ];
        let mut arena = Arena::new(Arena::bytes_of(&sizes))?;
        let regions = arena.take_all(sizes)?;
        let [residual, normed, qkv, attended, gate_up, out, tiles, split, logits, last, parts, scratch] =
            regions;
        Ok(Self {
            arena,
            residual,
            normed,
            qkv,
            attended,
            gate_up,
            out,
            tiles,
            split,
            logits,
            last,
            parts,
            scratch,
            experts: Workspace::new(network, tokens)?,
            tasks: Vec::with_capacity(tokens * network.kv_heads + most_parts(threads)),
            cuts: Vec::with_capacity(most_parts(threads)),
            queues: (0..network.layers.len()).map(|_| AtomicUsize::new(0)).collect(),
            wanted: Vec::with_capacity(tokens),
            best: vec![(f32::NEG_INFINITY, 0); LOGIT_ROWS * threads],
            threads,
        })
    }

    /// Where a region begins. It's a raw pointer, so references to other regions stay valid.
    #[allow(clippy::cast_ptr_alignment, reason = "regions begin at cache lines")]
    pub(super) fn place(&self, region: Region) -> *mut f32 {
        self.arena.pointer(region).cast()
    }
}

/// Width of the queries, keys and values of a token.
pub(super) fn qkv_width(network: &Network) -> usize {
    padded(network.heads * network.head_size) + 2 * padded(network.kv_heads * network.head_size)
}

/// Elements of a part's result: the states of all its rows, and their mixed values.
pub(super) fn part(network: &Network) -> usize {
    tile(network) * network.heads / network.kv_heads * (network.head_size + 2)
}

/// Elements that a thread needs while it attends: queries, mixed values, states and shares.
pub(super) fn scratch(network: &Network) -> usize {
    2 * MOST_ROWS * network.head_size + 2 * MOST_ROWS + SCRATCH
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fused::cpu::arena::tests::assert_apart;
    use crate::model::gguf;
    use infercost_testing::Tiny;

    pub(in super::super) fn network(architecture: &'static str) -> Network {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        Tiny::of(architecture).write(&path);
        let file = gguf::read(&path).unwrap();
        Network::new(&file.header, &file.metadata).unwrap()
    }

    #[test]
    fn no_two_buffers_of_a_step_overlap() {
        for architecture in ["llama", "gpt-oss"] {
            let network = network(architecture);
            for (tokens, threads) in [(1, 1), (7, 3), (512, 2)] {
                let buffers = Buffers::new(&network, tokens, threads, true).unwrap();
                let Buffers { residual, normed, qkv, attended, gate_up, out, .. } = buffers;
                let Buffers { tiles, split, logits, last, parts, scratch, .. } = buffers;
                let regions = [
                    residual, normed, qkv, attended, gate_up, out, tiles, split, logits, last, parts, scratch,
                ];
                assert_apart(&buffers.arena, &regions);
                if let Some(workspace) = &buffers.experts {
                    workspace.assert_apart();
                }
                assert_eq!(buffers.experts.is_some(), architecture == "gpt-oss");
            }
        }
    }
}
