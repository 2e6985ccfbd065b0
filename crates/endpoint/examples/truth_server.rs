//! A server that writes tokens at scripted times, to judge a load client by: `truth_server [PORT [GAP_MS [FIRST_MS [EVENTS_A_WRITE]]]]`.
//!
//! It answers completions and chat completions of any model; `max_tokens` says how many tokens. At the end of its input it
//! prints each token's request and the nanosecond at which it was written, as CSV.

#[path = "../src/tests/truth.rs"]
#[expect(dead_code, reason = "the tests misbehave in more ways")]
mod truth;

use std::io::{Read as _, Write as _};
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let number = |at: usize, default: u64| {
        std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let [port, gap, first, a_write] = [number(1, 8000), number(2, 10), number(3, 50), number(4, 1)];
    let [gap, first] = [gap, first].map(Duration::from_millis);
    let a_write = usize::try_from(a_write).unwrap_or(1).max(1);
    let answer = move |_: &truth::Asked| truth::Answer::Tokens { first, gap, a_write };
    let server = truth::Server::listen(&format!("127.0.0.1:{port}"), None, answer);
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening at {}", server.url())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    writeln!(out, "request,written_ns")?;
    for token in server.written() {
        writeln!(out, "{},{}", token.request, token.at.nanos())?;
    }
    Ok(())
}
