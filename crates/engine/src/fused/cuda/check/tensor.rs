//! The kernels for tensor cores, before a weight is loaded: each on random blocks of every type and width that the model has.
//!
//! What computes wrongly is dropped by name, and its matrices stay with the plain family. That has to be known before the
//! weights are laid out, so these are not the model's own.

use half::f16;
use rayon::prelude::*;

use crate::fused::weights::Shape;
use crate::hardware::cuda::{Fault, Memory};
use crate::model::quantize::{Distribution, Weights, dequantize};

use super::super::fragments::Layout;
use super::super::launch::{EXPERTS, Kernels, PRODUCTS, Rows, SEGMENTS};
use super::super::store::{Form, Matrix, Stack, in_fragments};
use super::{Scratch, numbers};

/// Rows of whole tiles that are compared; those of a last tile that is not whole come on top.
const WHOLE: usize = 32;
/// Rows for blocks of eight tiles: a whole block, a tile of the next one and a part of another.
const MANY: usize = 128 + 16 + 5;
/// Tokens for each of [`PRODUCTS`] and tiles of a block: each number of tiles, and once more tokens than it takes at once.
const TOKENS: [&[(usize, usize)]; PRODUCTS.len()] =
    [&[(1, 1), (9, 1), (6, 2)], &[(35, 1), (9, 2), (9, 4)], &[(67, 1), (50, 2), (50, 4)], &[(67, 8)]];
/// The experts of a single token's pairs, and of pairs of which one expert has more than a segment's and one none.
const ALONE: [u32; 3] = [1, 0, 1];
const TOGETHER: [u32; 11] = [2, 0, 2, 2, 2, 0, 2, 2, 2, 2, 2];
/// How far a result may be off, in parts of the sum of its products' sizes. Inputs are exact in f16, and so are a fragment's
/// numbers and products; sums are in single precision, which tensor cores cut off where others round.
const TOLERANCE: f64 = 2e-5;

/// Checks the kernels for tensor cores on matrices like these, and drops those that compute wrongly.
///
/// # Errors
/// What the driver says.
pub(in crate::fused::cuda) fn check(kernels: &mut Kernels, shapes: &[Shape]) -> Result<(), Fault> {
    let mut done: Vec<Shape> = Vec::new();
    for shape in shapes {
        // No more rows than show whether a tile that is not whole is one, and three experts for many.
        let rows = if shape.rows > WHOLE { WHOLE + (shape.rows - 1) % 16 + 1 } else { shape.rows };
        let few = Shape { rows, count: shape.count.min(3), ..*shape };
        let many = Shape { rows: shape.rows.min(MANY), count: 1, ..*shape };
        if !done.contains(&few) {
            of_shape(kernels, few, many)?;
            done.push(few);
        }
    }
    Ok(())
}

/// Random matrices on the device, and what they are in single precision.
struct Sample {
    stack: Stack,
    weights: Vec<f32>,
    _memory: Memory,
}

/// On matrices of few rows, and for blocks of many tiles of many.
fn of_shape(kernels: &mut Kernels, shape: Shape, many: Shape) -> Result<(), Fault> {
    let Some(sample) = sample(kernels, shape)? else { return Ok(()) };
    for (of, tokens) in PRODUCTS.into_iter().zip(TOKENS) {
        let large = if of.tiles[0] > 4 { self::sample(kernels, many)? } else { None };
        let (sample, shape) = large.as_ref().map_or((&sample, shape), |large| (large, many));
        for (tokens, tiles) in tokens {
            // With other columns it may have been wrong already.
            if !kernels.uses(shape.kind, of.name) {
                break;
            }
            if let Some(why) = product(kernels, sample, shape, *tokens, (of.name, *tiles))? {
                kernels.drop_kernel(shape.kind, of.name, why);
            }
        }
    }
    for (name, pairs) in [(EXPERTS, &ALONE[..]), (SEGMENTS, &TOGETHER[..])] {
        if shape.count > 1
            && kernels.in_fragments().contains(&shape.kind)
            && let Some(why) = experts(kernels, &sample, shape, pairs)?
        {
            kernels.drop_kernel(shape.kind, name, why);
        }
    }
    Ok(())
}

/// Matrices of this shape, where tensor cores are used for its type.
fn sample(kernels: &Kernels, shape: Shape) -> Result<Option<Sample>, Fault> {
    let Shape { kind, count, rows, columns } = shape;
    let layout = Layout::of(kind).filter(|_| kernels.in_fragments().contains(&kind));
    let random = Weights::new(kind, Distribution { mean: 0.0, deviation: 1.0 }, 0x7e50);
    let (Some(layout), Some(random)) = (layout, random) else { return Ok(None) };
    let mut blocks = vec![0; count * rows * shape.row_bytes()];
    random.fill(0, &mut blocks);
    let Some(weights) = dequantize(kind, &blocks) else { return Ok(None) };
    let mut packed = Vec::with_capacity(count * layout.bytes(rows, columns));
    for matrix in blocks.chunks(rows * shape.row_bytes()) {
        packed.extend(in_fragments(layout, shape, matrix));
    }
    let memory = kernels.queue().alloc(packed.len())?;
    kernels.queue().write(&packed, memory.place())?;
    let first = Matrix { kind, rows, columns, form: Form::Fragments(layout), place: memory.place() };
    Ok(Some(Sample { stack: Stack { first, count }, weights, _memory: memory }))
}

/// Why the kernel of this name is wrong with so many tiles in a block, if it is.
fn product(
    kernels: &Kernels,
    sample: &Sample,
    shape: Shape,
    tokens: usize,
    with: (&str, usize),
) -> Result<Option<String>, Fault> {
    let scratch = Scratch(kernels.queue());
    let input = exact(tokens * shape.columns);
    let (sent, (halves, _memory)) = (scratch.send(&input)?, scratch.halves(tokens, shape.columns)?);
    kernels.halve(Rows { place: sent.place(), stride: shape.columns }, (tokens, shape.columns), halves)?;
    let output = scratch.room(tokens * shape.rows)?;
    let to = Rows { place: output.place(), stride: shape.rows };
    let matrix = &sample.stack.first;
    // With two more that are the first rows of it.
    let parts = [16, 7].map(|rows| Matrix { rows: rows.min(shape.rows), ..*matrix });
    let stride = shape.rows;
    let rooms = [scratch.room(tokens * stride)?, scratch.room(tokens * stride)?];
    let [second, third] = rooms.each_ref().map(|room| Rows { place: room.place(), stride });
    let of = [(matrix, to), (&parts[0], second), (&parts[1], third)];
    kernels.multiply_fragments(&of, Some(halves), (tokens, Some(with)))?;
    let found = scratch.floats(to.place, tokens * stride)?;
    for (part, rows) in parts.iter().zip([second, third]) {
        for token in 0..tokens {
            let again = scratch.floats(rows.place.skip(token * stride * 4), part.rows)?;
            if again != found[token * stride..][..part.rows] {
                return Ok(Some("its result for a matrix depends on the other matrices".to_owned()));
            }
        }
    }
    let token = |token: usize| (0, &input[token * shape.columns..][..shape.columns]);
    Ok(first_wrong(&found, sample, shape, token))
}

/// The same of the kernels for experts: the one for a pair at once where the pairs are a single token's.
fn experts(
    kernels: &Kernels,
    sample: &Sample,
    shape: Shape,
    chosen: &[u32],
) -> Result<Option<String>, Fault> {
    let scratch = Scratch(kernels.queue());
    let alone = chosen == ALONE;
    let count = u32::try_from(shape.count).unwrap_or(1);
    let chosen: Vec<u32> = chosen.iter().map(|expert| expert % count).collect();
    let which = scratch.send_words(&chosen)?;
    let (sorted, _room) = scratch.sorted(chosen.len(), shape.count)?;
    let used = if alone { chosen.len() } else { 1 };
    let of = (chosen.len() / used, used, shape.count);
    let pairs = kernels.pairs(which.place(), of, sorted, [&sample.stack])?;
    for share in [1, chosen.len()] {
        let inputs = chosen.len() / share;
        let numbers = exact(inputs * shape.columns);
        let (sent, (halves, _memory)) = (scratch.send(&numbers)?, scratch.halves(inputs, shape.columns)?);
        let rows = Rows { place: sent.place(), stride: shape.columns };
        let input = kernels.input(rows, (inputs, shape.columns), halves, [&sample.stack.first])?;
        let output = scratch.room(chosen.len() * shape.rows)?;
        let to = Rows { place: output.place(), stride: shape.rows };
        kernels.multiply_experts(&sample.stack, pairs, (input, share), to)?;
        let found = scratch.floats(to.place, chosen.len() * shape.rows)?;
        let pair =
            |pair: usize| (chosen[pair] as usize, &numbers[pair / share * shape.columns..][..shape.columns]);
        if let Some(why) = first_wrong(&found, sample, shape, pair) {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Activations that f16 holds.
fn exact(count: usize) -> Vec<f32> {
    numbers(30, count).into_iter().map(|x| f16::from_f32(x).to_f32()).collect()
}

/// The first of the results that is not what the host computes, in words; result row `i` is that of the matrix and the
/// activations that `of` says.
fn first_wrong<'a>(
    found: &[f32],
    sample: &Sample,
    shape: Shape,
    of: impl Fn(usize) -> (usize, &'a [f32]) + Sync,
) -> Option<String> {
    let Shape { rows, columns, .. } = shape;
    found.par_iter().enumerate().find_map_first(|(index, found)| {
        let (matrix, x) = of(index / rows);
        let w = &sample.weights[(matrix * rows + index % rows) * columns..][..columns];
        let products = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
        let (expected, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
        // A NaN is not within any tolerance.
        let near = (f64::from(*found) - expected).abs() <= TOLERANCE * size;
        (!near).then(|| {
            format!(
                "it gives {found} instead of {expected} (row {}, token {}, {columns} columns)",
                index % rows,
                index / rows
            )
        })
    })
}
