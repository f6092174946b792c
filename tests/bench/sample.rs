//! Repeats measurements in turns.
//!
//! `table` prints them. The contenders take turns, so that a slow minute of the machine hits all of
//! them.

use std::fmt;

use anyhow::Result;

use crate::process::Usage;

/// One quantity, measured several times.
#[derive(Clone, Default, Debug)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    fn of(runs: &[Usage], value: impl Fn(&Usage) -> f64) -> Self {
        let mut sample = Self::default();
        runs.iter().for_each(|run| sample.push(value(run)));
        sample
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// Returns the middle value. For an even number of values, returns the mean of the two middle
    /// ones.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }
}

/// Returns the times of each contender's runs, from the result of [`in_turns`].
pub(crate) fn times(runs: &[Vec<Usage>]) -> Vec<Sample> {
    runs.iter().map(|runs| Sample::of(runs, |run| run.seconds)).collect()
}

/// As [`times`], with the time of all processors.
pub(crate) fn processor_times(runs: &[Vec<Usage>]) -> Vec<Sample> {
    runs.iter().map(|runs| Sample::of(runs, |run| run.cpu_seconds)).collect()
}

/// Seconds: `0.31 s (0.29–0.40)`.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else {
            return f.write_str("-");
        };
        write!(f, "{:.2} s ({least:.2}–{most:.2})", self.median())
    }
}

/// Calls `run(i)` for every `i` below `count` in each of `rounds` rounds. Each round begins with
/// the next `i`.
pub(crate) fn in_turns<T>(
    rounds: usize,
    count: usize,
    mut run: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut results: Vec<Vec<T>> = (0..count).map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..count {
            let index = (round + turn) % count;
            results[index].push(run(index)?);
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        let mut sample = Sample::default();
        for value in [3.0, 1.0, 9.0] {
            sample.push(value);
        }
        assert_eq!(sample.to_string(), "3.00 s (1.00–9.00)");
        sample.push(4.0);
        assert_eq!(sample.median(), 3.5);
    }

    #[test]
    fn everyone_begins_a_round_once() {
        let mut order = Vec::new();
        let results = in_turns(3, 3, |index| {
            order.push(index);
            Ok(index)
        });
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert_eq!(results.unwrap(), [[0; 3], [1; 3], [2; 3]]);
    }
}
