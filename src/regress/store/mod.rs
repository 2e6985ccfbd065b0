//! The store: a folder of records and gates, which is the truth, and an index of their figures, which is not.
//!
//! The index (`SQLite`, in the cache folder) holds one row for each figure that a history looks at, so that a year of
//! nights is drawn without reading a gigabyte of JSON. A file that is new, changed or gone is brought up to date when the
//! store is opened; what the index says can always be made again (`--reindex`).

mod entry;
mod index;
#[cfg(feature = "object-store")]
mod remote;
pub mod url;

pub use entry::Point;
pub use index::{Series, Store, Synced};
