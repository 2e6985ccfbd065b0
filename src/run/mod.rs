//! From a plan to a sealed record: plan → runner → measure → validity → seal.

pub mod energy;
pub mod fingerprint;
pub mod measure;
pub mod plan;
mod prompts;
pub mod runner;
pub mod seal;
pub mod validity;
