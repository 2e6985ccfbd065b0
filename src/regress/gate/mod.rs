//! The gate: replicates of two programs in the order A B B A, and a verdict on the ratio of each pair.
//!
//! [`run()`] measures and decides; [`decide()`] alone decides on figures that are there; [`check()`] takes them from
//! records. A gate is a folder: a record for each replicate, written whole or not at all, so whatever ends a gate early loses
//! no replicate and mixes none.

mod check;
mod decide;
mod disturbance;
mod figures;
mod folder;
#[cfg(test)]
mod noisy;
mod patience;
mod replicate;
mod result;
mod run;
#[cfg(test)]
mod simulation;
mod words;

pub use check::{apart, check};
pub use decide::{Decision, Finding, Looks, Margin, Pairs, Reported, Verdict, decide};
pub use disturbance::Disturbed;
pub use figures::Margins;
pub(in crate::regress) use folder::write_whole;
pub use result::{GateResult, Program, Replicate};
pub use run::{Gate, Observer, Side, run};

/// How a file of another tool becomes records: its path and its bytes. The reason of a failure names the path.
pub type Read<'a> = dyn Fn(&std::path::Path, Vec<u8>) -> Result<Vec<crate::record::Record>, String> + 'a;
