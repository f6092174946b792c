//! The sizes of a system: by package, by folder, by file.
//!
//! A file with several names counts once, under its first name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use image_layout::Amount;
use serde_json::{Value, json};

use crate::bundling::tree::Kind;
use crate::contents::system::System;

/// What no package has brought.
const NOBODY: &str = "(no package)";

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The files of a package.
    Package,
    /// What lies in a folder and below it.
    Folder,
    /// Each file.
    File,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Folder => "folder",
            Self::File => "file",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Size {
    files: u64,
    unpacked: u64,
    packed: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.unpacked += other.unpacked;
        self.packed += other.packed;
    }
}

/// The sizes of a system, the largest first.
#[derive(Debug)]
pub struct Sizes {
    file: String,
    by: By,
    total: Size,
    /// Whether the packed sizes are known.
    has_packed: bool,
    packages: Option<usize>,
    rows: Vec<(String, Size)>,
}

impl Sizes {
    /// Counts the files of a system.
    ///
    /// # Errors
    /// [`super::SystemError::NoPackages`] for [`By::Package`].
    pub fn of(system: &System, by: By) -> Result<Self> {
        if by == By::Package {
            system.packages()?;
        }
        let mut rows: BTreeMap<String, Size> = BTreeMap::new();
        let (mut total, mut seen) = (Size::default(), BTreeSet::new());
        for (path, id) in system.tree.iter() {
            let Kind::File(content) = &system.tree.inode(id).kind else { continue };
            if !seen.insert(id) {
                continue;
            }
            let packed = system.packed.as_ref().and_then(|packed| packed.get(&id));
            let packed = packed.copied().unwrap_or_default();
            let size = Size { files: 1, unpacked: content.len(), packed };
            total.add(size);
            match by {
                By::Package => {
                    let name = system.package_of(path).map_or(NOBODY, |package| &package.name);
                    rows.entry(name.to_owned()).or_default().add(size);
                }
                By::Folder => {
                    let ends = path.match_indices('/').map(|(at, _)| &path[..at]);
                    for folder in ends {
                        rows.entry(format!("/{folder}")).or_default().add(size);
                    }
                }
                By::File => rows.entry(format!("/{path}")).or_default().add(size),
            }
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|(a, one), (b, other)| (other.unpacked, a).cmp(&(one.unpacked, b)));
        Ok(Self {
            file: system.path.display().to_string(),
            by,
            total,
            has_packed: system.packed.is_some(),
            packages: system.packages.as_ref().map(Vec::len),
            rows,
        })
    }

    /// Returns the sizes as text for people, with at most `most` rows.
    #[must_use]
    pub fn to_text(&self, most: usize) -> String {
        let Self { total, by, .. } = self;
        let packages = self.packages.map_or(String::new(), |count| format!("{count} packages, "));
        let packed = |size: &Size| Amount(size.packed).to_string();
        let in_all =
            if self.has_packed { format!(", {} packed", packed(total)) } else { String::new() };
        let unpacked = Amount(total.unpacked);
        let mut text =
            format!("{}: {packages}{} files, {unpacked}{in_all}\n", self.file, total.files);
        let column =
            |text: &str| if self.has_packed { format!("{text:>9}  ") } else { String::new() };
        let _ = writeln!(text, "{:>9}  {}{}", "size", column("packed"), by.name());
        for (name, size) in self.rows.iter().take(most) {
            let amount = Amount(size.unpacked).to_string();
            let _ = writeln!(text, "{amount:>9}  {}{name}", column(&packed(size)));
        }
        if self.rows.len() > most {
            let _ = writeln!(text, "and {} more; --all shows them", self.rows.len() - most);
        }
        text
    }

    /// Returns the sizes as JSON for programs, in bytes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let size = |name: Option<&str>, size: &Size| {
            let mut value = json!({ "files": size.files, "bytes": size.unpacked });
            if self.has_packed {
                value["packed_bytes"] = size.packed.into();
            }
            if let Some(name) = name {
                value["name"] = if name == NOBODY { Value::Null } else { name.into() };
            }
            value
        };
        let rows: Vec<_> = self.rows.iter().map(|(name, row)| size(Some(name), row)).collect();
        json!({
            "file": self.file,
            "by": self.by.name(),
            "packages": self.packages,
            "total": size(None, &self.total),
            "rows": rows,
        })
    }
}
