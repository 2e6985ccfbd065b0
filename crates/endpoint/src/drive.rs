//! A load, driven to its end.

use crate::Error;
use crate::base::clock;
use crate::base::requests::{Ending, Planned, RequestLog};
use crate::base::sys::{self, Interrupt};
use crate::base::units::Seconds;
use crate::client::{Client, Stats};
use crate::failure::Failure;
use crate::target::{Api, Invalid, Prompt, Target};
use crate::workload::{Lengths, Load, Next, Prompts, Send};

/// What the requests of a load ask.
#[derive(Debug, Clone)]
pub struct Questions {
    /// How long prompts and answers are.
    pub lengths: Lengths,
    /// What the prompts say.
    pub prompts: Prompts,
    /// Send words instead of token ids, where a server takes no ids; the chat API takes words only.
    pub as_text: bool,
}

/// Why a load ended before its own end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Somebody asked for it.
    Interrupted,
    /// The server answers nothing, or nothing any more: so many requests failed in a row, the last of them so.
    NoAnswers {
        /// How many.
        in_a_row: u32,
        /// What was seen last.
        last: Failure,
    },
    /// Requests were still running so long after the last was sent, and were cut.
    NotDrained,
}

/// What a driven load leaves beside the log.
#[derive(Debug)]
pub struct Report {
    /// What the client did.
    pub stats: Stats,
    /// Why the load ended early, if it did.
    pub stopped: Option<Stopped>,
    /// Processor time of the client, where the system says.
    pub processor_time: Option<Seconds>,
}

/// Failures in a row that end a load of which no request ever succeeded.
const NEVER_ANSWERED: u32 = 16;
/// Failures in a row that end a load whose server did answer once; more where more are in flight at once.
const NO_LONGER_ANSWERS: u32 = 100;

/// Sends the requests of `load` to `target`, on this thread, and notes in `log` what came when.
///
/// Requests that fail are no error: they are in the log, and counted by ending in the [`Report`]. A server that answers
/// nothing ends the load soon.
///
/// # Errors
/// A setting that is wrong, a host's name without an address, or a system that refuses what the client needs.
pub fn drive(
    target: &Target,
    load: &mut Load,
    questions: &Questions,
    log: &mut RequestLog,
    interrupt: &Interrupt,
) -> Result<Report, Error> {
    if target.api == Api::Chat && !questions.as_text {
        return Err(
            Invalid::Url("the chat API takes no token ids; ask with words, or ask /v1/completions").into()
        );
    }
    let before = sys::thread_time();
    let mut client = Client::new(target)?;
    let mut writer =
        Writer { target, questions, ids: Vec::new(), words: String::new(), ready: None, last: (0, false) };
    let mut row = Row::default();
    let mut sent_last = clock::now();
    writer.prepare(0, false);
    let stopped = loop {
        if interrupt.requested() {
            break Stopped::Interrupted;
        }
        let due = loop {
            match load.next(clock::now()) {
                Next::Send(send) => {
                    let (planned, request) = writer.write(send);
                    client.send(planned, request, log);
                    sent_last = clock::now();
                    row.take(&mut client, load);
                }
                Next::WaitUntil(due) => break Some(due),
                Next::WaitForEnd => break None,
                Next::Over => return Ok(report(client, before, None)),
            }
        };
        // While nothing is due the next request is written out, so that no send waits for that.
        writer.prepare_next();
        client.turn(due, log)?;
        row.take(&mut client, load);
        if row.is_hopeless(client.in_flight()) {
            let last = row.last.take().unwrap_or_else(|| Failure::new(Ending::NoOutput, "no answer"));
            break Stopped::NoAnswers { in_a_row: row.failures, last };
        }
        let drained = Seconds::new(target.patience.drain.as_secs_f64());
        if load.over().is_some() && clock::now().since(sent_last) > drained {
            break Stopped::NotDrained;
        }
    };
    load.stop();
    client.cut(log);
    row.take(&mut client, load);
    Ok(report(client, before, Some(stopped)))
}

fn report(client: Client<'_>, before: Option<Seconds>, stopped: Option<Stopped>) -> Report {
    let processor_time = before.and_then(|before| Some(sys::thread_time()? - before));
    Report { stats: client.stats, stopped, processor_time }
}

/// Failures since the last success.
#[derive(Default)]
struct Row {
    failures: u32,
    has_succeeded: bool,
    last: Option<Failure>,
}

impl Row {
    /// Tells the load what is over.
    fn take(&mut self, client: &mut Client<'_>, load: &mut Load) {
        for over in client.over.drain(..) {
            if over.ending == Ending::Completed {
                *self = Self { has_succeeded: true, ..Self::default() };
            } else if over.ending.is_failure() {
                self.failures += 1;
                let seen = client.stats.failures.iter().find(|(ending, ..)| *ending == over.ending);
                self.last = seen.map(|(.., failure)| failure.clone());
            }
            let known = load.ended(over.planned.index, over.at);
            debug_assert!(known.is_ok(), "each request ends once");
        }
    }

    fn is_hopeless(&self, in_flight: usize) -> bool {
        let most = if self.has_succeeded { NO_LONGER_ANSWERS } else { NEVER_ANSWERED };
        self.failures as usize >= (most as usize).max(in_flight)
    }
}

/// Writes requests out.
struct Writer<'a> {
    target: &'a Target,
    questions: &'a Questions,
    ids: Vec<u32>,
    words: String,
    ready: Option<(u32, bool, Vec<u8>)>,
    /// The last request that was sent, and whether it belonged to the warm-up.
    last: (u32, bool),
}

impl Writer<'_> {
    fn prepare(&mut self, index: u32, warmup: bool) {
        let asked = self.questions.lengths.at(index);
        let prompts = &self.questions.prompts;
        let prompt = if self.questions.as_text {
            prompts.text(index, warmup, asked.prompt_tokens, &mut self.words);
            Prompt::Text(&self.words)
        } else {
            prompts.tokens(index, warmup, asked.prompt_tokens, &mut self.ids);
            Prompt::Tokens(&self.ids)
        };
        let body = self.target.body(prompt, asked.output_tokens);
        self.ready = Some((index, warmup, self.target.post(&body)));
    }

    /// The request to send, and what is planned with it.
    fn write(&mut self, send: Send) -> (Planned, Vec<u8>) {
        let Send { request: index, warmup, intended, released } = send;
        if self.ready.as_ref().is_none_or(|ready| (ready.0, ready.1) != (index, warmup)) {
            self.prepare(index, warmup);
        }
        let asked = self.questions.lengths.at(index);
        let planned = Planned {
            index,
            warmup,
            intended,
            released,
            prompt_tokens: asked.prompt_tokens,
            output_tokens: asked.output_tokens,
        };
        self.last = (index, warmup);
        (planned, self.ready.take().map_or_else(Vec::new, |ready| ready.2))
    }

    /// Writes out the request after the last one, if that was not done.
    fn prepare_next(&mut self) {
        if self.ready.is_none() {
            self.prepare(self.last.0 + 1, self.last.1);
        }
    }
}
