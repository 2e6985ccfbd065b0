//! Parses the dates of other tools, in all their formats.
//!
//! A date without a time zone is interpreted as UTC, at most half a day off, and the record says so.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::Error;
use super::fields::At;
use super::json::{Node, shown};

/// Formats without a time zone, used by vLLM's clients, Python and people.
const LOCAL: [&str; 8] = [
    "%Y%m%d-%H%M%S",
    "%Y%m%d_%H%M%S",
    "%Y%m%dT%H%M%S",
    "%Y-%m-%d-%H-%M-%S",
    "%Y-%m-%d_%H-%M-%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%a %b %d %H:%M:%S %Y",
];

/// The note for a date without a time zone.
pub(super) const LOCAL_NOTE: &str = "its date has no time zone and is interpreted as UTC";

/// A date in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct When {
    pub(super) time: Timestamp,
    /// Whether the file states its time zone.
    pub(super) zoned: bool,
}

impl When {
    /// What a reader should know about it.
    pub(super) fn note(self) -> Option<String> {
        (!self.zoned).then(|| LOCAL_NOTE.to_owned())
    }
}

/// The date in the first of these fields that is set.
pub(super) fn date(at: &At<'_>, fields: &[&str]) -> Result<Option<When>, Error> {
    for field in fields {
        let found = match at.get(field) {
            // What a tool writes if it has no date.
            Some(Node::Text(text)) if text.trim().is_empty() => continue,
            Some(Node::Number(0.0)) => continue,
            Some(Node::Text(text)) => parse(text).ok_or_else(|| {
                let reason = format!("is `{}`, not a time such as 20261124-013502 or RFC 3339", shown(text));
                at.error(field, reason)
            })?,
            Some(Node::Number(_)) => {
                let number = at.amount(field)?.unwrap_or_default();
                from_number(number).ok_or_else(|| {
                    at.error(field, format!("is {number}, not a time in seconds since 1970"))
                })?
            }
            _ => continue,
        };
        return Ok(Some(found));
    }
    Ok(None)
}

/// Reads a date.
pub(super) fn parse(text: &str) -> Option<When> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(When { time, zoned: true });
    }
    // `+0200` without a colon, preceded by a blank.
    if let Ok(zoned) = jiff::Zoned::strptime("%Y-%m-%d %H:%M:%S %z", text) {
        return Some(When { time: zoned.timestamp(), zoned: true });
    }
    let local = text.parse::<DateTime>().ok();
    let local = local.or_else(|| LOCAL.iter().find_map(|form| DateTime::strptime(form, text).ok()));
    let local = local.or_else(|| Some(Date::strptime("%Y%m%d", text).ok()?.at(0, 0, 0, 0)));
    if let Some(local) = local {
        return Some(When { time: local.to_zoned(TimeZone::UTC).ok()?.timestamp(), zoned: false });
    }
    text.parse().ok().and_then(from_number)
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, for dates between 2001 and 2286.
#[allow(clippy::cast_possible_truncation, reason = "checked just before")]
fn from_number(number: f64) -> Option<When> {
    let seconds =
        [1.0, 1e3, 1e6, 1e9].into_iter().map(|unit| number / unit).find(|s| (1e9..1e10).contains(s))?;
    let time = Timestamp::from_microsecond((seconds * 1e6) as i64).ok()?;
    Some(When { time, zoned: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_every_form() {
        for (text, expected, zoned) in [
            ("20240522-090000", "2024-05-22T09:00:00Z", false),
            ("20240522", "2024-05-22T00:00:00Z", false),
            ("2024-05-22", "2024-05-22T00:00:00Z", false),
            ("2024-05-22 09:00:00", "2024-05-22T09:00:00Z", false),
            ("2024-05-22T09:00:00.250", "2024-05-22T09:00:00.25Z", false),
            ("2024-05-22T09:00:00Z", "2024-05-22T09:00:00Z", true),
            ("2024-05-22T09:00:00+02:00", "2024-05-22T07:00:00Z", true),
            ("2024-05-22 09:00:00 +0200", "2024-05-22T07:00:00Z", true),
            ("Wed May 22 09:00:00 2024", "2024-05-22T09:00:00Z", false),
            ("1716368400", "2024-05-22T09:00:00Z", true),
            ("1716368400000", "2024-05-22T09:00:00Z", true),
            ("1716368400.5", "2024-05-22T09:00:00.5Z", true),
        ] {
            let found = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.time.to_string().as_str(), found.zoned), (expected, zoned), "{text}");
        }
        for text in ["", "yesterday", "12", "20241322-090000"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
