//! Tiles in the registers of AMX. The compiler knows their instructions by assembly alone.
#![allow(clippy::inline_always, reason = "a call between two instructions would cost more than they do")]

use std::arch::asm;

use super::super::registers::Whole;
use super::{Shape, Tiles};

/// The processor's eight tile registers.
pub(in super::super) struct Registers(());

/// What `ldtilecfg` reads: bytes of a row and rows of each register.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles for Registers {
    type Wide = Whole;

    #[inline(always)]
    unsafe fn new(shapes: [Shape; 8]) -> Self {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        for (tile, shape) in shapes.into_iter().enumerate() {
            (row_bytes[tile], rows[tile]) = (shape.row_bytes, shape.rows);
        }
        let config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows };
        // SAFETY: the processor has AMX by the trait's contract, and the instruction reads 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(readonly, nostack)) };
        Self(())
    }

    #[inline(always)]
    unsafe fn zero<const TILE: u8>(&mut self) {
        // SAFETY: the processor has AMX by the trait's contract; the compiler uses no tile register, here and below.
        unsafe { asm!("tilezero tmm{tile}", tile = const TILE, options(nomem, nostack)) };
    }

    #[inline(always)]
    unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: the processor has AMX and the rows are good to read, by the trait's contract.
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{from} + {stride}]",
                tile = const TILE,
                from = in(reg) from,
                stride = in(reg) stride,
                options(readonly, nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize) {
        // SAFETY: the processor has AMX and the rows are good to write, by the trait's contract.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}], tmm{tile}",
                tile = const TILE,
                to = in(reg) to,
                stride = in(reg) stride,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn dot_bytes<const SUMS: u8, const ROWS: u8, const FOURS: u8>(&mut self) {
        // SAFETY: the processor has AMX by the trait's contract.
        unsafe {
            asm!(
                "tdpbssd tmm{sums}, tmm{rows}, tmm{fours}",
                sums = const SUMS,
                rows = const ROWS,
                fours = const FOURS,
                options(nomem, nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn dot_bf16<const SUMS: u8, const ROWS: u8, const PAIRS: u8>(&mut self) {
        // SAFETY: the processor has AMX by the trait's contract.
        unsafe {
            asm!(
                "tdpbf16ps tmm{sums}, tmm{rows}, tmm{pairs}",
                sums = const SUMS,
                rows = const ROWS,
                pairs = const PAIRS,
                options(nomem, nostack),
            );
        }
    }

    unsafe fn enabled<Work: super::Work>(work: Work) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        unsafe fn enabled<Work: super::Work>(work: Work) {
            // SAFETY: the work may be done by its maker's word, and the instructions are enabled here.
            unsafe { work.run::<Registers>() };
        }
        // SAFETY: the processor has the instructions, by the trait's contract.
        unsafe { enabled(work) };
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: who has this has AMX. With the tiles released the system has less to save, and the core less to power.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}
