//! The splits of a segment, each with the energy distance between its left and right side (Székely and Rizzo 2004).

/// The distances |x − y| between the values of a segment.
pub(super) struct Distances {
    values: Vec<f64>,
    rows: Vec<f64>,
    total: f64,
}

impl Distances {
    /// The distances of these values.
    pub(super) fn of(values: &[f64]) -> Self {
        let row = |x: &f64| values.iter().map(|y| (x - y).abs()).sum();
        let rows: Vec<f64> = values.iter().map(row).collect();
        let total = rows.iter().sum::<f64>() / 2.0;
        Self { values: values.to_vec(), rows, total }
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The sum over all pairs.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// The distance between two values.
    pub(super) fn between(&self, one: usize, other: usize) -> f64 {
        (self.values[one] - self.values[other]).abs()
    }

    /// The sum of the distances from one value to all others.
    pub(super) fn row(&self, value: usize) -> f64 {
        self.rows[value]
    }

    /// The weighted energy distance between the first `left` values and the others, with D the sums of distances between and
    /// within the two sides, each pair counted once:
    /// `n·m/(n+m) · (2·D_between/(n·m) − 2·D_left/(n·(n−1)) − 2·D_right/(m·(m−1)))`.
    pub(super) fn energy(&self, left: usize, within: f64, between: f64) -> f64 {
        let (a, b) = (left as f64, (self.len() - left) as f64);
        let right = self.total - within - between;
        a * b / (a + b)
            * (2.0 * between / (a * b) - 2.0 * within / (a * (a - 1.0)) - 2.0 * right / (b * (b - 1.0)))
    }
}

/// A split with its weighted energy distance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// Values on its left.
    pub(super) at: usize,
    /// How far apart left and right are.
    pub(super) distance: f64,
}

impl Split {
    /// The best split that leaves `shortest` values on both sides.
    pub(super) fn best(segment: &[f64], shortest: usize) -> Option<Self> {
        let order: Vec<usize> = (0..segment.len()).collect();
        best_split(&Distances::of(segment), &order, shortest.max(2))
    }

    /// Every split that leaves `shortest` values on both sides.
    pub(super) fn all(segment: &[f64], shortest: usize) -> impl Iterator<Item = Self> {
        let order: Vec<usize> = (0..segment.len()).collect();
        let mut found = Vec::new();
        each_split(&Distances::of(segment), &order, shortest.max(2), |split| found.push(split));
        found.into_iter()
    }
}

/// The best split of the values in this order that leaves at least `shortest` of them on both sides; the last of equals.
pub(super) fn best_split(distances: &Distances, order: &[usize], shortest: usize) -> Option<Split> {
    let mut best: Option<Split> = None;
    each_split(distances, order, shortest, |split| {
        if best.is_none_or(|best| split.distance >= best.distance) {
            best = Some(split);
        }
    });
    best
}

/// Visits all splits; moving one value from right to left changes the sums by its distances to either side.
fn each_split(distances: &Distances, order: &[usize], shortest: usize, mut visit: impl FnMut(Split)) {
    let values: Vec<f64> = order.iter().map(|value| distances.values[*value]).collect();
    let (mut within, mut between) = (0.0, 0.0);
    let last = order.len().saturating_sub(shortest);
    for left in 0..last {
        let to_left = sum_of_distances(values[left], &values[..left]);
        within += to_left;
        between += distances.row(order[left]) - 2.0 * to_left;
        let at = left + 1;
        if at >= shortest {
            visit(Split { at, distance: distances.energy(at, within, between) });
        }
    }
}

/// Four parallel sums, which vectorize; bit-identical on every machine.
fn sum_of_distances(value: f64, others: &[f64]) -> f64 {
    let mut sums = [0.0f64; 4];
    let (chunks, rest) = others.as_chunks::<4>();
    for chunk in chunks {
        for (sum, other) in sums.iter_mut().zip(chunk) {
            *sum += (value - other).abs();
        }
    }
    let rest: f64 = rest.iter().map(|other| (value - other).abs()).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, for 0 0 1 1 split in the middle: between 4, within 0: 2·2/4 · 2·4/4 = 2.
    #[test]
    fn the_distance_of_a_clean_split_is_known() {
        let Split { at, distance } = Split::best(&[0.0, 0.0, 1.0, 1.0], 2).expect("a split");
        assert_eq!(at, 2);
        assert!((distance - 2.0).abs() < 1e-12, "{distance}");
        // 0 1 | 5 5: between 5+5+4+4 = 18, left 1: 1 · (2·18/4 − 2·1/2) = 8.
        let split = Split::all(&[0.0, 1.0, 5.0, 5.0], 2).find(|split| split.at == 2).expect("a split");
        assert!((split.distance - 8.0).abs() < 1e-12, "{}", split.distance);
    }
}
