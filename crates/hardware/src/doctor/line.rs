//! One fact about a machine: what was checked, what was found, and how to fix it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// The verdict on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Fine, or not relevant here.
    Ok,
    /// Figures from this machine will be worse than they could be.
    Warn,
    /// Something that was requested, or that every run needs, is missing.
    Fail,
}

impl Status {
    /// The printed name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What part of the machine a line is about, in printing order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Operating system, container, clock.
    System,
    /// Processor.
    Processor,
    /// Memory.
    Memory,
    /// Folders that are written to.
    Disk,
    /// What else is running.
    Load,
    /// Sensors of the processor's power.
    Power,
    /// NVIDIA GPUs.
    Gpu,
    /// Libraries loaded at run time.
    Libraries,
}

impl Area {
    /// The printed name.
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
    /// What part of the machine it is about.
    pub area: Area,
    /// What was checked, unique within its area.
    pub name: String,
    /// The verdict.
    pub status: Status,
    /// What was found, for people.
    pub found: String,
    /// The command or step that fixes it; present unless `status` is `ok`.
    #[serde(rename = "mend", skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The same for programs, each key with its unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
}

impl Line {
    /// A line about something that is fine.
    pub fn ok(area: Area, name: impl Into<String>, found: impl Into<String>) -> Self {
        let (name, found) = (name.into(), found.into());
        Self { area, name, status: Status::Ok, found, fix: None, facts: BTreeMap::new() }
    }

    /// The same line as a warning, with its fix.
    pub fn warn(self, fix: impl Into<String>) -> Self {
        Self { status: Status::Warn, fix: Some(fix.into()), ..self }
    }

    /// The same line as a failure, with its fix.
    pub fn fail(self, fix: impl Into<String>) -> Self {
        Self { status: Status::Fail, fix: Some(fix.into()), ..self }
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
