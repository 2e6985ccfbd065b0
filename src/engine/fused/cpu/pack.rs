//! The order of a matrix's weights in memory: sixteen rows interleaved, so that a lane of a register is a row.
//!
//! A *group* is sixteen rows, whole and contiguous; the last one is filled up with rows of zeros. Within a group come
//! first the quants, block by block, then the scales and the minima, sixteen of each a block. Four neighbouring
//! quants of a row lie side by side, as the int8 dot product takes them: no kernel shuffles, and one broadcast of four
//! activations serves sixteen rows. A 4-bit block of 32 is 4 × 64 bytes; a byte holds k in its low half and k + 16 in
//! its high half. 8-bit quants are stored as q + 128, since the instruction wants one side without sign. No weight
//! takes more bits than in the file, and none is changed.

use half::{bf16, f16};

use crate::model::TensorType;

/// Rows of a group.
pub(in crate::engine::fused) const ROWS: usize = 16;
/// Elements of a block.
pub(super) const BLOCK: usize = 32;

/// Where the parts of a group lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::fused) struct Layout {
    pub(super) kind: TensorType,
    pub(super) columns: usize,
    /// Offset of the f16 scales.
    pub(super) scales: usize,
    /// Offset of the f16 minima.
    pub(super) minima: usize,
    /// Bytes of a group.
    pub(in crate::engine::fused) group_bytes: usize,
}

impl Layout {
    /// The layout of rows of `columns` weights of type `kind`, where there is one.
    pub(in crate::engine::fused) fn of(kind: TensorType, columns: usize) -> Option<Self> {
        let blocks = columns / BLOCK;
        let (quants, minima) = match kind {
            TensorType::Q4_0 => (blocks * 256, false),
            TensorType::Q4_1 => (blocks * 256, true),
            TensorType::Q8_0 => (blocks * 512, false),
            TensorType::F16 | TensorType::BF16 => (columns * ROWS * 2, false),
            TensorType::F32 => (columns * ROWS * 4, false),
            _ => return None,
        };
        let one = if is_quantized(kind) { blocks * ROWS * 2 } else { 0 };
        let end = quants + one + if minima { one } else { 0 };
        Some(Self {
            kind,
            columns,
            scales: quants,
            minima: quants + one,
            group_bytes: end.next_multiple_of(64),
        })
    }

    /// Bytes of a row as the file has it.
    pub(in crate::engine::fused) fn row_bytes(&self) -> usize {
        let blocks = self.columns as u64 / self.kind.block_elements();
        usize::try_from(blocks * self.kind.block_bytes()).unwrap_or(usize::MAX)
    }

    /// Puts up to sixteen rows, one behind the other in `rows` as the file has them, into the group `to`.
    pub(in crate::engine::fused) fn pack(&self, rows: &[u8], to: &mut [u8]) {
        let stride = self.row_bytes();
        to.fill(0);
        for (lane, row) in rows.chunks_exact(stride).take(ROWS).enumerate() {
            match self.kind {
                TensorType::F32 => interleave::<4>(row, lane, to),
                TensorType::F16 | TensorType::BF16 => interleave::<2>(row, lane, to),
                TensorType::Q8_0 => self.pack_q8(row, lane, to),
                _ => self.pack_q4(row, lane, to),
            }
        }
        if self.kind == TensorType::Q8_0 && rows.len() < ROWS * stride {
            // Zero is 128 here; with a scale of zero it would not matter, but a reader may look.
            for lane in rows.len() / stride..ROWS {
                for (block, four) in
                    (0..self.columns / BLOCK).flat_map(|block| (0..8).map(move |four| (block, four)))
                {
                    to[block * 512 + four * 64 + lane * 4..][..4].fill(128);
                }
            }
        }
    }

    fn pack_q4(&self, row: &[u8], lane: usize, to: &mut [u8]) {
        let header = if self.kind == TensorType::Q4_1 { 4 } else { 2 };
        for (block, bytes) in row.chunks_exact(header + 16).enumerate() {
            to[self.scales + (block * ROWS + lane) * 2..][..2].copy_from_slice(&bytes[..2]);
            if header == 4 {
                to[self.minima + (block * ROWS + lane) * 2..][..2].copy_from_slice(&bytes[2..4]);
            }
            // The file's byte k, too, holds k below and k + 16 above.
            for four in 0..4 {
                let at = block * 256 + four * 64 + lane * 4;
                to[at..at + 4].copy_from_slice(&bytes[header + four * 4..][..4]);
            }
        }
    }

    fn pack_q8(&self, row: &[u8], lane: usize, to: &mut [u8]) {
        for (block, bytes) in row.chunks_exact(34).enumerate() {
            to[self.scales + (block * ROWS + lane) * 2..][..2].copy_from_slice(&bytes[..2]);
            for four in 0..8 {
                let at = block * 512 + four * 64 + lane * 4;
                for (to, quant) in to[at..at + 4].iter_mut().zip(&bytes[2 + four * 4..][..4]) {
                    *to = quant ^ 0x80;
                }
            }
        }
    }

    /// The weights of row `lane` of the group `group`, as single precision.
    pub(in crate::engine::fused) fn row(&self, group: &[u8], lane: usize, to: &mut [f32]) {
        let half_at = |at: usize| f16::from_le_bytes([group[at], group[at + 1]]).to_f32();
        for (k, to) in to.iter_mut().enumerate().take(self.columns) {
            let (block, inner) = (k / BLOCK, k % BLOCK);
            let scale = self.scales + (block * ROWS + lane) * 2;
            *to = match self.kind {
                TensorType::F32 => {
                    let at = (k * ROWS + lane) * 4;
                    f32::from_le_bytes([group[at], group[at + 1], group[at + 2], group[at + 3]])
                }
                TensorType::F16 => half_at((k * ROWS + lane) * 2),
                TensorType::BF16 => {
                    let at = (k * ROWS + lane) * 2;
                    bf16::from_le_bytes([group[at], group[at + 1]]).to_f32()
                }
                TensorType::Q8_0 => {
                    let quant = group[block * 512 + inner / 4 * 64 + lane * 4 + inner % 4] ^ 0x80;
                    f32::from(quant.cast_signed()) * half_at(scale)
                }
                _ => {
                    let byte = group[block * 256 + inner % 16 / 4 * 64 + lane * 4 + inner % 4];
                    let nibble = f32::from(if inner < 16 { byte & 15 } else { byte >> 4 });
                    if self.kind == TensorType::Q4_1 {
                        nibble * half_at(scale) + half_at(self.minima + (block * ROWS + lane) * 2)
                    } else {
                        (nibble - 8.0) * half_at(scale)
                    }
                }
            };
        }
    }
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

    pub(in super::super) const KINDS: [TensorType; 6] = [
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
            match kind {
                TensorType::F32 => bytes.extend(number.to_le_bytes()),
                TensorType::F16 => bytes.extend(f16::from_f32(number).to_le_bytes()),
                TensorType::BF16 => bytes.extend(bf16::from_f32(number).to_le_bytes()),
                _ => {
                    bytes.extend(scale);
                    if kind == TensorType::Q4_1 {
                        bytes.extend(f16::from_f32(random.unit() as f32 - 0.5).to_le_bytes());
                    }
                    let quants = if kind == TensorType::Q8_0 { 32 } else { 16 };
                    bytes.extend((0..quants).map(|_| random.word().to_le_bytes()[3]));
                }
            }
        }
        bytes
    }

    #[test]
    fn a_packed_row_is_the_file_s_row_bit_for_bit() {
        for kind in KINDS {
            for rows in [16, 7] {
                let columns = 96;
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
