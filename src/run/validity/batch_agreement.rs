//! A batch whose output differs from its sequences alone: keys and values of one sequence read by another, a
//! padded row taken for a real one. Rounding differs with the shape of a matrix, so a tolerance is needed.

use super::{Check, Evidence, Verdict, check, unmade};

/// Logits may differ by this share of their standard deviation. Half-precision sums in another order stay under
/// 0.02; a sequence that reads another's cache is at about 1.
const TOLERANCE: f64 = 0.1;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "batch_agreement";
    let Some(found) = evidence.agreement else {
        if evidence.rows.iter().any(|row| row.trials.row.batch > 1) {
            let ended = "the run ended before a batch was compared with single sequences";
            return unmade(name, evidence.agreement_skipped.unwrap_or(ended));
        }
        return check(name, Verdict::Valid, "no batch ran: there is nothing to compare".into());
    };
    let choice = found.worst_choice.map_or_else(
        || "outputs not compared, the engine takes no prompts in batches".to_owned(),
        |short| format!("the batch's outputs at most {:.3}% below the best alone", short * 100.0),
    );
    let text = format!(
        "{} of a batch's {} sequences rerun alone: the same greedy choice in {}, logits off by at most {:.3}% of their standard deviation, {choice}",
        found.sequences,
        found.batch,
        found.same_choice,
        found.worst_share * 100.0
    );
    // A choice is off by what two logits are off.
    if found.worst_share <= TOLERANCE && found.worst_choice.is_none_or(|short| short <= 2.0 * TOLERANCE) {
        return check(name, Verdict::Valid, text);
    }
    check(name, Verdict::Invalid, format!("{text}; more than {:.0}% is not rounding", TOLERANCE * 100.0))
}
