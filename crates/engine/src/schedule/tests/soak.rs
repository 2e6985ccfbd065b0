//! A hundred thousand steps under random arrivals, lengths and cancellations.

use super::super::{Ending, Scheduled, ServeOptions};
use super::serving::{random_requests, serve};
use super::toy::Toy;
use crate::base::event::{Event, RequestChange};
use crate::base::random::SplitMix64;

/// Most requests that had come and were not over.
fn most_live(events: &[Event]) -> usize {
    let (mut live, mut most) = (0, 0);
    for event in events {
        let Event::Request(event) = event else { continue };
        match event.change {
            RequestChange::Arrived => live += 1,
            RequestChange::Finished | RequestChange::Cancelled => live -= 1,
            RequestChange::Admitted | RequestChange::Preempted => {}
        }
        most = most.max(live);
    }
    most
}

#[test]
fn a_hundred_thousand_steps_leak_no_page_and_no_place() {
    let mut random = SplitMix64::new(2026);
    let mut engines = [13, 16, 24].map(|pages| (Scheduled::new(Toy::new(pages, 48)), 0));
    let (mut steps, mut preemptions, mut finished, mut cancelled) = (0, 0, 0, 0);
    for round in 0.. {
        if steps >= 100_000 {
            break;
        }
        let (engine, live) = &mut engines[round % 3];
        let requests = random_requests(&mut random, 1000, 600);
        let share_prefixes = round % 2 == 1;
        let (served, events) =
            serve(engine, &requests, &ServeOptions { share_prefixes, ..ServeOptions::default() });
        steps += events.iter().filter(|event| matches!(event, Event::Step(_))).count();
        preemptions += served.preemptions;
        let done = served.requests.iter().filter(|request| request.ending == Ending::Finished).count();
        finished += done;
        cancelled += requests.len() - done;
        // Places of sequences are used again: there are as many as were live at once, not as many as ever were.
        *live = most_live(&events).max(*live);
        assert!(engine.batcher.places() <= *live, "{} places, {live} live", engine.batcher.places());
    }
    assert!(preemptions > 500 && finished > 1000 && cancelled > 1000, "{preemptions} {finished} {cancelled}");
}
