//! How positions become angles.

use super::Pairing;

/// One way of turning positions into angles.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::fused) struct Rotation {
    pub(in crate::fused) pairing: Pairing,
    pub(in crate::fused) base: f64,
    /// Positions are divided by this (linear scaling), with `yarn` those of some pairs only.
    pub(in crate::fused) divisor: f64,
    pub(in crate::fused) yarn: Option<Yarn>,
    /// What is rotated is multiplied by this.
    pub(in crate::fused) magnitude: f64,
    /// Elements of a head that are rotated, from the first on; none in blocks without positions.
    pub(in crate::fused) elements: usize,
    /// Whether the frequencies are divided by the model's factors.
    pub(in crate::fused) factors: bool,
}

/// Scaling of positions that leaves fast pairs alone (`YaRN`, Peng et al. 2023, arXiv 2309.00071): a pair that turned often
/// over the first training's positions keeps its angles, one that hardly turned has its positions divided, and between
/// `first` and `last` the two are blended. Both bounds are rounded outwards to whole pairs, as llama.cpp does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::fused) struct Yarn {
    /// Pairs up to this one keep their angles.
    pub(in crate::fused) first: f64,
    /// Positions of pairs from this one on are divided.
    pub(in crate::fused) last: f64,
}

impl Yarn {
    /// For pairs that turn `fast` and `slow` times over `positions`.
    pub(super) fn new(elements: u32, base: f64, positions: f64, [fast, slow]: [f64; 2]) -> Self {
        let elements = f64::from(elements);
        let pair = |turns: f64| {
            elements * (positions / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * base.ln())
        };
        Self { first: pair(fast).floor().max(0.0), last: pair(slow).ceil().min(elements - 1.0) }
    }

    /// Which part of pair number `pair`'s positions is divided, 0 to 1.
    pub(in crate::fused) fn divided(self, pair: usize) -> f64 {
        ((pair as f64 - self.first) / (self.last - self.first).max(0.001)).clamp(0.0, 1.0)
    }
}
