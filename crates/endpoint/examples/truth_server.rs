//! A server for comparing load clients: writes tokens at scripted times and says at the end when it really wrote them.
//!
//! Usage: `truth_server [FIRST_MS GAP_MS EVENTS_PER_WRITE]`; without numbers 50, 10 and 1.
//!
//! Prints its URL, answers until its standard input ends, then prints one JSON object: requests, tokens, and the
//! percentiles in milliseconds of the time from a request to its first token, and between its writes.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example, run by scripts/peer/clients")]

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infercost_base::clock;
use infercost_base::event::Tick;
use serde_json::{Value, json};

#[path = "../src/tests/truth.rs"]
#[allow(dead_code, reason = "the tests' server does more than the example needs")]
mod truth;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let milliseconds = |at: usize, default: f64| {
        let given = words.get(at).map_or(default, |word| word.parse().expect("milliseconds"));
        Duration::from_secs_f64(given / 1e3)
    };
    let (first, gap) = (milliseconds(0, 50.0), milliseconds(1, 10.0));
    let a_write = words.get(2).map_or(1, |word| word.parse::<usize>().expect("a number of events").max(1));

    let asked = Arc::new(Mutex::new(HashMap::new()));
    let answers = Arc::clone(&asked);
    let server = truth::Server::start(move |request| {
        if request.path.ends_with("/health") {
            return truth::Answer::Status(200, "", "{}".to_owned());
        }
        if !["/completions", "/models"].iter().any(|known| request.path.ends_with(known)) {
            return truth::Answer::Status(404, "", "unknown path".to_owned());
        }
        answers.lock().unwrap().insert(request.index, clock::now());
        truth::Answer::Tokens { first, gap, a_write }
    });
    println!("{}", server.url());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();

    let written = server.written();
    let mut writes = BTreeMap::<u32, Vec<Tick>>::new();
    for token in &written {
        writes.entry(token.request).or_default().push(token.at);
    }
    let (mut to_first, mut between) = (Vec::new(), Vec::new());
    let asked = asked.lock().unwrap();
    for (request, writes) in &writes {
        to_first.push(writes[0].since(asked[request]).get() * 1e3);
        let begins: Vec<Tick> = writes.iter().copied().step_by(a_write).collect();
        between.extend(begins.windows(2).map(|pair| pair[1].since(pair[0]).get() * 1e3));
    }
    println!(
        "{}",
        json!({"requests": writes.len(), "tokens": written.len(), "first_ms": percentiles(to_first), "gap_ms": percentiles(between)})
    );
}

fn percentiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values.get((values.len() * share / 100).min(values.len().saturating_sub(1)));
    json!({"p50": at(50), "p90": at(90), "p99": at(99)})
}
