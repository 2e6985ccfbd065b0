//! A stand-in for NVIDIA's driver: `libcuda.so.1` for machines without a GPU, which executes PTX on the CPU.
//!
//! For tests alone. `ptx` is the machine; `driver` the C interface of the driver above it.
#![allow(clippy::too_many_lines, reason = "lists of like things are long")]

pub mod driver;
pub mod ptx;
