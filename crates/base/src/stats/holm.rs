//! Several tests at once: Holm's step-down procedure.

/// Which hypotheses are rejected at level `alpha`, in the order of `p_values` (Holm 1979).
///
/// The chance of rejecting any true hypothesis is at most `alpha`, however the tests depend on each other.
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut rejected = vec![false; p_values.len()];
    for (rank, &index) in order.iter().enumerate() {
        if p_values[index] > alpha / (p_values.len() - rank) as f64 {
            break;
        }
        rejected[index] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 0.01 ≤ 0.05/4 and 0.013 ≤ 0.05/3; 0.03 > 0.05/2 ends it, though 0.04 ≤ 0.05.
    #[test]
    fn it_stops_at_the_first_that_is_not_small_enough() {
        assert_eq!(holm(&[0.04, 0.01, 0.03, 0.013], 0.05), [false, true, false, true]);
        assert_eq!(holm(&[], 0.05), Vec::<bool>::new());
        assert_eq!(holm(&[0.05], 0.05), [true]);
    }
}
