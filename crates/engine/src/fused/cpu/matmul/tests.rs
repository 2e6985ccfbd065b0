//! Every kernel against f64 on what the file's bytes say, and against each other.

use half::f16;

use crate::model::TensorType;
use crate::model::quantize::dequantize;

use super::super::activations::tests::{here, random};
use super::super::activations::{Slot, packed_bytes, quantize};
use super::super::arena::Arena;
use super::super::isa::{Isa, SIXTEEN};
use super::super::pack::tests::{KINDS, random_rows};
use super::super::pack::{Layout, ROWS, is_quantized};
use super::{Form, Input, Output, Weights, amx, dots, multiply, registers, split, split_bytes};

/// Multiplies `rows` rows of a file with `tokens` rows of activations.
fn run(isa: Isa, kind: TensorType, file: &[u8], rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
    with(
        |weights, groups, input, output| {
            // SAFETY: the output has a row of all groups for each token, and the input both forms of all tokens.
            unsafe { multiply(isa, weights, 0..groups, input, output) };
        },
        (isa, kind),
        file,
        rows,
        columns,
        x,
    )
}

/// The same with the kernel over dot products of bytes, in plain Rust.
fn run_dots(kind: TensorType, file: &[u8], rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
    with(
        |weights, groups, input, output| {
            for group in 0..groups {
                // SAFETY: the output has a row of all groups for each token, and the input both forms of all tokens.
                unsafe {
                    let bytes = weights.groups.add(group * weights.layout.group_bytes);
                    let to = Output { first: output.first.add(group * ROWS), ..output };
                    dots::multiply::<registers::Register>(&weights.layout, bytes, input, to);
                }
            }
        },
        (Isa::Portable, kind),
        file,
        rows,
        columns,
        x,
    )
}

/// The same with the kernel over tiles, in plain Rust.
fn run_tiles(kind: TensorType, file: &[u8], rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
    with(
        |weights, groups, input, output| {
            // SAFETY: the output has a row of all groups for each token, and the input both forms of all tokens.
            unsafe {
                if is_quantized(weights.layout.kind) {
                    amx::multiply_bytes::<amx::Plain>(weights, 0..groups, input, output);
                } else {
                    amx::multiply_halves::<amx::Plain>(weights, 0..groups, input, output);
                }
            }
        },
        (Isa::Amx, kind),
        file,
        rows,
        columns,
        x,
    )
}

fn with(
    kernel: impl Fn(Weights, usize, Input, Output),
    (isa, kind): (Isa, TensorType),
    file: &[u8],
    rows: usize,
    columns: usize,
    x: &[f32],
) -> Vec<f32> {
    let layout = Layout::of(kind, columns).unwrap();
    let groups = rows.div_ceil(ROWS);
    let tokens = x.len() / columns;
    let mut arena = Arena::new(groups * layout.group_bytes).unwrap();
    let region = arena.take(groups * layout.group_bytes).unwrap();
    for (group, rows) in file.chunks(ROWS * layout.row_bytes()).enumerate() {
        let at = group * layout.group_bytes;
        layout.pack(rows, &mut arena.bytes_mut(region)[at..at + layout.group_bytes]);
    }
    let mut tiles = vec![0u8; packed_bytes(tokens, columns)];
    for token in 0..tokens {
        // SAFETY: lengths as asked for.
        unsafe {
            let slot = Slot::new(tiles.as_mut_ptr(), token, tokens, columns, isa);
            quantize(isa.min(Isa::detect()), x[token * columns..].as_ptr(), 0..columns, slot);
        }
    }
    let stride = groups * ROWS;
    let mut out = vec![0.0f32; tokens * stride];
    let weights = Weights { layout, groups: arena.bytes(region).as_ptr() };
    let mut parts = vec![0u8; split_bytes(tokens, columns)];
    if Form::of(isa, kind) == Form::Parts {
        for token in 0..tokens {
            let row = x[token * columns..].as_ptr();
            // SAFETY: lengths as asked for.
            unsafe {
                split(isa.min(Isa::detect()), row, 0..columns, (token, tokens), columns, parts.as_mut_ptr());
            };
        }
    }
    let parts = if parts.is_empty() { std::ptr::null() } else { parts.as_ptr() };
    let input = Input { tokens, tiles: tiles.as_ptr(), rows: x.as_ptr(), stride: columns, parts };
    kernel(weights, groups, input, Output { first: out.as_mut_ptr(), stride });
    (0..tokens).flat_map(|token| out[token * stride..token * stride + rows].to_vec()).collect()
}

/// With each instruction set that there is, and with the kernel over dot products in plain Rust where it is written so.
fn every(
    kind: TensorType,
    file: &[u8],
    rows: usize,
    columns: usize,
    x: &[f32],
) -> Vec<(&'static str, Vec<f32>)> {
    let here = here().into_iter().map(|isa| (isa.label(), run(isa, kind, file, rows, columns, x)));
    let of_its_own = matches!(kind, TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q8_0);
    let dots = (is_quantized(kind) && !of_its_own)
        .then(|| ("dots in plain Rust", run_dots(kind, file, rows, columns, x)));
    let in_tiles = kind != TensorType::F32 && (x.len() / columns).is_multiple_of(SIXTEEN);
    let tiles = in_tiles.then(|| ("tiles in plain Rust", run_tiles(kind, file, rows, columns, x)));
    here.chain(dots).chain(tiles).collect()
}

/// `columns`, or more, that are whole blocks.
fn whole(kind: TensorType, columns: usize) -> usize {
    columns.next_multiple_of(usize::try_from(kind.block_elements()).unwrap())
}

/// The product in f64, and the sum of the absolute values of its terms.
fn oracle(kind: TensorType, file: &[u8], rows: usize, columns: usize, x: &[f32]) -> Vec<(f64, f64)> {
    let weights = dequantize(kind, file).unwrap();
    let tokens = x.chunks_exact(columns);
    let of = |x: &[f32]| -> Vec<(f64, f64)> {
        let row = |row: usize| {
            let terms = weights[row * columns..(row + 1) * columns].iter().zip(x);
            let terms = terms.map(|(w, x)| f64::from(*w) * f64::from(*x));
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        (0..rows).map(row).collect()
    };
    tokens.flat_map(of).collect()
}

#[test]
fn every_kernel_is_within_the_error_of_8_bit_activations() {
    for kind in KINDS {
        let shapes = [(16, 32, 1), (40, 96, 3), (33, 160, 15), (16, 576, 8), (40, 288, 27)];
        let in_tiles = [(40, 32, 16), (100, 608, 32)];
        for (rows, columns, tokens) in shapes.into_iter().chain(in_tiles) {
            let columns = whole(kind, columns);
            let file = random_rows(kind, rows, columns, 11);
            let x = random(tokens * columns, 12);
            let expected = oracle(kind, &file, rows, columns, &x);
            let portable = run(Isa::Portable, kind, &file, rows, columns, &x);
            for (isa, out) in every(kind, &file, rows, columns, &x) {
                for ((out, portable), (sum, size)) in out.iter().zip(&portable).zip(&expected) {
                    // An activation is off by half a 127th of its block's largest at most, that is here of 2; terms'
                    // mean size is 1, so half a percent of all sizes bounds it widely.
                    let bound = if is_quantized(kind) { 0.005 * size } else { 1e-6 * size };
                    assert!((f64::from(*out) - sum).abs() <= bound, "{isa} {kind}: {out} for {sum}");
                    // Between instruction sets only the order of sums differs.
                    let off = f64::from((out - portable).abs());
                    assert!(off <= 2e-6 * size, "{isa} {kind}: {out} and portable {portable}");
                }
            }
        }
    }
}

#[test]
fn extremes_neither_overflow_nor_vanish() {
    let block = |kind: TensorType, quant: u8| -> Vec<u8> {
        let mut bytes = vec![quant; usize::try_from(kind.block_bytes()).unwrap()];
        let (scale, minimum) = (f16::from_f32(0.5).to_le_bytes(), f16::from_f32(-1.0).to_le_bytes());
        let at = match kind {
            TensorType::Q6_K => 208,
            TensorType::Q2_K => 80,
            TensorType::Q3_K => 108,
            _ => 0,
        };
        if kind == TensorType::MXFP4 {
            bytes[0] = 126;
            return bytes;
        }
        bytes[at..at + 2].copy_from_slice(&scale);
        if matches!(kind, TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K) {
            bytes[2..4].copy_from_slice(&minimum);
        }
        if kind == TensorType::Q2_K {
            bytes[82..84].copy_from_slice(&minimum);
        }
        bytes
    };
    for kind in KINDS.into_iter().filter(|kind| is_quantized(*kind)) {
        let columns = whole(kind, 64);
        for quant in [0x00, 0xff, 0x80, 0x7f] {
            for x in [2.0f32, -2.0] {
                let blocks = ROWS * columns / usize::try_from(kind.block_elements()).unwrap();
                let file: Vec<u8> = (0..blocks).flat_map(|_| block(kind, quant)).collect();
                let x = vec![x; columns * 9];
                let expected = oracle(kind, &file, ROWS, columns, &x);
                for (isa, out) in every(kind, &file, ROWS, columns, &x) {
                    // All activations of a block are its largest, so they are exact.
                    for (out, (sum, size)) in out.iter().zip(&expected) {
                        let off = (f64::from(*out) - sum).abs();
                        assert!(off <= 1e-5 * (size + 1.0), "{isa} {kind} {quant:#x}: {out} for {sum}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_comes_out_as_none() {
    for kind in KINDS {
        let (rows, columns) = (16, whole(kind, 64));
        let file = random_rows(kind, rows, columns, 3);
        for poison in [f32::NAN, f32::INFINITY] {
            let mut x = random(columns * 5, 4);
            x[2 * columns + 40] = poison;
            for (isa, out) in every(kind, &file, rows, columns, &x) {
                for (index, value) in out.iter().enumerate() {
                    assert_eq!(
                        value.is_finite(),
                        index / rows != 2,
                        "{isa} {kind} {poison} {index}: {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn one_block_of_the_weights_changed_changes_its_row_and_no_other() {
    for kind in KINDS {
        let (rows, columns) = (32, whole(kind, 96));
        let mut file = random_rows(kind, rows, columns, 8);
        let x = random(columns * 3, 9);
        let row_bytes = Layout::of(kind, columns).unwrap().row_bytes();
        for isa in here() {
            let before = run(isa, kind, &file, rows, columns, &x);
            file[21 * row_bytes + row_bytes / 2 + 3] ^= 0x3c;
            let after = run(isa, kind, &file, rows, columns, &x);
            for (index, (before, after)) in before.iter().zip(&after).enumerate() {
                assert_eq!(
                    before.to_bits() != after.to_bits(),
                    index % rows == 21,
                    "{isa} {kind} row {}",
                    index % rows
                );
            }
        }
    }
}

/// Tokens in tiles of sixteen, in tiles of eight and alone: each is computed as if it were alone, to the last bit.
#[test]
fn a_tokens_products_are_the_same_in_every_tile() {
    for kind in KINDS.into_iter().filter(|kind| is_quantized(*kind)) {
        let (rows, columns, tokens) = (80, whole(kind, 544), 45);
        let file = random_rows(kind, rows, columns, 21);
        let x = random(tokens * columns, 22);
        for isa in here() {
            let all = run(isa, kind, &file, rows, columns, &x);
            for (x, row) in x.chunks_exact(columns).zip(all.chunks_exact(rows)) {
                let alone = run(isa, kind, &file, rows, columns, x);
                assert!(alone.iter().zip(row).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa} {kind}");
            }
        }
    }
}
