//! The catalog of messages, which systemd-journal-catalog-update.service makes.
//!
//! A trigger of systemd's package makes it when another package brings messages. `journalctl -x`
//! reads it. The format is that of systemd's `catalog.c`, little endian. Sizes and counts follow a
//! signature of 8 bytes and two words of flags: size of the header, number of items, size of an
//! item. An item begins with the message's id of 16 bytes.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::bundling::tree::{Kind, Tree};

const FOLDERS: [&str; 2] = ["usr/lib/systemd/catalog", "usr/local/lib/systemd/catalog"];
const DATABASE: &str = "var/lib/systemd/catalog/database";

/// Names a file with a message that the database does not have.
pub(super) fn undone(tree: &Tree) -> Result<Option<String>> {
    let database = tree.read(DATABASE).unwrap_or_default();
    let known = known(&database).unwrap_or_default();
    for path in FOLDERS.iter().flat_map(|folder| tree.below(folder)) {
        let is_file = tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::File(_)));
        if !is_file || !path.ends_with(".catalog") {
            continue;
        }
        let bytes = tree.read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        if text.lines().filter_map(id).any(|id| !known.contains(&id)) {
            return Ok(Some(format!(
                "/{path} is not in /{DATABASE}; run `journalctl --update-catalog` in the recipe"
            )));
        }
    }
    Ok(None)
}

/// The id of a line that begins a message: `-- ` and 32 digits.
fn id(line: &str) -> Option<[u8; 16]> {
    let digits = line.strip_prefix("-- ")?.get(..32)?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

/// The ids of a database. `None`: it is none.
fn known(database: &[u8]) -> Option<BTreeSet<[u8; 16]>> {
    let number = |at: usize| -> Option<usize> {
        let bytes = database.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    if !database.starts_with(b"RHHHKSLP") {
        return None;
    }
    let (header, items, size) = (number(16)?, number(24)?, number(32)?);
    let all = items.checked_mul(size).and_then(|all| database.get(header..)?.get(..all))?;
    all.chunks(size.max(1)).map(|item| item.get(..16)?.try_into().ok()).collect()
}
