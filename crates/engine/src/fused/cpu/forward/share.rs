//! What belongs to which thread, and pointers that threads share.

use std::ops::Range;

use super::super::isa::Isa;
use super::super::pack::BLOCK;

/// Tiles that each thread must have before rows are split by them: then none waits long for one that has a tile more.
const TILES_EACH: usize = 4;

/// The share of `count` things that belongs to `thread`.
pub(in super::super) fn share(count: usize, thread: usize, threads: usize) -> Range<usize> {
    count * thread / threads..count * (thread + 1) / threads
}

/// What `thread` makes ready of the rows of `tokens`: which tokens, and which of each one's columns, in whole blocks.
///
/// The quants of a tile's tokens are interleaved by words: threads that wrote tokens of one tile would contend for its cache
/// lines at every word. So each has whole tiles where there are enough of them, else columns of
/// all tokens.
pub(super) fn portion(
    tokens: usize,
    columns: usize,
    isa: Isa,
    thread: usize,
    threads: usize,
) -> (Range<usize>, Range<usize>) {
    let widest = isa.tile_tokens();
    let tiles = tokens.div_ceil(widest);
    if tiles >= TILES_EACH * threads {
        let mine = share(tiles, thread, threads);
        (mine.start * widest..(mine.end * widest).min(tokens), 0..columns)
    } else {
        let mine = share(columns / BLOCK, thread, threads);
        (0..tokens, mine.start * BLOCK..mine.end * BLOCK)
    }
}

/// A pointer that the threads of a pool share.
pub(in super::super) struct Shared<T>(pub(in super::super) *mut T);

// SAFETY: its users write disjoint parts of what it points to, one for each thread.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(in super::super) fn get(&self) -> *mut T {
        self.0
    }
}
