//! The file itself: TOML, sorted, with a sum at its end.
//!
//! `note` fills it from a build, and `changes` compares two.
//!
//! The last two lines are `[end]` and the SHA-256 sum of everything before them. A file that was
//! cut off or edited is known by that sum, even if it is good TOML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::host::cache::hex;
use crate::lock::{Accounts, Request};

/// The number of the format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

const HEAD: &str = "\
# `daruma-bundler build --lock` wrote this file, and `build --locked` builds exactly this.\n\
# Do not edit it: the last line is the SHA-256 sum of everything above it.\n";
const END: &str = "\n[end]\n";

/// A lock is refused, or what it names is not to be had (exit code 31).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LockError(pub String);

/// What a build has taken.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Name of the recipe's file, for people.
    pub recipe: String,
    /// What the recipe asked for.
    pub request: Request,
    /// Versions of the programs that decide what comes out.
    pub tools: BTreeMap<String, String>,
    /// Keyrings that the recipe brings: SHA-256 sums by file name.
    #[serde(default)]
    pub keyrings: BTreeMap<String, String>,
    /// The archives, sorted by name.
    #[serde(default, rename = "suite")]
    pub suites: Vec<Suite>,
    /// Numbers of users.
    #[serde(default)]
    pub users: BTreeMap<String, u32>,
    /// Numbers of groups.
    #[serde(default)]
    pub groups: BTreeMap<String, u32>,
    /// Everything that is installed, sorted by name and architecture.
    #[serde(default, rename = "package")]
    pub packages: Vec<Package>,
}

/// One suite of one archive, as it was.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// For instance `trixie-security`.
    pub name: String,
    /// The address, if a step of the recipe added this archive. Empty: the build host's mirror.
    #[serde(default)]
    pub address: String,
    /// The `Date` of its Release file.
    pub date: String,
    /// SHA-256 sum of its Release file with the signature.
    pub sha256: String,
    /// Fingerprints of the keys that signed it. Empty: not signed.
    #[serde(default)]
    pub signed_by: Vec<String>,
}

/// One installed package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Debian's name, or `all`.
    pub architecture: String,
    /// Version.
    pub version: String,
    /// Where it is from. `None`: from a file of the recipe, or from an unpacked archive.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

/// Where a package's file is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize)]
pub struct Origin {
    /// Name of the suite.
    pub suite: String,
    /// Priority in the archive's index, which may differ from the package's own.
    pub priority: String,
    /// Path below the archive's address.
    pub file: String,
    /// SHA-256 sum of the file.
    pub sha256: String,
}

impl Lock {
    /// Reads the lock at `path`. `None`: there is none.
    ///
    /// # Errors
    /// The file cannot be read. [`LockError`]: it is torn, edited, or of a newer format.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        let lock = Self::parse(&bytes);
        lock.map(Some).map_err(|why| LockError(format!("{}: {why}", path.display())).into())
    }

    /// Reads the text of a lock.
    ///
    /// # Errors
    /// Says what is wrong, and what to do.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        const AGAIN: &str =
            "take it from version control again, or remove it and run `build --lock`";
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| format!("the lock is damaged: it is not UTF-8; {AGAIN}"))?;
        // The format comes first. A newer one may be different in everything else.
        let first = text.lines().find(|line| line.starts_with("format"));
        let head: Option<Head> = first.and_then(|line| toml::from_str(line).ok());
        if let Some(Head { format }) = head.filter(|head| head.format > FORMAT) {
            return Err(format!(
                "the lock has format {format}, and this daruma-bundler knows formats up to \
                    {FORMAT}; use a newer daruma-bundler"
            ));
        }
        // One line follows, and nothing else.
        let end = text.rsplit_once(END).and_then(|(body, rest)| {
            let sum = rest.strip_prefix("sha256 = \"")?.strip_suffix("\"\n")?;
            Some((body, sum)).filter(|_| sum.len() == 64)
        });
        let Some((body, wanted)) = end else {
            return Err(format!("the lock is torn: its end is missing; {AGAIN}"));
        };
        let lock: Self = toml::from_str(body).map_err(|error| {
            let what = error.message().lines().next().unwrap_or_default().to_owned();
            format!("the lock is damaged: {what}; {AGAIN}")
        })?;
        if wanted != sum(body.as_bytes()) {
            return Err(format!(
                "the lock was edited or damaged: its last line is not the sum of the rest; {AGAIN}"
            ));
        }
        Ok(lock)
    }

    /// Returns the accounts.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        Accounts { users: self.users.clone(), groups: self.groups.clone() }
    }

    /// Returns the text of the file. The same lock gives the same text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("format = {FORMAT}\nrecipe = {}", quote(&self.recipe)));
        let request = &self.request;
        line(format!("\n[request]\narchitecture = {}", quote(&request.architecture)));
        line(format!("variant = {}", quote(&request.variant)));
        line(format!("suites = {}", list(&request.suites)));
        line(format!("components = {}", list(&request.components)));
        line("packages = [".to_owned());
        for name in &request.packages {
            line(format!("    {},", quote(name)));
        }
        line("]".to_owned());
        for (name, table) in [("tools", &self.tools), ("keyrings", &self.keyrings)] {
            line(format!("\n[{name}]"));
            for (key, value) in table {
                line(format!("{} = {}", key_of(key), quote(value)));
            }
        }
        for suite in &self.suites {
            line(format!("\n[[suite]]\nname = {}", quote(&suite.name)));
            if !suite.address.is_empty() {
                line(format!("address = {}", quote(&suite.address)));
            }
            line(format!("date = {}\nsha256 = {}", quote(&suite.date), quote(&suite.sha256)));
            line(format!("signed-by = {}", list(&suite.signed_by)));
        }
        for (name, table) in [("users", &self.users), ("groups", &self.groups)] {
            line(format!("\n[{name}]"));
            for (key, value) in table {
                line(format!("{} = {value}", key_of(key)));
            }
        }
        for Package { name, architecture, version, origin } in &self.packages {
            line(format!("\n[[package]]\nname = {}", quote(name)));
            line(format!("version = {}", quote(version)));
            line(format!("architecture = {}", quote(architecture)));
            if let Some(Origin { suite, priority, file, sha256 }) = origin {
                line(format!("suite = {}\npriority = {}", quote(suite), quote(priority)));
                line(format!("file = {}\nsha256 = {}", quote(file), quote(sha256)));
            }
        }
        let sum = sum(text.as_bytes());
        let _ = writeln!(text, "{END}sha256 = {}", quote(&sum));
        text
    }

    /// Writes the file. It appears when it is whole.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let doing = || format!("writing {}", path.display());
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".daruma-lock-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(dir)
            .with_context(doing)?;
        std::fs::write(file.path(), self.to_text()).with_context(doing)?;
        file.as_file().sync_all().with_context(doing)?;
        file.persist(path).map(drop).with_context(doing)
    }
}

/// Returns the SHA-256 sum in lower-case hexadecimal.
pub(super) fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the SHA-256 sum of a file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn sum_of(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(sum(&bytes))
}

/// Returns a basic string of TOML.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(", "))
}

fn key_of(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quote(key) }
}
