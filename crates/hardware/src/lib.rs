//! The machine: what is in it and what can be asked of it.

pub mod cuda;
pub mod device;
pub mod doctor;
pub mod nvml;
pub mod telemetry;

// Rooms go by their own names here: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;
use infercost_catalog as catalog;
use infercost_record as record;
