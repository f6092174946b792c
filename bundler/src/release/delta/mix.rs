//! Makes the streams of bsdiff, for blocks and for the kernel.
//!
//! [`bundle::delta::Mix`] packs them. The crate `bidiff` finds the matches.

use anyhow::Result;
use bundle::delta::Mix;

/// Returns the streams that make `new` from `old`.
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
