//! The KV cache and attention over it.

use crate::fused::kv::KvLayout;
use crate::hardware::cuda::{Argument, DevicePlace, Fault, Grid};

use super::super::store::Vector;
use super::{CacheOf, Kernels, Rows, Tokens, grid, number, optional, place, within, words};

/// Pages of a part of attention, as in `attention.cu`.
pub(in crate::fused::cuda) const PART: usize = 8;

impl Kernels {
    /// Puts the tokens' keys and values into the cache; each row has its keys first and its values behind them.
    pub(in crate::fused::cuda) fn append(
        &self,
        keys: Rows,
        tokens: &Tokens,
        cache: CacheOf,
    ) -> Result<(), Fault> {
        let KvLayout { kv_heads, head_size, .. } = cache.layout;
        let values = keys.column(kv_heads * head_size);
        within("append", &[values.hold(tokens.count, kv_heads * head_size), known(tokens)])?;
        self.launch(
            &self.append,
            grid(kv_heads, tokens.count),
            &[&[place(keys), place(values), number(keys.stride)][..], &of_cache(tokens, cache)].concat(),
        )
    }

    /// Attention of `heads` query heads of each token over what it sees of the cache; `results` is where the parts of a
    /// context are kept until they are put together, so many tokens at a time as it has room for.
    pub(in crate::fused::cuda) fn attend(
        &self,
        queries: Rows,
        (heads, window): (usize, Option<u32>),
        tokens: &Tokens,
        (cache, results): (CacheOf, DevicePlace),
        sinks: Option<Vector>,
        output: Rows,
    ) -> Result<(), Fault> {
        let KvLayout { kv_heads, head_size, .. } = cache.layout;
        let columns = heads * head_size;
        let parts = parts(tokens.pages_seen);
        let at_once = results.bytes() / part_bytes(heads, head_size, tokens.pages_seen);
        within(
            "attend",
            &[
                queries.hold(tokens.count, columns),
                output.hold(tokens.count, columns),
                sinks.is_none_or(|sinks| words(sinks.place, heads)),
                known(tokens),
                at_once > 0,
            ],
        )?;
        for first in (0..tokens.count).step_by(at_once) {
            let count = at_once.min(tokens.count - first);
            let whole = grid(heads, count);
            let [x, y, _] = whole.blocks;
            let blocks = [x, y, u32::try_from(parts).unwrap_or(u32::MAX)];
            self.launch(
                &self.attend,
                Grid { blocks, ..whole },
                &[
                    &[place(queries), number(queries.stride)][..],
                    &of_cache(tokens, cache),
                    &[
                        number(heads / kv_heads),
                        Argument::Number(window.unwrap_or(0)),
                        number(first),
                        Argument::Place(results),
                    ],
                ]
                .concat(),
            )?;
            self.launch(
                &self.combine,
                whole,
                &[
                    Argument::Place(results),
                    number(parts),
                    optional(sinks),
                    number(first),
                    place(output),
                    number(output.stride),
                ],
            )?;
        }
        Ok(())
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
