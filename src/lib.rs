//! infercost: what a million tokens of this model cost on the hardware in front of you.
//!
//! Data flows one way; each room imports only those above it (`docs/architecture.md`). The first nine are crates under
//! `crates/`, here under their short names.
//!
//! ```text
//! configs/ + flags ─► plan ─► model ─► engine
//!                                        │ step and token events
//!                     runner ────────────┤
//!                                        ▼
//!                     measure ─► validity ─► cost ─► seal ─► record (JSON) ─► report ─► cli
//! ```
//!
//! Start reading at `cli::run` (`bench run`: from flags to what is printed) and [`run::session`] (from what was asked to
//! a sealed record), then [`run::runner`] (the loop that measures), [`engine`] (the contract of an engine) and [`record`]
//! (the contract with any reader of a record).

// Units, statistics, the clock, events, and the doors to environment and system.
pub use infercost_base as base;
// The record: schema types, fingerprint, reading, writing once.
pub use infercost_record as record;
// What is known before measuring: GPUs, prices, models.
pub use infercost_catalog as catalog;
// What this machine is, and which of its devices a run uses.
pub use infercost_hardware as hardware;
// What to load: from a name to a header and a reader over the weights.
pub use infercost_model as model;
// What a server is asked, and when: lengths, arrivals, prompts, the driver of a load.
pub use infercost_workload as workload;
// What makes tokens: the traits, the scheduler and our own engine.
pub use infercost_engine as engine;
// Load on any OpenAI-compatible server.
pub use infercost_endpoint as endpoint;
// Stock candle under the same contract.
pub use infercost_candle as candle;
// Dollars per million tokens, margin, the curve of prices, the comparison with APIs and records.
pub mod cost;
// From a plan to a sealed record.
pub mod run;
// Proving a slowdown: the gate and the history.
pub mod regress;
// Views for people and for CI, other tools' formats in and out.
pub mod report;
// The command line.
pub mod cli;
