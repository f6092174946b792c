//! Shares of a whole, in the form that a person types.
//!
//! The callers know the whole. `2`, `2%` and `0.5` are read as percent.

use std::fmt;
use std::str::FromStr;

/// A share from 0 to 100 percent. `2`, `2%` and `0.5` mean two percent, two percent and half a
/// percent.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Share(f64);

impl Share {
    /// Returns `part` of `whole`. If `whole` is 0, the share is 0.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        Self(if whole == 0 { 0.0 } else { part as f64 / whole as f64 })
    }

    /// Makes a share from a number from 0 to 1. A number outside becomes the nearest limit.
    #[must_use]
    pub fn from_fraction(fraction: f64) -> Self {
        Self(if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) })
    }

    /// Returns the share as a number from 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match number.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => Err(format!("{text:?} is not a share from 0 to 100 percent, such as 0.5 or 2%")),
        }
    }
}

/// Writes the share in percent, with enough digits to tell small shares apart.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let digits = if percent == 0.0 || percent >= 10.0 { 1 } else { 2 };
        let text = format!("{percent:.digits$}");
        f.pad(&format!("{} %", text.trim_end_matches('0').trim_end_matches('.')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown_in_percent() {
        for (text, fraction, shown) in [
            ("2", 0.02, "2 %"),
            ("2%", 0.02, "2 %"),
            ("0.5 %", 0.005, "0.5 %"),
            ("0", 0.0, "0 %"),
            ("100", 1.0, "100 %"),
            ("33.3", 0.333, "33.3 %"),
        ] {
            let share: Share = text.parse().unwrap();
            assert!(
                (share.fraction() - fraction).abs() < 1e-12 && share.to_string() == shown,
                "{text}: {share}"
            );
        }
        for text in ["", "%", "-1", "101", "NaN", "inf", "two"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
