//! The gate: replicates of two programs in the order A B B A, and a verdict on the ratio of each pair.

mod decide;
#[cfg(test)]
mod simulation;

pub use decide::{Decision, Finding, Looks, Margin, Pairs, Verdict, decide};
