//! The store: a folder of records and gates, which is authoritative, and an index of their figures, which is a cache.
//!
//! The index (`SQLite`, in the cache folder) has one row for each figure of a history, so that a year of nightly runs is
//! drawn without reading a gigabyte of JSON. It is updated for new, changed and removed files when the store is opened, and
//! can always be rebuilt (`--reindex`).

mod entry;
mod index;
pub mod moved;
#[cfg(feature = "object-store")]
mod remote;
pub mod url;

pub use entry::Point;
pub use index::{Series, Store, Synced};
