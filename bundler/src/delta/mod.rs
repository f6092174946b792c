//! `daruma-bundler delta`: what leads from one bundle to another, for devices that hold the first.
//!
//! New blocks that the old bundle has are copied; the others are made of the old blocks that have most in common with
//! them ([`similar`]), whatever file they belong to; what cannot be made that way is sent as it is.

mod blocks;
mod groups;
mod similar;

use std::fs::{File, Permissions};
use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bundle::delta::{Delta, Header, OldImages, Record, zstd_version};
use bundle::{Keyring, Verified};
use image_layout::FileDisk;

use crate::image::open_verified;
use crate::part::Part;
use crate::progress::{Progress, size};
use blocks::{Block, OldBlocks};
use groups::{Group, Step};

/// The images that a delta makes.
const IMAGES: [&str; 2] = ["boot", "root"];

/// What a delta consists of.
#[derive(Clone, Copy, Default, Debug)]
pub struct Summary {
    /// Bytes of the delta.
    pub bytes: u64,
    /// Bytes of the new bundle.
    pub full: u64,
    /// Bytes of the new images that are copied from the old ones.
    pub copied: u64,
    /// Bytes of the new images that are made of old blocks, and of the delta that say how.
    pub patched: (u64, u64),
    /// Bytes of the new images that are sent as they are, and of the delta for them.
    pub literal: (u64, u64),
    /// Bytes of dm-verity tree, which the device computes.
    pub tree: u64,
    /// Changed blocks that the zstd of this program does not make again, and that are therefore sent as they are.
    pub strange: u64,
}

/// Writes to `out` the delta from the bundle `old` to the bundle `new`, and proves that it leads there.
///
/// # Errors
/// A bundle cannot be read or is refused, or `out` cannot be written.
pub fn write(old: &Path, new: &Path, keyring: &Keyring, out: &Path) -> Result<Summary> {
    let (old_bundle, new_bundle) = (open_verified(old, keyring)?, open_verified(new, keyring)?);
    let header =
        Header { zstd: zstd_version(), old: old_bundle.manifest_sha256(), new: new_bundle.manifest_sha256() };
    let doing = || format!("making the delta from {} to {}", old.display(), new.display());
    ensure!(header.old != header.new, "{} and {} are the same bundle", old.display(), new.display());

    let old_images = [part(&old_bundle, old, IMAGES[0])?, part(&old_bundle, old, IMAGES[1])?];
    let old_blocks = OldBlocks::read(&old_images).with_context(doing)?;

    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writing = || format!("writing the delta {}", out.display());
    // As the umask says, and not for the owner alone: a web server is to read it.
    let mut file = tempfile::Builder::new();
    let mut file = file.permissions(Permissions::from_mode(0o666)).tempfile_in(dir).with_context(writing)?;
    file.write_all(&header.encode()).with_context(writing)?;
    let mut summary = Summary { full: new.metadata().with_context(doing)?.len(), ..Summary::default() };
    for name in IMAGES {
        let image = part(&new_bundle, new, name)?;
        let verity = new_bundle.manifest().image(name).and_then(|image| image.verity);
        let blocks = Block::all(&image, verity.as_ref()).with_context(doing)?;
        let groups = Group::form(&image, blocks, &old_blocks, &mut summary.strange).with_context(doing)?;
        let progress =
            Progress::bytes(&format!("Comparing image {name}"), groups.iter().map(Group::bytes).sum());
        for steps in
            groups::encode(&groups, &image, &old_images, &old_blocks, &progress).with_context(doing)?
        {
            for Step { record, packed, made } in steps {
                let packed_len = packed.len() as u64;
                match record {
                    Record::Copy { .. } => summary.copied += made,
                    Record::Patch(_) => {
                        summary.patched = (summary.patched.0 + made, summary.patched.1 + packed_len);
                    }
                    Record::Literal(_) => {
                        summary.literal = (summary.literal.0 + made, summary.literal.1 + packed_len);
                    }
                    Record::Tree => summary.tree += made,
                }
                file.write_all(&packed).with_context(writing)?;
            }
        }
        progress.done(&size(file.as_file().metadata().with_context(writing)?.len()));
    }
    file.as_file().sync_all().with_context(writing)?;
    summary.bytes = file.as_file().metadata().with_context(writing)?.len();

    let [boot, root] = old_images;
    let from = File::open(file.path()).with_context(writing)?;
    let delta = Delta::open(BufReader::new(from), &new_bundle, header.old, OldImages { boot, root });
    prove(delta.with_context(doing)?, &new_bundle).context("applying the delta that was just made")?;
    file.persist(out).with_context(writing)?;
    Ok(summary)
}

/// Applies a whole delta and drops what comes out: each chunk has been held against its hash.
fn prove<N, R: std::io::Read>(mut delta: Delta<'_, N, Part, R>, new: &Verified<N>) -> Result<()> {
    let total = IMAGES.iter().filter_map(|name| new.manifest().image(name)).map(|image| image.size).sum();
    let progress = Progress::bytes("Applying the delta", total);
    let mut chunk = Vec::new();
    while delta.next_chunk(&mut chunk)?.is_some() {
        progress.advance(chunk.len() as u64);
    }
    progress.done("it makes every chunk of the new bundle");
    Ok(())
}

/// The image `name` of the bundle at `path`.
fn part(bundle: &Verified<FileDisk>, path: &Path, name: &str) -> Result<Part> {
    let image =
        bundle.manifest().image(name).with_context(|| format!("{} has no image {name}", path.display()))?;
    let disk = FileDisk::open_read_only(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(Part::new(disk, image.offset, image.size))
}

impl Summary {
    /// For people: the share of the full bundle, and where the bytes come from.
    #[must_use]
    pub fn to_text(&self) -> String {
        let share = |bytes: u64| 100.0 * bytes as f64 / self.full.max(1) as f64;
        let mut text = format!(
            "delta        {}, {:.1} % of the bundle ({})\ncopies       {}\npatches      {} made of {}\nliterals     {} packed to {}\n",
            size(self.bytes),
            share(self.bytes),
            size(self.full),
            size(self.copied),
            size(self.patched.0),
            size(self.patched.1),
            size(self.literal.0),
            size(self.literal.1),
        );
        if self.tree > 0 {
            text += &format!("dm-verity    {}, computed by the device\n", size(self.tree));
        }
        if self.strange > 0 {
            text += &format!(
                "warning      {} of changed blocks are not of this program's zstd and are sent whole\n",
                size(self.strange)
            );
        }
        text
    }
}
