//! Makes a root document: from the draft to the document in its place.
//!
//! The keys stay with their holders. One call changes the draft, and then each key holder signs it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use bundle::channel::{Kind, Later, Role, Roles, Root, Signed};
use bundle::{Keyring, PublicKey, SecretKey};

use crate::bundling::system::device::trusted::ROOT;
use crate::publish::repo::place::replace;
use crate::publish::repo::repository::{DRAFT, Repository, days, now};

/// `ROLE=PUB.pem`.
#[derive(Clone, Debug)]
pub struct RoleKey(Role, PathBuf);

/// `ROLE=KEYID`.
#[derive(Clone, Debug)]
pub struct RoleKeyId(Role, String);

/// `ROLE=N`.
#[derive(Clone, Debug)]
pub struct RoleThreshold(Role, usize);

fn split(text: &str) -> Result<(Role, &str), String> {
    let names = Role::ALL.map(Role::name).join(", ");
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("the form is ROLE=…, with ROLE one of {names}"))?;
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    Ok((role.ok_or_else(|| format!("{name:?} is not a role; the roles are {names}"))?, value))
}

impl FromStr for RoleKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        split(text).map(|(role, path)| Self(role, PathBuf::from(path)))
    }
}

impl FromStr for RoleKeyId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        split(text).map(|(role, id)| Self(role, id.to_owned()))
    }
}

impl FromStr for RoleThreshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, number) = split(text)?;
        Ok(Self(role, number.parse().map_err(|_| format!("{number:?} is not a number"))?))
    }
}

/// The changes of the next root document.
#[derive(Debug)]
pub struct Change {
    /// Keys to add.
    pub add: Vec<RoleKey>,
    /// Keys to remove.
    pub remove: Vec<RoleKeyId>,
    /// The number of keys that must sign.
    pub threshold: Vec<RoleThreshold>,
    /// Days from now until the document expires.
    pub expires_days: u32,
}

impl Change {
    /// Writes the draft of the first root document, without signatures.
    ///
    /// # Errors
    /// A root document exists already, a role has no key, or a key cannot be read.
    pub fn first(&self, repo: &Repository) -> Result<PathBuf> {
        if repo.read(ROOT)?.is_some() {
            bail!(
                "{} exists already; change it with `daruma-bundler root change`",
                repo.path(ROOT).display()
            );
        }
        let mut rings = Vec::new();
        for role in Role::ALL {
            let keys = self.added(role)?;
            if keys.is_empty() {
                bail!(
                    "the role {} has no key; name one with --add {}=KEY.pub.pem",
                    role.name(),
                    role.name()
                );
            }
            rings.push(self.ring(role, keys, 1)?);
        }
        let [root, channel, release] =
            rings.try_into().map_err(|_| anyhow::anyhow!("there are three roles"))?;
        let roles = Roles { root, channel, release };
        let expires = now().after(days(self.expires_days));
        write(repo, &Root { version: 1, expires, roles, later: Later::default() })
    }

    /// Writes the draft of the version that follows the current root document.
    ///
    /// # Errors
    /// There is no root document, a key to remove is not in it, or a threshold cannot be met.
    pub fn next(&self, repo: &Repository) -> Result<PathBuf> {
        let mut root = repo.root()?;
        root.version += 1;
        root.expires = now().after(days(self.expires_days));
        for role in Role::ALL {
            let old = root.roles.of(role);
            let mut keys: Vec<PublicKey> = old.keys().cloned().collect();
            for RoleKeyId(_, id) in self.remove.iter().filter(|change| change.0 == role) {
                let before = keys.len();
                keys.retain(|key| key.id().to_string() != *id);
                if keys.len() == before {
                    bail!(
                        "the role {} has no key {id}; `daruma-bundler root show` lists them",
                        role.name()
                    );
                }
            }
            keys.extend(self.added(role)?);
            *root.roles.of_mut(role) = self.ring(role, keys, old.threshold())?;
        }
        write(repo, &root)
    }

    fn added(&self, role: Role) -> Result<Vec<PublicKey>> {
        let load = |RoleKey(_, path): &RoleKey| {
            let pem = std::fs::read_to_string(path)
                .with_context(|| format!("reading the key {}", path.display()))?;
            PublicKey::from_pem(&pem).with_context(|| format!("reading the key {}", path.display()))
        };
        self.add.iter().filter(|change| change.0 == role).map(load).collect()
    }

    fn ring(&self, role: Role, keys: Vec<PublicKey>, threshold: usize) -> Result<Keyring> {
        let threshold = self
            .threshold
            .iter()
            .rfind(|change| change.0 == role)
            .map_or(threshold, |change| change.1);
        Keyring::new(keys, threshold).with_context(|| format!("the role {}", role.name()))
    }
}

fn write(repo: &Repository, root: &Root) -> Result<PathBuf> {
    let path = repo.path(DRAFT);
    replace(&path, &root.to_signed()?.to_bytes())?;
    Ok(path)
}

fn read_signed(path: &Path) -> Result<Signed> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Signed::parse(Kind::Root, &bytes).with_context(|| format!("reading {}", path.display()))
}

/// Adds a signature to the draft `path`. The draft may lie anywhere, so root keys need not meet on
/// one machine. Returns a text for people about what was signed.
///
/// # Errors
/// The file is no root document, or cannot be written.
pub fn sign(path: &Path, key: &SecretKey) -> Result<String> {
    let mut signed = read_signed(path)?;
    Root::claimed(&signed).with_context(|| format!("reading {}", path.display()))?;
    signed.sign(key)?;
    replace(path, &signed.to_bytes())?;
    describe(&signed)
}

/// Puts the draft in its place under two names. Devices of version N-1 ask for `N.root.json`. The
/// newest root is `root.json`.
///
/// # Errors
/// Signatures are missing; the message names the role.
pub fn finish(repo: &Repository) -> Result<Root> {
    let path = repo.path(DRAFT);
    let Some(bytes) = repo.read(DRAFT)? else {
        bail!("{} is missing; make it with `daruma-bundler root new` or `change`", path.display());
    };
    let checking = || format!("{} is not finished", path.display());
    let next = Root::anchor(&bytes).with_context(checking)?;
    if repo.read(ROOT)?.is_some() {
        let old = repo.root()?;
        old.successor(&bytes).with_context(checking)?;
        if next.version != old.version + 1 {
            bail!(
                "{} is version {}, and the next version is {}",
                path.display(),
                next.version,
                old.version + 1
            );
        }
    } else if next.version != 1 {
        bail!(
            "{} is version {}, and the root.json of the version before is missing",
            path.display(),
            next.version
        );
    }
    // The step of the chain is written first. A device that sees the new root.json can then follow
    // the chain to it.
    replace(&repo.path(&format!("{}.{ROOT}", next.version)), &bytes)?;
    replace(&repo.path(ROOT), &bytes)?;
    std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    Ok(next)
}

/// Returns a root document as text for people.
///
/// # Errors
/// The file is no root document.
pub fn show(path: &Path) -> Result<String> {
    describe(&read_signed(path)?)
}

fn describe(signed: &Signed) -> Result<String> {
    let root = Root::claimed(signed)?;
    let mut text = format!("root version {}, expires {}\n", root.version, root.expires);
    let signers: Vec<_> = signed.claimed_signers().collect();
    for role in Role::ALL {
        let ring = root.roles.of(role);
        text += &format!(
            "{}: {} of {} must sign\n",
            role.name(),
            ring.threshold(),
            ring.keys().count()
        );
        for key in ring.keys() {
            let has =
                if role == Role::Root && signers.contains(&key.id()) { "  has signed" } else { "" };
            text += &format!("  {}{has}\n", key.id());
        }
    }
    for id in signers.iter().filter(|id| root.roles.root.keys().all(|key| key.id() != **id)) {
        text += &format!("also signed by {id}, which is not one of its root keys\n");
    }
    Ok(text)
}
