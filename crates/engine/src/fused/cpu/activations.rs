//! Activations as the matrix kernels take them: 8-bit blocks in tiles of tokens, or single precision row by row.
//!
//! A block is 32 neighbouring elements of one token with one scale, as llama.cpp's `Q8_0`. The blocks of the 8, 4, 2
//! or 1 tokens of a *tile* lie together, four elements of each token side by side, so that a kernel walks one stream
//! and broadcasts from it. Where the processor multiplies matrices (AMX), the widest tiles are of 16 tokens, and each
//! token's 32 quants lie together, as those instructions take a matrix row by row. With each block go its scale and
//! its sum times what the weights' formats need: quants without sign are off by 8, 32 or 128, and starting the
//! accumulator at minus that times the sum costs nothing; minima are multiplied with the sum itself. Without VNNI
//! pairs of products are added in 16 bits, so for 32 the start value is there for each 16 elements as two numbers of
//! 16 bits, for the first and the second pair of every four.
#![allow(clippy::cast_ptr_alignment, reason = "every access through them is unaligned")]
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "vector loads and stores at computed places")]

use std::ops::Range;

use super::bits::FOURS;
use super::isa::{EIGHT, Isa, SIXTEEN};
use super::lanes::{LANES, Lanes, for_each_isa};
use super::pack::BLOCK;

/// Bytes a block of one token takes in a tile: 32 quants, then [`numbers`].
pub(super) const BLOCK_BYTES: usize = BLOCK + 4 * NUMBERS;
/// Words behind a token's quants of a block.
const NUMBERS: usize = 6;
/// Words a block of one token takes in a tile.
const BLOCK_WORDS: usize = BLOCK_BYTES / 4;

/// The widths of the tiles that `tokens` are cut into, at most `widest`, the widest first, with each one's first token.
pub(super) fn tiles(tokens: usize, widest: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = tokens - at;
        let width = [SIXTEEN, EIGHT, 4, 2, 1].into_iter().find(|width| *width <= left.min(widest))?;
        let first = at;
        at += width;
        Some((first, width))
    })
}

/// The tile that holds `token` of `tokens`: its first token and its width.
fn tile_of(token: usize, tokens: usize, widest: usize) -> (usize, usize) {
    let full = tokens / widest * widest;
    if token < full {
        return (token / widest * widest, widest);
    }
    let mut first = full;
    for width in [EIGHT, 4, 2, 1] {
        if (tokens - full) & width != 0 {
            if token < first + width {
                return (first, width);
            }
            first += width;
        }
    }
    (token, 1)
}

/// Bytes that `tokens` of `columns` elements take.
pub(super) fn packed_bytes(tokens: usize, columns: usize) -> usize {
    tokens * (columns / BLOCK) * BLOCK_BYTES
}

/// Where the quantized row of one token goes.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The tile's first byte.
    tile: *mut u8,
    width: usize,
    /// The token's number within the tile.
    lane: usize,
}

impl Slot {
    /// The place of `token` among `tokens` of `columns` elements in `buffer`, for the kernels of `isa`.
    ///
    /// # Safety
    /// `buffer` must have [`packed_bytes`], and no two threads may write the same token.
    pub(super) unsafe fn new(buffer: *mut u8, token: usize, tokens: usize, columns: usize, isa: Isa) -> Self {
        let (first, width) = tile_of(token, tokens, isa.tile_tokens());
        // SAFETY: the tile lies within the buffer, since all tiles together are its length.
        let tile = unsafe { buffer.add(first * (columns / BLOCK) * BLOCK_BYTES) };
        Self { tile, width, lane: token - first }
    }

    /// Where word number `word` of the token's block lies, in words from the block's first: the quants', then the numbers'.
    fn word(self, word: usize) -> usize {
        if self.width == SIXTEEN && word < FOURS {
            self.lane * FOURS + word
        } else {
            word * self.width + self.lane
        }
    }

    /// Quantizes 32 elements into block number `block`.
    ///
    /// Minima are multiplied with the sum of the elements as rounded: with the true sum the errors of the two parts of
    /// a weight, d·q and m, would not cancel, and logits were half as far off again when that was tried.
    ///
    /// # Safety
    /// The processor must have what `V` needs, and the row that the slot is for must have such a block.
    #[inline(always)]
    unsafe fn put<V: Lanes>(self, block: usize, low: V, high: V) {
        // SAFETY: the block lies within the tile and the processor has what `V` needs, by this method's contract.
        unsafe {
            let (scale, low, high) = scaled(low, high);
            let pairs = [low.rounded_sums(), high.rounded_sums()];
            let sum = pairs[0][0] + pairs[0][1] + pairs[1][0] + pairs[1][1];
            let mut quants = [0i8; BLOCK];
            low.store_i8(quants.as_mut_ptr());
            high.store_i8(quants.as_mut_ptr().add(LANES));
            let at = self.tile.add(block * self.width * BLOCK_BYTES);
            let from = quants.as_ptr().cast::<u32>();
            for four in 0..FOURS {
                let to = at.cast::<u32>().add(self.word(four));
                to.write_unaligned(from.add(four).read_unaligned());
            }
            let numbers = at.add(BLOCK * self.width + self.lane * 4);
            let step = self.width * 4;
            numbers.cast::<f32>().write_unaligned(scale);
            numbers.add(step).cast::<i32>().write_unaligned(-8 * sum);
            numbers.add(2 * step).cast::<i32>().write_unaligned(-128 * sum);
            #[allow(clippy::cast_precision_loss, reason = "at most 32 × 127")]
            numbers.add(3 * step).cast::<f32>().write_unaligned(scale * sum as f32);
            for (half, [first, second]) in pairs.into_iter().enumerate() {
                // At most 32 × 8 × 127, which 16 bits hold.
                let both = ((-32 * second) << 16) | ((-32 * first) & 0xffff);
                numbers.add((4 + half) * step).cast::<i32>().write_unaligned(both);
            }
        }
    }
}

/// The scale of a block of 32 numbers in 8 bits, and the numbers divided by it: the largest becomes ±127.
///
/// # Safety
/// The processor must have what `V` needs.
#[inline(always)]
pub(super) unsafe fn scaled<V: Lanes>(low: V, high: V) -> (f32, V, V) {
    // SAFETY: the processor has what `V` needs, by this function's contract.
    unsafe {
        let largest = low.abs().max(high.abs()).reduce_max();
        // A NaN may be lost in a maximum, so it is looked for: it must come out as a scale that is none.
        let finite = low.add(high).reduce_add().is_finite();
        let scale = if finite { largest / 127.0 } else { f32::NAN };
        if scale.is_normal() {
            let factor = V::splat(127.0 / largest);
            (scale, low.mul(factor), high.mul(factor))
        } else {
            (scale, V::splat(0.0), V::splat(0.0))
        }
    }
}

/// Offsets of a block's numbers behind its quants, for a tile of `width`: scale, −8·Σ and −128·Σ of the
/// quants, scale·Σ, and −32·Σ of the quants 0 to 15 and of 16 to 31, each as two numbers of 16 bits.
pub(super) const fn numbers(width: usize) -> [usize; NUMBERS] {
    let (first, step) = (BLOCK * width, 4 * width);
    [first, first + step, first + 2 * step, first + 3 * step, first + 4 * step, first + 5 * step]
}

for_each_isa! {
    /// Quantizes the columns `part`, whole blocks, of one token's row.
    ///
    /// # Safety
    /// `row` must have so many elements and `slot` be the place of a row that has.
    pub(super) unsafe fn quantize(row: *const f32, part: Range<usize>, slot: Slot) = quantize_row
}

/// [`quantize`] with registers.
///
/// # Safety
/// As [`quantize`]; the processor must have what `V` needs.
#[inline(always)]
unsafe fn quantize_row<V: Lanes>(row: *const f32, part: Range<usize>, slot: Slot) {
    for block in part.start / BLOCK..part.end / BLOCK {
        // SAFETY: the row and the slot's have these blocks, by this function's contract.
        unsafe {
            let at = row.add(block * BLOCK);
            slot.put(block, V::load(at), V::load(at.add(LANES)));
        }
    }
}

/// Puts a row that was quantized in a tile of its own, `single`, into its place in a wider one. Both are the same
/// words in the same order, here with those of the tile's other tokens between.
///
/// # Safety
/// `single` must hold [`packed_bytes`] of one token and `slot` be the place of a row of that length.
pub(super) unsafe fn place(single: *const u8, columns: usize, slot: Slot) {
    // SAFETY: both hold so many words, by this function's contract.
    unsafe {
        let (from, to) = (single.cast::<u32>(), slot.tile.cast::<u32>());
        for block in 0..columns / BLOCK {
            for word in 0..BLOCK_WORDS {
                let to = to.add(block * BLOCK_WORDS * slot.width + slot.word(word));
                to.write_unaligned(from.add(block * BLOCK_WORDS + word).read_unaligned());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test numbers")]
pub(super) mod tests {
    use super::super::isa::Isa;
    use super::*;
    use crate::base::random::SplitMix64;

    pub(in super::super) fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut random = SplitMix64::new(seed);
        (0..count).map(|_| random.unit() as f32 * 4.0 - 2.0).collect()
    }

    /// The instruction sets that this processor has; says which are left out.
    #[allow(clippy::print_stderr, reason = "a test that runs less says so")]
    pub(in super::super) fn here() -> Vec<Isa> {
        let (there, missing): (Vec<Isa>, Vec<Isa>) =
            Isa::ALL.into_iter().partition(|isa| *isa <= Isa::detect());
        if !missing.is_empty() {
            eprintln!("skipped: this processor has no {missing:?}");
        }
        there
    }

    #[test]
    fn tiles_cover_all_tokens_and_each_token_knows_its_tile() {
        for (tokens, widest) in (1..40).flat_map(|tokens| [(tokens, EIGHT), (tokens, SIXTEEN)]) {
            let all: Vec<_> = tiles(tokens, widest).collect();
            assert_eq!(all.iter().map(|(_, width)| width).sum::<usize>(), tokens);
            for (first, width) in all {
                assert!(width <= widest);
                for token in first..first + width {
                    assert_eq!(tile_of(token, tokens, widest), (first, width), "{token} of {tokens}");
                }
            }
        }
    }

    #[test]
    fn a_quantized_row_is_within_half_a_step_and_every_isa_gives_the_same_bytes() {
        let (tokens, columns) = (13, 96);
        let rows = random(tokens * columns, 3);
        let mut first: Option<Vec<u8>> = None;
        for isa in here() {
            let mut packed = vec![0u8; packed_bytes(tokens, columns)];
            for token in 0..tokens {
                // SAFETY: lengths as asked for.
                unsafe {
                    let slot = Slot::new(packed.as_mut_ptr(), token, tokens, columns, Isa::Portable);
                    quantize(isa, rows[token * columns..].as_ptr(), 0..columns, slot);
                }
            }
            for token in 0..tokens {
                let (start, width) = tile_of(token, tokens, EIGHT);
                for k in 0..columns {
                    let block = start * (columns / BLOCK) * BLOCK_BYTES + k / BLOCK * width * BLOCK_BYTES;
                    let quant =
                        packed[block + (k % BLOCK / 4 * width + token - start) * 4 + k % 4].cast_signed();
                    let at = block + numbers(width)[0] + (token - start) * 4;
                    let scale = f32::from_le_bytes(packed[at..at + 4].try_into().unwrap());
                    let error = (f32::from(quant) * scale - rows[token * columns + k]).abs();
                    assert!(error <= scale * 0.501, "{isa} token {token} element {k}: {error} of {scale}");
                }
            }
            match &first {
                Some(first) => assert_eq!(*first, packed, "{isa}"),
                None => first = Some(packed),
            }
        }
    }

    #[test]
    fn a_row_quantized_alone_and_placed_is_the_row_quantized_in_place() {
        let (tokens, columns) = (31, 96);
        let rows = random(tokens * columns, 5);
        for isa in [Isa::Portable, Isa::Amx] {
            let (mut whole, mut placed) =
                (vec![0u8; packed_bytes(tokens, columns)], vec![1u8; packed_bytes(tokens, columns)]);
            for token in 0..tokens {
                let mut single = vec![0u8; packed_bytes(1, columns)];
                // SAFETY: lengths as asked for.
                unsafe {
                    let row = rows[token * columns..].as_ptr();
                    let slot = Slot::new(whole.as_mut_ptr(), token, tokens, columns, isa);
                    quantize(Isa::Portable, row, 0..columns, slot);
                    let alone = Slot::new(single.as_mut_ptr(), 0, 1, columns, isa);
                    quantize(Isa::Portable, row, 0..columns, alone);
                    let slot = Slot::new(placed.as_mut_ptr(), token, tokens, columns, isa);
                    place(single.as_ptr(), columns, slot);
                }
                if isa == Isa::Amx && token < SIXTEEN {
                    let second = SIXTEEN * BLOCK_BYTES + token * BLOCK;
                    assert_eq!(placed[second..second + BLOCK], single[BLOCK_BYTES..BLOCK_BYTES + BLOCK]);
                }
            }
            assert_eq!(whole, placed, "{isa}");
        }
    }

    #[test]
    fn what_is_no_number_stays_visible_and_zeros_stay_zeros() {
        for isa in here() {
            for (value, finite) in [(f32::NAN, false), (f32::INFINITY, false), (0.0, true), (1e-40, true)] {
                let mut row = [0.0f32; 32];
                row[17] = value;
                let mut packed = vec![0u8; packed_bytes(1, 32)];
                // SAFETY: lengths as asked for.
                unsafe { quantize(isa, row.as_ptr(), 0..32, Slot::new(packed.as_mut_ptr(), 0, 1, 32, isa)) };
                let scale = f32::from_le_bytes(packed[32..36].try_into().unwrap());
                assert_eq!(scale.is_finite(), finite, "{isa} {value}: {scale}");
            }
        }
    }
}
