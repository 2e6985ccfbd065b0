//! What a transfer between a folder and a remote store did.

/// The result of a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files that were copied.
    pub copied: usize,
    /// Files that existed already.
    pub there: usize,
    /// Mirrored files whose object is gone.
    pub gone: usize,
}
