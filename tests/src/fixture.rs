//! Builds real bundles and disks for the tests once, and keeps them by content.
//!
//! The tests choose recipe and version. Everything lies in `$DARUMA_CACHE` (default
//! `~/.cache/daruma`), outside the repo. The name of a kept file is the hash of its inputs: root
//! filesystem, recipes, programs, keys, version. So no test can find a stale file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// The programs under test, the cache, and the keys that the tests sign with.
#[derive(Clone, Debug)]
pub struct Fixture {
    repo: PathBuf,
    programs: PathBuf,
    cache: PathBuf,
}

impl Fixture {
    /// Finds the programs that `make build` made.
    ///
    /// # Errors
    /// The programs do not exist: run `make build`.
    pub fn open() -> Result<Self> {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the workspace's folder")?
            .to_owned();
        let programs = repo.join("target/daruma");
        for name in ["daruma-bundler", "daruma", "daruma-init", "daruma-static"] {
            let path = programs.join(name);
            ensure!(path.exists(), "{} is missing: run `make build`", path.display());
        }
        let cache = match std::env::var_os("DARUMA_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
                .join(".cache/daruma"),
        };
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        let this = Self { repo, programs, cache };
        this.keep("keys-1", |dir| {
            fs::create_dir_all(dir.join("keyring"))?;
            for name in ["release", "stranger"] {
                this.bundler(&["keygen", "--out", path_str(dir)?, "--name", name])?;
            }
            fs::copy(dir.join("release.pub.pem"), dir.join("keyring/release.pub.pem"))?;
            Ok(())
        })?;
        Ok(this)
    }

    /// Returns the folder of all kept files.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Returns the path of a file of the repo.
    #[must_use]
    pub fn repo(&self, path: &str) -> PathBuf {
        self.repo.join(path)
    }

    /// Returns the path of a program that `make build` made.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Returns the path of a test key: `release.key.pem`, `release.pub.pem`, `stranger.*`, or the
    /// folder `keyring`.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.cache.join("keys-1").join(name)
    }

    /// Runs `daruma-bundler`. If it fails, the error has its output.
    pub fn bundler(&self, args: &[&str]) -> Result<()> {
        let output = Command::new(self.program("daruma-bundler"))
            .args(args)
            .output()
            .with_context(|| format!("starting {}", self.program("daruma-bundler").display()))?;
        ensure!(
            output.status.success(),
            "daruma-bundler {}: {}\n{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Returns the root filesystem of a recipe (a path in the repo).
    pub fn rootfs(&self, recipe: &str) -> Result<PathBuf> {
        let _lock = self.lock(&stem(recipe)?)?;
        self.build(recipe)
    }

    /// Builds a root filesystem. The caller holds the lock of the recipe's name.
    fn build(&self, recipe: &str) -> Result<PathBuf> {
        let rootfs_dir = self.cache.join("rootfs");
        fs::create_dir_all(&rootfs_dir)?;
        // The bundler has its own key from recipe, overlays and the archive's state (--cache).
        let tar = rootfs_dir.join(format!("{}.tar", stem(recipe)?));
        self.bundler(&[
            "build",
            path_str(&self.repo(recipe))?,
            "-o",
            path_str(&tar)?,
            "--cache",
            path_str(&self.cache.join("build"))?,
        ])?;
        Ok(tar)
    }

    /// Returns the bundle of a recipe (a path in the repo) at a version.
    pub fn bundle(&self, recipe: &str, version: &str) -> Result<PathBuf> {
        // To look through all inputs takes a second, and a run of the tests asks a hundred times.
        static FOUND: Mutex<BTreeMap<(String, String), PathBuf>> = Mutex::new(BTreeMap::new());
        let asked = (recipe.to_owned(), version.to_owned());
        let found = || FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = found().get(&asked) {
            return Ok(path.clone());
        }
        let path = self.find_bundle(recipe, version)?;
        found().insert(asked, path.clone());
        Ok(path)
    }

    fn find_bundle(&self, recipe: &str, version: &str) -> Result<PathBuf> {
        let (recipe_path, stem) = (self.repo(recipe), stem(recipe)?);
        let _lock = self.lock(&stem)?;
        let tar = self.build(recipe)?;
        let mut key = Sha256::new();
        hash_file(&mut key, &tar)?;
        hash_tree(&mut key, &self.repo("bundler/recipes"))?;
        hash_tree(&mut key, &self.repo("tests/recipes"))?;
        hash_tree(&mut key, &self.programs)?;
        hash_tree(&mut key, &self.key("keyring"))?;
        key.update(recipe);
        key.update(version);
        let name = format!("{stem}-{version}-{}", short(&key.finalize()));
        let dir = self.keep(&name, |dir| {
            self.bundler(&[
                "bundle",
                path_str(&recipe_path)?,
                "--rootfs",
                path_str(&tar)?,
                "--key",
                path_str(&self.key("release.key.pem"))?,
                "--keyring",
                path_str(&self.key("keyring"))?,
                "--version",
                version,
                "-o",
                path_str(&dir.join("bundle.daruma"))?,
            ])
        })?;
        self.forget_older(&format!("{stem}-{version}-"), &name)?;
        Ok(dir.join("bundle.daruma"))
    }

    /// The factory disk (raw, sparse) with this bundle in slot A, sized as the bundle says.
    pub fn disk(&self, bundle: &Path) -> Result<PathBuf> {
        let disk = bundle.with_file_name("disk.raw");
        let _lock = self.lock("disk")?;
        if !disk.exists() {
            let part = bundle.with_file_name("disk-part.raw");
            self.bundler(&[
                "image",
                path_str(bundle)?,
                "--keyring",
                path_str(&self.key("keyring"))?,
                "-o",
                path_str(&part)?,
            ])?;
            fs::rename(&part, &disk)?;
        }
        Ok(disk)
    }

    /// Returns a factory disk (raw, sparse) as the sources of `commit` make it. The programs, the
    /// GRUB script and the layout are from the commit. The recipe's root filesystem is that of
    /// today. Tests use such a disk for behaviour that must go on working on devices in the field.
    ///
    /// # Errors
    /// The clone is shallow and lacks the commit, or the commit does not build.
    pub fn disk_of_commit(&self, commit: &str, recipe: &str, version: &str) -> Result<PathBuf> {
        let programs = self.programs_of_commit(commit)?;
        let tar = self.rootfs(recipe)?;
        let mut key = Sha256::new();
        hash_file(&mut key, &tar)?;
        hash_tree(&mut key, &self.repo("tests/recipes"))?;
        hash_tree(&mut key, &programs)?;
        hash_tree(&mut key, &self.key("keyring"))?;
        key.update(version);
        let prefix = format!("of-{commit}-{}-{version}-", stem(recipe)?);
        let name = format!("{prefix}{}", short(&key.finalize()));
        let dir = self.keep(&name, |dir| {
            let (bundle, disk) = (dir.join("bundle.daruma"), dir.join("disk.raw"));
            // An older program does not know all keys of today's recipe.
            self.sources_of_commit(commit, "tests/recipes", dir)?;
            let (recipe, keyring) = (dir.join(recipe), self.key("keyring"));
            let bundler = programs.join("daruma-bundler");
            run(Command::new(&bundler).arg("bundle").arg(&recipe).args([
                "--rootfs",
                path_str(&tar)?,
                "--key",
                path_str(&self.key("release.key.pem"))?,
                "--keyring",
                path_str(&keyring)?,
                "--version",
                version,
                "-o",
                path_str(&bundle)?,
            ]))?;
            run(Command::new(&bundler).arg("image").arg(&bundle).args([
                "--keyring",
                path_str(&keyring)?,
                "--recipe",
                path_str(&recipe)?,
                "-o",
                path_str(&disk)?,
            ]))
        })?;
        self.forget_older(&prefix, &name)?;
        Ok(dir.join("disk.raw"))
    }

    /// Unpacks what is at `path` in that commit of this repo into `dir`.
    fn sources_of_commit(&self, commit: &str, path: &str, dir: &Path) -> Result<()> {
        let archive = dir.join("sources.tar");
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            run(git.arg("-C").arg(&self.repo).args(words))
        };
        let take = ["archive", "-o", path_str(&archive)?, commit, path];
        // A shallow clone has no such commit: its origin has.
        git(&take)
            .or_else(|_| git(&["fetch", "--quiet", "--unshallow"]).and_then(|()| git(&take)))
            .context("the tests need the repo's history")?;
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(dir))?;
        Ok(fs::remove_file(archive)?)
    }

    /// Returns the folder of the programs that `make build` makes from the sources of `commit`.
    ///
    /// # Errors
    /// As for [`Fixture::disk_of_commit`].
    pub fn programs_of_commit(&self, commit: &str) -> Result<PathBuf> {
        self.keep(&format!("programs-of-{commit}"), |dir| {
            let sources = dir.join("sources");
            fs::create_dir(&sources)?;
            self.sources_of_commit(commit, ".", &sources)?;
            // The build uses today's target folder, so crates that both need are built once. `make
            // build` uses the same folder for today's sources.
            let target = self.repo("target");
            let host = "x86_64-unknown-linux-gnu";
            let static_flags = "-C target-feature=+crt-static -C relocation-model=static";
            let cargo = |flags: &str, args: &[&str]| -> Result<()> {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--locked", "--target-dir", path_str(&target)?]).args(args);
                if !flags.is_empty() {
                    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
                }
                run(cargo.current_dir(&sources))
            };
            let device = ["--profile", "device", "-p", "agent"];
            let init = ["-p", "initramfs", "--target", host, "--no-default-features", "--bins"];
            cargo("", &["--release", "-p", "bundler", "--bins"])?;
            cargo("", &device)?;
            cargo(static_flags, &[&device[..], &init[..]].concat())?;
            for (built, name) in [
                ("release/daruma-bundler", "daruma-bundler"),
                ("device/daruma", "daruma"),
                (&format!("{host}/device/daruma-init"), "daruma-init"),
                (&format!("{host}/device/daruma"), "daruma-static"),
            ] {
                fs::copy(target.join(built), dir.join(name))?;
            }
            Ok(fs::remove_dir_all(&sources)?)
        })
    }

    /// Unpacks Debian's package `name` into a folder. The version is the one that this machine
    /// would install.
    ///
    /// # Errors
    /// There is no such package, or it cannot be downloaded.
    pub fn debian_package(&self, name: &str) -> Result<PathBuf> {
        let run = |command: &mut Command| -> Result<String> {
            let output = command
                .env("LC_ALL", "C")
                .output()
                .with_context(|| format!("starting {command:?}"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success(),
                "{command:?} ended with {}: {}",
                output.status,
                said.trim()
            );
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let policy = run(Command::new("apt-cache").args(["policy", name]))?;
        let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        let version = version
            .with_context(|| format!("apt knows no package {name}: run `apt-get update`"))?;
        self.keep(&format!("package-{name}-{}", version.replace([':', '/'], "_")), |dir| {
            run(Command::new("apt-get")
                .args(["download", "-qq", &format!("{name}={version}")])
                .current_dir(dir))?;
            let entry = fs::read_dir(dir)?.next().context("apt-get has downloaded nothing")??;
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(dir))?;
            Ok(fs::remove_file(entry.path())?)
        })
    }

    /// Returns a folder in the cache. If it does not exist, `build` makes it under another name,
    /// and it is then renamed.
    pub(crate) fn keep(
        &self,
        name: &str,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let dir = self.cache.join(name);
        let _lock = self.lock(&format!("keep-{name}"))?;
        if !dir.exists() {
            let part = self.cache.join(format!("{name}.part"));
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            fs::create_dir_all(&part)?;
            build(&part)?;
            fs::rename(&part, &dir)?;
        }
        Ok(dir)
    }

    /// Removes files that an older state of the sources left under the same name.
    pub(crate) fn forget_older(&self, prefix: &str, keep: &str) -> Result<()> {
        for entry in fs::read_dir(&self.cache)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) && name != keep && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Takes a lock while a fixture is being made. Two tests then make it only once.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        let dir = self.cache.join("locks");
        fs::create_dir_all(&dir)?;
        let file = File::create(dir.join(name))?;
        file.lock()?;
        Ok(file)
    }
}

/// Runs a command to its end. The error has its output.
fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    Ok(())
}

/// Returns the name of a recipe's file without its folder and ending.
pub(crate) fn stem(recipe: &str) -> Result<String> {
    Ok(Path::new(recipe)
        .file_stem()
        .context("recipe without a name")?
        .to_string_lossy()
        .into_owned())
}

fn path_str(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn short(hash: &[u8]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_file(key: &mut Sha256, path: &Path) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(()),
            n => key.update(&buf[..n]),
        }
    }
}

fn hash_tree(key: &mut Sha256, dir: &Path) -> Result<()> {
    let mut entries = fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        key.update(entry.file_name().as_encoded_bytes());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            hash_tree(key, &entry.path())?;
        } else if kind.is_symlink() {
            key.update(fs::read_link(entry.path())?.as_os_str().as_encoded_bytes());
        } else if kind.is_file() {
            hash_file(key, &entry.path())?;
        } else {
            bail!("{} is neither a file, a folder nor a link", entry.path().display());
        }
    }
    Ok(())
}
