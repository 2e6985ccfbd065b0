//! Tiles in plain Rust, so that tests can run the kernels on every processor.

use half::bf16;

use super::super::registers::Register;
use super::{Shape, Tiles};

/// Eight tile registers.
pub(in super::super) struct Plain {
    shapes: [Shape; 8],
    tiles: [[[u8; 64]; 16]; 8],
}

impl Plain {
    fn word(&self, tile: u8, row: usize, column: usize) -> [u8; 4] {
        self.tiles[usize::from(tile)][row][column * 4..column * 4 + 4].try_into().unwrap()
    }

    /// Adds `term` of four bytes of each side to each sum.
    fn dot(&mut self, [sums, rows, fours]: [u8; 3], add: impl Fn([u8; 4], [u8; 4], [u8; 4]) -> [u8; 4]) {
        let [to, from] = [sums, rows].map(|tile| self.shapes[usize::from(tile)]);
        assert_eq!(from.row_bytes / 4, u16::from(self.shapes[usize::from(fours)].rows));
        for row in 0..usize::from(to.rows) {
            for column in 0..usize::from(to.row_bytes / 4) {
                let mut sum = self.word(sums, row, column);
                for k in 0..usize::from(from.row_bytes / 4) {
                    sum = add(sum, self.word(rows, row, k), self.word(fours, k, column));
                }
                self.tiles[usize::from(sums)][row][column * 4..column * 4 + 4].copy_from_slice(&sum);
            }
        }
    }
}

impl Tiles for Plain {
    type Wide = Register;

    unsafe fn new(shapes: [Shape; 8]) -> Self {
        Self { shapes, tiles: [[[0xff; 64]; 16]; 8] }
    }

    unsafe fn zero<const TILE: u8>(&mut self) {
        self.tiles[usize::from(TILE)] = [[0; 64]; 16];
    }

    unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize) {
        let shape = self.shapes[usize::from(TILE)];
        for row in 0..usize::from(shape.rows) {
            let length = usize::from(shape.row_bytes);
            // SAFETY: the rows are good to read, by the trait's contract.
            let row_of = unsafe { std::slice::from_raw_parts(from.add(row * stride), length) };
            self.tiles[usize::from(TILE)][row][..length].copy_from_slice(row_of);
        }
    }

    unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize) {
        let shape = self.shapes[usize::from(TILE)];
        for row in 0..usize::from(shape.rows) {
            let from = self.tiles[usize::from(TILE)][row].as_ptr();
            // SAFETY: the rows are good to write, by the trait's contract.
            unsafe { to.add(row * stride).copy_from_nonoverlapping(from, usize::from(shape.row_bytes)) };
        }
    }

    unsafe fn dot_bytes<const SUMS: u8, const ROWS: u8, const FOURS: u8>(&mut self) {
        self.dot([SUMS, ROWS, FOURS], |sum, one, other| {
            let terms = one.into_iter().zip(other);
            let dot: i32 = terms.map(|(a, b)| i32::from(a.cast_signed()) * i32::from(b.cast_signed())).sum();
            (i32::from_le_bytes(sum) + dot).to_le_bytes()
        });
    }

    unsafe fn dot_bf16<const SUMS: u8, const ROWS: u8, const PAIRS: u8>(&mut self) {
        self.dot([SUMS, ROWS, PAIRS], |sum, one, other| {
            let of = |four: [u8; 4], at: usize| bf16::from_le_bytes([four[at], four[at + 1]]).to_f32();
            let first = of(one, 0).mul_add(of(other, 0), f32::from_le_bytes(sum));
            of(one, 2).mul_add(of(other, 2), first).to_le_bytes()
        });
    }

    unsafe fn enabled<Work: super::Work>(work: Work) {
        // SAFETY: the work may be done by its maker's word; plain Rust needs no instructions.
        unsafe { work.run::<Self>() };
    }
}
