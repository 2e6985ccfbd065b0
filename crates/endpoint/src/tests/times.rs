//! Times against those of a server that knows when it wrote.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::truth::{Answer, Server, Written};
use super::{ask, endings, questions, target};
use crate::base::clock;
use crate::base::event::Tick;
use crate::base::requests::{Ending, Request, RequestLog};
use crate::base::sys::Interrupt;
use crate::workload::{Arrivals, Extent, Load, Pace, Process, Stopped};
use crate::{Target, Url, drive};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Of sorted nanoseconds, the value that this share lies below, in milliseconds.
fn share(sorted: &[u64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (sorted.len() as f64 * share) as usize;
    sorted[at.min(sorted.len() - 1)] as f64 / 1e6
}

/// How long after each write its token was seen, in nanoseconds, sorted.
fn late(tokens: impl Iterator<Item = (Written, Tick)>) -> Vec<u64> {
    let late = |(written, seen): (Written, Tick)| {
        seen.nanos().checked_sub(written.at.nanos()).expect("nothing is seen before it is written")
    };
    let mut all: Vec<u64> = tokens.map(late).collect();
    all.sort_unstable();
    all
}

/// [`late`] of requests one at a time, so that both are in order.
fn late_in_order(server: &Server, seen: &[Tick]) -> Vec<u64> {
    let written = server.written();
    assert_eq!(written.len(), seen.len());
    late(written.into_iter().zip(seen.iter().copied()))
}

/// A request for so many tokens, with a number for its prompt.
fn request(tokens: usize, prompt: usize) -> String {
    let body = format!("{{\"max_tokens\":{tokens},\"prompt\":{prompt}}}");
    format!("POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The same request by a loop that reads, looks at the clock and does nothing else; when it saw each token.
fn bare(address: SocketAddr, tokens: usize) -> Vec<Tick> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request(tokens, 0).as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n0\r\n\r\n") {
        let length = stream.read(&mut buffer).unwrap();
        let now = clock::now();
        let before = memchr::memmem::find_iter(&all, " word").count();
        all.extend_from_slice(&buffer[..length]);
        let new = memchr::memmem::find_iter(&all, " word").count() - before;
        seen.extend(std::iter::repeat_n(now, new));
    }
    seen
}

#[test]
fn tokens_are_seen_about_as_soon_as_a_bare_loop_sees_them() {
    let start = || Server::start(|_| Answer::Tokens { first: ms(30), gap: ms(4), a_write: 1 });
    let (ours, loops) = (start(), start());
    let mut logs = Vec::new();
    let mut seen = Vec::new();
    // In turn, since the machine may be busy with something else for a while.
    for _ in 0..8 {
        logs.push(ask(&target(&ours.url()), &questions(4, 50), 1, 1).0);
        seen.extend(bare(loops.address, 50));
    }
    let when = |log: &RequestLog| {
        let request = log.requests()[0];
        let [due, first, last] =
            [request.planned.intended, request.first.get().unwrap(), request.last.get().unwrap()];
        assert!(first.since(due).get() >= 0.030 && last > first, "{request:?}");
        let deliveries = log.deliveries(&request).expect("few enough to keep");
        deliveries.iter().map(|delivery| delivery.at(due)).collect::<Vec<_>>()
    };
    let ours = late_in_order(&ours, &logs.iter().flat_map(when).collect::<Vec<_>>());
    let bare = late_in_order(&loops, &seen);
    for at in [0.5, 0.9] {
        println!(
            "{}% of tokens are seen within {} ms, by a bare loop within {} ms",
            at * 100.0,
            share(&ours, at),
            share(&bare, at)
        );
    }
    assert_eq!((ours.len(), bare.len()), (400, 400));
    assert!(share(&ours, 0.5) <= 2.0 * share(&bare, 0.5));
}

/// [`late`] of many requests at once; `seen` by the number that the server gave a request.
fn late_of_each(written: Vec<Written>, seen: &HashMap<u32, Vec<Tick>>) -> Vec<u64> {
    let mut tokens_so_far = HashMap::<u32, usize>::new();
    late(written.into_iter().map(|written| {
        let token = tokens_so_far.entry(written.request).or_default();
        *token += 1;
        (written, seen[&written.request][*token - 1])
    }))
}

/// A server that sends a token every 40 ms, and of each prompt the number it gave the request.
fn numbering_server() -> (Server, Arc<Mutex<HashMap<String, u32>>>) {
    let numbers = Arc::new(Mutex::new(HashMap::new()));
    let given = Arc::clone(&numbers);
    let server = Server::start(move |asked| {
        given.lock().unwrap().insert(asked.body["prompt"].to_string(), asked.index);
        Answer::Tokens { first: ms(300), gap: ms(40), a_write: 1 }
    });
    (server, numbers)
}

/// Streams of a bare loop at once; when it saw each token, by the number that the server gave the request.
fn bare_streams(streams: usize, tokens: usize) -> Vec<u64> {
    let (server, numbers) = numbering_server();
    let mut poll = mio::Poll::new().unwrap();
    // All are connected before the first asks, so that no token waits for a loop that is not reading yet.
    let connected: Vec<TcpStream> =
        (0..streams).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let ask = |(at, mut stream): (usize, TcpStream)| {
        stream.write_all(request(tokens, at).as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        mio::net::TcpStream::from_std(stream)
    };
    let mut open: Vec<mio::net::TcpStream> = connected.into_iter().enumerate().map(ask).collect();
    for (at, stream) in open.iter_mut().enumerate() {
        poll.registry().register(stream, mio::Token(at), mio::Interest::READABLE).unwrap();
    }
    let mut seen = vec![Vec::new(); streams];
    let mut events = mio::Events::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    while seen.iter().any(|seen: &Vec<Tick>| seen.len() < tokens) {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let at = event.token().0;
            while let Ok(length @ 1..) = open[at].read(&mut buffer) {
                let now = clock::now();
                let new = memchr::memmem::find_iter(&buffer[..length], " word").count();
                seen[at].extend(std::iter::repeat_n(now, new));
            }
        }
    }
    let numbers = numbers.lock().unwrap();
    let seen = seen.into_iter().enumerate().map(|(at, seen)| (numbers[&at.to_string()], seen)).collect();
    late_of_each(server.written(), &seen)
}

/// The same by our client.
fn client_streams(streams: u32, tokens: u32) -> Vec<u64> {
    let (server, numbers) = numbering_server();
    let questions = questions(16, tokens);
    let (log, report) = ask(&target(&server.url()), &questions, streams, streams);
    assert!(endings(&log).iter().all(|ending| *ending == Ending::Completed), "{:?}", report.stats.failures);
    let numbers = numbers.lock().unwrap();
    let seen = log.requests().iter().map(|request| {
        let mut prompt = Vec::new();
        questions.prompts.tokens(request.planned.index, false, 16, &mut prompt);
        let prompt = serde_json::to_string(&prompt).unwrap();
        let due = request.planned.intended;
        let deliveries = log.deliveries(request).expect("few enough to keep");
        (numbers[&prompt], deliveries.iter().map(|delivery| delivery.at(due)).collect())
    });
    late_of_each(server.written(), &seen.collect())
}

#[test]
fn tokens_of_200_streams_are_seen_about_as_soon_as_a_bare_loop_sees_them() {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        ours.extend(client_streams(200, 25));
        bare.extend(bare_streams(200, 25));
    }
    ours.sort_unstable();
    bare.sort_unstable();
    assert_eq!((ours.len(), bare.len()), (15_000, 15_000));
    for at in [0.5, 0.9, 0.99] {
        println!(
            "200 streams: {}% of tokens are seen within {} ms, by a bare loop within {} ms",
            at * 100.0,
            share(&ours, at),
            share(&bare, at)
        );
    }
    for at in [0.5, 0.9] {
        assert!(share(&ours, at) <= 2.0 * share(&bare, at));
    }
}

/// How late a wait is that `epoll_wait` bounds itself, in whole milliseconds.
fn late_by_timeout(interval: Duration, times: u32) -> Vec<u64> {
    let mut poll = mio::Poll::new().unwrap();
    let mut events = mio::Events::with_capacity(1);
    let begin = clock::now().nanos();
    let mut late = Vec::new();
    for number in 1..=times {
        let due = begin + u64::try_from((interval * number).as_nanos()).unwrap();
        while clock::now().nanos() < due {
            poll.poll(&mut events, Some(Duration::from_nanos(due.saturating_sub(clock::now().nanos()))))
                .unwrap();
        }
        late.push(clock::now().nanos() - due);
    }
    late.sort_unstable();
    late
}

#[cfg(target_os = "linux")]
#[test]
fn requests_are_sent_sooner_after_they_are_due_than_a_timeout_allows() {
    let server = Server::start(|_| Answer::Tokens { first: ms(1), gap: ms(1), a_write: 1 });
    let rate = 230.0;
    let pace =
        Pace::Open { arrivals: Arrivals::new(Process::Constant, rate, 1).unwrap(), most_in_flight: None };
    let extent = Extent { requests: Some(200), time: None };
    let begin = clock::now();
    let mut load = Load::new(pace, Extent::default(), extent, begin).unwrap();
    let mut log = RequestLog::new(begin);
    let report =
        drive(&target(&server.url()), &mut load, &questions(64, 4), &mut log, &Interrupt::default()).unwrap();
    assert!(
        log.requests().iter().all(|request| request.ending == Ending::Completed),
        "{:?}",
        report.stats.failures
    );
    let lag = |request: &Request| request.started.get().unwrap().nanos() - request.planned.released.nanos();
    let mut lags: Vec<u64> = log.requests().iter().map(lag).collect();
    lags.sort_unstable();
    let timeout = late_by_timeout(Duration::from_secs_f64(1.0 / rate), 200);
    println!("sent {} ms late at the median, by a timeout {} ms", share(&lags, 0.5), share(&timeout, 0.5));
    assert!(share(&lags, 0.5) < share(&timeout, 0.5));
    assert!(report.stats.receive_lag.total() > 200, "arrivals are stamped");
}

#[test]
fn several_threads_drive_one_load() {
    let server = Server::start(|_| Answer::Tokens { first: ms(2), gap: ms(1), a_write: 1 });
    let target = Target { threads: 3, ..target(&server.url()) };
    let (log, report) = ask(&target, &questions(4, 5), 100, 8);
    assert_eq!(endings(&log), [Ending::Completed; 100], "{:?}", report.stats.failures);
    let mut indexes: Vec<u32> = log.requests().iter().map(|request| request.planned.index).collect();
    indexes.sort_unstable();
    assert!(indexes.into_iter().eq(0..100), "each request is sent once");
    // Eight slots are eight connections at most, shared by threads of at most three each.
    assert!((6..=9).contains(&report.stats.opened), "{}", report.stats.opened);
    assert!(report.stopped.is_none() && report.processor_time.is_some());
    let nobody = Target { url: Url::parse("http://127.0.0.1:9").unwrap(), ..target };
    let (_, report) = ask(&nobody, &questions(4, 5), 1000, 8);
    assert!(matches!(report.stopped, Some(Stopped::NoAnswers { .. })), "{:?}", report.stopped);
}
