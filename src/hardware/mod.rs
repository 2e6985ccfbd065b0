//! The machine: what is in it and what can be asked of it.

pub mod cuda;
pub mod device;
pub mod doctor;
pub mod nvml;
pub mod telemetry;
