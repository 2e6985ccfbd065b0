//! The verdict's lines: green only where it is good news that nothing casts doubt on.

use crate::cost::verdict::{Answer, Verdict};
use crate::report::format::wrap;
use crate::report::verdict::words;

use super::{Page, Style};

/// Width of the verdict's text.
const WIDTH: usize = 70;

/// The answer after the word `Verdict`, its figures below.
pub(super) fn verdict(out: &mut Page, verdict: &Verdict, style: Style) {
    let said = words(verdict);
    for (index, text) in wrap(&said.head, WIDTH).iter().enumerate() {
        let label = if index == 0 { style.strong("Verdict ") } else { " ".repeat(8) };
        out.line(format_args!("{label} {}", paint(verdict, text, style)));
    }
    under(out, &said.rest, |text| style.dim(text));
}

/// A remark under the verdict.
pub(super) fn under(out: &mut Page, text: &str, paint: impl Fn(&str) -> String) {
    for text in wrap(text, WIDTH) {
        out.line(format_args!("{} {}", " ".repeat(8), paint(&text)));
    }
}

fn paint(verdict: &Verdict, text: &str, style: Style) -> String {
    match verdict.answer {
        Answer::Cheaper if verdict.is_good() => style.good(text),
        Answer::Dearer => style.bad(text),
        Answer::Cheaper | Answer::NotToldApart => text.to_owned(),
        Answer::NoVerdict => style.warn(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known::Known;
    use crate::record::{Doubt, Estimate, Figure, Tier};

    #[test]
    fn only_good_news_without_a_doubt_is_green() {
        let style = Style::new(true);
        let of = |answer: Answer, doubts: Vec<Doubt>| {
            let verdict = Verdict {
                answer,
                doubts,
                api: "host/model".to_owned(),
                tier: Tier::Standard,
                same_model: true,
                here_usd_per_million: Figure { value: 1.0, ci95: None },
                api_usd_per_million: 2.0,
                ratio: Known::new(Estimate { value: 0.5, ci95: Some([0.4, 0.6]) }),
                utilization: 1.0,
                break_even_utilization: Known::unknown("not looked at"),
                break_even_tokens_per_month: Known::unknown("not looked at"),
                month: None,
            };
            let mut out = Page::default();
            super::verdict(&mut out, &verdict, style);
            out.into_text()
        };
        let green = style.good("x").replace('x', "");
        let green = &green[..green.len() / 2];
        assert!(of(Answer::Cheaper, Vec::new()).contains(green));
        for doubt in [
            Doubt::Suspect { checks: Vec::new() },
            Doubt::GpuNotUsed { why: "no engine for it".to_owned() },
            Doubt::AnotherModel,
            Doubt::NoInterval,
        ] {
            let said = of(Answer::NoVerdict, vec![doubt.clone()]);
            assert!(!said.contains(green) && !said.contains('×'), "{doubt:?}: {said}");
        }
        assert!(!of(Answer::NotToldApart, Vec::new()).contains(green));
    }
}
