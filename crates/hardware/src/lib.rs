//! The machine: its devices, their sensors and their settings.

pub mod cuda;
pub mod device;
pub mod doctor;
pub mod nvml;
pub mod telemetry;

// Other crates are imported under their short names: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;
use infercost_catalog as catalog;
use infercost_record as record;
