//! Simulation tests of the gate: thousands of gates on machines with known noise, next to common alternatives.
//!
//! Seeded, so the table in docs/regression.md can be reproduced exactly (`scripts/regress-table`).

use super::decide::{Looks, Margin, Pairs, Verdict, decide};
use crate::base::random::SplitMix64;
use crate::base::stats::{mean, sample_sd};

/// Gates of each kind.
const GATES: u64 = 2000;
/// Timings within one replicate, which a test on pooled timings assumes to be independent.
const INNER: usize = 20;
const INNER_SD: f64 = 0.005;
const MARGIN: f64 = 0.03;

/// How a machine affects figures, apart from the programs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Noise {
    Normal,
    /// Each replicate takes this share longer than the previous one: a machine that warms up.
    Drift(f64),
    /// This share of a replicate's disturbance carries over to the next.
    Correlated(f64),
    /// Student's t with three degrees of freedom.
    HeavyTails,
    /// One replicate of the gate takes 30% longer.
    Outlier,
    /// Each replicate lands in a fast or a slow mode, 4% apart.
    Bimodal,
}

impl Noise {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Drift(_) => "drift of 1% a replicate",
            Self::Correlated(_) => "correlated, r = 0.7",
            Self::HeavyTails => "heavy tails, t(3)",
            Self::Outlier => "one replicate 30% slow",
            Self::Bimodal => "two modes 4% apart",
        }
    }
}

const NOISES: [Noise; 6] = [
    Noise::Normal,
    Noise::Drift(0.01),
    Noise::Correlated(0.7),
    Noise::HeavyTails,
    Noise::Outlier,
    Noise::Bimodal,
];

/// Times of A and B in pairs, in the order A B B A: `[pair][program]`, each with its inner timings.
fn replicates(
    noise: Noise,
    shift: f64,
    pair_sd: f64,
    pairs: usize,
    random: &mut SplitMix64,
) -> Vec<[Vec<f64>; 2]> {
    let sd = pair_sd / std::f64::consts::SQRT_2;
    let outlier = random.below(u32::try_from(2 * pairs).expect("few")) as usize;
    let mut state = random.normal();
    let mut found = Vec::new();
    for pair in 0..pairs {
        let mut of = [Vec::new(), Vec::new()];
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for (place, program) in order.into_iter().enumerate() {
            let number = 2 * pair + place;
            let disturbed = match noise {
                Noise::Normal => sd * random.normal(),
                Noise::Drift(rate) => sd * random.normal() + rate * number as f64,
                Noise::Correlated(r) => {
                    state = r * state + (1.0 - r * r).sqrt() * random.normal();
                    sd * state
                }
                Noise::HeavyTails => {
                    let chi: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
                    // Variance 3, scaled to 1.
                    sd * random.normal() / (chi / 3.0).sqrt() / 3f64.sqrt()
                }
                Noise::Outlier => sd * random.normal() + if number == outlier { 0.3 } else { 0.0 },
                Noise::Bimodal => sd * random.normal() + 0.04 * f64::from(random.below(2)),
            };
            let time = (disturbed + if program == 1 { -(1.0 - shift).ln() } else { 0.0 }).exp();
            of[program] = (0..INNER).map(|_| time * (1.0 + INNER_SD * random.normal())).collect();
        }
        found.push(of);
    }
    found
}

/// The gate's decision, followed by the alternatives.
fn gate(replicates: &[[Vec<f64>; 2]], looks: &Looks) -> Verdict {
    let values: Vec<[f64; 2]> =
        replicates.iter().map(|of| [0, 1].map(|program| mean(&of[program]).expect("timings"))).collect();
    let mut last = Verdict::Inconclusive;
    for &pairs in &looks.pairs {
        let pairs = Pairs {
            metric: String::new(),
            more_is_better: false,
            margin: Margin(MARGIN),
            values: values[..pairs].to_vec(),
        };
        last = decide(&[pairs], looks.alpha).verdict;
        if last != Verdict::Inconclusive {
            break;
        }
    }
    last
}

fn ratio_of_means(replicates: &[[Vec<f64>; 2]]) -> f64 {
    let total = |program: usize| replicates.iter().flat_map(|pair| &pair[program]).sum::<f64>();
    total(1) / total(0)
}

fn last_ratio(replicates: &[[Vec<f64>; 2]]) -> f64 {
    let last = replicates.last().expect("pairs");
    mean(&last[1]).expect("timings") / mean(&last[0]).expect("timings")
}

/// Welch's t on all timings as if they were independent, B slower at 5%.
fn welch(replicates: &[[Vec<f64>; 2]]) -> bool {
    let timings =
        |program: usize| replicates.iter().flat_map(|pair| pair[program].clone()).collect::<Vec<f64>>();
    let (a, b) = (timings(0), timings(1));
    let square = |x: &[f64]| sample_sd(x).expect("timings").powi(2) / x.len() as f64;
    let t = (mean(&b).expect("timings") - mean(&a).expect("timings")) / (square(&a) + square(&b)).sqrt();
    // Hundreds of degrees of freedom: the normal quantile.
    t > 1.645
}

/// Shares of FAIL and PASS, and of alarms by the alternatives: flat 1%, flat 5%, last value by 3%, Welch.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    fail: f64,
    pass: f64,
    flat_1: f64,
    flat_5: f64,
    last: f64,
    welch: f64,
}

fn rates(noise: Noise, shift: f64, pair_sd: f64, looks: &Looks) -> Rates {
    let most = *looks.pairs.last().expect("a look");
    let mut rates = Rates::default();
    let one = 1.0 / GATES as f64;
    for number in 0..GATES {
        let mut random = SplitMix64::new(number).branch(shift.to_bits()).branch(pair_sd.to_bits());
        let found = replicates(noise, shift, pair_sd, most, &mut random);
        match gate(&found, looks) {
            Verdict::Fail => rates.fail += one,
            Verdict::Pass => rates.pass += one,
            _ => {}
        }
        let ratio = ratio_of_means(&found);
        for (rate, alarm) in [
            (&mut rates.flat_1, ratio > 1.01),
            (&mut rates.flat_5, ratio > 1.05),
            (&mut rates.last, last_ratio(&found) > 1.03),
            (&mut rates.welch, welch(&found)),
        ] {
            *rate += if alarm { one } else { 0.0 };
        }
    }
    rates
}

/// The highest share that a true rate of `p` shows in [`GATES`] gates, except once in a thousand.
fn bound(p: f64) -> f64 {
    p + 3.1 * (p * (1.0 - p) / GATES as f64).sqrt()
}

fn six() -> Looks {
    Looks { pairs: vec![6], alpha: 0.02 }
}

#[test]
fn false_alarms_stay_within_their_nominal_rate() {
    for sd in [0.01, 0.02, 0.03, 0.05] {
        for shift in [0.0, 0.01, 0.02, 0.03] {
            let [once, twice] =
                [six(), Looks::default()].map(|looks| rates(Noise::Normal, shift, sd, &looks).fail);
            assert!(once <= bound(0.02), "shift {shift}, SD {sd}: {once}");
            assert!(twice <= bound(0.04), "shift {shift}, SD {sd}: {twice}");
        }
    }
}

/// A false PASS is as bad as a false FAIL.
#[test]
fn a_slowdown_of_the_margin_does_not_pass() {
    for sd in [0.01, 0.02, 0.03, 0.05] {
        let passed = rates(Noise::Normal, MARGIN, sd, &Looks::default()).pass;
        assert!(passed <= bound(0.04), "SD {sd}: {passed}");
    }
}

#[test]
fn power_is_what_the_design_says() {
    let power = |shift, sd| rates(Noise::Normal, shift, sd, &Looks::default()).fail;
    assert!(power(0.05, 0.01) > 0.99);
    assert!((power(0.05, 0.02) - 0.88).abs() < 0.05, "{}", power(0.05, 0.02));
    assert!((0.4..0.65).contains(&power(0.05, 0.03)), "{}", power(0.05, 0.03));
    assert!(power(0.10, 0.03) > 0.99 && power(0.10, 0.05) > 0.9);
}

/// Conditions that break the alternatives: the gate may lose power, but must not raise false alarms.
#[test]
fn drift_correlation_tails_outliers_and_modes_raise_no_false_alarm() {
    for noise in NOISES {
        for shift in [0.0, 0.02] {
            let found = rates(noise, shift, 0.02, &Looks::default());
            assert!(found.fail <= bound(0.04), "{noise:?} at {shift}: {found:?}");
        }
    }
    // A fair comparison: the same data trigger the alternatives.
    assert!(rates(Noise::Normal, 0.0, 0.02, &Looks::default()).welch > 0.2);
    assert!(rates(Noise::Normal, 0.0, 0.03, &Looks::default()).last > 0.1);
    assert!(rates(Noise::Outlier, 0.0, 0.02, &Looks::default()).flat_1 > 0.3);
}

#[test]
#[ignore = "prints the tables of docs/regression.md; the other tests hold them"]
#[allow(clippy::print_stdout, reason = "that is what it is for")]
fn print() {
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    println!(
        "| pair SD | slowdown | FAIL, K = 6 | FAIL, K = 12 | PASS, K = 12 | flat 1% | flat 5% | last value | Welch |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for sd in [0.01, 0.02, 0.03, 0.05] {
        for shift in [0.0, 0.01, 0.02, 0.03, 0.05, 0.10] {
            let six = rates(Noise::Normal, shift, sd, &six());
            let r = rates(Noise::Normal, shift, sd, &Looks::default());
            let columns = [six.fail, r.fail, r.pass, r.flat_1, r.flat_5, r.last, r.welch].map(percent);
            println!("| {:.0}% | {:.0}% | {} |", sd * 100.0, shift * 100.0, columns.join(" | "));
        }
    }
    println!();
    println!("| noise, pair SD 2% | slowdown | FAIL | PASS | flat 1% | flat 5% | last value | Welch |");
    println!("|---|---|---|---|---|---|---|---|");
    for noise in NOISES {
        for shift in [0.0, 0.05, 0.10] {
            let r = rates(noise, shift, 0.02, &Looks::default());
            let columns = [r.fail, r.pass, r.flat_1, r.flat_5, r.last, r.welch].map(percent);
            println!("| {} | {:.0}% | {} |", noise.name(), shift * 100.0, columns.join(" | "));
        }
    }
}
