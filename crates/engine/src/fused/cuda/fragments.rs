//! Matrices in the order in which tensor cores take them: what `kernels/fragments.cuh` reads.
//!
//! Sixteen rows are a tile. A tile is units of 256 columns, or of 64 for types with blocks of 32, one after the other along the
//! columns; those of `Q6_K`, of 128, keep two more bytes a row. A unit has the bytes of the blocks that it is made of: codes
//! first, then scales. Rows that a matrix does not
//! have, and columns up to a whole unit, are zeros.
//!
//! Lane 4 g + t of a warp has rows g and g + 8. A run of 32 columns is two fragments, whose four columns a lane has from
//! 8 t and 8 t + 4 on; [`column()`] says it for all types. A fragment's codes of four bits are one word: row g below row g + 8
//! in each byte, columns in the order 0, 2, 1, 3.

use crate::fused::weights::Shape;
use crate::model::TensorType;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Columns of the longest unit.
const MOST: usize = 256;

/// Places of a fragment's upper bits in a word: those to which they are shifted when they join the lower four bits.
const UPPER: [[u32; 4]; 2] = [[4, 20, 12, 28], [8, 24, 0, 16]];

/// How a type's matrices are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    kind: TensorType,
    unit_columns: usize,
    unit_bytes: usize,
}

impl Layout {
    /// The layout of a type that tensor cores are used for.
    pub(super) fn of(kind: TensorType) -> Option<Self> {
        let (unit_columns, unit_bytes) = match kind {
            TensorType::Q4_K => (256, 2304),
            TensorType::Q5_K => (256, 2816),
            TensorType::Q6_K => (128, 1696),
            TensorType::Q4_0 => (64, 576),
            TensorType::Q8_0 => (64, 1088),
            TensorType::MXFP4 => (64, 544),
            TensorType::Q4_1 => (64, 640),
            TensorType::Q5_0 => (64, 704),
            TensorType::Q5_1 => (64, 768),
            TensorType::F16 | TensorType::BF16 => (64, 2048),
            _ => return None,
        };
        Some(Self { kind, unit_columns, unit_bytes })
    }

    /// Units of a row of so many columns.
    pub(super) fn units(self, columns: usize) -> usize {
        columns.div_ceil(self.unit_columns)
    }

    /// Bytes of a tile.
    pub(super) fn tile_bytes(self, columns: usize) -> usize {
        self.units(columns) * self.unit_bytes
    }

    /// Bytes of a matrix.
    pub(super) fn bytes(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(ROWS) * self.tile_bytes(columns)
    }

    /// Lays out up to sixteen rows, which `rows` has in the file's blocks.
    ///
    /// # Panics
    /// When `to` is not a tile's bytes or `rows` no whole rows of `shape`: slips of this module's callers.
    pub(super) fn pack(self, shape: &Shape, rows: &[u8], to: &mut [u8]) {
        if self.kind.block_elements() == 1 {
            return self.pack_floats(shape, rows, to);
        }
        let block_bytes = usize::try_from(self.kind.block_bytes()).unwrap_or(1);
        let block_columns = usize::try_from(self.kind.block_elements()).unwrap_or(1);
        let blocks_of_unit = self.unit_columns / block_columns;
        for (number, unit) in to.chunks_exact_mut(self.unit_bytes).enumerate() {
            let mut source = Unit::empty();
            for (row, bytes) in rows.chunks_exact(shape.row_bytes()).enumerate() {
                let blocks = bytes.chunks_exact(block_bytes);
                if blocks_of_unit == 0 {
                    // Several units have a block, each a part of it.
                    let parts = block_columns / self.unit_columns;
                    for block in blocks.skip(number / parts).take(1) {
                        source.take(self.kind, row, number % parts, block);
                    }
                    continue;
                }
                for (index, block) in blocks.skip(number * blocks_of_unit).take(blocks_of_unit).enumerate() {
                    source.take(self.kind, row, index, block);
                }
            }
            source.put(self.kind, unit);
        }
    }

    /// The same of floats of 16 bits: 16 bytes a lane for each fragment, the words of `multiply_add` in `base.cuh`.
    fn pack_floats(self, shape: &Shape, rows: &[u8], to: &mut [u8]) {
        for (at, to) in to.chunks_exact_mut(2).enumerate() {
            let (unit, within) = (at * 2 / self.unit_bytes, at % (self.unit_bytes / 2));
            let (fragment, lane, word, half) = (within / 256, within / 8 % 32, within / 2 % 4, within % 2);
            let row = lane / 4 + 8 * (word % 2);
            let of_unit = column(self.kind, fragment / 2, fragment % 2, lane % 4, word / 2 * 2 + half);
            let column = unit * self.unit_columns + of_unit;
            let from = row * shape.row_bytes() + 2 * column;
            if column < shape.columns && from < rows.len() {
                to.copy_from_slice(&rows[from..from + 2]);
            }
        }
    }
}

/// A unit while it is laid out.
struct Unit {
    /// Numbers of the weights without signs.
    codes: [[u8; MOST]; ROWS],
    /// What belongs to a row's scales, in the order of the unit.
    scales: [[u8; 16]; ROWS],
}

/// Column of element `c` (0 to 3) of fragment `j` of a run that lane 4 g + `t` has.
fn column(kind: TensorType, run: usize, j: usize, t: usize, c: usize) -> usize {
    match kind {
        TensorType::Q6_K => 32 * run + 16 * j + 4 * t + c,
        _ => 32 * run + 8 * t + 4 * j + c,
    }
}

impl Unit {
    fn empty() -> Self {
        Self { codes: [[0; MOST]; ROWS], scales: [[0; 16]; ROWS] }
    }

    /// Takes block number `index` of the unit's row, or part `index` of a block with several units.
    fn take(&mut self, kind: TensorType, row: usize, index: usize, block: &[u8]) {
        let (codes, scales) = (&mut self.codes[row], &mut self.scales[row]);
        match kind {
            TensorType::Q4_K => {
                scales_and_minima(block, scales);
                for (column, code) in codes.iter_mut().enumerate() {
                    let sub = column / 32;
                    *code = block[16 + sub / 2 * 32 + column % 32] >> (4 * (sub % 2)) & 15;
                }
            }
            TensorType::Q5_K => {
                scales_and_minima(block, scales);
                for (column, code) in codes.iter_mut().enumerate() {
                    let sub = column / 32;
                    let low = block[48 + sub / 2 * 32 + column % 32] >> (4 * (sub % 2)) & 15;
                    *code = low | (block[16 + column % 32] >> sub & 1) << 4;
                }
            }
            TensorType::Q6_K => {
                // Half a block.
                for (column, code) in codes[..128].iter_mut().enumerate() {
                    let (run, within) = (column / 32, column % 32);
                    let low = block[64 * index + 32 * (run % 2) + within] >> (run / 2 * 4) & 15;
                    *code = low | (block[128 + 32 * index + within] >> (2 * run) & 3) << 4;
                }
                // Scales have signs; here they have an offset of 128.
                for (to, scale) in scales.iter_mut().zip(&block[192 + 8 * index..][..8]) {
                    *to = scale ^ 0x80;
                }
                scales[8..10].copy_from_slice(&block[208..]);
            }
            TensorType::Q4_0 => {
                scales[2 * index..][..2].copy_from_slice(&block[..2]);
                halves_of_bytes(&block[2..], &mut codes[32 * index..]);
            }
            TensorType::Q8_0 => {
                scales[2 * index..][..2].copy_from_slice(&block[..2]);
                for (code, byte) in codes[32 * index..].iter_mut().zip(&block[2..]) {
                    *code = byte ^ 0x80;
                }
            }
            TensorType::MXFP4 => {
                scales[index] = block[0];
                halves_of_bytes(&block[1..], &mut codes[32 * index..]);
            }
            TensorType::Q4_1 => {
                scales[2 * index..][..2].copy_from_slice(&block[..2]);
                scales[4 + 2 * index..][..2].copy_from_slice(&block[2..4]);
                halves_of_bytes(&block[4..], &mut codes[32 * index..]);
            }
            TensorType::Q5_0 => {
                scales[2 * index..][..2].copy_from_slice(&block[..2]);
                halves_of_bytes(&block[6..], &mut codes[32 * index..]);
                fifth_bits(&block[2..6], &mut codes[32 * index..]);
            }
            TensorType::Q5_1 => {
                scales[2 * index..][..2].copy_from_slice(&block[..2]);
                scales[4 + 2 * index..][..2].copy_from_slice(&block[2..4]);
                halves_of_bytes(&block[8..], &mut codes[32 * index..]);
                fifth_bits(&block[4..8], &mut codes[32 * index..]);
            }
            // Not reached: the layout knows the type.
            _ => {}
        }
    }

    /// Writes the unit.
    fn put(&self, kind: TensorType, to: &mut [u8]) {
        match kind {
            TensorType::Q4_K => {
                let (codes, scales) = to.split_at_mut(2048);
                self.nibbles(kind, codes);
                self.records(16, scales);
            }
            TensorType::Q5_K => {
                let (low, rest) = to.split_at_mut(2048);
                let (fifths, scales) = rest.split_at_mut(512);
                self.nibbles(kind, low);
                self.fifths(kind, fifths);
                self.records(16, scales);
            }
            TensorType::Q6_K => {
                let (low, rest) = to.split_at_mut(1024);
                let (upper, rest) = rest.split_at_mut(512);
                let (scales, factors) = rest.split_at_mut(128);
                self.nibbles(kind, low);
                self.fifths_and_sixths(kind, upper);
                self.records(8, scales);
                self.pairs(8, 2, factors);
            }
            TensorType::Q4_0 => {
                let (low, scales) = to.split_at_mut(512);
                self.nibbles(kind, low);
                self.pairs(0, 2, scales);
            }
            TensorType::Q8_0 => {
                let (bytes, scales) = to.split_at_mut(1024);
                self.bytes(kind, bytes);
                self.pairs(0, 2, scales);
            }
            TensorType::MXFP4 => {
                let (codes, exponents) = to.split_at_mut(512);
                self.small_floats(kind, codes);
                self.pairs(0, 1, exponents);
            }
            TensorType::Q4_1 => {
                let (low, rest) = to.split_at_mut(512);
                let (scales, minima) = rest.split_at_mut(64);
                self.nibbles(kind, low);
                self.pairs(0, 2, scales);
                self.pairs(4, 4, minima);
            }
            TensorType::Q5_0 => {
                let (low, rest) = to.split_at_mut(512);
                let (fifths, scales) = rest.split_at_mut(128);
                self.nibbles(kind, low);
                self.fifths(kind, fifths);
                self.pairs(0, 2, scales);
            }
            TensorType::Q5_1 => {
                let (low, rest) = to.split_at_mut(512);
                let (fifths, rest) = rest.split_at_mut(128);
                let (scales, minima) = rest.split_at_mut(64);
                self.nibbles(kind, low);
                self.fifths(kind, fifths);
                self.pairs(0, 2, scales);
                self.pairs(4, 4, minima);
            }
            _ => {}
        }
    }

    /// The lower four bits of all codes: 16 bytes a lane for each two runs.
    fn nibbles(&self, kind: TensorType, to: &mut [u8]) {
        let (words, _) = to.as_chunks_mut::<4>();
        for (at, word) in words.iter_mut().enumerate() {
            let (lane, run, j) = (at / 4 % 32, at / 128 * 2 + at / 2 % 2, at % 2);
            *word = self
                .word(kind, lane, run, j, |code| code & 15, [[0, 16, 8, 24], [4, 20, 12, 28]])
                .to_le_bytes();
        }
    }

    /// The fifth bits of all codes: a word a lane for each two runs, of whose four fragments each has its bits one place higher
    /// than the one before.
    fn fifths(&self, kind: TensorType, to: &mut [u8]) {
        let (words, _) = to.as_chunks_mut::<4>();
        let of_lane = words.len() / 32;
        for (at, word) in words.iter_mut().enumerate() {
            let (lane, first) = (at / of_lane, at % of_lane * 2);
            let bits = (0..4).fold(0, |bits, fragment| {
                let (run, j) = (first + fragment / 2, fragment % 2);
                bits | self.word(kind, lane, run, j, |code| code >> 4 & 1, UPPER) << fragment
            });
            *word = bits.to_le_bytes();
        }
    }

    /// The upper two bits of all codes: 16 bytes a lane for each four runs, a word a run, of whose two fragments the second has
    /// its bits two places higher.
    fn fifths_and_sixths(&self, kind: TensorType, to: &mut [u8]) {
        let (words, _) = to.as_chunks_mut::<4>();
        for (at, word) in words.iter_mut().enumerate() {
            let (lane, run) = (at / 4 % 32, at / 128 * 4 + at % 4);
            let of = |j| self.word(kind, lane, run, j, |code| code >> 4 & 3, UPPER) << (2 * j);
            *word = (of(0) | of(1)).to_le_bytes();
        }
    }

    /// The first `width` bytes of scales of each row.
    fn records(&self, width: usize, to: &mut [u8]) {
        for (to, scales) in to.chunks_exact_mut(width).zip(&self.scales) {
            to.copy_from_slice(&scales[..width]);
        }
    }

    /// Scales of `width` bytes each, from byte `from` of a row on: for g from 0 to 7 those of each block, of row g and of row
    /// g + 8.
    fn pairs(&self, from: usize, width: usize, to: &mut [u8]) {
        let blocks = to.len() / (ROWS * width);
        for (at, to) in to.chunks_exact_mut(width).enumerate() {
            let (g, block, upper) = (at / 2 / blocks, at / 2 % blocks, at % 2);
            to.copy_from_slice(&self.scales[g + 8 * upper][from + block * width..][..width]);
        }
    }

    /// Codes of eight bits: 16 bytes a lane for each run, of whose two fragments each has a word of row g and one of row g + 8.
    fn bytes(&self, kind: TensorType, to: &mut [u8]) {
        for (at, to) in to.iter_mut().enumerate() {
            let (lane, run, j, upper, c) = (at / 16 % 32, at / 512, at / 8 % 2, at / 4 % 2, at % 4);
            *to = self.codes[lane / 4 + 8 * upper][column(kind, run, j, lane % 4, c)];
        }
    }

    /// Codes of four bits that are floats, in the order of [`nibbles`](Self::nibbles): sizes and signs apart, so that each is
    /// shifted to its place in an f16 with few operations.
    fn small_floats(&self, kind: TensorType, to: &mut [u8]) {
        const SIZES: [[u32; 4]; 2] = [[9, 25, 3, 19], [6, 22, 0, 16]];
        const SIGNS: [[u32; 4]; 2] = [[15, 31, 14, 30], [12, 28, 13, 29]];
        let (words, _) = to.as_chunks_mut::<4>();
        for (at, word) in words.iter_mut().enumerate() {
            let (lane, run, j) = (at / 4 % 32, at / 128 * 2 + at / 2 % 2, at % 2);
            let sizes = self.word(kind, lane, run, j, |code| code & 7, SIZES);
            *word = (sizes | self.word(kind, lane, run, j, |code| code >> 3, SIGNS)).to_le_bytes();
        }
    }

    /// A word with some bits of the codes of a fragment, shifted to the places of rows g and g + 8.
    fn word(
        &self,
        kind: TensorType,
        lane: usize,
        run: usize,
        j: usize,
        bits: impl Fn(u8) -> u8,
        places: [[u32; 4]; 2],
    ) -> u32 {
        let (g, t) = (lane / 4, lane % 4);
        let mut word = 0;
        for (row, places) in [g, g + 8].into_iter().zip(places) {
            for (c, place) in places.into_iter().enumerate() {
                word |= u32::from(bits(self.codes[row][column(kind, run, j, t, c)])) << place;
            }
        }
        word
    }
}

/// Eight scales with the upper two bits of the minima above them, the lower four bits of the minima two a byte, and the
/// factors of both as the block has them.
fn scales_and_minima(block: &[u8], to: &mut [u8; 16]) {
    let packed = std::array::from_fn(|byte| block[4 + byte]);
    for sub in 0..8 {
        let (scale, minimum) = crate::model::quantize::unpack_scale(packed, sub);
        to[sub] = scale | minimum >> 4 << 6;
        to[8 + sub / 2] |= (minimum & 15) << (4 * (sub % 2));
    }
    to[12..].copy_from_slice(&block[..4]);
}

/// Byte b holds code b below and code b + 16 above.
fn halves_of_bytes(bytes: &[u8], codes: &mut [u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        (codes[at], codes[at + 16]) = (byte & 15, byte >> 4);
    }
}

/// Bit i of the bytes is the fifth of code i.
fn fifth_bits(bytes: &[u8], codes: &mut [u8]) {
    for (at, code) in codes[..32].iter_mut().enumerate() {
        *code |= (bytes[at / 8] >> (at % 8) & 1) << 4;
    }
}
