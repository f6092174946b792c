//! How a build uses the lock of its recipe.
//!
//! The crate's module `lock` reads and writes it. `build` calls this before and after mmdebstrap,
//! and `mmdebstrap` adds its hooks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bundling::rootfs::mirror::Source;
use crate::host::debian;
use crate::host::tool;
use crate::lock::{self, Lock, LockError, Notes, Request, Store};
use crate::recipe::{Action, Recipe};

/// What a build does about the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Locking {
    /// Takes what the archives have now. Accounts keep their numbers if there is a lock.
    #[default]
    Unlocked,
    /// The same, and writes the lock.
    Renew,
    /// Takes exactly what the lock names.
    Exact,
}

/// The lock of one recipe during a build.
#[derive(Debug)]
pub(super) struct RecipeLock {
    locking: Locking,
    path: PathBuf,
    request: Request,
    last: Option<Lock>,
    store: Option<Store>,
}

impl RecipeLock {
    /// Reads the recipe's lock. `cache` holds the package files.
    ///
    /// # Errors
    /// The lock is refused, is missing, or answers another request.
    pub(super) fn open(recipe: &Recipe, locking: Locking, cache: Option<&Path>) -> Result<Self> {
        let path = recipe.lock.clone();
        let (last, request) = (Lock::load(&path)?, Request::of(recipe));
        if locking == Locking::Exact {
            let Some(last) = &last else {
                let message = "there is no lock; make it with `build --lock`";
                return Err(LockError(format!("{}: {message}", path.display())).into());
            };
            if let Some(difference) = last.request.difference(&request) {
                let name = name_of(recipe);
                let of = if last.recipe == name { "" } else { &format!(" (of {})", last.recipe) };
                return Err(LockError(format!(
                    "{}: the lock{of} is not for this recipe: {difference}; run `build --lock` to \
                        renew it, or if other values of -t ask for that, keep a lock for each set \
                        of values: `--lock=FILE` writes one and `--locked=FILE` uses it",
                    path.display()
                ))
                .into());
            }
            for (tool, now) in tools()? {
                let before = last.tools.get(&tool).map_or("", String::as_str);
                if before != now {
                    eprintln!(
                        "warning: {}: the lock was made with {tool} {before}, and this host has \
                            {now}; the result may differ",
                        path.display()
                    );
                }
            }
        }
        let store = match (locking, cache) {
            (Locking::Unlocked, _) => None,
            (_, Some(cache)) => Some(Store::open(cache)?),
            (_, None) => Some(Store::open(&Store::default_cache()?)?),
        };
        Ok(Self { locking, path, request, last, store })
    }

    pub(super) fn renews(&self) -> bool {
        self.locking == Locking::Renew
    }

    pub(super) fn is_exact(&self) -> bool {
        self.locking == Locking::Exact
    }

    /// Returns what is to be called after an action, with a space before it.
    pub(super) fn after(&self, action: Option<&Action>) -> String {
        let installs =
            matches!(action, None | Some(Action::Apt(_) | Action::InstallDeb(_) | Action::Run(_)));
        let mut calls = String::new();
        if installs && self.last.is_some() {
            calls.push_str("; keep_ids \"$1\"");
        }
        if installs && self.renews() {
            calls.push_str("; note_packages \"$1\"");
        }
        calls
    }

    /// Returns the call after the last action.
    pub(super) fn at_end(&self) -> Option<&'static str> {
        (self.locking != Locking::Unlocked).then_some("note_system \"$1\"")
    }

    /// Returns what of the lock decides what a build gives.
    pub(super) fn ingredient(&self) -> Vec<u8> {
        let Some(last) = &self.last else { return Vec::new() };
        if self.is_exact() {
            return last.to_text().into_bytes();
        }
        format!("{:?}", last.accounts()).into_bytes()
    }

    /// Writes what the hooks read to `dir`: the lock, this program, and apt's sources.
    ///
    /// # Errors
    /// A package of the lock is gone, or a file cannot be written.
    pub(super) fn prepare(&self, dir: &Path, sources: &[Source]) -> Result<()> {
        let Some(last) = &self.last else { return Ok(()) };
        let write = |name: &str, text: &str| {
            let file = dir.join(name);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
        };
        write("lock", &last.to_text())?;
        let program = std::env::current_exe().context("finding this program")?;
        let link = dir.join("daruma-bundler");
        // The programs of a folder do not see the host's /usr.
        let written = match debian::folder() {
            None => std::os::unix::fs::symlink(program, &link),
            Some(_) => std::fs::copy(program, &link).map(drop),
        };
        written.with_context(|| format!("writing {}", link.display()))?;
        let Some(store) = self.store.as_ref().filter(|_| self.is_exact()) else { return Ok(()) };
        let mut addresses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for source in sources {
            addresses.entry(&source.suite).or_default().push(source.uri.clone());
        }
        for suite in last.suites.iter().filter(|suite| !suite.address.is_empty()) {
            addresses.entry(&suite.name).or_default().push(suite.address.clone());
        }
        let of = |suite: &str| addresses.get(suite).cloned().unwrap_or_default();
        store.provide(last, &self.path, of)?;
        write("locked.list", &lock::write_archive(last, store, &dir.join("locked"))?)
    }

    /// Checks that the build has taken what the lock names.
    ///
    /// # Errors
    /// [`LockError`]: it has not.
    pub(super) fn check(&self, dir: &Path) -> Result<()> {
        let Some(last) = self.last.as_ref().filter(|_| self.is_exact()) else { return Ok(()) };
        let found = Notes::new(dir.join("notes")).installed()?;
        Ok(lock::check(&self.path, &last.packages, &found)?)
    }

    /// Writes the new lock, and says what it changes.
    ///
    /// # Errors
    /// A package file cannot be kept, or the lock cannot be written.
    pub(super) fn renew(&self, recipe: &Recipe, dir: &Path, sources: &[Source]) -> Result<()> {
        let Some(store) = self.store.as_ref().filter(|_| self.renews()) else { return Ok(()) };
        let known: Vec<_> = sources.iter().map(|source| source.uri.clone()).collect();
        let noted = Notes::new(dir.join("notes")).read(&known)?;
        for file in &noted.files {
            store.keep(file)?;
        }
        let mut keyrings = BTreeMap::new();
        for file in recipe.bootstrap.iter().flat_map(|bootstrap| &bootstrap.keyring_files) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            keyrings.insert(name, lock::sum_of(file)?);
        }
        let new = Lock {
            format: lock::FORMAT,
            recipe: name_of(recipe),
            request: self.request.clone(),
            tools: tools()?,
            keyrings,
            suites: noted.suites,
            users: noted.accounts.users,
            groups: noted.accounts.groups,
            packages: noted.packages,
        };
        let addresses = |suite: &str| -> Vec<String> {
            let own = new.suites.iter().filter(|s| s.name == suite && !s.address.is_empty());
            let own = own.map(|suite| suite.address.clone());
            let given = sources.iter().filter(|source| source.suite == suite);
            given.map(|source| source.uri.clone()).chain(own).collect()
        };
        store.provide(&new, &self.path, addresses)?;
        let path = self.path.display();
        let count = new.packages.len();
        match &self.last {
            None => eprintln!("{path}: a new lock of {count} packages"),
            Some(last) => {
                let lines = lock::changes(last, &new);
                for line in &lines {
                    eprintln!("{line}");
                }
                let what = if lines.is_empty() { "nothing has changed" } else { "renewed" };
                eprintln!("{path}: {what}, {count} packages");
            }
        }
        new.write(&self.path)
    }
}

fn name_of(recipe: &Recipe) -> String {
    recipe.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the versions of the programs that decide what comes out.
fn tools() -> Result<BTreeMap<String, String>> {
    let mut tools =
        BTreeMap::from([("daruma-bundler".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    for (name, program) in [("mmdebstrap", "mmdebstrap"), ("apt", "apt-get"), ("dpkg", "dpkg-deb")]
    {
        let text = tool::run(tool::command(program).arg("--version"))?;
        let version = text.split_ascii_whitespace().find(|word| word.starts_with(char::is_numeric));
        tools.insert(name.to_owned(), version.unwrap_or_default().to_owned());
    }
    Ok(tools)
}
