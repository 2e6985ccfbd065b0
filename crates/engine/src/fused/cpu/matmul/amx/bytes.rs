//! Quantized weights times quantized activations, as products of bytes.
//!
//! The order of a group, four neighbouring columns of each row, is the one that the instruction takes; a block's columns
//! fill half a tile. The quants of some groups are spread to bytes once, in a *panel*, and stay in the caches while all tokens pass. A block has scales of its own, so that its
//! products go through memory to registers that can multiply with those; they get there a step later than they were
//! stored, since a load that follows on the store waits for it (34 ns for 8,192 products instead of 24, where this was
//! measured). Tile registers aren't renamed: two pairs of them take turns.
//!
//! Sums are those of [`dots`](super::super::dots) and [`vnni`](super::super::vnni) bit for bit: the same integers, scaled in the same
//! order.
//!
//! # Safety of this module
//! That of [`multiply`](super::super::multiply): the groups lie within the matrix, their rows within the output, and the tiles
//! within the activations. Besides, the processor must have what `T` needs.
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::model::TensorType;

use super::super::super::activations::BLOCK_BYTES;
use super::super::super::bits::PLANE;
use super::super::super::isa::SIXTEEN;
use super::super::super::lanes::Lanes;
use super::super::super::pack::{BLOCK, Layout, ROWS, chunk_bytes};
use super::super::formats::{
    IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, SUBS, Scales, above,
    for_each_four, planes, quants, scaled, scales, unpack,
};
use super::super::registers::{Dots, Wide};
use super::super::{Input, Output, Weights};
use super::{Shape, Tiles, Work};

/// Blocks of a panel, whole super-blocks, and its groups: 192 KiB, which the second cache holds next to the activations.
const BLOCKS: usize = 64;
const GROUPS: usize = 4;
/// Bytes of a block of a tile of activations.
const TILE_BYTES: usize = SIXTEEN * BLOCK_BYTES;
/// Products that a tile register holds: of sixteen tokens, of sixteen rows each.
const PRODUCTS: usize = SIXTEEN * ROWS;

/// Multiplies the rows of `groups` with tokens that fill tiles of sixteen.
///
/// # Safety
/// As [`multiply`](super::super::multiply); the processor must have the instructions of `T`.
pub(in super::super) unsafe fn multiply<T: Tiles>(
    weights: Weights,
    groups: Range<usize>,
    input: Input,
    output: Output,
) {
    macro_rules! of {
        ($($kind:ident),*) => {
            match weights.layout.kind {
                $(TensorType::$kind => T::enabled(Panels::<$kind> { weights, groups, input, output }),)*
                other => unreachable!("no kernel for {other}"),
            }
        };
    }
    // SAFETY: matrix, input and output are as the module asks, and the processor has what `T` needs.
    unsafe { of!(Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_0, MXFP4, IQ4_NL, IQ4_XS) };
}

/// A block of sixteen rows: signed quants of a byte, and what their products are multiplied with.
#[repr(C, align(64))]
struct Block {
    quants: [[u8; PLANE]; 8],
    scale: [f32; ROWS],
    /// The block's minima, or of a block of six bits the second half's scales.
    second: [f32; ROWS],
    minima: [[u8; PLANE]; 2],
}

/// Where two pairs of products lie between the tiles and the other registers.
#[repr(C, align(64))]
struct Room([[i32; 2 * PRODUCTS]; 2]);

/// The products of whole tiles of sixteen tokens, panel by panel.
struct Panels<const FORMAT: u8> {
    weights: Weights,
    groups: Range<usize>,
    input: Input,
    output: Output,
}

impl<const FORMAT: u8> Work for Panels<FORMAT> {
    #[inline(always)]
    unsafe fn run<T: Tiles>(self) {
        let Self { weights, groups, input, output } = self;
        let layout = &weights.layout;
        let blocks = layout.columns / BLOCK;
        let mut panel = MaybeUninit::<[[Block; BLOCKS]; GROUPS]>::uninit();
        let panel = panel.as_mut_ptr().cast::<Block>();
        let mut room = Room([[0; 2 * PRODUCTS]; 2]);
        let row = if halves(FORMAT) { 16 } else { 32 };
        let (sums, rows, fours) = (Shape::SUMS, Shape::rows(row), Shape::weights(row));
        // SAFETY: groups, tiles and rows are within matrix, input and output, and what of the panel is read was written.
        unsafe {
            let mut tiles = T::new([sums, sums, sums, sums, rows, rows, fours, fours]);
            for first in groups.clone().step_by(GROUPS) {
                let count = GROUPS.min(groups.end - first);
                for from in (0..blocks).step_by(BLOCKS) {
                    let some = BLOCKS.min(blocks - from);
                    for group in 0..count {
                        let bytes = weights.groups.add((first + group) * layout.group_bytes);
                        let to = panel.add(group * BLOCKS);
                        spread::<T::Wide, FORMAT>(layout, bytes, from..from + some, to);
                    }
                    for tile in 0..input.tokens / SIXTEEN {
                        let at = input.tiles.add((tile * blocks + from) * TILE_BYTES);
                        for group in 0..count {
                            let rows = tile * SIXTEEN * output.stride + (first + group) * ROWS;
                            let to = Output { first: output.first.add(rows), ..output };
                            let panel = panel.add(group * BLOCKS);
                            tile_of::<T, FORMAT>(&mut tiles, panel, some, at, to, from > 0, &mut room);
                        }
                    }
                }
            }
        }
    }
}

/// Whether a block's two halves have scales of their own, and are multiplied each by itself.
const fn halves(format: u8) -> bool {
    format == Q6_K
}

/// Spreads the quants of some blocks of a group to signed bytes, each with what its products are multiplied with.
#[inline(always)]
unsafe fn spread<W: Dots, const FORMAT: u8>(
    layout: &Layout,
    group: *const u8,
    blocks: Range<usize>,
    panel: *mut Block,
) {
    // SAFETY: the group has these blocks and the panel room for as many, by this module's contract.
    unsafe {
        let mut unpacked = [0u8; 2 * SUBS * ROWS];
        let above = W::splat(i32::from_ne_bytes([above(FORMAT); 4]));
        for (number, block) in blocks.enumerate() {
            let chunk = group.add(layout.scales + block / SUBS * chunk_bytes(layout.kind));
            if block % SUBS == 0 {
                unpack::<W, FORMAT>(chunk, unpacked.as_mut_ptr());
            }
            let scales = scales::<W, FORMAT>(layout, group, chunk, block, unpacked.as_ptr());
            let at = group.add(block * planes(FORMAT) * PLANE);
            let to = panel.add(number);
            for_each_four!(FOUR => {
                let quants = quants::<W, FORMAT, FOUR>(at, &scales).sub_8(above);
                quants.store((&raw mut (*to).quants[FOUR]).cast());
            });
            let [scale, second] = if FORMAT == Q6_K { scales.halves } else { [scales.scale, scales.minimum] };
            scale.store((&raw mut (*to).scale).cast());
            second.store((&raw mut (*to).second).cast());
            if FORMAT == Q2_K {
                scales.minima[0].store((&raw mut (*to).minima[0]).cast());
                scales.minima[1].store((&raw mut (*to).minima[1]).cast());
            }
        }
    }
}

/// Adds the products of some blocks of a group with a tile of sixteen tokens to the sums in the output, or begins them.
#[inline(always)]
unsafe fn tile_of<T: Tiles, const FORMAT: u8>(
    tiles: &mut T,
    panel: *const Block,
    blocks: usize,
    tile: *const u8,
    to: Output,
    more: bool,
    room: &mut Room,
) {
    let halves = halves(FORMAT);
    let steps = if halves { blocks } else { blocks.div_ceil(2) };
    // An odd block out is multiplied twice, and its second products left.
    let pair = |step: usize| if halves { [step; 2] } else { [2 * step, (2 * step + 1).min(blocks - 1)] };
    // SAFETY: the panel and the tile have these blocks, and the output sixteen rows, by this module's contract.
    unsafe {
        let mut sums = [<T::Wide as Wide>::Numbers::splat(0.0); SIXTEEN];
        if more {
            for (token, sum) in sums.iter_mut().enumerate() {
                *sum = Lanes::load(to.first.add(token * to.stride));
            }
        }
        let places = |step: usize| {
            let [first, second] = pair(step).map(|block| (tile.add(block * TILE_BYTES), panel.add(block)));
            let (row, four) = if halves { (BLOCK / 2, 4) } else { (0, 0) };
            let upper: *const u8 = (&raw const (*second.1).quants[four]).cast();
            ([first.0, second.0.add(row)], [first.1.cast::<u8>(), upper])
        };
        macro_rules! multiply {
            ($step:expr => $first:literal, $second:literal) => {
                if $step < steps {
                    let (x, weights) = places($step);
                    tiles.zero::<$first>();
                    tiles.zero::<$second>();
                    tiles.load::<4>(x[0], BLOCK);
                    tiles.load::<6>(weights[0], PLANE);
                    tiles.dot_bytes::<$first, 4, 6>();
                    tiles.load::<5>(x[1], BLOCK);
                    tiles.load::<7>(weights[1], PLANE);
                    tiles.dot_bytes::<$second, 5, 7>();
                }
            };
        }
        macro_rules! scale {
            ($pair:literal, $step:expr) => {{
                let from = room.0[$pair].as_ptr();
                if halves {
                    scale::<T::Wide, FORMAT>(&mut sums, from, panel.add($step), tile.add($step * TILE_BYTES));
                } else {
                    let [first, second] = pair($step);
                    scale::<T::Wide, FORMAT>(&mut sums, from, panel.add(first), tile.add(first * TILE_BYTES));
                    if second > first {
                        let (from, tile) = (from.add(PRODUCTS), tile.add(second * TILE_BYTES));
                        scale::<T::Wide, FORMAT>(&mut sums, from, panel.add(second), tile);
                    }
                }
            }};
        }
        macro_rules! store {
            ($pair:literal => $first:literal, $second:literal) => {{
                let to = room.0[$pair].as_mut_ptr();
                tiles.store::<$first>(to.cast(), PLANE);
                tiles.store::<$second>(to.add(PRODUCTS).cast(), PLANE);
            }};
        }
        multiply!(0 => 0, 1);
        let mut step = 0;
        loop {
            multiply!(step + 1 => 2, 3);
            store!(0 => 0, 1);
            if step > 0 {
                scale!(1, step - 1);
            }
            step += 1;
            if step == steps {
                scale!(0, step - 1);
                break;
            }
            multiply!(step + 1 => 0, 1);
            store!(1 => 2, 3);
            scale!(0, step - 1);
            step += 1;
            if step == steps {
                scale!(1, step - 1);
                break;
            }
        }
        for (token, sum) in sums.into_iter().enumerate() {
            sum.store(to.first.add(token * to.stride));
        }
    }
}

/// Adds a block's products, multiplied with its scales and the tokens', to their sums.
#[inline(always)]
unsafe fn scale<W: Dots, const FORMAT: u8>(
    sums: &mut [W::Numbers; SIXTEEN],
    products: *const i32,
    block: *const Block,
    tile: *const u8,
) {
    // SAFETY: the products, the block and the tile's block are there, by this module's contract.
    unsafe {
        let (first, second) = ((*block).scale.as_ptr(), (*block).second.as_ptr());
        let (first, second) = (W::Numbers::load(first), W::Numbers::load(second));
        let nothing = [W::splat(0); 2];
        let minima = |half: usize| W::load((*block).minima[half].as_ptr());
        let scales = Scales {
            scale: first,
            minimum: second,
            halves: [first, second],
            times: nothing,
            above: nothing,
            minima: if FORMAT == Q2_K { [minima(0), minima(1)] } else { nothing },
        };
        for (token, sum) in sums.iter_mut().enumerate() {
            let at = products.add(token * ROWS);
            let dots = [W::load(at.cast()), W::load(at.add(PRODUCTS).cast())];
            *sum = scaled::<W, FORMAT>(*sum, dots, &scales, tile.add(token * 4), SIXTEEN);
        }
    }
}
