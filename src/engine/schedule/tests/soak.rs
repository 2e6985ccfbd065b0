//! A hundred thousand steps under random arrivals, lengths and cancellations.

use super::super::{Ending, Scheduled, ServeOptions};
use super::serving::{random_requests, serve};
use super::toy::Toy;
use crate::base::event::Event;
use crate::base::random::SplitMix64;

#[test]
fn a_hundred_thousand_steps_leak_no_page_and_no_place() {
    let mut random = SplitMix64::new(2026);
    let mut engine = Scheduled::new(Toy::new(24, 48));
    let (mut steps, mut preemptions, mut finished, mut cancelled) = (0, 0, 0, 0);
    for round in 0.. {
        if steps >= 100_000 {
            break;
        }
        let requests = random_requests(&mut random, 1000, 600);
        let options = ServeOptions { share_prefixes: round % 2 == 1, ..ServeOptions::default() };
        let (served, events) = serve(&mut engine, &requests, &options);
        steps += events.iter().filter(|event| matches!(event, Event::Step(_))).count();
        preemptions += served.preemptions;
        let done = served.requests.iter().filter(|request| request.ending == Ending::Finished).count();
        finished += done;
        cancelled += requests.len() - done;
        // Places of sequences are used again: as many as were live at once, not as many as ever were.
        assert!(engine.batcher.places() <= requests.len(), "{}", engine.batcher.places());
    }
    assert!(preemptions > 1000 && finished > 1000 && cancelled > 100, "{preemptions} {finished} {cancelled}");
}
