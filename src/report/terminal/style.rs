//! Colours, off when the output is not a terminal or the user does not want them.

/// Wraps text in escape sequences, or leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    enabled: bool,
}

impl Style {
    /// A style with or without colours.
    pub const fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// For what the eye should find first.
    pub fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// For what explains.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// For good news.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// For what needs attention.
    pub fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// For what cannot be relied on.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }
}
