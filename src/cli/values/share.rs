//! Shares: `2%` or `0.02`.

use super::number::finite;

/// A share above 0 and at most 100%.
pub(in crate::cli) fn above_zero(text: &str) -> Result<f64, String> {
    share(text)
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "a share is above 0 and at most 100%, such as `2%` or `0.02`".to_owned())
}

/// A share from 0 to 100%.
pub(in crate::cli) fn from_zero(text: &str) -> Result<f64, String> {
    share(text)
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share is from 0 to 100%, such as `40%` or `0.4`".to_owned())
}

/// A margin: what is left of a price or a value, below 100%.
pub(in crate::cli) fn margin(text: &str) -> Result<f64, String> {
    share(text)
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or_else(|| "a margin is from 0 to below 100%, such as `60%`; a markup may be above".to_owned())
}

/// A slowdown that is let pass, or a chance of being wrong: above 0 and under 50%.
pub(in crate::cli) fn tolerance(text: &str) -> Result<f64, String> {
    share(text)
        .filter(|share| *share > 0.0 && *share < 0.5)
        .ok_or_else(|| "a share above 0 and under 50%, such as `3%` or `0.03`".to_owned())
}

/// Interest a year.
pub(in crate::cli) fn interest(text: &str) -> Result<f64, String> {
    from_zero(text).map_err(|_| "interest is a share a year from 0 to 100%, such as `10%`".to_owned())
}

fn share(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(percent) => finite(percent).map(|percent| percent / 100.0),
        None => finite(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_share_has_its_range() {
        for (text, above, from, below) in [
            ("2%", Some(0.02), Some(0.02), Some(0.02)),
            ("0.5", Some(0.5), Some(0.5), Some(0.5)),
            ("100%", Some(1.0), Some(1.0), None),
            ("1", Some(1.0), Some(1.0), None),
            ("0", None, Some(0.0), Some(0.0)),
            ("0%", None, Some(0.0), Some(0.0)),
            ("-1%", None, None, None),
            ("101%", None, None, None),
            ("x", None, None, None),
            ("NaN", None, None, None),
            ("inf", None, None, None),
        ] {
            let found = (above_zero(text).ok(), from_zero(text).ok(), margin(text).ok());
            assert_eq!(found, (above, from, below), "{text}");
        }
        assert!(tolerance("50%").is_err() && tolerance("0").is_err() && tolerance("3%") == Ok(0.03));
        assert!(interest("101%").is_err_and(|said| said.starts_with("interest")));
    }
}
