//! Faster than this device can be: less work was done than was asked for.

use crate::run::measure::roofline::Utilization;

use super::{Check, Evidence, Verdict, check, unmade};
use crate::record::ROOFLINE;

/// The peaks are measured, so they too are off by a little.
const SLACK: f64 = 1.05;

/// Share of the ceiling that a row reached, of memory or of arithmetic, whichever is larger.
fn share(row: &Utilization) -> f64 {
    row.beyond_cache.max(row.fastest_compute)
}

/// Whether a row is faster than the ceiling allows.
pub(super) fn broken(rows: &[Utilization]) -> bool {
    rows.iter().any(|row| share(row) > SLACK)
}

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = ROOFLINE;
    let rows = match &evidence.roofline {
        Ok(rows) => *rows,
        Err(reason) => return unmade(name, *reason),
    };
    let Some(highest) = rows.iter().max_by(|a, b| share(a).total_cmp(&share(b))) else {
        return unmade(name, "no row of prompts alone or of outputs alone was measured");
    };
    let text = format!(
        "{} of {} tokens moves {:.3} GB and does {:.3} Gop in {:.4} s: {:.0}% of the bandwidth (less one cache's worth) and {:.0}% of the fastest arithmetic measured here",
        highest.cell.phase,
        highest.cell.prompt_tokens + highest.cell.output_tokens,
        highest.bytes / 1e9,
        highest.operations / 1e9,
        highest.seconds,
        highest.beyond_cache * 100.0,
        highest.fastest_compute * 100.0
    );
    let verdict = if broken(rows) { Verdict::Invalid } else { Verdict::Valid };
    check(name, verdict, text)
}
