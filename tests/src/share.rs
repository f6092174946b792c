//! Chooses how much of the long sweeps a run does.
//!
//! The sweeps ask for their share. `make sweep` and `make test-all` do everything
//! (`DARUMA_SWEEP=all`). `make test` does a seeded share, in which every step of the protocol
//! happens at least once. `DARUMA_SEED` chooses another share.

use anyhow::{Context, Result, bail};

/// The seed of a run without `DARUMA_SEED`. The same run then gives the same figures.
const SEED: u64 = 20_261_121;

/// Returns the share that this run does of the cases that are not done in every run: one in this
/// many. That is `sampled`, or 1 if all are to be done.
///
/// # Errors
/// `DARUMA_SWEEP` is neither `all` nor `sample`.
pub fn one_of(sampled: usize) -> Result<usize> {
    match std::env::var("DARUMA_SWEEP").as_deref() {
        Ok("all") => Ok(1),
        Err(_) | Ok("" | "sample") => Ok(sampled),
        Ok(other) => bail!("DARUMA_SWEEP={other}: it is all or sample"),
    }
}

/// Returns the seed of this run.
///
/// # Errors
/// `DARUMA_SEED` is no number.
pub fn seed() -> Result<u64> {
    match std::env::var("DARUMA_SEED") {
        Ok(text) => text.parse().with_context(|| format!("DARUMA_SEED={text}: it is a number")),
        Err(_) => Ok(SEED),
    }
}
