//! One live sequence: its tokens, how many of them are in the cache, and where.
//!
//! Prompt and output lie in one array and a step always feeds the next ones that are not in the cache. So a chunk of
//! a prompt, a decode step, and the work after a preemption (when what was yielded is fed again like a prompt) are
//! the same thing.

use super::super::PAGE_POSITIONS;
use super::prefix::Chain;

/// Positions of a page, for lengths of vectors.
pub(super) const PAGE: usize = PAGE_POSITIONS as usize;

/// A sequence between its submission and its end.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// The submitter's number for it.
    pub(super) owner: u32,
    /// How many were submitted before it.
    pub(super) age: u64,
    /// All tokens known: those given, and behind them those yielded.
    pub(super) tokens: Vec<u32>,
    /// How many of the tokens were given.
    pub(super) given: usize,
    /// How many of the tokens are in the cache.
    pub(super) cached: usize,
    /// How many were in the cache at most, before a preemption.
    pub(super) computed: usize,
    /// How many were in the cache when it was admitted first.
    pub(super) found: u32,
    /// Output tokens still to be yielded.
    pub(super) left: u32,
    /// Whether more tokens will follow these, so that nothing is to be chosen at their end.
    pub(super) silent: bool,
    /// Whether all that was asked for was yielded.
    pub(super) done: bool,
    /// Pages in order of position.
    pub(super) pages: Vec<u32>,
    /// How far the pages are findable.
    pub(super) chain: Chain,
}

impl Sequence {
    /// Makes this a new sequence; what was allocated for the one before is used again.
    pub(super) fn begin(&mut self, owner: u32, age: u64, tokens: &[u32], left: u32, silent: bool) {
        debug_assert!(self.pages.is_empty(), "a sequence that still has pages is not over");
        self.owner = owner;
        self.age = age;
        self.tokens.clear();
        self.cached = 0;
        self.computed = 0;
        self.found = 0;
        self.chain = Chain::default();
        self.give(tokens, left, silent);
    }

    /// Gives it more tokens and the number of outputs behind them; room for all of both is made now, so that
    /// no step has to.
    pub(super) fn give(&mut self, tokens: &[u32], left: u32, silent: bool) {
        self.tokens.reserve(tokens.len() + left as usize);
        self.tokens.extend_from_slice(tokens);
        self.given = self.tokens.len();
        self.left = left;
        self.silent = silent;
        self.done = false;
        let pages = (self.tokens.len() + left as usize).div_ceil(PAGE);
        self.pages.reserve(pages.saturating_sub(self.pages.len()));
    }

    /// Takes a token that it yielded and that was asked for.
    pub(super) fn take(&mut self, token: u32) {
        self.tokens.push(token);
        self.left -= 1;
        self.done = self.left == 0;
    }

    /// Tokens that are known and not in the cache.
    pub(super) fn pending(&self) -> usize {
        if self.done { 0 } else { self.tokens.len() - self.cached }
    }

    /// Whether the next step feeds it the one token that the last step yielded.
    pub(super) fn is_decoding(&self) -> bool {
        self.pending() == 1 && self.tokens.len() > self.given
    }

    /// Whether the next steps feed it tokens and it is not decoding.
    pub(super) fn is_prefilling(&self) -> bool {
        self.pending() > 0 && !self.is_decoding()
    }

    /// Forgets what is in the cache; the caller has its pages back already.
    pub(super) fn lose_pages(&mut self) {
        self.cached = 0;
        self.chain = Chain::default();
    }
}
