//! An amount of bytes, as a person reads it.
//!
//! The agent and the bundler print it. The text has three significant digits and the decimal unit
//! that fits: never `0.0 MB` for something. Nothing parses the text; JSON has bytes.

use std::fmt;

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Amount(pub u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        // The number is in thousandths of the unit, so that a value that rounds up to the next unit
        // takes that unit.
        let (mut thousandths, mut unit) = (u128::from(self.0), 1);
        while thousandths >= 999_500 && unit + 1 < UNITS.len() {
            (thousandths, unit) = (thousandths.div_ceil(1000), unit + 1);
        }
        let decimals = match thousandths {
            0..9_995 => 2,
            9_995..99_950 => 1,
            _ => 0,
        };
        let step = 10_u128.pow(3 - decimals);
        let rounded = (thousandths + step / 2) / step;
        let whole = 10_u128.pow(decimals);
        write!(f, "{}", rounded / whole)?;
        if decimals > 0 {
            write!(f, ".{:0width$}", rounded % whole, width = decimals as usize)?;
        }
        write!(f, " {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_digits_and_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (12_345, "12.3 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (17_439_012, "17.4 MB"),
            (97_900_000, "97.9 MB"),
            (1_515_000_000, "1.52 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(Amount(bytes).to_string(), text, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_is_off_by_half_a_percent_at_most(bytes in 1_u64..1_000_000_000_000_000_000) {
            let text = Amount(bytes).to_string();
            let (number, unit) = text.split_once(' ').unwrap();
            let scale = 1000_f64.powi(UNITS.iter().position(|name| *name == unit).unwrap() as i32);
            let shown = number.parse::<f64>().unwrap() * scale;
            prop_assert!((shown / bytes as f64 - 1.0).abs() <= 0.0051, "{bytes}: {text}");
            prop_assert!(number.len() <= 4, "{text}");
        }
    }
}
