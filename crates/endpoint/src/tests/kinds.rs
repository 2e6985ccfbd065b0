//! Each kind of failure, provoked for real. None is ever a success with fewer tokens.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::truth::{After, Answer, Server};
use super::{ask, endings, impatient, questions, target};
use crate::base::clock;
use crate::base::requests::Failure;
use crate::base::requests::{CountedBy, Ending, Finish};
use crate::base::sys::Interrupt;
use crate::workload::Stopped;
use crate::{Api, Error, Target, models};

/// What became of two requests, one after the other, which must end alike.
fn failure(target: &Target) -> Failure {
    let (log, report) = ask(target, &questions(4, 16), 2, 1);
    let [(ending, 2, failure)] = &report.stats.failures[..] else {
        panic!("{:?} {:?}", endings(&log), report.stats.failures)
    };
    assert_eq!(endings(&log), [*ending; 2]);
    failure.clone()
}

fn failure_of(answer: Answer) -> Failure {
    let server = Server::start(move |_| answer.clone());
    failure(&target(&server.url()))
}

fn failure_of_stalling(answer: Answer) -> Failure {
    let server = Server::start(move |_| answer.clone());
    failure(&impatient(&server.url()))
}

fn tokens() -> Answer {
    Answer::Tokens { first: Duration::ZERO, gap: Duration::ZERO, a_write: 1 }
}

#[test]
fn a_status_is_its_kind_and_keeps_what_the_server_says() {
    let unknown = r#"{"error":{"message":"The model `truth` does not exist.","code":404}}"#;
    let field = r#"{"object":"error","message":"max_tokens is too large: 99"}"#;
    for (status, lines, body, ending, words) in [
        (401, "", "", Ending::NotAuthorized, "answered 401"),
        (403, "", "no", Ending::NotAuthorized, "answered 403: no"),
        (404, "", "no such page", Ending::NotFound, "answered 404: no such page"),
        (404, "", unknown, Ending::WrongModel, "does not exist"),
        (400, "", field, Ending::RequestRejected, "max_tokens is too large"),
        (422, "", field, Ending::RequestRejected, "answered 422"),
        (429, "Retry-After: 17\r\n", "", Ending::RateLimited, "(Retry-After: 17 s)"),
        (500, "", "", Ending::ServerError, "answered 500"),
        (503, "Content-Type: text/event-stream\r\n", "loading", Ending::ServerError, "503: loading"),
        (302, "Location: /elsewhere\r\n", "", Ending::UnexpectedStatus, "answered 302"),
    ] {
        let failure = failure_of(Answer::Status(status, lines, body.to_owned()));
        assert_eq!(failure.ending, ending, "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
        assert_eq!(failure.retry_after.is_some(), status == 429);
    }
}

#[test]
fn an_answer_that_is_200_and_no_answer_is_a_failure() {
    let json = "Content-Type: application/json\r\n";
    let whole = r#"{"choices":[{"text":"all at once","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":9}}"#;
    let inside = r#"{"error":{"message":"out of memory"}}"#;
    let stream = "Content-Type: text/event-stream\r\n";
    let role = br#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let end = br#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let status = |lines, body: &str| Answer::Status(200, lines, body.to_owned());
    let events = |events: &[&[u8]]| Answer::Events(events.iter().map(|event| event.to_vec()).collect());
    for (answer, ending, words) in [
        (status(json, ""), Ending::NoOutput, "empty body"),
        (status(stream, ""), Ending::NoOutput, "empty body"),
        (status(json, whole), Ending::MalformedStream, "in one piece"),
        (status("Content-Type: text/html\r\n", "<html>"), Ending::MalformedStream, "<html>"),
        (status(json, inside), Ending::ErrorInStream, "out of memory"),
        (status(stream, "<html>"), Ending::MalformedStream, "no event"),
        (events(&[role, end, b"[DONE]"]), Ending::NoOutput, "without any output"),
        (events(&[b"[DONE]"]), Ending::NoOutput, "without any output"),
        (Answer::Then(3, After::Error), Ending::ErrorInStream, "CUDA out of memory"),
        (events(&[br#"{"choices":[{"text":"a""#]), Ending::MalformedJson, "no valid JSON"),
        (events(&[br#"{"answer":42}"#]), Ending::MalformedJson, "neither choices nor usage"),
        (events(&[b"hello"]), Ending::MalformedJson, "no valid JSON at byte 0"),
        (events(&[b"{\"choices\":[{\"text\":\"\xc3\x28\"}]}"]), Ending::MalformedUtf8, "no valid UTF-8"),
        (Answer::Model("gpt-2"), Ending::WrongModel, "truth was requested, but gpt-2 answered"),
    ] {
        let failure = failure_of(answer);
        assert_eq!(failure.ending, ending, "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
    }
}

#[test]
fn bytes_that_are_no_http_are_malformed() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bytes in [
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        "220 mail.example ESMTP\r\n".to_owned(),
        format!("{chunked}zz\r\ndata"),
        format!("{chunked}5\r\ndata:xxxx"),
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(100_000)),
    ] {
        let failure = failure_of(Answer::Raw(bytes.clone().into_bytes()));
        assert_eq!(failure.ending, Ending::MalformedHttp, "{failure} of {}", &bytes[..bytes.len().min(60)]);
    }
}

#[test]
fn an_answer_cut_in_its_middle_is_closed_early() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    let token = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
    for (answer, words) in [
        (Answer::Raw(Vec::new()), "before an answer"),
        (Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-".to_vec()), "within the head"),
        (Answer::Then(0, After::Cut), "before the first token"),
        (Answer::Then(1, After::Cut), "after 1 delivery"),
        (Answer::Then(5, After::Cut), "after 5 deliveries"),
        (Answer::Then(5, After::End), "without finish_reason or [DONE]"),
        // Without chunks the end of the connection is the end of the answer, and says nothing.
        (Answer::Raw(format!("{head}\r\n{token}{token}").into_bytes()), "after 2 deliveries"),
        (Answer::Raw(format!("{head}Content-Length: 900\r\n\r\n{token}").into_bytes()), "after 1 delivery"),
    ] {
        let failure = failure_of(answer);
        assert_eq!(failure.ending, Ending::ClosedEarly, "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
    }
}

#[test]
fn a_reset_is_closed_early() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reset = move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            // What is left unread makes the system reset the connection when it is closed.
            stream.read_exact(&mut [0; 20]).unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream
                .write_all(format!("{head}data: {{\"choices\":[{{\"text\":\"a\"}}]}}\n\n").as_bytes())
                .unwrap();
            clock::sleep(Duration::from_millis(100));
        }
    };
    let server = std::thread::spawn(reset);
    let failure = failure(&target(&format!("http://{address}")));
    server.join().unwrap();
    assert_eq!(failure.ending, Ending::ClosedEarly, "{failure}");
    assert!(failure.detail.contains("reset"), "{failure}");
}

#[test]
fn silence_comments_and_a_head_that_drips_are_a_stall() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Slow: loris\r\n\r\n".to_vec();
    for answer in [
        Answer::Then(3, After::Silence),
        Answer::Then(3, After::Comments),
        Answer::Drip(head, Duration::from_millis(30)),
        Answer::Tokens { first: Duration::from_secs(2), gap: Duration::ZERO, a_write: 1 },
    ] {
        let failure = failure_of_stalling(answer);
        assert_eq!(failure.ending, Ending::Stalled, "{failure}");
    }
    let slow = Answer::Tokens { first: Duration::ZERO, gap: Duration::from_millis(250), a_write: 1 };
    assert_eq!(failure_of_stalling(slow).ending, Ending::TimedOut);
}

#[test]
fn a_pause_within_patience_is_no_failure() {
    let server = Server::start(|_| Answer::Then(2, After::Pause(Duration::from_millis(300))));
    let (log, report) = ask(&target(&server.url()), &questions(4, 6), 2, 1);
    assert_eq!(endings(&log), [Ending::Completed; 2], "{:?}", report.stats.failures);
}

#[test]
fn a_server_where_nobody_listens_ends_the_load_soon() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (log, report) = ask(&target(&format!("http://{address}")), &questions(4, 16), 100_000, 8);
    assert!(endings(&log).iter().all(|ending| *ending == Ending::ConnectionRefused));
    assert!(log.requests().len() < 100, "{}", log.requests().len());
    let Some(Stopped::NoAnswers { last, .. }) = report.stopped else { panic!("{:?}", report.stopped) };
    assert!(last.to_string().contains("start the server"), "{last}");
}

#[test]
fn a_server_that_accepts_nobody_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Once the listener's queue is full, the system no longer answers.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
    }
    assert_eq!(failure(&impatient(&format!("http://{address}"))).ending, Ending::ConnectTimeout);
}

#[test]
fn a_name_without_an_address_is_said_before_the_load() {
    let error = models(&target("http://no-such-host.invalid:8000")).unwrap_err();
    let Error::Failed(failure) = &error else { panic!("{error}") };
    assert_eq!(failure.ending, Ending::NameNotResolved);
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[test]
fn tls_needs_an_authority_that_is_trusted() {
    let server = Server::with_tls(|_| tokens());
    let url = format!("https://localhost:{}", server.address.port());
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let trusting = Target { authorities: Some(data.join("ca.pem")), ..target(&url) };
    let (log, report) = ask(&trusting, &questions(4, 16), 6, 2);
    assert_eq!(endings(&log), [Ending::Completed; 6], "{:?}", report.stats.failures);
    assert_eq!(server.connections(), 2);
    assert!(log.requests().iter().all(|request| request.deliveries == 16));

    let failure_by_browsers = failure(&target(&url));
    assert_eq!(failure_by_browsers.ending, Ending::Tls);
    assert!(failure_by_browsers.to_string().contains("--cacert"), "{failure_by_browsers}");
    let elsewhere =
        Target { authorities: Some(data.join("ca.pem")), ..target(&url.replace("localhost", "127.0.0.1")) };
    assert_eq!(failure(&elsewhere).ending, Ending::Tls);

    let plain = Server::start(|_| tokens());
    let failure = failure(&target(&plain.url().replace("http", "https")));
    assert_eq!(failure.ending, Ending::Tls, "{failure}");

    let no_certificate = Target { authorities: Some(data.join("localhost-key.der")), ..target(&url) };
    let error = models(&no_certificate).unwrap_err().to_string();
    assert!(error.contains("localhost-key.der") && error.contains("no certificate in PEM"), "{error}");
}

#[test]
fn a_handshake_that_never_ends_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let failure = failure(&impatient(&format!("https://{}", listener.local_addr().unwrap())));
    assert_eq!(failure.ending, Ending::ConnectTimeout, "{failure}");
    assert!(failure.detail.contains("TLS handshake"), "{failure}");
}

#[test]
fn a_connection_that_died_while_idle_is_opened_again_and_counted() {
    // The server reads the second request of a connection and closes without a byte of an answer.
    let server =
        Server::start(|asked| if asked.on_connection == 0 { tokens() } else { Answer::Raw(Vec::new()) });
    let (log, report) = ask(&target(&server.url()), &questions(4, 4), 5, 1);
    assert_eq!(endings(&log), [Ending::Completed; 5], "{:?}", report.stats.failures);
    assert_eq!((report.stats.reopened, report.stats.opened, server.connections()), (4, 5, 5));
    // One that closes in time is not asked again.
    let server = Server::start(|_| Answer::CloseAfter);
    let (log, report) = ask(&target(&server.url()), &questions(4, 4), 5, 1);
    assert_eq!(endings(&log), [Ending::Completed; 5], "{:?}", report.stats.failures);
    assert_eq!(report.stats.opened, 5);
}

#[test]
fn an_answer_in_pieces_of_a_byte_is_whole() {
    let text = "data: {\"choices\":[{\"text\":\"h\u{e9}\u{1F600}\"}]}\r\n\r\ndata: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in text.as_bytes().chunks(7) {
        bytes.extend_from_slice(format!("{:X};x=y\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nX-Trailer: yes\r\n\r\n");
    let server = Server::start(move |_| Answer::Drip(bytes.clone(), Duration::from_micros(100)));
    let (log, report) = ask(&target(&server.url()), &questions(4, 4), 1, 1);
    let request = log.requests()[0];
    assert_eq!(request.ending, Ending::Completed, "{:?}", report.stats.failures);
    assert_eq!(
        (request.deliveries, request.finish, request.counted_by),
        (2, Finish::Stop, CountedBy::Nobody)
    );
}

#[test]
fn what_the_server_counted_is_in_the_log() {
    let server = Server::start(|_| tokens());
    for api in [Api::Completions, Api::Chat] {
        let target = Target { api, ..target(&server.url()) };
        let questions = crate::workload::Questions { as_text: api == Api::Chat, ..questions(9, 12) };
        let (log, report) = ask(&target, &questions, 4, 2);
        assert_eq!(endings(&log), [Ending::Completed; 4], "{:?}", report.stats.failures);
        for request in log.requests() {
            let usage = request.usage.unwrap();
            let (prompt, cached) = if questions.as_text { (7, 3) } else { (9, 0) };
            assert_eq!(
                (usage.prompt_tokens, usage.cached_tokens, usage.output_tokens),
                (prompt, Some(cached), 12)
            );
            assert_eq!((request.deliveries, request.output_tokens, request.finish), (12, 12, Finish::Length));
            let moments = [request.started, request.sent, request.answered, request.first, request.last]
                .map(|at| at.get().unwrap());
            assert!(
                moments.is_sorted() && request.planned.intended <= moments[0] && moments[4] <= request.ended
            );
        }
    }
    assert_eq!(server.connections(), 4);
}

#[test]
fn what_is_asked_is_what_was_set() {
    let server = Server::start(|asked| {
        let line = |name: &str| asked.head.lines().any(|line| line == name);
        assert!(line("Authorization: Bearer sk-very-secret-1") && line("X-Tenant: bench"), "{}", asked.head);
        assert!(line(&format!("Content-Length: {}", asked.body.to_string().len())));
        assert!(line("POST /openai/v1/completions?api-version=2 HTTP/1.1"), "{}", asked.head);
        assert_eq!(asked.body["prompt"].as_array().unwrap().len(), 9);
        for (field, value) in
            [("stream", 1), ("ignore_eos", 1), ("max_tokens", 12), ("min_tokens", 12), ("temperature", 0)]
        {
            let found = &asked.body[field];
            assert!(found.as_bool() == Some(value == 1) || *found == value, "{field}: {found}");
        }
        assert_eq!(asked.body["stream_options"]["include_usage"], true);
        tokens()
    });
    let mut target = target(&format!("{}/openai/v1?api-version=2", server.url()));
    target.set_key(" sk-very-secret-1\n").unwrap();
    target.add_header("X-Tenant:bench").unwrap();
    (target.ignore_eos, target.min_tokens) = (true, true);
    let (log, report) = ask(&target, &questions(9, 12), 1, 1);
    assert_eq!(endings(&log), [Ending::Completed], "{:?}", report.stats.failures);
}

#[test]
fn secrets_reach_no_message() {
    let server = Server::start(|asked| Answer::Status(401, "", format!("your head was {}", asked.head)));
    let mut target = target(&format!("{}/v1?sig=abcdef-query-secret", server.url()));
    target.set_key("plainword").unwrap();
    target.add_header("X-Api: Correct Horse Battery").unwrap();
    let shown = format!("{} {target:?} {}", failure(&target), target.url);
    for secret in ["plainword", "Correct Horse", "query-secret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let error = models(&target).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("plainword"), "{error:?}");
    for wrong in ["no colon", "Host: x", "Bad Name: x", "X: a\nb"] {
        assert!(target.add_header(wrong).is_err(), "{wrong}");
    }
    assert!(target.set_key("two\r\nlines").is_err());
}

#[test]
fn a_server_says_which_models_it_has() {
    let server = Server::start(|_| tokens());
    let found = models(&target(&server.url())).unwrap();
    assert_eq!((found[0].id.as_str(), found[0].context, found.len()), ("truth", Some(4096), 1));
    let refusing = Server::start(|_| Answer::Status(401, "", "{}".to_owned()));
    let Error::Failed(failure) = models(&target(&refusing.url())).unwrap_err() else { panic!("no failure") };
    assert_eq!(failure.ending, Ending::NotAuthorized);
}

#[test]
fn an_interrupt_cuts_what_is_in_flight() {
    let server = Server::start(|_| Answer::Tokens {
        first: Duration::ZERO,
        gap: Duration::from_millis(20),
        a_write: 1,
    });
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let later = std::thread::spawn(move || {
        clock::sleep(Duration::from_millis(150));
        asked.request();
    });
    let begin = clock::now();
    let extent = crate::workload::Extent { requests: Some(8), time: None };
    let pace = crate::workload::Pace::Closed { concurrency: 4 };
    let mut load =
        crate::workload::Load::new(pace, crate::workload::Extent::default(), extent, begin).unwrap();
    let mut log = crate::base::requests::RequestLog::new(begin);
    let report =
        crate::drive(&target(&server.url()), &mut load, &questions(4, 100), &mut log, &interrupt).unwrap();
    later.join().unwrap();
    assert_eq!((endings(&log), report.stopped), (vec![Ending::CutByUs; 4], Some(Stopped::Interrupted)));
    assert!(log.requests().iter().all(|request| request.deliveries > 0));
}

#[test]
fn running_out_of_files_is_its_own_kind() {
    // In a process of its own, since a limit is the process's.
    let program = std::env::current_exe().unwrap();
    let test = "tests::kinds::with_few_files";
    let shell = format!("ulimit -n 40 && exec '{}' --exact {test} --ignored --nocapture", program.display());
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("ran out of files"), "{text}");
}

#[test]
#[ignore = "run by the test before it, under a limit of open files"]
fn with_few_files() {
    let server = Server::start(|_| Answer::Tokens {
        first: Duration::ZERO,
        gap: Duration::from_millis(20),
        a_write: 1,
    });
    let (log, report) = ask(&impatient(&server.url()), &questions(4, 8), 60, 60);
    let failed = report.stats.failures.iter().find(|(ending, ..)| *ending == Ending::OutOfFiles);
    let (_, count, failure) = failed.expect("the limit was reached");
    assert!(failure.to_string().contains("ulimit -n"), "{failure}");
    println!("{count} of {} ran out of files", log.requests().len());
}
