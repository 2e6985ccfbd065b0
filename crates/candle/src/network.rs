//! One interface to candle's many model types.

use candle_core::{Result, Tensor};

use super::facts::Facts;

/// A network with its weights and its KV cache.
pub(super) trait Network {
    /// Feeds `tokens` (`[batch, length]`, `u32`) at `position` and gives the last position's logits,
    /// `[batch, vocabulary]`.
    ///
    /// The cache must hold exactly `position` positions of the same batch, so before a step at position 0
    /// stands a [`reset`](Self::reset).
    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor>;

    /// Empties the cache.
    fn reset(&mut self);

    /// A second network with the same weights (shared) and the same cache, which then go separate
    /// ways; `None` where candle's type cannot be cloned.
    fn fork(&self) -> Option<Box<dyn Network>>;
}

/// A network, what it can do, and what it does otherwise than the model says.
pub(super) struct Loaded {
    pub(super) network: Box<dyn Network>,
    pub(super) facts: Facts,
    pub(super) caveats: Vec<String>,
}
