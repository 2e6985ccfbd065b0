//! Requests with arrivals and cancellations.

use super::super::serve::Time;
use super::super::{Ending, Request, Scheduled, ServeOptions, Served};
use super::toy::{NOT_A_NUMBER, Toy, expected, tokens};
use crate::Error;
use crate::base::event::{Event, Phase, RequestChange, StepEvent, Tick};
use crate::base::random::SplitMix64;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;

/// A clock on which every look takes half a millisecond, so that a step takes one half and what is between two
/// steps the other.
#[derive(Default)]
pub(super) struct ToyTime(u64);

impl Time for ToyTime {
    fn now(&mut self) -> Tick {
        self.0 += 500_000;
        Tick::from_nanos(self.0)
    }

    fn rest(&mut self, until: Tick) {
        self.0 = self.0.max(until.nanos());
    }
}

pub(super) fn request(arrival_ms: f64, prompt: Vec<u32>, output_tokens: u32) -> Request {
    Request { arrival: Seconds::new(arrival_ms / 1e3), prompt, output_tokens, cancel: None }
}

/// Serves and checks what must hold in every run: the tokens, the events, and that nothing is held in the end.
pub(super) fn serve(
    engine: &mut Scheduled<Toy>,
    requests: &[Request],
    options: &ServeOptions,
) -> (Served, Vec<Event>) {
    let mut events = Vec::new();
    engine.begin_serving(options);
    let served =
        engine.serve_all(&mut ToyTime::default(), requests, &mut events, &Interrupt::default()).unwrap();
    assert_eq!((engine.batcher.running(), engine.batcher.waiting()), (0, 0));
    assert_eq!(engine.batcher.pages().held(), 0);
    check(requests, &served, &events, options.share_prefixes);
    (served, events)
}

fn check(requests: &[Request], served: &Served, events: &[Event], shared: bool) {
    assert_eq!(served.requests.len(), requests.len());
    for (found, request) in served.requests.iter().zip(requests) {
        let all = expected(&request.prompt, request.output_tokens as usize);
        match found.ending {
            Ending::Finished => assert_eq!(found.tokens, all),
            Ending::Stopped => assert!(all.starts_with(&found.tokens)),
            Ending::Cancelled => {
                assert!(request.cancel.is_some());
                assert_eq!(found.tokens, all[..found.tokens.len()]);
            }
        }
    }
    let mut lives = vec![Vec::new(); requests.len()];
    let mut tokens = vec![Vec::new(); requests.len()];
    let mut now = Tick::default();
    let (mut fed, mut again) = (0, 0);
    for event in events {
        match event {
            Event::Step(step) => {
                assert!(now <= step.start && step.start < step.end);
                now = step.end;
                fed += u64::from(step.prompt_tokens + step.fed_output_tokens);
                again += u64::from(step.recomputed_tokens);
                let alone = [step.prompt_tokens, step.fed_output_tokens]
                    .map(|tokens| Seconds::new(f64::from(tokens)));
                let [prompt, output] = step.split(alone);
                let length = step.end.since(step.start);
                assert!(((prompt + output).get() - length.get()).abs() < 1e-12);
                assert_eq!(prompt > Seconds::ZERO, step.prompt_tokens > 0);
                assert_eq!(output > Seconds::ZERO, step.fed_output_tokens > 0);
            }
            Event::Token(token) => {
                assert_eq!(token.at, now);
                tokens[token.sequence as usize].push(token.token);
            }
            Event::Request(event) => lives[event.request as usize].push(event.change),
        }
    }
    for (index, (life, found)) in lives.iter().zip(&served.requests).enumerate() {
        use RequestChange::{Admitted, Arrived, Cancelled, Finished, Preempted};
        assert_eq!(tokens[index], found.tokens);
        let last = if found.ending == Ending::Cancelled { Cancelled } else { Finished };
        assert_eq!((life.first(), life.last()), (Some(&Arrived), Some(&last)));
        for pair in life.windows(2) {
            let follows = match pair[1] {
                Arrived => false,
                Admitted => matches!(pair[0], Arrived | Preempted),
                Preempted | Finished => pair[0] == Admitted,
                Cancelled => true,
            };
            assert!(follows, "request {index}: {life:?}");
        }
    }
    assert_eq!(again, served.recomputed_tokens);
    if requests.iter().all(|request| request.cancel.is_none()) && !shared {
        let once = |r: &Request| r.prompt.len() as u64 + u64::from(r.output_tokens.saturating_sub(1));
        assert_eq!(fed, requests.iter().map(once).sum::<u64>() + again);
    }
}

#[test]
fn a_time_to_cancel_what_is_over_is_not_waited_for() {
    let mut engine = Scheduled::new(Toy::new(8, 64));
    let late = |arrival: f64, cancel: f64| Request {
        cancel: Some(Seconds::new(cancel)),
        ..request(arrival, tokens(5, 1), 10)
    };
    let mut time = ToyTime::default();
    let requests = [late(0.0, 600.0), late(0.0, f64::INFINITY), late(2_000.0, 700.0)];
    engine.begin_serving(&ServeOptions::default());
    let served = engine.serve_all(&mut time, &requests, &mut Vec::new(), &Interrupt::default()).unwrap();
    assert!(served.requests.iter().all(|request| request.ending == Ending::Finished));
    // The last one came after two seconds.
    assert!((2_000_000_000..3_000_000_000).contains(&time.0), "{}", time.0);
}

/// Requests of random lengths; some come at once, some later, and some are taken back.
pub(super) fn random_requests(random: &mut SplitMix64, count: u32, longest: u32) -> Vec<Request> {
    let mut arrival = 0.0;
    (0..count)
        .map(|index| {
            arrival += if random.below(4) == 0 { 0.0 } else { random.unit() * 12.0 };
            let length = 1 + if random.below(4) == 0 { random.below(longest) } else { random.below(40) };
            let prompt = if random.below(3) == 0 {
                // One of a few beginnings that many have.
                let common = u64::from(random.below(3));
                let own = random.below(length) as usize;
                [tokens(length as usize - own, common), tokens(own, u64::from(index))].concat()
            } else {
                tokens(length as usize, random.word())
            };
            let most = if random.below(3) == 0 { 250 } else { 40 };
            let mut request = request(arrival, prompt, random.below(most));
            if random.below(5) == 0 {
                request.cancel = Some(Seconds::new((arrival + random.unit() * 200.0 - 5.0) / 1e3));
            }
            request
        })
        .collect()
}

fn steps(events: &[Event]) -> Vec<StepEvent> {
    let step = |event: &Event| if let Event::Step(step) = event { Some(*step) } else { None };
    events.iter().filter_map(step).collect()
}

#[test]
fn a_prompt_that_comes_while_another_decodes_is_fed_beside_it_in_chunks() {
    let mut engine = Scheduled::new(Toy::new(64, 16));
    let requests = [request(0.0, tokens(20, 1), 10), request(4.0, tokens(40, 2), 3)];
    let (_, events) = serve(&mut engine, &requests, &ServeOptions::default());
    let found: Vec<_> = steps(&events)
        .iter()
        .map(|s| (s.phase, s.prompt_tokens, s.fed_output_tokens, s.output_tokens))
        .collect();
    let mut expected = vec![(Phase::Prefill, 16, 0, 0), (Phase::Prefill, 4, 0, 1), (Phase::Decode, 0, 1, 1)];
    expected.extend([(Phase::Mixed, 15, 1, 1), (Phase::Mixed, 15, 1, 1), (Phase::Mixed, 10, 1, 2)]);
    expected.extend([(Phase::Decode, 0, 2, 2), (Phase::Decode, 0, 2, 2)]);
    expected.extend([(Phase::Decode, 0, 1, 1); 3]);
    assert_eq!(found, expected);
    let mixed = steps(&events)[3];
    // Fifteen prompt tokens that alone take as long as one output token alone.
    let [prompt, output] = mixed.split([Seconds::new(0.25), Seconds::new(0.25)]);
    assert!((prompt.get() - output.get()).abs() < 1e-12 && prompt > Seconds::ZERO);
}

#[test]
fn it_rests_until_the_next_request_and_says_when_each_came() {
    let mut engine = Scheduled::new(Toy::new(64, 16));
    let requests = [request(5000.0, tokens(3, 1), 2), request(-1.0, tokens(3, 2), 2)];
    let (_, events) = serve(&mut engine, &requests, &ServeOptions::default());
    assert!(events.len() < 20, "{events:?}");
    let Event::Request(first) = events[0] else { panic!("{events:?}") };
    assert_eq!(
        (first.request, first.change, first.at),
        (1, RequestChange::Arrived, Tick::from_nanos(500_000))
    );
    let second = steps(&events)[2].start.nanos();
    assert!((5_000_000_000..5_010_000_000).contains(&second), "{second}");
}

#[test]
fn the_youngest_gives_way_and_all_get_the_same_tokens() {
    // Each takes four pages in the end; five of them have six.
    let requests: Vec<Request> = (0..5).map(|seed| request(0.0, tokens(50, seed), 180)).collect();
    let mut engine = Scheduled::new(Toy::new(6, 64));
    let options = ServeOptions { spare_pages: Some(0), ..ServeOptions::default() };
    let (served, events) = serve(&mut engine, &requests, &options);
    assert!(served.preemptions > 3 && served.recomputed_tokens > 100, "{served:?}");
    assert_eq!(served.most_pages, 6);
    let requests_that = |change: RequestChange| {
        let of = move |event: &Event| match event {
            Event::Request(event) if event.change == change => Some(event.request),
            _ => None,
        };
        events.iter().filter_map(of).collect::<Vec<u32>>()
    };
    assert!(!requests_that(RequestChange::Preempted).contains(&0));
    assert!(requests_that(RequestChange::Finished).is_sorted());
    // Pages to spare for growth cost fewer tokens fed again.
    let options = ServeOptions { spare_pages: Some(2), ..options };
    let (careful, _) = serve(&mut engine, &requests, &options);
    assert!(careful.recomputed_tokens < served.recomputed_tokens, "{careful:?}");
}

#[test]
fn a_shared_prefix_is_not_fed_again_and_gives_the_same_tokens() {
    let common = tokens(130, 9);
    let prompt = |own: usize, seed: u64| [&common[..], &tokens(own, seed)].concat();
    let mut requests: Vec<Request> =
        (0..4u8).map(|i| request(100.0 * f64::from(i), prompt(20, u64::from(i)), 30)).collect();
    // A prompt that is in the cache as a whole: its last page is still computed.
    requests.push(request(900.0, common[..128].to_vec(), 5));
    // The same tokens behind another beginning.
    requests.push(request(950.0, [tokens(64, 3), common[64..].to_vec()].concat(), 5));
    let mut engine = Scheduled::new(Toy::new(32, 512));
    let of = |engine: &mut Scheduled<Toy>, share_prefixes: bool| {
        let options = ServeOptions { share_prefixes, ..ServeOptions::default() };
        let (_, events) = serve(engine, &requests, &options);
        steps(&events).iter().map(|step| step.prompt_tokens).sum::<u32>()
    };
    let all = 4 * 150 + 128 + 130;
    assert_eq!(of(&mut engine, false), all);
    assert_eq!(of(&mut engine, true), all - 3 * 128 - 64);
    assert_eq!(of(&mut engine, false), all);
}

#[test]
fn a_request_that_is_taken_back_gives_its_pages_to_others() {
    let mut engine = Scheduled::new(Toy::new(4, 64));
    let mut requests = vec![request(0.0, tokens(200, 1), 50), request(1.0, tokens(200, 2), 3)];
    requests.push(request(2.0, tokens(10, 3), 3));
    requests[0].cancel = Some(Seconds::new(0.02));
    // One that waits, and one that is over by then.
    requests[1].cancel = Some(Seconds::new(0.01));
    requests[2].cancel = Some(Seconds::new(9.0));
    let (served, _) = serve(&mut engine, &requests, &ServeOptions::default());
    let endings: Vec<_> = served.requests.iter().map(|request| request.ending).collect();
    assert_eq!(endings, [Ending::Cancelled, Ending::Cancelled, Ending::Finished]);
    assert!(!served.requests[0].tokens.is_empty() && served.requests[1].tokens.is_empty());
}

#[test]
fn any_bounds_give_the_same_tokens() {
    let mut random = SplitMix64::new(11);
    let (mut preemptions, mut mixed) = (0, 0);
    for round in 0..150 {
        let requests = random_requests(&mut random, 40, 250);
        let longest = requests.iter().map(|r| r.prompt.len() + r.output_tokens as usize).max().unwrap();
        let fewest = u32::try_from(longest.div_ceil(64)).unwrap();
        let engine = Toy::new(fewest + random.below(12), 1 + random.below(100));
        let mut engine = Scheduled::new(engine);
        let maybe = |random: &mut SplitMix64, bound: u32| (random.below(2) == 0).then(|| random.below(bound));
        let options = ServeOptions {
            share_prefixes: round % 2 == 0,
            max_sequences: maybe(&mut random, 20),
            tokens_per_step: maybe(&mut random, 80),
            spare_pages: maybe(&mut random, 5),
            ..ServeOptions::default()
        };
        let (served, events) = serve(&mut engine, &requests, &options);
        preemptions += served.preemptions;
        mixed += steps(&events).iter().filter(|step| step.phase == Phase::Mixed).count();
    }
    assert!(preemptions > 300 && mixed > 1000, "{preemptions} {mixed}");
}

#[test]
fn requests_that_can_never_run_and_interrupts_and_failures_are_told() {
    let interrupt = Interrupt::default();
    let mut engine = Scheduled::new(Toy::new(2, 16));
    let requests = [request(0.0, tokens(10, 1), 3), request(0.0, tokens(100, 1), 40)];
    let mut events = Vec::new();
    let error = engine.serve(&requests, &ServeOptions::default(), &mut events, &interrupt).unwrap_err();
    assert!(error.to_string().contains("request 1 of 2"), "{error}");
    assert!(events.is_empty());

    let requests = [request(0.0, [NOT_A_NUMBER].to_vec(), 3), request(60_000.0, tokens(1, 1), 4)];
    let mut toy = Toy::new(2, 16);
    toy.interrupts_in = Some((3, interrupt.clone()));
    let mut engine = Scheduled::new(toy);
    // By the true clock: it rests in short pieces and looks at the interrupt between them.
    let stopped = engine.serve(&requests, &ServeOptions::default(), &mut events, &interrupt);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert_eq!((steps(&events).len(), engine.batcher.pages().held()), (3, 0));

    let mut toy = Toy::new(2, 16);
    toy.fails_in = Some(2);
    let mut engine = Scheduled::new(toy);
    let failed = engine.serve(&requests[..1], &ServeOptions::default(), &mut events, &Interrupt::default());
    assert!(matches!(failed, Err(Error::Step { .. })));
    let (served, _) = serve(&mut engine, &requests, &ServeOptions::default());
    assert_eq!(served.non_finite_steps, 1);
}
