//! Which instructions the kernels may use: the best there is, or less when asked.

use std::fmt;
use std::str::FromStr;

use crate::base::sys;

/// Tokens of the widest tile of activations whose fours lie side by side.
pub(super) const EIGHT: usize = 8;
/// Tokens of a tile whose quants lie row by row.
pub(super) const SIXTEEN: usize = 16;

/// A set of instructions that there are kernels for, from the fewest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor has.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, with what AVX2 has.
    Avx512,
    /// That with VNNI, dot products of bytes.
    Avx512Vnni,
    /// That with AMX, products of matrices of bytes and of bfloat16, where the system grants their registers.
    Amx,
}

impl Isa {
    /// All of them, from the fewest on.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Amx];

    /// The best one that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") && has!("f16c") {
                let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
                return match (wide, has!("avx512vnni")) {
                    (true, true) if sys::matrix_registers() => Self::Amx,
                    (true, true) => Self::Avx512Vnni,
                    (true, false) => Self::Avx512,
                    (false, _) => Self::Avx2,
                };
            }
        }
        Self::Portable
    }

    /// Checks that this processor has it.
    ///
    /// # Errors
    /// The best one that it has, in words.
    pub fn check(self) -> Result<(), String> {
        let best = Self::detect();
        if self > best { Err(format!("this processor only has {best}")) } else { Ok(()) }
    }

    /// Its name in flags and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
        }
    }

    /// Tokens of `tokens` that fill tiles of matrices, the first ones.
    pub(super) fn full_tiles(self, tokens: usize) -> usize {
        if self == Self::Amx { tokens / SIXTEEN * SIXTEEN } else { 0 }
    }

    /// Tokens of the widest tile that its kernels take.
    pub(super) fn tile_tokens(self) -> usize {
        if self == Self::Amx { SIXTEEN } else { EIGHT }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|isa| isa.label() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::label).join(", ");
            format!("unknown instruction set `{text}`; supported: {known}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_a_wrong_one_lists_the_right_ones() {
        for isa in Isa::ALL {
            assert_eq!(isa.label().parse(), Ok(isa));
        }
        assert!("avx10".parse::<Isa>().unwrap_err().contains("portable, avx2, avx512, avx512vnni, amx"));
        assert!(
            Isa::Portable < Isa::Avx2
                && Isa::Avx2 < Isa::Avx512
                && Isa::Avx512 < Isa::Avx512Vnni
                && Isa::Avx512Vnni < Isa::Amx
        );
    }
}
