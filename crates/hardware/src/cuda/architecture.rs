//! What kind of code a GPU runs.

use std::fmt;

/// A compute capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Architecture {
    /// 9 of 9.0.
    pub major: u32,
    /// 0 of 9.0.
    pub minor: u32,
}

impl fmt::Display for Architecture {
    /// As NVRTC takes it: `sm_80`, and from 9.0 on with the instructions of that capability alone, `sm_90a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = if self.major >= 9 { "a" } else { "" };
        write!(f, "sm_{}{}{own}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_written_as_the_compiler_takes_it() {
        for (major, minor, text) in
            [(8, 0, "sm_80"), (8, 9, "sm_89"), (9, 0, "sm_90a"), (10, 0, "sm_100a"), (12, 1, "sm_121a")]
        {
            assert_eq!(Architecture { major, minor }.to_string(), text);
        }
    }
}
