//! Floating-point peak: chains of fused multiply-adds in registers, enough of them to hide their latency.
#![allow(unsafe_code, reason = "functions compiled for instruction sets that are detected at run time")]

use std::hint::black_box;

use super::{rounds, together};

const ROUNDS: usize = 3;
/// Steps of each chain: tens of milliseconds.
const STEPS: usize = 2_000_000;
/// Lanes of all chains: twelve registers of 16, enough for two units with a latency of five.
const LANES: usize = 192;

/// Operations per second of each round, and the instruction set used.
pub(super) fn measure(threads: usize) -> (Vec<f64>, &'static str) {
    let (chains, name) = chosen();
    let operations = (threads * LANES * STEPS * 2) as f64;
    let round = || {
        operations
            / together(threads, |_| {
                black_box(chains(black_box(1.000_001), black_box(-1e-7)));
            })
    };
    (rounds(ROUNDS, round), name)
}

fn chosen() -> (fn(f32, f32) -> f32, &'static str) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, as was just detected.
            return (|a, b| unsafe { avx512(a, b) }, "avx512f");
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA, as was just detected.
            return (|a, b| unsafe { avx2(a, b) }, "avx2+fma");
        }
    }
    (portable, "portable")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(a: f32, b: f32) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (a, b) = (_mm512_set1_ps(a), _mm512_set1_ps(b));
    let mut x = [_mm512_set1_ps(1.0); LANES / 16];
    for _ in 0..STEPS {
        for x in &mut x {
            *x = _mm512_fmadd_ps(*x, a, b);
        }
    }
    x.iter().map(|x| _mm512_reduce_add_ps(*x)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(a: f32, b: f32) -> f32 {
    use std::arch::x86_64::{_mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = (_mm256_set1_ps(a), _mm256_set1_ps(b));
    // Twelve of the sixteen registers, used twice, for the same lanes as above.
    let mut total = _mm256_set1_ps(0.0);
    for _ in 0..LANES / 96 {
        let mut x = [_mm256_set1_ps(1.0); 12];
        for _ in 0..STEPS {
            for x in &mut x {
                *x = _mm256_fmadd_ps(*x, a, b);
            }
        }
        for x in x {
            total = _mm256_add_ps(total, x);
        }
    }
    _mm256_cvtss_f32(total)
}

/// Compiled for the baseline of this architecture.
fn portable(a: f32, b: f32) -> f32 {
    let mut total = 0.0;
    for _ in 0..LANES / 32 {
        let mut x = [1.0f32; 32];
        for _ in 0..STEPS {
            for x in &mut x {
                *x = *x * a + b;
            }
        }
        total += x.iter().sum::<f32>();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_computes_the_same_series() {
        // Each lane ends at aⁿ + b(aⁿ − 1)/(a − 1); with a = 1 that is 1 + n·b, and b = 0 keeps it at 1.
        let (chains, name) = chosen();
        let found = chains(1.0, 0.0);
        let expected = if name == "avx2+fma" { 24.0 } else { LANES as f32 };
        assert!((found - expected).abs() < 1e-3, "{name}: {found}");
        assert!((portable(1.0, 0.0) - LANES as f32).abs() < 1e-3);
    }
}
