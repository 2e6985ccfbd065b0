//! One request and its answer: what the bytes that come in mean. It knows no socket.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::base::event::Tick;
use crate::base::requests::Failure;
use crate::base::requests::{Amount, Ending, Finish, InFlight, Part, Planned, RequestLog, Usage};
use crate::http::{self, Head, Piece};
use crate::scan::{self, Chunk, Text};
use crate::sse::{Event, Splitter};
use crate::target::Target;

/// What a request is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A request of the load.
    Load(InFlight, Planned),
    /// Something to know before: the whole body is wanted.
    Fetch,
}

/// The most bytes kept of a body that is no stream.
const BODY_LIMIT: usize = 8 << 20;

pub(crate) struct Exchange {
    pub(crate) purpose: Purpose,
    /// The request as it goes over the wire.
    pub(crate) request: Vec<u8>,
    /// How much of it was written.
    pub(crate) written: usize,
    /// Whether all of it has left.
    pub(crate) is_sent: bool,
    /// When the client took it up.
    pub(crate) started: Tick,
    /// When a token last came, or the request was sent.
    pub(crate) progress: Tick,
    /// When `[DONE]` came.
    pub(crate) done: Option<Tick>,
    /// Whether its connection had carried a request before.
    pub(crate) is_reused: bool,
    /// Addresses tried.
    pub(crate) addresses: usize,
    answer: Answer,
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    /// The beginning of a head whose end has not come.
    beginning: Vec<u8>,
    head: Option<Head>,
    splitter: Splitter,
    reader: scan::Reader,
    /// The body, where it is no stream.
    body: Vec<u8>,
    has_body: bool,
    events: u64,
    deliveries: u64,
    finish: Option<Finish>,
    usage: Option<Usage>,
    model_seen: bool,
}

impl Exchange {
    pub(crate) fn new(purpose: Purpose, request: Vec<u8>, started: Tick) -> Self {
        Self {
            purpose,
            request,
            written: 0,
            is_sent: false,
            started,
            progress: started,
            done: None,
            is_reused: false,
            addresses: 0,
            answer: Answer::default(),
        }
    }

    /// Begins again, on another connection.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
        self.is_sent = false;
        self.is_reused = false;
    }

    /// Whether any byte of an answer has come.
    pub(crate) fn has_answer(&self) -> bool {
        self.answer.head.is_some() || !self.answer.beginning.is_empty()
    }

    /// Takes bytes that arrived at `at`. `Some` when the body is over: whether the connection may be used again.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        at: Tick,
        target: &Target,
        log: &mut RequestLog,
    ) -> Result<Option<bool>, Failure> {
        let malformed = |error: http::BadHttp| Failure::new(Ending::MalformedHttp, error.to_string());
        if self.answer.head.is_none() {
            let answer = &mut self.answer;
            // The usual case, a head in one piece, is read where it is.
            let before = answer.beginning.len();
            let read = if before == 0 {
                http::head(bytes)
            } else {
                answer.beginning.extend_from_slice(bytes);
                http::head(&answer.beginning)
            };
            let Some((head, length)) = read.map_err(malformed)? else {
                if before == 0 {
                    answer.beginning.extend_from_slice(bytes);
                }
                return Ok(None);
            };
            bytes = &bytes[length - before..];
            answer.head = Some(head);
            if let Purpose::Load(slot, _) = self.purpose {
                log.answered(slot, at);
            }
        }
        loop {
            let Some(head) = &mut self.answer.head else { return Ok(None) };
            let is_stream = head.status == 200 && head.is_events;
            match head.body.next(&mut bytes).map_err(malformed)? {
                Piece::More => return Ok(None),
                Piece::Done => return Ok(Some(head.keep_alive && bytes.is_empty())),
                Piece::Data(data) => {
                    self.answer.has_body |= !data.is_empty();
                    match self.purpose {
                        Purpose::Load(slot, planned) if is_stream => {
                            self.stream(data, at, (slot, planned), target, log)?;
                        }
                        _ => {
                            let room = BODY_LIMIT.saturating_sub(self.answer.body.len());
                            self.answer.body.extend_from_slice(&data[..data.len().min(room)]);
                        }
                    }
                }
            }
        }
    }

    fn stream(
        &mut self,
        data: &[u8],
        at: Tick,
        request: (InFlight, Planned),
        target: &Target,
        log: &mut RequestLog,
    ) -> Result<(), Failure> {
        let mut data = data;
        // Most events are whole and like the one before.
        while self.done.is_none()
            && self.answer.splitter.is_between_events()
            && let Some((bytes, rest)) = self.answer.reader.event(data)
        {
            self.answer.events += 1;
            if bytes > 0 {
                self.deliver(request.0, at, Part::Answer, Amount::Bytes(bytes), log);
            }
            data = rest;
        }
        if data.is_empty() {
            return Ok(());
        }
        let mut splitter = std::mem::take(&mut self.answer.splitter);
        let fed = splitter.feed(data, |event| match self.event(event, at, request.0, target, log) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        });
        self.answer.splitter = splitter;
        match fed {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(failure)) => Err(failure),
            Err(error) => Err(Failure::new(Ending::MalformedStream, error.to_string())),
        }
    }

    fn event(
        &mut self,
        event: Event<'_>,
        at: Tick,
        slot: InFlight,
        target: &Target,
        log: &mut RequestLog,
    ) -> Result<(), Failure> {
        self.answer.events += 1;
        if self.done.is_some() {
            return Ok(());
        }
        if event.data.trim_ascii() == b"[DONE]" {
            self.done = Some(at);
            return Ok(());
        }
        if event.named_error {
            return Err(error_in_stream(event.data, target));
        }
        let chunk = self.answer.reader.read(event.data).map_err(|malformed| {
            let ending = if malformed.is_utf8 { Ending::MalformedJson } else { Ending::MalformedUtf8 };
            Failure::new(
                ending,
                format!("an event of the stream is {malformed}: {}", target.scrub(event.data)),
            )
        })?;
        if let Some(error) = chunk.error {
            return Err(error_in_stream(error.as_bytes(), target));
        }
        if !chunk.is_chunk {
            let words = target.scrub(event.data);
            return Err(Failure::new(
                Ending::MalformedJson,
                format!("an event of the stream has neither choices nor usage: {words}"),
            ));
        }
        self.chunk(&chunk, at, slot, target, log)
    }

    /// Takes what a chunk says.
    fn chunk(
        &mut self,
        chunk: &Chunk<'_>,
        at: Tick,
        slot: InFlight,
        target: &Target,
        log: &mut RequestLog,
    ) -> Result<(), Failure> {
        if let Some(model) = chunk.model
            && !std::mem::replace(&mut self.answer.model_seen, true)
            && !target.is_same_model(model)
        {
            let got: String = model.decoded().collect();
            let got = target.scrub(got.as_bytes());
            return Err(Failure::new(
                Ending::WrongModel,
                format!("{} was requested, but {got} answered", target.model),
            ));
        }
        if let Some(usage) = chunk.usage {
            self.answer.usage = counted(usage).or(self.answer.usage);
        }
        if let Some(finish) = chunk.finish {
            self.answer.finish = Some(reason(finish));
        }
        if let Some((part, amount)) = delivery(chunk) {
            self.deliver(slot, at, part, amount, log);
        }
        Ok(())
    }

    fn deliver(&mut self, slot: InFlight, at: Tick, part: Part, amount: Amount, log: &mut RequestLog) {
        log.delivered(slot, at, part, amount);
        self.answer.deliveries += 1;
        self.progress = at;
    }

    /// The connection is closed: whether the answer was complete anyway. `why` says how it closed.
    pub(crate) fn closed(&self, why: &str, in_order: bool) -> Result<(), Failure> {
        let answer = &self.answer;
        if answer.head.is_none() {
            let when =
                if self.has_answer() { "within the headers of its response" } else { "before an answer" };
            return Err(Failure::new(Ending::ClosedEarly, format!("{why} {when}")));
        }
        let is_over = in_order && answer.head.as_ref().is_some_and(|head| head.body.may_close());
        // An answer that said that it is over has lost nothing.
        if is_over || self.done.is_some() || (answer.finish.is_some() && answer.usage.is_some()) {
            return Ok(());
        }
        if answer.head.as_ref().is_some_and(|head| head.status != 200) {
            return Ok(());
        }
        Err(Failure::new(Ending::ClosedEarly, format!("{why} {}", self.how_far())))
    }

    fn how_far(&self) -> String {
        match self.answer.deliveries {
            0 => "before the first token".to_owned(),
            1 => "after 1 delivery".to_owned(),
            count => format!("after {count} deliveries"),
        }
    }

    /// The body that was fetched.
    pub(crate) fn fetched(self, target: &Target) -> Result<Vec<u8>, Failure> {
        match &self.answer.head {
            Some(head) if head.status == 200 => Ok(self.answer.body),
            Some(head) => Err(refused(head, &self.answer.body, target)),
            None => Err(Failure::new(Ending::ClosedEarly, "the server closed before an answer")),
        }
    }

    /// What an answer that is over amounts to.
    pub(crate) fn verdict(&self, target: &Target) -> Result<(), Failure> {
        let answer = &self.answer;
        let Some(head) = &answer.head else {
            return Err(Failure::new(Ending::ClosedEarly, "the server closed before an answer"));
        };
        if head.status != 200 {
            return Err(refused(head, &answer.body, target));
        }
        if !answer.has_body {
            return Err(Failure::new(Ending::NoOutput, "the server answered 200 with an empty body"));
        }
        if !head.is_events {
            let error =
                serde_json::from_slice::<Value>(&answer.body).ok().filter(|body| !body["error"].is_null());
            return Err(match error {
                Some(body) => error_in_stream(body["error"].to_string().as_bytes(), target),
                None => Failure::new(
                    Ending::MalformedStream,
                    format!(
                        "the server answered in one piece, not as a stream: {}",
                        target.scrub(&answer.body)
                    ),
                ),
            });
        }
        if answer.events == 0 && answer.splitter.comments() == 0 {
            return Err(Failure::new(Ending::MalformedStream, "the stream has no event"));
        }
        if answer.deliveries == 0 {
            return Err(Failure::new(Ending::NoOutput, "the stream ended without any output"));
        }
        if answer.finish.is_none() && self.done.is_none() {
            let detail = format!("the stream ended {} without finish_reason or [DONE]", self.how_far());
            return Err(Failure::new(Ending::ClosedEarly, detail));
        }
        Ok(())
    }

    /// What the server said of tokens so far; for requests that do not end well, too.
    pub(crate) fn said(&self) -> (Finish, Option<Usage>) {
        (self.answer.finish.unwrap_or(Finish::NotSaid), self.answer.usage)
    }
}

fn delivery(chunk: &Chunk<'_>) -> Option<(Part, Amount)> {
    let part = if chunk.text.bytes > 0 {
        Part::Answer
    } else if chunk.tool_bytes > 0 {
        Part::ToolCall
    } else if chunk.reasoning.bytes > 0 {
        Part::Reasoning
    } else {
        Part::Answer
    };
    match chunk.tokens.filter(|tokens| *tokens > 0) {
        Some(tokens) => Some((part, Amount::Tokens(tokens))),
        None => (chunk.bytes() > 0).then(|| (part, Amount::Bytes(chunk.bytes()))),
    }
}

fn counted(usage: scan::Usage) -> Option<Usage> {
    let small = |count: u64| u32::try_from(count).ok();
    Some(Usage {
        prompt_tokens: small(usage.prompt?)?,
        cached_tokens: usage.cached.and_then(small),
        output_tokens: small(usage.completion?)?,
    })
}

fn reason(said: Text<'_>) -> Finish {
    let known = [
        ("stop", Finish::Stop),
        ("length", Finish::Length),
        ("tool_calls", Finish::ToolCalls),
        ("content_filter", Finish::ContentFilter),
    ];
    known.iter().find(|(name, _)| said.is(name)).map_or(Finish::Other, |(_, finish)| *finish)
}

fn error_in_stream(words: &[u8], target: &Target) -> Failure {
    let detail =
        format!("the server sent an error inside an answer that began with 200: {}", target.scrub(words));
    Failure::new(Ending::ErrorInStream, detail)
}

/// A status other than 200.
fn refused(head: &Head, body: &[u8], target: &Target) -> Failure {
    let ending = match head.status {
        400 | 404 if names_a_missing_model(body) => Ending::WrongModel,
        401 | 403 => Ending::NotAuthorized,
        404 => Ending::NotFound,
        429 => Ending::RateLimited,
        400..=499 => Ending::RequestRejected,
        500..=599 => Ending::ServerError,
        _ => Ending::UnexpectedStatus,
    };
    let words = target.scrub(body);
    let said = if words.is_empty() { String::new() } else { format!(": {words}") };
    let wait = head.retry_after.map_or(String::new(), |wait| format!(" (Retry-After: {} s)", wait.as_secs()));
    let mut failure = Failure::new(ending, format!("the server answered {}{wait}{said}", head.status));
    failure.retry_after = head.retry_after;
    failure
}

fn names_a_missing_model(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let error = if body["error"].is_object() { &body["error"] } else { &body };
    let words = error["message"].as_str().unwrap_or_default().to_ascii_lowercase();
    let missing = ["does not exist", "not found", "unknown model", "no such model"];
    error["code"] == "model_not_found"
        || (words.contains("model") && missing.iter().any(|missing| words.contains(missing)))
}
