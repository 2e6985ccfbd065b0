//! How the work of all experts is split among threads.

use std::ops::Range;

use super::super::share::share;

/// What a group's weights cost before the first token, in tokens: they come from memory, a token only computes.
const WEIGHTS_COST: usize = 8;

/// A thread's share of the items of all experts that have tokens: ranges of about the same cost, without gap or overlap.
pub(super) struct Shares<F> {
    items: usize,
    count: usize,
    tokens: F,
    /// This thread's stretch of the total cost.
    from: usize,
    to: usize,
    /// Cost of the experts before the next one.
    before: usize,
    next: usize,
}

impl<F: Fn(usize) -> usize> Shares<F> {
    /// Each of `count` experts has `items`, each of which costs its expert's tokens and the weights.
    pub(super) fn new(items: usize, count: usize, tokens: F, thread: usize, threads: usize) -> Self {
        let of = |index| Some(tokens(index)).filter(|tokens| *tokens > 0).map(|tokens| tokens + WEIGHTS_COST);
        let total: usize = items * (0..count).filter_map(of).sum::<usize>();
        let Range { start: from, end: to } = share(total, thread, threads);
        Self { items, count, tokens, from, to, before: 0, next: 0 }
    }
}

impl<F: Fn(usize) -> usize> Iterator for Shares<F> {
    type Item = (usize, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.count && self.before < self.to {
            let index = self.next;
            self.next += 1;
            let tokens = (self.tokens)(index);
            if tokens == 0 {
                continue;
            }
            let one = tokens + WEIGHTS_COST;
            // An item belongs to the thread in whose stretch it ends; rounded alike by both neighbours.
            let item = |cost: usize| (cost.saturating_sub(self.before) / one).min(self.items);
            let mine = item(self.from)..item(self.to);
            self.before += self.items * one;
            if !mine.is_empty() {
                return Some((index, mine));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_every_chosen_expert_belongs_to_one_thread() {
        for (counts, items) in
            [(vec![0, 5, 1, 0, 300, 2], 7), (vec![1], 1), (vec![0, 0, 1], 96), (vec![8; 8], 3)]
        {
            for threads in [1, 2, 3, 8] {
                let mut seen = vec![vec![0; items]; counts.len()];
                for thread in 0..threads {
                    for (index, range) in
                        Shares::new(items, counts.len(), |index| counts[index], thread, threads)
                    {
                        range.for_each(|item| seen[index][item] += 1);
                    }
                }
                for (tokens, seen) in counts.iter().zip(seen) {
                    assert!(
                        seen.iter().all(|times| *times == usize::from(*tokens > 0)),
                        "{counts:?} {threads}"
                    );
                }
            }
        }
    }
}
