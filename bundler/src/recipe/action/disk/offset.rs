//! Sizes and positions of disks, as debos and parted write them.
//!
//! kB, MB, GB are powers of 1000; KiB, MiB, GiB of 1024; `s` counts sectors; `%` is of the disk; a
//! number without a unit is in MB; a negative one counts from the end.

use crate::recipe::yaml::closest;

const UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// A position on the disk, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// Bytes from the beginning.
    pub(super) bytes: u64,
    /// How far from it parted may choose another one, because the unit is a coarse one.
    pub(super) slack: u64,
    /// True for KiB, MiB and their like: as an end, it is the first byte behind the partition.
    pub(super) exclusive: bool,
    /// True for the end of the disk.
    pub(super) is_end: bool,
}

/// Reads the size of a disk, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor = if unit.is_empty() { 1 } else { factor(unit, text)? };
    times(number, factor).filter(|bytes| *bytes > 0).ok_or_else(|| wrong(text))
}

/// Reads a position of parted on a disk of `disk` bytes.
pub(super) fn position(text: &str, disk: u64, sector: u64) -> Result<Position, String> {
    let (negative, rest) = match text.trim().strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.trim()),
    };
    let (number, unit) = split(rest)?;
    let mut exclusive = false;
    let (bytes, slack) = match unit {
        "%" => {
            if number > 100.0 {
                return Err(format!("`{text}` is more than 100 %"));
            }
            let share = times(number / 100.0, disk);
            (share, if number == 0.0 || number == 100.0 { 0 } else { disk / 200 })
        }
        "s" | "S" => (times(number, sector), 0),
        unit => {
            let factor = if unit.is_empty() { 1_000_000 } else { factor(unit, text)? };
            exclusive = unit.to_ascii_lowercase().ends_with("ib");
            let exact = factor == 1 || exclusive;
            (times(number, factor), if exact { 0 } else { factor / 2 })
        }
    };
    let bytes = bytes.ok_or_else(|| wrong(text))?;
    // parted counts whole sectors from the end.
    let from_end = disk.checked_sub(bytes / sector * sector);
    let bytes = if negative { from_end } else { Some(bytes) };
    let bytes = bytes.ok_or_else(|| format!("`{text}` lies before the beginning of the disk"))?;
    Ok(Position { bytes, slack, exclusive, is_end: bytes == disk && unit != "s" })
}

/// Reads an offset in bytes (decimal, 0x…, 0…) or sectors (`64s`).
pub(super) fn offset(text: &str, sector: u64) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix('s') {
        Some(digits) => (digits, sector),
        None => (text, 1),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None if digits.len() > 1 && digits.starts_with('0') => {
            u64::from_str_radix(digits.trim_start_matches("0o"), 8).ok()?
        }
        None => digits.parse().ok()?,
    };
    number.checked_mul(factor)
}

fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong(text))?;
    Ok((number, text[end..].trim()))
}

fn factor(unit: &str, text: &str) -> Result<u64, String> {
    let lower = unit.to_ascii_lowercase();
    let found = UNITS.iter().find(|(name, _)| *name == lower);
    found.map(|(_, factor)| *factor).ok_or_else(|| {
        let names: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
        match closest(&lower, &names) {
            Some(meant) if meant.len() > 1 => {
                format!("`{text}` has the unknown unit `{unit}`; did you mean `{meant}`?")
            }
            _ => wrong(text),
        }
    })
}

fn wrong(text: &str) -> String {
    format!("`{text}` is not a size or a position; write for instance 64MB, 64MiB, 2048s or 50%")
}

/// Multiplies, exactly if the number is whole.
fn times(number: f64, factor: u64) -> Option<u64> {
    if number.fract() == 0.0 && number < 1e15 {
        return (number as u64).checked_mul(factor);
    }
    let product = number * factor as f64;
    (product < 1e18).then_some(product as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_debos() {
        for (text, bytes) in [
            ("2GB", Ok(2_000_000_000)),
            ("2GiB", Ok(2 << 30)),
            ("500M", Ok(500_000_000)),
            ("1.5G", Ok(1_500_000_000)),
            ("1048576", Ok(1 << 20)),
            ("10 MB", Ok(10_000_000)),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
        for text in ["", "0", "big", "1XB", "-1GB", "1e30GB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn positions_are_those_of_parted() {
        let disk = 1_000_000_000;
        for (text, bytes) in [
            ("0%", 0),
            ("100%", disk),
            ("50%", disk / 2),
            ("2048s", 1 << 20),
            ("64MB", 64_000_000),
            ("64", 64_000_000),
            ("64MiB", 64 << 20),
            ("-1MB", disk - 999_936),
            ("-1s", disk - 512),
            ("7b", 7),
        ] {
            assert_eq!(position(text, disk, 512).map(|p| p.bytes), Ok(bytes), "{text}");
        }
        for text in ["101%", "-2GB", "x", "5 apples"] {
            assert!(position(text, disk, 512).is_err(), "{text}");
        }
        assert_eq!(position("1s", disk, 4096).map(|p| p.bytes), Ok(4096));
    }

    #[test]
    fn offsets_are_bytes_or_sectors() {
        assert_eq!(offset("64s", 512), Some(32_768));
        assert_eq!(offset("0x20000", 512), Some(131_072));
        assert_eq!(offset("010", 512), Some(8));
        assert_eq!(offset("12", 512), Some(12));
        assert_eq!(offset("-1", 512), None);
        assert_eq!(offset("1MB", 512), None);
    }
}
