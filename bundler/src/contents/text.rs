//! Texts from a system and for a person.
//!
//! Nobody has verified the system: a text may be of any size, and a name may hold anything.

use crate::bundling::tree::{Kind, Tree};

/// Largest text that is read, in bytes. dpkg's list of a large workstation has 5 MB.
const LARGEST: u64 = 64 << 20;

/// Returns a text file of a tree. `None`: it is missing, is no file, cannot be read, or is larger
/// than [`LARGEST`].
pub(super) fn read(tree: &Tree, path: &str) -> Option<String> {
    match &tree.get(path)?.kind {
        Kind::File(content) if content.len() <= LARGEST => {
            Some(String::from_utf8_lossy(&content.read().ok()?).into_owned())
        }
        _ => None,
    }
}

/// Returns a text without what moves the cursor of a terminal: control characters, but for line
/// feeds, are shown as Rust writes them.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            plain.extend(c.escape_debug());
        } else {
            plain.push(c);
        }
    }
    plain
}
