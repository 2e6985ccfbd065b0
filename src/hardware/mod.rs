//! The machine: what is in it and what can be asked of it.

pub mod device;
pub mod nvml;
pub mod telemetry;
