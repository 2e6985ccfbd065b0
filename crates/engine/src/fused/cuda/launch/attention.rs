//! Heads, the KV cache and attention over it.

use std::ops::Range;

use crate::fused::kv::KvLayout;
use crate::fused::network::Pairing;
use crate::hardware::cuda::{Argument, DevicePlace, Fault, Grid};

use super::super::store::{Matrix, Vector};
use super::tensor::{HALVING, Input, in_fragments};
use super::{
    CacheOf, Halves, Kernels, OfHeads, Rows, THREADS, Tokens, Turn, grid, number, optional, place, within,
    words,
};

/// Pages of a part of attention, as in `attention.cu`.
pub(in crate::fused::cuda) const PART: usize = 8;

/// Parts of a context and heads at most for which one block puts all of a token's heads together, as in `attention.cu`. With
/// more parts a block for each head should make up for the launch that it costs; that was never measured.
const FEW_PARTS: usize = 8;
const MOST_HEADS: usize = 128;

/// Rows of a tile of attention, as in `attention.cu`: a block of `attend_one` has one tile, of one token's heads, and a block of
/// `attend` two, of several tokens', if its heads are not larger than this.
const ROWS: usize = 16;
const MOST_OF_TWO: usize = 256;

/// Attention of a step.
#[derive(Debug, Clone, Copy)]
pub(in crate::fused::cuda) struct Attention {
    /// Rotated and scaled, `heads` heads a row.
    pub(in crate::fused::cuda) queries: Rows,
    pub(in crate::fused::cuda) heads: usize,
    pub(in crate::fused::cuda) window: Option<u32>,
    pub(in crate::fused::cuda) cache: CacheOf,
    /// Where the parts of a context are kept until they are put together, so many tokens at a time as it has room for.
    pub(in crate::fused::cuda) results: DevicePlace,
    pub(in crate::fused::cuda) sinks: Option<Vector>,
    /// Whether each block has one token, or as many as it can; what suits each token where `None`.
    pub(in crate::fused::cuda) alone: Option<bool>,
}

impl Kernels {
    /// Finishes the tokens' heads, `heads` of queries and then those of keys and of values in each row, and puts keys and values
    /// into the cache.
    pub(in crate::fused::cuda) fn place_heads(
        &self,
        (rows, heads): (Rows, usize),
        of: OfHeads,
        turn: Turn,
        tokens: &Tokens,
        cache: CacheOf,
    ) -> Result<(), Fault> {
        let KvLayout { kv_heads, head_size, .. } = cache.layout;
        let all = heads + 2 * kv_heads;
        let norms = [of.query_norm, of.key_norm];
        within(
            "place_heads",
            &[
                rows.hold(tokens.count, all * head_size),
                2 * turn.pairs <= head_size,
                of.bias.is_none_or(|bias| words(bias.place, all * head_size)),
                norms.iter().flatten().all(|norm| words(norm.place, head_size)),
                known(tokens),
            ],
        )?;
        let own = [
            place(rows),
            number(rows.stride),
            number(heads),
            optional(of.bias),
            optional(of.query_norm),
            optional(of.key_norm),
            Argument::Float(of.epsilon),
            Argument::Place(turn.angles),
            number(turn.pairs),
            number(usize::from(turn.pairing == Pairing::Neighbours)),
            Argument::Float(turn.scale),
        ];
        let arguments = [&own[..], &of_cache(tokens, cache)].concat();
        self.launch(&self.place_heads, grid(all, tokens.count), &arguments)
    }

    /// What attention gives, for these matrices.
    pub(in crate::fused::cuda) fn attended_input<'a>(
        &self,
        of: Attention,
        tokens: &Tokens,
        (output, halves): (Rows, Halves),
        matrices: impl IntoIterator<Item = &'a Matrix>,
    ) -> Result<Input, Fault> {
        let halves = in_fragments(matrices).then_some(halves);
        self.attend(of, tokens, (output, halves))?;
        Ok(Input { rows: output, halves })
    }

    /// Attention of each token's query heads over what it sees of the cache, and the same in half precision where that is
    /// wanted.
    pub(in crate::fused::cuda) fn attend(
        &self,
        of: Attention,
        tokens: &Tokens,
        (output, halves): (Rows, Option<Halves>),
    ) -> Result<(), Fault> {
        let Attention { queries, heads, cache, results, sinks, alone, .. } = of;
        let head_size = cache.layout.head_size;
        let columns = heads * head_size;
        let parts = parts(tokens.pages_seen);
        let of_token = part_bytes(heads, head_size, tokens.pages_seen);
        let at_once = results.bytes() / of_token;
        within(
            "attend",
            &[
                queries.hold(tokens.count, columns),
                output.hold(tokens.count, columns),
                halves.is_none_or(|halves| halves.hold(tokens.count, columns) && columns % 8 == 0),
                sinks.is_none_or(|sinks| words(sinks.place, heads)),
                known(tokens),
                at_once > 0,
            ],
        )?;
        let at_end = halves.filter(|_| parts <= FEW_PARTS && heads <= MOST_HEADS);
        let apart = alone.map_or(tokens.apart, |alone| if alone { tokens.count } else { 0 });
        for first in (0..tokens.count).step_by(at_once) {
            let count = at_once.min(tokens.count - first);
            let middle = apart.clamp(first, first + count);
            self.attend_to(of, tokens, first..middle, results, true)?;
            let rest = results.skip((middle - first) * of_token);
            self.attend_to(of, tokens, middle..first + count, rest, false)?;
            let to_combine = [
                Argument::Place(results),
                number(parts),
                optional(sinks),
                number(first),
                place(output),
                number(output.stride),
            ];
            if let Some(halves) = at_end {
                let grid = Grid { threads: HALVING, ..grid(count, 1) };
                let arguments = [&to_combine[..], &[number(heads)], &halves.arguments(columns)].concat();
                self.launch(&self.combine_halve, grid, &arguments)?;
            } else {
                self.launch(&self.combine, grid(heads, count), &to_combine)?;
            }
        }
        match halves {
            Some(halves) if at_end.is_none() => self.halve(output, (tokens.count, columns), halves),
            _ => Ok(()),
        }
    }

    /// The parts of some tokens' attention, into `results` from its begin on: a block a token, or several of one sequence.
    fn attend_to(
        &self,
        of: Attention,
        tokens: &Tokens,
        which: Range<usize>,
        results: DevicePlace,
        alone: bool,
    ) -> Result<(), Fault> {
        if which.is_empty() {
            return Ok(());
        }
        let KvLayout { kv_heads, head_size, .. } = of.cache.layout;
        let group = of.heads / kv_heads;
        let function = if alone { &self.attend_one } else { &self.attend };
        let tiles = if alone || head_size > MOST_OF_TWO { 1 } else { 2 };
        let rows = tiles as usize * ROWS;
        let together = if alone { 1 } else { rows / group.min(rows) };
        let [x, y, _] = grid(kv_heads * group.div_ceil(rows), which.len().div_ceil(together)).blocks;
        let blocks = [x, y, u32::try_from(parts(tokens.pages_seen)).unwrap_or(u32::MAX)];
        self.launch(
            function,
            Grid { blocks, threads: tiles * THREADS },
            &[
                &[place(of.queries), number(of.queries.stride)][..],
                &of_cache(tokens, of.cache),
                &[
                    number(group),
                    Argument::Number(of.window.unwrap_or(0)),
                    number(which.start),
                    number(which.end),
                    number(together),
                    Argument::Place(results),
                ],
            ]
            .concat(),
        )
    }
}

/// Where tokens stand and what they see of the cache, as the kernels of `attention.cu` take it.
fn of_cache(tokens: &Tokens, cache: CacheOf) -> [Argument; 7] {
    [
        Argument::Place(tokens.positions),
        Argument::Place(tokens.first_page),
        Argument::Place(tokens.pages),
        Argument::Place(cache.place),
        number(cache.layout.layers),
        number(cache.layer),
        number(cache.layout.kv_heads),
    ]
}

/// Parts of a context of so many pages.
fn parts(pages: usize) -> usize {
    pages.div_ceil(PART).max(1)
}

/// Bytes that the parts of one token's attention take in a context of so many pages.
pub(in crate::fused::cuda) fn part_bytes(heads: usize, head_size: usize, pages: usize) -> usize {
    heads * parts(pages) * (head_size + 2) * 4
}

/// Whether there is a position and a first page for each token. That its pages are there is the scheduler's word, which
/// [`StepBatch::check`](crate::StepBatch::check) holds it to.
fn known(tokens: &Tokens) -> bool {
    words(tokens.positions, tokens.count) && words(tokens.first_page, tokens.count)
}
