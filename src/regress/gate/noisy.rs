//! Simulates the gate on disturbed machines: hypervisor steal, steady and in bursts, for both programs or only one.
//!
//! Seeded, so the table in docs/regression.md can be reproduced exactly (`scripts/regress-table`).

use super::decide::{Looks, Margin, Pairs, Verdict, decide_wider};
use super::disturbance::{Disturbed, Loss};
use crate::base::random::SplitMix64;

/// Gates of each kind.
const GATES: u64 = 2000;
const MARGIN: f64 = 0.03;
/// Share of the processors' time above which a replicate counts as disturbed.
const FLAGGED: f64 = 0.01;
/// Replicates out of 24 that a gate's patience allows to repeat.
const RETRIES: usize = 6;

/// What the hypervisor steals while a replicate runs.
#[derive(Debug, Clone, Copy)]
enum Steal {
    /// About this share all the time.
    Steady(f64),
    /// Nothing, except this share in bursts of some replicates.
    Bursts(f64),
    /// About this share while B runs, and nothing while A does.
    OnlyB(f64),
}

const STEALS: [(&str, Steal); 8] = [
    ("none", Steal::Steady(0.0)),
    ("1% all the time", Steal::Steady(0.01)),
    ("3% all the time", Steal::Steady(0.03)),
    ("5% all the time", Steal::Steady(0.05)),
    ("bursts of 5%", Steal::Bursts(0.05)),
    ("bursts of 20%", Steal::Bursts(0.20)),
    ("1% on B alone", Steal::OnlyB(0.01)),
    ("5% on B alone", Steal::OnlyB(0.05)),
];

/// The machine: whether a burst is ongoing, and how much patience is left.
struct Host<'a> {
    steal: Steal,
    burst: bool,
    retries: usize,
    random: &'a mut SplitMix64,
}

impl Host<'_> {
    /// Share stolen from the next replicate of this program.
    fn share(&mut self, program: usize) -> f64 {
        // A burst begins before one replicate in eight and ends after one in three.
        self.burst = if self.burst { self.random.unit() > 0.33 } else { self.random.unit() < 0.125 };
        let level = match self.steal {
            Steal::Steady(level) => level,
            Steal::Bursts(level) if self.burst => level,
            Steal::OnlyB(level) if program == 1 => level,
            Steal::Bursts(_) | Steal::OnlyB(_) => 0.0,
        };
        level * (0.5 + self.random.unit())
    }

    /// Logarithm of a replicate's time without the program's own part, and what disturbed it.
    fn replicate(&mut self, program: usize, number: usize, sd: f64) -> (f64, Loss) {
        let mut share = self.share(program);
        // An equal share of the patience for each replicate, plus what others left.
        while share > FLAGGED && self.retries < RETRIES * (number + 1) / 24 {
            self.retries += 1;
            share = self.share(program);
        }
        // Between a program with independent threads and one with two threads that wait for each other.
        let loss = share * (0.5 + 1.5 * self.random.unit());
        let disturbed = Loss { reason: (share > FLAGGED).then(String::new), share };
        (sd * self.random.normal() - (1.0 - loss).ln(), disturbed)
    }
}

fn gate(steal: Steal, slowdown: f64, pair_sd: f64, random: &mut SplitMix64) -> Verdict {
    let looks = Looks::default();
    let sd = pair_sd / std::f64::consts::SQRT_2;
    let mut here = Host { steal, burst: false, retries: 0, random };
    let (mut values, mut disturbed) = (Vec::new(), Vec::new());
    for &look in &looks.pairs {
        while values.len() < look {
            let pair = values.len();
            let mut of: [Option<(f64, Loss)>; 2] = [None, None];
            for (place, program) in (if pair % 2 == 0 { [0, 1] } else { [1, 0] }).into_iter().enumerate() {
                of[program] = Some(here.replicate(program, 2 * pair + place, sd));
            }
            let [(a, by_a), (b, by_b)] = of.map(|found| found.expect("both ran"));
            values.push([a.exp(), (b - (1.0 - slowdown).ln()).exp()]);
            disturbed.push([by_a, by_b]);
        }
        let found = Disturbed::of(&disturbed);
        if found.alike(&disturbed, looks.alpha).is_err() {
            return Verdict::Incomparable;
        }
        let pairs = Pairs {
            metric: String::new(),
            more_is_better: false,
            margin: Margin(MARGIN),
            values: values.clone(),
        };
        let verdict = decide_wider(&[pairs], looks.alpha, found.width).verdict;
        if verdict != Verdict::Inconclusive {
            return verdict;
        }
    }
    Verdict::Inconclusive
}

/// Shares of FAIL, PASS and INCOMPARABLE; the rest is INCONCLUSIVE.
fn rates(steal: Steal, slowdown: f64, pair_sd: f64) -> [f64; 3] {
    let mut rates = [0.0; 3];
    for number in 0..GATES {
        let mut random = SplitMix64::new(number).branch(slowdown.to_bits()).branch(pair_sd.to_bits());
        let place = match gate(steal, slowdown, pair_sd, &mut random) {
            Verdict::Fail => 0,
            Verdict::Pass => 1,
            Verdict::Incomparable => 2,
            Verdict::Inconclusive => continue,
        };
        rates[place] += 1.0 / GATES as f64;
    }
    rates
}

/// The highest share that a true rate of 4% shows in [`GATES`] gates, except once in a thousand.
fn bound() -> f64 {
    0.04 + 3.1 * (0.04 * 0.96 / GATES as f64).sqrt()
}

#[test]
fn a_disturbed_box_raises_no_false_alarm() {
    for (name, steal) in STEALS {
        for slowdown in [0.0, 0.02, MARGIN] {
            let [fail, ..] = rates(steal, slowdown, 0.02);
            assert!(fail <= bound(), "{name}, {slowdown}: {fail}");
        }
        // A false PASS is equally bad.
        let [_, pass, _] = rates(steal, MARGIN, 0.02);
        assert!(pass <= bound(), "{name}: {pass}");
    }
}

#[test]
fn a_box_that_takes_from_both_alike_is_compared_on() {
    for (name, steal) in &STEALS[..6] {
        let [fail, _, incomparable] = rates(*steal, 0.10, 0.02);
        assert!(incomparable <= 0.04, "{name}: {incomparable}");
        let least = if name.ends_with("20%") { 0.2 } else { 0.8 };
        assert!(fail >= least, "{name}: 10% is found in {fail}");
    }
    let [fail, pass, incomparable] = rates(Steal::OnlyB(0.05), 0.0, 0.02);
    assert!(incomparable > 0.95 && fail + pass < 0.05, "{fail} {pass} {incomparable}");
}

#[test]
#[ignore = "prints a table of docs/regression.md; the other tests hold it"]
#[allow(clippy::print_stdout, reason = "that is what it is for")]
fn print() {
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    println!("| the hypervisor takes | slowdown | FAIL | PASS | INCONCLUSIVE | INCOMPARABLE |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, steal) in STEALS {
        for slowdown in [0.0, MARGIN, 0.05, 0.10] {
            let [fail, pass, incomparable] = rates(steal, slowdown, 0.02);
            let rest = (1.0 - fail - pass - incomparable).max(0.0);
            let columns = [fail, pass, rest, incomparable].map(percent);
            println!("| {name} | {:.0}% | {} |", slowdown * 100.0, columns.join(" | "));
        }
    }
}
