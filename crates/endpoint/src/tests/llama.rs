//! The client against a real llama-server.

use std::time::Duration;

use infercost_testing::Server;

use super::{ask, endings, questions};
use crate::base::clock;
use crate::base::requests::{Ending, Finish, RequestLog};
use crate::base::sys::Interrupt;
use crate::workload::{Extent, Load, Pace, Questions, Stopped};
use crate::{Api, Target, Url, drive, models};

/// A real server and how it is asked.
fn llama() -> Option<(Server, Target)> {
    let server = Server::for_load()?;
    let mut target = Target::new(Url::parse(&server.url()).unwrap(), "");
    let found = models(&target).unwrap();
    assert_eq!(found[0].vocabulary, Some(49_152));
    target.model.clone_from(&found[0].id);
    target.ignore_eos = true;
    Some((server, target))
}

#[test]
fn fifty_requests_to_a_real_server_and_none_fails() {
    let Some((_server, target)) = llama() else { return };
    let (log, report) = ask(&target, &questions(32, 32), 50, 4);
    assert_eq!(endings(&log), [Ending::Completed; 50], "{:?}", report.stats.failures);
    for request in log.requests() {
        let usage = request.usage.expect("llama-server tells its usage");
        assert_eq!((usage.prompt_tokens, usage.output_tokens, request.finish), (32, 32, Finish::Length));
        // A token without text of its own, such as half a character, is no delivery.
        assert!((1..=32).contains(&request.deliveries), "{}", request.deliveries);
    }
    assert_eq!(report.stopped, None);
    let chat = Target { api: Api::Chat, ..target };
    let words = Questions { as_text: true, ..questions(20, 16) };
    let (log, report) = ask(&chat, &words, 8, 4);
    assert_eq!(endings(&log), [Ending::Completed; 8], "{:?}", report.stats.failures);
}

#[test]
fn a_server_that_is_killed_ends_the_load_and_leaves_what_was_measured() {
    let Some((server, target)) = llama() else { return };
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
        drop(server);
    });
    let report = drive(&target, &mut load, &questions(8, 12), &mut log, &Interrupt::default()).unwrap();
    kill.join().unwrap();
    for ending in [Ending::Completed, Ending::ClosedEarly, Ending::ConnectionRefused] {
        assert!(endings(&log).contains(&ending), "{ending:?} is missing in {:?}", endings(&log));
    }
    assert!(
        matches!(report.stopped, Some(Stopped::NoAnswers { in_a_row: 100.., .. })),
        "{:?}",
        report.stopped
    );
}
