//! Views of records for people: printing code that measures nothing.

pub mod page;
pub mod plot;
pub mod svg;
pub mod terminal;
