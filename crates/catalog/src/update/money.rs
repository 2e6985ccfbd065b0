//! Converts a price from an imported file to our unit, or explains why it cannot be a price.
//!
//! Zero means either "free" or "unknown" in every one of these files, and a factor of a million or a thousand is the
//! usual mistake, so both are rejected explicitly. The bounds are for list prices: nobody charges more than 1,000 USD for
//! a million tokens of text or 100 USD for one GPU-hour, or less than the lower bounds.

use rust_decimal::Decimal;

use crate::base::json::Node;
use crate::base::text::shown;

/// USD per million tokens.
pub(super) const TOKENS: Bounds = Bounds {
    least: Decimal::from_parts(1, 0, 0, false, 4),
    most: Decimal::ONE_THOUSAND,
    unit: "per million tokens",
};
/// USD per GPU-hour.
pub(super) const GPU_HOUR: Bounds = Bounds {
    least: Decimal::from_parts(1, 0, 0, false, 2),
    most: Decimal::ONE_HUNDRED,
    unit: "per GPU-hour",
};

/// USD per request, on top of its tokens.
pub(super) const REQUEST: Bounds =
    Bounds { least: Decimal::from_parts(1, 0, 0, false, 7), most: Decimal::TEN, unit: "per request" };

/// The plausible range of a price.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    least: Decimal,
    most: Decimal,
    unit: &'static str,
}

impl Bounds {
    /// `amount`, if it is plausible.
    pub(super) fn check(&self, amount: Decimal) -> Result<Decimal, String> {
        let amount = amount.normalize();
        if amount.is_sign_negative() && !amount.is_zero() {
            Err("is negative".to_owned())
        } else if amount.is_zero() {
            Err("is free or unknown".to_owned())
        } else if amount > self.most {
            Err(format!("makes {amount} USD {}, more than anybody charges; wrong unit?", self.unit))
        } else if amount < self.least {
            Err(format!("makes {amount} USD {}, less than anybody charges; wrong unit?", self.unit))
        } else {
            Ok(amount)
        }
    }
}

/// The decimal number written in the file; `None` if there is none.
pub(super) fn decimal(node: Option<&Node>) -> Result<Option<Decimal>, String> {
    match node {
        None | Some(Node::Null) => Ok(None),
        // The shortest decimal that parses to the same double is the one that was written.
        Some(Node::Number(number)) => parse(&format!("{number:e}")).map(Some),
        Some(Node::Text(text)) if text.trim().is_empty() => Ok(None),
        Some(Node::Text(text)) => parse(text).map(Some),
        Some(_) => Err("is not a number".to_owned()),
    }
}

/// A decimal number in any notation.
pub(super) fn parse(text: &str) -> Result<Decimal, String> {
    let text = text.trim();
    let number = text.parse().or_else(|_| Decimal::from_scientific(text));
    number.map_err(|_| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => "is out of range".to_owned(),
        _ => "is not a number".to_owned(),
    })
}

/// The value as written in the file, for a message.
pub(super) fn written(node: Option<&Node>) -> String {
    match node {
        None => "nothing".to_owned(),
        Some(Node::Null) => "null".to_owned(),
        Some(Node::Bool(truth)) => truth.to_string(),
        Some(Node::Number(number)) => format!("{number:?}"),
        Some(Node::Text(text)) => format!("\"{}\"", shown(text)),
        Some(Node::Numbers(_) | Node::Lists(_) | Node::Table(_) | Node::List(_)) => "a list".to_owned(),
        Some(Node::Long(bytes)) => format!("a string of {bytes} bytes"),
        Some(Node::Object(_)) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<Option<Decimal>, String> {
        let node = infercost_testing::json(text).expect("JSON");
        decimal(Some(&node))
    }

    #[test]
    fn a_number_is_the_decimal_that_was_written() {
        for (text, expected) in [
            ("1.5e-07", "0.00000015"),
            ("0.28", "0.28"),
            ("3", "3"),
            ("\"0.000005\"", "0.000005"),
            ("\"7e-8\"", "0.00000007"),
        ] {
            assert_eq!(number(text), Ok(Some(expected.parse().expect("a number"))), "{text}");
        }
        assert_eq!(number("null"), Ok(None));
        assert_eq!(number("\"\""), Ok(None));
        assert_eq!(number("[1]"), Err("is not a number".to_owned()));
        assert_eq!(number("\"free\""), Err("is not a number".to_owned()));
        assert_eq!(number("1e200"), Err("is out of range".to_owned()));
    }

    #[test]
    fn what_nobody_charges_is_refused_at_the_bound() {
        let check = |text: &str| TOKENS.check(text.parse().expect("a number")).map(|price| price.to_string());
        assert_eq!(check("1000.00"), Ok("1000".to_owned()));
        assert_eq!(check("0.0001"), Ok("0.0001".to_owned()));
        assert!(
            check("1000.01").expect_err("dear").starts_with("makes 1000.01 USD per million tokens, more")
        );
        assert!(check("0.00009").expect_err("cheap").contains("less than anybody charges"));
        assert_eq!(check("0"), Err("is free or unknown".to_owned()));
        assert_eq!(check("-0.0"), Err("is free or unknown".to_owned()));
        assert_eq!(check("-1"), Err("is negative".to_owned()));
        assert!(GPU_HOUR.check(Decimal::from(101)).is_err() && GPU_HOUR.check(Decimal::from(98)).is_ok());
    }
}
