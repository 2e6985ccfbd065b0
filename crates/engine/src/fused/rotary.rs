//! A table of sines and cosines of the positions' angles, times the rotated elements' magnitude, made once.

use crate::model::{ModelSpec, architecture};

use super::network::Rotation;

/// Cosines and sines of every position for one way of rotating.
#[derive(Debug)]
pub(super) struct Angles {
    pairs: usize,
    /// `[positions][pairs]` cosines and sines.
    all: Vec<(f32, f32)>,
}

impl Angles {
    /// The table for `positions` positions; `factors` divide the frequencies where the model has such.
    ///
    /// Angles are computed in double precision: at position 100,000 single precision would be off by a hundredth.
    pub(super) fn new(rotation: &Rotation, factors: Option<&[f32]>, positions: usize) -> Self {
        let pairs = rotation.elements / 2;
        let frequencies: Vec<f64> = (0..pairs)
            .map(|pair| {
                let factor = factors.filter(|_| rotation.factors).and_then(|all| all.get(pair));
                let exponent = 2.0 * pair as f64 / rotation.elements as f64;
                let plain = rotation.base.powf(-exponent) / f64::from(factor.copied().unwrap_or(1.0));
                let divided = rotation.yarn.map_or(1.0, |yarn| yarn.divided(pair));
                plain * (divided / rotation.divisor + (1.0 - divided))
            })
            .collect();
        let of = |position: usize| {
            frequencies.iter().map(move |frequency| {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                let (sine, cosine) = (sine * rotation.magnitude, cosine * rotation.magnitude);
                #[allow(clippy::cast_possible_truncation, reason = "rounded once, to what is computed in")]
                (cosine as f32, sine as f32)
            })
        };
        Self { pairs, all: (0..positions).flat_map(of).collect() }
    }

    /// The cosine and sine of each pair at `position`.
    #[inline]
    pub(super) fn at(&self, position: usize) -> &[(f32, f32)] {
        &self.all[position * self.pairs..(position + 1) * self.pairs]
    }

    /// How many pairs are rotated.
    pub(super) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Cosines and sines in turn, `[positions][pairs]`.
    pub(super) fn numbers(&self) -> Vec<f32> {
        self.all.iter().flat_map(|(cosine, sine)| [*cosine, *sine]).collect()
    }
}

/// Number of angle tables: windowed blocks need their own where only the other blocks scale positions.
pub(super) fn tables(spec: &ModelSpec) -> u64 {
    let windows = architecture::named(&spec.architecture).and_then(|architecture| architecture.windows);
    let local = windows.is_some_and(|windows| !windows.scaled) && spec.windowed_layers > 0;
    if local { 2 } else { 1 }
}
