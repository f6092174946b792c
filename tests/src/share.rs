//! How much of the long sweeps a run does.
//!
//! `make sweep` and `make test-all` do all of them (`DARUMA_SWEEP=all`). `make test` does a seeded
//! share, in which every step of the protocol is met at least once. `DARUMA_SEED` chooses another.

use anyhow::{Context, Result, bail};

/// One of so many of what is not met at every step anyway.
const ONE_OF: usize = 12;
/// The seed of a run that names none: the same run again gives the same figures.
const SEED: u64 = 20_261_121;

/// The share that this run does: one of so many; 1 is all.
///
/// # Errors
/// `DARUMA_SWEEP` is neither `all` nor `sample`.
pub fn one_of() -> Result<usize> {
    match std::env::var("DARUMA_SWEEP").as_deref() {
        Ok("all") => Ok(1),
        Err(_) | Ok("" | "sample") => Ok(ONE_OF),
        Ok(other) => bail!("DARUMA_SWEEP={other}: it is all or sample"),
    }
}

/// The seed of this run.
///
/// # Errors
/// `DARUMA_SEED` is no number.
pub fn seed() -> Result<u64> {
    match std::env::var("DARUMA_SEED") {
        Ok(text) => text.parse().with_context(|| format!("DARUMA_SEED={text}: it is a number")),
        Err(_) => Ok(SEED),
    }
}
