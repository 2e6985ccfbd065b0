//! Weights in F16 and BF16, times activations in single precision, as sums of products of bfloat16.
//!
//! Nothing is rounded on the way in: a number in single precision is the sum of three bfloat16 of eight bits each, one in
//! half precision of two. So a product takes three instructions, or five, which is still faster than single precision
//! without tiles. (A sixth, of both lowest parts, would add less than one part in 2²⁴.) Sums are in single precision, as
//! there.
//!
//! # Safety of this module
//! That of [`multiply`](super::super::multiply): the groups lie within the matrix, their rows within the output, and the
//! parts are those of all tokens. Besides, the processor must have what `T` needs.
#![allow(clippy::cast_ptr_alignment, reason = "groups are aligned to 64 bytes")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::model::TensorType;

use super::super::super::bits::PLANE;
use super::super::super::isa::{Isa, SIXTEEN};
use super::super::super::lanes::Lanes;
use super::super::super::pack::{BLOCK, ROWS};
use super::super::registers::Wide;
use super::super::{Input, Output, Weights};
use super::{Shape, Tiles, Work};

/// Parts of an activation.
const PARTS: usize = 3;
/// Bytes that a tile register holds.
const TILE: usize = ROWS * PLANE;
/// Bytes of the parts of a block of sixteen tokens.
const BLOCK_BYTES: usize = PARTS * TILE;
/// Blocks of a panel: of two groups in half precision these are 32 KiB, which the first cache holds.
const BLOCKS: usize = 8;

/// Bytes that the parts of `tokens` of `columns` elements take.
pub(in crate::fused::cpu) fn split_bytes(tokens: usize, columns: usize) -> usize {
    tokens / SIXTEEN * (columns / BLOCK) * BLOCK_BYTES
}

/// Splits the columns `part`, whole blocks, of one token's row; of `tokens` those that fill no tile have no place.
///
/// # Safety
/// `row` must have `columns` elements, `to` [`split_bytes`], and no two threads may write the same columns of a token.
pub(in crate::fused::cpu) unsafe fn split(
    isa: Isa,
    row: *const f32,
    part: Range<usize>,
    (token, tokens): (usize, usize),
    columns: usize,
    to: *mut u8,
) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn enabled(
            row: *const f32,
            part: Range<usize>,
            place: (usize, usize),
            columns: usize,
            to: *mut u8,
        ) {
            // SAFETY: as `split` asks.
            unsafe { split_row(row, part, place, columns, to) };
        }
        // SAFETY: the processor has AVX-512, since an `Isa` is made only where it does; the rest is this function's contract.
        return unsafe { enabled(row, part, (token, tokens), columns, to) };
    }
    let _ = isa;
    // SAFETY: by this function's contract.
    unsafe { split_row(row, part, (token, tokens), columns, to) };
}

/// [`split`], compiled for what its caller enables.
///
/// # Safety
/// As [`split`].
#[inline(always)]
unsafe fn split_row(
    row: *const f32,
    part: Range<usize>,
    (token, tokens): (usize, usize),
    columns: usize,
    to: *mut u8,
) {
    if token >= tokens / SIXTEEN * SIXTEEN {
        return;
    }
    for block in part.start / BLOCK..part.end / BLOCK {
        let at = (token / SIXTEEN * (columns / BLOCK) + block) * BLOCK_BYTES + token % SIXTEEN * PLANE;
        // SAFETY: the row and the token's place have this block, by this function's contract.
        unsafe {
            let x = row.add(block * BLOCK).cast::<[f32; BLOCK]>().read_unaligned();
            for (number, part) in parts(x).into_iter().enumerate() {
                to.add(at + number * TILE).cast::<[u16; BLOCK]>().write_unaligned(part);
            }
        }
    }
}

/// The upper eight bits of each number, the next eight and the last. Of an infinity or a NaN the second is a NaN.
#[inline(always)]
fn parts<const COUNT: usize>(numbers: [f32; COUNT]) -> [[u16; COUNT]; PARTS] {
    let mut parts = [[0; COUNT]; PARTS];
    for (at, number) in numbers.into_iter().enumerate() {
        let first = number.to_bits() & 0xffff_0000;
        let second = (number - f32::from_bits(first)).to_bits();
        let third = f32::from_bits(second) - f32::from_bits(second & 0xffff_0000);
        for (part, bits) in [first, second, third.to_bits()].into_iter().enumerate() {
            parts[part][at] = (bits >> 16) as u16;
        }
    }
    parts
}

/// Multiplies the rows of `groups` with tokens that fill tiles of sixteen.
///
/// # Safety
/// As [`multiply`](super::super::multiply); the weights must be of 16 bits, and the processor have the instructions of `T`.
pub(in super::super) unsafe fn multiply<T: Tiles>(
    weights: Weights,
    groups: Range<usize>,
    input: Input,
    output: Output,
) {
    // SAFETY: matrix, input and output are as the module asks, and the processor has what `T` needs.
    unsafe {
        if weights.layout.kind == TensorType::F16 {
            T::enabled(Panels::<true> { weights, groups, input, output });
        } else {
            T::enabled(Panels::<false> { weights, groups, input, output });
        }
    }
}

/// The products of whole tiles of sixteen tokens, panel by panel; of weights in half precision, or of bfloat16.
struct Panels<const HALF: bool> {
    weights: Weights,
    groups: Range<usize>,
    input: Input,
    output: Output,
}

/// Sixteen rows' weights of a block, in pairs of columns: their upper parts, and the lower ones of half precision.
#[repr(C, align(64))]
struct Block([[[u16; 2]; PLANE / 4 * ROWS]; 2]);

impl<const HALF: bool> Work for Panels<HALF> {
    #[inline(always)]
    unsafe fn run<T: Tiles>(self) {
        let Self { weights, groups, input, output } = self;
        let blocks = weights.layout.columns / BLOCK;
        let mut panel = MaybeUninit::<[[Block; BLOCKS]; 2]>::uninit();
        let panel = panel.as_mut_ptr().cast::<Block>();
        // SAFETY: groups, parts and rows are within matrix, input and output, and what of the panel is read was written.
        unsafe {
            let mut tiles = T::new([
                Shape::SUMS,
                Shape::SUMS,
                Shape::SUMS,
                Shape::SUMS,
                Shape::rows(64),
                Shape::rows(64),
                Shape::weights(64),
                Shape::weights(64),
            ]);
            // All tokens' parts of a panel's columns stay in the second cache while all groups pass.
            for from in (0..blocks).step_by(BLOCKS) {
                let some = BLOCKS.min(blocks - from);
                for first in groups.clone().step_by(2) {
                    let two = first + 1 < groups.end;
                    for group in first..groups.end.min(first + 2) {
                        let bytes = weights.groups.add(group * weights.layout.group_bytes);
                        spread::<T::Wide, HALF>(
                            bytes,
                            from..from + some,
                            panel.add((group - first) * BLOCKS),
                        );
                    }
                    let full = input.tokens / SIXTEEN;
                    for tile in (0..full).step_by(2) {
                        let part = Part {
                            panel,
                            blocks: some,
                            activations: input.parts.add((tile * blocks + from) * BLOCK_BYTES),
                            tile_stride: blocks * BLOCK_BYTES,
                            to: output.first.add(tile * SIXTEEN * output.stride + first * ROWS),
                            stride: output.stride,
                            more: from > 0,
                        };
                        match (tile + 1 < full, two) {
                            (true, true) => part.add::<T, HALF, true, true>(&mut tiles),
                            (true, false) => part.add::<T, HALF, true, false>(&mut tiles),
                            (false, true) => part.add::<T, HALF, false, true>(&mut tiles),
                            (false, false) => part.add::<T, HALF, false, false>(&mut tiles),
                        }
                    }
                }
            }
        }
    }
}

/// Puts some blocks of a group into pairs of columns, numbers in half precision in two parts.
#[inline(always)]
unsafe fn spread<W: Wide, const HALF: bool>(group: *const u8, blocks: Range<usize>, panel: *mut Block) {
    let group = group.cast::<u16>();
    for (number, block) in blocks.enumerate() {
        for pair in 0..BLOCK / 2 {
            // SAFETY: the group has these columns and the panel room for the block, by this module's contract.
            unsafe {
                let at = group.add((block * BLOCK + pair * 2) * ROWS);
                let columns = [at, at.add(ROWS)].map(|column| {
                    if HALF {
                        let mut numbers = [0f32; ROWS];
                        W::Numbers::load_f16(column).store(numbers.as_mut_ptr());
                        let [upper, lower, _] = parts(numbers);
                        [upper, lower]
                    } else {
                        [column.cast::<[u16; ROWS]>().read_unaligned(), [0; ROWS]]
                    }
                });
                for half in 0..if HALF { 2 } else { 1 } {
                    let to = (&raw mut (*panel.add(number)).0[half]).cast::<[u16; 2]>().add(pair * ROWS);
                    for row in 0..ROWS {
                        to.add(row).write([columns[0][half][row], columns[1][half][row]]);
                    }
                }
            }
        }
    }
}

/// Some columns of one or two groups, and the parts of one or two tiles of tokens.
struct Part {
    panel: *const Block,
    blocks: usize,
    activations: *const u8,
    /// Bytes from one tile's parts to the next's.
    tile_stride: usize,
    /// The first sum, and elements from one token's sums to the next's.
    to: *mut f32,
    stride: usize,
    /// Whether there are sums to add to.
    more: bool,
}

impl Part {
    /// Adds the products to the sums in the output, or begins them.
    #[inline(always)]
    unsafe fn add<T: Tiles, const HALF: bool, const TWO_TILES: bool, const TWO_GROUPS: bool>(
        &self,
        tiles: &mut T,
    ) {
        let stride = self.stride * size_of::<f32>();
        // SAFETY: the panel, the activations and the output have these blocks, tiles and groups, by this module's contract.
        unsafe {
            let sums = |tile: usize, group: usize| self.to.add(tile * SIXTEEN * self.stride + group * ROWS);
            // The sums of a tile of tokens and a group, each in its register.
            macro_rules! each {
                ($method:ident) => {
                    tiles.$method::<0>(sums(0, 0).cast(), stride);
                    if TWO_GROUPS {
                        tiles.$method::<1>(sums(0, 1).cast(), stride);
                    }
                    if TWO_TILES {
                        tiles.$method::<2>(sums(1, 0).cast(), stride);
                    }
                    if TWO_TILES && TWO_GROUPS {
                        tiles.$method::<3>(sums(1, 1).cast(), stride);
                    }
                };
            }
            if self.more {
                each!(load);
            } else {
                tiles.zero::<0>();
                tiles.zero::<1>();
                tiles.zero::<2>();
                tiles.zero::<3>();
            }
            for block in 0..self.blocks {
                for half in 0..if HALF { 2 } else { 1 } {
                    let weights =
                        |group: usize| (&raw const (*self.panel.add(group * BLOCKS + block)).0[half]).cast();
                    tiles.load::<6>(weights(0), PLANE);
                    if TWO_GROUPS {
                        tiles.load::<7>(weights(1), PLANE);
                    }
                    // The lowest part of both would be below the last bit.
                    for part in 0..PARTS - half {
                        let x = self.activations.add(block * BLOCK_BYTES + part * TILE);
                        tiles.load::<4>(x, PLANE);
                        tiles.dot_bf16::<0, 4, 6>();
                        if TWO_GROUPS {
                            tiles.dot_bf16::<1, 4, 7>();
                        }
                        if TWO_TILES {
                            tiles.load::<5>(x.add(self.tile_stride), PLANE);
                            tiles.dot_bf16::<2, 5, 6>();
                        }
                        if TWO_TILES && TWO_GROUPS {
                            tiles.dot_bf16::<3, 5, 7>();
                        }
                    }
                }
            }
            each!(store);
        }
    }
}
