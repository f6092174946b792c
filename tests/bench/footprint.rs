//! Computes the size of a program and of every library that it loads.
//!
//! `main` puts the sizes into the table. The `ldd` of the program's own root filesystem names the
//! libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The size of a program with its libraries.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// Size of all files together, bytes.
    pub(crate) bytes: u64,
    /// Number of libraries. The dynamic loader is one of them.
    pub(crate) libraries: usize,
}

impl Footprint {
    /// Returns the footprint of `program`, a path in the root filesystem `root`. The `ldd` of
    /// `root` names the libraries.
    pub(crate) fn of(program: &Path, root: &Path) -> Result<Self> {
        let mut command = if root == Path::new("/") {
            process::command("ldd")
        } else {
            let mut command: Command = process::command("chroot");
            command.arg(root).arg("ldd");
            command
        };
        let text = process::run(command.arg(program))?;
        let mut files = BTreeSet::new();
        for path in paths(&text) {
            files.insert(resolve(root, &path)?);
        }
        let libraries = files.len();
        files.insert(resolve(root, program)?);
        let mut bytes = 0;
        for file in &files {
            bytes +=
                fs::metadata(file).with_context(|| format!("looking at {}", file.display()))?.len();
        }
        Ok(Self { bytes, libraries })
    }
}

/// Returns the files that ldd names: `libc.so.6 => /lib/… (0x…)` and `/lib64/ld-… (0x…)`. The vDSO
/// has no file.
fn paths(text: &str) -> Vec<PathBuf> {
    let word = |line: &str| {
        line.split(" (0x").next().map(str::trim).filter(|w| w.starts_with('/')).map(PathBuf::from)
    };
    text.lines()
        .filter_map(|line| word(line.split_once("=> ").map_or(line, |(_, rest)| rest)))
        .collect()
}

/// Returns the file behind an absolute path in `root`. Links are followed within `root`, because
/// merged /usr links are relative.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf> {
    let path = root.join(path.strip_prefix("/").unwrap_or(path));
    path.canonicalize().with_context(|| format!("finding {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_ldd_names_is_found() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        let expected =
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths(text), expected);
        assert!(paths("\tstatically linked\n").is_empty());
    }
}
