//! Loads, whose driver alone knows when a request comes.

use super::super::load::Driven;
use super::super::serve::Time as _;
use super::super::{Scheduled, ServeOptions};
use super::serving::ToyTime;
use super::toy::{NOT_A_NUMBER, Toy, expected};
use crate::base::event::{Phase, Tick};
use crate::base::requests::{Ending, Finish, RequestLog};
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::workload::{
    Arrivals, Asked, Extent, Lengths, Load, Pace, Process, Prompts, Questions, Report, Stopped,
};

/// More than a page.
const PROMPT: u32 = 100;
const OUTPUT: u32 = 6;

fn questions(shared: u32) -> Questions {
    Questions {
        lengths: Lengths::fixed(Asked { prompt_tokens: PROMPT, output_tokens: OUTPUT }),
        prompts: Prompts::new(7, 1..NOT_A_NUMBER, shared).unwrap(),
        as_text: false,
    }
}

fn closed(concurrency: u32) -> Pace {
    Pace::Closed { concurrency }
}

/// Serves `requests` of them.
fn serve(
    toy: Toy,
    pace: Pace,
    requests: u32,
    options: &ServeOptions,
    questions: &Questions,
    interrupt: &Interrupt,
) -> (RequestLog, Report) {
    let mut engine = Scheduled::new(toy);
    let mut time = ToyTime::default();
    let begin = time.now();
    let extent = Extent { requests: Some(requests), time: None };
    let mut load = Load::new(pace, Extent::default(), extent, begin).unwrap();
    let mut log = RequestLog::new(begin);
    let driven = Driven::of(&mut load, questions, &mut log);
    let report = engine.serve_load(&mut time, options, driven, interrupt).unwrap();
    assert_eq!((load.in_flight(), engine.pages_held()), (0, 0));
    (log, report)
}

fn plain(pace: Pace, requests: u32) -> (RequestLog, Report) {
    let never = Interrupt::default();
    serve(Toy::new(64, 128), pace, requests, &ServeOptions::default(), &questions(0), &never)
}

#[test]
fn each_request_of_a_closed_loop_follows_another_and_is_noted_token_by_token() {
    let (log, report) = plain(closed(3), 10);
    assert_eq!(log.requests().len(), 10);
    assert_eq!(report.stopped, None);
    for request in log.requests() {
        assert_eq!((request.ending, request.finish), (Ending::Completed, Finish::Length));
        assert_eq!((request.output_tokens, request.deliveries, request.first_tokens), (OUTPUT, OUTPUT, 1));
        let usage = request.usage.expect("the engine counts");
        assert_eq!((usage.prompt_tokens, usage.cached_tokens), (PROMPT, Some(0)));
        assert_eq!(request.started.get(), Some(request.planned.released), "nobody is late here");
    }
    // A slot is free when the answer before it is over.
    let ends: Vec<Tick> = log.requests().iter().map(|request| request.ended).collect();
    assert!(log.requests()[3..].iter().all(|request| ends.contains(&request.planned.intended)));
    let work = report.work.expect("steps");
    let sum = |of: fn(&crate::base::event::StepEvent) -> u32| work.steps.iter().map(of).sum::<u32>();
    assert_eq!(sum(|step| step.prompt_tokens), 10 * PROMPT);
    assert_eq!(sum(|step| step.output_tokens), 10 * OUTPUT);
    assert_eq!(work.rests, []);
    assert!(work.steps.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn between_the_requests_of_a_schedule_the_engine_rests_and_says_so() {
    let arrivals = Arrivals::new(Process::Constant, 2.0, 0).unwrap();
    let (log, report) = plain(Pace::Open { arrivals, most_in_flight: None }, 4);
    let work = report.work.expect("steps");
    assert_eq!(work.rests.len(), 4, "{:?}", work.rests);
    let rested: f64 = work.rests.iter().map(|rest| rest.length().get()).sum();
    assert!((1.8..2.0).contains(&rested), "{rested} s of 2");
    assert!(work.steps.iter().all(|step| step.phase != Phase::Mixed));
    for request in log.requests() {
        let first = request.first.get().expect("a token").since(request.planned.intended);
        assert!(first < Seconds::new(0.003), "{first}");
    }
}

#[test]
fn a_stop_token_ends_an_answer_and_is_its_last() {
    let asked = questions(0);
    let mut prompt = Vec::new();
    asked.prompts.tokens(0, false, PROMPT, &mut prompt);
    let stop = expected(&prompt, 3)[2];
    let options = ServeOptions { stop_tokens: vec![stop], ..ServeOptions::default() };
    let (log, _) = serve(Toy::new(64, 128), closed(1), 2, &options, &asked, &Interrupt::default());
    let found: Vec<_> = log.requests().iter().map(|r| (r.finish, r.output_tokens)).collect();
    assert_eq!(found, [(Finish::Stop, 3), (Finish::Length, OUTPUT)]);
}

#[test]
fn prompt_tokens_that_an_earlier_request_left_in_the_cache_are_reported() {
    let cached = |share_prefixes| -> Vec<Option<u32>> {
        let options = ServeOptions { share_prefixes, ..ServeOptions::default() };
        let (log, _) =
            serve(Toy::new(64, 128), closed(1), 3, &options, &questions(64), &Interrupt::default());
        log.requests().iter().map(|request| request.usage.and_then(|usage| usage.cached_tokens)).collect()
    };
    assert_eq!(cached(false), [Some(0); 3]);
    assert_eq!(cached(true), [Some(0), Some(64), Some(64)]);
}

#[test]
fn a_failed_step_or_an_interrupt_ends_every_request() {
    let options = ServeOptions::default();
    let mut broken = Toy::new(64, 128);
    broken.fails_in = Some(9);
    let (log, report) = serve(broken, closed(2), 100, &options, &questions(0), &Interrupt::default());
    let Some(Stopped::EngineFailed(failure)) = &report.stopped else { panic!("{:?}", report.stopped) };
    assert!(failure.detail.contains("it was told to"), "{failure}");
    let failed = log.requests().iter().filter(|request| request.ending == Ending::EngineFailed).count();
    assert_eq!((failed, report.stats.failures[0].1), (2, 2));

    let interrupt = Interrupt::default();
    let mut toy = Toy::new(64, 128);
    toy.interrupts_in = Some((9, interrupt.clone()));
    let (log, report) = serve(toy, closed(2), 100, &options, &questions(0), &interrupt);
    assert_eq!(report.stopped, Some(Stopped::Interrupted));
    assert_eq!(log.requests().iter().filter(|request| request.ending == Ending::CutByUs).count(), 2);
}
