//! From a block's bits to its weights, one function a format.

use half::{bf16, f16};

use super::{FP4_TWICE, IQ4, mxfp4_half_scale, unpack_iq4_scale, unpack_q3_scale, unpack_scale};
use crate::TensorType;

/// The weights in `bytes`, whole blocks of type `dtype`, appended to nothing: the result has exactly the
/// blocks' elements. `None` when the type is one of activations alone (`Q8_1`, `Q8_K`) or the bytes are
/// no whole number of blocks.
pub fn dequantize(dtype: TensorType, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        TensorType::F32 => each(bytes, |block: &[u8; 4], out| out.push(f32::from_le_bytes(*block))),
        TensorType::F16 => each(bytes, |block: &[u8; 2], out| out.push(f16::from_le_bytes(*block).to_f32())),
        TensorType::BF16 => {
            each(bytes, |block: &[u8; 2], out| out.push(bf16::from_le_bytes(*block).to_f32()))
        }
        TensorType::Q8_0 => each(bytes, q8_0),
        TensorType::Q4_0 => each(bytes, q4_0),
        TensorType::Q4_1 => each(bytes, q4_1),
        TensorType::Q5_0 => each(bytes, q5_0),
        TensorType::Q5_1 => each(bytes, q5_1),
        TensorType::Q4_K => each(bytes, q4_k),
        TensorType::Q5_K => each(bytes, q5_k),
        TensorType::Q6_K => each(bytes, q6_k),
        TensorType::MXFP4 => each(bytes, mxfp4),
        TensorType::Q2_K => each(bytes, q2_k),
        TensorType::Q3_K => each(bytes, q3_k),
        TensorType::IQ4_NL => each(bytes, iq4_nl),
        TensorType::IQ4_XS => each(bytes, iq4_xs),
        TensorType::Q8_1 | TensorType::Q8_K => None,
    }
}

fn each<const N: usize>(bytes: &[u8], block: impl Fn(&[u8; N], &mut Vec<f32>)) -> Option<Vec<f32>> {
    let (blocks, rest) = bytes.as_chunks::<N>();
    let mut out = Vec::new();
    for bytes in blocks {
        block(bytes, &mut out);
    }
    rest.is_empty().then_some(out)
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Scale, then 32 signed bytes.
fn q8_0(block: &[u8; 34], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    out.extend(block[2..].iter().map(|byte| f32::from(byte.cast_signed()) * scale));
}

/// Scale, then 16 bytes: element i in the low half of byte i, element i + 16 in the high half, offset 8.
fn q4_0(block: &[u8; 18], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    let weight = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
    out.extend(block[2..].iter().map(|byte| weight(byte & 15)));
    out.extend(block[2..].iter().map(|byte| weight(byte >> 4)));
}

/// Scale, minimum, then 16 bytes as in `Q4_0`.
fn q4_1(block: &[u8; 20], out: &mut Vec<f32>) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let weight = |nibble: u8| f32::from(nibble) * scale + minimum;
    out.extend(block[4..].iter().map(|byte| weight(byte & 15)));
    out.extend(block[4..].iter().map(|byte| weight(byte >> 4)));
}

/// Scale, then 16 bytes as in `Q4_0`, each half the code of a float.
fn mxfp4(block: &[u8; 17], out: &mut Vec<f32>) {
    let scale = mxfp4_half_scale(block[0]);
    let weight = |code: u8| f32::from(FP4_TWICE[usize::from(code)]) * scale;
    out.extend(block[1..].iter().map(|byte| weight(byte & 15)));
    out.extend(block[1..].iter().map(|byte| weight(byte >> 4)));
}

/// Scale, then 16 bytes as in `Q4_0`, each half the code of a number.
fn iq4_nl(block: &[u8; 18], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    let weight = |code: u8| f32::from(IQ4[usize::from(code)]) * scale;
    out.extend(block[2..].iter().map(|byte| weight(byte & 15)));
    out.extend(block[2..].iter().map(|byte| weight(byte >> 4)));
}

/// Super-scale, six bytes of scales with offset 32, then the 16 bytes of `IQ4_NL` for each of eight sub-blocks.
fn iq4_xs(block: &[u8; 136], out: &mut Vec<f32>) {
    let super_scale = half_at(block, 0);
    let packed = std::array::from_fn(|byte| block[2 + byte]);
    for (sub, bytes) in block[8..].chunks(16).enumerate() {
        let scale = super_scale * (f32::from(unpack_iq4_scale(packed, sub)) - 32.0);
        let weight = |code: u8| f32::from(IQ4[usize::from(code)]) * scale;
        out.extend(bytes.iter().map(|byte| weight(byte & 15)));
        out.extend(bytes.iter().map(|byte| weight(byte >> 4)));
    }
}

/// 16 bytes of scales below and minima above, for 16 elements each, then 64 of pairs, super-scale and super-minimum.
///
/// Each half of the block has four runs of 32 elements, run r in bits 2r and 2r + 1 of its 32 bytes.
fn q2_k(block: &[u8; 84], out: &mut Vec<f32>) {
    let (super_scale, super_minimum) = (half_at(block, 80), half_at(block, 82));
    for part in 0..16 {
        let scale = super_scale * f32::from(block[part] & 15);
        let minimum = super_minimum * f32::from(block[part] >> 4);
        let bytes = &block[16 + part / 8 * 32 + part % 2 * 16..][..16];
        out.extend(bytes.iter().map(|byte| f32::from(byte >> (part / 2 % 4 * 2) & 3) * scale - minimum));
    }
}

/// 32 bytes of third bits (bit s of byte i belongs to element i of sub-block s), 64 of pairs as in `Q2_K`, 12 of scales
/// with offset 32, for 16 elements each, and the super-scale; offset 4.
fn q3_k(block: &[u8; 110], out: &mut Vec<f32>) {
    let super_scale = half_at(block, 108);
    let packed = std::array::from_fn(|byte| block[96 + byte]);
    for part in 0..16 {
        let scale = super_scale * (f32::from(unpack_q3_scale(packed, part)) - 32.0);
        let bytes = &block[32 + part / 8 * 32 + part % 2 * 16..][..16];
        let thirds = &block[part % 2 * 16..][..16];
        out.extend(bytes.iter().zip(thirds).map(|(byte, third)| {
            let number = byte >> (part / 2 % 4 * 2) & 3 | (third >> (part / 2) & 1) << 2;
            scale * (f32::from(number) - 4.0)
        }));
    }
}

/// The 32 five-bit numbers of four bytes of high bits (bit i for element i) and 16 bytes as in `Q4_0`.
fn five_bits(high: &[u8], low: &[u8]) -> impl Iterator<Item = f32> {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    (0..32).map(move |i| {
        let nibble = if i < 16 { low[i] & 15 } else { low[i - 16] >> 4 };
        f32::from(nibble | if high >> i & 1 == 1 { 16 } else { 0 })
    })
}

/// Scale, high bits, low bits, offset 16.
fn q5_0(block: &[u8; 22], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    out.extend(five_bits(&block[2..6], &block[6..]).map(|number| (number - 16.0) * scale));
}

/// Scale, minimum, high bits, low bits.
fn q5_1(block: &[u8; 24], out: &mut Vec<f32>) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    out.extend(five_bits(&block[4..8], &block[8..]).map(|number| number * scale + minimum));
}

/// The eight (scale, minimum) pairs of a super-block that begins with two halves and 12 packed bytes.
fn super_scales(block: &[u8]) -> [(f32, f32); 8] {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    std::array::from_fn(|index| {
        let (sub_scale, sub_minimum) = unpack_scale(packed, index);
        (scale * f32::from(sub_scale), minimum * f32::from(sub_minimum))
    })
}

/// Super-scales, then four times 32 bytes: 32 elements in their low halves, the next 32 in their high.
fn q4_k(block: &[u8; 144], out: &mut Vec<f32>) {
    let scales = super_scales(block);
    for (pair, bytes) in block[16..].chunks(32).enumerate() {
        let [(scale, minimum), (next_scale, next_minimum)] = [scales[2 * pair], scales[2 * pair + 1]];
        out.extend(bytes.iter().map(|byte| f32::from(byte & 15) * scale - minimum));
        out.extend(bytes.iter().map(|byte| f32::from(byte >> 4) * next_scale - next_minimum));
    }
}

/// As `Q4_K`, with 32 bytes between of fifth bits: bit s of byte i belongs to element i of sub-block s.
fn q5_k(block: &[u8; 176], out: &mut Vec<f32>) {
    let scales = super_scales(block);
    let (high, low) = block[16..].split_at(32);
    for (sub, (scale, minimum)) in scales.into_iter().enumerate() {
        let bytes = &low[sub / 2 * 32..][..32];
        out.extend(bytes.iter().zip(high).map(|(byte, fifth)| {
            let nibble = if sub % 2 == 0 { byte & 15 } else { byte >> 4 };
            f32::from(nibble | (fifth >> sub & 1) << 4) * scale - minimum
        }));
    }
}

/// 128 bytes of low halves, 64 of upper pairs, 16 signed scales for 16 elements each, one super-scale; offset 32.
///
/// Each half of the block has four runs of 32 elements: runs 0 and 1 in the low, 2 and 3 in the high
/// halves of its 64 low bytes, and run r in bits 2r and 2r + 1 of its 32 upper bytes.
fn q6_k(block: &[u8; 210], out: &mut Vec<f32>) {
    let super_scale = half_at(block, 208);
    for half in 0..2 {
        let low = &block[64 * half..][..64];
        let upper = &block[128 + 32 * half..][..32];
        let scales = &block[192 + 8 * half..][..8];
        for run in 0..4 {
            for i in 0..32 {
                let byte = low[32 * (run % 2) + i];
                let nibble = if run < 2 { byte & 15 } else { byte >> 4 };
                let number = nibble | (upper[i] >> (2 * run) & 3) << 4;
                let scale = f32::from(scales[2 * run + i / 16].cast_signed());
                out.push(super_scale * scale * (f32::from(number) - 32.0));
            }
        }
    }
}
