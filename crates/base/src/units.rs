//! Quantities as types, with the only arithmetic that is meaningful between them.
//!
//! A unit that crosses module boundaries is a newtype with one private field; in JSON the unit is part of
//! the key. Operations without an `impl` here are meaningless and do not compile.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

/// Elapsed time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(f64);

impl Seconds {
    /// Zero seconds.
    pub const ZERO: Self = Self(0.0);

    /// A duration of `seconds`.
    pub const fn new(seconds: f64) -> Self {
        Self(seconds)
    }

    /// The number of seconds.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl From<std::time::Duration> for Seconds {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

impl Add for Seconds {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Seconds {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Seconds {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Mul<f64> for Seconds {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        Self(self.0 * factor)
    }
}

impl fmt::Display for Seconds {
    /// Three significant digits with a unit that fits the magnitude: `12.3 µs`, `4.56 ms`, `1.23 s`, `2 min 5 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        if seconds >= 60.0 {
            let whole = seconds.round();
            let minutes = (whole / 60.0).floor();
            return write!(f, "{minutes:.0} min {:.0} s", whole - minutes * 60.0);
        }
        let (value, unit) = if seconds >= 1.0 || seconds == 0.0 {
            (seconds, "s")
        } else if seconds >= 1e-3 {
            (seconds * 1e3, "ms")
        } else if seconds >= 1e-6 {
            (seconds * 1e6, "µs")
        } else {
            (seconds * 1e9, "ns")
        };
        write!(f, "{} {unit}", significant(value, 3))
    }
}

/// Energy in joules.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Joules(f64);

impl Joules {
    /// Zero joules.
    pub const ZERO: Self = Self(0.0);

    /// An energy of `joules`.
    pub const fn new(joules: f64) -> Self {
        Self(joules)
    }

    /// The number of joules.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Add for Joules {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Joules {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Div<Seconds> for Joules {
    type Output = Watts;
    fn div(self, time: Seconds) -> Watts {
        Watts(self.0 / time.0)
    }
}

/// Power in watts.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watts(f64);

impl Watts {
    /// A power of `watts`.
    pub const fn new(watts: f64) -> Self {
        Self(watts)
    }

    /// The number of watts.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Mul<Seconds> for Watts {
    type Output = Joules;
    fn mul(self, time: Seconds) -> Joules {
        Joules(self.0 * time.0)
    }
}

/// A number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(u64);

impl Tokens {
    /// `count` tokens.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The count.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Div<Seconds> for Tokens {
    type Output = TokensPerSecond;
    fn div(self, time: Seconds) -> TokensPerSecond {
        TokensPerSecond(self.0 as f64 / time.0)
    }
}

/// A rate of tokens: tokens ÷ seconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokensPerSecond(f64);

impl TokensPerSecond {
    /// A rate of `rate` tokens per second.
    pub const fn new(rate: f64) -> Self {
        Self(rate)
    }

    /// Tokens per second.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(u64);

impl Bytes {
    /// `count` bytes.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The count.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Bytes {
    /// Binary units with three significant digits: `93.8 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        // 999.5 would round to a fourth digit, so the next unit starts there and not at 1,024.
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 {
            write!(f, "{} B", self.0)
        } else {
            write!(f, "{} {}", significant(value, 3), UNITS[unit])
        }
    }
}

/// `value` with `digits` significant digits and no exponent; large values keep their whole part.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the magnitude of an f64 fits an i32, and decimals are clamped at zero"
)]
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let mut magnitude = value.abs().log10().floor() as i32;
    let wanted = i32::try_from(digits).unwrap_or(i32::MAX) - 1;
    // Rounding may carry into the next power of ten: 9.996 with three digits is 10.0.
    let scale = 10f64.powi(wanted - magnitude);
    if ((value.abs() * scale).round() / scale).log10().floor() as i32 > magnitude {
        magnitude += 1;
    }
    let decimals = (wanted - magnitude).max(0) as usize;
    format!("{value:.decimals$}")
}

/// `value` with `digits` significant digits, from 1,000 on whole with thousands separated: `27.0`, `12,346`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive whole number below 2^53"
)]
pub fn figure(value: f64, digits: usize) -> String {
    if (1000.0..9e15).contains(&value) { thousands(value.round() as u64) } else { significant(value, digits) }
}

/// `value` with thousands separated by commas: `12,345`.
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_over_seconds_is_a_rate() {
        let rate = Tokens::new(512) / Seconds::new(0.25);
        assert!((rate.get() - 2048.0).abs() < 1e-9);
    }

    #[test]
    fn durations_read_naturally() {
        for (seconds, text) in [
            (0.000_000_042, "42.0 ns"),
            (0.000_012_3, "12.3 µs"),
            (0.00456, "4.56 ms"),
            (1.234, "1.23 s"),
            (59.99, "60.0 s"),
            (125.2, "2 min 5 s"),
            (119.7, "2 min 0 s"),
        ] {
            assert_eq!(Seconds::new(seconds).to_string(), text);
        }
    }

    #[test]
    fn bytes_read_naturally() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (98_362_432, "93.8 MiB"),
            (1023 * 1024, "0.999 MiB"),
            (42_520_393_856, "39.6 GiB"),
        ] {
            assert_eq!(Bytes::new(bytes).to_string(), text);
        }
    }

    #[test]
    fn significant_digits_survive_a_carry() {
        for (value, text) in [(9.996, "10.0"), (0.012_345, "0.0123"), (12_345.6, "12346"), (1.0, "1.00")] {
            assert_eq!(significant(value, 3), text);
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(value), text);
        }
    }
}
