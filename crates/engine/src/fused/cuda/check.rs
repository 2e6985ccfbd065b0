//! The matrix kernels of each type against the host, on rows of the model's own weights, before anything is measured with
//! them: that a kernel compiled says nothing of the card, its driver or its compiler.

use crate::hardware::cuda::{Fault, Queue};
use crate::model::TensorType;
use crate::model::quantize::dequantize;

use super::launch::{Kernels, Rows};
use super::store::{Block, Feed, Matrix, Resident, Weights};
use crate::fused::weights::Store as _;

/// Rows at either end of a matrix that are compared.
const ROWS: usize = 5;
/// Tokens: one, a few, and so many that the kernel for many has whole tiles and a part of one.
const TOKENS: [usize; 3] = [1, 5, 17];
/// How far a result may be off, in parts of the sum of its products' sizes: single precision has 6e-8, and sums of ten
/// thousand products by 32 lanes are well within this.
const TOLERANCE: f64 = 1e-5;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The driver failed.
    Device(Fault),
    /// A kernel gave another number than the host.
    Kernel(String),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Device(fault)
    }
}

/// Compares the kernels of every type that the model has, and says which types those are.
///
/// # Errors
/// [`Wrong::Kernel`] with the type, the row and both numbers.
pub(super) fn matrices(kernels: &Kernels, weights: &Weights) -> Result<Vec<TensorType>, Wrong> {
    let mut checked = Vec::new();
    let of_blocks = weights.blocks.iter().flat_map(matrices_of);
    for matrix in [weights.embedding, weights.head].into_iter().chain(of_blocks) {
        if !checked.contains(&matrix.kind) {
            compare(kernels, &matrix)?;
            checked.push(matrix.kind);
        }
    }
    Ok(checked)
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

fn compare(kernels: &Kernels, matrix: &Matrix) -> Result<(), Wrong> {
    let queue = kernels.queue();
    let columns = matrix.columns;
    let row_bytes = matrix.place.bytes() / matrix.rows.max(1);
    let rows = ROWS.min(matrix.rows);
    for first in [0, matrix.rows - rows] {
        let part = Matrix { rows, place: matrix.place.skip(first * row_bytes), ..*matrix };
        let mut bytes = vec![0u8; rows * row_bytes];
        queue.read(part.place, &mut bytes)?;
        let Some(weights) = dequantize(matrix.kind, &bytes) else { continue };
        for tokens in TOKENS {
            let input = inputs(tokens * columns);
            let found = multiply(kernels, queue, &part, &input, tokens)?;
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
                        "its kernel for {} gives {found} where {expected} is right (row {}, {tokens} tokens)",
                        matrix.kind,
                        first + row
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Numbers between −1 and 1 in no order, the same each time.
fn inputs(count: usize) -> Vec<f32> {
    let of = |index: usize| {
        let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        f32::from(u16::try_from(mixed).unwrap_or(0)) / 32_768.0 - 1.0
    };
    (0..count).map(of).collect()
}

/// What the device gives, `[tokens][rows]`.
fn multiply(
    kernels: &Kernels,
    queue: &Queue,
    matrix: &Matrix,
    input: &[f32],
    tokens: usize,
) -> Result<Vec<f32>, Fault> {
    let (sent, got) = (queue.alloc(input.len() * 4)?, queue.alloc(tokens * matrix.rows * 4)?);
    queue.write(input, sent.place())?;
    let to = Rows { place: got.place(), stride: matrix.rows };
    kernels.multiply(matrix, Rows { place: sent.place(), stride: matrix.columns }, tokens, to)?;
    let mut found = vec![0.0; tokens * matrix.rows];
    queue.read(got.place(), &mut found)?;
    Ok(found)
}
