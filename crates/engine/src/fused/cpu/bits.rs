//! Where the bits of a block's quants lie: from the file's order into the planes of a group, and back.
//!
//! A *four* is four neighbouring quants of a row, a byte each; a block of 32 has eight. A *plane* is 64 bytes, four of
//! each of the sixteen rows, and a block whose quants have b bits takes b planes. With 8 bits a plane holds a four of
//! each row, with 4 bits two. With 6 bits, three planes hold four: three in their low bits, and the fourth in the pairs
//! of bits left over above. With 5 bits, five planes hold five below and three above. So a kernel splits most fours off
//! by one mask: four registers of 6 bits take 11 operations, where the file's low halves and upper pairs take 18. With 3
//! bits, three planes hold two fours each, and of the two that are left over two bits each above; with 2 bits a plane
//! holds four.

#![allow(clippy::many_single_char_names, reason = "eight fours of up to six planes, side by side")]

use crate::model::TensorType;
use crate::model::quantize::{FP4_TWICE, IQ4};

/// Fours of a block.
pub(super) const FOURS: usize = 8;
/// Bytes of a plane.
pub(super) const PLANE: usize = 64;
/// Elements of a super-block of the K types.
pub(super) const SUPER: usize = 256;
/// Bytes of the 6-bit scales and minima of a row's super-block (`Q4_K`, `Q5_K`).
pub(super) const PACKED_SCALES: usize = 12;

/// Bits of a quant; `None` for types without.
pub(super) const fn quant_bits(kind: TensorType) -> Option<usize> {
    match kind {
        TensorType::Q2_K => Some(2),
        TensorType::Q3_K => Some(3),
        TensorType::Q4_0
        | TensorType::Q4_1
        | TensorType::Q4_K
        | TensorType::IQ4_NL
        | TensorType::IQ4_XS
        | TensorType::MXFP4 => Some(4),
        TensorType::Q5_0 | TensorType::Q5_1 | TensorType::Q5_K => Some(5),
        TensorType::Q6_K => Some(6),
        TensorType::Q8_0 => Some(8),
        _ => None,
    }
}

/// Twice the numbers of `MXFP4`'s codes, all `zero` too high, so that none is negative.
pub(super) const fn fp4_above(zero: u8) -> [u8; 16] {
    let mut table = [0; 16];
    let mut code = 0;
    while code < 16 {
        table[code] = zero.wrapping_add_signed(FP4_TWICE[code]);
        code += 1;
    }
    table
}

/// The numbers of the codes of `IQ4_NL` and `IQ4_XS`, all 128 too high.
pub(super) const fn iq4_above() -> [u8; 16] {
    let mut table = [0; 16];
    let mut code = 0;
    while code < 16 {
        table[code] = 128u8.wrapping_add_signed(IQ4[code]);
        code += 1;
    }
    table
}

/// The lowest `count` bits of each byte.
const fn low(count: u32) -> u32 {
    ((1 << count) - 1) * 0x0101_0101
}

/// `count` bits of each byte moved from bit `from` to bit `to`.
const fn moved(word: u32, from: usize, count: u32, to: usize) -> u32 {
    (word >> from & low(count)) << to
}

/// A row's share of a block's planes, of which the first `bits` count.
pub(super) fn to_planes(bits: usize, fours: [u32; FOURS]) -> [u32; FOURS] {
    let [a, b, c, d, e, f, g, h] = fours;
    match bits {
        2 => [a | b << 2 | c << 4 | d << 6, e | f << 2 | g << 4 | h << 6, 0, 0, 0, 0, 0, 0],
        3 => [
            a | b << 3 | moved(g, 0, 2, 6),
            c | d << 3 | moved(h, 0, 2, 6),
            e | f << 3 | moved(g, 2, 1, 6) | moved(h, 2, 1, 7),
            0,
            0,
            0,
            0,
            0,
        ],
        4 => [a | e << 4, b | f << 4, c | g << 4, d | h << 4, 0, 0, 0, 0],
        5 => [
            a | moved(f, 2, 3, 5),
            b | moved(g, 2, 3, 5),
            c | moved(h, 2, 3, 5),
            d | moved(f, 0, 2, 6) | moved(h, 1, 1, 5),
            e | moved(g, 0, 2, 6) | moved(h, 0, 1, 5),
            0,
            0,
            0,
        ],
        6 => [
            a | moved(d, 4, 2, 6),
            b | moved(d, 2, 2, 6),
            c | moved(d, 0, 2, 6),
            e | moved(h, 4, 2, 6),
            f | moved(h, 2, 2, 6),
            g | moved(h, 0, 2, 6),
            0,
            0,
        ],
        _ => fours,
    }
}

/// The fours of a row, from its share of a block's planes.
pub(super) fn from_planes(bits: usize, planes: [u32; FOURS]) -> [u32; FOURS] {
    let [p, q, r, s, t, u, ..] = planes;
    match bits {
        2 => {
            let quarter = |plane: u32| [0, 2, 4, 6].map(|from| moved(plane, from, 2, 0));
            let ([a, b, c, d], [e, f, g, h]) = (quarter(p), quarter(q));
            [a, b, c, d, e, f, g, h]
        }
        3 => {
            let pair = |plane: u32| [0, 3].map(|from| moved(plane, from, 3, 0));
            let ([a, b], [c, d], [e, f]) = (pair(p), pair(q), pair(r));
            let g = moved(p, 6, 2, 0) | moved(r, 6, 1, 2);
            let h = moved(q, 6, 2, 0) | moved(r, 7, 1, 2);
            [a, b, c, d, e, f, g, h]
        }
        4 => {
            let half = |from: usize| [p, q, r, s].map(|plane| moved(plane, from, 4, 0));
            let ([a, b, c, d], [e, f, g, h]) = (half(0), half(4));
            [a, b, c, d, e, f, g, h]
        }
        5 => {
            let [a, b, c, d, e] = [p, q, r, s, t].map(|plane| plane & low(5));
            let f = moved(p, 5, 3, 2) | moved(s, 6, 2, 0);
            let g = moved(q, 5, 3, 2) | moved(t, 6, 2, 0);
            let h = moved(r, 5, 3, 2) | moved(s, 5, 1, 1) | moved(t, 5, 1, 0);
            [a, b, c, d, e, f, g, h]
        }
        6 => {
            let [a, b, c, e, f, g] = [p, q, r, s, t, u].map(|plane| plane & low(6));
            let d = moved(p, 6, 2, 4) | moved(q, 6, 2, 2) | moved(r, 6, 2, 0);
            let h = moved(s, 6, 2, 4) | moved(t, 6, 2, 2) | moved(u, 6, 2, 0);
            [a, b, c, d, e, f, g, h]
        }
        _ => planes,
    }
}

/// The quants of block `sub` of a row's (super-)block as the file has it; a signed one is shifted into 0 to 255.
pub(super) fn fours(kind: TensorType, block: &[u8], sub: usize) -> [u32; FOURS] {
    let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    // Blocks of 32: the file's byte k holds k below and k + 16 above, and bit k of four bytes is k's fifth.
    let halves = |at: usize, four: usize| moved(word(at + four % 4 * 4), four / 4 * 4, 4, 0);
    let fifths = |at: usize, four: usize| {
        let bits = word(at) >> (4 * four) & 15;
        // Bit i goes to byte i, and there to bit 4.
        (bits.wrapping_mul(0x0020_4081) & low(1)) << 4
    };
    // Super-blocks: 32 bytes hold one block below and the next above.
    let pairs = |at: usize, four: usize| moved(word(at + sub / 2 * 32 + four * 4), sub % 2 * 4, 4, 0);
    // Super-blocks of 2 and 3 bits: 32 bytes hold a pair of bits of each of four blocks.
    let quarters = |at: usize, four: usize| moved(word(at + sub / 4 * 32 + four * 4), sub % 4 * 2, 2, 0);
    std::array::from_fn(|four| match kind {
        TensorType::Q2_K => quarters(16, four),
        TensorType::Q3_K => quarters(32, four) | moved(word(four * 4), sub, 1, 2),
        TensorType::IQ4_XS => halves(8 + sub * 16, four),
        TensorType::MXFP4 => halves(1, four),
        TensorType::Q4_0 | TensorType::IQ4_NL => halves(2, four),
        TensorType::Q4_1 => halves(4, four),
        TensorType::Q5_0 => halves(6, four) | fifths(2, four),
        TensorType::Q5_1 => halves(8, four) | fifths(4, four),
        TensorType::Q4_K => pairs(16, four),
        TensorType::Q5_K => pairs(48, four) | moved(word(16 + four * 4), sub, 1, 4),
        TensorType::Q6_K => {
            let (half, run) = (sub / 4, sub % 4);
            let nibbles = moved(word(64 * half + 32 * (sub % 2) + four * 4), run / 2 * 4, 4, 0);
            nibbles | moved(word(128 + 32 * half + four * 4), 2 * run, 2, 4)
        }
        _ => word(2 + four * 4) ^ 0x8080_8080,
    })
}
