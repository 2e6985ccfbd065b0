//! The p-value of a split: the share of permutations of the same values whose best split is as good.
//!
//! Exact for a short segment, over all its permutations. For a longer one random permutations are drawn, more of them the
//! closer the share is to the level, so that no length and no seed hides a change that can be proven at all. Stopping
//! early for a change costs less than one hundredth of the level, which the last look accounts for (see the tests).

use crate::random::SplitMix64;

use super::splits::{Distances, best_split};

/// Longest segment that is counted exactly: 2^16 subsets take about a millisecond.
const COUNTED: usize = 16;

/// An interim look at the random permutations so far.
struct Look {
    /// Permutations so far, as a multiple of `1 / p`: the expected number as good if the share equals the level.
    expected: u32,
    /// With at most this many as good, it is a change.
    change: u32,
    /// With at least this many as good, it is not. Checked after each permutation.
    none: u32,
}

const LOOKS: [Look; 4] = [
    Look { expected: 4, change: 0, none: 25 },
    Look { expected: 10, change: 3, none: 25 },
    Look { expected: 100, change: 69, none: 131 },
    Look { expected: 400, change: 396, none: 397 },
];

/// Share of the permutations of `segment` with a split as good as `distance`, and whether it is within the level `p`: exact
/// if the segment is short, else estimated from random permutations that are the same on every machine.
pub(super) fn chance(segment: &[f64], shortest: usize, distance: f64, p: f64, salt: u64) -> (f64, bool) {
    let distances = Distances::of(segment);
    // Summing the same distances in a different order changes the last bits.
    let least = distance - 1e-12 * distances.total().max(distance);
    let mut drawn = Drawn {
        random: SplitMix64::new(0x1AFE_C057).branch(salt),
        order: (0..segment.len()).collect(),
        orders: 0,
        as_good: 0,
    };
    if segment.len() <= COUNTED {
        // Most segments have no change, which a few permutations show.
        let Look { expected, none, .. } = LOOKS[0];
        if !drawn.until(&distances, shortest, least, f64::from(expected) / p / 10.0, none) {
            return (drawn.share(), false);
        }
        let exact = counted(&distances, shortest, least);
        return (exact, exact <= p);
    }
    for Look { expected, change, none } in LOOKS {
        if !drawn.until(&distances, shortest, least, f64::from(expected) / p - 1.0, none) {
            return (drawn.share(), false);
        }
        if drawn.as_good <= change {
            return (drawn.share(), true);
        }
    }
    (drawn.share(), false)
}

/// The random permutations so far.
struct Drawn {
    random: SplitMix64,
    order: Vec<usize>,
    orders: u32,
    as_good: u32,
}

impl Drawn {
    /// Draws until there are `orders` permutations; `false` as soon as `none` of them are as good.
    fn until(&mut self, distances: &Distances, shortest: usize, least: f64, orders: f64, none: u32) -> bool {
        while f64::from(self.orders) < orders.round() {
            self.random.shuffle(&mut self.order);
            self.orders += 1;
            if best_split(distances, &self.order, shortest).is_some_and(|split| split.distance >= least) {
                self.as_good += 1;
            }
            if self.as_good >= none {
                return false;
            }
        }
        true
    }

    /// The observed order counts as one of them.
    fn share(&self) -> f64 {
        f64::from(self.as_good + 1) / f64::from(self.orders + 1)
    }
}

/// The exact share. A permutation is a path from the empty set to the full one, adding a value at a time; it has no split as
/// good if it visits no set whose split from the rest is. So the share of paths to a set that visit none is the mean of the
/// shares of its subsets with one value fewer, and 0 for a set that is itself such a split.
fn counted(distances: &Distances, shortest: usize, least: f64) -> f64 {
    let n = distances.len();
    let all = (1usize << n) - 1;
    let mut within = vec![0.0; all + 1];
    let mut rows = vec![0.0; all + 1];
    let mut clean = vec![1.0; all + 1];
    for set in 1..=all {
        let (first, rest) = (set.trailing_zeros() as usize, set & (set - 1));
        within[set] = within[rest] + members(rest).map(|other| distances.between(first, other)).sum::<f64>();
        rows[set] = rows[rest] + distances.row(first);
        let size = set.count_ones() as usize;
        let splits = size >= shortest && n - size >= shortest;
        clean[set] = if splits && distances.energy(size, within[set], rows[set] - 2.0 * within[set]) >= least
        {
            0.0
        } else {
            members(set).map(|value| clean[set ^ (1 << value)]).sum::<f64>() / size as f64
        };
    }
    1.0 - clean[all]
}

/// The values of a set, one bit each.
fn members(mut set: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let value = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of five values, one after another.
    fn all_orders(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![Vec::new()];
        }
        let shorter = all_orders(n - 1);
        let longer = shorter.iter().flat_map(|order| {
            (0..n).map(move |place| {
                let mut order = order.clone();
                order.insert(place, n - 1);
                order
            })
        });
        longer.collect()
    }

    #[test]
    fn the_count_is_that_of_all_orders() {
        for values in [[1.0, 3.0, 2.5, 9.0, 7.0, 8.5, 8.0], [1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 5.0]] {
            let distances = Distances::of(&values);
            let seen: Vec<usize> = (0..values.len()).collect();
            let best = |order: &Vec<usize>| best_split(&distances, order, 2).expect("a split").distance;
            let least = best(&seen) - 1e-12;
            let all = all_orders(values.len());
            let as_good = all.iter().filter(|order| best(order) >= least).count();
            let expected = as_good as f64 / all.len() as f64;
            let found = counted(&distances, 2, least);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// Without a change the share of orders as good is as likely to be one as another, so a share is drawn, then what
    /// the looks would have said of it. Shares above 0.004 end at the first look.
    #[test]
    fn the_looks_together_keep_their_level() {
        const SHARES: u32 = 40_000;
        let mut random = SplitMix64::new(11);
        // The gaps between two orders as good are geometric, or as good as exponential.
        let mut change = |share: f64| {
            let (mut next, mut as_good) = (0.0, 0u32);
            for look in LOOKS {
                let orders = f64::from(look.expected) * 1000.0 - 1.0;
                loop {
                    let gap = -(1.0 - random.unit()).ln() / share;
                    if next + gap > orders {
                        next = orders;
                        break;
                    }
                    next += gap;
                    as_good += 1;
                    if as_good >= look.none {
                        return false;
                    }
                }
                if as_good <= look.change {
                    return true;
                }
            }
            false
        };
        let changes =
            (0..SHARES).filter(|n| change((f64::from(*n) + 0.5) / f64::from(SHARES) * 0.004)).count();
        let level = changes as f64 / f64::from(SHARES) * 0.004;
        // Its own standard deviation is some 0.000_004.
        assert!((0.000_96..=0.001_01).contains(&level), "{level}");
    }
}
