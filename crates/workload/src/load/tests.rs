//! `Load` by hand, and driven by a simulated client and server of any behaviour.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use proptest::prelude::*;

use super::*;
use crate::arrivals::Process;
use crate::base::random::SplitMix64;

fn tick(ms: f64) -> Tick {
    after(Tick::default(), Seconds::new(ms / 1e3))
}

fn extent(requests: Option<u32>, ms: Option<f64>) -> Extent {
    Extent { requests, time: ms.map(|ms| Seconds::new(ms / 1e3)) }
}

fn open(process: Process, rate: f64, most_in_flight: Option<u32>) -> Pace {
    Pace::Open { arrivals: Arrivals::new(process, rate, 1).expect("a rate"), most_in_flight }
}

const NONE: Extent = Extent { requests: None, time: None };

fn sent(next: Next) -> Send {
    match next {
        Next::Send(send) => send,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_loop_sends_when_a_slot_is_free_and_counts_from_then() {
    let begin = tick(100.0);
    let mut load =
        Load::new(Pace::Closed { concurrency: 2 }, NONE, extent(Some(3), None), begin).expect("a load");
    assert_eq!(load.next(tick(99.0)), Next::WaitUntil(begin));
    let first = sent(load.next(tick(103.0)));
    assert_eq!((first.request, first.intended, first.released), (0, begin, begin));
    assert_eq!(sent(load.next(tick(103.0))).request, 1);
    assert_eq!(load.next(tick(104.0)), Next::WaitForEnd);
    load.ended(1, tick(150.0)).expect("in flight");
    // The client comes 2 ms late, which is the client's own lag.
    let third = sent(load.next(tick(152.0)));
    assert_eq!((third.request, third.intended), (2, tick(150.0)));
    assert_eq!(load.next(tick(153.0)), Next::WaitForEnd);
    load.ended(0, tick(160.0)).expect("in flight");
    assert_eq!(load.next(tick(160.0)), Next::WaitForEnd);
    assert_eq!(load.ended(0, tick(161.0)), Err(NotInFlight(0)));
    load.ended(2, tick(170.0)).expect("in flight");
    assert_eq!((load.next(tick(170.0)), load.over()), (Next::Over, Some(Over::Requests)));
}

#[test]
fn an_open_loop_keeps_its_schedule_whatever_the_slots_do() {
    let pace = open(Process::Constant, 100.0, Some(1));
    let mut load = Load::new(pace, NONE, extent(None, Some(45.0)), tick(0.0)).expect("a load");
    assert_eq!(load.next(tick(0.0)), Next::WaitUntil(tick(10.0)));
    assert_eq!(sent(load.next(tick(10.0))).intended, tick(10.0));
    // The second is due at 20 ms and waits for the slot until 33.
    assert_eq!(load.next(tick(20.0)), Next::WaitForEnd);
    load.ended(0, tick(33.0)).expect("in flight");
    let second = sent(load.next(tick(33.5)));
    assert_eq!((second.intended, second.released), (tick(20.0), tick(33.0)));
    // Those due at 30 and 40 ms have no slot before 45.
    load.ended(1, tick(46.0)).expect("in flight");
    assert_eq!((load.next(tick(46.0)), load.over()), (Next::Over, Some(Over::Time)));
    assert_eq!(load.unsent(), [30.0, 40.0].map(tick));
}

#[test]
fn a_late_client_changes_no_schedule() {
    let pace = open(Process::Constant, 100.0, None);
    let mut load = Load::new(pace, NONE, extent(None, Some(45.0)), tick(0.0)).expect("a load");
    // It asks for the first time after the end, and still has to send all four.
    let due: Vec<Tick> = std::iter::from_fn(|| match load.next(tick(500.0)) {
        Next::Send(send) => Some(send.intended),
        _ => None,
    })
    .collect();
    assert_eq!(due, [10.0, 20.0, 30.0, 40.0].map(tick));
    assert_eq!((load.over(), load.unsent()), (Some(Over::Time), vec![]));
}

#[test]
fn the_warm_up_comes_first_and_the_time_counts_after_it() {
    let pace = || open(Process::Constant, 100.0, None);
    for (warmup, measured, flags, span) in [
        (extent(Some(2), None), extent(Some(3), None), "wwmmm", (20.0, None)),
        (extent(None, Some(25.0)), extent(None, Some(30.0)), "wwmmm", (25.0, Some(55.0))),
        (extent(Some(2), None), extent(None, Some(25.0)), "wwmm", (20.0, Some(45.0))),
        (extent(Some(9), Some(15.0)), extent(Some(2), Some(99.0)), "wmm", (15.0, Some(114.0))),
        (extent(Some(0), None), extent(Some(2), None), "mm", (0.0, None)),
    ] {
        let mut load = Load::new(pace(), warmup, measured, tick(0.0)).expect("a load");
        let mut found = String::new();
        while let Next::Send(send) = load.next(tick(1e6)) {
            found.push(if send.warmup { 'w' } else { 'm' });
        }
        assert_eq!(found, flags, "{warmup:?} {measured:?}");
        assert_eq!((load.measured_from(), load.measured_to()), (Some(tick(span.0)), span.1.map(tick)));
    }
}

#[test]
fn a_load_can_be_stopped() {
    let mut load =
        Load::new(Pace::Closed { concurrency: 1 }, NONE, extent(Some(9), None), tick(0.0)).expect("a load");
    sent(load.next(tick(0.0)));
    load.stop();
    assert_eq!(load.next(tick(1.0)), Next::WaitForEnd);
    load.ended(0, tick(2.0)).expect("in flight");
    assert_eq!((load.next(tick(2.0)), load.over(), load.unsent()), (Next::Over, Some(Over::Stopped), vec![]));
}

#[test]
fn a_load_that_cannot_be_is_refused() {
    let closed = |concurrency, measured| {
        Load::new(Pace::Closed { concurrency }, NONE, measured, tick(0.0)).expect_err("refused").to_string()
    };
    assert_eq!(closed(1, NONE), "a load needs an end: a number of requests or a time");
    assert_eq!(closed(0, extent(Some(1), None)), "concurrency is 0; it must be at least 1");
    assert_eq!(closed(1, extent(None, Some(-1.0))), "time is -0.001; it must be above 0 and finite");
}

/// What a client saw of a whole load.
struct Seen {
    sends: Vec<(Tick, Send)>,
    most_in_flight: usize,
    load: Load,
}

/// Drives `load` to its end. A request takes a random time; the client wakes a random time late, and looks too early too.
fn drive(mut load: Load, seed: u64, longest_ms: f64, latest_ms: f64) -> Seen {
    let mut random = SplitMix64::new(seed);
    let (mut now, mut sends, mut most_in_flight) = (Tick::default(), Vec::new(), 0);
    let mut running: BinaryHeap<Reverse<(Tick, u32)>> = BinaryHeap::new();
    loop {
        let until = match load.next(now) {
            Next::Send(send) => {
                sends.push((now, send));
                most_in_flight = most_in_flight.max(load.in_flight());
                running.push(Reverse((
                    after(now, Seconds::new(random.unit() * longest_ms / 1e3)),
                    send.request,
                )));
                assert!(sends.len() < 100_000, "it does not end");
                continue;
            }
            Next::WaitUntil(until) => Some(until),
            Next::WaitForEnd => None,
            Next::Over => break,
        };
        let end = running.peek().map(|Reverse((at, _))| *at);
        let wake = match (until, end) {
            (Some(until), Some(end)) => until.min(end),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => panic!("it waits for an end and nothing runs: a slot is lost"),
        };
        // Not always as late as asked: a client may look before it must.
        let lag = Seconds::new(random.unit() * latest_ms / 1e3);
        now = now.max(if random.below(4) == 0 {
            Tick::from_nanos(u64::midpoint(now.nanos(), wake.nanos()))
        } else {
            after(wake, lag)
        });
        while let Some(Reverse((at, request))) = running.peek().copied() {
            if at > now {
                break;
            }
            running.pop();
            load.ended(request, now).expect("it is in flight");
        }
    }
    assert!(running.is_empty() && load.in_flight() == 0, "over while requests run");
    Seen { sends, most_in_flight, load }
}

fn bounds() -> impl Strategy<Value = Extent> {
    let either = (prop::option::of(1u32..60), prop::option::of(1.0f64..400.0));
    either.prop_map(|(requests, ms)| extent(requests, ms))
}

fn processes() -> impl Strategy<Value = Process> {
    prop_oneof![
        Just(Process::Constant),
        Just(Process::Poisson),
        (0.2f64..5.0).prop_map(|burstiness| Process::Gamma { burstiness })
    ]
}

fn paces() -> impl Strategy<Value = Pace> {
    let closed = (1u32..12).prop_map(|concurrency| Pace::Closed { concurrency });
    let open = (processes(), 20.0f64..500.0, prop::option::of(1u32..12), any::<u64>()).prop_map(
        |(process, rate, most_in_flight, seed)| Pace::Open {
            arrivals: Arrivals::new(process, rate, seed).expect("a rate"),
            most_in_flight,
        },
    );
    prop_oneof![closed, open]
}

proptest! {
    #[test]
    fn whatever_client_and_server_do_the_load_is_kept(
        pace in paces(),
        warmup in bounds(),
        measured in bounds().prop_filter("an end", |extent| *extent != NONE),
        seed in any::<u64>(),
        longest_ms in 0.5f64..80.0,
        latest_ms in prop_oneof![Just(0.0), 0.0f64..30.0],
    ) {
        let begin = tick(7.0);
        let load = Load::new(pace.clone(), warmup, measured, begin).expect("a load");
        let Seen { sends, most_in_flight, load } = drive(load, seed, longest_ms, latest_ms);
        // Never more in flight than allowed.
        let limit = match pace {
            Pace::Closed { concurrency } => Some(concurrency),
            Pace::Open { most_in_flight, .. } => most_in_flight,
        };
        prop_assert!(limit.is_none_or(|limit| most_in_flight <= limit as usize));
        // In order, each index once, never before it may be, and the warm-up first.
        for (index, (now, send)) in sends.iter().enumerate() {
            prop_assert_eq!(send.request as usize, index);
            prop_assert!(begin <= send.intended && send.intended <= send.released && send.released <= *now);
        }
        prop_assert!(sends.windows(2).all(|pair| pair[0].1.warmup || !pair[1].1.warmup));
        prop_assert!(sends.windows(2).all(|pair| pair[0].1.intended <= pair[1].1.intended));
        // Bounds are kept, and one of them ended it.
        let of = |warm: bool| sends.iter().filter(move |(_, send)| send.warmup == warm).map(|(_, send)| send);
        let warm = of(true).count();
        prop_assert!(warmup.requests.is_none_or(|most| warm <= most as usize));
        if let Some(time) = warmup.time {
            prop_assert!(of(true).all(|send| send.released < after(begin, time)));
        }
        prop_assert!(warmup != NONE || warm == 0);
        let number = of(false).count();
        match load.over() {
            Some(Over::Requests) => prop_assert_eq!(Some(number), measured.requests.map(|most| most as usize)),
            Some(Over::Time) => prop_assert!(measured.time.is_some()),
            other => prop_assert!(false, "{other:?}"),
        }
        if let (Some(end), Some(from)) = (load.measured_to(), load.measured_from()) {
            prop_assert!(of(false).all(|send| from <= send.released && send.released < end));
        }
        // The schedule is that of its arrivals, all of them.
        if let Pace::Open { arrivals, .. } = pace {
            let expected: Vec<Tick> = arrivals.take(sends.len()).map(|at| after(begin, at)).collect();
            let found: Vec<Tick> = sends.iter().map(|(_, send)| send.intended).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// No slot stays empty while there is something to send: in a closed loop each slot is used again at once.
    #[test]
    fn a_closed_loop_loses_no_slot(concurrency in 1u32..20, seed in any::<u64>(), number in 20u32..200) {
        let pace = Pace::Closed { concurrency };
        let load = Load::new(pace, NONE, extent(Some(number), None), Tick::default()).expect("a load");
        let Seen { sends, most_in_flight, .. } = drive(load, seed, 50.0, 5.0);
        prop_assert_eq!(most_in_flight, concurrency.min(number) as usize);
        // Those due at the beginning are as many as there are slots; after that one for each end.
        let mut by_moment: BTreeMap<Tick, u32> = BTreeMap::new();
        for (_, send) in &sends {
            *by_moment.entry(send.intended).or_default() += 1;
        }
        prop_assert_eq!(by_moment.get(&Tick::default()).copied(), Some(concurrency.min(number)));
    }
}
