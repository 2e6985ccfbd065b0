//! Engines by name, and the settings of our own.

use clap::ValueEnum;

use crate::engine::fused::{Isa, KvType};
use crate::run::engines::Kind;

/// Engines by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum EngineName {
    /// The best one for this model and machine
    Auto,
    /// Our own, on the processor
    Fused,
    /// Stock candle-transformers
    Candle,
}

impl EngineName {
    /// The engine; `None` leaves the choice to the model and the device.
    pub(in crate::cli) fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Fused => Some(Kind::Fused),
            Self::Candle => Some(Kind::Candle),
        }
    }
}

/// An instruction set.
pub(in crate::cli) fn isa(text: &str) -> Result<Isa, String> {
    text.parse()
}

/// A format of the KV cache.
pub(in crate::cli) fn kv_type(text: &str) -> Result<KvType, String> {
    text.parse()
}
