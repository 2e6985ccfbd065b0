//! Sixteen numbers in plain Rust, for every processor.

use half::f16;

use super::{EXP_LEAST, EXP2, LANES, LEAST_POWER, Lanes};

/// Plain Rust.
#[derive(Clone, Copy)]
pub(in super::super) struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn map(self, each: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(each))
    }

    #[inline(always)]
    fn with(self, other: Self, each: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| each(self.0[lane], other.0[lane])))
    }
}

/// Pairwise, as the vector versions add.
fn halves(values: [f32; LANES], each: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = values;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            values[lane] = each(values[lane], values[lane + width]);
        }
        width /= 2;
    }
    values[0]
}

impl Lanes for Plain {
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the trait's contract `from` is good for sixteen elements.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the trait's contract `to` is good for sixteen elements.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: by the trait's contract `from` is good for sixteen elements.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|bits| f16::from_bits(bits).to_f32()))
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: by the trait's contract `from` is good for sixteen elements.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: by the trait's contract `from` is good for sixteen elements.
        Self(unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn load_powers(from: *const u8) -> Self {
        // SAFETY: by the trait's contract `from` is good for sixteen elements.
        let exponents = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        Self(exponents.map(|exponent| f32::from_bits((u32::from(exponent) << 23).max(LEAST_POWER))))
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        // SAFETY: by the trait's contract `to` is good for sixteen elements.
        unsafe {
            to.cast::<[u16; LANES]>().write_unaligned(self.0.map(|value| f16::from_f32(value).to_bits()));
        };
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // As the instruction: the second when either is no number.
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.map(f32::abs)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // Without the instruction one rounding would be a call of the mathematics library for each number.
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + sum.0[lane]))
    }

    #[inline(always)]
    unsafe fn ask<const HINT: u8>(_: *const u8) {}

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        halves(self.0, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        halves(self.0, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn exp(self) -> Self {
        self.map(|x| {
            if x.is_nan() {
                return x;
            }
            let t = x.max(EXP_LEAST) * std::f32::consts::LOG2_E;
            let n = t.round_ties_even();
            let power = EXP2.iter().fold(0.0, |sum, coefficient| sum * (t - n) + coefficient);
            #[allow(clippy::cast_possible_truncation, reason = "a whole number of at most 128 by size")]
            let exponent = (n as i32).min(128);
            // In two steps, since 2^128 is no number.
            let half = exponent / 2;
            let two_to = |e: i32| f32::from_bits(u32::try_from((e + 127) << 23).unwrap_or(0));
            power * two_to(half) * two_to(exponent - half)
        })
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "within ±127 by contract")]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: by the trait's contract `to` is good for sixteen elements.
        unsafe {
            to.cast::<[i8; LANES]>().write_unaligned(self.0.map(|value| value.round_ties_even() as i8));
        };
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "within ±127 by contract")]
    unsafe fn rounded_sums(self) -> [i32; 2] {
        [0, 2].map(|from| {
            let pairs = self.0.chunks_exact(4).flat_map(|four| &four[from..from + 2]);
            pairs.map(|value| value.round_ties_even() as i32).sum()
        })
    }
}
