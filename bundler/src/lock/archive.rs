//! Writes the archive that apt is shown instead of the real ones: only what the lock names.
//!
//! apt then has no choice, whatever its version, and needs no network. All packages stand in one
//! suite with the name of the recipe's, because mmdebstrap chooses essential packages by it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::host::tool;
use crate::lock::file::{Origin, sum};
use crate::lock::note::field;
use crate::lock::{Lock, Store};

/// Writes the archive to the folder `dir`. Returns its line for sources.list(5).
///
/// # Errors
/// A package file cannot be read, or the folder cannot be written.
pub(crate) fn write_archive(lock: &Lock, store: &Store, dir: &Path) -> Result<String> {
    let suite = lock.request.suites.first().map_or("locked", String::as_str);
    let pool = dir.join("pool");
    fs::create_dir_all(&pool).with_context(|| format!("making {}", pool.display()))?;
    let mut architectures = BTreeSet::from([lock.request.architecture.as_str()]);
    let mut paragraphs = Vec::new();
    for package in &lock.packages {
        let Some(Origin { priority, sha256, .. }) = &package.origin else { continue };
        if package.architecture != "all" {
            architectures.insert(&package.architecture);
        }
        let file = store.path(sha256);
        let link = pool.join(format!("{sha256}.deb"));
        if !link.exists() {
            symlink(&file, &link).with_context(|| format!("writing {}", link.display()))?;
        }
        let control = tool::run(tool::command("dpkg-deb").arg("-f").arg(&file))
            .with_context(|| format!("reading the package {}", file.display()))?;
        let size = fs::metadata(&file).with_context(|| format!("reading {}", file.display()))?;
        let mut paragraph = String::new();
        let mut lines = control.lines().filter(|line| !line.starts_with("Priority:"));
        for line in lines.by_ref() {
            let _ = writeln!(paragraph, "{line}");
        }
        if !priority.is_empty() {
            let _ = writeln!(paragraph, "Priority: {priority}");
        }
        let _ = writeln!(paragraph, "Filename: pool/{sha256}.deb");
        let _ = writeln!(paragraph, "Size: {}\nSHA256: {sha256}", size.len());
        paragraphs.push(paragraph);
    }
    let base = dir.join("dists").join(suite);
    let mut release = format!(
        "Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: {}\nSHA256:\n",
        architectures.iter().copied().collect::<Vec<_>>().join(" ")
    );
    for architecture in architectures {
        let fits = |paragraph: &&String| {
            let own = field(paragraph, "Architecture").unwrap_or_default();
            own == "all" || own == architecture
        };
        let index = paragraphs.iter().filter(fits).cloned().collect::<Vec<_>>().join("\n");
        let name = format!("main/binary-{architecture}/Packages");
        write(&base.join(&name), &index)?;
        let _ = writeln!(release, " {} {} {name}", sum(index.as_bytes()), index.len());
    }
    write(&base.join("Release"), &release)?;
    Ok(format!("deb [trusted=yes] copy:{} {suite} main\n", dir.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(doing)?;
    fs::write(path, text).with_context(doing)
}
