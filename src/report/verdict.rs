//! The verdict in words: the one place that says it, for `run`, `cost` and `compare`, on a terminal, in Markdown and in JSON.

use crate::base::text::count;
use crate::base::units::significant;
use crate::cost::verdict::{Answer, Doubt, Verdict};
use crate::record::{Estimate, Tier};

use super::format::{number, percent, usd};

/// A verdict in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The answer.
    pub head: String,
    /// The figures that it rests on, and the load at which it changes.
    pub rest: String,
}

impl Words {
    /// Both as one sentence.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.head, self.rest)
    }
}

/// Checks of a doubtful record that are named.
const CHECKS: usize = 3;

/// What the verdict says.
pub fn words(verdict: &Verdict) -> Words {
    let whose = if verdict.same_model { "the cheapest host of the same model" } else { "another model" };
    let it = format!("{} ({whose}, {})", verdict.api, tier(verdict.tier));
    let (when, busy_too) = match verdict.month {
        // A month's bills follow from its tokens, whatever the utilization.
        Some(month) => {
            (format!("at {} million tokens a month ", number(month.tokens_per_month / 1e6)), String::new())
        }
        None => (String::new(), format!(", {} busy", percent(verdict.utilization))),
    };
    let than = match (verdict.answer, *verdict.ratio) {
        (Answer::Cheaper, Some(ratio)) => {
            let turned = |value: f64| 1.0 / value;
            let ratio = Estimate {
                value: turned(ratio.value),
                ci95: ratio.ci95.map(|[low, high]| [turned(high), turned(low)]),
            };
            format!("{}× cheaper here{} than", times(ratio.value), between(ratio.ci95, times))
        }
        (Answer::Dearer, Some(ratio)) => {
            format!("{}× dearer here{} than", times(ratio.value), between(ratio.ci95, times))
        }
        (Answer::NotToldApart, _) => "cannot be told apart from".to_owned(),
        _ => {
            let doubts: Vec<String> = verdict.doubts.iter().map(|found| doubt(found, "the record")).collect();
            let head = format!("no verdict: {}", doubts.join("; "));
            let alone = if verdict.same_model { "" } else { "; this compares prices, not what they buy" };
            let rest = match verdict.month {
                Some(_) => format!("{when}{} of {it}{alone}", bills(verdict)),
                None => format!("{} of {it}{alone}", prices(verdict, &format!("{busy_too},"))),
            };
            return Words { head, rest };
        }
    };
    let figures = if verdict.month.is_some() { bills(verdict) } else { prices(verdict, "") };
    Words { head: format!("{when}{than} {it}{busy_too}"), rest: format!("{figures}; {}", load(verdict)) }
}

/// The answer in a few words, for a table.
pub fn short(verdict: &Verdict) -> String {
    match (verdict.answer, *verdict.ratio) {
        (Answer::Cheaper, Some(ratio)) => format!("{}× cheaper here", times(1.0 / ratio.value)),
        (Answer::Dearer, Some(ratio)) => format!("{}× dearer here", times(ratio.value)),
        (Answer::NotToldApart, _) => "not told apart".to_owned(),
        _ => match verdict.doubts.first() {
            Some(Doubt::Invalid { .. }) => "no verdict: invalid",
            Some(Doubt::Suspect { .. }) => "no verdict: suspect",
            Some(Doubt::GpuNotUsed { .. }) => "no verdict: its GPU was not used",
            Some(Doubt::AnotherModel) => "no API sells this model",
            Some(Doubt::NoInterval) | None => "no verdict: no interval",
        }
        .to_owned(),
    }
}

fn prices(verdict: &Verdict, busy: &str) -> String {
    let (here, there) = (usd(verdict.here_usd_per_million.value), usd(verdict.api_usd_per_million));
    format!("{here} a million tokens here{busy} against {there}")
}

fn bills(verdict: &Verdict) -> String {
    let Some(month) = verdict.month else { return String::new() };
    format!(
        "{} a month here ({}, {} busy) against {}",
        usd(month.here_usd.value),
        count(usize::try_from(month.machines).unwrap_or(usize::MAX), "machine"),
        percent(month.utilization),
        usd(month.api_usd)
    )
}

/// From which load one machine is cheaper.
fn load(verdict: &Verdict) -> String {
    let Some(u) = *verdict.break_even_utilization else { return "no load makes it cheaper".to_owned() };
    let [low, high] = u.ci95.unwrap_or([u.value; 2]);
    match *verdict.break_even_tokens_per_month {
        _ if low > 1.0 => {
            format!("no load makes it cheaper (break-even at {} utilization)", percent(u.value))
        }
        Some(tokens) if high <= 1.0 => format!(
            "one machine that is always on is cheaper from {} utilization, {} million tokens a month",
            percent(u.value),
            number(tokens / 1e6)
        ),
        _ => format!("break-even at {} utilization{}", percent(u.value), between(u.ci95, percent)),
    }
}

/// A doubt about `record`, which is `the record` or, of several, `a record`.
pub(super) fn doubt(doubt: &Doubt, record: &str) -> String {
    let named = |checks: &[String]| match checks {
        [] => String::new(),
        all if all.len() > CHECKS => {
            format!(" ({} and {} more)", all[..CHECKS].join(", "), all.len() - CHECKS)
        }
        all => format!(" ({})", all.join(", ")),
    };
    match doubt {
        Doubt::Invalid { checks } => format!("{record} is invalid{}", named(checks)),
        Doubt::Suspect { checks } => format!("{record} is suspect{}", named(checks)),
        Doubt::GpuNotUsed { .. } => {
            "the CPU was measured, and the GPU that was found was not used".to_owned()
        }
        Doubt::AnotherModel => "no API in the catalog sells this model".to_owned(),
        Doubt::NoInterval => "the cost here at this mix has no interval".to_owned(),
    }
}

/// A tier's name.
pub(super) fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Standard => "standard",
        Tier::Batch => "batch",
    }
}

/// The 95% interval, where there is one that its digits show.
fn between(ci95: Option<[f64; 2]>, text: impl Fn(f64) -> String) -> String {
    match ci95.map(|ends| ends.map(text)) {
        Some([low, high]) if low != high => format!(" (95%: {low} to {high})"),
        _ => String::new(),
    }
}

/// A factor: more digits where it is close to 1.
pub(super) fn times(factor: f64) -> String {
    let near = (factor - 1.0).abs();
    significant(
        factor,
        if near < 0.01 {
            4
        } else if near < 0.2 {
            3
        } else {
            2
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known::Known;
    use crate::record::{Figure, MonthBills};

    fn verdict(answer: Answer, ratio: f64, width: f64) -> Verdict {
        let told = answer != Answer::NoVerdict;
        let of = |value: f64| Estimate { value, ci95: Some([value - width, value + width]) };
        Verdict {
            answer,
            doubts: Vec::new(),
            api: "groq/llama-3.1-8b".to_owned(),
            tier: Tier::Batch,
            same_model: true,
            here_usd_per_million: Figure { value: 0.1 * ratio, ci95: None },
            api_usd_per_million: 0.1,
            ratio: told.then(|| of(ratio)).ok_or("no verdict").into(),
            utilization: 1.0,
            break_even_utilization: Known::new(of(ratio)),
            break_even_tokens_per_month: (ratio <= 1.0).then_some(3e9).ok_or("no load").into(),
            month: None,
        }
    }

    #[test]
    fn each_answer_has_its_words_and_says_how_busy() {
        for (answer, ratio, width, said) in [
            (
                Answer::Cheaper,
                0.5,
                0.05,
                "2.0× cheaper here (95%: 1.8 to 2.2) than groq/llama-3.1-8b (the cheapest host of the same model, \
                 batch), 100% busy: $0.0500 a million tokens here against $0.100; one machine that is always on is \
                 cheaper from 50% utilization, 3,000 million tokens a month",
            ),
            (
                Answer::Dearer,
                13.0,
                1.0,
                "13× dearer here (95%: 12 to 14) than groq/llama-3.1-8b (the cheapest host of the same model, batch), \
                 100% busy: $1.30 a million tokens here against $0.100; no load makes it cheaper (break-even at 1300% \
                 utilization)",
            ),
            (
                Answer::NotToldApart,
                0.98,
                0.05,
                "cannot be told apart from groq/llama-3.1-8b (the cheapest host of the same model, batch), 100% busy: $0.0980 a \
                 million tokens here against $0.100; break-even at 98% utilization (95%: 93% to 103%)",
            ),
        ] {
            assert_eq!(words(&verdict(answer, ratio, width)).sentence(), said);
        }
    }

    #[test]
    fn what_carries_no_verdict_has_no_factor_and_its_reasons() {
        let mut none = verdict(Answer::NoVerdict, 0.5, 0.05);
        none.doubts = vec![
            Doubt::Suspect { checks: ["a", "b", "c", "d"].map(str::to_owned).into() },
            Doubt::NoInterval,
        ];
        assert_eq!(
            words(&none).sentence(),
            "no verdict: the record is suspect (a, b, c and 1 more); the cost here at this mix has no interval: $0.0500 a million \
             tokens here, 100% busy, against $0.100 of groq/llama-3.1-8b (the cheapest host of the same model, batch)"
        );
        (none.doubts, none.same_model) = (vec![Doubt::AnotherModel], false);
        let said = words(&none).sentence();
        assert!(said.starts_with("no verdict: no API in the catalog sells this model: "), "{said}");
        assert!(said.ends_with("(another model, batch); this compares prices, not what they buy"), "{said}");
        assert!(!said.contains('×'));
    }

    #[test]
    fn a_months_bills_are_the_answer_where_its_tokens_are_given() {
        let mut month = verdict(Answer::Dearer, 12.0, 0.0);
        month.month = Some(MonthBills {
            tokens_per_month: 2e7,
            machines: 1,
            utilization: 0.002,
            here_usd: Figure { value: 1818.0, ci95: None },
            api_usd: 150.0,
        });
        let said = words(&month).sentence();
        assert!(said.starts_with("at 20.0 million tokens a month 12× dearer here"), "{said}");
        assert!(said.contains(": $1,818 a month here (1 machine, 0.2% busy) against $150; "), "{said}");
    }

    #[test]
    fn a_factor_near_one_keeps_its_digits() {
        for (factor, text) in [(12.3, "12"), (1.53, "1.5"), (1.04, "1.04"), (1.0042, "1.004")] {
            assert_eq!(times(factor), text);
        }
    }
}
