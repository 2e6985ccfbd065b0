//! Activations as the matrix kernels take them: 8-bit blocks in tiles of tokens, or single precision row by row.
//!
//! A block is 32 neighbouring elements of one token with one scale, as llama.cpp's `Q8_0`. The blocks of the 8, 4, 2
//! or 1 tokens of a *tile* lie together, four elements of each token side by side, so that a kernel walks one stream
//! and broadcasts from it. With each block go its scale and its sum times what the weights' formats need: quants
//! without sign are off by 8, 32 or 128, and starting the accumulator at minus that times the sum costs nothing; minima
//! are multiplied with the sum itself. Without VNNI pairs of products are added in 16 bits, so for 32 the start value is
//! there for each 16 elements as two numbers of 16 bits, for the first and the second pair of every four.
#![allow(clippy::cast_ptr_alignment, reason = "every access through them is unaligned")]
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "vector loads and stores at computed places")]

use std::ops::Range;

use super::isa::Isa;
use super::lanes::{LANES, Lanes, Plain};
use super::pack::BLOCK;

/// Bytes a block of one token takes in a tile: 32 quants, then [`numbers`].
pub(super) const BLOCK_BYTES: usize = BLOCK + 4 * NUMBERS;
/// Words behind a token's quants of a block.
const NUMBERS: usize = 6;

/// Tokens of the widest tile.
pub(super) const WIDEST: usize = 8;

/// The widths of the tiles that `tokens` are cut into, the widest first, with each one's first token.
pub(super) fn tiles(tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = tokens - at;
        let width = [WIDEST, 4, 2, 1].into_iter().find(|width| *width <= left)?;
        let first = at;
        at += width;
        Some((first, width))
    })
}

/// The tile that holds `token` of `tokens`: its first token and its width.
fn tile_of(token: usize, tokens: usize) -> (usize, usize) {
    let full = tokens / WIDEST * WIDEST;
    if token < full {
        return (token / WIDEST * WIDEST, WIDEST);
    }
    let mut first = full;
    for width in [4, 2, 1] {
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
    /// The place of `token` among `tokens` of `columns` elements in `buffer`.
    ///
    /// # Safety
    /// `buffer` must have [`packed_bytes`], and no two threads may write the same token.
    pub(super) unsafe fn new(buffer: *mut u8, token: usize, tokens: usize, columns: usize) -> Self {
        let (first, width) = tile_of(token, tokens);
        // SAFETY: the tile lies within the buffer, since all tiles together are its length.
        let tile = unsafe { buffer.add(first * (columns / BLOCK) * BLOCK_BYTES) };
        Self { tile, width, lane: token - first }
    }

    /// Quantizes 32 elements into block number `block`.
    ///
    /// Minima are multiplied with the sum of the elements as rounded: with the true sum the errors of the two parts of
    /// a weight, d·q and m, would not cancel, and logits were half as far off again when that was tried.
    #[inline(always)]
    unsafe fn put<V: Lanes>(self, block: usize, low: V, high: V) {
        // SAFETY: the block lies within the tile, and the vectors' instructions are the caller's to have.
        unsafe {
            let (scale, low, high) = scaled(low, high);
            let pairs = [low.rounded_sums(), high.rounded_sums()];
            let sum = pairs[0][0] + pairs[0][1] + pairs[1][0] + pairs[1][1];
            let mut quants = [0i8; BLOCK];
            low.store_i8(quants.as_mut_ptr());
            high.store_i8(quants.as_mut_ptr().add(LANES));
            let at = self.tile.add(block * self.width * BLOCK_BYTES);
            let from = quants.as_ptr().cast::<u32>();
            for four in 0..BLOCK / 4 {
                let to = at.add((four * self.width + self.lane) * 4).cast::<u32>();
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
    // SAFETY: the caller's.
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

macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $generic:ident) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn avx2($($arg: $type),*) {
                    // SAFETY: the caller's; the instructions are enabled here.
                    unsafe { $generic::<$crate::fused::cpu::lanes::Avx2>($($arg),*) };
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                unsafe fn avx512($($arg: $type),*) {
                    // SAFETY: the caller's; the instructions are enabled here.
                    unsafe { $generic::<$crate::fused::cpu::lanes::Avx512>($($arg),*) };
                }
                // SAFETY: an `Isa` above `Portable` is made only where the processor has it.
                return unsafe {
                    match isa {
                        Isa::Portable => $generic::<Plain>($($arg),*),
                        Isa::Avx2 => avx2($($arg),*),
                        Isa::Avx512 | Isa::Avx512Vnni => avx512($($arg),*),
                    }
                };
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                // SAFETY: the caller's.
                unsafe { $generic::<Plain>($($arg),*) };
            }
        }
    };
}
pub(super) use for_each_isa;

for_each_isa! {
    /// Quantizes the columns `part`, whole blocks, of one token's row.
    ///
    /// # Safety
    /// `row` must have so many elements and `slot` be the place of a row that has.
    pub(super) unsafe fn quantize(row: *const f32, part: Range<usize>, slot: Slot) = quantize_row
}

#[inline(always)]
unsafe fn quantize_row<V: Lanes>(row: *const f32, part: Range<usize>, slot: Slot) {
    for block in part.start / BLOCK..part.end / BLOCK {
        // SAFETY: the caller's.
        unsafe {
            let at = row.add(block * BLOCK);
            slot.put(block, V::load(at), V::load(at.add(LANES)));
        }
    }
}

for_each_isa! {
    /// RMS norm of a row: `to` = `row` / √(mean of squares + epsilon) × `weight`, of its columns `part` alone; `to` may be
    /// `row` where the part is all of it.
    ///
    /// # Safety
    /// All three must have `columns` elements, a multiple of 16, and the part begin and end at such.
    pub(super) unsafe fn norm(
        row: *const f32,
        weight: *const f32,
        columns: usize,
        part: Range<usize>,
        epsilon: f32,
        to: *mut f32,
    ) = norm_row
}

#[inline(always)]
unsafe fn norm_row<V: Lanes>(
    row: *const f32,
    weight: *const f32,
    columns: usize,
    part: Range<usize>,
    epsilon: f32,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut squares = V::splat(0.0);
        for at in (0..columns).step_by(LANES) {
            let x = V::load(row.add(at));
            squares = x.mul_add(x, squares);
        }
        #[allow(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
        let mean = squares.reduce_add() / columns as f32;
        let scale = V::splat(1.0 / (mean + epsilon).sqrt());
        for at in part.step_by(LANES) {
            V::load(row.add(at)).mul(scale).mul(V::load(weight.add(at))).store(to.add(at));
        }
    }
}

for_each_isa! {
    /// `to` += `from`.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn add(from: *const f32, columns: usize, to: *mut f32) = add_row
}

#[inline(always)]
unsafe fn add_row<V: Lanes>(from: *const f32, columns: usize, to: *mut f32) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: the caller's.
        unsafe { V::load(to.add(at)).add(V::load(from.add(at))).store(to.add(at)) };
    }
}

for_each_isa! {
    /// `to` += `factor` × `from`.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn add_scaled(factor: f32, from: *const f32, columns: usize, to: *mut f32) = add_scaled_row
}

#[inline(always)]
unsafe fn add_scaled_row<V: Lanes>(factor: f32, from: *const f32, columns: usize, to: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        let factor = V::splat(factor);
        for at in (0..columns).step_by(LANES) {
            V::load(from.add(at)).mul_add(factor, V::load(to.add(at))).store(to.add(at));
        }
    }
}

/// Puts a row that was quantized in a tile of its own, `single`, into its place in a wider one. Both are the same
/// words in the same order, here with those of the tile's other tokens between.
///
/// # Safety
/// `single` must hold [`packed_bytes`] of one token and `slot` be the place of a row of that length.
pub(super) unsafe fn place(single: *const u8, columns: usize, slot: Slot) {
    // SAFETY: the caller's: both hold so many words.
    unsafe {
        let (from, to) = (single.cast::<u32>(), slot.tile.cast::<u32>());
        for word in 0..packed_bytes(1, columns) / 4 {
            to.add(word * slot.width + slot.lane).write_unaligned(from.add(word).read_unaligned());
        }
    }
}

for_each_isa! {
    /// `gate` becomes silu(`gate`) × `up`.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn swiglu(gate: *mut f32, up: *const f32, columns: usize) = swiglu_row
}

#[inline(always)]
unsafe fn swiglu_row<V: Lanes>(gate: *mut f32, up: *const f32, columns: usize) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: the caller's.
        unsafe {
            let x = V::load(gate.add(at));
            let one = V::splat(1.0);
            let sigmoid_inverse = one.add(V::splat(0.0).sub(x).exp());
            x.div(sigmoid_inverse).mul(V::load(up.add(at))).store(gate.add(at));
        }
    }
}

for_each_isa! {
    /// `gate` becomes gelu(`gate`) × `up`, gelu in its tanh form.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn geglu(gate: *mut f32, up: *const f32, columns: usize) = geglu_row
}

#[inline(always)]
unsafe fn geglu_row<V: Lanes>(gate: *mut f32, up: *const f32, columns: usize) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: the caller's.
        unsafe {
            let x = V::load(gate.add(at));
            // x·½·(1 + tanh y) is x·sigmoid(2y), with y = √(2/π)·(x + 0.044715·x³).
            let cube = x.mul(x).mul(x);
            let inner = cube.mul_add(V::splat(0.044_715), x).mul(V::splat(-2.0 * 0.797_884_6));
            x.div(V::splat(1.0).add(inner.exp())).mul(V::load(up.add(at))).store(gate.add(at));
        }
    }
}

for_each_isa! {
    /// `gate` becomes gate · sigmoid(1.702 · gate) · (`up` + 1), with `gate` at most 7 and `up` within ±7.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn clamped_swiglu(gate: *mut f32, up: *const f32, columns: usize) = clamped_swiglu_row
}

#[inline(always)]
unsafe fn clamped_swiglu_row<V: Lanes>(gate: *mut f32, up: *const f32, columns: usize) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: the caller's.
        unsafe {
            let (zero, one, least) = (V::splat(0.0), V::splat(1.0), V::splat(-7.0));
            // The smaller of two is the negative of the larger of their negatives. A NaN may be lost in it, so what was
            // cut off is found out by the difference to itself.
            let (gate_in, up_in) = (V::load(gate.add(at)), V::load(up.add(at)));
            let lost = gate_in.sub(gate_in).add(up_in.sub(up_in));
            let minus = zero.sub(gate_in).max(least);
            let up = zero.sub(zero.sub(up_in.max(least)).max(least));
            let sigmoid_inverse = one.add(minus.mul(V::splat(1.702)).exp());
            zero.sub(minus).div(sigmoid_inverse).mul(up.add(one)).add(lost).store(gate.add(at));
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test numbers")]
#[allow(clippy::many_single_char_names, reason = "as in the formulas")]
pub(super) mod tests {
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
        for tokens in 1..40 {
            let all: Vec<_> = tiles(tokens).collect();
            assert_eq!(all.iter().map(|(_, width)| width).sum::<usize>(), tokens);
            for (first, width) in all {
                for token in first..first + width {
                    assert_eq!(tile_of(token, tokens), (first, width), "{token} of {tokens}");
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
                    let slot = Slot::new(packed.as_mut_ptr(), token, tokens, columns);
                    quantize(isa, rows[token * columns..].as_ptr(), 0..columns, slot);
                }
            }
            for token in 0..tokens {
                let (start, width) = tile_of(token, tokens);
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
        let (tokens, columns) = (15, 96);
        let rows = random(tokens * columns, 5);
        let (mut whole, mut placed) =
            (vec![0u8; packed_bytes(tokens, columns)], vec![1u8; packed_bytes(tokens, columns)]);
        for token in 0..tokens {
            let mut single = vec![0u8; packed_bytes(1, columns)];
            // SAFETY: lengths as asked for.
            unsafe {
                let row = rows[token * columns..].as_ptr();
                quantize(
                    Isa::Portable,
                    row,
                    0..columns,
                    Slot::new(whole.as_mut_ptr(), token, tokens, columns),
                );
                quantize(Isa::Portable, row, 0..columns, Slot::new(single.as_mut_ptr(), 0, 1, columns));
                place(single.as_ptr(), columns, Slot::new(placed.as_mut_ptr(), token, tokens, columns));
            }
        }
        assert_eq!(whole, placed);
    }

    #[test]
    fn what_is_no_number_stays_visible_and_zeros_stay_zeros() {
        for isa in here() {
            for (value, finite) in [(f32::NAN, false), (f32::INFINITY, false), (0.0, true), (1e-40, true)] {
                let mut row = [0.0f32; 32];
                row[17] = value;
                let mut packed = vec![0u8; packed_bytes(1, 32)];
                // SAFETY: lengths as asked for.
                unsafe { quantize(isa, row.as_ptr(), 0..32, Slot::new(packed.as_mut_ptr(), 0, 1, 32)) };
                let scale = f32::from_le_bytes(packed[32..36].try_into().unwrap());
                assert_eq!(scale.is_finite(), finite, "{isa} {value}: {scale}");
            }
        }
    }

    #[test]
    fn a_clamp_hides_nothing_that_is_no_number() {
        for isa in here() {
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for (gate, up) in [(wrong, 1.0), (1.0, wrong)] {
                    let (mut gate, up) = ([gate; 16], [up; 16]);
                    // SAFETY: lengths as asked for.
                    unsafe { clamped_swiglu(isa, gate.as_mut_ptr(), up.as_ptr(), 16) };
                    assert!(gate.iter().all(|x| x.is_nan()), "{isa} {wrong}: {gate:?}");
                }
            }
        }
    }

    #[test]
    fn norm_and_activations_are_those_of_f64() {
        let columns = 64;
        let (x, w) = (random(columns, 1), random(columns, 2));
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / columns as f64;
        for isa in here() {
            let mut out = vec![0.0; columns];
            // SAFETY: lengths as asked for.
            unsafe { norm(isa, x.as_ptr(), w.as_ptr(), columns, 0..columns, 1e-5, out.as_mut_ptr()) };
            for ((x, w), out) in x.iter().zip(&w).zip(&out) {
                let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w);
                assert!((expected - f64::from(*out)).abs() < 1e-6, "{isa}: {out} for {expected}");
            }
            for wide in [1.0f32, 60.0] {
                let gate: Vec<f32> = x.iter().map(|x| x * wide).collect();
                let (mut silu, mut gelu, mut clamped) = (gate.clone(), gate.clone(), gate.clone());
                let up: Vec<f32> = w.iter().map(|w| w * wide).collect();
                // SAFETY: lengths as asked for.
                unsafe {
                    swiglu(isa, silu.as_mut_ptr(), w.as_ptr(), columns);
                    geglu(isa, gelu.as_mut_ptr(), w.as_ptr(), columns);
                    clamped_swiglu(isa, clamped.as_mut_ptr(), up.as_ptr(), columns);
                }
                for (index, gate) in gate.iter().enumerate() {
                    let (g, u) = (f64::from(*gate), f64::from(w[index]));
                    let expected = g / (1.0 + (-g).exp()) * u;
                    let off = (expected - f64::from(silu[index])).abs();
                    assert!(off < 1e-6 * (1.0 + expected.abs()), "{isa} silu({g}): {off}");
                    let y = (2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g.powi(3));
                    let expected = 0.5 * g * (1.0 + y.tanh()) * u;
                    let off = (expected - f64::from(gelu[index])).abs();
                    assert!(off < 2e-6 * (1.0 + expected.abs()), "{isa} gelu({g}): {off}");
                    let (g, u) = (g.min(7.0), f64::from(up[index]).clamp(-7.0, 7.0));
                    let expected = g / (1.0 + (-1.702 * g).exp()) * (u + 1.0);
                    let off = (expected - f64::from(clamped[index])).abs();
                    assert!(off < 2e-6 * (1.0 + expected.abs()), "{isa} clamped({g}, {u}): {off}");
                }
            }
        }
    }
}
