//! Simulated servers whose figures are known, driven by the driver of real ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::base::requests::{Amount, CountedBy, Finish, InFlight, Outcome, Part, Planned, Usage};
use crate::workload::{
    Arrivals, Asked, Extent, Lengths as Asking, Load, Next, Pace as Loaded, Process, Send,
};

const MS: u64 = 1_000_000;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "short times above zero")]
fn later(at: Tick, ms: f64) -> Tick {
    Tick::from_nanos(at.nanos() + (ms * 1e6).round() as u64)
}

/// What a server does with one request: deliveries with their tokens, and the end.
struct Reply {
    deliveries: Vec<(Tick, u32)>,
    end: Tick,
    ending: Ending,
}

/// A whole reply: the first delivery after `first_ms`, then one every `gap_ms`, `chunk` tokens each.
fn whole(at: Tick, first_ms: f64, gap_ms: f64, chunk: u32, tokens: u32) -> Reply {
    let chunks = tokens.div_ceil(chunk);
    let deliveries: Vec<(Tick, u32)> = (0..chunks)
        .map(|n| (later(at, first_ms + gap_ms * f64::from(n)), chunk.min(tokens - n * chunk)))
        .collect();
    let end = deliveries.last().map_or(at, |last| last.0);
    Reply { deliveries, end, ending: Ending::Completed }
}

struct Run {
    log: RequestLog,
    load: Load,
    end: Tick,
}

/// Drives `load` against `server` by a client that takes no time. `cut` ends everything at that moment.
fn drive(
    mut load: Load,
    asking: &Asking,
    cut: Option<Tick>,
    mut server: impl FnMut(Tick, Send, Asked) -> Reply,
) -> Run {
    let mut log = RequestLog::new(Tick::default());
    let mut now = Tick::default();
    let mut last = now;
    let mut running: BinaryHeap<Reverse<(Tick, u32, InFlight)>> = BinaryHeap::new();
    let mut endings = std::collections::BTreeMap::new();
    loop {
        let until = match load.next(now) {
            Next::Send(send) => {
                last = now;
                let asked = asking.at(send.request);
                let slot = log.start(
                    Planned {
                        index: send.request,
                        warmup: send.warmup,
                        intended: send.intended,
                        released: send.released,
                        prompt_tokens: asked.prompt_tokens,
                        output_tokens: asked.output_tokens,
                    },
                    now,
                );
                log.sent(slot, now);
                let mut reply = server(now, send, asked);
                if let Some(cut) = cut.filter(|cut| *cut < reply.end) {
                    reply.deliveries.retain(|(at, _)| *at < cut);
                    (reply.end, reply.ending) = (cut, Ending::CutByUs);
                }
                for (at, tokens) in &reply.deliveries {
                    // Four bytes a token, which the client does not know.
                    log.delivered(slot, *at, Part::Answer, Amount::Bytes(4 * tokens));
                }
                let tokens: u32 = reply.deliveries.iter().map(|(_, tokens)| tokens).sum();
                let usage = (reply.ending == Ending::Completed).then_some(Usage {
                    prompt_tokens: asked.prompt_tokens,
                    cached_tokens: Some(0),
                    output_tokens: tokens,
                });
                let (at, ending) = (reply.end.max(now), reply.ending);
                endings.insert(
                    send.request,
                    Outcome { at, ending, finish: Finish::Length, usage, tokenizer: None },
                );
                running.push(Reverse((at, send.request, slot)));
                continue;
            }
            Next::WaitUntil(until) => Some(until),
            Next::WaitForEnd => None,
            Next::Over => break,
        };
        match running.peek().copied() {
            Some(Reverse((at, request, slot))) if until.is_none_or(|until| at <= until) => {
                running.pop();
                now = at;
                if cut == Some(now) {
                    load.stop();
                }
                log.end(slot, endings.remove(&request).expect("it was sent"));
                load.ended(request, now).expect("in flight");
            }
            _ => now = until.expect("something is due or runs"),
        }
    }
    // A span does not hold its end; the last request was sent before it.
    let end = load.measured_to().unwrap_or(Tick::from_nanos(last.nanos() + 1));
    Run { log, load, end }
}

impl Run {
    fn measured(&self, pace: Pace, goals: Goals) -> Serving {
        let from = self.load.measured_from().unwrap_or_default();
        let unsent = self.load.unsent();
        measure(&Observed {
            log: &self.log,
            pace,
            measured: Span { from, to: self.end },
            unsent: &unsent,
            goals,
        })
    }
}

impl Serving {
    fn figure(&self, metric: &str) -> &Figure {
        self.figures.iter().find(|figure| figure.metric.as_str() == metric).expect(metric)
    }

    fn value(&self, metric: &str) -> f64 {
        self.figure(metric).value.clone().expect(metric)
    }

    fn percentile(&self, metric: &str, q: f64) -> Result<f64, String> {
        let found = self.figure(metric).percentiles.iter().find(|found| (found.q - q).abs() < 1e-9);
        found.expect("a percentile that is stated").value.clone()
    }
}

fn requests(number: u32) -> Extent {
    Extent { requests: Some(number), time: None }
}

fn time(seconds: f64) -> Extent {
    Extent { requests: None, time: Some(Seconds::new(seconds)) }
}

fn closed(concurrency: u32, warmup: Extent, measured: Extent) -> Load {
    Load::new(Loaded::Closed { concurrency }, warmup, measured, Tick::default()).expect("a load")
}

fn poisson(rate: f64, seed: u64, most_in_flight: Option<u32>, measured: Extent) -> Load {
    let arrivals = Arrivals::new(Process::Poisson, rate, seed).expect("a rate");
    Load::new(Loaded::Open { arrivals, most_in_flight }, Extent::default(), measured, Tick::default())
        .expect("a load")
}

fn fixed(prompt_tokens: u32, output_tokens: u32) -> Asking {
    Asking::fixed(Asked { prompt_tokens, output_tokens })
}

fn near(found: f64, expected: f64, relative: f64) {
    assert!((found / expected - 1.0).abs() <= relative, "{found} is not {expected}");
}

/// First token after 50 ms, then one every 10 ms: a request of 21 tokens takes 250 ms, and eight at a time bring 672
/// tokens a second.
#[test]
fn a_closed_loop_at_a_server_of_fixed_speed_gives_its_speed() {
    let run = drive(closed(8, Extent::default(), requests(800)), &fixed(32, 21), None, |at, _, asked| {
        whole(at, 50.0, 10.0, 1, asked.output_tokens)
    });
    let found = run.measured(Pace::Closed { concurrency: 8 }, Goals::default());
    let window = found.steady.window.clone().expect("a steady state");
    near(window.length().get(), 25.0, 0.01);
    near(found.steady.in_flight, 8.0, 1e-9);
    near(found.steady.little.clone().expect("a hundred rounds"), 1.0, 0.01);
    near(found.value("output_tokens_per_second"), 8.0 * 21.0 / 0.25, 0.005);
    near(found.value("input_tokens_per_second"), 8.0 * 32.0 / 0.25, 0.01);
    near(found.value("total_tokens_per_second"), 8.0 * 53.0 / 0.25, 0.01);
    // A window does not hold its end, at which the last of a hundred rounds is over.
    near(found.value("requests_per_second"), 32.0 * 0.99, 1e-9);
    near(found.value("run_output_tokens_per_second"), 8.0 * 21.0 / 0.25, 1e-6);
    for (metric, expected) in [
        ("time_to_first_token_seconds", 0.050),
        ("time_to_first_answer_token_seconds", 0.050),
        ("time_to_first_token_after_send_seconds", 0.050),
        ("time_per_output_token_seconds", 0.010),
        ("inter_token_latency_seconds", 0.010),
        ("inter_token_latency_per_token_seconds", 0.010),
        ("end_to_end_latency_seconds", 0.250),
    ] {
        near(found.value(metric), expected, 1e-6);
        near(found.percentile(metric, 0.99).expect("800 requests"), expected, 1e-6);
        assert_eq!(found.figure(metric).formula(), format!("infercost.serving.{metric}/1"));
    }
    assert_eq!(found.counts.endings, [(Ending::Completed, 800)].into());
    assert_eq!(found.counts.finishes, [(Finish::Length, 800)].into());
    assert_eq!(found.counts.counted_by, [(CountedBy::Usage, 800)].into());
    assert_eq!(found.counts.output_tokens, Some(Lengths { least: 21, mean: 21.0, most: 21 }));
    assert_eq!((found.counts.cached_share, found.counts.failed_share()), (Some(0.0), Some(0.0)));
    assert_eq!(found.goodput, None);
}

/// Lengths from 10 to 30 put the streams out of step. Each stream makes a token every 10 ms besides its 50 ms, whatever
/// the length: 20 ÷ (0.05 + 0.19) a second in the mean.
#[test]
fn ramp_and_drain_are_in_the_run_and_not_in_the_window() {
    let asking = Asking::uniform(Asked { prompt_tokens: 64, output_tokens: 20 }, 0.5, 3).expect("a ratio");
    let run = drive(closed(40, requests(40), time(30.0)), &asking, None, |at, send, asked| {
        // A slow beginning: the warm-up takes 2 s a request.
        whole(at, if send.warmup { 2000.0 } else { 50.0 }, 10.0, 1, asked.output_tokens)
    });
    let found = run.measured(Pace::Closed { concurrency: 40 }, Goals::default());
    let rate = found.figure("output_tokens_per_second");
    let expected = 40.0 * 20.0 / 0.24;
    // The first two seconds of the measured part wait for the warm-up.
    assert!(found.steady.window.is_ok(), "{:?}", found.steady);
    near(rate.value.clone().expect("steady"), expected * 28.0 / 30.0, 0.02);
    let after = drive(closed(40, time(3.0), time(30.0)), &asking, None, |at, send, asked| {
        whole(at, if send.request < 40 { 2000.0 } else { 50.0 }, 10.0, 1, asked.output_tokens)
    });
    let found = after.measured(Pace::Closed { concurrency: 40 }, Goals::default());
    let rate = found.figure("output_tokens_per_second");
    near(rate.value.clone().expect("steady"), expected, 0.01);
    let ci95 = rate.ci95.clone().expect("20 blocks");
    assert!(ci95.contains(expected) && ci95.relative_half_width(expected) < 0.02, "{ci95:?}");
    assert_eq!(rate.n, 20);
}

/// Chunks of four tokens: a chunk is one gap, a token a quarter of it, and chunks are never taken for tokens.
#[test]
fn a_server_that_bundles_tokens_has_the_same_time_per_token() {
    let run = drive(closed(4, Extent::default(), requests(400)), &fixed(32, 64), None, |at, _, asked| {
        whole(at, 80.0, 40.0, 4, asked.output_tokens)
    });
    let found = run.measured(Pace::Closed { concurrency: 4 }, Goals::default());
    near(found.value("time_per_output_token_seconds"), 0.010, 1e-6);
    near(found.value("inter_token_latency_seconds"), 0.040, 1e-6);
    near(found.value("inter_token_latency_per_token_seconds"), 0.010, 1e-6);
    near(found.value("output_tokens_per_second"), 4.0 * 64.0 / 0.68, 0.01);
    // A window does not hold its end, at which the last gap of each stream is over.
    assert_eq!(found.figure("inter_token_latency_seconds").n, 400 * 15 - 4);
    assert_eq!(found.figure("inter_token_latency_per_token_seconds").n, 4 * (400 * 15 - 4));
}

/// One server, first come first served, `service_ms` each: an M/D/1 queue.
fn queue(service_ms: f64) -> impl FnMut(Tick, Send, Asked) -> Reply {
    let mut free = Tick::default();
    move |at, _, asked| {
        let begin = free.max(at);
        free = later(begin, service_ms);
        let each = service_ms / f64::from(asked.output_tokens);
        whole(begin, each, each, 1, asked.output_tokens)
    }
}

/// Pollaczek and Khinchine: the mean wait is ρ·D ÷ 2(1 − ρ), here 0.6 · 100 ÷ 0.8 = 75 ms.
#[test]
fn an_open_loop_at_a_queue_gives_the_known_wait() {
    let run = drive(poisson(6.0, 1, None, requests(30_000)), &fixed(32, 10), None, queue(100.0));
    let found =
        run.measured(Pace::Open, Goals { end_to_end_latency: Some(Seconds::new(0.2)), ..Goals::default() });
    let window = found.steady.window.clone().expect("a steady state");
    near(window.length().get(), 5000.0, 0.05);
    let ttft = found.figure("time_to_first_token_seconds");
    near(ttft.value.clone().expect("completed"), 0.075 + 0.010, 0.05);
    assert!(ttft.ci95.clone().expect("many").contains(0.085), "{:?}", ttft.ci95);
    near(found.value("time_per_output_token_seconds"), 0.010, 1e-5);
    near(found.value("output_tokens_per_second"), 60.0, 0.02);
    near(found.value("requests_per_second"), 6.0, 0.02);
    near(found.steady.little.clone().expect("long"), 1.0, 0.01);
    near(found.steady.in_flight, 6.0 * 0.175, 0.06);
    // P(wait = 0) = 1 − ρ: so many are served without one, and those that wait less than 100 ms are good.
    let goodput = found.goodput.expect("a goal");
    let share = goodput.share.expect("requests");
    // P(wait ≤ D) = (1 − ρ)·e^ρ of an M/D/1 queue (Erlang 1909).
    near(share, 0.4 * 0.6f64.exp(), 0.03);
    near(goodput.requests_per_second, 6.0 * share, 0.02);
    let figure = found.figure("goodput_requests_per_second");
    near(figure.value.clone().expect("requests"), 6.0 * share, 0.02);
    assert!(figure.ci95.clone().expect("requests").contains(6.0 * 0.4 * 0.6f64.exp()));
    assert_eq!(goodput.due, 30_000);
}

#[test]
fn a_queue_that_keeps_up_is_steady_whatever_the_seed_and_one_that_does_not_never_is() {
    let steady = |rate: f64, seed: u64| {
        let run = drive(poisson(rate, seed, None, time(200.0)), &fixed(32, 10), None, queue(100.0));
        run.measured(Pace::Open, Goals::default()).steady.window
    };
    let held = (0..40).filter(|seed| steady(5.0, *seed).is_ok()).count();
    assert!(held >= 38, "{held} of 40 at half the capacity");
    for seed in 0..40 {
        let reason = steady(13.0, seed).expect_err("more comes than is served");
        assert!(reason.starts_with("the number of requests in the system rose by"), "{reason}");
    }
}

/// The same overload held back by a limit of requests in flight: the server does not see the crowd, the client does.
#[test]
fn a_crowd_that_waits_at_the_client_is_no_steady_state_and_its_wait_is_latency() {
    let load = poisson(13.0, 1, Some(4), time(200.0));
    let run = drive(load, &fixed(32, 10), None, queue(100.0));
    let unsent = run.load.unsent().len();
    let goals = Goals { time_to_first_token: Some(Seconds::new(1.0)), ..Goals::default() };
    let found = run.measured(Pace::Open, goals);
    let reason = found.steady.window.clone().expect_err("more comes than is served");
    assert!(reason.starts_with("the number of requests in the system rose"), "{reason}");
    assert_eq!(found.figure("output_tokens_per_second").value, Err(reason));
    near(found.value("run_output_tokens_per_second"), 100.0, 0.01);
    // 600 of 2,600 wait in vain, and those served waited half a minute on average.
    assert!((500..700).contains(&unsent), "{unsent}");
    assert_eq!(found.counts.unsent, unsent);
    assert!(found.value("slot_wait_seconds") > 15.0 && found.value("time_to_first_token_seconds") > 15.0);
    assert!(found.value("time_to_first_token_after_send_seconds") < 0.5);
    let goodput = found.goodput.expect("a goal");
    assert_eq!(usize::try_from(goodput.due), Ok(unsent + run.log.requests().len()));
    assert!(goodput.share.expect("requests") < 0.1);
}

/// A server that pauses for a second: it is in the tail from the moment at which requests were due, and hidden from
/// a clock that starts when they are sent.
#[test]
fn a_pause_of_a_second_is_seen_from_the_schedule_only() {
    let pause = Tick::from_nanos(30_000 * MS)..Tick::from_nanos(31_000 * MS);
    let load = poisson(40.0, 2, Some(2), time(60.0));
    let run = drive(load, &fixed(32, 2), None, |at, _, _| {
        let begin = if pause.contains(&at) { pause.end } else { at };
        whole(begin, 10.0, 5.0, 1, 2)
    });
    let found = run.measured(Pace::Open, Goals::default());
    let p99 = |metric: &str| found.percentile(metric, 0.99).expect("2,400 requests");
    assert!(p99("time_to_first_token_seconds") > 0.3, "{}", p99("time_to_first_token_seconds"));
    near(p99("time_to_first_token_after_send_seconds"), 0.010, 0.001);
}

#[test]
fn a_server_that_slows_down_is_not_steady() {
    for pace in [Pace::Closed { concurrency: 4 }, Pace::Open] {
        let load = match pace {
            Pace::Closed { concurrency } => closed(concurrency, Extent::default(), time(60.0)),
            Pace::Open => poisson(4.0, 1, None, time(60.0)),
        };
        let slower = |at: Tick| 10.0 * (1.0 + 0.3 * at.nanos() as f64 / 60e9);
        let run = drive(load, &fixed(32, 20), None, |at, _, _| whole(at, 20.0, slower(at), 1, 20));
        let found = run.measured(pace, Goals::default());
        let reason = found.steady.window.clone().expect_err("it slows down by 30%");
        assert!(reason.starts_with("the time per token rose by"), "{reason}");
        assert!(found.figure("output_tokens_per_second").value.is_err());
        // Latencies stand for all that was measured.
        near(found.value("time_per_output_token_seconds"), 0.0115, 0.05);
    }
}

/// An open loop that begins cold settles, and its window begins where it has.
#[test]
fn a_cold_start_is_left_out_of_an_open_loops_window() {
    let run = drive(poisson(10.0, 1, None, time(100.0)), &fixed(32, 20), None, |at, _, _| {
        let cold = at.nanos() < 20_000 * MS;
        whole(at, 20.0, if cold { 30.0 } else { 10.0 }, 1, 20)
    });
    let found = run.measured(Pace::Open, Goals::default());
    let window = found.steady.window.clone().expect("steady after the start");
    let from = window.from.nanos() as f64 / 1e9;
    assert!((18.0..26.0).contains(&from), "{from}");
    near(found.percentile("time_per_output_token_seconds", 0.5).expect("many"), 0.010, 1e-6);
}

#[test]
fn failures_are_counted_by_kind_bring_no_tokens_and_miss_every_goal() {
    let run = drive(closed(4, Extent::default(), requests(1000)), &fixed(32, 20), None, |at, send, _| {
        let mut reply = whole(at, 20.0, 10.0, 1, 20);
        // One in ten is cut off after half of its tokens, one in twenty is refused.
        if send.request % 10 == 3 {
            reply.deliveries.truncate(10);
            reply.ending = Ending::ClosedEarly;
        } else if send.request % 20 == 7 {
            reply.deliveries.clear();
            reply.ending = Ending::RateLimited;
        }
        reply
    });
    let goals = Goals { time_to_first_token: Some(Seconds::new(1.0)), ..Goals::default() };
    let found = run.measured(Pace::Closed { concurrency: 4 }, goals);
    let expected = [(Ending::Completed, 850), (Ending::ClosedEarly, 100), (Ending::RateLimited, 50)];
    assert_eq!(found.counts.endings, expected.into());
    near(found.counts.failed_share().expect("a thousand"), 0.15, 1e-9);
    near(found.value("output_tokens_per_second"), 4.0 * 20.0 / 0.21 * 0.85, 0.01);
    assert_eq!(found.figure("time_to_first_token_seconds").n, 850);
    let goodput = found.goodput.expect("a goal");
    assert_eq!((goodput.good, goodput.due), (850, 1000));
    near(goodput.share.expect("a thousand"), 0.85, 1e-9);
    assert!(goodput.share_ci95.expect("a thousand").contains(0.85));
}

#[test]
fn tails_take_enough_requests() {
    for (number, stated) in [(5, 0), (35, 1), (36, 2), (71, 2), (72, 3), (367, 3), (368, 4)] {
        let run = drive(closed(1, Extent::default(), requests(number)), &fixed(32, 5), None, |at, _, _| {
            whole(at, 20.0, 10.0, 1, 5)
        });
        let found = run.measured(Pace::Closed { concurrency: 1 }, Goals::default());
        for metric in ["time_to_first_token_seconds", "inter_token_latency_seconds"] {
            let known = found.figure(metric).percentiles.iter().filter(|found| found.value.is_ok());
            assert_eq!(known.count(), stated, "{metric} of {number}");
        }
        if number == 71 {
            let reason = found.percentile("time_to_first_token_seconds", 0.95);
            assert_eq!(reason, Err("71 requests; it takes 72".to_owned()));
        }
    }
}

/// Requests that we cut have no usage: their tokens are told by the bytes of those that have.
#[test]
fn a_run_cut_short_counts_the_tokens_of_what_was_running() {
    let cut = Tick::from_nanos(18_000 * MS);
    // Replies of 4 s: nothing of the last ones is counted by the server.
    let run = drive(closed(8, Extent::default(), time(60.0)), &fixed(32, 400), Some(cut), |at, _, asked| {
        whole(at, 10.0, 10.0, 1, asked.output_tokens)
    });
    let mut found = run.measured(Pace::Closed { concurrency: 8 }, Goals::default());
    assert_eq!(found.counts.endings[&Ending::CutByUs], 8);
    near(found.value("output_tokens_per_second"), 800.0, 0.01);
    assert!(found.steady.little.is_err(), "four rounds are too few for Little's law");
    // Goals: those cut had kept theirs as far as they came, so they are left out; one that was late already, missed.
    let share = |ms: f64| {
        let goals = Goals { time_to_first_token: Some(Seconds::new(ms / 1e3)), ..Goals::default() };
        let goodput = run.measured(Pace::Closed { concurrency: 8 }, goals).goodput.expect("a goal");
        (goodput.good, goodput.due)
    };
    let completed = u64::from(found.counts.endings.remove(&Ending::Completed).unwrap_or(0));
    assert_eq!((share(50.0), share(5.0)), ((completed, completed), (0, completed + 8)));
}

#[test]
fn nobody_counts_and_nothing_completes_are_reasons_not_zeros() {
    let mut log = RequestLog::new(Tick::default());
    let span = Span { from: Tick::default(), to: Tick::from_nanos(1000 * MS) };
    let observed = |log: &RequestLog| {
        measure(&Observed {
            log,
            pace: Pace::Closed { concurrency: 1 },
            measured: span,
            unsent: &[],
            goals: Goals::default(),
        })
    };
    let empty = observed(&log);
    assert!(empty.figures.iter().all(|figure| figure.value.is_err() && figure.ci95.is_err()));
    assert_eq!((empty.counts.failed_share(), empty.counts.output_tokens), (None, None));
    for index in 0..100 {
        let at = Tick::from_nanos(index * 10 * MS);
        let planned = Planned {
            index: u32::try_from(index).expect("small"),
            warmup: false,
            intended: at,
            released: at,
            prompt_tokens: 8,
            output_tokens: 2,
        };
        let slot = log.start(planned, at);
        log.delivered(slot, later(at, 5.0), Part::Reasoning, Amount::Bytes(3));
        log.delivered(slot, later(at, 9.0), Part::Answer, Amount::Bytes(3));
        let end = later(at, 10.0);
        let (ending, finish) = (Ending::Completed, Finish::Stop);
        log.end(slot, Outcome { at: end, ending, finish, usage: None, tokenizer: None });
    }
    let found = observed(&log);
    let reason =
        Err("the output tokens were not counted: the server sends no usage and there is no tokenizer"
            .to_owned());
    assert_eq!(found.figure("output_tokens_per_second").value, reason);
    assert_eq!(found.figure("run_output_tokens_per_second").value, reason);
    assert!(found.figure("time_per_output_token_seconds").value.is_err());
    near(found.value("time_to_first_token_seconds"), 0.005, 1e-9);
    near(found.value("time_to_first_answer_token_seconds"), 0.009, 1e-9);
}
