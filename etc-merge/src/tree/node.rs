//! Reads entries from a folder.
//!
//! A file's content is read only when its path is compared, and never when it is large or known to
//! be the same in both images.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::limits::{Beat, MAX_ACCOUNTS, MAX_FILE, beat};
use crate::tree::attributes;
use crate::tree::entry::{Content, Entry, Kind, Meta};
use crate::tree::marks::{Marked, Marks};

/// The type bits of `st_mode`.
const TYPE: u32 = 0o170_000;
/// Bytes that are compared at a time.
const PIECE: usize = 64 << 10;

/// An entry whose content was not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) path: PathBuf,
    pub(crate) stat: Metadata,
    pub(crate) meta: Meta,
    pub(crate) marked: Marked,
}

impl Node {
    /// Looks at a path without following it. `None` if nothing is there.
    pub(crate) fn look(path: &Path, marks: Marks) -> Result<Option<Self>, Error> {
        let stat = match fs::symlink_metadata(path) {
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            other => other.map_err(Error::at("looking at", path))?,
        };
        let mut meta = Meta {
            mode: stat.mode() & !TYPE,
            uid: stat.uid(),
            gid: stat.gid(),
            xattrs: Default::default(),
        };
        let mut marked = Marked::default();
        let wanted = |name: &[u8]| !marks.is_of_its_lower(name);
        // A link or a device in an upper has no marks, but may have other attributes.
        for (name, value) in attributes::read(path, wanted).map_err(Error::at("reading", path))? {
            match marks.own(&name) {
                Some(name) => marked.note(name, &value),
                None => drop(meta.xattrs.insert(name, value)),
            }
        }
        Ok(Some(Self { path: path.to_owned(), stat, meta, marked }))
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.stat.is_dir()
    }

    pub(crate) fn is_file(&self) -> bool {
        self.stat.is_file()
    }

    /// Bytes of a file.
    fn length(&self) -> u64 {
        self.stat.size()
    }

    /// True if the entry of an upper hides what is below it and shows nothing. `in_marked` says if
    /// its folder may hold whiteouts of the newer form.
    pub(crate) fn is_whiteout(&self, in_marked: bool) -> bool {
        let device = self.stat.file_type().is_char_device() && self.stat.rdev() == 0;
        device || (in_marked && self.marked.whiteout && self.is_file() && self.stat.size() == 0)
    }

    /// Which file it is, if the file has several names.
    pub(crate) fn linked(&self) -> Option<(u64, u64)> {
        (!self.is_folder() && self.stat.nlink() > 1).then(|| (self.stat.dev(), self.stat.ino()))
    }

    /// The content of a regular file of at most [`MAX_FILE`] bytes.
    pub(crate) fn bytes(&self) -> Result<Option<Vec<u8>>, Error> {
        if !self.is_file() || self.stat.size() > MAX_FILE {
            return Ok(None);
        }
        let read = || -> io::Result<Vec<u8>> {
            // With one byte more than the file, the second read finds the end.
            let length = usize::try_from(self.stat.size()).unwrap_or_default();
            let mut bytes = Vec::with_capacity(length + 1);
            File::open(&self.path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(Error::at("reading", &self.path))?;
        Ok((bytes.len() as u64 <= MAX_FILE).then_some(bytes))
    }

    /// The content of an account file of at most [`MAX_ACCOUNTS`] bytes.
    pub(crate) fn accounts(&self) -> Result<Option<Vec<u8>>, Error> {
        if self.stat.size() > MAX_ACCOUNTS { Ok(None) } else { self.bytes() }
    }

    /// Reads the entry. A file is compared with the others that were read before, which come with
    /// their nodes. `unread`: its content is compared as if it were large.
    fn entry(
        &self,
        others: &[(&Self, Content)],
        unread: bool,
        tick: Beat<'_>,
    ) -> Result<Entry, Error> {
        let kind = if self.is_folder() {
            Kind::Folder
        } else if self.is_file() {
            let bytes = if unread { None } else { self.bytes()? };
            Kind::File(match bytes {
                Some(bytes) => Content::Bytes(bytes),
                None => self.compared(others, tick)?,
            })
        } else if self.stat.is_symlink() {
            let target = fs::read_link(&self.path).map_err(Error::at("reading", &self.path))?;
            Kind::Link(target.into_os_string().into_vec())
        } else {
            Kind::Special { kind: self.stat.mode() & TYPE, device: self.stat.rdev() }
        };
        Ok(Entry { kind, meta: self.meta.clone() })
    }

    fn compared(&self, others: &[(&Self, Content)], tick: Beat<'_>) -> Result<Content, Error> {
        for (node, content) in others {
            if matches!(content, Content::Unread(_)) && same_bytes(self, node, tick)? {
                return Ok(content.clone());
            }
        }
        // There are three sides.
        Ok(Content::Unread(u8::try_from(others.len()).unwrap_or(u8::MAX)))
    }
}

fn same_bytes(one: &Node, other: &Node, tick: Beat<'_>) -> Result<bool, Error> {
    if one.stat.size() != other.stat.size() {
        return Ok(false);
    }
    let open = |node: &Node| File::open(&node.path).map_err(Error::at("reading", &node.path));
    let mut files = [open(one)?, open(other)?];
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    loop {
        beat(tick)?;
        let mut lengths = [0; 2];
        for (index, node) in [one, other].into_iter().enumerate() {
            let length = full(&mut files[index], &mut pieces[index]);
            lengths[index] = length.map_err(Error::at("reading", &node.path))?;
        }
        if pieces[0][..lengths[0]] != pieces[1][..lengths[1]] {
            return Ok(false);
        }
        if lengths[0] < PIECE {
            return Ok(true);
        }
    }
}

/// Reads until the piece is full or the file ends.
fn full(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < piece.len() {
        match file.read(&mut piece[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Reads the entries of one path, so that equal files have equal contents.
///
/// `unchanged`: the first and the last are known to have the same content. Their files are not read
/// then, unless the middle one has their length.
pub(crate) fn entries(
    nodes: [Option<&Node>; 3],
    unchanged: bool,
    tick: Beat<'_>,
) -> Result<[Option<Entry>; 3], Error> {
    let file = |index: usize| nodes[index].filter(|node| node.is_file());
    let unchanged = unchanged
        && file(0)
            .map(Node::length)
            .is_some_and(|length| file(2).map(Node::length) == Some(length));
    let mut entries = [None, None, None];
    let mut read: Vec<(&Node, Content)> = Vec::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let Some(node) = node else { continue };
        let entry = match &entries[0] {
            Some(Entry { kind, .. }) if unchanged && index == 2 => {
                Entry { kind: kind.clone(), meta: node.meta.clone() }
            }
            _ => node.entry(&read, unchanged, tick)?,
        };
        if let Kind::File(content) = &entry.kind {
            read.push((node, content.clone()));
        }
        entries[index] = Some(entry);
    }
    Ok(entries)
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<BTreeSet<OsString>, Error> {
    let read = || -> io::Result<_> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(folder)? {
            names.insert(entry?.file_name());
        }
        Ok(names)
    };
    read().map_err(Error::at("reading", folder))
}
