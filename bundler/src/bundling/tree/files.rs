//! A root filesystem in memory: metadata here, contents as places in the tar they came from.
//!
//! Where a tree comes from is left to `tar`, and where it goes to `squash`.
//!
//! Paths are relative and without `./`: `usr/bin/daruma`; the root is the empty path. Two names of
//! one inode are a hard link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes of an open file, most often the tar.
    Span {
        /// The open file.
        file: Arc<File>,
        /// Where the content starts, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// Bytes made here.
    Bytes(Arc<[u8]>),
}

impl Content {
    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a size, not a collection")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Span { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// All of it, in memory.
    ///
    /// # Errors
    /// When the tar cannot be read.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A reader from the start.
    #[must_use]
    pub fn reader(&self) -> ContentReader {
        ContentReader { content: self.clone(), at: 0 }
    }
}

/// Reads a [`Content`]; many can read one tar, because none moves the file's position.
#[derive(Clone, Debug)]
pub struct ContentReader {
    content: Content,
    at: u64,
}

impl Read for ContentReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.content.len() - self.at).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        if want == 0 {
            return Ok(0);
        }
        let got = match &self.content {
            Content::Span { file, offset, .. } => {
                file.read_at(&mut buf[..want], offset + self.at)?
            }
            Content::Bytes(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX);
                buf[..want].copy_from_slice(&bytes[at..at + want]);
                want
            }
        };
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.at += got as u64;
        Ok(got)
    }
}

/// What an inode is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A regular file.
    File(Content),
    /// A folder; its entries are the paths below it.
    Dir,
    /// A symbolic link to this text.
    Symlink(String),
    /// Character device: major, minor.
    CharDevice(u32, u32),
    /// Block device: major, minor.
    BlockDevice(u32, u32),
    /// Named pipe.
    Fifo,
}

/// One file with all that is kept of it.
#[derive(Clone, Debug)]
pub struct Inode {
    /// What it is.
    pub kind: Kind,
    /// Permissions: the lower 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Extended attributes, names with their namespace.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Inode {
    /// Of root's, without extended attributes.
    #[must_use]
    pub fn new(kind: Kind, mode: u16, mtime: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}

/// Number of an inode in its [`Tree`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InodeId(usize);

/// Names and inodes.
#[derive(Clone, Debug)]
pub struct Tree {
    names: BTreeMap<String, InodeId>,
    inodes: Vec<Inode>,
    /// Time of what is added here.
    mtime: u32,
}

impl Tree {
    /// An empty root folder; `mtime` (seconds since 1970) is the time of everything added by
    /// [`Tree::put`] and its like.
    #[must_use]
    pub fn new(mtime: u32) -> Self {
        let root = Inode::new(Kind::Dir, 0o755, mtime);
        Self { names: BTreeMap::from([(String::new(), InodeId(0))]), inodes: vec![root], mtime }
    }

    /// The inode of a name.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Inode> {
        self.names.get(path).map(|id| &self.inodes[id.0])
    }

    /// The number of the inode of a name; the same for two hard links.
    #[must_use]
    pub fn id(&self, path: &str) -> Option<InodeId> {
        self.names.get(path).copied()
    }

    /// The inode of a number.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0]
    }

    /// All names with their inodes, sorted by path, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.names.iter().map(|(path, id)| (path.as_str(), *id))
    }

    /// Names below a folder, not the folder itself.
    pub fn below(&self, dir: &str) -> impl Iterator<Item = &str> {
        let start = if dir.is_empty() { "\0".to_owned() } else { format!("{dir}/") };
        let prefix = if dir.is_empty() { String::new() } else { start.clone() };
        let range = self.names.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
        range.map(|(path, _)| path.as_str()).take_while(move |path| path.starts_with(&prefix))
    }

    /// Adds a name; missing folders above it are made. A name that is there is replaced.
    pub fn insert(&mut self, path: &str, inode: Inode) {
        self.ensure_parent(path);
        let id = InodeId(self.inodes.len());
        self.inodes.push(inode);
        self.names.insert(path.to_owned(), id);
    }

    /// Adds a second name of a file.
    ///
    /// # Errors
    /// When the first name is not there.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let id = self
            .id(target)
            .with_context(|| format!("the hard link {path} leads to {target}, which is missing"))?;
        self.ensure_parent(path);
        self.names.insert(path.to_owned(), id);
        Ok(())
    }

    /// Changes the metadata of a name.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Inode> {
        let id = self.id(path)?;
        Some(&mut self.inodes[id.0])
    }

    /// Adds a file of root's.
    pub fn put(&mut self, path: &str, mode: u16, bytes: impl Into<Arc<[u8]>>) {
        self.insert(path, Inode::new(Kind::File(Content::Bytes(bytes.into())), mode, self.mtime));
    }

    /// Adds a symbolic link.
    pub fn put_symlink(&mut self, path: &str, target: &str) {
        self.insert(path, Inode::new(Kind::Symlink(target.to_owned()), 0o777, self.mtime));
    }

    /// Adds a folder, unless something of this name is there.
    pub fn ensure_dir(&mut self, path: &str) {
        if self.get(path).is_none() {
            self.insert(path, Inode::new(Kind::Dir, 0o755, self.mtime));
        }
    }

    fn ensure_parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.ensure_dir(parent);
        }
    }

    /// Removes a name and everything below it.
    pub fn remove(&mut self, path: &str) {
        let below: Vec<String> = self.below(path).map(str::to_owned).collect();
        for name in below {
            self.names.remove(&name);
        }
        if !path.is_empty() {
            self.names.remove(path);
        }
    }

    /// Removes what is below a folder for which `drop` says so; a folder takes its content along.
    pub fn remove_below(&mut self, dir: &str, drop: impl Fn(&str) -> bool) {
        let names: Vec<String> =
            self.below(dir).filter(|path| drop(path)).map(str::to_owned).collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// Gives a file or folder, with all below it, another name.
    ///
    /// # Errors
    /// When it is not there.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        if self.get(from).is_none() {
            bail!("{from} is not in the root filesystem");
        }
        self.ensure_parent(to);
        let moved: Vec<String> =
            std::iter::once(from).chain(self.below(from)).map(str::to_owned).collect();
        for name in moved {
            if let Some(id) = self.names.remove(&name) {
                self.names.insert(format!("{to}{}", &name[from.len()..]), id);
            }
        }
        Ok(())
    }

    /// The bytes of a regular file.
    ///
    /// # Errors
    /// When it is missing, not a regular file, or cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        match self.get(path).map(|inode| &inode.kind) {
            Some(Kind::File(content)) => {
                content.read().with_context(|| format!("reading {path} from the tar"))
            }
            Some(_) => bail!("{path} of the root filesystem is not a regular file"),
            None => bail!("{path} is not in the root filesystem"),
        }
    }
}
