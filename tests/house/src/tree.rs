//! The tracked files of the repository, and their text.
//!
//! Git says which files are tracked. A tracked file that is missing in the working tree is left
//! out, so that a check in the middle of a move works.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, str};

use anyhow::{Context, Result, ensure};

/// The repository's root and its files.
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// The files that git tracks below `root`.
    pub(crate) fn tracked(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let git = Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(&root)
            .output()
            .with_context(|| format!("git ls-files in {}", root.display()))?;
        ensure!(git.status.success(), "git ls-files: {}", String::from_utf8_lossy(&git.stderr));
        let names = str::from_utf8(&git.stdout).context("git ls-files: a name is not UTF-8")?;
        let names = names.split_terminator('\0').map(str::to_owned);
        let files = names.filter(|name| root.join(name).is_file()).collect();
        Ok(Self { root, files })
    }

    /// The files, relative to the root.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Whether `path` is a file, or a folder that holds one.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.files().any(|file| file == path || file.starts_with(&folder))
    }

    /// Whether `path` is a file of the working tree, tracked or not.
    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.root.join(path)).with_context(|| path.to_owned())
    }

    /// The text of a file. Errors if the file is not UTF-8.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.bytes(path)?).with_context(|| path.to_owned())
    }
}

/// `path` relative to the folder `dir`, with `.` and `..` taken out. `None` if it leaves the root.
pub(crate) fn join(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The folder that `path` lies in. Empty for the root.
pub(crate) fn folder(path: &str) -> &str {
    Path::new(path).parent().and_then(Path::to_str).unwrap_or("")
}

/// A made-up tree on the disk, for tests.
#[cfg(test)]
pub(crate) fn made_up(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        fs::create_dir_all(dir.path().join(folder(path))).unwrap();
        fs::write(dir.path().join(path), text).unwrap();
    }
    let files = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    let tree = Tree { root: dir.path().to_owned(), files };
    (dir, tree)
}
