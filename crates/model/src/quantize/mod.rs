//! GGML's block formats: what their bits mean, and blocks of random weights in them.
//!
//! A weight matrix is stored row by row; a row is whole blocks, and a block is a run of elements that
//! share scales. [`dequantize()`] is the meaning of a block, written for reading and not for speed: the
//! reference that fast kernels and other programs are compared with. [`Weights`] makes blocks that
//! real quantizers could have written, any range of a tensor at a time.
//!
//! Layouts: ggml-common.h of <https://github.com/ggml-org/ggml> (`block_q4_0` … `block_q6_K`, `block_iq4_nl`, `block_iq4_xs`, `block_mxfp4`); the numbers
//! of `MXFP4`: OCP Microscaling Formats (MX) Specification 1.0, FP4 (E2M1) and E8M0. Formats of
//! activations (`Q8_1`, `Q8_K`) are refused by name.

mod dequantize;
mod random;
#[cfg(test)]
mod tests;

pub use dequantize::dequantize;
pub use random::{Distribution, Weights, can_make};

/// The 6-bit scale and minimum of sub-block `index` (0 to 7) in the 12 packed bytes of `Q4_K` and `Q5_K`.
pub fn unpack_scale(packed: [u8; 12], index: usize) -> (u8, u8) {
    if index < 4 {
        return (packed[index] & 63, packed[index + 4] & 63);
    }
    let low = packed[index + 4];
    ((low & 15) | (packed[index - 4] >> 6 << 4), (low >> 4) | (packed[index] >> 6 << 4))
}

/// The values of the sixteen codes of a 4-bit float (E2M1), doubled to be whole.
pub const FP4_TWICE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The numbers of the sixteen codes of `IQ4_NL` and `IQ4_XS`.
pub const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The 6-bit scale of part `index` (0 to 15, of 16 elements each) in the 12 packed bytes of `Q3_K`, 32 too high.
pub fn unpack_q3_scale(packed: [u8; 12], index: usize) -> u8 {
    let low = packed[index % 8] >> (index / 8 * 4) & 15;
    low | (packed[8 + index % 4] >> (index / 4 * 2) & 3) << 4
}

/// The 6-bit scale of sub-block `index` (0 to 7) in the 6 bytes of scales of `IQ4_XS`, 32 too high: two bytes of upper
/// pairs, then four of lower halves.
pub fn unpack_iq4_scale(packed: [u8; 6], index: usize) -> u8 {
    let low = packed[2 + index / 2] >> (index % 2 * 4) & 15;
    low | (packed[index / 4] >> (index % 4 * 2) & 3) << 4
}

/// Half of the scale that byte `exponent` of `MXFP4` stands for, 2^(`exponent` − 127): what [`FP4_TWICE`] is multiplied
/// with. 255 is no number.
pub fn mxfp4_half_scale(exponent: u8) -> f32 {
    match exponent {
        // Below the normal numbers.
        0 | 1 => f32::from_bits(1 << (21 + exponent)),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}

/// Packs eight 6-bit scales and eight 6-bit minima: the inverse of [`unpack_scale`].
fn pack_scales(scales: [u8; 8], minima: [u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for index in 0..4 {
        packed[index] = scales[index] | (scales[index + 4] >> 4 << 6);
        packed[index + 4] = minima[index] | (minima[index + 4] >> 4 << 6);
        packed[index + 8] = (scales[index + 4] & 15) | (minima[index + 4] & 15) << 4;
    }
    packed
}
