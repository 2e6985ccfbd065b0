//! From what was asked to a sealed record: `session` takes the steps plan → runner → measure → validity → seal. Apart from it,
//! a load on a server and the quality of a text.

mod budget;
mod demand;
pub mod energy;
pub mod engines;
pub mod estimate;
pub mod fingerprint;
pub mod measure;
pub mod plan;
mod prompts;
pub mod quality;
pub mod runner;
pub mod seal;
pub mod serving;
pub mod session;
pub mod validity;
