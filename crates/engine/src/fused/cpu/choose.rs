//! The token of the largest logit: greedy sampling.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "vector loads at computed places")]

use super::lanes::{LANES, Lanes, for_each_isa};

/// Logits of a stretch: its largest is kept, and only in the best stretch is it looked for which one that is.
const STRETCH: usize = 16 * LANES;

for_each_isa! {
    /// Writes the largest of `count` logits and its token, the first of equal ones; infinite when any is not finite.
    /// The first logit is that of the token `first`.
    ///
    /// # Safety
    /// `logits` must have so many elements, and `to` be good to write.
    pub(super) unsafe fn largest(logits: *const f32, count: usize, first: usize, to: *mut (f32, u32)) = largest_of
}

/// [`largest`] with registers.
///
/// # Safety
/// As [`largest`]; the processor must have what `V` needs.
#[inline(always)]
unsafe fn largest_of<V: Lanes>(logits: *const f32, count: usize, first: usize, to: *mut (f32, u32)) {
    let (mut best, mut stretch) = (f32::NEG_INFINITY, 0);
    // Zero times a number is zero, but no number when it is infinite or none.
    let mut odd = 0.0;
    // SAFETY: all places are below `count`, and the processor has what `V` needs.
    unsafe {
        let whole = count / STRETCH * STRETCH;
        let mut odds = V::splat(0.0);
        for from in (0..whole).step_by(STRETCH) {
            let mut largest = V::splat(f32::NEG_INFINITY);
            for at in (from..from + STRETCH).step_by(LANES) {
                let x = V::load(logits.add(at));
                odds = x.mul_add(V::splat(0.0), odds);
                largest = largest.max(x);
            }
            let largest = largest.reduce_max();
            if largest > best {
                (best, stretch) = (largest, from);
            }
        }
        odd += odds.reduce_add();
        for at in whole..count {
            let x = *logits.add(at);
            odd += 0.0 * x;
            if x > best {
                (best, stretch) = (x, at);
            }
        }
        let token = (stretch..count).find(|at| *logits.add(*at) >= best).unwrap_or(stretch);
        let value = if odd.is_nan() { f32::INFINITY } else { best };
        *to = (value, u32::try_from(first + token).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::*;

    fn found(isa: Isa, logits: &[f32], first: usize) -> (f32, u32) {
        let mut found = (0.0, 0);
        // SAFETY: the slice has so many, and the instruction set was detected.
        unsafe { largest(isa, logits.as_ptr(), logits.len(), first, &raw mut found) };
        found
    }

    #[test]
    fn the_first_of_the_largest_wherever_it_lies() {
        let here = Isa::detect();
        for isa in Isa::ALL.into_iter().filter(|isa| *isa <= here) {
            for count in [1, 15, 16, 255, 256, 257, 1000] {
                let mut logits: Vec<f32> = (0..count).map(|at| -1.0 - (at * 37 % 101) as f32).collect();
                for at in [0, count / 2, count - 1] {
                    let before = logits[at];
                    logits[at] = -0.5;
                    let token = u32::try_from(7 + at).unwrap();
                    assert_eq!(found(isa, &logits, 7), (-0.5, token), "{isa} {count} {at}");
                    logits[count - 1] = -0.5;
                    assert_eq!(found(isa, &logits, 7).1, token, "{isa} {count} {at}, the last is as large");
                    logits[count - 1] = -1.0 - ((count - 1) * 37 % 101) as f32;
                    logits[at] = before;
                    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let mut logits = logits.clone();
                        logits[at] = odd;
                        assert!(found(isa, &logits, 0).0.is_infinite(), "{isa} {count} {at} {odd}");
                    }
                }
            }
            assert_eq!(found(isa, &[], 3), (f32::NEG_INFINITY, 3), "{isa}");
        }
    }
}
