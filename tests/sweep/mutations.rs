//! Shows that the sweep can fail, by mutations of a right log.
//!
//! `judge` must notice each mutation. A mutation is a wrong order of the steps, or a disk that
//! lies.

use std::io::Write;

use anyhow::Result;

use crate::Bench;
use crate::crash_disk::{Op, Recording};
use crate::cut::{Amount, sweep};
use crate::judge::Case;
use crate::scenario;
use crate::sweep::{Options, first_run};

type Mutate = fn(&mut Vec<Op>);

/// The name of each fault, and the function that changes the log of a right install.
const MUTATIONS: [(&str, Mutate); 4] = [
    ("a disk whose sync is a lie", |ops| ops.retain(|op| matches!(op, Op::Write(_)))),
    ("images that are not synced before the flip", |ops| {
        ops.retain(|op| matches!(op, Op::Write(_)) || op.is_on("esp"));
    }),
    ("the flip before the images", |ops| {
        let (first, last) = images(ops);
        ops[first..].rotate_left(last + 1 - first);
    }),
    ("step 1 left out: the idle slot stays bootable", |ops| {
        // Storing the environment takes a write and two syncs for each of the two copies.
        let (first, _) = images(ops);
        ops.drain(first - 6..first);
    }),
];

/// Returns the first and the last operation on an image.
fn images(ops: &[Op]) -> (usize, usize) {
    let is_image = |op: &Op| !op.is_on("esp");
    let first = ops.iter().position(is_image).unwrap_or_default();
    (first, ops.iter().rposition(is_image).unwrap_or_default())
}

/// Runs all mutations. Returns false if the judge missed one, or found the right order wrong.
pub(crate) fn run(bench: &Bench, options: &Options, out: &mut impl Write) -> Result<bool> {
    let judge = bench.judge()?;
    let scenario = scenario::install_over_an_older_system();
    let right = first_run(&judge, &scenario)?;
    // Returns the number of states that were judged until one was wrong, and why it was wrong.
    let violation = |recording: &Recording| -> Result<(usize, Option<String>)> {
        let amount = Amount { per_image_write: 2, per_esp_write: 2, stories: false };
        let cuts = sweep(recording, amount, |_| true, options.seed, &[]);
        for (number, cut) in cuts.iter().enumerate() {
            let case = Case { scenario: &scenario, medium: &cut.medium, story: &cut.story };
            if let Some(Err(error)) = judge.judge(&[case])?.pop() {
                return Ok((number + 1, Some(error.to_string())));
            }
        }
        Ok((cuts.len(), None))
    };
    writeln!(out, "\nMutations of an install: crash states tried until one was found wrong\n")?;
    let (tried, why) = violation(&right)?;
    writeln!(out, "{tried:>10}  the right order: {}", why.as_deref().unwrap_or("all are right"))?;
    let mut good = why.is_none();
    for (name, mutate) in MUTATIONS {
        let mut recording = right.clone();
        mutate(&mut recording.ops);
        let last = recording.stories.last().cloned().flatten();
        recording.stories.resize(recording.ops.len() + 1, last);
        let (tried, why) = violation(&recording)?;
        let noticed = why.as_deref().and_then(|why| why.lines().next()).unwrap_or("NOT NOTICED");
        writeln!(out, "{tried:>10}  {name}: {noticed}")?;
        good &= why.is_some();
    }
    Ok(good)
}
