//! What a record can be compared with: three hashes and the fields that went in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// Three keys. Same series and same box with another treatment: a fair comparison of two programs.
/// Same series: a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// blake3 over `series_fields`: what was measured.
    pub series_key: String,
    /// Model content, engine, workload, precision, device.
    pub series_fields: BTreeMap<String, String>,
    /// blake3 over `box_fields`: on which machine, between which reboots.
    pub box_key: String,
    /// The machine's identity, hashed where it is private.
    pub box_fields: BTreeMap<String, String>,
    /// blake3 over `treatment_fields`: by which program.
    pub treatment: String,
    /// Binary and flags.
    pub treatment_fields: BTreeMap<String, String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// blake3 of the fields in the order of their names, each as `name=value` and a line feed.
pub fn key(fields: &BTreeMap<String, String>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in fields {
        hasher.update(name.as_bytes());
        hasher.update(b"=");
        hasher.update(value.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

impl Fingerprint {
    /// Computes the three keys.
    pub fn of(
        series: BTreeMap<String, String>,
        machine: BTreeMap<String, String>,
        treatment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            series_key: key(&series),
            series_fields: series,
            box_key: key(&machine),
            box_fields: machine,
            treatment: key(&treatment),
            treatment_fields: treatment,
            unknown: Unknown::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_field_changes_one_key() {
        let fields = |quant: &str| BTreeMap::from([("quantization".to_owned(), quant.to_owned())]);
        let a = Fingerprint::of(fields("Q4_0"), fields("x"), fields("y"));
        let b = Fingerprint::of(fields("Q4_1"), fields("x"), fields("y"));
        assert_ne!(a.series_key, b.series_key);
        assert_eq!((a.box_key, a.treatment), (b.box_key, b.treatment));
    }
}
