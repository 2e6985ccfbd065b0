//! 8-bit integer peak: dot products in registers, this processor's fastest way of summing products.
//!
//! Quantized weights are multiplied this way, so single precision is no ceiling for them. Without a dedicated instruction
//! (VNNI, AMX), adjacent products are summed to 16 bits; a real sum must be widened periodically, which is omitted here, since
//! a ceiling must not be too low.
#![allow(unsafe_code, reason = "functions compiled for instruction sets that are detected at run time")]

use std::hint::black_box;

use super::{rounds, together};

const ROUNDS: usize = 3;
/// Steps of each chain: tens of milliseconds.
const STEPS: usize = 2_000_000;
/// Chains: enough for two units with a latency of five.
const CHAINS: usize = 12;

/// A kernel: runs every chain to its end and returns a sum that depends on all of them.
type Kernel = fn(i8, i8) -> i32;

/// Operations per second of each round, a multiply-add counted as two, and the instruction set used; `None` if there are
/// no such instructions.
pub(super) fn measure(threads: usize) -> Option<(Vec<f64>, &'static str)> {
    let (kernel, products, name) = available().into_iter().next()?;
    let operations = (threads * CHAINS * products * STEPS * 2) as f64;
    let round = || {
        operations
            / together(threads, |_| {
                black_box(kernel(black_box(3), black_box(-2)));
            })
    };
    Some((rounds(ROUNDS, round), name))
}

/// The kernels that this processor supports, fastest first, each with the number of products per instruction.
fn available() -> Vec<(Kernel, usize, &'static str)> {
    let mut found: Vec<(Kernel, usize, &'static str)> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if crate::base::sys::matrix_registers() {
            // SAFETY: the processor has AMX and the system grants its registers, as was just asked.
            found.push((|a, b| unsafe { amx(a, b) }, TILE * TILE * 64 / STEPS_EACH, "amx"));
        }
        if has!("avx512vnni") && has!("avx512f") {
            // SAFETY: the processor has AVX-512F and its VNNI, as was just detected.
            found.push((|a, b| unsafe { avx512vnni(a, b) }, 64, "avx512vnni"));
        }
        if has!("avxvnni") && has!("avx2") {
            // SAFETY: the processor has AVX2 and AVX-VNNI, as was just detected.
            found.push((|a, b| unsafe { avxvnni(a, b) }, 32, "avxvnni"));
        }
        if has!("avx512bw") {
            // SAFETY: the processor has AVX-512BW, as was just detected.
            found.push((|a, b| unsafe { avx512bw(a, b) }, 64, "avx512bw"));
        }
        if has!("avx2") {
            // SAFETY: the processor has AVX2, as was just detected.
            found.push((|a, b| unsafe { avx2(a, b) }, 32, "avx2"));
        }
    }
    found
}

/// Rows and columns of a tile register's sums; each is of 64 products.
#[cfg(target_arch = "x86_64")]
const TILE: usize = 16;

/// Steps of a chain that one of its instructions counts as, since it takes as long.
#[cfg(target_arch = "x86_64")]
const STEPS_EACH: usize = 16;

/// Products of matrices in tile registers, which the compiler knows by assembly alone.
///
/// # Safety
/// The processor must have AMX, with its registers granted.
#[cfg(target_arch = "x86_64")]
unsafe fn amx(a: i8, b: i8) -> i32 {
    use std::arch::asm;

    /// What `ldtilecfg` reads: the palette, then from byte 16 on each register's bytes of a row, from 48 on its rows.
    #[repr(align(64))]
    struct Config([u8; 64]);
    #[repr(align(64))]
    struct Sums([[i32; TILE * TILE]; 4]);

    let mut config = Config([0; 64]);
    config.0[0] = 1;
    for tile in 0..8 {
        (config.0[16 + 2 * tile], config.0[48 + tile]) = (64, 16);
    }
    let (rows, columns) = ([a; TILE * 64], [b; TILE * 64]);
    let mut sums = Sums([[0; TILE * TILE]; 4]);
    // SAFETY: the processor has AMX, by this function's contract; what is read and written are these arrays, a row of 64
    // bytes at a time, and the registers are released before anything else could use them.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tileloadd tmm4, [{rows} + {row}]",
            "tileloadd tmm5, [{columns} + {row}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tdpbssd tmm0, tmm4, tmm5",
            "tdpbssd tmm1, tmm4, tmm5",
            "tdpbssd tmm2, tmm4, tmm5",
            "tdpbssd tmm3, tmm4, tmm5",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 1024], tmm1",
            "tilestored [{sums} + {row} + 2048], tmm2",
            "tilestored [{sums} + {row} + 3072], tmm3",
            "tilerelease",
            config = in(reg) &raw const config,
            rows = in(reg) rows.as_ptr(),
            columns = in(reg) columns.as_ptr(),
            sums = in(reg) sums.0.as_mut_ptr(),
            row = in(reg) 64usize,
            steps = inout(reg) STEPS * CHAINS / 4 / STEPS_EACH => _,
            options(nostack),
        );
    }
    sums.0.as_flattened().iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn avx512vnni(a: i8, b: i8) -> i32 {
    use std::arch::x86_64::{
        _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
    };
    let (a, b) = (_mm512_set1_epi8(a), _mm512_set1_epi8(b));
    let mut x = black_box([_mm512_setzero_si512(); CHAINS]);
    for _ in 0..STEPS {
        for x in &mut x {
            *x = _mm512_dpbusd_epi32(*x, a, b);
        }
    }
    x.iter().fold(0, |sum, x| sum.wrapping_add(_mm512_reduce_add_epi32(*x)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
fn avxvnni(a: i8, b: i8) -> i32 {
    use std::arch::x86_64::{
        _mm256_dpbusd_avx_epi32, _mm256_extract_epi32, _mm256_set1_epi8, _mm256_setzero_si256,
    };
    let (a, b) = (_mm256_set1_epi8(a), _mm256_set1_epi8(b));
    let mut x = black_box([_mm256_setzero_si256(); CHAINS]);
    for _ in 0..STEPS {
        for x in &mut x {
            *x = _mm256_dpbusd_avx_epi32(*x, a, b);
        }
    }
    // All lanes are equal.
    x.iter().fold(0, |sum, x| sum.wrapping_add(_mm256_extract_epi32::<0>(*x).wrapping_mul(8)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw")]
fn avx512bw(a: i8, b: i8) -> i32 {
    use std::arch::x86_64::{
        _mm_extract_epi16, _mm512_add_epi16, _mm512_castsi512_si128, _mm512_maddubs_epi16, _mm512_set1_epi8,
    };
    let b = _mm512_set1_epi8(b);
    let mut x = black_box([_mm512_set1_epi8(a); CHAINS]);
    for _ in 0..STEPS {
        for x in &mut x {
            // As below.
            *x = _mm512_add_epi16(*x, _mm512_maddubs_epi16(*x, b));
        }
    }
    // All lanes are equal; an extracted one is unsigned.
    x.iter().fold(0, |sum, x| {
        let lane = _mm_extract_epi16::<0>(_mm512_castsi512_si128(*x));
        sum.wrapping_add(lane.wrapping_mul(32))
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(a: i8, b: i8) -> i32 {
    use std::arch::x86_64::{_mm256_add_epi16, _mm256_extract_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8};
    let b = _mm256_set1_epi8(b);
    let mut x = black_box([_mm256_set1_epi8(a); CHAINS]);
    for _ in 0..STEPS {
        for x in &mut x {
            // Fed with its own sum: a loop-invariant product would be hoisted out of the loop.
            *x = _mm256_add_epi16(*x, _mm256_maddubs_epi16(*x, b));
        }
    }
    x.iter().fold(0, |sum, x| sum.wrapping_add(_mm256_extract_epi16::<0>(*x).wrapping_mul(16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_products() {
        for (kernel, products, name) in available() {
            let expected = if name == "avx2" || name == "avx512bw" {
                let mut lane = 0x0303i16;
                for _ in 0..STEPS {
                    let [low, high] = lane.to_le_bytes().map(i32::from);
                    lane = lane.wrapping_add(i16::try_from((low + high) * -2).expect("two bytes"));
                }
                i32::from(lane) * i32::try_from(products / 2 * CHAINS).expect("few")
            } else {
                // Each 32-bit lane gains 4 · 3 · −2 a step.
                let lanes = i32::try_from(CHAINS * products / 4).expect("few");
                lanes.wrapping_mul(-24 * i32::try_from(STEPS).expect("few"))
            };
            assert_eq!(kernel(3, -2), expected, "{name}");
        }
    }
}
