//! Measures what it costs a device to make the new images from a delta.
//!
//! `download` puts the costs into a table beside those of reading and hashing a whole bundle.
//! Nothing is written, because writing costs all of them the same.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bundle::delta::{Delta, Header, OldImages, Output, Packing, Patch, Recompressor, Record};
use bundle::{Bundle, Keyring};
use image_layout::FileDisk;

use crate::process::{self, Usage};
use crate::table::mib;

/// First argument of the measured run.
pub(crate) const APPLY: &str = "apply";
/// First argument of the run that only compresses the blocks of a delta again.
pub(crate) const BLOCKS: &str = "blocks";

/// The cost of one way to the new images.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) way: &'static str,
    pub(crate) usage: Usage,
    /// Most MiB that the way needs, as the header of the delta says.
    pub(crate) announced: Option<u32>,
}

/// The paths of the new bundle and of the device's images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) keyring: &'a Path,
    pub(crate) new: &'a Path,
    pub(crate) old_boot: &'a Path,
    pub(crate) old_root: &'a Path,
}

impl Place<'_> {
    /// Measures one way: by `delta`, or by the bundle alone.
    ///
    /// # Errors
    /// The way does not lead to the new images.
    pub(crate) fn cost(&self, way: &'static str, delta: Option<&Path>) -> Result<Cost> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command
            .args([Path::new(APPLY), self.keyring, self.new, self.old_boot, self.old_root])
            .args(delta);
        let announced =
            delta.map(|delta| -> Result<u32> { Ok(Header::read(&mut File::open(delta)?)?.memory) });
        Ok(Cost { way, usage: process::measure(&command)?, announced: announced.transpose()? })
    }

    /// Measures the compressing of the blocks of `delta`, which no implementation can avoid. `new`
    /// are the images that the delta makes.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn floor(&self, way: &'static str, delta: &Path, new: [&Path; 2]) -> Result<Cost> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args([Path::new(BLOCKS), delta, new[0], new[1]]);
        Ok(Cost { way, usage: process::measure(&command)?, announced: None })
    }
}

/// The measured run: makes and hashes every chunk of boot and root, and drops it.
///
/// # Errors
/// A chunk cannot be made.
pub(crate) fn apply(words: &[OsString]) -> Result<()> {
    let ([keyring, new, old_boot, old_root], delta) =
        words.split_first_chunk().context("apply KEYRING NEW OLD-BOOT OLD-ROOT [DELTA]")?;
    let open = |path: &OsString| FileDisk::open_read_only(Path::new(path));
    let new = Bundle::open(open(new)?, &Keyring::load(Path::new(keyring))?)?;
    let mut chunk = Vec::new();
    let Some(delta) = delta.first() else {
        for image in ["boot", "root"] {
            for index in 0..new.chunks(image).len() {
                new.read_chunk(image, index, &mut chunk)?;
            }
        }
        return Ok(());
    };
    let Header { old, memory, .. } = Header::read(&mut File::open(delta)?)?;
    let images = OldImages { boot: open(old_boot)?, root: open(old_root)? };
    let mut delta = Delta::open(BufReader::new(File::open(delta)?), &new, old, images, memory)?;
    let mut count = 0;
    while delta.next_chunk(&mut chunk)?.is_some() {
        count += 1;
    }
    ensure!(
        count == new.chunks("boot").len() + new.chunks("root").len(),
        "{count} chunks are not all"
    );
    Ok(())
}

/// The run that compresses the blocks of a delta again. It finds the blocks in the images that the
/// delta makes. The delta has format 1.
///
/// # Errors
/// The delta has another format, or leads to other images.
pub(crate) fn blocks(words: &[OsString]) -> Result<()> {
    let [delta, boot, root] = words else { bail!("blocks DELTA NEW-BOOT NEW-ROOT") };
    let mut from = BufReader::new(File::open(delta)?);
    let memory = Header::read(&mut from)?.memory;
    let mut recompressor = Recompressor::new();
    for image in [boot, root] {
        let image = std::fs::read(image)?;
        let mut at = 0;
        while at < image.len() {
            match Record::read(&mut from, memory)? {
                Record::Copy { len, .. } => at += usize::try_from(len)?,
                Record::Literal(bytes) => at += bytes.len(),
                // An image has no record after its tree.
                Record::Tree => at = image.len(),
                Record::Frame(_) => bail!("a frame has no blocks"),
                Record::Patch(Patch { outputs, .. }) => {
                    let (start, mut content, mut again) = (at, Vec::new(), Vec::new());
                    for Output { len, packing } in &outputs {
                        let rest =
                            image.get(at..).context("a patch goes over the end of its image")?;
                        match packing {
                            Packing::Stored => {
                                content.extend(
                                    rest.get(..*len as usize).context("a block is cut short")?,
                                );
                                at += *len as usize;
                            }
                            Packing::Zstd(_) => {
                                let length = zstd::zstd_safe::find_frame_compressed_size(rest).ok();
                                let length = length.context("a block is no zstd frame")?;
                                content.extend(zstd::bulk::decompress(
                                    &rest[..length],
                                    *len as usize,
                                )?);
                                at += length;
                            }
                        }
                    }
                    recompressor.pack(&content, &outputs, &mut again)?;
                    ensure!(again == image[start..at], "blocks are not made again");
                }
            }
        }
    }
    Ok(())
}

/// The table of all costs.
#[derive(Debug)]
pub(crate) struct Costs(pub(crate) Vec<Cost>);

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:34} | seconds | processor | peak memory | at most  |", "way")?;
        writeln!(f, "|{}|---------|-----------|-------------|----------|", "-".repeat(36))?;
        for Cost { way, usage, announced } in &self.0 {
            let (peak, announced) =
                (mib(usage.peak_bytes), announced.map(|mib| format!("{mib} MiB")));
            let announced = announced.unwrap_or("-".to_owned());
            writeln!(
                f,
                "| {way:34} | {:7.1} | {:7.1} s | {peak:11} | {announced:8} |",
                usage.seconds, usage.cpu_seconds
            )?;
        }
        Ok(())
    }
}
