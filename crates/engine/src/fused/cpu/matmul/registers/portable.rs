//! The same registers in plain Rust, so that tests can run the kernels on every processor.

use super::{Dots, Wide};
use crate::fused::cpu::lanes::{Lanes, Plain};

#[derive(Clone, Copy)]
pub(in super::super) struct Register([u8; 64]);

impl Register {
    fn words(self) -> [i32; 16] {
        std::array::from_fn(|lane| i32::from_le_bytes(self.0[lane * 4..lane * 4 + 4].try_into().unwrap()))
    }

    fn of(word: impl Fn(usize) -> i32) -> Self {
        Self(std::array::from_fn(|byte| word(byte / 4).to_le_bytes()[byte % 4]))
    }

    fn halves(self) -> [u16; 32] {
        std::array::from_fn(|lane| u16::from_le_bytes([self.0[lane * 2], self.0[lane * 2 + 1]]))
    }

    fn each_16(self, other: Self, of: impl Fn(u16, u16) -> u16) -> Self {
        let (one, other) = (self.halves(), other.halves());
        Self(std::array::from_fn(|byte| of(one[byte / 2], other[byte / 2]).to_le_bytes()[byte % 2]))
    }

    fn pair_product(self, other: Self, lane: usize) -> i32 {
        let [one, other] = [self, other].map(|register| register.halves().map(u16::cast_signed));
        (lane * 2..lane * 2 + 2).map(|half| i32::from(one[half]) * i32::from(other[half])).sum()
    }
}

fn numbers(of: impl Fn(usize) -> i32) -> Plain {
    let numbers: [f32; 16] = std::array::from_fn(|lane| of(lane) as f32);
    // SAFETY: plain Rust, and sixteen numbers.
    unsafe { Plain::load(numbers.as_ptr()) }
}

impl Wide for Register {
    type Numbers = Plain;

    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: by the trait's contract `from` is good for 64 bytes.
        Self(unsafe { from.cast::<[u8; 64]>().read() })
    }

    unsafe fn store(self, to: *mut u8) {
        // SAFETY: by the trait's contract `to` is good for 64 bytes.
        unsafe { to.cast::<[u8; 64]>().write(self.0) };
    }

    unsafe fn splat(value: i32) -> Self {
        Self::of(|_| value)
    }

    unsafe fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|byte| self.0[byte] & other.0[byte]))
    }

    unsafe fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|byte| self.0[byte] | other.0[byte]))
    }

    unsafe fn down<const BITS: u32>(self) -> Self {
        let halves = self.halves();
        Self(std::array::from_fn(|byte| (halves[byte / 2] >> BITS).to_le_bytes()[byte % 2]))
    }

    unsafe fn up<const BITS: u32>(self) -> Self {
        self.each_16(self, |half, _| half << BITS)
    }

    unsafe fn table(bytes: &[u8; 16]) -> Self {
        Self(std::array::from_fn(|byte| bytes[byte % 16]))
    }

    unsafe fn of_table(self, table: Self) -> Self {
        Self(self.0.map(|byte| table.0[usize::from(byte)]))
    }

    unsafe fn add(self, other: Self) -> Self {
        Self::of(|lane| self.words()[lane] + other.words()[lane])
    }

    unsafe fn add_16(self, other: Self) -> Self {
        self.each_16(other, u16::wrapping_add)
    }

    unsafe fn sub_16(self, other: Self) -> Self {
        self.each_16(other, u16::wrapping_sub)
    }

    unsafe fn times_16(self, other: Self) -> Self {
        self.each_16(other, u16::wrapping_mul)
    }

    unsafe fn pairs_times(self, factors: Self) -> Self {
        Self::of(|lane| self.pair_product(factors, lane))
    }

    unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self {
        Self::of(|lane| {
            // SAFETY: by the trait's contract `from` is good for sixteen bytes.
            let byte = unsafe { *from.add(lane) };
            let half = if SIGNED { i32::from(byte.cast_signed()) } else { i32::from(byte) };
            half << 16 | half & 0xffff
        })
    }

    unsafe fn pair_sums(self) -> Self {
        let halves = self.halves().map(|half| i32::from(half.cast_signed()));
        Self::of(|lane| halves[lane * 2] + halves[lane * 2 + 1])
    }

    unsafe fn numbers(self) -> Plain {
        numbers(|lane| self.words()[lane])
    }

    unsafe fn bytes(from: *const u8) -> Plain {
        // SAFETY: by the trait's contract `from` is good for sixteen bytes.
        numbers(|lane| i32::from(unsafe { *from.add(lane) }))
    }

    unsafe fn prefetch<const HINT: u8>(_: *const u8) {}
}

impl Dots for Register {
    unsafe fn sub_8(self, other: Self) -> Self {
        Self(std::array::from_fn(|byte| self.0[byte].wrapping_sub(other.0[byte])))
    }

    unsafe fn dot(self, unsigned: Self, signed: Self) -> Self {
        let product = |byte: usize| i32::from(unsigned.0[byte]) * i32::from(signed.0[byte].cast_signed());
        Self::of(|lane| self.words()[lane] + (lane * 4..lane * 4 + 4).map(product).sum::<i32>())
    }

    unsafe fn dot_pairs(self, one: Self, other: Self) -> Self {
        Self::of(|lane| self.words()[lane] + one.pair_product(other, lane))
    }
}
