//! Makes a tar of the root filesystem from a recipe, by one run of mmdebstrap.
//!
//! `mirror` finds the archives, and `staging` packs overlays and scripts.
//!
//! mmdebstrap writes the tar itself. If it is not root, it works in a user namespace. Nothing of
//! the image is ever unpacked on the build host, and no step needs privileges. The recipe's steps
//! become `customize` hooks in the same order. Packages of `apt` steps before the first other step
//! are installed by the bootstrap.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bundling::rootfs::mirror::{self, Source};
use crate::bundling::rootfs::staging;
use crate::host::cache::Cache;
use crate::host::progress::Progress;
use crate::host::tool;
use crate::recipe::{Recipe, Run, Step};
use image_layout::Amount;

/// `SOURCE_DATE_EPOCH` if the environment has none: 2025-08-09T00:00:00Z, the day of the Debian 13
/// release. The time is fixed because the same input must give the same bundle on every day.
pub const DEFAULT_EPOCH: u64 = 1_754_697_600;

/// Returns `SOURCE_DATE_EPOCH` in seconds.
///
/// # Errors
/// The variable is set but is not a number.
pub fn source_date_epoch() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(DEFAULT_EPOCH),
        Ok(text) => text.parse().with_context(|| {
            format!("SOURCE_DATE_EPOCH={text}: the value is not a number of seconds since 1970")
        }),
    }
}

/// A recipe that is ready for mmdebstrap: its sources, its hooks, and their files in a temporary
/// folder.
#[derive(Debug)]
pub struct Plan {
    recipe: Recipe,
    epoch: u64,
    sources: Vec<Source>,
    include: Vec<String>,
    hooks: Vec<String>,
    /// Tars of overlays and scripts, in the order in which the hooks use them.
    staged: Vec<PathBuf>,
    dir: tempfile::TempDir,
}

impl Plan {
    /// Packs overlays and scripts, and asks the host's apt for its archives.
    ///
    /// # Errors
    /// A suite has no archive, or an overlay cannot be packed.
    pub fn new(recipe: Recipe, epoch: u64) -> Result<Self> {
        let sources = mirror::sources(&recipe.bootstrap)?;
        // mmdebstrap's children read these files. In a user namespace they are another user.
        let dir = tempfile::Builder::new()
            .prefix("daruma-build-")
            .tempdir()
            .context("making a temporary folder")?;
        let include = recipe.bootstrap.include.clone();
        let steps = recipe.steps.clone();
        let mut plan =
            Self { recipe, epoch, sources, include, hooks: Vec::new(), staged: Vec::new(), dir };
        // mmdebstrap copies files from the build host for the time of the build. The last hook
        // removes them, but keeps what the recipe puts in their place.
        plan.hooks.push(FORGET_HOST.to_owned());
        let mut bootstrapping = true;
        for step in &steps {
            match step {
                Step::Apt { packages, recommends: false } if bootstrapping => {
                    plan.include.extend(packages.clone())
                }
                other => {
                    bootstrapping = false;
                    plan.add(other)?;
                }
            }
        }
        plan.hooks.push(CLEAN_HOST.to_owned());
        Ok(plan)
    }

    fn add(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Apt { packages, recommends } => {
                let recommends = if *recommends { "true" } else { "false" };
                let packages =
                    packages.iter().map(|p| quote(p)).collect::<Result<Vec<_>>>()?.join(" ");
                self.hooks.push(format!(
                    "APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get --yes \
                        -oDPkg::Chroot-Directory=\"$1\" \
                     -oApt::Install-Recommends={recommends} install {packages}"
                ));
            }
            Step::Overlay { source, destination } => {
                let tar = self.stage();
                staging::pack_overlay(source, &tar, self.epoch)?;
                if destination != "/" {
                    self.hooks.push(format!("mkdir -p \"$1\"{}", quote(destination)?));
                }
                self.hooks.push(format!("tar-in {} {}", quote_path(&tar)?, quote(destination)?));
            }
            Step::Run { chroot: true, run: Run::Command(command) } => {
                self.hooks.push(format!("chroot \"$1\" /bin/sh -e -c {}", quote(command)?));
            }
            Step::Run { chroot: true, run: Run::Script(script, args) } => {
                let tar = self.stage();
                staging::pack_script(script, "daruma-step", &tar, self.epoch)?;
                let args = args.iter().map(|a| quote(a)).collect::<Result<Vec<_>>>()?.join(" ");
                self.hooks.push(format!("tar-in {} /tmp", quote_path(&tar)?));
                self.hooks.push(format!(
                    "chroot \"$1\" /tmp/daruma-step {args} && rm \"$1\"/tmp/daruma-step"
                ));
            }
            Step::Run { chroot: false, run } => {
                let dir = self.recipe.path.parent().unwrap_or(Path::new(".")).canonicalize();
                let dir = dir.context("finding the recipe's folder")?;
                let command = match run {
                    Run::Command(command) => format!("sh -e -c {}", quote(command)?),
                    Run::Script(script, args) => {
                        let script = script
                            .canonicalize()
                            .with_context(|| format!("finding {}", script.display()))?;
                        let args = args.iter().map(|a| quote(a)).collect::<Result<Vec<_>>>()?;
                        format!("{} {}", quote_path(&script)?, args.join(" "))
                    }
                };
                self.hooks
                    .push(format!("ROOTDIR=\"$1\" RECIPEDIR={} {command}", quote_path(&dir)?));
            }
        }
        Ok(())
    }

    fn stage(&mut self) -> PathBuf {
        let path = self.dir.path().join(format!("{:03}.tar", self.staged.len()));
        self.staged.push(path.clone());
        path
    }

    fn command(&self, out: &Path) -> Command {
        let bootstrap = &self.recipe.bootstrap;
        let mut command = tool::command("mmdebstrap");
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("TZ", "UTC");
        // The image does not use the initrd that the kernel's hooks would make.
        command.env("INITRD", "No");
        command.args(["--mode=auto", "--format=tar", "--verbose"]);
        command.arg(format!("--variant={}", bootstrap.variant));
        command.arg(format!("--architectures={}", self.recipe.architecture));
        command.arg(format!("--components={}", bootstrap.components.join(",")));
        if !self.include.is_empty() {
            command.arg(format!("--include={}", self.include.join(",")));
        }
        command.args(bootstrap.keyring_files.iter().map(|file| {
            let mut arg = OsString::from("--keyring=");
            arg.push(file);
            arg
        }));
        command.args(bootstrap.aptopts.iter().map(|line| format!("--aptopt={line}")));
        command.args(bootstrap.dpkgopts.iter().map(|line| format!("--dpkgopt={line}")));
        // The variant `extract` configures nothing, so mmdebstrap never runs its customize hooks.
        let stage = if bootstrap.variant == "extract" { "extract" } else { "customize" };
        command.args(self.hooks.iter().map(|hook| format!("--{stage}-hook={hook}")));
        command.arg(&bootstrap.suite).arg(out);
        command.args(self.sources.iter().map(Source::line));
        command
    }

    /// Returns everything that decides what the tar will hold. The cache makes its key from it.
    pub(crate) fn ingredients(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut list = vec![
            ("epoch".to_owned(), self.epoch.to_string().into_bytes()),
            ("daruma-bundler".to_owned(), env!("CARGO_PKG_VERSION").into()),
            (
                "mmdebstrap".to_owned(),
                tool::run(tool::command("mmdebstrap").arg("--version"))?.into_bytes(),
            ),
            ("apt".to_owned(), tool::run(tool::command("apt-get").arg("--version"))?.into_bytes()),
        ];
        // The hooks name the temporary folder, whose name is different each time.
        let dir = self.dir.path().to_string_lossy().into_owned();
        let command = format!("{:?}", self.command(Path::new("out.tar"))).replace(&dir, "STAGED");
        list.push(("command".to_owned(), command.into_bytes()));
        for file in self.staged.iter().chain(&self.recipe.bootstrap.keyring_files) {
            let bytes =
                std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            list.push(("file".to_owned(), bytes));
        }
        for step in &self.recipe.steps {
            // A script that runs on the host is not staged.
            if let Step::Run { chroot: false, run: Run::Script(script, _) } = step {
                list.push(("host script".to_owned(), std::fs::read(script)?));
            }
        }
        for (index, source) in self.sources.iter().enumerate() {
            list.push((format!("InRelease of {}", source.suite), self.in_release(index, source)?));
        }
        Ok(list)
    }

    fn in_release(&self, index: usize, source: &Source) -> Result<Vec<u8>> {
        let file = self.dir.path().join(format!("InRelease-{index}"));
        // apt's own downloader knows the host's proxies, certificates and transports.
        let mut helper = tool::command("/usr/lib/apt/apt-helper");
        tool::run(helper.arg("download-file").arg(source.in_release()).arg(&file))
            .with_context(|| format!("fetching the index of the suite {}", source.suite))?;
        std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
    }
}

/// Remembers what mmdebstrap copied from the host, for [`CLEAN_HOST`].
const FORGET_HOST: &str = "mkdir -p \"$1\"/run/daruma-host && for f in hostname resolv.conf; do \
    if [ -e \"$1\"/etc/$f ]; then cp \"$1\"/etc/$f \"$1\"/run/daruma-host/$f; fi; done";
/// Removes a file that is still the host's, and keeps a file that an overlay or a step wrote. When
/// systemd-resolved is installed, it copies the resolv.conf that it finds, which is the host's.
/// This hook removes that copy too.
const CLEAN_HOST: &str = "rm -f \"$1\"/etc/.resolv.conf.systemd-resolved.bak; \
    for f in hostname resolv.conf; do \
    if cmp -s \"$1\"/etc/$f \"$1\"/run/daruma-host/$f; then rm \"$1\"/etc/$f; fi; done; \
    rm -r \"$1\"/run/daruma-host";

/// Builds the root filesystem of a recipe, or takes it from the cache.
///
/// # Errors
/// No archive is found, mmdebstrap is missing or fails, or the output cannot be written.
pub fn build(recipe: Recipe, out: &Path, cache: Option<&Path>, epoch: u64) -> Result<()> {
    let name = recipe.path.display().to_string();
    let plan = Plan::new(recipe, epoch)?;
    let Some(dir) = cache else { return make(&plan, &name, out) };
    let cache = Cache::open(dir)?;
    let key = cache.key(&plan.ingredients()?);
    match cache.find(&key) {
        Some(_) => eprintln!(
            "{name}: nothing has changed, taking the root filesystem {}… from the cache",
            &key[..12]
        ),
        None => cache.add(&key, |part| make(&plan, &name, part))?,
    }
    cache.take(&key, out)
}

fn make(plan: &Plan, name: &str, out: &Path) -> Result<()> {
    let suites: Vec<_> = plan.sources.iter().map(|source| source.suite.as_str()).collect();
    let progress = Progress::steps(&format!("Building {name} from {}", suites.join(", ")), 0);
    let part = part_of(out);
    let result = tool::run_watched(&mut plan.command(&part), |line| {
        progress.advance(1);
        if let Some(step) = line.strip_prefix("I: ") {
            progress.say(step);
        } else if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
            progress.say(line);
        }
    });
    if let Err(error) = result {
        let _ = std::fs::remove_file(&part);
        return Err(error).with_context(|| format!("building the root filesystem of {name}"));
    }
    let bytes =
        std::fs::metadata(&part).with_context(|| format!("reading {}", part.display()))?.len();
    std::fs::rename(&part, out)
        .with_context(|| format!("renaming {} to {}", part.display(), out.display()))?;
    progress.done(&Amount(bytes).to_string());
    Ok(())
}

/// Returns the path of the unfinished output. mmdebstrap chooses the format by the name.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part.tar");
    out.with_file_name(name)
}

/// Quotes a word for mmdebstrap's hooks, which sh or Perl's shellwords read.
fn quote(word: &str) -> Result<String> {
    if word.contains('\0') {
        bail!("a NUL byte in {word:?}");
    }
    Ok(format!("'{}'", word.replace('\'', "'\\''")))
}

fn quote_path(path: &Path) -> Result<String> {
    quote(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?)
}
