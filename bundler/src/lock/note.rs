//! Reads what a build has noted: what is installed, and the archive's index of it.
//!
//! `note_packages` and `note_system` of hooks.sh write the notes, and `bundling::rootfs` makes the
//! lock.
//!
//! The folder of the notes holds `status`, `passwd` and `group` of the root filesystem, `lists` and
//! `archives` of apt, `fetched` with the names of package files, and `targets`: a line of file,
//! address and suite for each index.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lock::file::{Origin, Package, Suite, sum};
use crate::lock::signers::signers;
use crate::lock::{Accounts, LockError};

/// The notes of one build.
#[derive(Debug)]
pub(crate) struct Notes {
    dir: PathBuf,
}

/// What the notes say.
#[derive(Debug)]
pub(crate) struct Noted {
    /// Sorted.
    pub(crate) packages: Vec<Package>,
    /// Sorted by name.
    pub(crate) suites: Vec<Suite>,
    pub(crate) accounts: Accounts,
    /// The package files that apt has fetched.
    pub(crate) files: Vec<PathBuf>,
}

impl Notes {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns what is installed, without where it is from.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub(crate) fn installed(&self) -> Result<Vec<Package>> {
        let packages = installed(&self.text("status")?);
        if !packages.is_empty() {
            return Ok(packages);
        }
        // The variant `extract` unpacks packages, and dpkg never hears of them.
        let mut packages: Vec<_> = self.text("fetched")?.lines().filter_map(unpacked).collect();
        packages.sort();
        Ok(packages)
    }

    /// Returns everything. `known` are the addresses of the build host's mirrors, which differ
    /// from host to host.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub(crate) fn read(&self, known: &[String]) -> Result<Noted> {
        let mut packages = self.installed()?;
        let mut suites = BTreeMap::new();
        let mut wanted: BTreeMap<_, &mut Package> = packages
            .iter_mut()
            .map(|package| {
                let key = (package.name.clone(), package.version.clone());
                ((key, package.architecture.clone()), package)
            })
            .collect();
        for line in self.text("targets")?.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(file), Some(address), Some(suite)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let name = file.rsplit('/').next().unwrap_or_default();
            let Ok(bytes) = fs::read(self.dir.join("lists").join(name)) else { continue };
            let address = address.trim_end_matches('/');
            let index = String::from_utf8_lossy(&bytes);
            for paragraph in index.split("\n\n") {
                let get = |name| field(paragraph, name).unwrap_or_default().to_owned();
                let key = ((get("Package"), get("Version")), get("Architecture"));
                let Some(package) = wanted.get_mut(&key) else { continue };
                let [file, sha256, priority] = ["Filename", "SHA256", "Priority"].map(get);
                if package.origin.is_none() && !file.is_empty() && !sha256.is_empty() {
                    let suite = suite.to_owned();
                    package.origin = Some(Origin { suite, priority, file, sha256 });
                }
            }
            if !suites.contains_key(suite) {
                let mut found = self.suite(name, suite);
                if !known.iter().any(|known| known == address) {
                    address.clone_into(&mut found.address);
                }
                suites.insert(suite.to_owned(), found);
            }
        }
        let files = fs::read_dir(self.dir.join("archives")).into_iter().flatten().flatten();
        let files = files.map(|entry| entry.path()).collect();
        let read = |name| fs::read(self.dir.join(name)).unwrap_or_default();
        let accounts = Accounts::parse(&read("passwd"), &read("group"));
        Ok(Noted { packages, suites: suites.into_values().collect(), accounts, files })
    }

    /// Reads the Release file that belongs to the index `index` in the lists.
    fn suite(&self, index: &str, name: &str) -> Suite {
        let end = format!("_dists_{}_", name.replace('/', "_"));
        let mut suite = Suite { name: name.to_owned(), ..Suite::default() };
        let Some(at) = index.find(&end) else { return suite };
        let begin = &index[..at + end.len()];
        let read = |end| fs::read(self.dir.join("lists").join(format!("{begin}{end}")));
        let Ok(bytes) = read("InRelease").or_else(|_| read("Release")) else { return suite };
        let text = String::from_utf8_lossy(&bytes);
        suite.date = field(&text, "Date").unwrap_or_default().to_owned();
        suite.sha256 = sum(&bytes);
        suite.signed_by = signers(&text);
        suite
    }

    fn text(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        let bytes = match fs::read(&path) {
            // A recipe without packages notes none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns what is installed according to dpkg's `status` file, sorted.
fn installed(status: &str) -> Vec<Package> {
    let mut packages: Vec<_> = status
        .split("\n\n")
        .filter(|paragraph| {
            let state = field(paragraph, "Status").unwrap_or_default();
            !state.ends_with(" config-files") && !state.ends_with(" not-installed")
        })
        .filter_map(|paragraph| {
            let get = |name| field(paragraph, name).map(str::to_owned);
            let (name, version) = (get("Package")?, get("Version")?);
            Some(Package { name, version, architecture: get("Architecture")?, origin: None })
        })
        .collect();
    packages.sort();
    packages
}

/// Reads the name that apt gives to a package file: `NAME_VERSION_ARCHITECTURE.deb`, in which `%3a`
/// is a colon.
fn unpacked(file: &str) -> Option<Package> {
    let mut words = file.strip_suffix(".deb")?.split('_');
    let (name, version, architecture) = (words.next()?, words.next()?, words.next()?);
    let (name, architecture) = (name.to_owned(), architecture.to_owned());
    Some(Package { name, version: version.replace("%3a", ":"), architecture, origin: None })
}

/// Checks that `found` is what the lock names.
///
/// # Errors
/// Names the first packages that differ.
pub(crate) fn check(lock: &Path, wanted: &[Package], found: &[Package]) -> Result<(), LockError> {
    let versions = |list: &[Package]| -> BTreeMap<(String, String), String> {
        let key = |p: &Package| ((p.name.clone(), p.architecture.clone()), p.version.clone());
        list.iter().map(key).collect()
    };
    let (wanted, found) = (versions(wanted), versions(found));
    let mut differ = Vec::new();
    for (key @ (name, _), version) in &wanted {
        match found.get(key) {
            None => differ.push(format!("{name} {version} is not installed")),
            Some(other) if other != version => {
                differ.push(format!("{name} is {other} and not {version}"));
            }
            Some(_) => {}
        }
    }
    let more = found.iter().filter(|(key, _)| !wanted.contains_key(key));
    differ.extend(more.map(|((name, _), version)| format!("{name} {version} is not in it")));
    if differ.is_empty() {
        return Ok(());
    }
    let (count, shown) = (differ.len(), &differ[..differ.len().min(5)]);
    Err(LockError(format!(
        "{}: the build took other packages than the lock names ({count}): {}; does a script of the \
            recipe install packages, or has it changed? Run `build --lock` to renew the lock",
        lock.display(),
        shown.join(", ")
    )))
}

/// Returns a field of a paragraph of a control file.
pub(super) fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(rest.trim())
    })
}
