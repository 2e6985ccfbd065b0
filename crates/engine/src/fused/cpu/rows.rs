//! What happens to a token's row between two matrices: norms, sums and activation functions, in single precision.
//!
//! # Safety of this module
//! A generic function asks for what the one that [`for_each_isa`] makes of it says, and that the processor has what `V`
//! needs.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "vector loads and stores at computed places")]

use std::ops::Range;

use super::lanes::{LANES, Lanes, for_each_isa};

for_each_isa! {
    /// RMS norm of a row: `to` = `row` / √(mean of squares + epsilon) × `weight`, of its columns `part` alone; `to` may be
    /// `row` where the part is all of it.
    ///
    /// # Safety
    /// All three must have `columns` elements, a multiple of 16, and the part begin and end at such.
    pub(super) unsafe fn norm(
        row: *const f32,
        weight: *const f32,
        columns: usize,
        part: Range<usize>,
        epsilon: f32,
        to: *mut f32,
    ) = norm_row
}

#[inline(always)]
unsafe fn norm_row<V: Lanes>(
    row: *const f32,
    weight: *const f32,
    columns: usize,
    part: Range<usize>,
    epsilon: f32,
    to: *mut f32,
) {
    // SAFETY: all three rows have `columns` elements and the part lies within them, by the contract of `norm`.
    unsafe {
        let mut squares = V::splat(0.0);
        for at in (0..columns).step_by(LANES) {
            let x = V::load(row.add(at));
            squares = x.mul_add(x, squares);
        }
        #[allow(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
        let mean = squares.reduce_add() / columns as f32;
        let scale = V::splat(1.0 / (mean + epsilon).sqrt());
        for at in part.step_by(LANES) {
            V::load(row.add(at)).mul(scale).mul(V::load(weight.add(at))).store(to.add(at));
        }
    }
}

for_each_isa! {
    /// `to` += `from`.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn add(from: *const f32, columns: usize, to: *mut f32) = add_row
}

#[inline(always)]
unsafe fn add_row<V: Lanes>(from: *const f32, columns: usize, to: *mut f32) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: both rows have `columns` elements, by the contract of `add`.
        unsafe { V::load(to.add(at)).add(V::load(from.add(at))).store(to.add(at)) };
    }
}

for_each_isa! {
    /// `to` += `factor` × `from`.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn add_scaled(factor: f32, from: *const f32, columns: usize, to: *mut f32) = add_scaled_row
}

#[inline(always)]
unsafe fn add_scaled_row<V: Lanes>(factor: f32, from: *const f32, columns: usize, to: *mut f32) {
    // SAFETY: both rows have `columns` elements, by the contract of `add_scaled`.
    unsafe {
        let factor = V::splat(factor);
        for at in (0..columns).step_by(LANES) {
            V::load(from.add(at)).mul_add(factor, V::load(to.add(at))).store(to.add(at));
        }
    }
}

for_each_isa! {
    /// `gate` becomes silu(`gate`) × `up`.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn swiglu(gate: *mut f32, up: *const f32, columns: usize) = swiglu_row
}

#[inline(always)]
unsafe fn swiglu_row<V: Lanes>(gate: *mut f32, up: *const f32, columns: usize) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: both rows have `columns` elements, by the contract of `swiglu`.
        unsafe {
            let x = V::load(gate.add(at));
            let one = V::splat(1.0);
            let sigmoid_inverse = one.add(V::splat(0.0).sub(x).exp());
            x.div(sigmoid_inverse).mul(V::load(up.add(at))).store(gate.add(at));
        }
    }
}

for_each_isa! {
    /// `gate` becomes gelu(`gate`) × `up`, gelu in its tanh form.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn geglu(gate: *mut f32, up: *const f32, columns: usize) = geglu_row
}

#[inline(always)]
unsafe fn geglu_row<V: Lanes>(gate: *mut f32, up: *const f32, columns: usize) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: both rows have `columns` elements, by the contract of `geglu`.
        unsafe {
            let x = V::load(gate.add(at));
            // x·½·(1 + tanh y) is x·sigmoid(2y), with y = √(2/π)·(x + 0.044715·x³).
            let cube = x.mul(x).mul(x);
            let inner = cube.mul_add(V::splat(0.044_715), x).mul(V::splat(-2.0 * 0.797_884_6));
            x.div(V::splat(1.0).add(inner.exp())).mul(V::load(up.add(at))).store(gate.add(at));
        }
    }
}

for_each_isa! {
    /// `gate` becomes gate · sigmoid(1.702 · gate) · (`up` + 1), with `gate` at most 7 and `up` within ±7.
    ///
    /// # Safety
    /// Both must have `columns` elements, a multiple of 16.
    pub(super) unsafe fn clamped_swiglu(gate: *mut f32, up: *const f32, columns: usize) = clamped_swiglu_row
}

#[inline(always)]
unsafe fn clamped_swiglu_row<V: Lanes>(gate: *mut f32, up: *const f32, columns: usize) {
    for at in (0..columns).step_by(LANES) {
        // SAFETY: both rows have `columns` elements, by the contract of `clamped_swiglu`.
        unsafe {
            let (zero, one, least) = (V::splat(0.0), V::splat(1.0), V::splat(-7.0));
            // The smaller of two is the negative of the larger of their negatives. A NaN may be lost in it, so what was
            // cut off is found out by the difference to itself.
            let (gate_in, up_in) = (V::load(gate.add(at)), V::load(up.add(at)));
            let lost = gate_in.sub(gate_in).add(up_in.sub(up_in));
            let minus = zero.sub(gate_in).max(least);
            let up = zero.sub(zero.sub(up_in.max(least)).max(least));
            let sigmoid_inverse = one.add(minus.mul(V::splat(1.702)).exp());
            zero.sub(minus).div(sigmoid_inverse).mul(up.add(one)).add(lost).store(gate.add(at));
        }
    }
}

#[cfg(test)]
#[allow(clippy::many_single_char_names, reason = "as in the formulas")]
mod tests {
    use super::super::activations::tests::{here, random};
    use super::*;

    #[test]
    fn a_clamp_hides_nothing_that_is_no_number() {
        for isa in here() {
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for (gate, up) in [(wrong, 1.0), (1.0, wrong)] {
                    let (mut gate, up) = ([gate; 16], [up; 16]);
                    // SAFETY: lengths as asked for.
                    unsafe { clamped_swiglu(isa, gate.as_mut_ptr(), up.as_ptr(), 16) };
                    assert!(gate.iter().all(|x| x.is_nan()), "{isa} {wrong}: {gate:?}");
                }
            }
        }
    }

    #[test]
    fn norm_and_activations_are_those_of_f64() {
        let columns = 64;
        let (x, w) = (random(columns, 1), random(columns, 2));
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / columns as f64;
        for isa in here() {
            let mut out = vec![0.0; columns];
            // SAFETY: lengths as asked for.
            unsafe { norm(isa, x.as_ptr(), w.as_ptr(), columns, 0..columns, 1e-5, out.as_mut_ptr()) };
            for ((x, w), out) in x.iter().zip(&w).zip(&out) {
                let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w);
                assert!((expected - f64::from(*out)).abs() < 1e-6, "{isa}: {out} for {expected}");
            }
            for wide in [1.0f32, 60.0] {
                let gate: Vec<f32> = x.iter().map(|x| x * wide).collect();
                let (mut silu, mut gelu, mut clamped) = (gate.clone(), gate.clone(), gate.clone());
                let up: Vec<f32> = w.iter().map(|w| w * wide).collect();
                // SAFETY: lengths as asked for.
                unsafe {
                    swiglu(isa, silu.as_mut_ptr(), w.as_ptr(), columns);
                    geglu(isa, gelu.as_mut_ptr(), w.as_ptr(), columns);
                    clamped_swiglu(isa, clamped.as_mut_ptr(), up.as_ptr(), columns);
                }
                for (index, gate) in gate.iter().enumerate() {
                    let (g, u) = (f64::from(*gate), f64::from(w[index]));
                    let expected = g / (1.0 + (-g).exp()) * u;
                    let off = (expected - f64::from(silu[index])).abs();
                    assert!(off < 1e-6 * (1.0 + expected.abs()), "{isa} silu({g}): {off}");
                    let y = (2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g.powi(3));
                    let expected = 0.5 * g * (1.0 + y.tanh()) * u;
                    let off = (expected - f64::from(gelu[index])).abs();
                    assert!(off < 2e-6 * (1.0 + expected.abs()), "{isa} gelu({g}): {off}");
                    let (g, u) = (g.min(7.0), f64::from(up[index]).clamp(-7.0, 7.0));
                    let expected = g / (1.0 + (-1.702 * g).exp()) * (u + 1.0);
                    let off = (expected - f64::from(clamped[index])).abs();
                    assert!(off < 2e-6 * (1.0 + expected.abs()), "{isa} clamped({g}, {u}): {off}");
                }
            }
        }
    }
}
