//! One fact of a box: what was looked at, what was found, and how to mend it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be, or without bearing here.
    Ok,
    /// Figures from this box are less than they could be.
    Warn,
    /// Something that was asked for, or that every run needs, is not there.
    Fail,
}

impl Status {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What part of the box a line is about, in the order of printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Operating system, container, clock.
    System,
    /// Processor.
    Processor,
    /// Memory.
    Memory,
    /// Folders that are written.
    Disk,
    /// What else runs here.
    Load,
    /// Sensors of the processor's power.
    Power,
    /// NVIDIA GPUs.
    Gpu,
    /// Libraries that are loaded at run time.
    Libraries,
}

impl Area {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Processor => "processor",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Load => "load",
            Self::Power => "power",
            Self::Gpu => "gpu",
            Self::Libraries => "libraries",
        }
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What part of the box it is about.
    pub area: Area,
    /// What was looked at, unique within its area.
    pub name: String,
    /// How good it is.
    pub status: Status,
    /// What was found, for people.
    pub found: String,
    /// The command or the step that mends it; there whenever `status` is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The same for programs, each key with its unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
}

impl Line {
    /// A line about what is as it should be.
    pub fn ok(area: Area, name: impl Into<String>, found: impl Into<String>) -> Self {
        let (name, found) = (name.into(), found.into());
        Self { area, name, status: Status::Ok, found, mend: None, facts: BTreeMap::new() }
    }

    /// The same line, no longer in order: mended by `mend`.
    pub fn warn(self, mend: impl Into<String>) -> Self {
        Self { status: Status::Warn, mend: Some(mend.into()), ..self }
    }

    /// The same line, as a failure: mended by `mend`.
    pub fn fail(self, mend: impl Into<String>) -> Self {
        Self { status: Status::Fail, mend: Some(mend.into()), ..self }
    }

    /// The same line with one more fact for programs: its value, or `null` with its reason.
    pub(super) fn known<T: Clone + Into<Value>>(self, key: &str, value: &Result<T, String>) -> Self {
        match value {
            Ok(value) => self.fact(key, value.clone()),
            Err(reason) => self.fact(key, Value::Null).fact(format!("{key}_reason"), reason.as_str()),
        }
    }

    /// The same line with one more fact for programs.
    pub fn fact(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.facts.insert(key.into(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_greatest() {
        assert!(Status::Ok < Status::Warn && Status::Warn < Status::Fail);
        let line = Line::ok(Area::Memory, "swap", "in use").warn("sudo swapoff -a").fact("bytes", 7);
        let json = serde_json::to_value(&line).expect("JSON");
        assert_eq!(json["status"], "warn");
        assert_eq!(json["mend"], "sudo swapoff -a");
        assert_eq!(json["facts"]["bytes"], 7);
        assert!(serde_json::to_value(Line::ok(Area::Gpu, "a", "b")).expect("JSON").get("mend").is_none());
    }
}
