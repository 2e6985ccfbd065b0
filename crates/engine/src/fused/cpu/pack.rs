//! The order of a matrix's weights in memory: sixteen rows interleaved, so that a lane of a register is a row.
//!
//! A *group* is sixteen rows, whole and contiguous; the last one is filled up with rows of zeros. Within a group come
//! first the quants, block by block ([`bits`](super::bits)), then the scales and the minima, sixteen of each a block.
//! Four neighbouring quants of a row lie side by side, as the int8 dot product takes them: no kernel shuffles, and one
//! broadcast of four activations serves sixteen rows. 8-bit quants are stored as q + 128, since the instruction wants
//! one side without sign. The K types and `IQ4_XS` have a *chunk* for each super-block of 256 instead of scales and
//! minima: its f16 scales, its f16 scales of the minima (`Q2_K`, `Q4_K`, `Q5_K`), then the bytes of the packed scales in
//! the file's order, sixteen of each. `MXFP4` has a byte for a scale, an exponent of two. No weight takes more bits than
//! in the file, and none is changed.

use half::{bf16, f16};

use crate::model::TensorType;
use crate::model::quantize::{
    FP4_TWICE, IQ4, mxfp4_half_scale, unpack_iq4_scale, unpack_q3_scale, unpack_scale,
};

use super::bits::{FOURS, PACKED_SCALES, PLANE, SUPER, fours, from_planes, quant_bits, to_planes};
use super::prefetch::Prefetch;

/// Rows of a group.
pub(super) const ROWS: usize = 16;
/// Elements of a block.
pub(super) const BLOCK: usize = 32;
/// Bytes of sixteen scales.
pub(super) const HALVES: usize = ROWS * 2;

/// Elements of a row of outputs, filled up to whole groups.
pub(super) fn padded(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

/// Where the parts of a group lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: TensorType,
    pub(super) columns: usize,
    /// Offset of the f16 scales, of the exponents, or of the chunks.
    pub(super) scales: usize,
    /// Offset of the f16 minima.
    pub(super) minima: usize,
    /// Bytes of a group.
    pub(super) group_bytes: usize,
    /// How a kernel for one token asks for the quants.
    pub(super) prefetch: Prefetch,
}

impl Layout {
    /// The layout of rows of `columns` weights of type `kind`, where there is one.
    pub(super) fn of(kind: TensorType, columns: usize) -> Option<Self> {
        let blocks = columns / BLOCK;
        let (quants, scales, minima) = match kind {
            TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 | TensorType::IQ4_NL => {
                (quant_bits(kind)?, blocks * HALVES, 0)
            }
            TensorType::Q4_1 | TensorType::Q5_1 => (quant_bits(kind)?, blocks * HALVES, blocks * HALVES),
            TensorType::MXFP4 => (quant_bits(kind)?, blocks * ROWS, 0),
            _ if is_super(kind) && columns.is_multiple_of(SUPER) => {
                (quant_bits(kind)?, columns / SUPER * chunk_bytes(kind), 0)
            }
            TensorType::F16 | TensorType::BF16 => (BLOCK * ROWS * 2 / PLANE, 0, 0),
            TensorType::F32 => (BLOCK * ROWS * 4 / PLANE, 0, 0),
            _ => return None,
        };
        let quants = blocks * quants * PLANE;
        Some(Self {
            kind,
            columns,
            scales: quants,
            minima: quants + scales,
            group_bytes: (quants + scales + minima).next_multiple_of(64),
            prefetch: Prefetch::default(),
        })
    }

    /// The same bytes, asked for by `prefetch`.
    pub(super) fn asked(self, prefetch: Prefetch) -> Self {
        Self { prefetch, ..self }
    }

    /// Bytes of a row as the file has it.
    pub(super) fn row_bytes(&self) -> usize {
        let blocks = self.columns as u64 / self.kind.block_elements();
        usize::try_from(blocks * self.kind.block_bytes()).unwrap_or(usize::MAX)
    }

    /// Puts up to sixteen rows, one behind the other in `rows` as the file has them, into the group `to`.
    pub(super) fn pack(&self, rows: &[u8], to: &mut [u8]) {
        let stride = self.row_bytes();
        to.fill(0);
        for (lane, row) in rows.chunks_exact(stride).take(ROWS).enumerate() {
            match self.kind {
                TensorType::F32 => interleave::<4>(row, lane, to),
                TensorType::F16 | TensorType::BF16 => interleave::<2>(row, lane, to),
                _ => {
                    self.pack_quants(row, lane, to);
                    self.pack_scales(row, lane, to);
                }
            }
        }
        if self.kind == TensorType::Q8_0 && rows.len() < ROWS * stride {
            // Zero is 128 here; with a scale of zero it would not matter, but a reader may look.
            for lane in rows.len() / stride..ROWS {
                for plane in 0..self.columns / BLOCK * FOURS {
                    to[plane * PLANE + lane * 4..][..4].fill(128);
                }
            }
        }
    }

    /// The file's blocks of a row.
    fn file_blocks<'a>(&self, row: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8])> {
        // At most 210.
        row.chunks_exact(usize::try_from(self.kind.block_bytes()).unwrap_or(1)).enumerate()
    }

    fn pack_quants(&self, row: &[u8], lane: usize, to: &mut [u8]) {
        let bits = quant_bits(self.kind).unwrap_or(0);
        let subs = if is_super(self.kind) { SUPER / BLOCK } else { 1 };
        for (number, bytes) in self.file_blocks(row) {
            for sub in 0..subs {
                let at = (number * subs + sub) * bits * PLANE + lane * 4;
                let planes = to_planes(bits, fours(self.kind, bytes, sub));
                for (plane, word) in planes.into_iter().enumerate().take(bits) {
                    to[at + plane * PLANE..][..4].copy_from_slice(&word.to_le_bytes());
                }
            }
        }
    }

    fn pack_scales(&self, row: &[u8], lane: usize, to: &mut [u8]) {
        for (number, bytes) in self.file_blocks(row) {
            if self.kind == TensorType::MXFP4 {
                to[self.scales + number * ROWS + lane] = bytes[0];
                continue;
            }
            let mut half = |at: usize, from: usize| {
                to[at + lane * 2..][..2].copy_from_slice(&bytes[from..from + 2]);
            };
            let chunk = self.scales + number * chunk_bytes(self.kind);
            let packed = match self.kind {
                TensorType::Q4_K | TensorType::Q5_K => {
                    half(chunk, 0);
                    half(chunk + HALVES, 2);
                    (chunk + 2 * HALVES, &bytes[4..4 + PACKED_SCALES])
                }
                TensorType::Q6_K => {
                    half(chunk, 208);
                    (chunk + HALVES, &bytes[192..208])
                }
                TensorType::Q2_K => {
                    half(chunk, 80);
                    half(chunk + HALVES, 82);
                    (chunk + 2 * HALVES, &bytes[..16])
                }
                TensorType::Q3_K => {
                    half(chunk, 108);
                    (chunk + HALVES, &bytes[96..108])
                }
                TensorType::IQ4_XS => {
                    half(chunk, 0);
                    (chunk + HALVES, &bytes[2..8])
                }
                kind => {
                    half(self.scales + number * HALVES, 0);
                    if matches!(kind, TensorType::Q4_1 | TensorType::Q5_1) {
                        half(self.minima + number * HALVES, 2);
                    }
                    continue;
                }
            };
            for (index, byte) in packed.1.iter().enumerate() {
                to[packed.0 + index * ROWS + lane] = *byte;
            }
        }
    }

    /// The weights of row `lane` of the group `group`, as single precision.
    pub(super) fn row(&self, group: &[u8], lane: usize, to: &mut [f32]) {
        let half_at = |at: usize| f16::from_le_bytes([group[at], group[at + 1]]).to_f32();
        match self.kind {
            TensorType::F32 => {
                for (element, to) in group.chunks_exact(4).skip(lane).step_by(ROWS).zip(to) {
                    *to = f32::from_le_bytes([element[0], element[1], element[2], element[3]]);
                }
            }
            TensorType::F16 => {
                for (k, to) in to.iter_mut().enumerate() {
                    *to = half_at((k * ROWS + lane) * 2);
                }
            }
            TensorType::BF16 => {
                for (element, to) in group.chunks_exact(2).skip(lane).step_by(ROWS).zip(to) {
                    *to = bf16::from_le_bytes([element[0], element[1]]).to_f32();
                }
            }
            _ => {
                for (block, to) in to.chunks_exact_mut(BLOCK).enumerate() {
                    self.block(group, lane, block, to);
                }
            }
        }
    }

    /// The weights of one block of quants, computed in the order of [`dequantize`](crate::model::quantize::dequantize).
    fn block(&self, group: &[u8], lane: usize, block: usize, to: &mut [f32]) {
        let half_at = |at: usize| f16::from_le_bytes([group[at], group[at + 1]]).to_f32();
        let bits = quant_bits(self.kind).unwrap_or(0);
        let mut planes = [0; FOURS];
        for (plane, word) in planes.iter_mut().enumerate().take(bits) {
            let at = (block * bits + plane) * PLANE + lane * 4;
            *word = u32::from_le_bytes([group[at], group[at + 1], group[at + 2], group[at + 3]]);
        }
        let quants = from_planes(bits, planes).into_iter().flat_map(u32::to_le_bytes).zip(to);
        let sub = block % (SUPER / BLOCK);
        let chunk = self.scales + block / (SUPER / BLOCK) * chunk_bytes(self.kind);
        let (scale, minimum) = match self.kind {
            TensorType::Q4_K | TensorType::Q5_K => {
                let packed = std::array::from_fn(|byte| group[chunk + 2 * HALVES + byte * ROWS + lane]);
                let (scale, minimum) = unpack_scale(packed, sub);
                let minimum = half_at(chunk + HALVES + lane * 2) * f32::from(minimum);
                (half_at(chunk + lane * 2) * f32::from(scale), -minimum)
            }
            TensorType::Q6_K => {
                let scale = half_at(chunk + lane * 2);
                for (k, (quant, to)) in quants.enumerate() {
                    let part = group[chunk + HALVES + (2 * sub + k / 16) * ROWS + lane].cast_signed();
                    *to = scale * f32::from(part) * (f32::from(quant) - 32.0);
                }
                return;
            }
            TensorType::Q2_K => {
                let (scale, minimum) = (half_at(chunk + lane * 2), half_at(chunk + HALVES + lane * 2));
                for (k, (quant, to)) in quants.enumerate() {
                    let part = group[chunk + 2 * HALVES + (2 * sub + k / 16) * ROWS + lane];
                    *to = f32::from(quant) * (scale * f32::from(part & 15)) - minimum * f32::from(part >> 4);
                }
                return;
            }
            TensorType::Q3_K => {
                let packed = std::array::from_fn(|byte| group[chunk + HALVES + byte * ROWS + lane]);
                let scale = half_at(chunk + lane * 2);
                for (k, (quant, to)) in quants.enumerate() {
                    let part = f32::from(unpack_q3_scale(packed, 2 * sub + k / 16)) - 32.0;
                    *to = scale * part * (f32::from(quant) - 4.0);
                }
                return;
            }
            TensorType::IQ4_NL | TensorType::IQ4_XS => {
                let scale = if self.kind == TensorType::IQ4_NL {
                    half_at(self.scales + (block * ROWS + lane) * 2)
                } else {
                    let packed = std::array::from_fn(|byte| group[chunk + HALVES + byte * ROWS + lane]);
                    half_at(chunk + lane * 2) * (f32::from(unpack_iq4_scale(packed, sub)) - 32.0)
                };
                for (code, to) in quants {
                    *to = f32::from(IQ4[usize::from(code & 15)]) * scale;
                }
                return;
            }
            TensorType::MXFP4 => {
                let scale = mxfp4_half_scale(group[self.scales + block * ROWS + lane]);
                for (code, to) in quants {
                    *to = f32::from(FP4_TWICE[usize::from(code & 15)]) * scale;
                }
                return;
            }
            TensorType::Q4_1 | TensorType::Q5_1 => {
                let at = (block * ROWS + lane) * 2;
                (half_at(self.scales + at), half_at(self.minima + at))
            }
            kind => {
                let zero = match kind {
                    TensorType::Q4_0 => 8.0,
                    TensorType::Q5_0 => 16.0,
                    _ => 128.0,
                };
                let scale = half_at(self.scales + (block * ROWS + lane) * 2);
                for (quant, to) in quants {
                    *to = (f32::from(quant) - zero) * scale;
                }
                return;
            }
        };
        for (quant, to) in quants {
            *to = f32::from(quant) * scale + minimum;
        }
    }
}

/// Bytes of a super-block's scales in a group: 0 for types without super-blocks.
pub(super) const fn chunk_bytes(kind: TensorType) -> usize {
    match kind {
        TensorType::Q4_K | TensorType::Q5_K => 2 * HALVES + PACKED_SCALES * ROWS,
        TensorType::Q6_K => HALVES + 16 * ROWS,
        TensorType::Q2_K => 2 * HALVES + 16 * ROWS,
        TensorType::Q3_K => HALVES + 12 * ROWS,
        TensorType::IQ4_XS => HALVES + 6 * ROWS,
        _ => 0,
    }
}

/// Whether the type has super-blocks.
fn is_super(kind: TensorType) -> bool {
    chunk_bytes(kind) > 0
}

/// Whether weights of this type are multiplied with activations in 8 bits.
pub(super) fn is_quantized(kind: TensorType) -> bool {
    kind.block_elements() > 1
}

/// Row `lane` of a matrix whose elements have `SIZE` bytes.
fn interleave<const SIZE: usize>(row: &[u8], lane: usize, to: &mut [u8]) {
    for (k, element) in row.chunks_exact(SIZE).enumerate() {
        to[(k * ROWS + lane) * SIZE..][..SIZE].copy_from_slice(element);
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test numbers")]
pub(super) mod tests {
    use super::*;
    use crate::base::random::SplitMix64;
    use crate::model::quantize::dequantize;

    pub(in super::super) const KINDS: [TensorType; 16] = [
        TensorType::Q2_K,
        TensorType::Q3_K,
        TensorType::IQ4_NL,
        TensorType::IQ4_XS,
        TensorType::MXFP4,
        TensorType::Q4_K,
        TensorType::Q6_K,
        TensorType::Q5_K,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q8_0,
        TensorType::F16,
        TensorType::BF16,
        TensorType::F32,
    ];

    /// Random rows as a file has them: any bits for the quants, scales and plain numbers of moderate size.
    pub(in super::super) fn random_rows(kind: TensorType, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
        let mut random = SplitMix64::new(seed);
        let blocks = rows * columns / usize::try_from(kind.block_elements()).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..blocks {
            let number = random.unit() as f32 * 2.0 - 1.0;
            let scale = f16::from_f32(number * 0.1).to_le_bytes();
            let any = |count: usize, random: &mut SplitMix64| -> Vec<u8> {
                (0..count).map(|_| random.word().to_le_bytes()[3]).collect()
            };
            match kind {
                TensorType::F32 => bytes.extend(number.to_le_bytes()),
                TensorType::F16 => bytes.extend(f16::from_f32(number).to_le_bytes()),
                TensorType::BF16 => bytes.extend(bf16::from_f32(number).to_le_bytes()),
                // Scales of weights like those of the others.
                TensorType::MXFP4 => {
                    bytes.push(120 + random.word().to_le_bytes()[3] % 5);
                    bytes.extend(any(16, &mut random));
                }
                TensorType::Q6_K => {
                    bytes.extend(any(208, &mut random));
                    bytes.extend(f16::from_f32(number * 0.001).to_le_bytes());
                }
                TensorType::Q2_K => {
                    bytes.extend(any(80, &mut random));
                    bytes.extend(f16::from_f32(number * 0.05).to_le_bytes());
                    bytes.extend(f16::from_f32(random.unit() as f32 * 0.08 - 0.04).to_le_bytes());
                }
                TensorType::Q3_K => {
                    bytes.extend(any(108, &mut random));
                    bytes.extend(f16::from_f32(number * 0.02).to_le_bytes());
                }
                TensorType::IQ4_NL | TensorType::IQ4_XS => {
                    let scale = if kind == TensorType::IQ4_NL { 0.02 } else { 0.001 };
                    bytes.extend(f16::from_f32(number * scale).to_le_bytes());
                    bytes.extend(any(if kind == TensorType::IQ4_NL { 16 } else { 134 }, &mut random));
                }
                TensorType::Q4_K | TensorType::Q5_K => {
                    bytes.extend(f16::from_f32(number * 0.003).to_le_bytes());
                    bytes.extend(f16::from_f32(random.unit() as f32 * 0.02 - 0.01).to_le_bytes());
                    bytes.extend(any(if kind == TensorType::Q4_K { 140 } else { 172 }, &mut random));
                }
                _ => {
                    bytes.extend(scale);
                    let mut rest = usize::try_from(kind.block_bytes()).unwrap() - 2;
                    if matches!(kind, TensorType::Q4_1 | TensorType::Q5_1) {
                        bytes.extend(f16::from_f32(random.unit() as f32 - 0.5).to_le_bytes());
                        rest -= 2;
                    }
                    bytes.extend(any(rest, &mut random));
                }
            }
        }
        bytes
    }

    #[test]
    fn a_packed_row_is_the_file_s_row_bit_for_bit() {
        for kind in KINDS {
            for rows in [16, 7] {
                let columns = if is_super(kind) { 512 } else { 96 };
                let layout = Layout::of(kind, columns).unwrap();
                let bytes = random_rows(kind, rows, columns, 5);
                let expected = dequantize(kind, &bytes).unwrap();
                let mut group = vec![0xaa; layout.group_bytes];
                layout.pack(&bytes, &mut group);
                let mut row = vec![0.0; columns];
                for lane in 0..ROWS {
                    layout.row(&group, lane, &mut row);
                    match expected.get(lane * columns..(lane + 1) * columns) {
                        Some(expected) => assert_eq!(row, expected, "{kind} row {lane}"),
                        None => assert!(row.iter().all(|x| *x == 0.0), "{kind} row {lane}"),
                    }
                }
            }
        }
    }

    #[test]
    fn no_type_takes_more_bits_than_in_its_file() {
        for kind in KINDS {
            let layout = Layout::of(kind, 2048).unwrap();
            assert_eq!(layout.group_bytes, ROWS * layout.row_bytes(), "{kind}");
        }
    }
}
