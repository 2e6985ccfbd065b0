//! Rotation of queries and keys by their position.

use crate::fused::network::{Pairing, Rotation};
use crate::fused::rotary::Angles;

/// Sines and cosines of every position for one way of rotating.
#[derive(Debug)]
pub(super) struct Table {
    pairing: Pairing,
    angles: Angles,
}

impl Table {
    /// The table for `positions` positions; `factors` divide the frequencies where the model has such.
    pub(super) fn new(rotation: &Rotation, factors: Option<&[f32]>, positions: usize) -> Self {
        Self { pairing: rotation.pairing, angles: Angles::new(rotation, factors, positions) }
    }

    /// Rotates one head that stands at `position`.
    pub(super) fn rotate(&self, head: &mut [f32], position: usize) {
        let angles = self.angles.at(position);
        match self.pairing {
            Pairing::Neighbours => {
                for (pair, (cosine, sine)) in head.chunks_exact_mut(2).zip(angles) {
                    let (a, b) = (pair[0], pair[1]);
                    pair[0] = a * cosine - b * sine;
                    pair[1] = a * sine + b * cosine;
                }
            }
            Pairing::Halves => {
                let (first, second) = head.split_at_mut(angles.len());
                for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(angles) {
                    (*a, *b) = (*a * cosine - *b * sine, *a * sine + *b * cosine);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::network::Yarn;

    fn rotation(pairing: Pairing) -> Rotation {
        Rotation {
            pairing,
            base: 10_000.0,
            divisor: 1.0,
            yarn: None,
            magnitude: 1.0,
            elements: 4,
            factors: false,
        }
    }

    #[test]
    fn angles_by_hand_in_both_pairings_with_factors_and_a_divisor() {
        let mut head = [1.0, 0.0, 1.0, 0.0, 7.0];
        Table::new(&rotation(Pairing::Neighbours), None, 4).rotate(&mut head, 3);
        // Frequencies 1 and 1/100; the fifth element is not rotated.
        let close = |found: f32, expected: f64| {
            assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
        };
        for (found, expected) in head.iter().zip([3f64.cos(), 3f64.sin(), 0.03f64.cos(), 0.03f64.sin(), 7.0])
        {
            close(*found, expected);
        }
        let mut head = [1.0, 0.0, 0.0, 1.0];
        let scaled = Rotation { divisor: 2.0, factors: true, ..rotation(Pairing::Halves) };
        Table::new(&scaled, Some(&[1.0, 4.0]), 4).rotate(&mut head, 3);
        let (first, second) = (1.5f64, 0.03f64 / 2.0 / 4.0);
        for (found, expected) in head.iter().zip([first.cos(), -second.sin(), first.sin(), second.cos()]) {
            close(*found, expected);
        }
    }

    #[test]
    fn yarn_keeps_fast_pairs_divides_slow_ones_and_blends_between() {
        let yarn = Yarn { first: 0.0, last: 2.0 };
        let scaled = Rotation {
            yarn: Some(yarn),
            divisor: 4.0,
            magnitude: 1.5,
            elements: 8,
            ..rotation(Pairing::Halves)
        };
        let mut head = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        Table::new(&scaled, None, 4).rotate(&mut head, 3);
        // Frequencies 1, 1/10, 1/100, 1/1000: whole, half of it divided by 4, divided, divided.
        for (pair, angle) in
            [3.0f64, 0.3 * (0.5 + 0.5 / 4.0), 0.03 / 4.0, 0.003 / 4.0].into_iter().enumerate()
        {
            assert!((f64::from(head[pair]) - 1.5 * angle.cos()).abs() < 1e-6, "{pair}: {head:?}");
            assert!((f64::from(head[pair + 4]) - 1.5 * angle.sin()).abs() < 1e-6, "{pair}: {head:?}");
        }
    }
}
