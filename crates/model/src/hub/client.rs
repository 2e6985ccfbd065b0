//! One request to the hub: redirects, the token, and patience that Ctrl-C can end.
//!
//! Redirects are followed here and not by ureq, for two reasons: the hub's description of a file is in
//! the headers of the redirect itself, and the token goes to the endpoint's own origin (scheme, host and
//! port) and nowhere else. Requests run on a thread of their own, so that a silent server cannot keep
//! the user waiting.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::HubSettings;
use super::layout::is_plain;
use super::url::{is_loopback, join, origin};
use crate::base::{clock, sys::Interrupt};

/// How often the interrupt flag is looked at while nothing comes.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// The two things that are asked of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// The headers alone.
    Head,
    /// The whole, or what follows the given byte.
    Get,
}

/// Which bytes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Part {
    /// The first.
    pub from: u64,
    /// The one after the last; the file's end if `None`.
    pub until: Option<u64>,
}

impl Part {
    /// What follows byte `from`.
    pub(super) fn from(from: u64) -> Self {
        Self { from, until: None }
    }

    /// The header's value, when it is not the whole.
    fn range(self) -> Option<String> {
        match self {
            Self { from: 0, until: None } => None,
            Self { from, until: None } => Some(format!("bytes={from}-")),
            Self { from, until: Some(until) } => Some(format!("bytes={from}-{}", until.saturating_sub(1))),
        }
    }
}

/// Why an answer did not come.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said no, with the hub's own word for why.
    Status { status: u16, code: String },
    /// No connection, or one that broke.
    Transport(ureq::Error),
    /// The answer contradicts itself or the protocol.
    Nonsense(String),
    /// The user asked to stop.
    Interrupted,
}

impl Failure {
    /// Whether there is no hub to talk to, as opposed to one that refuses.
    pub(super) fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Transport(_) | Self::Status { status: 500.., .. })
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Transport(_) | Self::Status { status: 408 | 429 | 500.., .. })
    }

    /// Whether a server answered, but not to the end. If none did, asking again at once would only
    /// keep an offline user waiting.
    fn is_broken_answer(&self) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::Status { .. } => self.is_passing(),
            Self::Transport(ureq::Error::Io(error)) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }
}

/// What the hub says of a file before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Name of these bytes; for large files their SHA-256.
    pub etag: String,
    /// The commit that the revision points to.
    pub commit: String,
    /// Length in bytes.
    pub size: u64,
}

impl Remote {
    /// The SHA-256 that the bytes must have, where the hub tells it (files in LFS or Xet storage).
    pub(super) fn sha256(&self) -> Option<&str> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (self.etag.len() == 64 && self.etag.chars().all(hex)).then_some(&self.etag)
    }
}

/// Speaks HTTP with one endpoint.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    endpoint_origin: String,
    token: Option<String>,
    attempts: u32,
    first_pause: Duration,
}

/// An answer whose body has not been read.
pub(super) struct Answer(pub Response<Body>);

impl Client {
    pub(super) fn new(settings: &HubSettings) -> Self {
        let origin = origin(&settings.endpoint).to_owned();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(10).min(settings.silence)))
            .timeout_per_read(Some(settings.silence))
            .user_agent(concat!("infercost/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&origin) {
            // A proxy has its own idea of who 127.0.0.1 is.
            config = config.proxy(None);
        }
        Self {
            agent: config.build().into(),
            endpoint_origin: origin,
            token: settings.token.clone(),
            attempts: settings.attempts,
            first_pause: settings.first_pause,
        }
    }

    /// Asks, follows redirects, and asks again a moment later when that may help.
    pub(super) fn ask(
        &self,
        method: Method,
        url: &str,
        part: Part,
        interrupt: &Interrupt,
    ) -> Result<Answer, Failure> {
        let mut failures = 0;
        loop {
            let failure = match self.get(method, url, part, interrupt) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failures += 1;
            // A refusal to answer is not worth the whole patience of a broken transfer.
            if !failure.is_broken_answer() || failures >= self.attempts.min(3) {
                return Err(failure);
            }
            rest(self.first_pause * (1 << failures.min(4)) / 2, interrupt)?;
        }
    }

    /// Asks once, and follows redirects.
    pub(super) fn get(
        &self,
        method: Method,
        url: &str,
        part: Part,
        interrupt: &Interrupt,
    ) -> Result<Answer, Failure> {
        let (client, url) = (self.clone(), url.to_owned());
        let answer = apart(interrupt, move || client.follow(method, url, part))??;
        match answer.0.status().as_u16() {
            200..=299 => Ok(answer),
            status => {
                let code = answer.header("x-error-code").unwrap_or_default().chars().take(60).collect();
                Err(Failure::Status { status, code })
            }
        }
    }

    /// What the hub says of the file at `url`, from the headers of its answer or of the redirects to it.
    pub(super) fn describe(&self, url: &str, interrupt: &Interrupt) -> Result<Remote, Failure> {
        let answer = self.ask(Method::Head, url, Part::default(), interrupt)?;
        let nonsense = |what: &str| Failure::Nonsense(format!("the hub's answer {what}"));
        let etag = answer.header("x-linked-etag").or(answer.header("etag"));
        let etag = etag.ok_or_else(|| nonsense("has no ETag"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let commit =
            answer.header("x-repo-commit").ok_or_else(|| nonsense("has no X-Repo-Commit"))?.to_owned();
        for name in [&etag, &commit] {
            if !is_plain(name) {
                return Err(nonsense(&format!("has a malformed name: `{}`", name.escape_debug())));
            }
        }
        let size = answer.header("x-linked-size").or(answer.header("content-length"));
        let size = size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| nonsense("does not say the file's length"))?;
        Ok(Remote { etag, commit, size })
    }

    fn follow(&self, method: Method, mut url: String, part: Part) -> Result<Answer, Failure> {
        let mut told = HeaderMap::new();
        for _ in 0..10 {
            let mut request = match method {
                Method::Head => self.agent.head(&url),
                Method::Get => self.agent.get(&url),
            };
            // Compressed bytes would have another length and no ranges.
            request = request.header("accept-encoding", "identity");
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == self.endpoint_origin) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(range) = part.range() {
                request = request.header("range", range);
            }
            let mut response = request.call().map_err(Failure::Transport)?;
            for name in ["x-linked-etag", "x-linked-size", "x-repo-commit"] {
                if let Some(value) = response.headers().get(name) {
                    told.entry(name).or_insert(value.clone());
                }
            }
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let next = match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => join(&url, location),
                _ => None,
            };
            // All that a description needs is known before the bytes' own host is asked.
            let enough = method == Method::Head && told.len() == 3;
            let Some(next) = next.filter(|_| !enough) else {
                if enough && response.status().is_redirection() {
                    *response.status_mut() = ureq::http::StatusCode::OK;
                }
                response.headers_mut().extend(told);
                return Ok(Answer(response));
            };
            url = next;
        }
        Err(Failure::Nonsense(format!("more than 10 redirects, the last to {url}")))
    }
}

impl Answer {
    /// The header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The body as JSON, of at most ureq's 10 MB.
    pub(super) fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, ureq::Error> {
        self.0.into_body().read_json()
    }

    /// The body in pieces of at most `size` bytes, `ahead` of them read ahead on a thread of its own. The connection is
    /// closed when the receiver is dropped before the end.
    pub(super) fn pieces(self, size: usize, ahead: usize) -> Receiver<std::io::Result<Vec<u8>>> {
        let (send, receive) = sync_channel(ahead);
        let mut reader = self.0.into_body().into_reader();
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; size];
                let read = reader.read(&mut piece).map(|count| {
                    piece.truncate(count);
                    piece
                });
                let last = !matches!(&read, Ok(piece) if !piece.is_empty());
                // No one receives any more after an interrupt.
                if send.send(read).is_err() || last {
                    return;
                }
            }
        });
        receive
    }
}

/// Rests, but not longer than the user likes.
pub(super) fn rest(time: Duration, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut left = time;
    while !left.is_zero() {
        if interrupt.requested() {
            return Err(Failure::Interrupted);
        }
        clock::sleep(left.min(GLANCE));
        left = left.saturating_sub(GLANCE);
    }
    Ok(())
}

/// Waits for the next thing from another thread, or for the user to lose patience.
pub(super) fn receive<T>(from: &Receiver<T>, interrupt: &Interrupt) -> Result<Option<T>, Failure> {
    loop {
        if interrupt.requested() {
            return Err(Failure::Interrupted);
        }
        match from.recv_timeout(GLANCE) {
            Ok(thing) => return Ok(Some(thing)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Does `work` on a thread of its own, which is left to itself after an interrupt.
fn apart<T: Send + 'static>(
    interrupt: &Interrupt,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (send, answer) = sync_channel(1);
    std::thread::spawn(move || send.send(work()));
    receive(&answer, interrupt)?.ok_or_else(|| Failure::Nonsense("the request's thread ended early".into()))
}
