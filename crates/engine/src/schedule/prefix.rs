//! Which full pages hold which tokens, so that a sequence with the same beginning reuses them.
//!
//! A page's keys and values depend on all tokens before it, so a page is known by its own tokens and by the
//! page before it: each page that is made findable gets a number that is never reused (its *link*), and the map's
//! key is the link of the page before together with the page's 64 tokens. Keys are compared whole. A hash only says
//! where to look, so two prefixes that collide in it are two entries and never one page.
//!
//! A findable page without a holder rests until its place is needed, and the one that rests longest goes first.
//! When a page goes, those after it cannot be found any more; they were released before it, so they go sooner.

use std::collections::{HashMap, VecDeque};

use super::super::PAGE_POSITIONS;

const PAGE: usize = PAGE_POSITIONS as usize;

/// What a page is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// The link of the page before it, 0 for a sequence's first.
    before: u64,
    tokens: [u32; PAGE],
}

/// A findable page.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    link: u64,
    /// The call of [`Prefixes::rest`] since which it has no holder.
    resting_since: Option<u64>,
}

/// How far a sequence's pages are known to be findable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Full pages of the sequence that were gone through.
    pub(super) pages: usize,
    /// The link that the last of them is known by, 0 before the first.
    pub(super) link: u64,
}

/// The findable pages.
#[derive(Debug)]
pub(super) struct Prefixes {
    page_of: HashMap<Key, u32>,
    /// By page.
    entries: Vec<Option<Entry>>,
    /// Pages in the order in which they came to rest, with that moment; a pair whose page was woken since is void.
    resting: VecDeque<(u32, u64)>,
    /// Pairs of `resting` that are not void.
    idle: usize,
    last_link: u64,
    rests: u64,
}

impl Prefixes {
    pub(super) fn new(pages: u32) -> Self {
        Self {
            page_of: HashMap::with_capacity(pages as usize),
            entries: vec![None; pages as usize],
            resting: VecDeque::with_capacity(2 * pages as usize + 1),
            idle: 0,
            last_link: 0,
            rests: 0,
        }
    }

    /// Findable pages without a holder.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// The pages that hold the beginning of `tokens`, in order, at most `most`.
    pub(super) fn find(&self, tokens: &[u32], most: usize, found: &mut Vec<u32>) {
        let mut before = 0;
        for tokens in tokens.as_chunks().0.iter().take(most) {
            let Some(page) = self.page_of.get(&Key { before, tokens: *tokens }) else { break };
            let Some(entry) = &self.entries[*page as usize] else { break };
            found.push(*page);
            before = entry.link;
        }
    }

    /// Makes the full pages of a sequence findable, those after `known`.
    ///
    /// Where another page holds the same already, that one stays the findable one, and the sequence's own goes
    /// back to the free ones in the end.
    pub(super) fn remember(&mut self, tokens: &[u32], pages: &[u32], known: &mut Chain) {
        let full = tokens.as_chunks().0;
        for (tokens, page) in full.iter().zip(pages).skip(known.pages) {
            let key = Key { before: known.link, tokens: *tokens };
            let link = match self.page_of.get(&key).and_then(|page| self.entries[*page as usize]) {
                Some(entry) => entry.link,
                None => self.insert(&key, *page),
            };
            *known = Chain { pages: known.pages + 1, link };
        }
    }

    fn insert(&mut self, key: &Key, page: u32) -> u64 {
        self.last_link += 1;
        // A page is written anew only after it was given up or was never findable.
        debug_assert!(self.entries[page as usize].is_none(), "page {page} is findable twice");
        self.page_of.insert(*key, page);
        self.entries[page as usize] = Some(Entry { key: *key, link: self.last_link, resting_since: None });
        self.last_link
    }

    /// Lays a page without a holder to rest; false if it is not findable, and so free.
    pub(super) fn rest(&mut self, page: u32) -> bool {
        let Some(entry) = self.entries[page as usize].as_mut() else { return false };
        self.rests += 1;
        entry.resting_since = Some(self.rests);
        self.idle += 1;
        if self.resting.len() > 2 * self.entries.len() {
            let entries = &self.entries;
            self.resting.retain(|(page, since)| is_resting(entries, *page, *since));
        }
        self.resting.push_back((page, self.rests));
        true
    }

    /// Notes that a resting page is held again.
    pub(super) fn wake(&mut self, page: u32) {
        if let Some(entry) = self.entries[page as usize].as_mut()
            && entry.resting_since.take().is_some()
        {
            self.idle -= 1;
        }
    }

    /// Gives up the page that rests longest.
    pub(super) fn give_up_oldest(&mut self) -> Option<u32> {
        while let Some((page, since)) = self.resting.pop_front() {
            if !is_resting(&self.entries, page, since) {
                continue;
            }
            if let Some(entry) = self.entries[page as usize].take() {
                self.page_of.remove(&entry.key);
                self.idle -= 1;
                return Some(page);
            }
        }
        None
    }
}

/// Whether a pair of the queue still says when its page came to rest.
fn is_resting(entries: &[Option<Entry>], page: u32, since: u64) -> bool {
    entries[page as usize].is_some_and(|entry| entry.resting_since == Some(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(pages: &[u32]) -> Vec<u32> {
        pages.iter().flat_map(|kind| [*kind; PAGE]).collect()
    }

    fn found(prefixes: &Prefixes, kinds: &[u32]) -> Vec<u32> {
        let mut found = Vec::new();
        prefixes.find(&tokens(kinds), usize::MAX, &mut found);
        found
    }

    #[test]
    fn a_page_is_found_after_its_own_beginning_only() {
        let mut prefixes = Prefixes::new(8);
        prefixes.remember(&tokens(&[1, 2, 3]), &[5, 6, 7], &mut Chain::default());
        prefixes.remember(&tokens(&[4, 2]), &[0, 1], &mut Chain::default());
        assert_eq!(found(&prefixes, &[1, 2, 3, 4]), [5, 6, 7]);
        assert_eq!(found(&prefixes, &[4, 2, 3]), [0, 1]);
        assert!(found(&prefixes, &[2, 3]).is_empty());
        // What is known already keeps its page, and what follows hangs after it.
        prefixes.remember(&tokens(&[1, 2, 9]), &[2, 3, 4], &mut Chain::default());
        assert_eq!(found(&prefixes, &[1, 2, 9]), [5, 6, 4]);
    }

    #[test]
    fn the_page_that_rests_longest_goes_first_and_a_new_one_is_not_taken_for_it() {
        let mut prefixes = Prefixes::new(8);
        prefixes.remember(&tokens(&[1, 2]), &[0, 1], &mut Chain::default());
        prefixes.remember(&tokens(&[3]), &[2], &mut Chain::default());
        for page in [1, 0, 2] {
            assert!(prefixes.rest(page));
        }
        assert!(!prefixes.rest(7));
        prefixes.wake(1);
        assert_eq!((prefixes.idle(), prefixes.give_up_oldest()), (2, Some(0)));
        assert!(found(&prefixes, &[1, 2]).is_empty());
        // The same beginning on another page gets another link: the old second page does not follow it.
        prefixes.remember(&tokens(&[1]), &[0], &mut Chain::default());
        assert_eq!(found(&prefixes, &[1, 2]), [0]);
        assert_eq!(prefixes.give_up_oldest(), Some(2));
        assert_eq!((prefixes.give_up_oldest(), prefixes.idle()), (None, 0));
    }

    #[test]
    fn void_pairs_of_the_queue_do_not_pile_up() {
        let mut prefixes = Prefixes::new(2);
        prefixes.remember(&tokens(&[1]), &[0], &mut Chain::default());
        for _ in 0..1000 {
            prefixes.rest(0);
            prefixes.wake(0);
        }
        assert!(prefixes.resting.len() <= 6, "{}", prefixes.resting.len());
        prefixes.rest(0);
        assert_eq!((prefixes.give_up_oldest(), prefixes.give_up_oldest()), (Some(0), None));
    }
}
