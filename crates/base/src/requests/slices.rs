//! A quantity over time in slices of equal width, which doubles when there are too many slices.

use crate::event::{Span, Tick};

/// A quantity that can be summed.
pub trait Absorb: Default {
    /// Adds `other` to this.
    fn absorb(&mut self, other: Self);
}

/// Time slices since `begin`; their number is bounded, their width is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Slices<T> {
    begin: Tick,
    width: u64,
    most: usize,
    sums: Vec<T>,
}

impl<T: Absorb> Slices<T> {
    /// At most `most` slices, initially of `width` nanoseconds each.
    pub(super) fn new(begin: Tick, width: u64, most: usize) -> Self {
        Self { begin, width, most, sums: Vec::new() }
    }

    /// When the first begins.
    pub(super) fn begin(&self) -> Tick {
        self.begin
    }

    /// The slice that `at` falls into; times before the start fall into the first. `near` is the slice of the call before,
    /// and often this one's: then nothing is divided.
    pub(super) fn at_near(&mut self, at: Tick, near: &mut usize) -> &mut T {
        let since = at.nanos().saturating_sub(self.begin.nanos());
        let from = (*near as u64).saturating_mul(self.width);
        if since < from || since - from >= self.width || *near >= self.sums.len() {
            *near = self.slot(since);
        }
        &mut self.sums[*near]
    }

    /// As [`Self::at_near`], of one moment alone.
    #[cfg(test)]
    pub(super) fn at(&mut self, at: Tick) -> &mut T {
        let mut near = usize::MAX;
        self.at_near(at, &mut near)
    }

    /// Makes room for the slice that this long after the beginning falls into.
    fn slot(&mut self, since: u64) -> usize {
        let slot = loop {
            match usize::try_from(since / self.width) {
                Ok(slot) if slot < self.most => break slot,
                _ => self.widen(),
            }
        };
        if slot >= self.sums.len() {
            self.sums.resize_with(slot + 1, T::default);
        }
        slot
    }

    fn widen(&mut self) {
        self.width *= 2;
        let pairs = self.sums.len().div_ceil(2);
        for pair in 0..pairs {
            let mut both = std::mem::take(&mut self.sums[2 * pair]);
            if let Some(second) = self.sums.get_mut(2 * pair + 1) {
                both.absorb(std::mem::take(second));
            }
            self.sums[pair] = both;
        }
        self.sums.truncate(pairs);
    }

    /// Adds another log's slices since the same start.
    pub(super) fn absorb(&mut self, mut other: Self) {
        while other.width < self.width {
            other.widen();
        }
        while self.width < other.width {
            self.widen();
        }
        if other.sums.len() > self.sums.len() {
            self.sums.resize_with(other.sums.len(), T::default);
        }
        for (mine, more) in self.sums.iter_mut().zip(other.sums) {
            mine.absorb(more);
        }
    }

    /// All slices since the start.
    pub fn all(&self) -> &[T] {
        &self.sums
    }

    /// How long a slice is, in nanoseconds.
    pub fn width(&self) -> u64 {
        self.width
    }

    /// The largest span of whole slices within `span`; `None` if there is none.
    pub fn aligned(&self, span: Span) -> Option<Span> {
        let begin = self.begin.nanos();
        let from = span.from.nanos().saturating_sub(begin).div_ceil(self.width);
        let to = span.to.nanos().saturating_sub(begin) / self.width;
        let at = |slot: u64| Tick::from_nanos(begin + slot * self.width);
        (from < to).then(|| Span { from: at(from), to: at(to) })
    }

    /// The slices entirely within `span`.
    pub fn within(&self, span: Span) -> &[T] {
        let Some(span) = self.aligned(span) else { return &[] };
        let slot = |at: Tick| {
            let slot = (at.nanos() - self.begin.nanos()) / self.width;
            usize::try_from(slot).unwrap_or(usize::MAX).min(self.sums.len())
        };
        &self.sums[slot(span.from)..slot(span.to)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Absorb for u64 {
        fn absorb(&mut self, other: Self) {
            *self += other;
        }
    }

    fn span(from: u64, to: u64) -> Span {
        Span { from: Tick::from_nanos(from), to: Tick::from_nanos(to) }
    }

    #[test]
    fn slices_double_in_width_and_lose_nothing() {
        let mut slices: Slices<u64> = Slices::new(Tick::from_nanos(1000), 10, 4);
        for at in 0..100 {
            *slices.at(Tick::from_nanos(1000 + at)) += at;
            assert!(slices.sums.len() <= 4);
        }
        assert_eq!(slices.width(), 40);
        assert_eq!(slices.within(span(0, 2000)), [(0..40).sum::<u64>(), (40..80).sum(), (80..100).sum()]);
    }

    #[test]
    fn only_whole_slices_are_within_a_span() {
        let mut slices: Slices<u64> = Slices::new(Tick::from_nanos(1000), 10, 100);
        (0..100).for_each(|at| *slices.at(Tick::from_nanos(1000 + at)) += 1);
        assert_eq!(slices.aligned(span(1001, 1049)), Some(span(1010, 1040)));
        assert_eq!(slices.within(span(1001, 1049)), [10, 10, 10]);
        assert_eq!((slices.within(span(1010, 1020)), slices.within(span(1011, 1029))), (&[10][..], &[][..]));
        assert_eq!(slices.within(span(1090, 5000)), [10]);
    }

    #[test]
    fn two_logs_of_different_length_add_up() {
        let mut one: Slices<u64> = Slices::new(Tick::from_nanos(0), 10, 4);
        let mut two = one.clone();
        *one.at(Tick::from_nanos(35)) += 1;
        *two.at(Tick::from_nanos(5)) += 2;
        *two.at(Tick::from_nanos(75)) += 3;
        let mut both = one.clone();
        both.absorb(two.clone());
        two.absorb(one);
        assert_eq!(both, two);
        assert_eq!(both.within(span(0, 80)), [2, 1, 0, 3]);
    }
}
