//! A value, or why it is not known: one type for the two fields `x` and `x_reason` of a record.
//!
//! A struct with such fields takes its derives from here: `#[derive(known::Serialize, known::Deserialize)]`.

use std::ops::Deref;

use serde::{Deserialize as _, Deserializer};

pub use infercost_derive::{Deserialize, JsonSchema, Serialize};

/// A value, or the reason why it is not known: never both and never neither. It reads as an [`Option`] of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known<T> {
    value: Option<T>,
    /// `None` next to a value, and if a record that was read has `null` without a reason.
    reason: Option<String>,
}

impl<T> Known<T> {
    /// What is known.
    pub fn new(value: T) -> Self {
        Self { value: Some(value), reason: None }
    }

    /// What is not, and why.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self { value: None, reason: Some(reason.into()) }
    }

    /// Why it is not known; nothing when it is, and of a record that does not say.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The value or the reason.
    ///
    /// # Errors
    /// The reason.
    pub fn as_result(&self) -> Result<&T, &str> {
        self.value.as_ref().ok_or(self.reason.as_deref().unwrap_or("the record does not say why"))
    }

    /// The value alone.
    pub fn into_option(self) -> Option<T> {
        self.value
    }

    /// Two fields of JSON as one. A reason next to a value means nothing.
    #[doc(hidden)]
    pub fn of_fields(value: Option<T>, reason: Option<String>) -> Self {
        Self { reason: reason.filter(|_| value.is_none()), value }
    }

    /// The two fields of JSON.
    #[doc(hidden)]
    pub fn fields(&self) -> (&Option<T>, &Option<String>) {
        (&self.value, &self.reason)
    }
}

impl<T, R: Into<String>> From<Result<T, R>> for Known<T> {
    fn from(found: Result<T, R>) -> Self {
        found.map_or_else(Self::unknown, Self::new)
    }
}

impl<T> Deref for Known<T> {
    type Target = Option<T>;

    fn deref(&self) -> &Option<T> {
        &self.value
    }
}

impl<T: PartialEq> PartialEq<Option<T>> for Known<T> {
    fn eq(&self, other: &Option<T>) -> bool {
        self.value == *other
    }
}

/// A field that is there, `null` or not: for `Option<Known<T>>`, which may be absent besides.
///
/// # Errors
/// As `T`'s.
#[doc(hidden)]
#[allow(
    clippy::option_option,
    reason = "a field may be absent, null or a value, and each says something else"
)]
pub fn there<'de, D: Deserializer<'de>, T: serde::Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::Known;
    use crate::known;

    #[derive(Debug, PartialEq, known::Serialize, known::Deserialize)]
    struct Found {
        watts: Known<f64>,
        #[serde(default)]
        clocks: Known<Vec<u32>>,
        median: Option<Known<f64>>,
        n: usize,
        #[serde(flatten)]
        unknown: Map<String, serde_json::Value>,
    }

    fn read(text: &str) -> Found {
        serde_json::from_str(text).expect(text)
    }

    #[test]
    fn what_is_read_is_written_byte_by_byte() {
        for text in [
            r#"{"watts":1.5,"clocks":[1,2],"n":3}"#,
            r#"{"watts":null,"watts_reason":"no sensor","clocks":null,"clocks_reason":"no GPU","median":null,"median_reason":"too few","n":3,"newer":true}"#,
            r#"{"watts":null,"clocks":null,"median":2.0,"n":3}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(text)).expect("JSON"), text);
        }
    }

    #[test]
    fn a_reason_beside_a_value_is_dropped_and_a_missing_field_is_unknown() {
        let found = read(r#"{"watts":1.5,"watts_reason":"left over","n":3,"watts_reasons":1}"#);
        assert_eq!((*found.watts, found.watts.reason()), (Some(1.5), None));
        assert_eq!((found.clocks.as_ref(), found.clocks.reason(), found.median), (None, None, None));
        assert_eq!(found.unknown.len(), 1);
        assert_eq!(found.clocks.as_result(), Err("the record does not say why"));
    }

    #[test]
    fn an_error_names_the_line_and_the_type_as_a_derive_of_serde_does() {
        let error = |text: &str| serde_json::from_str::<Found>(text).expect_err(text).to_string();
        assert_eq!(
            error(r#"{"watts":"many","n":3}"#),
            "invalid type: string \"many\", expected f64 at line 1 column 15"
        );
        assert_eq!(
            error(r#"{"watts":1.5,"watts_reason":7,"n":3}"#),
            "invalid type: integer `7`, expected a string at line 1 column 29"
        );
        assert_eq!(error("[]"), "invalid type: sequence, expected struct Found at line 1 column 0");
        assert_eq!(error("{}"), "missing field `n` at line 1 column 2");
    }

    #[test]
    fn a_result_says_which_it_is() {
        let known: Known<u32> = Ok::<_, String>(3).into();
        let unknown: Known<u32> = Err("no sensor").into();
        assert_eq!((known.as_result(), unknown.as_result()), (Ok(&3), Err("no sensor")));
        assert_eq!((known, unknown), (Known::new(3), Known::unknown("no sensor")));
    }
}
