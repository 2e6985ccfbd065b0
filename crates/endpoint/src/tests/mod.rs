//! The client against real sockets.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "measurements, and tests that say why they are skipped"
)]

mod capacity;
mod kinds;
mod llama;
mod split;
mod times;
mod truth;

use std::time::Duration;

use crate::base::clock;
use crate::base::requests::{Ending, RequestLog};
use crate::base::sys::Interrupt;
use crate::workload::{Asked, Extent, Lengths, Load, Pace, Prompts, Questions, Report};
use crate::{Patience, Target, Url, drive};

fn target(url: &str) -> Target {
    Target::new(Url::parse(url).unwrap(), "truth")
}

/// A target that loses its patience within a test.
fn impatient(url: &str) -> Target {
    let ms = Duration::from_millis;
    let patience = Patience { connect: ms(400), stall: ms(400), request: ms(3000), drain: ms(5000) };
    Target { patience, ..target(url) }
}

fn questions(prompt_tokens: u32, output_tokens: u32) -> Questions {
    Questions {
        lengths: Lengths::fixed(Asked { prompt_tokens, output_tokens }),
        prompts: Prompts::new(7, 10..1000, 0).unwrap(),
        as_text: false,
    }
}

/// So many requests, so many at once.
fn ask(target: &Target, questions: &Questions, requests: u32, concurrency: u32) -> (RequestLog, Report) {
    let begin = clock::now();
    let extent = Extent { requests: Some(requests), time: None };
    let mut load = Load::new(Pace::Closed { concurrency }, Extent::default(), extent, begin).unwrap();
    let mut log = RequestLog::new(begin);
    let report = drive(target, &mut load, questions, &mut log, &Interrupt::default()).unwrap();
    (log, report)
}

/// How each request ended.
fn endings(log: &RequestLog) -> Vec<Ending> {
    log.requests().iter().map(|request| request.ending).collect()
}
