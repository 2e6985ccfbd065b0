//! What renting a machine without a GPU costs.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::checked::{count, money, optional_date, positive};
use super::provenance::Trust;
use super::rentals::RentalKind;

/// One price of `configs/prices/vms.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// `azure/d4s-v5`.
    pub id: String,
    /// Who rents it out.
    pub provider: String,
    /// The provider's name of the instance.
    pub instance: String,
    /// The terms.
    pub kind: RentalKind,
    /// What the instance is made for.
    pub class: VmClass,
    /// Hardware threads.
    #[serde(deserialize_with = "count")]
    pub vcpus: u32,
    /// Memory, GB.
    #[serde(deserialize_with = "positive")]
    pub memory_gb: f64,
    /// The processor, as far as the provider states it.
    #[serde(default)]
    pub cpu: Option<String>,
    /// USD per hour, Linux, without storage and egress.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub usd_per_hour: Decimal,
    /// The provider's region.
    pub region: String,
    /// The day on which the price was seen.
    #[serde(default, deserialize_with = "optional_date")]
    pub observed: Option<Date>,
    /// Anything else a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// Where it was read; a key of the file's `[sources]` is resolved.
    pub source: String,
    /// How far the row can be trusted.
    #[serde(default)]
    pub trust: Trust,
}

/// What an instance is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmClass {
    /// About 4 GB per vCPU.
    General,
    /// About 2 GB per vCPU.
    Compute,
    /// About 8 GB per vCPU; not used for the default price.
    Memory,
}
