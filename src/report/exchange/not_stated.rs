//! What an imported file leaves out.

use crate::base::known::Known;

/// The reason for what the tool does not state.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotStated(pub(super) &'static str);

impl NotStated {
    pub(super) fn why(self) -> String {
        format!("imported; {}'s file does not state it", self.0)
    }

    /// A value, or its reason.
    pub(super) fn or<T>(self, value: Option<T>) -> Known<T> {
        value.ok_or_else(|| self.why()).into()
    }
}
