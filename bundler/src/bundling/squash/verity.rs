//! Makes the dm-verity tree of the root image.
//!
//! `veritysetup` computes the tree on plain files, as any user. The salt follows from the content,
//! so the same image gives the same tree.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bundle::{Salt, Sha256, Verity, verity_tree_size};
use sha2::Digest;

use crate::host::cache::hex;
use crate::host::tool;

/// Bytes of a data block and of a hash block.
const BLOCK: u64 = 4096;

/// Pads the image to whole blocks and appends its tree: SHA-256, no superblock.
///
/// The salt is the hash of the data. The same data therefore gets the same tree, and different data
/// gets a different salt.
///
/// # Errors
/// veritysetup is missing (package cryptsetup-bin) or fails, or the file cannot be written.
pub fn append(image: &Path) -> Result<Verity> {
    let doing = || format!("adding the dm-verity tree to {}", image.display());
    let mut file = File::options().read(true).write(true).open(image).with_context(doing)?;
    let size = file.metadata().with_context(doing)?.len().next_multiple_of(BLOCK);
    file.set_len(size).with_context(doing)?;
    let salt = Salt(hash(&mut file).with_context(doing)?);
    let tree = image.with_extension("verity");
    // This program makes the file, because veritysetup needs an existing file of the right kind.
    File::create(&tree).with_context(doing)?;
    let mut command = tool::command("veritysetup");
    command.args([
        "format",
        "--no-superblock",
        "--hash=sha256",
        "--data-block-size=4096",
        "--hash-block-size=4096",
    ]);
    command.arg(format!("--data-blocks={}", size / BLOCK)).arg(format!("--salt={}", hex(&salt.0)));
    let text = tool::run(command.arg(image).arg(&tree)).with_context(doing)?;
    let root = text.lines().find_map(|line| line.strip_prefix("Root hash:")).map(str::trim);
    let root = root.with_context(|| format!("veritysetup gave no root hash: {text}"))?.to_owned();
    let root =
        Sha256::try_from(root).map_err(|why| anyhow::anyhow!("veritysetup's root hash: {why}"))?;

    let mut tree_file = File::open(&tree).with_context(doing)?;
    let tree_size = tree_file.metadata().with_context(doing)?.len();
    ensure!(
        tree_size == verity_tree_size(size),
        "veritysetup wrote a tree of {tree_size} bytes for {size} bytes of data"
    );
    file.seek(SeekFrom::End(0)).with_context(doing)?;
    std::io::copy(&mut tree_file, &mut file).with_context(doing)?;
    fs::remove_file(&tree).with_context(doing)?;
    Ok(Verity { hash: root, salt, size })
}

/// Returns the SHA-256 of a whole file.
fn hash(file: &mut File) -> std::io::Result<[u8; 32]> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = sha2::Sha256::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(hash.finalize().into()),
            got => hash.update(&buf[..got]),
        }
    }
}
