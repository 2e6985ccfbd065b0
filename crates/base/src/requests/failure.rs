//! Why a request has no answer that counts: its [`Ending`], and what was seen.

use std::time::Duration;

use super::Ending;
use crate::failure::{Class, Classed};

/// One failed request: how it ended, and what was seen, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}; {}", way_out(*ending))]
pub struct Failure {
    /// How it ended.
    pub ending: Ending,
    /// What was seen.
    pub detail: String,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
}

impl Classed for Failure {
    fn class(&self) -> Class {
        match self.ending {
            Ending::NameNotResolved
            | Ending::ConnectionRefused
            | Ending::ConnectTimeout
            | Ending::Unreachable
            | Ending::NotFound
            | Ending::WrongModel => Class::Missing,
            _ => Class::Unusable,
        }
    }
}

impl Failure {
    /// A failure that ends as `ending`.
    pub fn new(ending: Ending, detail: impl Into<String>) -> Self {
        Self { ending, detail: detail.into(), retry_after: None }
    }
}

/// What to do about requests that end so.
pub fn way_out(ending: Ending) -> &'static str {
    match ending {
        Ending::NameNotResolved => "check the host in --url",
        Ending::ConnectionRefused => "start the server, or check host and port in --url",
        Ending::ConnectTimeout | Ending::Unreachable => "check host, port and firewall",
        Ending::OutOfFiles => "raise ulimit -n, or lower --max-concurrency",
        Ending::Tls => "give the server's certificate authority with --cacert, or check https:// in --url",
        Ending::NotAuthorized => "use a key with access to this model",
        Ending::NotFound => "check the path in --url; /v1 is added if there is no path",
        Ending::WrongModel => "pass the server's name for the model with --model",
        Ending::RequestRejected => "the server's message says which field it rejects",
        Ending::RateLimited => "lower --request-rate or --max-concurrency, or ask for a higher limit",
        Ending::ServerError | Ending::ErrorInStream | Ending::NoOutput => "see the server's log",
        Ending::EngineFailed => "fewer or shorter requests take less memory: --max-concurrency, -p, -n",
        Ending::MalformedHttp => "check that --url is an HTTP server, and http:// against https://",
        Ending::UnexpectedStatus
        | Ending::MalformedStream
        | Ending::MalformedJson
        | Ending::MalformedUtf8 => "check that --url is an OpenAI-compatible API that streams",
        Ending::ClosedEarly => {
            "check whether the server or a proxy in front of it was restarted or has a time limit"
        }
        Ending::Stalled | Ending::TimedOut => "see the server's log and load",
        Ending::Completed | Ending::CutByUs => "nothing is wrong",
    }
}
