//! Reads the accounts of the bundle that devices run now.
//!
//! `bundling::accounts` compares them. The bundle is verified first: a stranger's numbers are no
//! reason to refuse an image.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bundle::Keyring;
use image_layout::FileDisk;

use crate::bundling::accounts::Previous;
use crate::bundling::squash;
use crate::bundling::tree::Kind;
use crate::lock::Accounts;
use crate::release::image::open_verified;
use crate::release::part::Part;

/// Most bytes of `/etc/passwd` or `/etc/group`.
const LIMIT: u64 = 4 << 20;

/// Returns the accounts of the bundle at `path`, which must be for `compatible` devices.
///
/// # Errors
/// The bundle is refused, is for other devices, or its root image cannot be read.
pub fn read(path: &Path, keyring: &Keyring, compatible: &str) -> Result<Previous> {
    let verified = open_verified(path, keyring)?;
    let update = &verified.manifest().update;
    if update.compatible.to_string() != compatible {
        bail!(
            "--previous {} is for devices of the kind {}, and the recipe is for {compatible}",
            path.display(),
            update.compatible
        );
    }
    let name = format!("{} ({})", path.display(), update.version);
    let reading = || format!("reading the accounts of the bundle {}", path.display());
    let image = verified.manifest().image("root").context("the bundle has no image root");
    let image = image.with_context(reading)?;
    let disk = FileDisk::open_read_only(path).with_context(reading)?;
    let root = Part::new(disk, image.offset, image.size);
    let tree = squash::unpack(&root).with_context(reading)?.tree;
    let text = |path: &str| -> Result<Vec<u8>> {
        let Some(Kind::File(content)) = tree.get(path).map(|inode| &inode.kind) else {
            return Ok(Vec::new());
        };
        ensure!(content.len() <= LIMIT, "/{path} is longer than {LIMIT} bytes");
        Ok(content.read()?)
    };
    let text = |path| text(path).with_context(reading);
    let accounts = Accounts::parse(&text("etc/passwd")?, &text("etc/group")?);
    Ok(Previous { name, accounts })
}
