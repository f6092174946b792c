//! A root filesystem in memory. It has the metadata, and the places of the contents in their tar.
//!
//! `tar` makes a tree, and `squash` packs it.
//!
//! Paths are relative and without `./`, for instance `usr/bin/daruma`. The root is the empty path.
//! Two names of one inode are a hard link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

/// The content of a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes of an open file, which is most often the tar.
    Span {
        /// The open file.
        file: Arc<File>,
        /// Where the content starts, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
}

impl Content {
    /// Returns the length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a size, not a collection")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Span { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Reads the whole content into memory.
    ///
    /// # Errors
    /// The tar cannot be read.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns a reader that begins at the start.
    #[must_use]
    pub fn reader(&self) -> ContentReader {
        ContentReader { content: self.clone(), at: 0 }
    }

    /// Returns the first byte that is another one in `other`, as far as both reach. `None`: one is
    /// the beginning of the other.
    ///
    /// # Errors
    /// A tar cannot be read.
    pub fn first_difference(&self, other: &Self) -> std::io::Result<Option<u64>> {
        const PIECE: u64 = 1 << 18;
        let (mut old, mut new) = (self.reader(), other.reader());
        let (mut before, mut now) = (Vec::new(), Vec::new());
        let mut at = 0;
        loop {
            before.clear();
            now.clear();
            old.by_ref().take(PIECE).read_to_end(&mut before)?;
            new.by_ref().take(PIECE).read_to_end(&mut now)?;
            if let Some(byte) = before.iter().zip(&now).position(|(a, b)| a != b) {
                return Ok(Some(at + byte as u64));
            }
            if before.is_empty() || now.is_empty() {
                return Ok(None);
            }
            at += before.len().min(now.len()) as u64;
        }
    }
}

/// Reads a [`Content`]. Many readers can share one tar, because no reader moves the file's
/// position.
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

/// The kind of an inode.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A regular file.
    File(Content),
    /// A folder. Its entries are the paths below it.
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

/// One file with all its metadata.
#[derive(Clone, Debug)]
pub struct Inode {
    /// The kind of the file, with its content.
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
    /// Returns an inode that root owns, without extended attributes.
    #[must_use]
    pub fn new(kind: Kind, mode: u16, mtime: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}

/// The number of an inode in its [`Tree`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InodeId(usize);

/// The names and inodes of a root filesystem.
#[derive(Clone, Debug)]
pub struct Tree {
    names: BTreeMap<String, InodeId>,
    inodes: Vec<Inode>,
    /// The time of files that are added to the tree.
    mtime: u32,
}

impl Tree {
    /// Returns an empty root folder. [`Tree::put`] and its like give the time `mtime` (seconds
    /// since 1970) to what they add.
    #[must_use]
    pub fn new(mtime: u32) -> Self {
        let root = Inode::new(Kind::Dir, 0o755, mtime);
        Self { names: BTreeMap::from([(String::new(), InodeId(0))]), inodes: vec![root], mtime }
    }

    /// Returns the inode of a name.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Inode> {
        self.names.get(path).map(|id| &self.inodes[id.0])
    }

    /// Returns the number of a name's inode. Two hard links have the same number.
    #[must_use]
    pub fn id(&self, path: &str) -> Option<InodeId> {
        self.names.get(path).copied()
    }

    /// Returns the inode of a number.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0]
    }

    /// Returns all names with their inodes, sorted by path. The root comes first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.names.iter().map(|(path, id)| (path.as_str(), *id))
    }

    /// Returns the names below a folder, without the folder itself.
    pub fn below(&self, dir: &str) -> impl Iterator<Item = &str> {
        let start = if dir.is_empty() { "\0".to_owned() } else { format!("{dir}/") };
        let prefix = if dir.is_empty() { String::new() } else { start.clone() };
        let range = self.names.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
        range.map(|(path, _)| path.as_str()).take_while(move |path| path.starts_with(&prefix))
    }

    /// Adds a name, and the missing folders above it. An existing name is replaced.
    pub fn insert(&mut self, path: &str, inode: Inode) {
        self.ensure_parent(path);
        let id = InodeId(self.inodes.len());
        self.inodes.push(inode);
        self.names.insert(path.to_owned(), id);
    }

    /// Adds a second name of a file.
    ///
    /// # Errors
    /// The first name does not exist.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let id = self
            .id(target)
            .with_context(|| format!("the hard link {path} leads to {target}, which is missing"))?;
        self.ensure_parent(path);
        self.names.insert(path.to_owned(), id);
        Ok(())
    }

    /// Returns the inode of a name, to change its metadata.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Inode> {
        let id = self.id(path)?;
        Some(&mut self.inodes[id.0])
    }

    /// Adds a file that root owns.
    pub fn put(&mut self, path: &str, mode: u16, bytes: impl Into<Arc<[u8]>>) {
        self.insert(path, Inode::new(Kind::File(Content::Bytes(bytes.into())), mode, self.mtime));
    }

    /// Adds a symbolic link.
    pub fn put_symlink(&mut self, path: &str, target: &str) {
        self.insert(path, Inode::new(Kind::Symlink(target.to_owned()), 0o777, self.mtime));
    }

    /// Adds a folder, unless the name exists.
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

    /// Removes each path below a folder for which `drop` returns true. A removed folder takes its
    /// content with it.
    pub fn remove_below(&mut self, dir: &str, drop: impl Fn(&str) -> bool) {
        let names: Vec<String> =
            self.below(dir).filter(|path| drop(path)).map(str::to_owned).collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// Renames a file, or a folder with everything below it.
    ///
    /// # Errors
    /// The name `from` does not exist.
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

    /// Returns the bytes of a regular file.
    ///
    /// # Errors
    /// The file is missing, is not a regular file, or cannot be read.
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
