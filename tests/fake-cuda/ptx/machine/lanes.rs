//! Registers of a warp: 32 lanes a row, and which of them were ever written.
//!
//! A lane that was never written is undefined. What is computed from it is undefined too, and only a use that
//! shows outside (an address, a branch, a store to device memory) is a fault: compilers copy padding about.
#![allow(unsafe_code, reason = "rows are views of one buffer, of 32 or 64 bits a lane")]

use super::super::op::{NONE, Op};

/// All lanes.
pub const FULL: u32 = u32::MAX;
/// What a register holds that was never written: a NaN for every float.
const POISON: u32 = 0xffff_ffff;

/// One row of 32 bits a lane.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Row([u32; 32]);

/// The registers of a warp.
pub struct Rows {
    rows: Vec<Row>,
    /// Lanes that are defined, by row; of a pair of rows that of the first.
    pub defined: Vec<u32>,
    pub predicates: Vec<u32>,
    pub predicates_defined: Vec<u32>,
}

/// A type that a lane of a row can be read as.
pub trait Lane: Copy {
    /// # Safety
    /// `row` is a row, and a pair of rows where the type has 64 bits; `lane` is below 32.
    unsafe fn get(row: *const u32, lane: usize) -> Self;
    /// # Safety
    /// As [`Lane::get`].
    unsafe fn set(self, row: *mut u32, lane: usize);
    /// Any value.
    fn any() -> Self;
}

macro_rules! lane {
    ($($t:ty: |$raw:ident: $unit:ty| $read:expr, |$value:ident| $write:expr;)*) => {$(
        impl Lane for $t {
            #[inline(always)]
            unsafe fn get(row: *const u32, lane: usize) -> Self {
                // SAFETY: as promised by the caller.
                let $raw: $unit = unsafe { *row.cast::<$unit>().add(lane) };
                $read
            }
            #[inline(always)]
            unsafe fn set(self, row: *mut u32, lane: usize) {
                let $value = self;
                let raw: $unit = $write;
                // SAFETY: as promised by the caller.
                unsafe { *row.cast::<$unit>().add(lane) = raw }
            }
            #[inline(always)]
            fn any() -> Self {
                Self::default()
            }
        }
    )*};
}

lane! {
    u32: |raw: u32| raw, |value| value;
    i32: |raw: u32| raw as i32, |value| value as u32;
    f32: |raw: u32| f32::from_bits(raw), |value| value.to_bits();
    // The upper half of a row of 16 bits is always zero.
    u16: |raw: u32| raw as u16, |value| u32::from(value);
    i16: |raw: u32| raw as i16, |value| u32::from(value as u16);
    u64: |raw: u64| raw, |value| value;
    i64: |raw: u64| raw as i64, |value| value as u64;
    f64: |raw: u64| f64::from_bits(raw), |value| value.to_bits();
}

/// The sources of an operation, as a tuple.
pub trait Sources: Copy {
    /// # Safety
    /// As [`Lane::get`] for each of the three.
    unsafe fn get(rows: [*const u32; 3], lane: usize) -> Self;
}

impl<A: Lane> Sources for (A,) {
    #[inline(always)]
    unsafe fn get(rows: [*const u32; 3], lane: usize) -> Self {
        // SAFETY: as promised by the caller.
        unsafe { (A::get(rows[0], lane),) }
    }
}

impl<A: Lane, B: Lane> Sources for (A, B) {
    #[inline(always)]
    unsafe fn get(rows: [*const u32; 3], lane: usize) -> Self {
        // SAFETY: as promised by the caller.
        unsafe { (A::get(rows[0], lane), B::get(rows[1], lane)) }
    }
}

impl<A: Lane, B: Lane, C: Lane> Sources for (A, B, C) {
    #[inline(always)]
    unsafe fn get(rows: [*const u32; 3], lane: usize) -> Self {
        // SAFETY: as promised by the caller.
        unsafe { (A::get(rows[0], lane), B::get(rows[1], lane), C::get(rows[2], lane)) }
    }
}

impl Rows {
    /// Rows and predicates, all undefined.
    pub fn new(rows: u32, predicates: u32) -> Self {
        Self {
            rows: vec![Row([POISON; 32]); rows as usize],
            defined: vec![0; rows as usize],
            predicates: vec![0; predicates as usize],
            predicates_defined: vec![0; predicates as usize],
        }
    }

    /// Makes all undefined again.
    pub fn reset(&mut self) {
        self.rows.fill(Row([POISON; 32]));
        self.defined.fill(0);
        self.predicates.fill(0);
        self.predicates_defined.fill(0);
    }

    /// The start of a row.
    #[inline(always)]
    pub fn row(&mut self, at: u32) -> *mut u32 {
        debug_assert!((at as usize) < self.rows.len());
        // SAFETY: every row of a decoded operation is one of the kernel's rows.
        unsafe { self.rows.as_mut_ptr().add(at as usize).cast() }
    }

    /// The lanes of a row of 32 bits.
    #[inline(always)]
    pub fn words(&self, at: u32) -> &[u32; 32] {
        &self.rows[at as usize].0
    }

    /// The lanes of a row of 32 bits, to write.
    #[inline(always)]
    pub fn words_mut(&mut self, at: u32) -> &mut [u32; 32] {
        &mut self.rows[at as usize].0
    }

    /// The lanes of a pair of rows.
    #[inline(always)]
    pub fn longs(&mut self, at: u32) -> &mut [u64; 32] {
        assert!((at as usize) + 1 < self.rows.len());
        // SAFETY: two rows, 256 bytes aligned to 64, were checked to be there.
        unsafe { &mut *self.rows.as_mut_ptr().add(at as usize).cast() }
    }

    /// Fills a row with one value and makes it defined.
    pub fn fill(&mut self, at: u32, value: u64, wide: bool) {
        if wide {
            self.longs(at).fill(value);
        } else {
            self.words_mut(at).fill(value as u32);
        }
        self.defined[at as usize] = FULL;
    }

    /// Lanes in which the sources of an operation are defined.
    #[inline(always)]
    pub fn sources_defined(&self, op: &Op) -> u32 {
        self.defined[op.a as usize] & self.defined[op.b as usize] & self.defined[op.c as usize]
    }

    /// Notes that lanes of a row were written, defined or not.
    #[inline(always)]
    pub fn mark(&mut self, row: u32, exec: u32, defined: u32) {
        let known = &mut self.defined[row as usize];
        *known = *known & !exec | defined & exec;
    }

    /// Writes lanes of a predicate.
    #[inline(always)]
    pub fn set_predicate(&mut self, at: u32, exec: u32, value: u32, defined: u32) {
        if at != NONE {
            let at = at as usize;
            self.predicates[at] = self.predicates[at] & !exec | value & exec;
            self.predicates_defined[at] = self.predicates_defined[at] & !exec | defined & exec;
        }
    }

    /// Lanes for which a predicate holds, and those in which it is defined.
    #[inline(always)]
    pub fn predicate(&self, at: u32, negated: bool) -> (u32, u32) {
        let value = self.predicates[at as usize];
        (if negated { !value } else { value }, self.predicates_defined[at as usize])
    }

    /// Applies `f` lane by lane.
    ///
    /// # Safety
    /// The rows that `op` names are there, pairs where a type has 64 bits.
    #[inline(always)]
    pub unsafe fn map<S: Sources, R: Lane>(&mut self, op: &Op, exec: u32, f: impl Fn(S) -> R) {
        let defined = self.sources_defined(op);
        self.mark(op.d, exec, defined);
        let sources = [self.row(op.a).cast_const(), self.row(op.b).cast_const(), self.row(op.c).cast_const()];
        let to = self.row(op.d);
        let mut results = [R::any(); 32];
        // SAFETY: as promised by the caller. All lanes are read before one is written.
        unsafe {
            for (lane, result) in results.iter_mut().enumerate() {
                *result = f(S::get(sources, lane));
            }
            if exec == FULL {
                for (lane, result) in results.into_iter().enumerate() {
                    result.set(to, lane);
                }
            } else {
                blend(&results, to, exec);
            }
        }
    }

    /// The lanes, of all 32, for which `f` holds.
    ///
    /// # Safety
    /// As [`Rows::map`].
    #[inline(always)]
    pub unsafe fn test<T: Lane>(&self, op: &Op, f: impl Fn(T, T) -> bool) -> u32 {
        // SAFETY: every row of a decoded operation is one of the kernel's rows.
        let row = |at: u32| unsafe { self.rows.as_ptr().add(at as usize).cast::<u32>() };
        let (a, b) = (row(op.a), row(op.b));
        let mut found = [0u32; 32];
        // SAFETY: as promised by the caller.
        unsafe {
            for (lane, bit) in found.iter_mut().enumerate() {
                *bit = u32::from(f(T::get(a, lane), T::get(b, lane))) << lane;
            }
        }
        found.into_iter().fold(0, |all, bit| all | bit)
    }
}

/// Writes the lanes of a mask.
///
/// # Safety
/// As [`Lane::set`].
#[inline(never)]
unsafe fn blend<R: Lane>(results: &[R; 32], to: *mut u32, exec: u32) {
    for (lane, result) in results.iter().enumerate() {
        if exec >> lane & 1 == 1 {
            // SAFETY: as promised by the caller.
            unsafe { result.set(to, lane) };
        }
    }
}
