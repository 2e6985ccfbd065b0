//! A load, driven to its end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crate::Error;
use crate::base::clock;
use crate::base::requests::{Ending, Failure, Planned, RequestLog};
use crate::base::sys::{self, Interrupt};
use crate::base::units::Seconds;
use crate::client::Client;
use crate::metrics::generated_tokens;
use crate::target::{Api, Invalid, Prompt, Target};
use crate::workload::{Load, Next, Questions, Report, Send, Serving, Stats, Stopped};

/// Failures in a row that end a load of which no request ever succeeded.
const NEVER_ANSWERED: u32 = 16;
/// Failures in a row that end a load whose server did answer once; more where more are in flight at once.
const NO_LONGER_ANSWERS: u32 = 100;

/// A server serves a load through the client.
impl Serving for &Target {
    type Error = Error;

    fn drive(
        &mut self,
        load: &mut Load,
        questions: &Questions,
        log: &mut RequestLog,
        interrupt: &Interrupt,
    ) -> Result<Report, Error> {
        drive(self, load, questions, log, interrupt)
    }

    fn generated_tokens(&mut self) -> Option<f64> {
        generated_tokens(self)
    }
}

/// Sends the requests of `load` to `target`, on this thread or on as many as the target says, and notes in `log` what came when.
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
    let threads = target.threads.max(1) as usize;
    // A closed loop's first requests are due at once, and the first thread would take them all.
    let most_each = load.concurrency().map(|slots| (slots as usize).div_ceil(threads));
    let shared = Shared { load: Mutex::new(load), stopped: Mutex::new(None), most_each };
    let mut report = if threads == 1 {
        worker(Client::new(target)?, &shared, questions, log, interrupt)?
    } else {
        // A setting that is wrong or a name without address is told before a thread is there.
        let clients = (0..threads).map(|_| Client::new(target)).collect::<Result<Vec<_>, _>>()?;
        let begin = log.begin();
        let work = |client| {
            let mut own = RequestLog::new(begin);
            worker(client, &shared, questions, &mut own, interrupt).map(|report| (report, own))
        };
        let done: Vec<_> = thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> =
                clients.into_iter().map(|client| scope.spawn(move || work(client))).collect();
            workers.into_iter().map(ScopedJoinHandle::join).collect()
        });
        let mut sum: Option<Report> = None;
        for joined in done {
            let (report, own) = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            log.absorb(own);
            sum = Some(match sum {
                None => report,
                Some(sum) => added(sum, report),
            });
        }
        sum.unwrap_or_else(empty)
    };
    report.stopped = shared.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(report)
}

/// What the threads of a client share.
struct Shared<'a> {
    load: Mutex<&'a mut Load>,
    /// Why the load ended early, by the thread that saw it first.
    stopped: Mutex<Option<Stopped>>,
    /// The most requests that one thread has in flight.
    most_each: Option<usize>,
}

impl<'a> Shared<'a> {
    fn load(&self) -> MutexGuard<'_, &'a mut Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, Option<Stopped>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what is due until the load is over, on this thread.
fn worker(
    mut client: Client<'_>,
    shared: &Shared<'_>,
    questions: &Questions,
    log: &mut RequestLog,
    interrupt: &Interrupt,
) -> Result<Report, Error> {
    let before = sys::thread_time();
    let target = client.target();
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
            if shared.most_each.is_some_and(|most| client.in_flight() >= most) {
                break None;
            }
            let next = shared.load().next(clock::now());
            match next {
                Next::Send(send) => {
                    let (planned, request) = writer.write(send);
                    client.send(planned, request, log);
                    sent_last = clock::now();
                    row.take(&mut client, shared);
                }
                Next::WaitUntil(due) => break Some(due),
                Next::WaitForEnd => break None,
                Next::Over => return Ok(report(client, before)),
            }
        };
        // While nothing is due the next request is written out, so that no send waits for that.
        writer.prepare_next();
        client.turn(due, log)?;
        row.take(&mut client, shared);
        if row.is_hopeless(client.in_flight()) {
            let last = row.last.take().unwrap_or_else(|| Failure::new(Ending::NoOutput, "no answer"));
            break Stopped::NoAnswers { in_a_row: row.failures, last };
        }
        let drained = Seconds::new(target.patience.drain.as_secs_f64());
        let waits = client.in_flight() > 0 && shared.load().over().is_some();
        if waits && clock::now().since(sent_last) > drained {
            break Stopped::NotDrained;
        }
        if let Some(stopped) = shared.stopped().clone() {
            break stopped;
        }
    };
    shared.stopped().get_or_insert(stopped);
    shared.load().stop();
    client.cut(log);
    row.take(&mut client, shared);
    Ok(report(client, before))
}

fn report(client: Client<'_>, before: Option<Seconds>) -> Report {
    let processor_time = before.and_then(|before| Some(sys::thread_time()? - before));
    Report { stats: client.stats, processor_time, ..empty() }
}

fn empty() -> Report {
    Report { stats: Stats::default(), stopped: None, processor_time: None, work: None }
}

/// What two threads did.
fn added(mut sum: Report, other: Report) -> Report {
    sum.stats.absorb(other.stats);
    sum.processor_time = sum.processor_time.zip(other.processor_time).map(|(a, b)| a + b);
    sum
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
    fn take(&mut self, client: &mut Client<'_>, shared: &Shared<'_>) {
        if client.over.is_empty() {
            return;
        }
        let mut load = shared.load();
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
        let Send { request: index, warmup, .. } = send;
        if self.ready.as_ref().is_none_or(|ready| (ready.0, ready.1) != (index, warmup)) {
            self.prepare(index, warmup);
        }
        let planned = send.planned(self.questions.lengths.at(index));
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
