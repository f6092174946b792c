//! The streams of bsdiff, for blocks and for the kernel alike.
//!
//! Packing them is left to [`bundle::delta::Mix`]. The crate `bidiff` finds the matches.

use anyhow::Result;
use bundle::delta::Mix;

/// `new` in terms of `old`.
pub(crate) fn mix(old: &[u8], new: &[u8]) -> Result<Mix> {
    let mut mix = Mix::default();
    let mut translator = bidiff::Translator::new(old, new, |step: &bidiff::Control<'_>| {
        mix.push(step.add, step.copy, step.seek);
        Ok::<(), std::io::Error>(())
    });
    bidiff::diff(old, new, &bidiff::DiffParams::default(), |found| translator.translate(found))?;
    translator.close()?;
    Ok(mix)
}
