//! The record: one measured run as plain data, written once and never edited.
//!
//! The types are the contract with everyone who reads a record; the rooms below fill them. Three rules
//! hold for all of them. A thing not known, `x`, is `null` with a sibling `x_reason`: here one field of type [`Known`].
//! The unit is in the key. Fields this version does not know survive a read and a write.

pub mod cost;
pub mod energy;
pub mod environment;
pub mod error;
pub mod fingerprint;
pub mod imported;
pub mod measurement;
pub mod metric;
pub mod model;
pub mod quality;
pub mod read;
pub mod sensor;
pub mod serving;
pub mod several;
pub mod validity;
pub mod write;

// Rooms go by their own names here: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;

use crate::base::known::{self, Known};

pub use cost::{
    Answer, Apart, ApiComparison, ApiVerdict, Cost, CostCell, Doubt, Electricity, Estimate, Figure,
    MonthBills, Price, Separation, Tier,
};
pub use energy::{Energy, EnergyWindow, Grade, SensorTrace};
pub use environment::{Environment, Gpu, Peaks, Telemetry, Tool, UnusedGpu};
pub use error::Error;
pub use fingerprint::Fingerprint;
pub use imported::Imported;
pub use measurement::{Cell, Measurement, Percentiles, Samples};
pub use metric::{Direction, Metric, Phase};
pub use model::{EngineInfo, ModelInfo};
pub use quality::{Greedy, Quality};
pub use sensor::{Counter, PowerSensor, Sensor};
pub use serving::Serving;
pub use validity::{Check, ROOFLINE, Validity, Verdict};

/// The schema this version writes.
pub const SCHEMA: &str = "infercost.record/1";

/// Fields of a newer version or of somebody else, kept as they came.
pub type Unknown = serde_json::Map<String, serde_json::Value>;

/// One run, as it is stored.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Record {
    /// Name and version of the schema: `infercost.record/1`.
    pub schema: String,
    /// Unique name of the run; the file's name ends with it.
    pub id: String,
    /// When the run began, in UTC (RFC 3339).
    pub created: String,
    /// The program that measured.
    pub tool: Tool,
    /// What was asked and what it was resolved to.
    pub command: Command,
    /// The machine it ran on.
    pub environment: Environment,
    /// The model that was measured.
    pub model: ModelInfo,
    /// The engine that ran it.
    pub engine: EngineInfo,
    /// What the engine was given to do.
    pub workload: Workload,
    /// Every figure, each with the cell it belongs to.
    pub measurements: Vec<Measurement>,
    /// What was watched during the run, and what watching cost.
    pub telemetry: Known<Telemetry>,
    /// Energy: how far its figures can be trusted.
    pub energy: Energy,
    /// Dollars.
    pub cost: Cost,
    /// Whether the figures can be true.
    pub validity: Validity,
    /// Whether the output is what the model should say.
    pub quality: Quality,
    /// What this record can be compared with.
    pub fingerprint: Fingerprint,
    /// Where the figures came from when another tool measured; absent when this program did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// The load that was put on a server; absent when the engine ran in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Record {
    /// Whether its file had no date, so that `created` is when it was imported.
    pub fn is_undated(&self) -> bool {
        self.imported.as_ref().is_some_and(|imported| imported.measured.is_none())
    }

    /// The same record with other measurements; its own, which may be very large, are not copied.
    fn with_measurements(&self, measurements: Vec<Measurement>) -> Self {
        Self {
            schema: self.schema.clone(),
            id: self.id.clone(),
            created: self.created.clone(),
            tool: self.tool.clone(),
            command: self.command.clone(),
            environment: self.environment.clone(),
            model: self.model.clone(),
            engine: self.engine.clone(),
            workload: self.workload.clone(),
            measurements,
            telemetry: self.telemetry.clone(),
            energy: self.energy.clone(),
            cost: self.cost.clone(),
            validity: self.validity.clone(),
            quality: self.quality.clone(),
            fingerprint: self.fingerprint.clone(),
            imported: self.imported.clone(),
            serving: self.serving.clone(),
            unknown: self.unknown.clone(),
        }
    }
}

/// What was asked for, and what it was resolved to.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Command {
    /// The command line as typed, the program's name first.
    pub argv: Vec<String>,
    /// Every choice after defaults, files and catalog were applied.
    pub plan: serde_json::Value,
    /// Seed of every random choice.
    pub seed: Known<u64>,
    /// Exit code of the signal that ended the run early: 130 or 143; `null` when it ran to its end.
    pub interrupted: Option<u8>,
    /// Why `interrupted` is `null`, or in which phase the signal came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted_reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What the engine was given to do.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Workload {
    /// `shapes`: prompts of fixed length that start together, without queueing. `serving`: requests to a server over time.
    pub kind: String,
    /// The rows in llama-bench's words: `pp512`, `tg128`, `pp512+tg128 @ d4096`.
    pub rows: Vec<String>,
    /// Of these, the rows that were not measured since the time was too short for one trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows_left_out: Vec<RowLeftOut>,
    /// Where the prompts' tokens come from.
    pub tokens: Known<String>,
    /// How the next token is chosen: `greedy`.
    pub sampling: Known<String>,
    /// Whether a prompt's keys and values may be shared with another's: never when measuring.
    pub prefix_cache: Known<bool>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A row that was asked for and not measured.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct RowLeftOut {
    /// Its name, as in `rows`.
    pub row: String,
    /// Why.
    pub reason: String,
    /// Seconds that one trial of it takes, by its first steps or by the machine's peaks.
    pub trial_seconds: Known<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The JSON Schema of a record, generated from these types.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Record).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "infercost record, version 1".into());
    }
    schema
}
