//! Amounts and prices in USD.

use rust_decimal::Decimal;

use super::number::finite;
use super::share;
use crate::cost::margin::Selling;
use crate::cost::owned::Residual;

/// The smallest amount above zero that a flag takes.
const LEAST_USD: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

/// Dollars an hour, above zero.
pub(in crate::cli) fn per_hour(text: &str) -> Result<Decimal, String> {
    match without_dollar(text).parse::<Decimal>() {
        Ok(dollars) if (LEAST_USD..=Decimal::from(1_000_000)).contains(&dollars) => Ok(dollars),
        Ok(_) => Err("a price is from 0.000001 to 1,000,000 USD per hour".to_owned()),
        Err(_) => Err("a price is a number of USD per hour, such as `2.49`".to_owned()),
    }
}

/// An amount of USD, zero or more.
pub(in crate::cli) fn usd(text: &str) -> Result<Decimal, String> {
    let text = without_dollar(text);
    match text.parse::<Decimal>().or_else(|_| Decimal::from_scientific(text)) {
        Ok(amount) if amount >= Decimal::ZERO && amount <= Decimal::from(1_000_000_000) => Ok(amount),
        Ok(_) => Err("an amount is from 0 to 1,000,000,000 USD".to_owned()),
        // A number, with more digits than an amount can have.
        Err(_) if finite(text).is_some() => Err("an amount is from 0 to 1,000,000,000 USD".to_owned()),
        Err(_) => Err("an amount is a number of USD, such as `2.49`".to_owned()),
    }
}

/// An amount of USD above zero.
pub(in crate::cli) fn usd_above_zero(text: &str) -> Result<Decimal, String> {
    let above = || "an amount is from 0.000001 to 1,000,000,000 USD".to_owned();
    usd(text)
        .map_err(|said| if said.contains("number of USD") { said } else { above() })
        .and_then(|amount| if amount >= LEAST_USD { Ok(amount) } else { Err(above()) })
}

/// A number above zero that money and counts can be: `$100`, `1e6`, `2500`.
pub(in crate::cli) fn amount(text: &str) -> Result<f64, String> {
    finite(without_dollar(text))
        .filter(|number| *number > 0.0 && *number <= 1e15)
        .ok_or_else(|| "expected a number above 0, such as `2500`".to_owned())
}

/// A price of electricity: USD per kWh, or an id of the catalog.
pub(in crate::cli) fn electricity(text: &str) -> Result<String, String> {
    match without_dollar(text).parse::<f64>() {
        Ok(usd) if usd > 0.0 && usd <= 100.0 => Ok(text.trim().to_owned()),
        Ok(_) => Err("electricity is above 0 and at most 100 USD per kWh".to_owned()),
        Err(_) => Ok(text.to_owned()),
    }
}

/// What is left of a purchase: USD, or a share of it.
pub(in crate::cli) fn residual(text: &str) -> Result<Residual, String> {
    if text.ends_with('%') {
        share::from_zero(text).map(Residual::Share)
    } else {
        usd(text).map(Residual::Usd)
    }
}

/// A selling price per million tokens: one, or `INPUT,OUTPUT`.
pub(in crate::cli) fn selling(text: &str) -> Result<Selling, String> {
    let price = |text: &str| finite(without_dollar(text)).filter(|value| *value >= 0.0);
    let pair = match text.split_once(',') {
        Some((input, output)) => price(input).zip(price(output)),
        None => price(text).map(|price| (price, price)),
    };
    match pair {
        Some((input_usd_per_million, output_usd_per_million)) if output_usd_per_million > 0.0 => {
            Ok(Selling { input_usd_per_million, output_usd_per_million })
        }
        _ => {
            Err("a selling price is USD per million tokens, `0.60`, or input and output, `0.30,1.20`"
                .to_owned())
        }
    }
}

fn without_dollar(text: &str) -> &str {
    text.trim().trim_start_matches('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_prices() {
        for (text, expected) in [
            ("2.49", Some("2.49")),
            ("$2", Some("2")),
            ("0", None),
            ("-1", None),
            ("free", None),
            ("1e30", None),
        ] {
            assert_eq!(per_hour(text).ok().map(|p| p.to_string()).as_deref(), expected, "{text}");
        }
        for wrong in ["1e9", "1000001", "0", "0.0000001", "-1"] {
            let said = per_hour(wrong).expect_err(wrong);
            assert!(said.contains("from 0.000001 to 1,000,000 USD"), "{wrong}: {said}");
        }
        for wrong in ["1e-30", "0", "1e10", "-1"] {
            let said = usd_above_zero(wrong).expect_err(wrong);
            assert!(said.contains("from 0.000001 to 1,000,000,000 USD"), "{wrong}: {said}");
        }
        assert!(usd("-1").is_err() && usd_above_zero("0").is_err() && usd("0").is_ok());
        assert!(amount("inf").is_err() && amount("0").is_err() && amount("1e6") == Ok(1e6));
        for (text, expected) in [
            ("0.6", Some((0.6, 0.6))),
            ("$0.3,1.2", Some((0.3, 1.2))),
            ("0,1", Some((0.0, 1.0))),
            ("0", None),
            ("x", None),
        ] {
            let found = selling(text).ok().map(|s| (s.input_usd_per_million, s.output_usd_per_million));
            assert_eq!(found, expected, "{text}");
        }
        assert!(
            electricity("0").is_err() && electricity("us-industrial").is_ok() && electricity("0.08").is_ok()
        );
    }
}
