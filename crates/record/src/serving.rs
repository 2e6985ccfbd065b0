//! A load on a server or an engine: what answered, what was requested, and what each row yielded besides its
//! measurements.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cell, Unknown};
use crate::base::known::{self, Known};

/// What the record of a load has besides its figures, which are among `measurements`.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Serving {
    /// The server; `null` when an engine in this process answered.
    pub server: Known<Server>,
    /// How long the server took to start; `null` when it ran before.
    #[serde(default)]
    pub cold_start: Known<ColdStart>,
    /// What its requests had in common.
    pub load: Load,
    /// The most a request may take to be good; `null` when no goal was given.
    pub goals: Known<Goals>,
    /// What a search for the highest rate found; `null` when none was asked for.
    #[serde(default)]
    pub search: Known<Search>,
    /// One entry a row, in the order in which they ran.
    pub rows: Vec<ServedRow>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The server, as far as it tells.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Server {
    /// Its address up to the version, without query and secrets.
    pub url: String,
    /// `completions` or `chat`.
    pub api: String,
    /// The model's name in requests.
    pub model: String,
    /// Whom its list of models names as owner: `vllm`, `llamacpp`.
    pub owned_by: Known<String>,
    /// Tokens of context, by its list of models.
    pub context_tokens: Known<u64>,
    /// Whether it runs on the machine that sent the requests: its address is this machine's, and so is the GPU that was named.
    pub on_this_machine: bool,
    /// GPUs that the price counts.
    pub gpus: Known<u32>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How long a server that was started for the run took to be of use, from the start of its command.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct ColdStart {
    /// The command.
    pub command: String,
    /// Until it accepted connections.
    pub listening_seconds: f64,
    /// Until it said that it is healthy.
    pub healthy_seconds: f64,
    /// Until the first token of the first request, which was sent when it was healthy.
    pub first_token_seconds: Known<f64>,
    /// USD of rent for the time until the first token.
    pub usd: Known<f64>,
}

/// What the requests had in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// `random token ids` or `random common words`.
    pub prompts: String,
    /// How lengths were drawn: `fixed`, `uniform, ± 20%`, or a file's name.
    pub lengths: String,
    /// What decides the prompts' text, as a hexadecimal number; another one keeps prompts out of the server's prefix cache.
    pub salt: String,
    /// Whether the server was asked to write on after the model's own end.
    pub ignore_eos: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The most that a request may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goals {
    /// Due until the first token; absent when it is no goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_seconds: Option<f64>,
    /// Time per output token; absent when it is no goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_per_output_token_seconds: Option<f64>,
    /// Due until the last token; absent when it is no goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_to_end_latency_seconds: Option<f64>,
}

/// What a search for the highest rate that keeps the goals found.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Search {
    /// Share of the requests that must keep every goal.
    pub share: f64,
    /// The highest rate that was tried and kept the goals, in requests a second; the cost at the top of the record is that of
    /// its row.
    pub max_requests_per_second: Known<f64>,
    /// The lowest rate above it that was tried and missed them: the true highest rate is below.
    pub missed_at_requests_per_second: Known<f64>,
    /// The rates that were tried, in that order.
    pub probes: Vec<Probe>,
}

/// A rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Requests due a second.
    pub requests_per_second: f64,
    /// Good requests.
    pub good: u64,
    /// Requests that were due, failed and unsent ones among them.
    pub due: u64,
    /// Whether more requests came than were served, so that a longer row would miss the goals.
    pub grows: bool,
    /// `kept`, `missed`, or `unclear` when the 95% interval of the share holds what is asked for.
    pub verdict: String,
}

/// What a row came to.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct ServedRow {
    /// The row's name: `512+128 c8`, `512+128 at 2/s`.
    pub row: String,
    /// The cell of its measurements.
    pub cell: Cell,
    /// `closed`: a request follows another. `open`: requests come by a schedule.
    pub pace: String,
    /// The most requests in flight.
    pub max_concurrency: Known<u32>,
    /// Requests due a second.
    pub requests_per_second: Known<f64>,
    /// Shape of the Gamma distribution of the gaps between requests: 1 is Poisson.
    pub burstiness: Known<f64>,
    /// What ended the sending: `time`, `requests`, or what cut it short.
    pub ended_by: String,
    /// Requests of the warm-up, which are in no figure.
    pub warmup_requests: u64,
    /// From the end of the warm-up to the end of sending.
    pub measured_seconds: f64,
    /// Length of the steady window; `null` when there was none, and then no rate is given either.
    pub steady_seconds: Known<f64>,
    /// Mean number of requests in flight over the window, over all that was measured when there is none.
    pub in_flight: f64,
    /// Rate × mean time ÷ mean number in flight: 1 by Little's law.
    pub littles_law: Known<f64>,
    /// Measured requests by how they ended: `completed`, `cut_by_us`, and every failure by its kind.
    pub requests: BTreeMap<String, u64>,
    /// Requests that were due and never sent: the limit of requests in flight held them back until the end.
    pub requests_unsent: u64,
    /// Completed requests by why the server says it stopped.
    pub finishes: BTreeMap<String, u64>,
    /// Completed requests by who counted their output tokens.
    pub tokens_counted_by: BTreeMap<String, u64>,
    /// Prompts of completed requests, by the server's count where it gives one.
    pub prompt_tokens: Known<TokenLengths>,
    /// Answers of completed requests.
    pub output_tokens: Known<TokenLengths>,
    /// Prompt tokens that the server found in its cache ÷ all prompt tokens.
    pub cached_share: Known<f64>,
    /// Requests that kept every goal.
    pub goodput: Known<Goodput>,
    /// What the client itself did; `null` when an engine in this process answered.
    pub client: Known<Client>,
    /// What failed, with what was seen the first time.
    pub failures: Vec<Failure>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Lengths as they came out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenLengths {
    /// The shortest.
    pub least: u32,
    /// Their mean.
    pub mean: f64,
    /// The longest.
    pub most: u32,
}

/// Requests that kept every goal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goodput {
    /// Good requests.
    pub good: u64,
    /// Requests that were due, failed and unsent ones among them.
    pub due: u64,
    /// Good ÷ due.
    pub share: f64,
    /// Wilson's 95% interval of it.
    pub share_ci95: [f64; 2],
}

/// What the client did, and how late it was.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Client {
    /// Connections opened.
    pub connections_opened: u64,
    /// Requests sent again since the server had closed the connection that they were first sent on.
    pub requests_sent_again: u64,
    /// Processor time that it took.
    pub processor_seconds: Known<f64>,
    /// 99th percentile, or with few requests the largest, of how late requests were taken up.
    pub send_lag_p99_seconds: Known<f64>,
    /// The same of how long bytes lay in a socket before they were read.
    pub receive_lag_p99_seconds: Known<f64>,
}

/// A way in which requests failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Its kind, as in `requests`.
    pub ending: String,
    /// How many, those of the warm-up among them.
    pub count: u64,
    /// What was seen the first time.
    pub first: String,
}
