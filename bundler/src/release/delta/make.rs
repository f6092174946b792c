//! `daruma-bundler delta`: makes the delta from one bundle to another.
//!
//! `groups` makes the records, and `similar` finds old blocks that are like a new one. A new block
//! that the old bundle has is copied. Another block is made from similar old blocks of any file. If
//! that fails, the delta holds the block as it is.

use std::fs::{File, Permissions};
use std::io::{BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bundle::delta::{Delta, Header, OldImages, Record, limits, zstd_version};
use bundle::{Keyring, Verified};
use image_layout::FileDisk;

use crate::bundling::squash::facts;
use crate::host::progress::Progress;
use crate::release::delta::again::{FAST, PackedAgain};
use crate::release::delta::blocks::{Block, OldBlocks};
use crate::release::delta::groups::{self, Group, Step};
use crate::release::delta::kernel::{self, Kernel};
use crate::release::image::open_verified;
use crate::release::part::Part;
use image_layout::Amount;

/// The images that a delta makes.
const IMAGES: [&str; 2] = ["boot", "root"];

/// The parts of a delta, and their sizes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Summary {
    /// Bytes of the delta.
    pub bytes: u64,
    /// Bytes of the new bundle.
    pub full: u64,
    /// Memory that a device needs to apply it, in MiB.
    pub memory: u32,
    /// Bytes of the new images that are copied from the old ones.
    pub copied: u64,
    /// Bytes of the new images that are made from old blocks, and the bytes of the delta for them.
    pub patched: (u64, u64),
    /// Bytes of the new images that the delta holds as they are, and the bytes of the delta for
    /// them.
    pub literal: (u64, u64),
    /// Bytes of dm-verity trees, which the device computes.
    pub tree: u64,
    /// Bytes of changed blocks that this program's zstd does not make again. The delta holds them
    /// as they are.
    pub strange: u64,
    /// Bytes of changed blocks that no device packs again: xz, or a zstd level above 4. The delta
    /// holds them as they are.
    pub whole: u64,
    /// Unpacked bytes of the blocks that a device packs again, and the time that this takes on one
    /// processor of this host.
    pub packed: (u64, Duration),
}

/// The two bundles of a delta.
struct Pair<'a> {
    old: (&'a Verified<FileDisk>, &'a Path),
    new: &'a Verified<FileDisk>,
    /// Boot and root image of the old bundle, then those of the new bundle.
    images: [[Part; 2]; 2],
    header: Header,
}

/// A delta without its header: the records of the boot image, then those of the root image.
struct Records<'a>([&'a [u8]; 2]);

/// The deltas to make. `None`: not this one.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// The delta that every device can use.
    pub small: Option<&'a Path>,
    /// The delta for devices that grant more memory. It makes the kernel from its unpacked payload.
    pub kernel: Option<&'a Path>,
}

/// The deltas that were made.
#[derive(Debug, Default)]
pub struct Written {
    /// The summary of [`Outputs::small`].
    pub small: Option<Summary>,
    /// The summary of [`Outputs::kernel`], or the reason why there is no such delta.
    pub kernel: Option<Result<Summary, String>>,
}

/// Writes the deltas from the bundle `old` to the bundle `new`, and proves each.
///
/// # Errors
/// A bundle cannot be read or is refused, or a delta cannot be written.
pub fn write(old: &Path, new: &Path, keyring: &Keyring, outputs: Outputs<'_>) -> Result<Written> {
    let (old_bundle, new_bundle) = (open_verified(old, keyring)?, open_verified(new, keyring)?);
    let (old_sha256, new_sha256) = (old_bundle.manifest_sha256(), new_bundle.manifest_sha256());
    ensure!(
        old_sha256 != new_sha256,
        "{} and {} are the same bundle",
        old.display(),
        new.display()
    );
    let doing = || format!("making the delta from {} to {}", old.display(), new.display());
    let parts = |bundle, path| {
        Ok::<_, anyhow::Error>([part(bundle, path, IMAGES[0])?, part(bundle, path, IMAGES[1])?])
    };
    let header =
        Header { zstd: zstd_version(), old: old_sha256, new: new_sha256, memory: limits::MEMORY };
    let images = [parts(&old_bundle, old)?, parts(&new_bundle, new)?];
    let pair = Pair { old: (&old_bundle, old), new: &new_bundle, images, header };
    let [[old_boot, _], [new_boot, _]] = &pair.images;
    let kernels =
        [Kernel::find(old_boot).with_context(doing)?, Kernel::find(new_boot).with_context(doing)?];
    let [old_kernel, new_kernel] = kernels.each_ref().map(Option::as_ref);
    let old_blocks = OldBlocks::read(&pair.images[0], old_kernel.map(|kernel| &kernel.place))
        .with_context(doing)?;

    let full = new.metadata().with_context(doing)?.len();
    let new_summary = Summary { full, memory: limits::MEMORY, ..Summary::default() };
    let place = new_kernel.map(|kernel| kernel.place.clone());
    let mut root_summary = new_summary;
    let root =
        pair.records(1, &old_blocks, None, &mut root_summary, |_| true).with_context(doing)?;
    let mut written = Written::default();
    if let Some(out) = outputs.small {
        let mut boot_summary = Summary::default();
        let boot = pair
            .records(0, &old_blocks, place.as_ref(), &mut boot_summary, |_| true)
            .with_context(doing)?;
        let summary = root_summary.with(&boot_summary);
        written.small = Some(pair.finish(out, Records([&boot, &root]), summary)?);
    }

    let Some(out) = outputs.kernel else { return Ok(written) };
    let (place, (record, memory)) =
        match (place, kernel::record(old_kernel, new_kernel).with_context(doing)?) {
            (Some(place), Ok(made)) => (place, made),
            (_, why) => {
                written.kernel = Some(Err(why.err().unwrap_or_default()));
                return Ok(written);
            }
        };
    let mut boot_summary = Summary { memory, ..Summary::default() };
    let mut boot = pair
        .records(0, &old_blocks, Some(&place), &mut boot_summary, |block| {
            block.offset < place.start
        })
        .with_context(doing)?;
    boot_summary.patched.0 += place.end - place.start;
    boot_summary.patched.1 += record.len() as u64;
    boot.extend(record);
    boot.extend(
        pair.records(0, &old_blocks, Some(&place), &mut boot_summary, |block| {
            block.offset >= place.end
        })
        .with_context(doing)?,
    );
    let pair = Pair { header: Header { memory, ..pair.header }, ..pair };
    let summary = root_summary.with(&boot_summary);
    written.kernel = Some(Ok(pair.finish(out, Records([&boot, &root]), summary)?));
    Ok(written)
}

impl Pair<'_> {
    /// Makes the records of those blocks of image `number` that `is_wanted` chooses. These blocks
    /// are neighbours.
    fn records(
        &self,
        number: usize,
        old: &OldBlocks,
        frame: Option<&Range<u64>>,
        summary: &mut Summary,
        is_wanted: impl Fn(&Block) -> bool,
    ) -> Result<Vec<u8>> {
        let (image, name) = (&self.images[1][number], IMAGES[number]);
        let verity = self.new.manifest().image(name).and_then(|image| image.verity);
        let mut blocks = Block::all(image, verity.as_ref(), frame)?;
        blocks.retain(is_wanted);
        let mut again = PackedAgain::new(facts::zstd_levels(&self.new.manifest().meta));
        let groups = Group::form(image, blocks, old, &mut again)?;
        summary.strange += again.strange;
        summary.whole += again.whole;
        let (bytes, time) = &mut summary.packed;
        (*bytes, *time) = (*bytes + again.done.0, *time + again.done.1);
        let total = groups.iter().map(Group::bytes).sum();
        let progress = Progress::bytes(&format!("Comparing image {name}"), total);
        let mut bytes = Vec::new();
        for steps in groups::encode(&groups, image, &self.images[0], old, &progress)? {
            for Step { record, packed, made } in steps {
                let len = packed.len() as u64;
                match record {
                    Record::Copy { .. } => summary.copied += made,
                    Record::Patch(_) | Record::Frame(_) => {
                        summary.patched = (summary.patched.0 + made, summary.patched.1 + len);
                    }
                    Record::Literal(_) => {
                        summary.literal = (summary.literal.0 + made, summary.literal.1 + len)
                    }
                    Record::Tree => summary.tree += made,
                }
                bytes.extend(packed);
            }
        }
        progress.done(&Amount(bytes.len() as u64).to_string());
        Ok(bytes)
    }

    /// Writes the delta, proves it and gives it its name.
    fn finish(
        &self,
        out: &Path,
        Records(records): Records<'_>,
        mut summary: Summary,
    ) -> Result<Summary> {
        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let writing = || format!("writing the delta {}", out.display());
        // The mode follows the umask, because a web server must read the file.
        let mut file = tempfile::Builder::new();
        let mut file = file
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .with_context(writing)?;
        for bytes in [&self.header.encode(), records[0], records[1]] {
            file.write_all(bytes).with_context(writing)?;
        }
        file.as_file().sync_all().with_context(writing)?;
        summary.bytes = file.as_file().metadata().with_context(writing)?.len();
        let from = BufReader::new(File::open(file.path()).with_context(writing)?);
        prove(from, self).context("applying the delta that was just made")?;
        file.persist(out).with_context(writing)?;
        Ok(summary)
    }
}

/// Applies a whole delta and drops the output. Each chunk of the output is checked against its
/// hash.
fn prove(from: impl Read, pair: &Pair<'_>) -> Result<()> {
    let Pair { old: (old, path), new, header, .. } = pair;
    let (boot, root) = (part(old, path, IMAGES[0])?, part(old, path, IMAGES[1])?);
    let mut delta = Delta::open(from, new, header.old, OldImages { boot, root }, header.memory)?;
    let total =
        IMAGES.iter().filter_map(|name| new.manifest().image(name)).map(|image| image.size).sum();
    let progress = Progress::bytes("Applying the delta", total);
    let mut chunk = Vec::new();
    while delta.next_chunk(&mut chunk)?.is_some() {
        progress.advance(chunk.len() as u64);
    }
    progress.done("it makes every chunk of the new bundle");
    Ok(())
}

/// Returns the image `name` of the bundle at `path`.
fn part(bundle: &Verified<FileDisk>, path: &Path, name: &str) -> Result<Part> {
    let image = bundle
        .manifest()
        .image(name)
        .with_context(|| format!("{} has no image {name}", path.display()))?;
    let disk =
        FileDisk::open_read_only(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(Part::new(disk, image.offset, image.size))
}

impl Written {
    /// Describes the deltas for people, or says why there is no delta with the kernel's payload.
    #[must_use]
    pub fn to_text(&self) -> String {
        let small = self.small.as_ref().map_or(String::new(), Summary::to_text);
        let kernel = match &self.kernel {
            Some(Ok(summary)) => format!("with the kernel's payload:\n{}", summary.to_text()),
            Some(Err(why)) => format!("no delta with the kernel's payload: {why}\n"),
            None => String::new(),
        };
        small + &kernel
    }
}

impl Summary {
    /// Adds two summaries. `bytes`, `full` and `memory` are the larger of the two.
    fn with(self, other: &Self) -> Self {
        let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        Self {
            bytes: self.bytes.max(other.bytes),
            full: self.full.max(other.full),
            memory: self.memory.max(other.memory),
            copied: self.copied + other.copied,
            patched: sum(self.patched, other.patched),
            literal: sum(self.literal, other.literal),
            tree: self.tree + other.tree,
            strange: self.strange + other.strange,
            whole: self.whole + other.whole,
            packed: (self.packed.0 + other.packed.0, self.packed.1 + other.packed.1),
        }
    }

    /// Describes the delta for people: its share of the full bundle, and the origin of the bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let share = |bytes: u64| 100.0 * bytes as f64 / self.full.max(1) as f64;
        let mut text = format!(
            "delta        {}, {:.1} % of the bundle ({})\ncopies       {}\npatches      {} made \
                of {}\nliterals     {} packed to {}\n",
            Amount(self.bytes),
            share(self.bytes),
            Amount(self.full),
            Amount(self.copied),
            Amount(self.patched.0),
            Amount(self.patched.1),
            Amount(self.literal.0),
            Amount(self.literal.1),
        );
        text += &format!("memory       {} MiB on the device\n", self.memory);
        if self.packed.0 > 0 {
            text += &format!(
                "packing      {} again on the device: {:.1} s of one processor like this one\n",
                Amount(self.packed.0),
                self.packed.1.as_secs_f64()
            );
        }
        if self.tree > 0 {
            text += &format!("dm-verity    {}, computed by the device\n", Amount(self.tree));
        }
        if self.whole > 0 {
            text += &format!(
                "whole blocks {}: no device packs xz or a zstd level above {} again; `level` and \
                    `module-level` of the recipe decide it\n",
                Amount(self.whole),
                FAST
            );
        }
        if self.strange > 0 {
            text += &format!(
                "warning      {} of changed blocks are not of this program's zstd and are sent \
                    whole\n",
                Amount(self.strange)
            );
        }
        text
    }
}
