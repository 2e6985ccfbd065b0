//! The kernels that read matrices in the blocks of the file, for each type that the model has so, on rows of its own weights;
//! and those of experts, on all.

use crate::fused::weights::Store as _;
use crate::hardware::cuda::Fault;
use crate::model::TensorType;
use crate::model::quantize::dequantize;

use super::super::launch::{Kernels, Rows};
use super::super::store::{Block, Feed, Form, Matrix, Resident, Stack, Weights};
use super::{Scratch, Wrong, near, numbers};

/// Rows at either end of a matrix that are compared.
const ROWS: usize = 5;
/// Tokens: one, a few, and so many that the kernel for many has whole tiles and a part of one.
const TOKENS: [usize; 3] = [1, 5, 17];
/// How far a result may be off, in parts of the sum of its products' sizes: single precision has 6e-8, and sums of ten
/// thousand products by 32 lanes are well within this.
const TOLERANCE: f64 = 1e-5;

/// Compares the kernels of every type that the model has, and says which types those are.
///
/// # Errors
/// [`Wrong::Kernel`] with the type, the row and both numbers.
pub(super) fn check(kernels: &Kernels, weights: &Weights) -> Result<Vec<TensorType>, Wrong> {
    let mut checked = Vec::new();
    let of_blocks = weights.blocks.iter().flat_map(matrices_of);
    for matrix in [weights.embedding, weights.head].into_iter().chain(of_blocks) {
        if matrix.form == Form::Rows && !checked.contains(&matrix.kind) {
            compare(kernels, &matrix)?;
            checked.push(matrix.kind);
        }
    }
    embed(kernels, &weights.embedding)?;
    let mut of_experts: Vec<TensorType> = Vec::new();
    for block in &weights.blocks {
        let Feed::Experts(layer) = &block.feed else { continue };
        for stack in layer.gate_up.iter().chain([&layer.down]) {
            if !of_experts.contains(&stack.first.kind) {
                experts(kernels, stack)?;
                of_experts.push(stack.first.kind);
            }
        }
    }
    Ok(checked)
}

/// The embedding's first and last row.
///
/// # Errors
/// [`Wrong`].
pub(super) fn embed(kernels: &Kernels, matrix: &Matrix) -> Result<(), Wrong> {
    const SCALE: f32 = 1.5;
    let scratch = Scratch(kernels.queue());
    let (columns, last) = (matrix.columns, matrix.rows - 1);
    let row_bytes = matrix.bytes() / matrix.rows.max(1);
    let mut expected = Vec::new();
    for row in [last, 0] {
        let mut bytes = vec![0u8; row_bytes];
        kernels.queue().read(matrix.place.skip(row * row_bytes), &mut bytes)?;
        let Some(weights) = dequantize(matrix.kind, &bytes) else { return Ok(()) };
        expected.extend(weights.iter().map(|weight| f64::from(*weight) * f64::from(SCALE)));
    }
    let ids = [u32::try_from(last).unwrap_or(0), 0];
    let positions = scratch.tokens(&ids, &[0, 0], &[0, 0], &[0], 1)?;
    let output = scratch.room(2 * columns)?;
    let to = Rows { place: output.place(), stride: columns };
    kernels.embed(matrix, &positions.tokens, SCALE, to)?;
    near("embed", &scratch.floats(to.place, 2 * columns)?, &expected, 1e-6)
}

/// Three pairs of a token and an expert, against the kernel that multiplies by one matrix, which was found right.
///
/// # Errors
/// [`Wrong`].
pub(super) fn experts(kernels: &Kernels, stack: &Stack) -> Result<(), Wrong> {
    let scratch = Scratch(kernels.queue());
    let Matrix { rows, columns, .. } = stack.first;
    let chosen = [stack.count - 1, 0, stack.count / 2];
    let ids = chosen.map(|expert| u32::try_from(expert).unwrap_or(0));
    let (input, which) = (numbers(5, chosen.len() * columns), scratch.send_words(&ids)?);
    let (sent, output) = (scratch.send(&input)?, scratch.room(chosen.len() * rows)?);
    let to = Rows { place: output.place(), stride: rows };
    let from = Rows { place: sent.place(), stride: columns };
    let (halves, _memory) = scratch.halves(chosen.len(), columns)?;
    let from = kernels.input(from, (chosen.len(), columns), halves, [&stack.first])?;
    let (sorted, _more) = scratch.sorted(chosen.len(), stack.count)?;
    let pairs = kernels.pairs(which.place(), (chosen.len(), 1, stack.count), sorted, [stack])?;
    kernels.multiply_experts(stack, pairs, (from, 1), to)?;
    let found = scratch.floats(to.place, chosen.len() * rows)?;
    for (pair, expert) in chosen.into_iter().enumerate() {
        let one = &input[pair * columns..(pair + 1) * columns];
        let expected = multiply(kernels, &Resident::matrix(stack, expert), one, 1)?;
        let most = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let in_parts = |values: &[f32]| values.iter().map(|value| value / most).collect::<Vec<f32>>();
        let expected: Vec<f64> = in_parts(&expected).into_iter().map(f64::from).collect();
        let what = format!("multiply_experts for {}", stack.first.kind);
        near(&what, &in_parts(&found[pair * rows..(pair + 1) * rows]), &expected, TOLERANCE)?;
    }
    Ok(())
}

/// A block's matrices, of its experts the first.
fn matrices_of(block: &Block) -> Vec<Matrix> {
    let mut all = block.qkv.to_vec();
    all.push(block.output);
    match &block.feed {
        Feed::Dense { gate_up, down } => all.extend(gate_up.iter().chain([down])),
        Feed::Experts(experts) => {
            all.push(experts.router);
            let stacks = experts.gate_up.iter().chain([&experts.down]);
            all.extend(stacks.map(|stack| Resident::matrix(stack, 0)));
        }
    }
    all
}

/// The kernels for one token, a few and many, on rows at either end of a matrix in blocks.
///
/// # Errors
/// [`Wrong`].
pub(super) fn compare(kernels: &Kernels, matrix: &Matrix) -> Result<(), Wrong> {
    let queue = kernels.queue();
    let columns = matrix.columns;
    let row_bytes = matrix.bytes() / matrix.rows.max(1);
    let rows = ROWS.min(matrix.rows);
    for first in [0, matrix.rows - rows] {
        let part = Matrix { rows, place: matrix.place.skip(first * row_bytes), ..*matrix };
        let mut bytes = vec![0u8; rows * row_bytes];
        queue.read(part.place, &mut bytes)?;
        let Some(weights) = dequantize(matrix.kind, &bytes) else { continue };
        for tokens in TOKENS {
            let input = numbers(0, tokens * columns);
            let found = multiply(kernels, &part, &input, tokens)?;
            for (index, found) in found.into_iter().enumerate() {
                let (token, row) = (index / rows, index % rows);
                let x = &input[token * columns..(token + 1) * columns];
                let w = &weights[row * columns..(row + 1) * columns];
                let products = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (expected, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
                // A NaN is not within any tolerance.
                let near = (f64::from(found) - expected).abs() <= TOLERANCE * size;
                if !near {
                    return Err(Wrong::Kernel(format!(
                        "its kernel for {} gives {found} instead of {expected} (row {}, {tokens} tokens)",
                        matrix.kind,
                        first + row
                    )));
                }
            }
        }
    }
    Ok(())
}

/// What the device gives, `[tokens][rows]`.
fn multiply(kernels: &Kernels, matrix: &Matrix, input: &[f32], tokens: usize) -> Result<Vec<f32>, Fault> {
    let scratch = Scratch(kernels.queue());
    let (sent, got) = (scratch.send(input)?, scratch.room(tokens * matrix.rows)?);
    let to = Rows { place: got.place(), stride: matrix.rows };
    let (halves, _memory) = scratch.halves(tokens, matrix.columns)?;
    let rows = Rows { place: sent.place(), stride: matrix.columns };
    let from = kernels.input(rows, (tokens, matrix.columns), halves, [matrix])?;
    kernels.multiply(matrix, from, tokens, to)?;
    scratch.floats(got.place(), tokens * matrix.rows)
}
