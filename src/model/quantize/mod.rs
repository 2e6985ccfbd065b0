//! GGML's block formats: what their bits mean, and blocks of random weights in them.
//!
//! A weight matrix is stored row by row; a row is whole blocks, and a block is a run of elements that
//! share scales. [`dequantize()`] is the meaning of a block, written for reading and not for speed: the
//! reference that fast kernels and other programs are compared with. [`Weights`] makes blocks that
//! real quantizers could have written, any range of a tensor at a time.
//!
//! Layouts: ggml-common.h of <https://github.com/ggml-org/ggml> (`block_q4_0` … `block_q6_K`). Formats that
//! no engine here computes with (`Q2_K`, `Q3_K`, `Q8_1`, `Q8_K`) are refused by name.

mod dequantize;
mod random;
#[cfg(test)]
mod tests;

pub use dequantize::dequantize;
pub use random::{Distribution, Weights, can_make};

/// The 6-bit scale and minimum of sub-block `index` (0 to 7) in the 12 packed bytes of `Q4_K` and `Q5_K`.
pub(crate) fn unpack_scale(packed: [u8; 12], index: usize) -> (u8, u8) {
    if index < 4 {
        return (packed[index] & 63, packed[index + 4] & 63);
    }
    let low = packed[index + 4];
    ((low & 15) | (packed[index - 4] >> 6 << 4), (low >> 4) | (packed[index] >> 6 << 4))
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
