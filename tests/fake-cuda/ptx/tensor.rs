//! `mma.sync`, `ldmatrix` and `movmatrix`: which lane holds which element, and the product.
//!
//! Lane `l` is group `g = l / 4`, place `t = l % 4`. Sums of floats are taken in `f32`, one product after the
//! other along k; a tensor core sums in another order and cuts bits off, so results are compared with tolerance.

use super::fault::{Blame, Kind};
use super::machine::block::Block;
use super::machine::lanes::{FULL, Rows};
use super::machine::warp::Warp;
use super::number::{Eight, from_brain, from_eight, from_half, to_half};
use super::op::{Element, Mma, Op};

/// Element `j` of register `r` of A in lane `l`: its row and its k, for elements of so many bytes.
#[inline(always)]
fn place_a<const BYTES: usize>(lane: usize, register: usize, element: usize) -> (usize, usize) {
    let (g, t) = (lane / 4, lane % 4);
    let per = 4 / BYTES;
    (g + 8 * (register % 2), per * t + element + 4 * per * (register / 2))
}

/// The same of B: its k, its column.
#[inline(always)]
fn place_b<const BYTES: usize>(lane: usize, register: usize, element: usize) -> (usize, usize) {
    let (g, t) = (lane / 4, lane % 4);
    let per = 4 / BYTES;
    (per * t + element + 4 * per * register, g)
}

#[inline(always)]
fn value(element: Element, word: u32, at: usize) -> f32 {
    match element {
        Element::Half => from_half((word >> (16 * at)) as u16),
        Element::Brain => from_brain((word >> (16 * at)) as u16),
        Element::E4m3 => from_eight((word >> (8 * at)) as u8, Eight::E4m3),
        Element::E5m2 => from_eight((word >> (8 * at)) as u8, Eight::E5m2),
        Element::Signed => f32::from((word >> (8 * at)) as u8 as i8),
        Element::Unsigned => f32::from((word >> (8 * at)) as u8),
    }
}

/// One element of every lane.
#[inline(always)]
fn widen(words: &[u32; 32], element: Element, at: usize) -> [f32; 32] {
    let mut all = [0f32; 32];
    // The common types apart, so that each is a loop of its own.
    match element {
        Element::Half => (0..32).for_each(|lane| all[lane] = value(Element::Half, words[lane], at)),
        Element::Brain => (0..32).for_each(|lane| all[lane] = value(Element::Brain, words[lane], at)),
        Element::Signed => (0..32).for_each(|lane| all[lane] = value(Element::Signed, words[lane], at)),
        other => (0..32).for_each(|lane| all[lane] = value(other, words[lane], at)),
    }
    all
}

/// `d = a × b + c`.
pub fn multiply(rows: &mut Rows, op: &Op, mma: Mma, fast: bool) {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: `fast` says that the machine has these instruction sets.
        #[allow(unsafe_code, reason = "compiled for an instruction set that was looked for")]
        return unsafe { multiply_fast(rows, op, mma) };
    }
    let _ = fast;
    multiply_any(rows, op, mma);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_fast(rows: &mut Rows, op: &Op, mma: Mma) {
    multiply_any(rows, op, mma);
}

#[inline(always)]
fn multiply_any(rows: &mut Rows, op: &Op, mma: Mma) {
    if matches!(mma.a, Element::Half | Element::Brain) {
        multiply_of::<2>(rows, op, mma);
    } else {
        multiply_of::<1>(rows, op, mma);
    }
}

/// Of elements of so many bytes.
#[inline(always)]
fn multiply_of<const BYTES: usize>(rows: &mut Rows, op: &Op, mma: Mma) {
    let depth = usize::from(mma.depth);
    let left = depth * 16 * BYTES / 128;
    let (to, sources) = op.list.split_at(op.defs);
    let (a_rows, rest) = sources.split_at(left);
    let (b_rows, c_rows) = rest.split_at(left / 2);
    let mut a = [[0f32; 32]; 16];
    let mut b = [[0f32; 8]; 32];
    for (register, row) in a_rows.iter().enumerate() {
        for element in 0..4 / BYTES {
            for (lane, value) in widen(rows.words(*row), mma.a, element).into_iter().enumerate() {
                let (m, k) = place_a::<BYTES>(lane, register, element);
                a[m & 15][k & 31] = value;
            }
        }
    }
    for (register, row) in b_rows.iter().enumerate() {
        for element in 0..4 / BYTES {
            for (lane, value) in widen(rows.words(*row), mma.b, element).into_iter().enumerate() {
                let (k, n) = place_b::<BYTES>(lane, register, element);
                b[k & 31][n & 7] = value;
            }
        }
    }
    let defined = defined(rows, a_rows, b_rows, c_rows);
    if matches!(mma.a, Element::Signed | Element::Unsigned) {
        whole(rows, depth, &a, &b, (to, c_rows));
    } else {
        let mut sums = [[0f32; 8]; 16];
        for_each_sum(mma.narrow_sums, |register, half, lane, m, n| {
            let word = rows.words(c_rows[register])[lane];
            sums[m][n] =
                if mma.narrow_sums { from_half((word >> (16 * half)) as u16) } else { f32::from_bits(word) };
        });
        for m in 0..16 {
            for k in 0..depth {
                for n in 0..8 {
                    sums[m][n] += a[m][k] * b[k][n];
                }
            }
        }
        for_each_sum(mma.narrow_sums, |register, half, lane, m, n| {
            let word = &mut rows.words_mut(to[register])[lane];
            if mma.narrow_sums {
                let kept = *word & !(0xffff << (16 * half));
                *word = kept | u32::from(to_half(sums[m][n])) << (16 * half);
            } else {
                *word = sums[m][n].to_bits();
            }
        });
    }
    for row in to {
        rows.mark(*row, FULL, defined);
    }
}

/// Every element of C: its register, which half of it, its lane, its row and column.
#[inline(always)]
fn for_each_sum(narrow: bool, mut f: impl FnMut(usize, usize, usize, usize, usize)) {
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for place in 0..4 {
            let (register, half) = if narrow { (place / 2, place % 2) } else { (place, 0) };
            f(register, half, lane, g + 8 * (place / 2), 2 * t + place % 2);
        }
    }
}

/// Integer sums, exact: products of bytes fit an `f32`, their sums an `i32`.
fn whole(rows: &mut Rows, depth: usize, a: &[[f32; 32]; 16], b: &[[f32; 8]; 32], (to, c): (&[u32], &[u32])) {
    let mut sums = [[0i32; 8]; 16];
    for_each_sum(false, |register, _, lane, m, n| sums[m][n] = rows.words(c[register])[lane] as i32);
    for (sums, a) in sums.iter_mut().zip(a) {
        for (a, b) in a.iter().zip(b).take(depth) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = sum.wrapping_add((a * b) as i32);
            }
        }
    }
    for_each_sum(false, |register, _, lane, m, n| rows.words_mut(to[register])[lane] = sums[m][n] as u32);
}

/// Lanes whose results depend on nothing undefined: on A of their rows, B of their columns, and C of their own.
fn defined(rows: &Rows, a: &[u32], b: &[u32], c: &[u32]) -> u32 {
    let all = |list: &[u32]| list.iter().fold(FULL, |known, row| known & rows.defined[*row as usize]);
    let (a, b, c) = (all(a), all(b), all(c));
    if a & b & c == FULL {
        return FULL;
    }
    let group = |known: u32, g: u32| known >> (4 * g) & 15 == 15;
    let lane = |lane: u32| {
        let (g, t) = (lane / 4, lane % 4);
        group(a, g) && group(b, 2 * t) && group(b, 2 * t + 1)
    };
    (0..32).filter(|l| lane(*l)).fold(0, |known, lane| known | 1 << lane) & c
}

/// `ldmatrix`: lane `8 i + r` gives the address of row `r` of matrix `i`, 16 bytes.
pub fn load(
    block: &mut Block<'_>,
    warp: &mut Warp,
    op: &Op,
    count: u8,
    transposed: bool,
) -> Result<(), Blame> {
    let lanes = u32::from(count) * 8;
    let givers = if lanes == 32 { FULL } else { (1 << lanes) - 1 };
    let undefined = givers & !warp.rows.defined[op.a as usize];
    if undefined != 0 {
        let what = "an address that was computed from what was never written";
        return Err(Blame::lane(Kind::Undefined, undefined.trailing_zeros(), what));
    }
    let bases = *warp.rows.words(op.a);
    let mut addresses = [0u64; 32];
    for (address, base) in addresses.iter_mut().zip(bases) {
        *address = u64::from(base.wrapping_add(op.imm as u32));
    }
    let traffic = &mut block.counts.traffic[warp.at as usize];
    traffic.accesses += 1;
    traffic.bytes += u64::from(lanes) * 16;
    traffic.wavefronts += super::machine::counts::wavefronts(&addresses, givers, 16);
    for (matrix, row) in op.list.iter().enumerate() {
        let mut cells = [[0u16; 8]; 8];
        let mut known = [true; 8];
        for (r, cells) in cells.iter_mut().enumerate() {
            let lane = matrix * 8 + r;
            let address = addresses[lane];
            let blamed = |blame: Blame| Blame { lane: Some(lane as u32), ..blame };
            if address % 16 != 0 {
                let what = format!("a row of a matrix at {address}, which is no multiple of 16");
                return Err(blamed(Blame::new(Kind::Misaligned, what)));
            }
            let (bytes, defined) = block.shared.read(address, 16, warp.actor(lane as u32)).map_err(blamed)?;
            for (cell, bytes) in cells.iter_mut().zip(bytes.chunks_exact(2)) {
                *cell = u16::from_le_bytes([bytes[0], bytes[1]]);
            }
            known[r] = defined;
        }
        let mut mask = 0;
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            let pair = if transposed {
                [cells[2 * t][g], cells[2 * t + 1][g]]
            } else {
                [cells[g][2 * t], cells[g][2 * t + 1]]
            };
            warp.rows.words_mut(*row)[lane] = u32::from(pair[0]) | u32::from(pair[1]) << 16;
            let defined = if transposed { known[2 * t] && known[2 * t + 1] } else { known[g] };
            mask |= u32::from(defined) << lane;
        }
        warp.rows.mark(*row, FULL, mask);
    }
    Ok(())
}

/// `movmatrix`: an 8 × 8 matrix of 16 bits, transposed between lanes.
pub fn transpose(rows: &mut Rows, op: &Op) {
    let from = *rows.words(op.a);
    let defined = if rows.defined[op.a as usize] == FULL { FULL } else { 0 };
    let cell = |row: usize, column: usize| from[row * 4 + column / 2] >> (16 * (column % 2)) & 0xffff;
    for (lane, word) in rows.words_mut(op.d).iter_mut().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        *word = cell(2 * t, g) | cell(2 * t + 1, g) << 16;
    }
    rows.mark(op.d, FULL, defined);
}
