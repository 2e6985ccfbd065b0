//! The program from outside: every test here runs the built `bench`.
//!
//! One executable with a module for each concern.
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]
#![allow(clippy::disallowed_methods, reason = "those bans are for the program, not for its tests")]

mod architecture; // the house as drawn, against the house as built
mod bad_input; // each a clear error with the way out, the right exit code and nothing half-written
mod catalog; // bundled rows, the user's own files
mod command_lines; // what people type by habit and by mistake, and what each says
mod compare; // a record against API prices, and against another record
mod cost; // a record priced again
mod cuda; // GPUs through a library that behaves like the driver
mod doctor; // what this box can do, as lines and as JSON
mod forecast; // price curves, claims and use cases
mod hub; // a model on the hub: what a plan asks for
mod import; // other tools' files as records, and back
mod interrupt; // a signal in each phase
mod misread; // files of other tools that were misread once: each kind, and what is said now
mod memory; // memory that is not there
mod nvml; // GPUs, sensors and settings through a library that behaves like NVML
mod power; // joules, through a library that behaves like NVML
mod progress; // the progress line on terminals of several widths
mod quality; // a text scored by a model, and by a reference
mod real_model; // the real SmolLM2, from a GGUF file to a record
mod record; // schema, nulls with reasons, fields nobody knows
mod regress; // verdicts, and a gate that holds when things go wrong
mod regress_commands; // a gate over other engines, and records of other tools
mod run; // `bench run` on synthetic weights
mod serving; // load on servers that answer as they are told, and on a real one
mod support;
mod words; // every help and the views of fixed records, as files
