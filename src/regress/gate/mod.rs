//! The gate: replicates of two programs in the order A B B A, and a verdict on the ratios of the pairs.
//!
//! [`run()`] measures and decides; [`decide()`] only decides on given figures; [`check()`] takes them from records. A gate
//! is a folder with one record per replicate, written atomically, so an interrupted gate loses no replicate and mixes
//! none.

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

pub use check::{check, distinct_inputs};
pub use decide::{Decision, Finding, Looks, Margin, Pairs, Reported, Verdict, decide};
pub use disturbance::Disturbed;
pub use figures::Margins;
pub(in crate::regress) use folder::write_whole;
pub use result::{GateResult, Program, Replicate};
pub use run::{Gate, Observer, Side, run};

/// How a file of another tool becomes records: its path and its bytes. The reason of a failure names the path.
pub type Read<'a> = dyn Fn(&std::path::Path, Vec<u8>) -> Result<Vec<crate::record::Record>, String> + 'a;
