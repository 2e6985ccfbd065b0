//! One delivery of output, packed into eight bytes.

use crate::event::Tick;

/// What a delivery carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The answer.
    Answer,
    /// Reasoning before the answer, which counts as output.
    Reasoning,
    /// A tool call, which counts as output.
    ToolCall,
}

/// How much a delivery carried, as far as the client can tell on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Tokens, counted one by one: from token ids, `logprobs`, or our own engine.
    Tokens(u32),
    /// Bytes of text, of an unknown number of tokens.
    Bytes(u32),
}

/// Output that reached the client in one piece: when, of which part, how much.
///
/// 44 bits of nanoseconds since the request was due (4.9 hours), 2 bits of [`Part`], 1 bit for the unit, 17 bits of
/// [`Amount`] (131,071). Larger values saturate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Delivery(u64);

const TIME_BITS: u32 = 44;
const MOST_TIME: u64 = (1 << TIME_BITS) - 1;
const AMOUNT_SHIFT: u32 = TIME_BITS + 3;
const MOST_AMOUNT: u64 = (1 << 17) - 1;
const COUNTED: u64 = 1 << (TIME_BITS + 2);

impl Delivery {
    /// A delivery at `at` to a request due at `intended`.
    pub fn new(intended: Tick, at: Tick, part: Part, amount: Amount) -> Self {
        let time = at.nanos().saturating_sub(intended.nanos()).min(MOST_TIME);
        let part = match part {
            Part::Answer => 0,
            Part::Reasoning => 1,
            Part::ToolCall => 2,
        };
        Self(time | part << TIME_BITS).with(amount)
    }

    /// The same delivery with another amount.
    pub(super) fn with(self, amount: Amount) -> Self {
        let (unit, amount) = match amount {
            Amount::Tokens(tokens) => (COUNTED, tokens),
            Amount::Bytes(bytes) => (0, bytes),
        };
        let kept = self.0 & ((1 << (TIME_BITS + 2)) - 1);
        Self(kept | unit | u64::from(amount).min(MOST_AMOUNT) << AMOUNT_SHIFT)
    }

    /// When it came, given when its request was due.
    pub fn at(self, intended: Tick) -> Tick {
        Tick::from_nanos(intended.nanos() + (self.0 & MOST_TIME))
    }

    /// What it carried.
    pub fn part(self) -> Part {
        match self.0 >> TIME_BITS & 3 {
            0 => Part::Answer,
            1 => Part::Reasoning,
            _ => Part::ToolCall,
        }
    }

    /// How much it carried: always tokens once its request has ended and its token count is known.
    pub fn amount(self) -> Amount {
        let amount = self.size();
        if self.0 & COUNTED == 0 { Amount::Bytes(amount) } else { Amount::Tokens(amount) }
    }

    /// The amount's number, whatever its unit.
    #[allow(clippy::cast_possible_truncation, reason = "17 bits")]
    pub(super) fn size(self) -> u32 {
        (self.0 >> AMOUNT_SHIFT) as u32
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {} ns after it was due", self.part(), self.amount(), self.0 & MOST_TIME)
    }
}

/// Distributes `tokens` over the deliveries that carried them, and sets each to [`Amount::Tokens`].
///
/// If every delivery was counted and the sum matches, nothing changes. Otherwise each gets one token, while they last, and
/// the rest is distributed by bytes: exact for a server that sends one token per chunk, and for one that bundles tokens
/// accurate to within the variation of their length.
pub(super) fn share_out(tokens: u32, deliveries: &mut [Delivery]) {
    let counted = deliveries.iter().all(|delivery| matches!(delivery.amount(), Amount::Tokens(_)));
    let total: u64 = deliveries.iter().map(|delivery| u64::from(delivery.size())).sum();
    if counted && total == u64::from(tokens) {
        return;
    }
    let number = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
    let (each, rest) = if tokens >= number { (1, tokens - number) } else { (0, tokens) };
    if rest == 0 {
        for delivery in deliveries {
            *delivery = delivery.with(Amount::Tokens(each));
        }
        return;
    }
    // Evenly, if there is no text to weight by.
    let weight = |delivery: &Delivery| if total == 0 { 1 } else { u64::from(delivery.size()) };
    let all = if total == 0 { u64::from(number) } else { total };
    let (mut seen, mut given) = (0, 0);
    for delivery in deliveries {
        seen += weight(delivery);
        let upto = u32::try_from((u64::from(rest) * seen * 2 + all) / (all * 2)).unwrap_or(u32::MAX);
        *delivery = delivery.with(Amount::Tokens(each + upto - given));
        given = upto;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DUE: Tick = Tick::from_nanos(5_000);

    fn tokens(deliveries: &[Delivery]) -> Vec<u32> {
        deliveries.iter().map(|delivery| delivery.size()).collect()
    }

    fn bytes(sizes: &[u32]) -> Vec<Delivery> {
        sizes.iter().map(|size| Delivery::new(DUE, DUE, Part::Answer, Amount::Bytes(*size))).collect()
    }

    #[test]
    fn it_takes_eight_bytes_and_gives_back_what_was_put_in() {
        assert_eq!(size_of::<Delivery>(), 8);
        for part in [Part::Answer, Part::Reasoning, Part::ToolCall] {
            for amount in [Amount::Tokens(1), Amount::Bytes(131_071), Amount::Tokens(0)] {
                let at = Tick::from_nanos(DUE.nanos() + 17_000_000_000_000);
                let found = Delivery::new(DUE, at, part, amount);
                assert_eq!((found.at(DUE), found.part(), found.amount()), (at, part, amount));
            }
        }
    }

    #[test]
    fn what_is_too_much_is_taken_as_the_most() {
        let late = Delivery::new(DUE, Tick::from_nanos(u64::MAX), Part::Reasoning, Amount::Bytes(u32::MAX));
        assert_eq!(late.at(DUE), Tick::from_nanos(DUE.nanos() + MOST_TIME));
        assert_eq!((late.part(), late.amount()), (Part::Reasoning, Amount::Bytes(131_071)));
        assert_eq!(Delivery::new(DUE, Tick::from_nanos(0), Part::Answer, Amount::Bytes(1)).at(DUE), DUE);
    }

    #[test]
    fn tokens_are_shared_out_as_they_must_have_come() {
        for (sizes, total, expected) in [
            // A token a chunk, whatever its length.
            (&[1, 9, 4][..], 3, &[1, 1, 1][..]),
            // Four a chunk.
            (&[16, 16, 16], 12, &[4, 4, 4]),
            (&[10, 20, 30], 12, &[3, 4, 5]),
            // Fewer tokens than chunks: a token's bytes came in pieces.
            (&[1, 1, 1, 1], 2, &[1, 0, 1, 0]),
            (&[], 5, &[]),
        ] {
            let mut deliveries = bytes(sizes);
            share_out(total, &mut deliveries);
            assert_eq!(tokens(&deliveries), expected, "{sizes:?}");
        }
    }

    #[test]
    fn counted_deliveries_stay_unless_the_sum_is_wrong() {
        let counted = [3, 1, 2].map(|n| Delivery::new(DUE, DUE, Part::Answer, Amount::Tokens(n)));
        let (mut right, mut wrong) = (counted, counted);
        share_out(6, &mut right);
        share_out(9, &mut wrong);
        assert_eq!((tokens(&right), tokens(&wrong)), (vec![3, 1, 2], vec![4, 2, 3]));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_sharing_out(sizes in prop::collection::vec(0u32..300, 1..60), total in 0u32..2000) {
            let mut deliveries = bytes(&sizes);
            share_out(total, &mut deliveries);
            let found = tokens(&deliveries);
            prop_assert_eq!(found.iter().sum::<u32>(), total);
            prop_assert!((total as usize) < sizes.len() || found.iter().all(|tokens| *tokens > 0));
        }
    }
}
