//! GPUs: what their data sheets say.
//!
//! The peaks here are the vendor's, dense, without sparsity. A measured peak of the actual device is always the
//! better ceiling; these are shown next to it, and are used to plan a run on a device that is not available.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::units::Bytes;

use super::checked::{date, optional_positive, positive};
use super::provenance::Trust;

/// One GPU of `configs/gpus.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// What `--gpu` takes: `h100-sxm5-80gb`.
    pub id: String,
    /// Cards of one kind that differ in form factor or memory: `h100`. `--gpu` accepts it too.
    pub family: String,
    /// The name that the driver reports.
    pub name: String,
    /// Other names that `--gpu` takes.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// `hopper`, `ada`, `blackwell` …
    pub architecture: String,
    /// CUDA compute capability, `9.0`.
    pub compute_capability: String,
    /// What one row counts, where a product contains several GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// Marketed memory, GB.
    #[serde(deserialize_with = "positive")]
    pub memory_gb: f64,
    /// Memory available to programs where the vendor states it separately, GB.
    #[serde(default, deserialize_with = "optional_positive", skip_serializing_if = "Option::is_none")]
    pub memory_usable_gb: Option<f64>,
    /// `HBM3`, `GDDR6X` …
    pub memory_type: String,
    /// Peak memory bandwidth, 10^9 bytes per second.
    #[serde(deserialize_with = "positive")]
    pub memory_bandwidth_gb_s: f64,
    /// Dense BF16 peak with FP32 accumulation, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive")]
    pub bf16_dense_tflops: Option<f64>,
    /// Dense FP16 peak where there is no BF16, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive", skip_serializing_if = "Option::is_none")]
    pub fp16_dense_tflops: Option<f64>,
    /// Dense FP8 peak with FP32 accumulation, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive")]
    pub fp8_dense_tflops: Option<f64>,
    /// Dense FP8 peak with FP16 accumulation, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive", skip_serializing_if = "Option::is_none")]
    pub fp8_fp16acc_dense_tflops: Option<f64>,
    /// Dense FP4 peak, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive")]
    pub fp4_dense_tflops: Option<f64>,
    /// Dense INT8 peak, TOPS.
    #[serde(default, deserialize_with = "optional_positive")]
    pub int8_dense_tops: Option<f64>,
    /// Board power limit as shipped, watts.
    #[serde(default, deserialize_with = "optional_positive")]
    pub tdp_watts: Option<f64>,
    /// Note about the power limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdp_note: Option<String>,
    /// Streaming multiprocessors.
    #[serde(default)]
    pub sm_count: Option<u32>,
    /// `NVLink` bandwidth of both directions together, 10^9 bytes per second.
    #[serde(default, deserialize_with = "optional_positive")]
    pub nvlink_gb_s: Option<f64>,
    /// Note about the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvlink_note: Option<String>,
    /// Numbers computed from sourced ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
    /// Anything else a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where the numbers were read; keys of the file's `[sources]` are resolved.
    pub sources: Vec<String>,
    /// Sources that disagree, and which one was used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflict: Vec<String>,
    /// How far the row can be believed.
    #[serde(default)]
    pub trust: Trust,
    /// When the row was last compared with its sources.
    #[serde(deserialize_with = "date")]
    pub checked: Date,
}

/// Numbers that no data sheet states, computed from ones that are stated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// Dense BF16 peak, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive", skip_serializing_if = "Option::is_none")]
    pub bf16_dense_tflops: Option<f64>,
    /// Dense FP8 peak, TFLOPS.
    #[serde(default, deserialize_with = "optional_positive", skip_serializing_if = "Option::is_none")]
    pub fp8_dense_tflops: Option<f64>,
    /// Streaming multiprocessors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_count: Option<u32>,
    /// How they were computed.
    pub method: String,
}

impl Gpu {
    /// Memory that programs can use, by the data sheet. What vendors print as GB are GiB: an H100's 80 are 81,559 MiB to its
    /// driver, an RTX 4090's 24 are 24,564 MiB.
    pub fn memory(&self) -> Bytes {
        let gib = self.memory_usable_gb.unwrap_or(self.memory_gb);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and below 2^53"
        )]
        Bytes::new((gib * f64::from(1 << 30)) as u64)
    }

    /// NVIDIA's compute capability; `None` for another vendor's GPU.
    pub fn cuda_capability(&self) -> Option<(u32, u32)> {
        let (major, minor) = self.compute_capability.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// Dense BF16 peak in TFLOPS, stated or derived.
    pub fn bf16_tflops(&self) -> Option<f64> {
        self.bf16_dense_tflops.or_else(|| self.derived.as_ref()?.bf16_dense_tflops)
    }

    /// Dense FP8 peak in TFLOPS, stated or derived.
    pub fn fp8_tflops(&self) -> Option<f64> {
        self.fp8_dense_tflops.or_else(|| self.derived.as_ref()?.fp8_dense_tflops)
    }
}
