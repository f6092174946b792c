//! The result as a Markdown table, one row a measurement.
//!
//! The other modules make the rows. People can also read the table on a terminal.

use std::fmt;

/// The bound on the ratio or on the value itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Most of our value divided by the peer's.
    Ratio(f64),
    /// Most MiB.
    Mib(f64),
    /// There is no bound. The row is only information.
    None,
}

/// Our value against that of one peer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) peer: String,
    pub(crate) theirs: String,
    /// Our value divided by the peer's, if there is a peer.
    pub(crate) ratio: Option<f64>,
    pub(crate) target: Target,
    /// Our value in MiB, if the target is one.
    pub(crate) mib: f64,
}

impl Row {
    /// Returns a row of sizes in bytes.
    pub(crate) fn sizes(
        what: &str,
        ours: u64,
        peer: &str,
        theirs: Option<u64>,
        target: Target,
    ) -> Self {
        Self {
            what: what.to_owned(),
            ours: mib(ours),
            peer: peer.to_owned(),
            theirs: theirs.map_or("-".to_owned(), mib),
            ratio: theirs.map(|theirs| ours as f64 / theirs as f64),
            target,
            mib: ours as f64 / MIB,
        }
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::None => None,
            Target::Ratio(most) => self.ratio.map(|ratio| ratio <= most),
            Target::Mib(most) => Some(self.mib <= most),
        }
    }

    fn cells(&self) -> [String; 7] {
        let target = match self.target {
            Target::None => "-".to_owned(),
            Target::Ratio(most) => format!("≤ {}", times(most)),
            Target::Mib(most) => format!("≤ {most} MiB"),
        };
        let met = match self.is_met() {
            None => "-",
            Some(true) => "met",
            Some(false) => "**missed**",
        };
        let ratio = self.ratio.map_or("-".to_owned(), times);
        [&self.what, &self.ours, &self.peer, &self.theirs, &ratio, &target, met]
            .map(|cell| cell.to_string())
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// Formats a ratio: `1.19 ×`, `0.327 ×`.
fn times(ratio: f64) -> String {
    if ratio < 1.0 { format!("{ratio:.3} ×") } else { format!("{ratio:.2} ×") }
}

/// Formats a size: `81.60 MiB`.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / MIB)
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "daruma", "peer", "peer's", "ratio", "target", ""].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.0.iter().map(Row::cells)).collect();
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..7).map(width).collect();
        for (index, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in &widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_its_target_is_called_missed() {
        let row = Row::sizes("a", 3 << 20, "b", Some(2 << 20), Target::Ratio(1.25));
        assert_eq!(row.is_met(), Some(false));
        assert_eq!(Row { target: Target::Mib(3.0), ..row }.is_met(), Some(true));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text =
            Table(vec![Row::sizes("agent", 1 << 20, "rauc", None, Target::None)]).to_string();
        let lengths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [lengths[0]; 3]);
        assert!(text.contains("| agent | 1.00 MiB | rauc | -      | -     | -      |"), "{text}");
    }
}
