//! The kernels between matrices and attention: norms, sums, activation, the choice of experts and of tokens.

use crate::fused::network::{Activation, Network};

use super::super::launch::{Kernels, Rows};
use super::super::store::Vector;
use super::{Scratch, Wrong, near, numbers};

/// Single precision has 6e-8; a norm sums thousands of squares, and exponentials are off by two units in the last place.
const TOLERANCE: f64 = 1e-5;

/// Checks each of them.
///
/// # Errors
/// [`Wrong`].
pub(super) fn check(kernels: &Kernels, network: &Network) -> Result<(), Wrong> {
    norms(kernels, network)?;
    sums(kernels, network.width)?;
    activation(kernels, network.activation)?;
    halved(kernels, network)?;
    if let Some(experts) = network.experts {
        choice(kernels, (experts.count, experts.used), network.width)?;
    }
    largest(kernels, network.vocabulary.min(1000))
}

fn widened(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|number| f64::from(*number)).collect()
}

/// What a norm makes of `row`.
pub(super) fn normed(row: &[f32], weight: &[f32], epsilon: f32) -> Vec<f64> {
    let squares: f64 = widened(row).iter().map(|x| x * x).sum();
    let scale = (squares / row.len() as f64 + f64::from(epsilon)).sqrt().recip();
    widened(row).iter().zip(widened(weight)).map(|(x, w)| x * scale * w).collect()
}

/// Rows by their number, and the heads of rows in place.
fn norms(kernels: &Kernels, network: &Network) -> Result<(), Wrong> {
    let (scratch, epsilon) = (Scratch(kernels.queue()), network.norm_epsilon);
    let (width, size) = (network.width, network.head_size);
    let (input, weight) = (numbers(1, 3 * width.max(size)), numbers(2, width.max(size)));
    let (sent, weights) = (scratch.send(&input)?, scratch.send(&weight)?);
    let which = [2u32, 0];
    let (rows, output) = (scratch.send_words(&which)?, scratch.room(2 * width)?);
    let weights = Vector { place: weights.place() };
    let from = Rows { place: sent.place(), stride: width };
    let to = Rows { place: output.place(), stride: width };
    kernels.norm(from, Some(rows.place()), weights, (2, 1, width), epsilon, to)?;
    let row = |number: usize| normed(&input[number * width..(number + 1) * width], &weight[..width], epsilon);
    near("rms_norm", &scratch.floats(to.place, 2 * width)?, &[row(2), row(0)].concat(), TOLERANCE)?;

    let heads = Rows { place: sent.place(), stride: size };
    kernels.norm(heads, None, weights, (3, 1, size), epsilon, heads)?;
    let expected: Vec<f64> =
        input[..3 * size].chunks(size).flat_map(|head| normed(head, &weight[..size], epsilon)).collect();
    near("rms_norm", &scratch.floats(heads.place, 3 * size)?, &expected, TOLERANCE)
}

/// What is normed or activated and made half precision at once: as by the kernels that do one after the other.
fn halved(kernels: &Kernels, network: &Network) -> Result<(), Wrong> {
    let (scratch, width) = (Scratch(kernels.queue()), network.width);
    let (input, weight) = (numbers(15, 2 * width), numbers(16, 2 * width));
    let (sent, weights, output) = (scratch.send(&input)?, scratch.send(&weight)?, scratch.room(2 * width)?);
    let [from, to] = [&sent, &output].map(|memory| Rows { place: memory.place(), stride: width });
    let [(halves, of_both), (again, of_one)] = [scratch.halves(2, width)?, scratch.halves(2, width)?];
    let same = |what: &str| -> Result<(), Wrong> {
        kernels.halve(to, (2, width), again)?;
        if scratch.same(&of_both, &of_one)? {
            return Ok(());
        }
        Err(Wrong::Kernel(format!("its kernels {what} and halve give different f16 values")))
    };
    let vector = Vector { place: weights.place() };
    let (epsilon, added) = (network.norm_epsilon, numbers(17, 2 * width));
    let sent_more = scratch.send(&added)?;
    let sums: Vec<f32> = input.iter().zip(&added).map(|(a, b)| a + b).collect();
    for (more, row) in [(None, &input), (Some(Rows { place: sent_more.place(), stride: width }), &sums)] {
        kernels.norm_halve((from, None, more), vector, (2, width), epsilon, (to, halves))?;
        let expected: Vec<f64> =
            row.chunks(width).flat_map(|row| normed(row, &weight[..width], epsilon)).collect();
        near("norm_halve", &scratch.floats(to.place, 2 * width)?, &expected, TOLERANCE)?;
        near("norm_halve", &scratch.floats(from.place, 2 * width)?, &widened(row), TOLERANCE)?;
        same("norm_halve")?;
    }

    kernels.queue().write(&input, to.place)?;
    kernels.activate_halve(network.activation, (to.place, weights.place()), (2, width), halves)?;
    let gates = widened(&input).into_iter().zip(widened(&weight));
    let expected: Vec<f64> = gates.map(|(gate, up)| activated(network.activation, gate, up)).collect();
    near("activate_halve", &scratch.floats(to.place, 2 * width)?, &expected, TOLERANCE)?;
    same("activate_halve")
}

/// Two vectors, and rows with the bias that each has.
fn sums(kernels: &Kernels, columns: usize) -> Result<(), Wrong> {
    let scratch = Scratch(kernels.queue());
    let (left, right) = (numbers(3, 2 * columns), numbers(4, 2 * columns));
    let (to, from) = (scratch.send(&left)?, scratch.send(&right)?);
    kernels.add(to.place(), from.place(), 2 * columns)?;
    let mut expected: Vec<f64> = widened(&left).iter().zip(widened(&right)).map(|(a, b)| a + b).collect();
    near("add", &scratch.floats(to.place(), 2 * columns)?, &expected, TOLERANCE)?;

    let chosen = scratch.send_words(&[1, 0])?;
    let (rows, bias) = (Rows { place: to.place(), stride: columns }, Vector { place: from.place() });
    kernels.add_bias(rows, bias, Some(chosen.place()), (2, columns))?;
    let of_rows = widened(&[&right[columns..], &right[..columns]].concat());
    expected.iter_mut().zip(of_rows).for_each(|(sum, bias)| *sum += bias);
    near("add_bias", &scratch.floats(rows.place, 2 * columns)?, &expected, TOLERANCE)
}

fn activation(kernels: &Kernels, activation: Activation) -> Result<(), Wrong> {
    /// So many that the last block of threads has some without an element.
    const COUNT: usize = 300;
    /// Beyond what gpt-oss clamps.
    const MOST: f32 = 9.0;
    let scratch = Scratch(kernels.queue());
    let [gates, ups] = [8, 9].map(|seed| numbers(seed, COUNT).iter().map(|x| x * MOST).collect::<Vec<f32>>());
    let (gate, up) = (scratch.send(&gates)?, scratch.send(&ups)?);
    kernels.activate(activation, gate.place(), up.place(), COUNT)?;
    let pairs = widened(&gates).into_iter().zip(widened(&ups));
    let expected: Vec<f64> = pairs.map(|(gate, up)| activated(activation, gate, up)).collect();
    near("activate", &scratch.floats(gate.place(), COUNT)?, &expected, TOLERANCE)
}

/// What an activation makes of a gate and an up.
fn activated(activation: Activation, gate: f64, up: f64) -> f64 {
    match activation {
        Activation::Silu => gate / (1.0 + (-gate).exp()) * up,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
            0.5 * gate * (1.0 + inner.tanh()) * up
        }
        Activation::ClampedSwiglu => {
            let (gate, up) = (gate.min(7.0), up.clamp(-7.0, 7.0));
            gate / (1.0 + (-1.702 * gate).exp()) * (up + 1.0)
        }
    }
}

/// Two tokens' experts with their shares, and what those give mixed by them.
fn choice(kernels: &Kernels, (count, used): (usize, usize), width: usize) -> Result<(), Wrong> {
    const TOKENS: usize = 2;
    let (scratch, pairs) = (Scratch(kernels.queue()), TOKENS * used);
    let logits = numbers(10, TOKENS * count);
    let sent = scratch.send(&logits)?;
    let (chosen, shares) = (scratch.room(pairs)?, scratch.room(pairs)?);
    let rows = Rows { place: sent.place(), stride: count };
    kernels.choose(rows, (TOKENS, count, used), chosen.place(), shares.place())?;
    let (mut expected, mut weights) = (Vec::new(), Vec::new());
    for row in logits.chunks(count) {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
        let of: Vec<f64> = order[..used].iter().map(|at| f64::from(row[*at] - row[order[0]]).exp()).collect();
        let sum: f64 = of.iter().sum();
        weights.extend(of.iter().map(|share| share / sum));
        expected.extend_from_slice(&order[..used]);
    }
    let found = scratch.words(chosen.place(), pairs)?;
    if found.iter().zip(&expected).any(|(found, expected)| *found as usize != *expected) {
        return Err(Wrong::Kernel(format!(
            "its kernel choose picks experts {found:?} instead of {expected:?}"
        )));
    }
    near("choose", &scratch.floats(shares.place(), pairs)?, &weights, TOLERANCE)?;

    let (before, given) = (numbers(11, TOKENS * width), numbers(12, pairs * width));
    let bias = numbers(13, count * width);
    let (to, from, biases) = (scratch.send(&before)?, scratch.send(&given)?, scratch.send(&bias)?);
    let vector = Some(Vector { place: biases.place() });
    let places = (to.place(), from.place());
    kernels.mix(places, (shares.place(), chosen.place()), vector, (TOKENS, used, width))?;
    let mut mixed = widened(&before);
    for (pair, (expert, share)) in expected.iter().zip(&weights).enumerate() {
        for column in 0..width {
            let value = f64::from(given[pair * width + column]) + f64::from(bias[expert * width + column]);
            mixed[pair / used * width + column] += share * value;
        }
    }
    near("mix", &scratch.floats(to.place(), TOKENS * width)?, &mixed, TOLERANCE)
}

/// The first of two largest, and a row that is not finite.
fn largest(kernels: &Kernels, count: usize) -> Result<(), Wrong> {
    let scratch = Scratch(kernels.queue());
    let mut logits = numbers(14, 2 * count);
    let (first, last) = (count / 3, count - 1);
    (logits[first], logits[last]) = (2.0, 2.0);
    (logits[count + first], logits[count + last]) = (2.0, f32::NAN);
    let sent = scratch.send(&logits)?;
    let (places, values) = (scratch.room(2)?, scratch.room(2)?);
    kernels.largest(sent.place(), (2, count), places.place(), values.place())?;
    let (found, values) = (scratch.words(places.place(), 2)?, scratch.floats(values.place(), 2)?);
    let right =
        found[0] as usize == first && (values[0] - 2.0).abs() < f32::EPSILON && !values[1].is_finite();
    if right {
        return Ok(());
    }
    Err(Wrong::Kernel(format!(
        "its kernel largest gives token {} with {} instead of {first} with 2, and {} for a row that is not finite",
        found[0], values[0], values[1]
    )))
}
