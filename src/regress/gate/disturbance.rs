//! Disturbed replicates: which they are, whether their distribution over the two programs can be chance, and how much the
//! intervals must widen.
//!
//! Replicates alternate, so a disturbance of the machine is noise for both programs: it widens the pair SD without bias. It
//! causes a bias if one program gets more of it than the other. How much more processor time was lost while one of them ran
//! is known; a program whose threads wait for each other may lose twice that. Both bounds of the interval move outwards by
//! that amount, and if the counts differ more than chance explains there is no verdict.

use serde::Serialize;

use crate::record::{Check, Record, Verdict as Validity};

/// Checks of a record that report a disturbance of the machine during the run.
const CHECKS: [&str; 3] = ["foreign_load", "clocks_held_back", "clock_step"];

/// A program's largest possible loss, as a multiple of the share of processor time lost: losing one of two processors
/// stops a program whose two threads wait for each other.
const LOSS: f64 = 2.0;

/// Share assumed lost if a check does not state it.
const UNKNOWN: f64 = 0.1;

/// Name under which a record keeps the loss that its program could not see itself.
pub(super) const KEPT: &str = "gate_stolen_share";

/// Processor time that one replicate lost to others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loss {
    /// The check with its evidence, if the loss is large enough for the replicate to count as disturbed.
    pub(super) reason: Option<String>,
    /// Share of processor time lost, even if small.
    pub(super) share: f64,
}

/// What this replicate lost.
fn loss(record: &Record) -> Loss {
    let share = suspect(record).map(|check| lost(record, &check.name)).fold(small(record), f64::max);
    Loss { reason: reason(record), share }
}

/// What disturbed this replicate, if anything.
pub(super) fn reason(record: &Record) -> Option<String> {
    let first = suspect(record).next()?;
    Some(format!("{}: {}", first.name, first.evidence))
}

fn suspect(record: &Record) -> impl Iterator<Item = &Check> {
    let checks = record.validity.checks.iter();
    checks.filter(|check| check.verdict == Validity::Suspect && CHECKS.contains(&check.name.as_str()))
}

/// The share that the system counted, if it did.
fn counted(record: &Record) -> Option<f64> {
    let telemetry = record.telemetry.as_ref();
    let shares = [
        telemetry.and_then(|telemetry| *telemetry.foreign_processor_share),
        telemetry.and_then(|telemetry| *telemetry.stolen_processor_share),
        telemetry.and_then(|telemetry| *telemetry.quota_held_back_share),
        record.unknown.get(KEPT).and_then(serde_json::Value::as_f64),
    ];
    shares.iter().any(Option::is_some).then(|| shares.into_iter().flatten().sum::<f64>().clamp(0.0, 1.0))
}

fn small(record: &Record) -> f64 {
    counted(record).unwrap_or(0.0)
}

fn lost(record: &Record, check: &str) -> f64 {
    let known = match check {
        // Intervals use the monotonic clock, which is never set.
        "clock_step" => Some(0.0),
        "clocks_held_back" => {
            let shares = record.energy.windows.iter().filter_map(|window| *window.throttled_share);
            shares.reduce(f64::max).filter(|share| *share > 0.0)
        }
        _ => counted(record),
    };
    known.unwrap_or(UNKNOWN).min(1.0)
}

/// Processor time that a gate's replicates lost to others on the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disturbed {
    /// Number of disturbed replicates of A and of B.
    pub replicates: [usize; 2],
    /// Probability of counts this different if both are disturbed alike (Fisher's exact test, two-sided).
    pub chance: f64,
    /// How far each end of an interval moves outwards: the logarithm of a slowdown.
    pub width: f64,
}

impl Disturbed {
    /// Whether it is worth reporting: a replicate was disturbed, or the intervals widen by at least a tenth of a percent.
    pub fn is_told(&self) -> bool {
        self.replicates != [0, 0] || self.width >= 0.001
    }

    /// From pairs of the losses of A and B.
    pub(super) fn of(pairs: &[[Loss; 2]]) -> Self {
        let side = |program: usize| pairs.iter().map(move |pair| &pair[program]);
        let replicates = [0, 1].map(|program| side(program).filter(|found| found.reason.is_some()).count());
        let lost = [0, 1].map(|program| side(program).map(|found| found.share).sum::<f64>());
        let width = LOSS * (lost[0] - lost[1]).abs() / pairs.len().max(1) as f64;
        Self { replicates, chance: fisher(replicates, pairs.len()), width }
    }

    /// Checks that neither program was disturbed more than chance explains.
    ///
    /// # Errors
    /// One sentence with the counts.
    pub(super) fn alike(&self, pairs: &[[Loss; 2]], level: f64) -> Result<(), String> {
        if self.chance > level {
            return Ok(());
        }
        let [a, b] = self.replicates;
        let worse = usize::from(b > a);
        let reason = pairs.iter().find_map(|pair| pair[worse].reason.as_deref()).unwrap_or_default();
        Err(format!(
            "{a} of {0} replicates of A were disturbed and {b} of {0} of B, more than chance explains (p = {1:.3}); the first of {2}: {reason}",
            pairs.len(),
            self.chance,
            ["A", "B"][worse]
        ))
    }
}

/// What the replicates of these pairs lost, if anything.
///
/// # Errors
/// The loss together with the reason, if one program was disturbed more than chance explains.
pub(super) fn of_pairs(pairs: &[[&Record; 2]], level: f64) -> Result<Option<Disturbed>, (Disturbed, String)> {
    let pairs: Vec<[Loss; 2]> = pairs.iter().map(|pair| pair.map(loss)).collect();
    let found = Disturbed::of(&pairs);
    match found.alike(&pairs, level) {
        Ok(()) => Ok((found.replicates != [0, 0] || found.width > 0.0).then_some(found)),
        Err(reason) => Err((found, reason)),
    }
}

/// Fisher's exact test, two-sided: the probability of counts at most as likely as these if `of` replicates on each side
/// are disturbed alike.
fn fisher([a, b]: [usize; 2], of: usize) -> f64 {
    let all = a + b;
    // C(of, k) · C(of, all − k), up to one factor.
    let ways = |k: usize| choose(of, k) * choose(of, all - k);
    let possible = all.saturating_sub(of)..=all.min(of);
    let total: f64 = possible.clone().map(ways).sum();
    let seen = ways(a) * (1.0 + 1e-9);
    (possible.map(ways).filter(|ways| *ways <= seen).sum::<f64>() / total).min(1.0)
}

fn choose(n: usize, k: usize) -> f64 {
    (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy: `fisher_exact([[5, 1], [0, 6]])` gives 0.015152, [[12, 0], [7, 5]] 0.037267, [[3, 3], [2, 4]] 1.
    #[test]
    fn the_chance_of_unlike_counts_is_fishers() {
        assert!((fisher([5, 0], 6) - 0.015_151_515).abs() < 1e-8, "{}", fisher([5, 0], 6));
        assert!((fisher([12, 7], 12) - 0.037_267_081).abs() < 1e-8, "{}", fisher([12, 7], 12));
        assert!((fisher([3, 2], 6) - 1.0).abs() < 1e-12 && (fisher([0, 0], 6) - 1.0).abs() < 1e-12);
        assert!((fisher([6, 6], 6) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn only_what_one_side_lost_more_widens() {
        let lost = |share: f64| Loss { reason: (share > 0.01).then(|| "r".into()), share };
        let disturbed = |a: f64, b: f64| Disturbed::of(&vec![[lost(a), lost(b)]; 6]);
        assert!(disturbed(0.05, 0.05).width.abs() < 1e-12);
        let unlike = disturbed(0.05, 0.01);
        assert!((unlike.width - 0.08).abs() < 1e-12 && unlike.replicates == [6, 0], "{unlike:?}");
        // Also what is too little to count as disturbed.
        let small = disturbed(0.0, 0.008);
        assert!((small.width - 0.016).abs() < 1e-12 && small.replicates == [0, 0], "{small:?}");
        let none = || [lost(0.0), lost(0.0)];
        let one = Disturbed::of(&[[lost(0.0), lost(0.03)], none(), none()]);
        assert!((one.width - 0.02).abs() < 1e-12, "{one:?}");
        let pairs = vec![[lost(0.0), lost(0.1)]; 6];
        let said = Disturbed::of(&pairs).alike(&pairs, 0.02).expect_err("all of B");
        assert!(
            said.contains("0 of 6 replicates of A were disturbed and 6 of 6 of B")
                && said.ends_with("of B: r"),
            "{said}"
        );
    }
}
