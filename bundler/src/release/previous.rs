//! Reads the accounts of the bundle that devices run now.
//!
//! `bundling::accounts` compares them. The bundle is verified first, because a C library reads its
//! root image.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bundle::Keyring;

use crate::bundling::accounts::Previous;
use crate::lock::Accounts;
use crate::release::image::open_verified;

/// Most bytes of `/etc/passwd` or `/etc/group`.
const LIMIT: usize = 4 << 20;

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
    // libsquashfs opens a file by its name.
    let work = tempfile::tempdir().context("making a temporary folder")?;
    let root = work.path().join("root.img");
    let mut file = File::create(&root).with_context(|| format!("creating {}", root.display()))?;
    let mut chunk = Vec::new();
    for index in 0..verified.chunks("root").len() {
        verified.read_chunk("root", index, &mut chunk).with_context(reading)?;
        file.write_all(&chunk).with_context(|| format!("writing {}", root.display()))?;
    }
    let text = |path: &str| {
        squashfs_ng::read_file(&root, path, LIMIT)
            .map(Option::unwrap_or_default)
            .with_context(reading)
    };
    let accounts = Accounts::parse(&text("etc/passwd")?, &text("etc/group")?);
    Ok(Previous { name, accounts })
}
