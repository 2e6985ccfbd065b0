//! Which experts each token goes through, and the order in which their work is done.

/// Takes as many of the largest `logits` as there are places in `chosen`, the first of equal ones first, and gives each
/// the softmax of the taken. What was taken is lost from `logits`.
pub(super) fn choose(logits: &mut [f32], chosen: &mut [u32], shares: &mut [f32]) {
    for place in 0..chosen.len() {
        let mut best = None;
        let mut value = f32::NEG_INFINITY;
        for (index, logit) in logits.iter().enumerate() {
            if *logit > value {
                (best, value) = (Some(index), *logit);
            }
        }
        let taken = |index: &usize| chosen[..place].iter().any(|other| *other as usize == *index);
        let index = best.unwrap_or_else(|| {
            // Only what is no number is left. Its share is none either, and so shows in the step's logits.
            value = f32::NAN;
            (0..logits.len()).find(|index| !taken(index)).unwrap_or(0)
        });
        logits[index] = f32::NEG_INFINITY;
        chosen[place] = u32::try_from(index).unwrap_or(0);
        shares[place] = value;
    }
    let largest = shares.first().copied().unwrap_or(0.0);
    let mut sum = 0.0;
    for share in shares.iter_mut() {
        *share = (*share - largest).exp();
        sum += *share;
    }
    for share in shares {
        *share /= sum;
    }
}

/// Sorts pairs by expert: counts, then first slots, then each pair to the next free slot of its expert.
pub(super) fn sort(chosen: &[u32], used: usize, starts: &mut [u32], slots: &mut [u32], token_of: &mut [u32]) {
    starts.fill(0);
    // Counted one place too far, so that each expert's start can move to its end, which is where the next one starts.
    for expert in chosen {
        if let Some(next) = starts.get_mut(*expert as usize + 2) {
            *next += 1;
        }
    }
    let mut sum = 0;
    for start in starts.iter_mut() {
        sum += *start;
        *start = sum;
    }
    for (pair, expert) in chosen.iter().enumerate() {
        let next = &mut starts[*expert as usize + 1];
        slots[pair] = *next;
        token_of[*next as usize] = u32::try_from(pair / used).unwrap_or(0);
        *next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_chosen_and_share_by_the_softmax_of_all_brought_back_to_one() {
        let logits = [0.5f32, 2.0, -1.0, 2.0, 1.0];
        let (mut left, mut chosen, mut shares) = (logits, [0; 3], [0.0; 3]);
        choose(&mut left, &mut chosen, &mut shares);
        assert_eq!(chosen, [1, 3, 4]);
        let all: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let softmax = chosen.map(|index| logits[index as usize].exp() / all);
        let kept: f32 = softmax.iter().sum();
        for (share, expected) in shares.iter().zip(softmax) {
            assert!((share - expected / kept).abs() < 1e-6, "{shares:?}");
        }
    }

    #[test]
    fn what_is_no_number_chooses_experts_that_exist_and_stays_visible() {
        for mut logits in [[f32::NAN; 4], [f32::NAN, 1.0, f32::NAN, f32::NEG_INFINITY]] {
            let (mut chosen, mut shares) = ([9; 3], [0.0; 3]);
            choose(&mut logits, &mut chosen, &mut shares);
            let mut distinct = chosen.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            assert!(distinct.len() == 3 && chosen.iter().all(|index| *index < 4), "{chosen:?}");
            assert!(shares.iter().all(|share| share.is_nan()), "{shares:?}");
        }
    }

    #[test]
    fn pairs_are_sorted_by_expert_and_then_by_token() {
        // Tokens 0, 1, 2 with two experts each, of four.
        let chosen = [3, 0, 0, 1, 3, 1];
        let (mut starts, mut slots, mut token_of) = ([7; 5], [7; 6], [7; 6]);
        sort(&chosen, 2, &mut starts, &mut slots, &mut token_of);
        assert_eq!(starts, [0, 2, 4, 4, 6]);
        assert_eq!(token_of, [0, 1, 1, 2, 0, 2]);
        assert_eq!(slots, [4, 0, 1, 2, 5, 3]);
    }
}
