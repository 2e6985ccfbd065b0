//! Times and days: `60s`, `1h 30m`, `2027-01-01`.

use jiff::civil::Date;

use crate::base::units::Seconds;

/// A time: `90`, `60s`, `5m`, `1h 30m`; at least a tenth of a second.
pub(in crate::cli) fn time(text: &str) -> Result<Seconds, String> {
    let wrong = || "expected a time from 0.1 s to a week, such as `60s`, `5m` or `1h 30m`".to_owned();
    let seconds = match text.trim().parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?.as_secs_f64(),
    };
    if (0.1..=604_800.0).contains(&seconds) { Ok(Seconds::new(seconds)) } else { Err(wrong()) }
}

/// A time, or none: `0`.
pub(in crate::cli) fn time_or_none(text: &str) -> Result<Seconds, String> {
    if matches!(text, "0" | "0s") { Ok(Seconds::ZERO) } else { time(text) }
}

/// A day: `2027-01-01`.
pub(in crate::cli) fn date(text: &str) -> Result<Date, String> {
    text.trim().parse().map_err(|_| "a day is written like `2027-01-01`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        for (text, expected) in [
            ("90", Some(90.0)),
            ("60s", Some(60.0)),
            ("5m", Some(300.0)),
            ("1h 30m", Some(5400.0)),
            ("0", None),
            ("-5s", None),
            ("inf", None),
            ("soon", None),
        ] {
            assert_eq!(time(text).ok().map(Seconds::get), expected, "{text}");
        }
        assert_eq!((time_or_none("0"), time_or_none("0s")), (Ok(Seconds::ZERO), Ok(Seconds::ZERO)));
        assert!(date("2027-01-01").is_ok() && date("2027-13-01").is_err());
    }
}
