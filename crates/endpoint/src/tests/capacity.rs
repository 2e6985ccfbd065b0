//! What an event costs the client, next to a loop that reads and does nothing else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{ask, endings, questions, target};
use crate::base::requests::Ending;
use crate::base::{clock, sys};

const STREAMS: usize = 1000;
const EVENTS: usize = 1024;

/// An event as vLLM sends it.
fn event() -> String {
    let chunk = "{\"id\":\"cmpl-5f1c2d8e9a\",\"object\":\"text_completion\",\"created\":1764380000,\"model\":\"truth\",\
        \"choices\":[{\"index\":0,\"text\":\" token\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}],\"usage\":null}";
    format!("data: {chunk}\n\n")
}

/// Accepts all streams, reads what is asked, then writes each event to all in turn, so many at once. No time is scripted:
/// the client is to be the slower one.
fn serve(a_write: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut streams = Vec::new();
        while streams.len() < STREAMS {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") && !asked.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 4096];
                let length = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..length]);
            }
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            streams.push(stream);
        }
        let event = event();
        let chunk = format!("{:x}\r\n{event}\r\n", event.len()).repeat(a_write);
        for _ in 0..EVENTS / a_write {
            for stream in &mut streams {
                stream.write_all(chunk.as_bytes()).unwrap();
            }
        }
        let end = "data: [DONE]\n\n";
        for stream in &mut streams {
            stream.write_all(format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len()).as_bytes()).unwrap();
        }
        clock::sleep(Duration::from_secs(2));
    });
    address
}

/// The same streams read by a loop that looks at nothing; its processor time.
fn bare(address: SocketAddr) -> f64 {
    let mut poll = Poll::new().unwrap();
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let both = Interest::READABLE | Interest::WRITABLE;
    for (at, stream) in streams.iter_mut().enumerate() {
        poll.registry().register(stream, Token(at), both).unwrap();
    }
    let mut asked = vec![false; STREAMS];
    let mut buffer = vec![0; 64 << 10];
    let mut events = Events::with_capacity(1024);
    let mut over = 0;
    let before = sys::thread_time().unwrap();
    while over < STREAMS {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let at = event.token().0;
            if !asked[at] && event.is_writable() {
                asked[at] = streams[at].write(b"GET / HTTP/1.1\r\n\r\n").is_ok();
            }
            while let Ok(length) = streams[at].read(&mut buffer) {
                over += usize::from(buffer[..length].ends_with(b"\r\n0\r\n\r\n"));
                if length < buffer.len() {
                    break;
                }
            }
        }
    }
    (sys::thread_time().unwrap() - before).get()
}

#[test]
#[ignore = "a measurement: cargo test --release -p infercost-endpoint --lib -- --ignored --nocapture an_event_is_read"]
fn how_fast_an_event_is_read() {
    let event = event();
    let (mut splitter, mut reader) = (crate::sse::Splitter::default(), crate::scan::Reader::default());
    let rounds = 200_000;
    for what in ["split", "split and read", "split and read after one alike"] {
        let before = sys::thread_time().unwrap();
        let mut bytes = 0;
        for _ in 0..rounds {
            let fed = splitter.feed(std::hint::black_box(event.as_bytes()), |event| {
                bytes += match what {
                    "split" => 6,
                    "split and read" => crate::scan::chunk(event.data).unwrap().bytes(),
                    _ => reader.read(event.data).unwrap().bytes(),
                };
                std::ops::ControlFlow::<()>::Continue(())
            });
            assert!(fed.is_ok());
        }
        assert_eq!(bytes, 6 * rounds);
        let seconds = (sys::thread_time().unwrap() - before).get();
        println!("{what}: {:.0} ns an event of {} bytes", seconds * 1e9 / f64::from(rounds), event.len());
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p infercost-endpoint --lib -- --ignored --nocapture an_event_costs"]
fn what_an_event_costs_next_to_a_bare_loop() {
    for a_write in [1, 16] {
        for _ in 0..3 {
            let per_event = |seconds: f64| seconds * 1e6 / (STREAMS * EVENTS) as f64;
            let of_loop = per_event(bare(serve(a_write)));
            let url = format!("http://{}", serve(a_write));
            let target = target(&url);
            let streams = u32::try_from(STREAMS).unwrap();
            let begin = clock::now();
            let (log, report) = ask(&target, &questions(4, 16), streams, streams);
            let wall = clock::now().since(begin).get();
            assert!(
                endings(&log).iter().all(|ending| *ending == Ending::Completed),
                "{:?}",
                report.stats.failures
            );
            assert!(log.requests().iter().all(|request| request.deliveries as usize == EVENTS));
            let ours = per_event(report.processor_time.unwrap().get());
            println!(
                "{a_write:2} events a write: {ours:.3} µs an event, a bare loop {of_loop:.3} µs ({:.2} times); {:.2} M events/s; {} MB",
                ours / of_loop,
                (STREAMS * EVENTS) as f64 / wall / 1e6,
                log.memory() / 1_000_000,
            );
        }
    }
}
