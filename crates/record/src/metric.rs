//! The names of what is measured and of the kinds of rows. A name that this version does not know is kept as it came.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that this version does not know: another tool's, or a newer version's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// An enum of names, and in each variant's place its name in a record.
macro_rules! names {
    ($(#[$about:meta])* $type:ident: $($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
            /// None of them.
            Other(Name),
        }

        impl $type {
            /// Its name in a record.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => &name.0,
                }
            }

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant),*];
        }

        impl From<Cow<'_, str>> for $type {
            fn from(name: Cow<'_, str>) -> Self {
                match &*name {
                    $($name => Self::$variant,)*
                    _ => Self::Other(Name(name.into_owned())),
                }
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Cow::from(name).into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|name| Cow::from(name).into())
            }
        }
    };
}

names! {
    /// What kind of row a cell is.
    Phase:
    /// Prompts alone.
    Prefill = "prefill",
    /// Output alone.
    Decode = "decode",
    /// A prompt and its output.
    Joint = "joint",
    /// Requests to a server.
    Serving = "serving",
    /// A prompt row and an output row, priced together.
    Pair = "pair",
}

names! {
    /// What a measurement is of; `docs/metrics.md` defines each.
    Metric:
    /// Prompt tokens ÷ time to the first output token.
    PrefillTokensPerSecond = "prefill_tokens_per_second",
    /// Output tokens after the first ÷ their time.
    DecodeTokensPerSecond = "decode_tokens_per_second",
    /// Prompt tokens ÷ the whole time.
    InputTokensPerSecond = "input_tokens_per_second",
    /// Prompt tokens that a server found in its cache ÷ the whole time.
    CachedInputTokensPerSecond = "cached_input_tokens_per_second",
    /// Output tokens ÷ the whole time.
    OutputTokensPerSecond = "output_tokens_per_second",
    /// Prompt and output tokens ÷ the whole time.
    TotalTokensPerSecond = "total_tokens_per_second",
    /// Output tokens of a whole run of a server ÷ its time, ramp-up and drain included.
    RunOutputTokensPerSecond = "run_output_tokens_per_second",
    /// Requests that came to their end.
    RequestsPerSecond = "requests_per_second",
    /// Requests that kept every goal.
    GoodputRequestsPerSecond = "goodput_requests_per_second",
    /// Submitted, or due, until the first token.
    TimeToFirstTokenSeconds = "time_to_first_token_seconds",
    /// Sent until the first token.
    TimeToFirstTokenAfterSendSeconds = "time_to_first_token_after_send_seconds",
    /// Due until the first token that is not reasoning.
    TimeToFirstAnswerTokenSeconds = "time_to_first_answer_token_seconds",
    /// First token to last ÷ the tokens after the first.
    TimePerOutputTokenSeconds = "time_per_output_token_seconds",
    /// A whole request ÷ its output tokens.
    LatencyPerOutputTokenSeconds = "latency_per_output_token_seconds",
    /// Between two deliveries.
    InterTokenLatencySeconds = "inter_token_latency_seconds",
    /// Between two deliveries ÷ the tokens of the second.
    InterTokenLatencyPerTokenSeconds = "inter_token_latency_per_token_seconds",
    /// Submitted, or due, until the last token.
    EndToEndLatencySeconds = "end_to_end_latency_seconds",
    /// Due until there was room for one more in flight.
    SlotWaitSeconds = "slot_wait_seconds",
    /// Due, and room for it, until it was sent.
    SendLagSeconds = "send_lag_seconds",
    /// A joint row's time in steps of its prompt.
    InputTimeSeconds = "input_time_seconds",
    /// The rest of it.
    OutputTimeSeconds = "output_time_seconds",
    /// Time of steps that fed prompts and outputs together ÷ the time of all steps.
    MixedTimeShare = "mixed_time_share",
    /// 1 where a rate that was tried kept its goals, else 0.
    KeepsGoals = "keeps_goals",
    /// The length of a run.
    DurationSeconds = "duration_seconds",
    /// From the first byte read until the engine can step.
    ModelLoadSeconds = "model_load_seconds",
    /// Energy of a row's own steps.
    EnergyJoules = "energy_joules",
    /// Power in them.
    PowerWatts = "power_watts",
    /// That energy ÷ prompt tokens.
    JoulesPerInputToken = "joules_per_input_token",
    /// That energy ÷ output tokens.
    JoulesPerOutputToken = "joules_per_output_token",
    /// Energy of a whole run ÷ its prompt tokens alone.
    JoulesPerInputTokenAlone = "joules_per_input_token_alone",
    /// Energy of a whole run ÷ its output tokens alone.
    JoulesPerOutputTokenAlone = "joules_per_output_token_alone",
    /// Energy of a whole run ÷ its requests.
    JoulesPerRequest = "joules_per_request",
    /// That energy ÷ all tokens.
    JoulesPerTotalToken = "joules_per_total_token",
    /// Bytes that must be moved ÷ what could be at the measured peak.
    ModelBandwidthUtilization = "model_bandwidth_utilization",
    /// The same of operations.
    ModelFlopsUtilization = "model_flops_utilization",
    /// Largest resident set of the process.
    PeakMemoryBytes = "peak_memory_bytes",
    /// Mean length of a prompt.
    RequestInputTokens = "request_input_tokens",
    /// Mean length of an answer.
    RequestOutputTokens = "request_output_tokens",
}

/// Which side of a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    High,
    /// Less is better.
    Low,
}

impl Metric {
    /// Its unit; empty when it is not known.
    pub fn unit(&self) -> &'static str {
        let name = self.as_str();
        match self {
            Self::PowerWatts => "W",
            Self::JoulesPerRequest => "J/request",
            Self::ModelBandwidthUtilization | Self::ModelFlopsUtilization | Self::MixedTimeShare => "share",
            Self::KeepsGoals => "1",
            _ if name.ends_with("tokens_per_second") => "tokens/s",
            _ if name.ends_with("requests_per_second") => "requests/s",
            _ if name.ends_with("_seconds") => "s",
            _ if name.ends_with("_bytes") => "bytes",
            _ if name.ends_with("_joules") => "J",
            _ if name.starts_with("joules_per_") && name.contains("token") => "J/token",
            _ if name.ends_with("_tokens") => "tokens",
            _ => "",
        }
    }

    /// The id of this program's formula for it.
    pub fn formula(&self) -> String {
        let version = match self {
            Self::ModelBandwidthUtilization | Self::ModelFlopsUtilization => 2,
            _ => 1,
        };
        format!("infercost.{self}/{version}")
    }

    /// Which side of it is good, as its name says; nothing where neither is.
    pub fn good(&self) -> Option<Direction> {
        let name = self.as_str();
        let low =
            ["_seconds", "_bytes", "_joules", "_joules_per_token"].iter().any(|end| name.ends_with(end));
        match self {
            // A benchmark's duration is not a result.
            Self::DurationSeconds => None,
            _ if name.ends_with("_per_second") => Some(Direction::High),
            _ if low || name.starts_with("joules_per_") => Some(Direction::Low),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit is in the name, so that a reader of the JSON needs no table.
    #[test]
    fn each_name_says_its_unit_and_comes_back() {
        for metric in Metric::ALL {
            assert!(!metric.unit().is_empty(), "{metric} has no unit");
            assert_eq!(Metric::from(metric.as_str()), *metric);
        }
        for phase in Phase::ALL {
            assert_eq!(Phase::from(phase.as_str()), *phase);
        }
    }

    #[test]
    fn a_name_that_is_not_known_survives_reading_and_writing() {
        let read: Vec<Metric> =
            serde_json::from_str(r#"["draft_tokens_per_second","decode_tokens_per_second"]"#).expect("names");
        assert_eq!(read[1], Metric::DecodeTokensPerSecond);
        assert!(matches!(&read[0], Metric::Other(_)));
        assert_eq!((read[0].unit(), read[0].good()), ("tokens/s", Some(Direction::High)));
        assert_eq!(
            serde_json::to_string(&read).expect("JSON"),
            r#"["draft_tokens_per_second","decode_tokens_per_second"]"#
        );
    }

    #[test]
    fn a_metric_knows_its_unit_its_formula_and_which_side_is_good() {
        use Direction::{High, Low};
        for (metric, unit, formula, good) in [
            (Metric::TotalTokensPerSecond, "tokens/s", "infercost.total_tokens_per_second/1", Some(High)),
            (
                Metric::GoodputRequestsPerSecond,
                "requests/s",
                "infercost.goodput_requests_per_second/1",
                Some(High),
            ),
            (Metric::TimeToFirstTokenSeconds, "s", "infercost.time_to_first_token_seconds/1", Some(Low)),
            (Metric::JoulesPerOutputToken, "J/token", "infercost.joules_per_output_token/1", Some(Low)),
            (Metric::JoulesPerRequest, "J/request", "infercost.joules_per_request/1", Some(Low)),
            (Metric::EnergyJoules, "J", "infercost.energy_joules/1", Some(Low)),
            (Metric::PeakMemoryBytes, "bytes", "infercost.peak_memory_bytes/1", Some(Low)),
            (Metric::DurationSeconds, "s", "infercost.duration_seconds/1", None),
            (Metric::PowerWatts, "W", "infercost.power_watts/1", None),
            (Metric::ModelBandwidthUtilization, "share", "infercost.model_bandwidth_utilization/2", None),
            (Metric::RequestInputTokens, "tokens", "infercost.request_input_tokens/1", None),
        ] {
            assert_eq!((metric.unit(), metric.formula().as_str(), metric.good()), (unit, formula, good));
        }
    }
}
