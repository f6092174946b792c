//! Opens a tar or a bundle, and reads its list of packages.
//!
//! `bundling::tree` and `bundling::squash` read the files. Nothing is verified.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use bundle::Bundle;
use image_layout::FileDisk;

use crate::bundling::squash::{self, Unpacked};
use crate::bundling::tree::{InodeId, Tree, tar};
use crate::contents::owner::Owners;
use crate::contents::package::{self, Package};
use crate::contents::text;
use crate::host::tool::{self, ToolError};
use crate::release::part::Part;

/// A file that does not hold a system, or not all that was asked for (exit code 10).
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The file is of no kind that can be read.
    #[error(
        "{} is neither a tar nor a bundle; name a file that `build` or `bundle` wrote",
        .0.display()
    )]
    OtherKind(PathBuf),
    /// The tar ends early or is damaged.
    #[error("{} is torn or holds no root filesystem: {why}; get the file again", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// What its reader said.
        why: String,
    },
    /// The system has no list of packages.
    #[error("{} has no list of packages (/var/lib/dpkg/status); use --by folder", .0.display())]
    NoPackages(PathBuf),
}

/// A system, as its tar or its bundle has it.
#[derive(Debug)]
pub struct System {
    /// The file.
    pub path: PathBuf,
    /// Its files.
    pub tree: Tree,
    /// Packed bytes of each file. `None` for a tar, which packs nothing.
    pub packed: Option<BTreeMap<InodeId, u64>>,
    /// Its packages, sorted by name. `None`: it has no list.
    pub packages: Option<Vec<Package>>,
    pub(super) owners: Owners,
}

impl System {
    /// Reads a tar, packed or not, or a bundle.
    ///
    /// # Errors
    /// [`SystemError`], a [`bundle::BundleError`], or the file cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let opening = || format!("opening {}", path.display());
        let file = File::open(path).with_context(opening)?;
        let mut head = [0; 512];
        let len = read_head(&file, &mut head).with_context(opening)?;
        let (tree, packed) = match kind(&head[..len]) {
            Some(Form::Bundle) => {
                let Unpacked { tree, packed } = read_bundle(path)?;
                (tree, Some(packed))
            }
            Some(Form::Tar) => (read_tar(path, path)?, None),
            Some(Form::Packed(program)) => {
                let unpacked = unpack(path, file, program)?;
                (read_tar(unpacked.path(), path)?, None)
            }
            None => return Err(SystemError::OtherKind(path.to_owned()).into()),
        };
        let system = Self::of_tree(path, tree)?;
        Ok(Self { packed, ..system })
    }

    /// Reads the list of packages of a tree, which is (part of) what the file `path` holds.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn of_tree(path: &Path, tree: Tree) -> Result<Self> {
        let path = path.to_owned();
        let mut system =
            Self { path, tree, packed: None, packages: None, owners: Owners::default() };
        if let Some(database) = package::database(&system.tree) {
            let Some(status) = text::read(&system.tree, &format!("{database}/status")) else {
                let why = "its list of packages cannot be read, or is too large".to_owned();
                return Err(SystemError::Torn { path: system.path, why }.into());
            };
            let packages = package::packages(&status);
            system.owners = Owners::read(&system.tree, database, &packages);
            system.packages = Some(packages);
        }
        Ok(system)
    }

    /// Returns the packages.
    ///
    /// # Errors
    /// [`SystemError::NoPackages`].
    pub fn packages(&self) -> Result<&[Package], SystemError> {
        self.packages.as_deref().ok_or_else(|| SystemError::NoPackages(self.path.clone()))
    }

    /// Returns the package of a path.
    #[must_use]
    pub fn package_of(&self, path: &str) -> Option<&Package> {
        self.packages.as_deref()?.get(self.owners.of(path)?)
    }
}

/// The form of a file, by its first bytes.
enum Form {
    Bundle,
    Tar,
    /// A tar that this program unpacks.
    Packed(&'static str),
}

fn kind(head: &[u8]) -> Option<Form> {
    match head {
        [b'h', b's', b'q', b's', ..] => Some(Form::Bundle),
        [0x1f, 0x8b, ..] => Some(Form::Packed("gzip")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some(Form::Packed("xz")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Form::Packed("zstd")),
        [b'B', b'Z', b'h', ..] => Some(Form::Packed("bzip2")),
        [b'L', b'Z', b'I', b'P', ..] => Some(Form::Packed("lzip")),
        [0x89, b'L', b'Z', b'O', ..] => Some(Form::Packed("lzop")),
        // The old form of xz has no magic number, but it begins so with xz's own settings.
        [0x5d, 0, 0, ..] => Some(Form::Packed("xz")),
        _ if head.get(257..262) == Some(b"ustar") => Some(Form::Tar),
        _ => None,
    }
}

fn read_head(file: &File, head: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < head.len() {
        match file.read_at(&mut head[len..], len as u64)? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

fn read_bundle(path: &Path) -> Result<Unpacked> {
    let reading = || format!("reading the bundle {}", path.display());
    let disk = FileDisk::open_read_only(path).with_context(reading)?;
    let manifest = Bundle::read(disk).and_then(|bundle| bundle.claimed_manifest());
    let manifest = manifest.with_context(reading)?;
    let image = manifest
        .image("root")
        .with_context(|| format!("{} has no image root, so it holds no system", path.display()))?;
    let disk = FileDisk::open_read_only(path).with_context(reading)?;
    let root = Part::new(disk, image.offset, image.size);
    squash::unpack(&root).map_err(|error| torn(path, &error))
}

fn read_tar(file: &Path, name: &Path) -> Result<Tree> {
    // A tar that was cut off at the end of an entry has lost its end, which the reader of tars
    // takes for a whole one.
    if !has_end(file).with_context(|| format!("reading {}", name.display()))? {
        let why = "its end is missing".to_owned();
        return Err(SystemError::Torn { path: name.to_owned(), why }.into());
    }
    let loaded = tar::load(file, 0).map_err(|error| torn(name, &error))?;
    Ok(loaded.tree)
}

/// A tar ends with two empty blocks of 512 bytes.
fn has_end(file: &Path) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let size = file.seek(io::SeekFrom::End(0))?;
    let Some(at) = size.checked_sub(1024) else { return Ok(false) };
    let mut end = [1; 1024];
    file.read_exact_at(&mut end, at)?;
    Ok(end == [0; 1024])
}

fn torn(path: &Path, error: &anyhow::Error) -> anyhow::Error {
    SystemError::Torn { path: path.to_owned(), why: text::plain(&format!("{error:#}")) }.into()
}

/// Unpacks a tar into a temporary file.
fn unpack(path: &Path, file: File, program: &'static str) -> Result<tempfile::NamedTempFile> {
    let unpacked = tempfile::NamedTempFile::new().context("making a temporary file")?;
    let out = unpacked.reopen().context("opening a temporary file")?;
    let mut command = tool::command(program);
    command.arg("-dc").stdin(file).stdout(out).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        ToolError(format!("starting {program}, which unpacks {}: {error}", path.display()))
    })?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    let status = child.wait().with_context(|| format!("waiting for {program}"))?;
    if !status.success() {
        let why = said.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(SystemError::Torn { path: path.to_owned(), why }.into());
    }
    Ok(unpacked)
}
