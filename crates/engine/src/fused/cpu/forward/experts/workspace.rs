//! Memory of the experts' part of a step, and where in it everything lies.

use crate::fused::cpu::activations;
use crate::fused::cpu::arena::{Arena, Region};
use crate::fused::cpu::pack::padded;
use crate::fused::network::{self, Network};

/// Memory of the largest step; only what a step touches is taken from the system.
#[derive(Debug)]
pub(in super::super) struct Workspace {
    arena: Arena,
    regions: [Region; 12],
}

/// Where the parts of the workspace lie. A *pair* is a token with one of its experts.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct View {
    /// Logits `[tokens][experts]`.
    pub(super) logits: *mut f32,
    /// Each token's normed row, quantized by itself.
    pub(super) single: *mut u8,
    /// Quantized rows in slots, the input of one matrix after the other.
    pub(super) tiles: *mut u8,
    /// Plain rows in slots.
    pub(super) rows: *mut f32,
    pub(super) gate: *mut f32,
    pub(super) up: *mut f32,
    pub(super) out: *mut f32,
    /// Each pair's expert, `[tokens][used]`.
    pub(super) chosen: *mut u32,
    /// Each pair's share of the token's output.
    pub(super) shares: *mut f32,
    /// Each pair's slot.
    pub(super) slots: *mut u32,
    /// Each slot's token.
    pub(super) token_of: *mut u32,
    /// Each expert's first slot; after the last expert's, the number of pairs.
    pub(super) starts: *mut u32,
}

impl Workspace {
    /// Memory for `tokens` tokens, or none for a network without experts.
    pub(in super::super) fn new(network: &Network, tokens: usize) -> std::io::Result<Option<Self>> {
        let Some(experts) = network.experts else { return Ok(None) };
        let sizes = sizes(network, experts, tokens);
        let mut arena = Arena::new(Arena::bytes_of(&sizes))?;
        let regions = arena.take_all(sizes)?;
        Ok(Some(Self { arena, regions }))
    }

    #[allow(clippy::cast_ptr_alignment, reason = "regions begin at cache lines")]
    pub(in super::super) fn view(&self) -> View {
        let [logits, single, tiles, rows, gate, up, out, chosen, shares, slots, token_of, starts] =
            self.regions.map(|region| self.arena.pointer(region));
        View {
            logits: logits.cast(),
            single,
            tiles,
            rows: rows.cast(),
            gate: gate.cast(),
            up: up.cast(),
            out: out.cast(),
            chosen: chosen.cast(),
            shares: shares.cast(),
            slots: slots.cast(),
            token_of: token_of.cast(),
            starts: starts.cast(),
        }
    }
}

#[cfg(test)]
impl Workspace {
    pub(in super::super) fn assert_apart(&self) {
        crate::fused::cpu::arena::tests::assert_apart(&self.arena, &self.regions);
    }
}

/// Bytes of each part, in the order of [`View`].
fn sizes(network: &Network, experts: network::Experts, tokens: usize) -> [usize; 12] {
    let (width, feed) = (network.width, network.feed_forward);
    let pairs = tokens * experts.used;
    [
        tokens * padded(experts.count) * 4,
        tokens * activations::packed_bytes(1, width),
        pairs * activations::packed_bytes(1, width.max(feed)),
        pairs * width * 4,
        pairs * feed * 4,
        pairs * feed * 4,
        pairs * padded(width) * 4,
        pairs * 4,
        pairs * 4,
        pairs * 4,
        pairs * 4,
        (experts.count + 1) * 4,
    ]
}
