//! How figures and names are written, once for all views: on a terminal, in Markdown, on a page and in CI.

use rust_decimal::Decimal;

use crate::base::units::{figure, significant};
use crate::record::Figure;

/// Dollars: three significant digits, at least cents below $100, thousands separated: `$0.0123`, `$37.50`, `$2,938`.
///
/// No exponent unless the zeros could not be counted.
pub fn usd(value: f64) -> String {
    let (sign, amount) = (if value < 0.0 { "-" } else { "" }, value.abs());
    if amount > 0.0 && amount < 1e-99 {
        // A curve continued for thousands of years.
        return "about $0".to_owned();
    }
    let amount = if amount > 0.0 && amount < 1e-7 {
        format!("{amount:.2e}")
    } else if (10.0..100.0).contains(&amount) {
        format!("{amount:.2}")
    } else {
        figure(amount, 3)
    };
    format!("{sign}${amount}")
}

/// A price of the hour to four places, or to four digits where it is less than that.
pub fn hourly(usd: Decimal) -> Decimal {
    let rounded = usd.round_dp(4);
    let rounded = if rounded.is_zero() { usd.round_sf(4).unwrap_or(usd) } else { rounded };
    rounded.normalize()
}

/// A share: three significant digits, without zeros at the end: `40%`, `2.5%`.
pub fn percent(share: f64) -> String {
    if share > 0.0 && share < 1e-4 {
        return "under 0.01%".to_owned();
    }
    format!("{}%", trimmed(share * 100.0, 3))
}

/// A change of a figure, as a share of it: `+10.0%`.
pub fn signed_percent(share: f64) -> String {
    format!("{:+.1}%", share * 100.0)
}

/// Half the width of an interval as a share of the value, in percent; above the value itself only that is said.
pub fn half_width(share: f64) -> String {
    if share > 1.0 { ">100%".to_owned() } else { format!("{:.1}%", share * 100.0) }
}

/// Significant digits, `digits` of them at most, without zeros at the end: `3`, `2.67`.
pub fn trimmed(value: f64, digits: usize) -> String {
    let text = significant(value, digits);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A figure without a unit of its own: three significant digits, a large one whole: `27.0`, `12,346`.
pub fn number(value: f64) -> String {
    figure(value, 3)
}

/// A count of tokens: `2.84B`.
pub fn tokens(count: f64) -> String {
    let (value, unit) = match count {
        count if count >= 1e12 => (count / 1e12, "T"),
        count if count >= 1e9 => (count / 1e9, "B"),
        count if count >= 1e6 => (count / 1e6, "M"),
        count => (count, ""),
    };
    format!("{}{unit}", significant(value, 3))
}

/// The ends of an interval: `$1.20 to $1.40`.
pub fn range(ci95: Option<[f64; 2]>, text: impl Fn(f64) -> String) -> String {
    ci95.map_or_else(|| "no interval".to_owned(), |[low, high]| format!("{} to {}", text(low), text(high)))
}

/// The interval of a price.
pub fn interval(figure: Figure) -> String {
    range(figure.ci95, usd)
}

/// The first `width` characters, the last of them an ellipsis where there are more.
pub fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Breaks `text` at spaces into lines of at most `width` characters.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_digits_and_cents() {
        for (value, text) in [
            (37.5, "$37.50"),
            (12.345, "$12.35"),
            (0.155, "$0.155"),
            (0.000_012_34, "$0.0000123"),
            (1.0, "$1.00"),
            (100.0, "$100"),
            (2937.5, "$2,938"),
            (-0.5, "-$0.500"),
            (0.0, "$0"),
            (1e-27, "$1.00e-27"),
            (1e-120, "about $0"),
        ] {
            assert_eq!(usd(value), text);
        }
        assert_eq!(range(Some([0.1, 1234.0]), usd), "$0.100 to $1,234");
        assert_eq!(range(None, usd), "no interval");
    }

    #[test]
    fn a_price_of_the_hour_is_rounded() {
        for (usd, text) in [
            ("1.7821359102077072300573945533", "1.7821"),
            ("2.49", "2.49"),
            ("10.7600", "10.76"),
            ("0.0000123456", "0.00001235"),
            ("98", "98"),
        ] {
            assert_eq!(hourly(usd.parse().expect("a number")).to_string(), text);
        }
    }

    #[test]
    fn shares_have_no_zeros_at_the_end() {
        for (share, text) in [
            (0.4, "40%"),
            (0.085, "8.5%"),
            (0.025, "2.5%"),
            (0.3333, "33.3%"),
            (13.05, "1305%"),
            (-0.123, "-12.3%"),
            (0.0, "0%"),
            (1e-9, "under 0.01%"),
        ] {
            assert_eq!(percent(share), text);
        }
        assert_eq!((signed_percent(0.1), signed_percent(-0.004)), ("+10.0%".to_owned(), "-0.4%".to_owned()));
    }

    #[test]
    fn long_text_is_cut_or_broken_at_spaces() {
        assert_eq!((shorten("abcd", 4).as_str(), shorten("abcde", 4).as_str()), ("abcd", "abc…"));
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), Vec::<String>::new());
    }
}
