//! The client against a real llama-server.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{ask, endings, questions};
use crate::base::requests::{Ending, Finish, RequestLog};
use crate::base::sys::Interrupt;
use crate::base::{clock, env};
use crate::workload::{Extent, Load, Pace};
use crate::{Api, Questions, Stopped, Target, Url, drive, models};

/// A llama-server that is ended when dropped.
struct Llama(Child, Target);

impl Drop for Llama {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `None`, with a word about it, where the program or the model is not there.
fn llama() -> Option<Llama> {
    let program = env::llama_cpp_folder().join("llama-server");
    let model = env::test_model()
        .unwrap_or_else(|| env::cache_folder().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"));
    if !program.exists() || !model.exists() {
        assert!(!env::is_ci(), "no llama-server or model");
        eprintln!(
            "skipped: no llama-server or model; get them with scripts/peer/llama-cpp and scripts/fetch-test-model"
        );
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(program)
        .arg("--model")
        .arg(model)
        .args([
            "--port",
            &port.to_string(),
            "--ctx-size",
            "1024",
            "--threads",
            "1",
            "--parallel",
            "4",
            "--no-warmup",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let target = Target::new(Url::parse(&format!("http://127.0.0.1:{port}")).unwrap(), "");
    let mut llama = Llama(child, target);
    for _ in 0..600 {
        if let Ok(found) = models(&llama.1) {
            llama.1.model.clone_from(&found[0].id);
            llama.1.ignore_eos = true;
            assert_eq!(found[0].vocabulary, Some(49_152));
            return Some(llama);
        }
        clock::sleep(Duration::from_millis(100));
    }
    panic!("llama-server did not answer within a minute");
}

#[test]
fn fifty_requests_to_a_real_server_and_none_fails() {
    let Some(llama) = llama() else { return };
    let (log, report) = ask(&llama.1, &questions(32, 32), 50, 4);
    assert_eq!(endings(&log), [Ending::Completed; 50], "{:?}", report.stats.failures);
    for request in log.requests() {
        let usage = request.usage.expect("llama-server tells its usage");
        assert_eq!((usage.prompt_tokens, usage.output_tokens, request.finish), (32, 32, Finish::Length));
        // A token without text of its own, such as half a character, is no delivery.
        assert!((1..=32).contains(&request.deliveries), "{}", request.deliveries);
    }
    assert_eq!(report.stopped, None);
    let chat = Target { api: Api::Chat, ..llama.1.clone() };
    let words = Questions { as_text: true, ..questions(20, 16) };
    let (log, report) = ask(&chat, &words, 8, 4);
    assert_eq!(endings(&log), [Ending::Completed; 8], "{:?}", report.stats.failures);
}

#[test]
fn a_server_that_is_killed_ends_the_load_and_leaves_what_was_measured() {
    let Some(mut llama) = llama() else { return };
    let target = llama.1.clone();
    let begin = clock::now();
    let (first, _) = ask(&target, &questions(8, 12), 4, 4);
    assert_eq!(endings(&first), [Ending::Completed; 4]);
    let enough = Duration::from_secs_f64(1.0 + 3.0 * clock::now().since(begin).get());
    let begin = clock::now();
    let extent = Extent { requests: Some(10_000), time: None };
    let mut load = Load::new(Pace::Closed { concurrency: 4 }, Extent::default(), extent, begin).unwrap();
    let mut log = RequestLog::new(begin);
    let kill = std::thread::spawn(move || {
        clock::sleep(enough);
        llama.0.kill().unwrap();
        llama
    });
    let report = drive(&target, &mut load, &questions(8, 12), &mut log, &Interrupt::default()).unwrap();
    drop(kill.join().unwrap());
    for ending in [Ending::Completed, Ending::ClosedEarly, Ending::ConnectionRefused] {
        assert!(endings(&log).contains(&ending), "{ending:?} is missing in {:?}", endings(&log));
    }
    assert!(
        matches!(report.stopped, Some(Stopped::NoAnswers { in_a_row: 100.., .. })),
        "{:?}",
        report.stopped
    );
}
