//! Simulation tests of the change-point search: thousands of histories with known noise and step.
//!
//! Seeded, so the table in docs/regression.md can be reproduced exactly (`scripts/regress-table`).

use super::change_points::{Rules, change_points};
use crate::random::SplitMix64;

/// `points` values around 100 with normal noise of `sd`, from `at` on `step` times as high.
fn history(points: usize, at: usize, step: f64, sd: f64, seed: u64) -> Vec<f64> {
    let mut random = SplitMix64::new(seed).branch(points as u64).branch(at as u64);
    let level = |place: usize| if place < at { 100.0 } else { 100.0 * step };
    (0..points).map(|place| level(place) * (1.0 + sd * random.normal())).collect()
}

/// Of so many histories those in which the step is found, give or take two places.
fn found(points: usize, at: usize, step: f64, sd: f64, histories: u64) -> u64 {
    let hit = |seed: &u64| {
        let changes = change_points(&history(points, at, step, sd, *seed), &Rules::default());
        changes.iter().any(|change| change.at.abs_diff(at) <= 2)
    };
    (0..histories).filter(hit).count() as u64
}

/// Of so many histories without a step those in which one is found.
fn false_alarms(points: usize, histories: u64) -> u64 {
    let any =
        |seed: &u64| !change_points(&history(points, points, 1.0, 0.05, *seed), &Rules::default()).is_empty();
    (0..histories).filter(any).count() as u64
}

/// The time per token is half as much again from some point on: no length and no place hides it, from 14 points on.
#[test]
fn a_large_step_is_found_at_every_length_that_can_prove_one() {
    for points in 6..=20 {
        let found = found(points, points / 2, 1.5, 0.01, 4);
        assert_eq!(found, if points < 14 { 0 } else { 4 }, "{points} points");
    }
    // With k after it, when 2 ÷ C(n, k) is at most 0.001.
    for (points, after) in [(20, 4), (20, 8), (17, 4), (16, 5), (33, 3)] {
        assert_eq!(found(points, points - after, 1.5, 0.01, 1), 1, "{after} of {points}");
    }
    assert_eq!(found(20, 17, 1.5, 0.01, 2), 0);
}

/// At most one in a thousand by design; 3.1 standard deviations above that is chance once in a thousand.
#[test]
fn false_alarms_stay_within_their_level() {
    let histories = 400;
    let most = 0.001 * histories as f64 + 3.1 * (0.001 * histories as f64).sqrt();
    for points in [6, 14, 15, 17, 20] {
        let alarms = false_alarms(points, histories);
        assert!(alarms as f64 <= most, "{points} points: {alarms} of {histories}");
    }
}

/// What the history says of its own sight is what it finds, give or take what 40 histories leave open.
#[test]
fn the_step_that_is_said_to_be_found_four_times_of_five_is() {
    for (points, deviations) in [(14, 4.5), (16, 3.4), (20, 2.8)] {
        let found = found(points, points / 2, 1.0 + 0.01 * deviations, 0.01, 40);
        assert!((24..=39).contains(&found), "{points} points: {found} of 40");
    }
}

#[test]
#[ignore = "prints the table of docs/regression.md; the other tests hold it"]
#[allow(clippy::print_stdout, reason = "that is what it is for")]
fn print() {
    const HISTORIES: u64 = 500;
    let steps = [1.02, 1.03, 1.05, 1.10, 1.50];
    let heads: Vec<String> = steps.iter().map(|step| format!("{:.0}%", (step - 1.0) * 100.0)).collect();
    println!("| points | false alarms | {} |", heads.join(" | "));
    println!("|---:|---:|{}", "---:|".repeat(steps.len()));
    for points in [6, 9, 12, 13, 14, 15, 16, 17, 18, 20, 25, 30, 40, 50] {
        let share = |count: u64, of: u64| count as f64 / of as f64 * 100.0;
        let alarms = share(false_alarms(points, 10 * HISTORIES), 10 * HISTORIES);
        let columns = steps.map(|step| {
            format!("{:.0}%", share(found(points, points / 2, step, 0.01, HISTORIES), HISTORIES))
        });
        println!("| {points} | {alarms:.2}% | {} |", columns.join(" | "));
    }
}
