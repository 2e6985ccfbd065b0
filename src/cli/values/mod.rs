//! How values of flags are written: a share, an amount, a time, a list. The same for all commands.
//!
//! A parser takes what was typed and gives the value, or a sentence that says what would be right; clap adds the flag's name.

pub(super) mod engine;
pub(super) mod list;
pub(super) mod money;
pub(super) mod number;
pub(super) mod share;
pub(super) mod time;

use clap::ValueEnum;

/// `-o` of a view: the form in which it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Tables in Markdown
    Md,
    /// One JSON object, as with --json
    Json,
}
