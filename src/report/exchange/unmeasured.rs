//! Figures that a tool writes although nothing was measured: NaN of an empty list, an impossible 0, `null`.
//!
//! They become `null` with the reason, without affecting the rest of the file; a negative one, or a string, is still an error.

use super::Error;
use super::fields::At;
use super::json::not_finite;
use super::json::{Node, get};

/// A figure, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Figure {
    /// Measured.
    Value(f64),
    /// Written but not measured.
    Unmeasured(String),
}

impl Figure {
    pub(super) fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Unmeasured(_) => None,
        }
    }

    /// The same in another unit.
    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Value(value) => Self::Value(change(value)),
            unmeasured @ Self::Unmeasured(_) => unmeasured,
        }
    }

    /// With an additional reason why it was not measured.
    pub(super) fn because(self, why: Option<&str>) -> Self {
        match (self, why) {
            (Self::Unmeasured(reason), Some(why)) => Self::Unmeasured(format!("{reason}: {why}")),
            (figure, _) => figure,
        }
    }
}

impl At<'_> {
    /// A figure that is never 0 if measured: a time, a rate, a length. `None` if the field is missing.
    pub(super) fn figure(&self, field: &str) -> Result<Option<Figure>, Error> {
        self.figure_or_zero(field).map(|figure| {
            figure.map(|figure| match figure {
                Figure::Value(0.0) => {
                    Figure::Unmeasured("the file says 0, which is not a measurement".to_owned())
                }
                other => other,
            })
        })
    }

    /// A figure that may be 0: a spread, a goodput, an empty rate.
    pub(super) fn figure_or_zero(&self, field: &str) -> Result<Option<Figure>, Error> {
        let Some(node) = get(self.fields(), field) else { return Ok(None) };
        if *node == Node::Null {
            return Ok(Some(Figure::Unmeasured("the file says null".to_owned())));
        }
        if let Some(word) = not_finite(node) {
            return Ok(Some(Figure::Unmeasured(format!("the file says {word}"))));
        }
        // AIPerf and others use -1 for a figure that could not be computed.
        if self.number(node) == Some(-1.0) {
            return Ok(Some(Figure::Unmeasured("the file says -1, which is not a measurement".to_owned())));
        }
        Ok(self.amount(field)?.map(Figure::Value))
    }

    /// An accompanying figure, such as a percentile: `None` if it was not measured.
    pub(super) fn optional_figure(&self, field: &str) -> Result<Option<f64>, Error> {
        Ok(self.figure_or_zero(field)?.and_then(|figure| figure.value()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fields::Row;
    use super::super::json::parse;
    use super::*;

    #[test]
    fn what_was_not_measured_is_told_from_what_cannot_be() {
        let text =
            r#"{"a": "NaN", "b": 0, "c": null, "d": "-Infinity", "e": -1, "f": 2.5, "g": -2, "h": "fast"}"#;
        let Node::Object(fields) = parse(text).expect("JSON") else { panic!("an object") };
        let row = Row { place: String::new(), quoted: false, fields };
        let at = At::new(Path::new("f"), &row);
        for (field, reason) in [
            ("a", "the file says NaN"),
            ("b", "the file says 0, which is not a measurement"),
            ("c", "the file says null"),
            ("d", "the file says -Infinity"),
            ("e", "the file says -1, which is not a measurement"),
        ] {
            let found = at.figure(field).expect(field);
            assert_eq!(found, Some(Figure::Unmeasured(reason.to_owned())), "{field}");
            assert_eq!(at.optional_figure(field).expect(field), (field == "b").then_some(0.0), "{field}");
        }
        assert_eq!(at.figure("f").expect("a number"), Some(Figure::Value(2.5)));
        assert_eq!(at.figure("not there").expect("nothing"), None);
        assert!(at.figure("g").is_err() && at.figure("h").is_err());
        let why = at.figure("a").expect("a").expect("there").because(Some("one token has no gap"));
        assert_eq!(why, Figure::Unmeasured("the file says NaN: one token has no gap".to_owned()));
    }
}
