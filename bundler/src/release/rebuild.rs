//! Compares a bundle with the one that its recipe gives again.
//!
//! `verbs::verify` builds the second one. Keys are the only thing that may differ: nobody but the
//! maker has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use bundle::{Image, Manifest};
use image_layout::{Disk, FileDisk};

use crate::bundling::squash;
use crate::bundling::tree::{Content, Inode, Kind, Tree};
use crate::release::part::Part;

/// A recipe gives another bundle (exit code 32).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Differs(pub String);

/// One of the two bundles.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its manifest.
    pub manifest: &'a Manifest,
}

impl Side<'_> {
    fn image(&self, name: &str) -> Result<(Part, &Image)> {
        let image = self.manifest.image(name);
        let image =
            image.with_context(|| format!("{} has no image {name}", self.path.display()))?;
        let disk = FileDisk::open_read_only(self.path)
            .with_context(|| format!("opening {}", self.path.display()))?;
        Ok((Part::new(disk, image.offset, image.size), image))
    }
}

/// Returns the `SOURCE_DATE_EPOCH` that a bundle was made with, in seconds. The superblock of its
/// root image has it.
///
/// # Errors
/// The bundle cannot be read.
pub fn epoch(bundle: Side<'_>) -> Result<u64> {
    let (root, _) = bundle.image("root")?;
    let time = squash::time(&root).with_context(|| format!("reading {}", bundle.path.display()))?;
    Ok(time.into())
}

/// Returns the first difference between a bundle and its rebuilt one, with the reason. `None`: all
/// bytes but the signatures are the same.
///
/// # Errors
/// A bundle cannot be read.
pub fn difference(bundle: Side<'_>, rebuilt: Side<'_>) -> Result<Option<String>> {
    if bundle.manifest == rebuilt.manifest {
        return Ok(None);
    }
    // A change in root changes boot too, so root is named first.
    let mut others: BTreeSet<String> = BTreeSet::new();
    for side in [bundle, rebuilt] {
        others.extend(side.manifest.images.keys().map(ToString::to_string));
    }
    others.remove("root");
    for name in std::iter::once("root").chain(others.iter().map(String::as_str)) {
        let ((old, image), (new, other)) = match (bundle.image(name), rebuilt.image(name)) {
            (Ok(old), Ok(new)) => (old, new),
            (Ok(_), Err(_)) => return Ok(Some(format!("only the bundle has an image {name}"))),
            _ => return Ok(Some(format!("only the rebuilt bundle has an image {name}"))),
        };
        if image.sha256 == other.sha256 && image.size == other.size {
            continue;
        }
        let trees = squash::unpack(&old).and_then(|old| Ok((old, squash::unpack(&new)?)));
        if let Ok((old, new)) = trees
            && let Some(why) = first_file(&old.tree, &new.tree)?
        {
            return Ok(Some(format!("image {name}: {why}")));
        }
        let at = first_byte(&old, &new)
            .with_context(|| format!("comparing the images {name}"))?
            .map_or_else(|| "one is longer".to_owned(), |at| format!("from byte {at} on"));
        return Ok(Some(format!(
            "image {name}: its files are the same, and their order, packing or extended \
                attributes are not ({at})"
        )));
    }
    Ok(Some(first_fact(bundle.manifest, rebuilt.manifest)))
}

/// Names a key of the manifests that differs.
fn first_fact(old: &Manifest, new: &Manifest) -> String {
    let flat = |manifest: &Manifest| -> BTreeMap<String, String> {
        let facts = manifest.meta.iter().flat_map(|(section, keys)| {
            keys.iter().map(move |(key, value)| (format!("meta.{section}.{key}"), value.clone()))
        });
        let update = &manifest.update;
        facts
            .chain([
                ("update.compatible".to_owned(), update.compatible.to_string()),
                ("update.version".to_owned(), update.version.to_string()),
                ("update.min-version".to_owned(), update.min_version.to_string()),
                ("update.description".to_owned(), update.description.clone()),
            ])
            .collect()
    };
    let (old, new) = (flat(old), flat(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let other = names.into_iter().find(|name| old.get(*name) != new.get(*name));
    other.map_or_else(
        || "the manifest or the frame of the file".to_owned(),
        |name| {
            let value = |side: &BTreeMap<String, String>| {
                side.get(name).map_or("nothing".to_owned(), |value| format!("`{value}`"))
            };
            format!("manifest: {name} is {} in the bundle and {} now", value(&old), value(&new))
        },
    )
}

/// Names the first path that differs, in the order of names.
fn first_file(old: &Tree, new: &Tree) -> Result<Option<String>> {
    let names: BTreeSet<&str> = old.iter().chain(new.iter()).map(|(path, _)| path).collect();
    // The first other name of a file's inode: two trees have the same hard links.
    let first = |tree: &Tree| {
        let mut first = BTreeMap::new();
        tree.iter()
            .map(|(path, id)| (path.to_owned(), first.entry(id).or_insert(path.to_owned()).clone()))
            .collect::<BTreeMap<String, String>>()
    };
    let (old_names, new_names) = (first(old), first(new));
    for path in names {
        let why = match (old.get(path), new.get(path)) {
            (Some(_), None) => "only the bundle has it".to_owned(),
            (None, _) => "only the rebuilt bundle has it".to_owned(),
            (Some(before), Some(now)) => {
                match inodes(before, now).with_context(|| format!("reading /{path}"))? {
                    Some(why) => why,
                    None if old_names.get(path) != new_names.get(path) => "hard links".to_owned(),
                    None => continue,
                }
            }
        };
        return Ok(Some(format!("/{path}: {why}")));
    }
    Ok(None)
}

fn inodes(old: &Inode, new: &Inode) -> Result<Option<String>> {
    let kinds = match (&old.kind, &new.kind) {
        (Kind::File(old), Kind::File(new)) => content(old, new)?,
        (old, new) if format!("{old:?}") == format!("{new:?}") => None,
        (Kind::Symlink(old), Kind::Symlink(new)) => Some(format!("leads to {old}, now to {new}")),
        _ => Some("is another kind of file".to_owned()),
    };
    if kinds.is_some() {
        return Ok(kinds);
    }
    let owner = |inode: &Inode| format!("{}:{}", inode.uid, inode.gid);
    let facts = [
        ("mode", format!("{:04o}", old.mode), format!("{:04o}", new.mode)),
        ("owner", owner(old), owner(new)),
        ("time", old.mtime.to_string(), new.mtime.to_string()),
    ];
    let other = facts.into_iter().find(|(_, old, new)| old != new);
    Ok(other.map(|(what, old, new)| format!("{what} {old}, now {new}")))
}

fn content(old: &Content, new: &Content) -> std::io::Result<Option<String>> {
    if old.len() != new.len() {
        return Ok(Some(format!("content: {} bytes, now {}", old.len(), new.len())));
    }
    Ok(old.first_difference(new)?.map(|byte| format!("content: byte {byte} is another")))
}

/// Returns the first byte that differs, as far as both images reach.
fn first_byte(old: &Part, new: &Part) -> std::io::Result<Option<u64>> {
    let end = old.size()?.min(new.size()?);
    let mut at = 0;
    let (mut before, mut now) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while at < end {
        let len = usize::try_from(end - at).map_or(1 << 20, |left| left.min(1 << 20));
        old.read_at(&mut before[..len], at)?;
        new.read_at(&mut now[..len], at)?;
        if let Some(byte) = before[..len].iter().zip(&now[..len]).position(|(a, b)| a != b) {
            return Ok(Some(at + byte as u64));
        }
        at += len as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(change: impl FnOnce(&mut Tree)) -> Option<String> {
        let tree = || {
            let mut tree = Tree::new(7);
            tree.put("etc/one", 0o644, b"1".as_slice());
            tree.put("etc/same", 0o644, b"1".as_slice());
            tree.put("etc/two", 0o644, b"2".as_slice());
            tree.put_symlink("link", "etc/one");
            tree
        };
        let mut other = tree();
        change(&mut other);
        first_file(&tree(), &other).unwrap()
    }

    #[test]
    fn the_first_file_that_differs_is_named_with_the_reason() {
        assert_eq!(first(|_| {}), None);
        let said = |wanted: &str, change: fn(&mut Tree)| {
            assert_eq!(first(change).unwrap(), wanted);
        };
        said("/etc/one: content: byte 0 is another", |tree| {
            tree.put("etc/one", 0o644, b"x".as_slice());
            tree.put("etc/two", 0o600, b"2".as_slice());
        });
        said("/etc/two: content: 1 bytes, now 2", |tree| {
            tree.put("etc/two", 0o644, b"22".as_slice());
        });
        said("/etc/two: mode 0644, now 0600", |tree| {
            tree.put("etc/two", 0o600, b"2".as_slice());
        });
        said("/etc/two: owner 0:0, now 0:5", |tree| tree.get_mut("etc/two").unwrap().gid = 5);
        said("/etc: time 7, now 8", |tree| tree.get_mut("etc").unwrap().mtime = 8);
        said("/link: leads to etc/one, now to etc/two", |tree| {
            tree.put_symlink("link", "etc/two");
        });
        said("/etc/one: only the bundle has it", |tree| tree.remove("etc/one"));
        said("/a: only the rebuilt bundle has it", |tree| {
            tree.put("a", 0o644, b"".as_slice());
        });
        said("/link: is another kind of file", |tree| {
            tree.put("link", 0o644, b"".as_slice());
        });
        said("/etc/same: hard links", |tree| tree.link("etc/same", "etc/one").unwrap());
    }
}
