//! The pages of the KV cache: which are free, and how many sequences hold each of the others.
//!
//! A page has as many holders as sequences read it; more than one only where prefixes are shared, and then it
//! is full and is never written again. A partial page therefore has one holder, and nothing is ever copied.
//!
//! Pages that are given back are taken again last in, first out: the page that was just used is the one
//! that is still in the processor's caches.

use super::prefix::{Chain, Prefixes};

/// All pages of a cache.
#[derive(Debug)]
pub(super) struct Pages {
    /// How many sequences hold each page.
    holders: Vec<u32>,
    /// Pages without a holder whose contents cannot be found.
    free: Vec<u32>,
    /// Contents that can be found again, when sharing is on.
    prefixes: Option<Prefixes>,
}

impl Pages {
    /// A cache of `count` free pages; `share` keeps the contents of full pages findable.
    pub(super) fn new(count: u32, share: bool) -> Self {
        Self {
            holders: vec![0; count as usize],
            free: (0..count).rev().collect(),
            prefixes: share.then(|| Prefixes::new(count)),
        }
    }

    /// All pages there are.
    pub(super) fn count(&self) -> usize {
        self.holders.len()
    }

    /// Pages that can be taken now.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.prefixes.as_ref().map_or(0, Prefixes::idle)
    }

    /// Pages that someone holds.
    pub(super) fn held(&self) -> usize {
        self.count() - self.available()
    }

    /// Whether contents are kept findable.
    pub(super) fn shares(&self) -> bool {
        self.prefixes.is_some()
    }

    /// Takes a page for one holder; what it held is gone. The contents released longest ago
    /// are given up when no page is free otherwise.
    pub(super) fn take(&mut self) -> Option<u32> {
        let page = self.free.pop().or_else(|| self.prefixes.as_mut()?.give_up_oldest())?;
        debug_assert_eq!(self.holders[page as usize], 0, "page {page} was held and free");
        self.holders[page as usize] = 1;
        Some(page)
    }

    /// Lets go of a page on behalf of one holder.
    pub(super) fn release(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        debug_assert!(*holders > 0, "page {page} is released more often than it was taken");
        *holders = holders.saturating_sub(1);
        if *holders == 0 && !self.prefixes.as_mut().is_some_and(|prefixes| prefixes.rest(page)) {
            self.free.push(page);
        }
    }

    /// Releases all of a sequence's pages from the `keep`-th on, the last one first: of a prefix released
    /// whole, the end is given up before the beginning, without which it could not be found.
    pub(super) fn release_from(&mut self, pages: &mut Vec<u32>, keep: usize) {
        while pages.len() > keep {
            if let Some(page) = pages.pop() {
                self.release(page);
            }
        }
    }

    /// Finds the pages that hold a prefix of `tokens`, at most `most` of them, without holding them.
    pub(super) fn find(&self, tokens: &[u32], most: usize, found: &mut Vec<u32>) {
        found.clear();
        if let Some(prefixes) = &self.prefixes {
            prefixes.find(tokens, most, found);
        }
    }

    /// How many of `pages` are available now but will not be once they are held.
    pub(super) fn idle_among(&self, pages: &[u32]) -> usize {
        pages.iter().filter(|page| self.holders[**page as usize] == 0).count()
    }

    /// Holds a page that was found, for one more holder.
    pub(super) fn hold(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders += 1;
        if *holders == 1
            && let Some(prefixes) = self.prefixes.as_mut()
        {
            prefixes.wake(page);
        }
    }

    /// Makes the contents of a sequence's full pages findable, from the `known`-th on; gives how many are then.
    ///
    /// `tokens` are those whose keys and values are in `pages` already.
    pub(super) fn remember(&mut self, tokens: &[u32], pages: &[u32], known: &mut Chain) {
        if let Some(prefixes) = self.prefixes.as_mut() {
            prefixes.remember(tokens, pages, known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PAGE_POSITIONS;
    use crate::base::random::SplitMix64;

    #[test]
    fn a_page_is_free_when_its_last_holder_lets_go() {
        let mut pages = Pages::new(2, false);
        let (first, second) = (pages.take().unwrap(), pages.take().unwrap());
        assert_ne!(first, second);
        assert_eq!((pages.take(), pages.available(), pages.held()), (None, 0, 2));
        pages.hold(first);
        pages.release(first);
        assert_eq!(pages.available(), 0);
        pages.release(first);
        assert_eq!(pages.take(), Some(first));
    }

    /// Random sequences take, share, grow and let go; a plain model knows who holds what.
    #[test]
    fn nothing_leaks_and_nothing_is_held_by_two_that_do_not_share() {
        const PAGE: usize = PAGE_POSITIONS as usize;
        for seed in 0..20 {
            let share = seed % 2 == 0;
            let mut random = SplitMix64::new(seed);
            let mut pages = Pages::new(24, share);
            // What each page was last filled with, from the sequence's beginning.
            let mut contents: Vec<Vec<u32>> = vec![Vec::new(); 24];
            let mut live: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
            let mut found = Vec::new();
            let mut shared = 0;
            for _ in 0..3000 {
                if random.below(5) < 3 {
                    // Few different beginnings, so that many are shared.
                    let kind = random.below(3);
                    let full = 1 + random.below(5) as usize;
                    let tokens: Vec<u32> =
                        (0..full * PAGE).map(|i| if i < 2 * PAGE { kind } else { random.below(2) }).collect();
                    pages.find(&tokens, full, &mut found);
                    for (index, page) in found.iter().enumerate() {
                        assert_eq!(contents[*page as usize], tokens[..(index + 1) * PAGE]);
                    }
                    shared += found.len();
                    if full - found.len() + pages.idle_among(&found) > pages.available() {
                        continue;
                    }
                    let mut own = found.clone();
                    for page in &own {
                        pages.hold(*page);
                    }
                    while own.len() < full {
                        let page = pages.take().unwrap();
                        contents[page as usize] = tokens[..(own.len() + 1) * PAGE].to_vec();
                        own.push(page);
                    }
                    let mut chain = Chain::default();
                    let part = random.below(u32::try_from(full * PAGE).unwrap()) as usize;
                    pages.remember(&tokens[..part], &own, &mut chain);
                    assert_eq!(chain.pages, if share { part / PAGE } else { 0 });
                    pages.remember(&tokens, &own, &mut chain);
                    live.push((tokens, own));
                } else if !live.is_empty() {
                    let at = random.below(u32::try_from(live.len()).unwrap()) as usize;
                    let (_, mut own) = live.swap_remove(at);
                    pages.release_from(&mut own, 0);
                }
                let mut holders = vec![0; 24];
                for (tokens, own) in &live {
                    for (index, page) in own.iter().enumerate() {
                        holders[*page as usize] += 1;
                        assert_eq!(contents[*page as usize], tokens[..(index + 1) * PAGE]);
                    }
                }
                assert_eq!(pages.holders, holders);
                assert_eq!(pages.held(), holders.iter().filter(|count| **count > 0).count());
            }
            assert_eq!(shared > 100, share, "seed {seed}: {shared} pages were shared");
            for (_, mut own) in live {
                pages.release_from(&mut own, 0);
            }
            assert_eq!(pages.available(), 24);
            let mut all: Vec<u32> = std::iter::from_fn(|| pages.take()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..24).collect::<Vec<_>>());
        }
    }
}
