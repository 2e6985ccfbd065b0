//! Which weights candle keeps a second time, repacked for its vector kernels, and how large.
//!
//! From `quantized/repack.rs` and `quantized/repack_x86.rs` of candle-core 0.11.1. On x86-64 a matrix
//! whose rows are a multiple of 16 and whose columns a multiple of 256 is tiled by 16 rows at its
//! first use: `Q4_K` always, `Q6_K` when a step has more than one row, `Q8_0` where the processor multiplies
//! bytes (VNNI). The stored form stays. With AMX a `Q4_K` matrix gets a third form for 32 rows and more.
//! On `AArch64` five formats are interleaved at their own size.

use crate::model::{TensorInfo, TensorType};

/// Vector kernels that candle chooses by the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repacking {
    /// Nothing is repacked.
    None,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with VNNI.
    Vnni,
    /// x86-64 with AVX-512 VNNI and AMX.
    Amx,
    /// `AArch64` with dot products.
    Arm,
}

impl Repacking {
    /// What candle chooses on this processor.
    pub(super) fn here(instruction_sets: &[&str], flag: impl Fn(&str) -> bool) -> Self {
        let has = |name: &str| instruction_sets.contains(&name);
        if cfg!(target_arch = "aarch64") {
            return Self::Arm;
        }
        if has("avx512f") && has("avx512vnni") {
            return if flag("amx_int8") && flag("amx_tile") { Self::Amx } else { Self::Vnni };
        }
        match (has("avx2"), has("avxvnni"), has("fma")) {
            (true, true, _) => Self::Vnni,
            (true, false, true) => Self::Avx2,
            _ => Self::None,
        }
    }

    /// Bytes of the repacked forms of `matrix` after steps of at most `rows` rows each, some of them
    /// of a single one.
    pub(super) fn bytes(self, matrix: &TensorInfo, rows: u64) -> u64 {
        let [n, k] = matrix.shape[..] else { return 0 };
        let tiles = |blocks: u64, bytes: u64| n / 16 * (k / blocks) * bytes;
        if self == Self::Arm {
            let interleaved = match matrix.dtype {
                TensorType::Q4_0 | TensorType::Q8_0 => n.is_multiple_of(4),
                TensorType::Q4_K | TensorType::Q5_K | TensorType::Q6_K => n.is_multiple_of(8),
                _ => false,
            };
            return if interleaved { matrix.bytes().get() } else { 0 };
        }
        if self == Self::None || !n.is_multiple_of(16) || !k.is_multiple_of(256) {
            return 0;
        }
        match matrix.dtype {
            // 16 rows of 256: scales and minima of 8 sub-blocks as f32, and the nibbles.
            TensorType::Q4_K => {
                let amx = if self == Self::Amx && rows >= 32 { tiles(256, 1024 + 4096) } else { 0 };
                tiles(256, 1024 + 2048) + amx
            }
            // Scales of 16 sub-blocks as f32, and a byte for every weight.
            TensorType::Q6_K if rows > 1 => tiles(256, 1024 + 4096),
            // As large as stored.
            TensorType::Q8_0 if self != Self::Avx2 => tiles(32, 32 + 512),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: Repacking, dtype: TensorType, shape: [u64; 2], rows: u64) -> u64 {
        let matrix =
            TensorInfo { name: "blk.0.ffn_up.weight".to_owned(), dtype, shape: shape.into(), offset: 0 };
        kind.bytes(&matrix, rows)
    }

    #[test]
    fn tiles_have_the_sizes_of_candles_structures() {
        use TensorType::{Q4_0, Q4_K, Q6_K, Q8_0};
        let square = [1024, 1024];
        for (kind, dtype, rows, expected) in [
            (Repacking::Vnni, Q4_K, 1, 64 * 4 * 3072),
            (Repacking::Avx2, Q4_K, 128, 64 * 4 * 3072),
            (Repacking::Amx, Q4_K, 31, 64 * 4 * 3072),
            (Repacking::Amx, Q4_K, 32, 64 * 4 * (3072 + 5120)),
            (Repacking::Vnni, Q6_K, 1, 0),
            (Repacking::Vnni, Q6_K, 2, 64 * 4 * 5120),
            (Repacking::Vnni, Q8_0, 1, 1024 * 1024 / 32 * 34),
            (Repacking::Avx2, Q8_0, 1, 0),
            (Repacking::Vnni, Q4_0, 128, 0),
            (Repacking::Arm, Q4_0, 1, 1024 * 1024 / 32 * 18),
            (Repacking::None, Q4_K, 128, 0),
        ] {
            assert_eq!(bytes(kind, dtype, square, rows), expected, "{kind:?} {dtype} {rows}");
        }
        // SmolLM2's width is no multiple of 256, and 1,000 rows are none of 16.
        assert_eq!(bytes(Repacking::Vnni, Q8_0, [1536, 576], 128), 0);
        assert_eq!(bytes(Repacking::Vnni, Q4_K, [1000, 1024], 128), 0);
    }

    #[test]
    fn the_processor_decides() {
        for (sets, amx, expected) in [
            (vec!["avx2", "fma", "avx512f", "avx512vnni"], true, Repacking::Amx),
            (vec!["avx2", "fma", "avx512f", "avx512vnni"], false, Repacking::Vnni),
            (vec!["avx2", "fma", "avxvnni"], true, Repacking::Vnni),
            (vec!["avx2", "fma", "avx512f"], true, Repacking::Avx2),
            (vec!["avx"], false, Repacking::None),
        ] {
            if cfg!(target_arch = "x86_64") {
                assert_eq!(Repacking::here(&sets, |_| amx), expected, "{sets:?}");
            }
        }
    }
}
