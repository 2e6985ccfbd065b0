//! What could be wrong with the figures of a load: evidence in, verdict out, one function per check.

use crate::base::text::count;
use crate::base::units::Seconds;
use crate::hardware::telemetry::host::HostWindow;
use crate::record::{Check, ROOFLINE, Validity, Verdict};
use crate::run::validity::{self, Machine};
use crate::workload::Stopped;

use super::row::Off;
use super::{Driven, Finished};

/// Share of the requests that may fail.
const MOST_FAILED: f64 = 0.01;
/// Share of the answers that may have another length than asked for.
const MOST_OFF: f64 = 0.01;
/// Share of the prompt tokens that may come from the cache unasked.
const MOST_CACHED: f64 = 0.01;
/// Share of the server's tokens that may be for others.
const MOST_FOREIGN: f64 = 0.01;
/// Lateness of the client that matters: this, or so much of the median time per token.
const LATE: f64 = 1e-3;
const LATE_SHARE: f64 = 0.05;
/// Difference between the wall clock and the monotonic one, in seconds, that slewing explains.
const MOST_STEP: f64 = 1.0;

/// What the checks look at.
pub(super) struct Evidence<'a> {
    /// The rows.
    pub(super) finished: &'a Finished,
    /// What is known of the machine of an engine in this process; `None` for a server.
    pub(super) machine: Option<Machine<'a>>,
    /// Why the server is not taken to run on this machine; `None` where it is.
    pub(super) elsewhere: Option<&'a str>,
    /// Whether answers were asked to have their length whatever the model says.
    pub(super) ignore_eos: bool,
}

/// Makes every check.
pub(super) fn validate(evidence: &Evidence<'_>) -> Validity {
    let rows = &evidence.finished.rows;
    let mut checks = vec![
        complete(evidence.finished),
        failed(rows),
        steady(rows),
        lengths(rows, evidence.ignore_eos),
        cached(rows),
    ];
    let beyond = if let Some(machine) = &evidence.machine {
        checks.push(finite(rows));
        checks.extend(validity::of_machine(machine));
        "a load is not compared with the device's peaks; rows of -p and -n without a load are"
    } else {
        checks.extend([usage(rows), foreign(evidence.finished), late(rows), same_machine(evidence)]);
        "the peaks of the server's device are not known here"
    };
    checks.push(clock_step(evidence.finished.host));
    checks.push(check(ROOFLINE, Verdict::NotChecked, beyond.to_owned()));
    Validity::of(checks)
}

fn check(name: &str, verdict: Verdict, evidence: String) -> Check {
    Check { name: name.to_owned(), verdict, evidence }
}

/// Names of rows with a text for each.
fn each<'a>(rows: &'a [Driven], said: impl Fn(&'a Driven) -> Option<String>) -> Vec<String> {
    rows.iter().filter_map(|row| Some(format!("{}: {}", row.row.label, said(row)?))).collect()
}

fn complete(finished: &Finished) -> Check {
    let name = "run_complete";
    let left_out: Vec<&str> = finished.left_out.iter().map(|row| row.label.as_str()).collect();
    let left_out =
        if left_out.is_empty() { String::new() } else { format!("; left out: {}", left_out.join(", ")) };
    let text = match &finished.stopped {
        None => return check(name, Verdict::Valid, format!("the run completed{left_out}")),
        Some(Stopped::Interrupted) => "interrupted".to_owned(),
        Some(Stopped::NoAnswers { in_a_row, last }) => {
            format!(
                "the server no longer answers: {in_a_row} requests in a row failed; the last: {}",
                last.detail
            )
        }
        Some(Stopped::NotDrained) => "requests were still running long after the last was sent".to_owned(),
        Some(Stopped::EngineFailed(failure)) => failure.detail.clone(),
    };
    check(name, Verdict::Invalid, format!("{text}{left_out}"))
}

fn failed(rows: &[Driven]) -> Check {
    let name = "requests_failed";
    let wrong = each(rows, |row| {
        let share = row.serving.counts.failed_share().filter(|share| *share > MOST_FAILED)?;
        let endings = row.serving.counts.endings.iter().filter(|(ending, _)| ending.is_failure());
        let kinds: Vec<String> =
            endings.map(|(ending, count)| format!("{count} {}", ending.name())).collect();
        Some(format!("{:.1}% of the requests failed ({})", share * 100.0, kinds.join(", ")))
    });
    if !wrong.is_empty() {
        return check(name, Verdict::Suspect, wrong.join("; "));
    }
    let of = |failure: bool| -> u32 {
        let all = rows.iter().flat_map(|row| &row.serving.counts.endings);
        all.filter(|(ending, _)| ending.is_failure() == failure).map(|(_, count)| count).sum()
    };
    let (failures, others) = (of(true), of(false));
    check(name, Verdict::Valid, format!("{failures} of {} requests failed", failures + others))
}

/// A row that was never steady has no rates, so none of them is false; without any that was, there is nothing to price.
fn steady(rows: &[Driven]) -> Check {
    let name = "steady_state";
    let wrong = each(rows, |row| row.serving.steady.window.as_ref().err().cloned());
    let steady = rows.len() - wrong.len();
    match (steady, wrong.as_slice()) {
        (_, []) => check(name, Verdict::Valid, "every row has a steady window".to_owned()),
        (0, _) => {
            let text = format!("no row has a steady window; longer ones may have: {}", wrong.join("; "));
            check(name, Verdict::Suspect, text)
        }
        _ => {
            let text = format!(
                "{steady} of {} have a steady window, and only these have rates; the others: {}",
                count(rows.len(), "row"),
                wrong.join("; ")
            );
            check(name, Verdict::Valid, text)
        }
    }
}

fn lengths(rows: &[Driven], ignore_eos: bool) -> Check {
    let name = "lengths_obeyed";
    let counted: usize = rows.iter().map(|row| row.off.counted).sum();
    if counted == 0 {
        return check(name, Verdict::NotChecked, "the output tokens were not counted".to_owned());
    }
    let wrong = each(rows, |row| {
        let Off { counted, output, .. } = row.off;
        let mean = row.serving.counts.output_tokens.map_or(0.0, |lengths| lengths.mean);
        (output as f64 > MOST_OFF * counted as f64).then(|| {
            format!(
                "{output} of {counted} answers do not have the requested length, {mean:.1} tokens on average"
            )
        })
    });
    if wrong.is_empty() {
        let obeyed = counted - rows.iter().map(|row| row.off.output).sum::<usize>();
        let text = format!("{obeyed} of {counted} answers have the requested length");
        return check(name, Verdict::Valid, text);
    }
    let way_out = if ignore_eos { "" } else { "; --ignore-eos asks for answers of full length" };
    check(name, Verdict::Suspect, format!("{}{way_out}", wrong.join("; ")))
}

fn cached(rows: &[Driven]) -> Check {
    let name = "prefix_cache";
    let known: Vec<f64> = rows.iter().filter_map(|row| row.serving.counts.cached_share).collect();
    let wrong = each(rows, |row| {
        let share = row.serving.counts.cached_share?;
        let asked = row
            .serving
            .counts
            .prompt_tokens
            .map_or(0.0, |prompt| f64::from(row.row.prefix_tokens) / prompt.mean);
        let shown = |share: f64| format!("{:.1}%", share * 100.0);
        let beside = if asked > 0.0 { format!(", and {} are shared", shown(asked)) } else { String::new() };
        (share > asked + MOST_CACHED)
            .then(|| format!("{} of the prompt tokens came from the server's cache{beside}", shown(share)))
    });
    if !wrong.is_empty() {
        let text = format!(
            "{}; prompts were new in this run, so the server had cached them in another one",
            wrong.join("; ")
        );
        return check(name, Verdict::Suspect, text);
    }
    match known.iter().copied().reduce(f64::max) {
        Some(most) => check(
            name,
            Verdict::Valid,
            format!("at most {:.2}% of the prompt tokens came from the cache", most * 100.0),
        ),
        None => check(name, Verdict::NotChecked, "the server does not report cached tokens".to_owned()),
    }
}

fn usage(rows: &[Driven]) -> Check {
    let name = "usage_agrees";
    let told: usize = rows.iter().map(|row| row.off.with_usage).sum();
    if told == 0 {
        return check(name, Verdict::NotChecked, "the server sends no `usage`".to_owned());
    }
    let wrong = each(rows, |row| {
        let Off { with_usage, prompt, usage, .. } = row.off;
        let matters = |number: usize| number as f64 > MOST_OFF * with_usage as f64;
        let prompt = matters(prompt)
            .then(|| format!("the server's count differs from what was sent in {prompt} prompts"));
        let usage = matters(usage)
            .then(|| format!("the server's count differs from what arrived in {usage} answers"));
        let all: Vec<String> = prompt.into_iter().chain(usage).collect();
        (!all.is_empty()).then(|| all.join(", "))
    });
    if wrong.is_empty() {
        // Of one request both may differ.
        let off = rows.iter().map(|row| row.off.prompt.max(row.off.usage)).sum::<usize>();
        let text = format!(
            "the server's counts match what was sent and received in {} of {told} requests",
            told - off
        );
        return check(name, Verdict::Valid, text);
    }
    check(name, Verdict::Suspect, wrong.join("; "))
}

/// Answers that came of logits which are no numbers are no answers.
fn finite(rows: &[Driven]) -> Check {
    let wrong = each(rows, |row| {
        let steps = row.work.as_ref()?.non_finite_steps;
        (steps > 0).then(|| format!("{steps} steps had NaN or infinite logits"))
    });
    if wrong.is_empty() {
        return check("finite_logits", Verdict::Valid, "all logits that were checked are finite".to_owned());
    }
    check("finite_logits", Verdict::Invalid, wrong.join("; "))
}

/// A server that others use as well is slower than it would be.
fn foreign(finished: &Finished) -> Check {
    let name = "foreign_requests";
    let Some(all) = finished.generated else {
        let text = "the server has no /metrics that count the tokens it generates".to_owned();
        return check(name, Verdict::NotChecked, text);
    };
    let ours: Option<u64> = finished.rows.iter().map(|row| row.generated).sum();
    let Some(ours) = ours else {
        let text = "requests that did not complete are in the server's count but not in ours".to_owned();
        return check(name, Verdict::NotChecked, text);
    };
    let others = (all - ours as f64).max(0.0);
    let share = if all > 0.0 { others / all } else { 0.0 };
    let text =
        format!("of {all:.0} tokens that the server generated during the load, {others:.0} were for others");
    check(name, if share > MOST_FOREIGN { Verdict::Suspect } else { Verdict::Valid }, text)
}

/// A client that is late measures itself.
fn late(rows: &[Driven]) -> Check {
    let name = "client_lag";
    let seen = |lag: Option<f64>| lag.map_or("not known".to_owned(), |lag| Seconds::new(lag).to_string());
    let wrong = each(rows, |row| {
        let bound = LATE.max(LATE_SHARE * row.median_tpot.unwrap_or(0.0));
        let over = |lag: Option<f64>| lag.is_some_and(|lag| lag > bound);
        (over(row.send_lag) || over(row.receive_lag)).then(|| {
            format!(
                "p99 send lag {}, read lag {}, allowed {}",
                seen(row.send_lag),
                seen(row.receive_lag),
                Seconds::new(bound)
            )
        })
    });
    if !wrong.is_empty() {
        let text = format!(
            "the client was late: {}; give the client a processor or machine of its own",
            wrong.join("; ")
        );
        return check(name, Verdict::Suspect, text);
    }
    let most = |of: fn(&Driven) -> Option<f64>| rows.iter().filter_map(of).reduce(f64::max);
    let (send, receive) = (most(|row| row.send_lag), most(|row| row.receive_lag));
    if send.is_none() {
        return check(name, Verdict::NotChecked, "no request was measured".to_owned());
    }
    let text = format!("p99 send lag {}, read lag {}", seen(send), seen(receive));
    check(name, Verdict::Valid, text)
}

/// A remark, never a doubt: many have but one machine.
fn same_machine(evidence: &Evidence<'_>) -> Check {
    let name = "same_machine";
    if let Some(why) = evidence.elsewhere {
        return check(name, Verdict::Valid, why.to_owned());
    }
    let time: Option<f64> =
        evidence.finished.rows.iter().map(|row| row.processor_time.map(Seconds::get)).sum();
    let took =
        time.map_or(String::new(), |time| format!(" and took {} of its processors", Seconds::new(time)));
    check(name, Verdict::Valid, format!("the client ran on the server's machine{took}"))
}

fn clock_step(host: HostWindow) -> Check {
    let step = host.clock_step_seconds;
    let verdict = if step.abs() > MOST_STEP { Verdict::Suspect } else { Verdict::Valid };
    check("clock_step", verdict, format!("the wall clock moved by {step:+.3} s against the monotonic one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{Span, Tick};
    use crate::base::requests::Ending;
    use crate::base::requests::Failure;
    use crate::record::Cell;
    use crate::run::measure::serving::{Counts, Lengths, Serving, Steady};
    use crate::run::serving::{Level, PlannedRow};
    use crate::workload::Stats;

    /// A hundred requests that are as they should be.
    fn driven(label: &str) -> Driven {
        let window = Span { from: Tick::from_nanos(0), to: Tick::from_nanos(1_000_000_000) };
        let counts = Counts {
            endings: [(Ending::Completed, 100)].into(),
            output_tokens: Some(Lengths { least: 32, mean: 32.0, most: 32 }),
            cached_share: Some(0.0),
            ..Counts::default()
        };
        Driven {
            row: PlannedRow {
                label: label.to_owned(),
                prompt_tokens: Some(32),
                output_tokens: Some(32),
                prefix_tokens: 0,
                level: Level::Closed { max_concurrency: 4 },
            },
            cell: Cell {
                prompt_tokens: 32,
                output_tokens: 32,
                batch: 4,
                depth: 0,
                phase: crate::record::Phase::Serving,
                requests_per_second: None,
            },
            serving: Serving {
                steady: Steady { window: Ok(window), little: Ok(1.0), in_flight: 4.0, grows: false },
                figures: Vec::new(),
                goodput: None,
                counts,
            },
            measured: Seconds::new(1.0),
            warmup_requests: 4,
            ended_by: "time".to_owned(),
            off: Off { counted: 100, with_usage: 100, ..Off::default() },
            median_tpot: Some(0.01),
            send_lag: Some(1e-4),
            receive_lag: Some(2e-4),
            stats: Stats::default(),
            processor_time: Some(Seconds::new(0.1)),
            generated: Some(3328),
            work: None,
        }
    }

    fn found(rows: Vec<Driven>, stopped: Option<Stopped>, name: &str) -> Check {
        let host = HostWindow::default();
        let generated = Some(2.0 * 3328.0);
        let finished = Finished { rows, left_out: Vec::new(), stopped, search: None, host, generated };
        let validity =
            validate(&Evidence { finished: &finished, machine: None, elsewhere: None, ignore_eos: true });
        validity.checks.into_iter().find(|check| check.name == name).expect(name)
    }

    #[test]
    fn a_good_run_passes_every_check_that_can_be_made() {
        for name in [
            "run_complete",
            "requests_failed",
            "steady_state",
            "lengths_obeyed",
            "prefix_cache",
            "usage_agrees",
            "foreign_requests",
            "client_lag",
            "same_machine",
            "clock_step",
        ] {
            assert_eq!(found(vec![driven("a"), driven("b")], None, name).verdict, Verdict::Valid, "{name}");
        }
        assert_eq!(found(vec![driven("a")], None, ROOFLINE).verdict, Verdict::NotChecked);
    }

    /// What is changed, the check that looks at it, its verdict, and words of its evidence.
    type Case = (fn(&mut Driven), &'static str, Verdict, &'static str);

    #[test]
    fn each_check_has_its_bound() {
        let cases: [Case; 16] = [
            (
                |d| d.serving.counts.endings = [(Ending::Completed, 99), (Ending::ClosedEarly, 1)].into(),
                "requests_failed",
                Verdict::Valid,
                "1 of 200 requests failed",
            ),
            (
                |d| d.serving.counts.endings = [(Ending::Completed, 98), (Ending::ClosedEarly, 2)].into(),
                "requests_failed",
                Verdict::Suspect,
                "b: 2.0% of the requests failed (2 closed_early)",
            ),
            (|d| d.off.output = 1, "lengths_obeyed", Verdict::Valid, "199 of 200 answers have the requested"),
            (|d| d.off.output = 2, "lengths_obeyed", Verdict::Suspect, "b: 2 of 100 answers"),
            (
                |d| d.serving.counts.cached_share = Some(0.01),
                "prefix_cache",
                Verdict::Valid,
                "at most 1.00% of the prompt tokens",
            ),
            (
                |d| d.serving.counts.cached_share = Some(0.02),
                "prefix_cache",
                Verdict::Suspect,
                "b: 2.0% of the prompt tokens",
            ),
            (|d| d.off.prompt = 1, "usage_agrees", Verdict::Valid, "in 199 of 200 requests"),
            (
                |d| d.off.prompt = 2,
                "usage_agrees",
                Verdict::Suspect,
                "differs from what was sent in 2 prompts",
            ),
            (|d| d.off.usage = 2, "usage_agrees", Verdict::Suspect, "what arrived in 2 answers"),
            (|d| d.generated = Some(3300), "foreign_requests", Verdict::Valid, "28 were for others"),
            (
                |d| d.generated = Some(3000),
                "foreign_requests",
                Verdict::Suspect,
                "6656 tokens that the server",
            ),
            (|d| d.send_lag = Some(1e-3), "client_lag", Verdict::Valid, "p99 send lag 1.00 ms"),
            (|d| d.send_lag = Some(1.1e-3), "client_lag", Verdict::Suspect, "b: p99 send lag 1.10 ms"),
            (|d| d.receive_lag = Some(2e-3), "client_lag", Verdict::Suspect, "read lag 2.00 ms"),
            (
                // Of 100 ms a token, 5 ms are no matter.
                |d| (d.receive_lag, d.median_tpot) = (Some(4e-3), Some(0.1)),
                "client_lag",
                Verdict::Valid,
                "read lag 4.00 ms",
            ),
            (
                |d| d.serving.steady.window = Err("three requests".to_owned()),
                "steady_state",
                Verdict::Valid,
                "1 of 2 rows have a steady window, and only these have rates; the others: b: three requests",
            ),
        ];
        for (change, name, verdict, words) in cases {
            let mut second = driven("b");
            change(&mut second);
            let check = found(vec![driven("a"), second], None, name);
            assert_eq!(check.verdict, verdict, "{name}: {}", check.evidence);
            assert!(check.evidence.contains(words), "{name}: {}", check.evidence);
        }
    }

    #[test]
    fn without_a_steady_row_or_a_count_there_is_no_figure_to_rely_on() {
        let mut wild = driven("a");
        wild.serving.steady.window = Err("three requests".to_owned());
        let check = found(vec![wild], None, "steady_state");
        assert_eq!(check.verdict, Verdict::Suspect);
        assert_eq!(check.evidence, "no row has a steady window; longer ones may have: a: three requests");
        for name in ["lengths_obeyed", "prefix_cache", "usage_agrees"] {
            let mut silent = driven("a");
            silent.off = Off::default();
            silent.serving.counts.cached_share = None;
            assert_eq!(found(vec![silent], None, name).verdict, Verdict::NotChecked, "{name}");
        }
    }

    #[test]
    fn a_run_that_was_cut_short_is_invalid_and_says_why() {
        let last = Failure::new(Ending::ConnectionRefused, "nothing listens at h:1");
        let gone = Stopped::NoAnswers { in_a_row: 100, last };
        let check = found(vec![driven("a")], Some(gone), "run_complete");
        assert_eq!(check.verdict, Verdict::Invalid);
        assert!(check.evidence.contains("100 requests in a row failed; the last: nothing listens"));
        assert_eq!(
            found(vec![driven("a")], Some(Stopped::Interrupted), "run_complete").evidence,
            "interrupted"
        );
    }
}
