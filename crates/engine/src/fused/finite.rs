//! Non-finite weights, found before anything is multiplied by them.
//!
//! A block-quantized type can hold a NaN or an infinity only in its scales, so only these are looked at: a 16th of
//! the bytes at most.

use half::{bf16, f16};

use crate::model::TensorType;

/// Index of the first element (of a block type: the first of its block) that is not finite in `bytes`, which are
/// whole blocks of `dtype`.
pub(super) fn first_non_finite(dtype: TensorType, bytes: &[u8]) -> Option<u64> {
    let block = usize::try_from(dtype.block_bytes()).ok()?;
    let scales: &[usize] = match dtype {
        TensorType::F32 => {
            return position(bytes, 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite());
        }
        TensorType::BF16 => return position(bytes, 2, |b| bf16::from_le_bytes([b[0], b[1]]).is_finite()),
        // Every byte but one is a power of two.
        TensorType::MXFP4 => {
            return position(bytes, block, |b| b[0] != 255).map(|index| index * dtype.block_elements());
        }
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
        TensorType::Q6_K => &[208],
        TensorType::Q2_K => &[80, 82],
        TensorType::Q3_K => &[108],
        _ => &[0],
    };
    let whole = |b: &[u8]| scales.iter().all(|at| f16::from_le_bytes([b[*at], b[at + 1]]).is_finite());
    position(bytes, block, whole).map(|index| index * dtype.block_elements())
}

fn position(bytes: &[u8], block: usize, is_finite: impl Fn(&[u8]) -> bool) -> Option<u64> {
    bytes.chunks_exact(block).position(|block| !is_finite(block)).map(|index| index as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::network::MATRIX_TYPES;

    #[test]
    fn a_nan_in_any_scale_of_any_block_is_found_at_its_place() {
        for dtype in MATRIX_TYPES {
            let block = usize::try_from(dtype.block_bytes()).unwrap();
            let mut bytes = vec![0u8; 5 * block];
            assert_eq!(first_non_finite(dtype, &bytes), None, "{dtype}");
            let fields: &[usize] = match dtype {
                TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
                TensorType::Q6_K => &[208],
                TensorType::Q2_K => &[80, 82],
                TensorType::Q3_K => &[108],
                _ => &[0],
            };
            for field in fields {
                let value: &[u8] = match dtype {
                    TensorType::F32 => &f32::NAN.to_le_bytes(),
                    TensorType::BF16 => &bf16::NEG_INFINITY.to_le_bytes(),
                    TensorType::MXFP4 => &[255],
                    _ => &f16::INFINITY.to_le_bytes(),
                };
                let at = 3 * block + field;
                let before = bytes[at..at + value.len()].to_vec();
                bytes[at..at + value.len()].copy_from_slice(value);
                assert_eq!(
                    first_non_finite(dtype, &bytes),
                    Some(3 * dtype.block_elements()),
                    "{dtype} {field}"
                );
                bytes[at..at + before.len()].copy_from_slice(&before);
            }
            if dtype.block_elements() > 1 {
                // Any bits are a number where the quants stand.
                bytes[block + 20.min(block - 1)] = 0xff;
                bytes[block + 4] = 0x7f;
                assert_eq!(first_non_finite(dtype, &bytes), None, "{dtype}");
            }
        }
    }
}
