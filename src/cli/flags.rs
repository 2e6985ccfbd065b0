//! Values that flags about money share: shares, amounts, prices, ratios.

use clap::ValueEnum;
use rust_decimal::Decimal;

use super::args::LEAST_USD;

/// `-o` of a view: the form in which it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Tables in Markdown
    Md,
    /// One JSON object, as with --json
    Json,
}

/// A share from 0 to 100%: `40%` or `0.4`.
pub(super) fn share_or_none(text: &str) -> Result<f64, String> {
    number(text.strip_suffix('%').unwrap_or(text))
        .map(|value| if text.ends_with('%') { value / 100.0 } else { value })
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "a share is from 0 to 100%, such as `40%` or `0.4`".to_owned())
}

/// A gross margin: below 100%.
pub(super) fn margin(text: &str) -> Result<f64, String> {
    share_or_none(text).ok().filter(|share| *share < 1.0).ok_or_else(|| {
        "a gross margin is a share of the price, from 0 to below 100%, such as `60%`; a markup may be above".to_owned()
    })
}

/// Interest a year, as a share.
pub(super) fn interest(text: &str) -> Result<f64, String> {
    share_or_none(text).map_err(|_| "interest is a share a year from 0 to 100%, such as `10%`".to_owned())
}

/// An amount of USD, zero or more.
pub(super) fn usd(text: &str) -> Result<Decimal, String> {
    let text = text.trim().trim_start_matches('$');
    match text.parse::<Decimal>().or_else(|_| Decimal::from_scientific(text)) {
        Ok(amount) if amount >= Decimal::ZERO && amount <= Decimal::from(1_000_000_000) => Ok(amount),
        Ok(_) => Err("an amount is from 0 to 1,000,000,000 USD".to_owned()),
        // A number, with more digits than an amount can have.
        Err(_) if number(text).is_some() => Err("an amount is from 0 to 1,000,000,000 USD".to_owned()),
        Err(_) => Err("an amount is a number of USD, such as `2.49`".to_owned()),
    }
}

/// An amount of USD above zero.
pub(super) fn usd_above_zero(text: &str) -> Result<Decimal, String> {
    let above = || "an amount is from 0.000001 to 1,000,000,000 USD".to_owned();
    usd(text)
        .map_err(|said| if said.contains("number of USD") { said } else { above() })
        .and_then(|amount| if amount >= LEAST_USD { Ok(amount) } else { Err(above()) })
}

/// A finite number above zero.
pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    number(text).filter(|value| *value > 0.0).ok_or_else(|| "expected a number above 0".to_owned())
}

/// Power of the building over that of its machines: 1 or more.
pub(super) fn pue(text: &str) -> Result<f64, String> {
    number(text).filter(|value| (1.0..=10.0).contains(value)).ok_or_else(|| {
        "PUE is the building's power over that of its machines, from 1 to 10, such as `1.3`".to_owned()
    })
}

/// A price of electricity: USD per kWh, or an id of the catalog.
pub(super) fn electricity(text: &str) -> Result<String, String> {
    match text.trim().trim_start_matches('$').parse::<f64>() {
        Ok(usd) if usd > 0.0 && usd <= 100.0 => Ok(text.trim().to_owned()),
        Ok(_) => Err("electricity is above 0 and at most 100 USD per kWh".to_owned()),
        Err(_) => Ok(text.to_owned()),
    }
}

/// What is left of a purchase: USD, or a share of it.
pub(super) fn residual(text: &str) -> Result<crate::cost::owned::Residual, String> {
    use crate::cost::owned::Residual;
    if text.ends_with('%') { share_or_none(text).map(Residual::Share) } else { usd(text).map(Residual::Usd) }
}

/// A selling price per million tokens: one, or `INPUT,OUTPUT`.
pub(super) fn selling(text: &str) -> Result<crate::cost::margin::Selling, String> {
    let price = |text: &str| number(text.trim().trim_start_matches('$')).filter(|value| *value >= 0.0);
    let pair = match text.split_once(',') {
        Some((input, output)) => price(input).zip(price(output)),
        None => price(text).map(|price| (price, price)),
    };
    match pair {
        Some((input_usd_per_million, output_usd_per_million)) if output_usd_per_million > 0.0 => {
            Ok(crate::cost::margin::Selling { input_usd_per_million, output_usd_per_million })
        }
        _ => {
            Err("a selling price is USD per million tokens, `0.60`, or input and output, `0.30,1.20`"
                .to_owned())
        }
    }
}

/// Most tokens of a month: far more than anybody serves, and the machines for them can still be counted.
const MOST_TOKENS: f64 = 1e18;

/// A count of tokens: `5000000`, `20M`, `2.5B`.
pub(super) fn tokens(text: &str) -> Result<f64, String> {
    let factors = [('k', 1e3), ('m', 1e6), ('b', 1e9), ('t', 1e12)];
    let text = text.trim().to_lowercase().replace(['_', ','], "");
    let found = factors.iter().find_map(|(unit, factor)| Some(number(text.strip_suffix(*unit)?)? * factor));
    let unread = || "a number of tokens is such as `20M` or `2.5B`".to_owned();
    let count = found.or_else(|| number(&text)).ok_or_else(unread)?;
    if (1.0..=MOST_TOKENS).contains(&count) {
        Ok(count)
    } else {
        Err("a number of tokens is from 1 to 1,000,000T, such as `20M` or `2.5B`".to_owned())
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_amounts_and_counts() {
        for (text, expected) in [
            ("40%", Some(0.4)),
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("101%", None),
            ("-1%", None),
            ("NaN", None),
        ] {
            assert_eq!(share_or_none(text).ok(), expected, "{text}");
        }
        assert!(margin("100%").is_err() && margin("60%").is_ok());
        for (text, expected) in
            [("20M", Some(2e7)), ("2.5B", Some(2.5e9)), ("5_000", Some(5e3)), ("0", None), ("many", None)]
        {
            assert_eq!(tokens(text).ok(), expected, "{text}");
        }
        for wrong in ["1e30", "1e19", "0", "-5"] {
            assert!(tokens(wrong).is_err_and(|said| said.contains("1,000,000T")), "{wrong}");
        }
        for wrong in ["1e-30", "0", "1e10", "-1"] {
            let said = usd_above_zero(wrong).expect_err(wrong);
            assert!(said.contains("from 0.000001 to 1,000,000,000 USD"), "{wrong}: {said}");
        }
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
        assert!(pue("0.9").is_err() && pue("1.3").is_ok());
        assert!(
            electricity("0").is_err() && electricity("us-industrial").is_ok() && electricity("0.08").is_ok()
        );
        assert!(usd("-1").is_err() && usd_above_zero("0").is_err() && usd("0").is_ok());
    }
}
