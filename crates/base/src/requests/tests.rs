//! Requests noted by hand, and an hour of them by count.

use super::*;

const MS: u64 = 1_000_000;

fn tick(ms: u64) -> Tick {
    Tick::from_nanos(ms * MS)
}

fn planned(index: u32, due_ms: u64) -> Planned {
    Planned {
        index,
        warmup: false,
        intended: tick(due_ms),
        released: tick(due_ms),
        prompt_tokens: 32,
        output_tokens: 4,
    }
}

fn outcome(at_ms: u64, ending: Ending, usage: Option<u32>) -> Outcome {
    let usage = usage.map(|output_tokens| Usage { prompt_tokens: 32, cached_tokens: Some(0), output_tokens });
    Outcome { at: tick(at_ms), ending, finish: Finish::Length, usage, tokenizer: None }
}

/// Notes a request due at `due` whose deliveries come at the given moments.
fn note(
    log: &mut RequestLog,
    planned: Planned,
    deliveries: &[(u64, Part, Amount)],
    outcome: Outcome,
) -> Request {
    let slot = log.start(planned, planned.released);
    log.sent(slot, planned.released);
    for (at, part, amount) in deliveries {
        log.delivered(slot, tick(*at), *part, *amount);
    }
    log.end(slot, outcome);
    *log.requests().last().expect("the request just ended")
}

fn everything() -> Span {
    Span { from: tick(0), to: tick(1 << 24) }
}

#[test]
fn a_request_keeps_its_moments_and_its_counts() {
    let mut log = RequestLog::new(tick(0));
    let slot = log.start(Planned { released: tick(1010), ..planned(7, 1000) }, tick(1011));
    log.sent(slot, tick(1012));
    log.answered(slot, tick(1040));
    log.delivered(slot, tick(1050), Part::Reasoning, Amount::Bytes(8));
    log.delivered(slot, tick(1060), Part::Answer, Amount::Bytes(8));
    log.delivered(slot, tick(1090), Part::Answer, Amount::Bytes(8));
    log.end(slot, outcome(1095, Ending::Completed, Some(6)));
    let request = log.requests()[0];
    assert_eq!((request.planned.index, request.planned.intended), (7, tick(1000)));
    assert_eq!(
        [request.started, request.sent, request.answered, request.first, request.first_answer, request.last]
            .map(Moment::get),
        [1011, 1012, 1040, 1050, 1060, 1090].map(|ms| Some(tick(ms)))
    );
    assert_eq!(
        (request.ended, request.ending, request.finish),
        (tick(1095), Ending::Completed, Finish::Length)
    );
    assert_eq!((request.output_tokens, request.first_tokens, request.deliveries), (6, 2, 3));
    assert_eq!(request.text_bytes, 24);
    assert_eq!(log.exact_gaps(everything()), Some(vec![(10 * MS, 2), (30 * MS, 2)]));
    let per_token = log.gaps(everything()).per_token;
    assert_eq!((per_token.total(), per_token.mean()), (4, Some(10e6)));
}

#[test]
fn tokens_are_counted_by_usage_then_by_deliveries_then_by_the_tokenizer_and_never_by_chunks() {
    let mut log = RequestLog::new(tick(0));
    let text = [(10, Part::Answer, Amount::Bytes(9)), (20, Part::Answer, Amount::Bytes(9))];
    let ids = [(10, Part::Answer, Amount::Tokens(1)), (20, Part::Answer, Amount::Tokens(4))];
    let with = |usage, tokenizer| Outcome { tokenizer, ..outcome(21, Ending::Completed, usage) };
    for (deliveries, outcome, tokens, by, recount) in [
        (&text, with(Some(8), Some(7)), 8, CountedBy::Usage, Some(7)),
        (&ids, with(Some(8), Some(7)), 8, CountedBy::Usage, Some(5)),
        (&ids, with(None, Some(7)), 5, CountedBy::Deliveries, Some(5)),
        (&text, with(None, Some(7)), 7, CountedBy::Tokenizer, Some(7)),
        (&text, with(None, None), 0, CountedBy::Nobody, None),
    ] {
        let found = note(&mut log, planned(0, 0), deliveries, outcome);
        assert_eq!((found.output_tokens, found.counted_by, found.recount), (tokens, by, recount));
    }
    let none = note(&mut log, planned(0, 0), &[], with(None, None));
    assert_eq!((none.counted_by, none.first, none.last), (CountedBy::Nobody, Moment::NEVER, Moment::NEVER));
}

#[test]
fn only_whole_measured_requests_have_gaps_and_failures_bring_no_tokens() {
    let mut log = RequestLog::new(tick(0));
    let two = |from| [(from, Part::Answer, Amount::Bytes(4)), (from + 5, Part::Answer, Amount::Bytes(4))];
    note(&mut log, planned(0, 0), &two(10), outcome(20, Ending::Completed, Some(2)));
    note(
        &mut log,
        Planned { warmup: true, ..planned(1, 0) },
        &two(20),
        outcome(30, Ending::Completed, Some(2)),
    );
    note(&mut log, planned(2, 0), &two(30), outcome(40, Ending::ClosedEarly, Some(2)));
    note(&mut log, planned(3, 0), &two(40), outcome(50, Ending::CutByUs, None));
    assert_eq!(log.exact_gaps(everything()), Some(vec![(5 * MS, 1)]));
    assert_eq!(log.exact_gaps(Span { from: tick(0), to: tick(15) }), Some(vec![]));
    let flow: Vec<_> =
        log.flow().all().iter().map(|flow| (flow.tokens, flow.uncounted_bytes, flow.deliveries)).collect();
    assert_eq!(flow, [(0, 0, 0), (2, 0, 2), (2, 0, 2), (0, 0, 0), (0, 8, 2)]);
}

#[test]
fn a_token_in_pieces_ends_one_gap() {
    let mut log = RequestLog::new(tick(0));
    let pieces = [10, 20, 21, 30].map(|at| (at, Part::Answer, Amount::Bytes(2)));
    let found = note(&mut log, planned(0, 0), &pieces, outcome(31, Ending::Completed, Some(3)));
    assert_eq!(
        log.deliveries(&found).map(|all| all.iter().map(|d| d.size()).collect()),
        Some(vec![1, 1, 0, 1])
    );
    assert_eq!(log.exact_gaps(everything()), Some(vec![(10 * MS, 1), (10 * MS, 1)]));
}

#[test]
fn past_the_limit_gaps_are_known_by_histograms() {
    let mut log = RequestLog::keeping(tick(0), 10);
    let four = [10, 20, 30, 40].map(|at| (at, Part::Answer, Amount::Tokens(1)));
    for index in 0..3 {
        let request = note(&mut log, planned(index, 0), &four, outcome(41, Ending::Completed, None));
        assert_eq!(log.deliveries(&request).is_some(), index < 2);
    }
    assert_eq!(log.exact_gaps(everything()), None);
    let gaps = log.gaps(everything()).gaps;
    assert_eq!((gaps.total(), gaps.mean()), (9, Some(10e6)));
    assert!((gaps.at_rank(4).expect("nine gaps") / 10e6 - 1.0).abs() < 0.004);
}

#[test]
fn logs_of_two_threads_join() {
    let (mut one, mut two) = (RequestLog::new(tick(0)), RequestLog::new(tick(0)));
    let deliveries =
        |from| [(from, Part::Answer, Amount::Tokens(1)), (from + 7, Part::Answer, Amount::Tokens(1))];
    note(&mut one, planned(0, 0), &deliveries(10), outcome(18, Ending::Completed, None));
    note(&mut two, planned(1, 0), &deliveries(40), outcome(48, Ending::Completed, None));
    one.absorb(two);
    let second = one.requests()[1];
    let first_at = one.deliveries(&second).and_then(|all| Some(all.first()?.at(tick(0))));
    assert_eq!((second.planned.index, first_at), (1, Some(tick(40))));
    assert_eq!(one.exact_gaps(everything()).map(|gaps| gaps.len()), Some(2));
    assert_eq!(one.flow().all().iter().map(|flow| flow.tokens).sum::<u32>(), 4);
}

/// `streams` requests at a time for `seconds`, each of 256 deliveries 25 ms apart.
fn steady(log: &mut RequestLog, streams: u64, seconds: u64) {
    let rounds = seconds * 40 / 256;
    for round in 0..rounds {
        let due = round * 6400;
        let slots: Vec<InFlight> = (0..streams).map(|_| log.start(planned(0, due), tick(due))).collect();
        for (stream, slot) in slots.iter().enumerate() {
            for delivery in 0..256 {
                let at = Tick::from_nanos((due + 25 * delivery) * MS + stream as u64 * 1000);
                log.delivered(*slot, at, Part::Answer, Amount::Bytes(4));
            }
        }
        for slot in slots {
            log.end(slot, outcome(due + 6400, Ending::Completed, Some(256)));
        }
    }
}

#[test]
fn memory_of_an_hour_is_what_is_stated() {
    let mut log = RequestLog::new(tick(0));
    // A tenth of the streams; what grows with them is the list of requests alone.
    steady(&mut log, 100, 3600);
    assert!(size_of::<Request>() <= 136, "{}", size_of::<Request>());
    assert!(!log.keeps_all, "the limit of deliveries was not reached");
    let (requests, memory) = (log.requests().len(), log.memory());
    assert_eq!(requests, 56_200);
    // Twice the list, since it grows by doubling, and the rest of the table.
    let rest = 100 * 256 * 8 + (512 * 37 + 800) * 1024;
    assert!(memory <= 2 * requests * 136 + rest, "{memory}");
    let tokens: u64 = log.flow().all().iter().map(|flow| u64::from(flow.tokens)).sum();
    assert_eq!(tokens, 56_200 * 256);
    assert_eq!(log.flow().width(), 80_000_000);
    let gaps = log.gaps(everything()).gaps;
    assert_eq!((gaps.total(), gaps.mean()), (56_200 * 255, Some(25e6)));
}

#[test]
fn buffers_are_used_again() {
    let mut log = RequestLog::new(tick(0));
    steady(&mut log, 20, 64);
    assert_eq!(log.open.len(), 20);
    assert!(log.open.iter().all(|open| open.deliveries.capacity() == 256));
    assert!(!log.is_full());
}
