//! A recipe as one run of mmdebstrap: its sources, its hooks, and their files.
//!
//! `mirror` finds the archives, `hooks` writes the actions, and `build` runs the command.
//!
//! mmdebstrap writes the tar itself. An ordinary user runs it in a user namespace in which this
//! user is root. Nothing of the image is ever unpacked where the host can see it, and no action
//! needs privileges. The recipe's actions become hooks in the same order. The bootstrap installs
//! the packages of `apt` actions before the first other action.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bundling::disk::{self, DiskPlan};
use crate::bundling::rootfs::hooks::{self, FUNCTIONS, Hooks};
use crate::bundling::rootfs::locked::{Locking, RecipeLock};
use crate::bundling::rootfs::mirror::{self, MirrorError, Source};
use crate::bundling::rootfs::{fetch, tools};
use crate::host::shell::{quote, quote_path};
use crate::host::tool;
use crate::recipe::{Action, Origin, Recipe, RecipeError, Run, Step};

/// How a recipe is built.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder for what the actions write.
    pub artifacts: PathBuf,
    /// Variables for scripts.
    pub environment: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub epoch: u64,
    /// True if the root filesystem itself is wanted, so a disk without one is not enough.
    pub needs_root: bool,
    /// What to do about the lock.
    pub locking: Locking,
    /// The folder that keeps package files. `None`: the user's cache.
    pub cache: Option<PathBuf>,
}

/// A recipe that is ready for mmdebstrap.
#[derive(Debug)]
pub struct Plan {
    pub(super) recipe: Recipe,
    pub(super) settings: Settings,
    pub(super) sources: Vec<Source>,
    include: Vec<String>,
    /// Hooks before everything else.
    setup: Vec<String>,
    /// Hooks that make the root, if no bootstrap does, and all others.
    first: Vec<String>,
    then: Vec<String>,
    pub(super) hooks: Hooks,
    pub(super) lock: RecipeLock,
    is_root: bool,
    pub(super) dir: tempfile::TempDir,
}

impl Plan {
    /// Checks what can be known before, fetches downloads, packs overlays, and asks the host's apt
    /// for its archives.
    ///
    /// # Errors
    /// The recipe needs what this program or the host cannot do, a download fails, a suite has no
    /// archive, or an overlay cannot be packed.
    pub fn new(recipe: Recipe, settings: Settings) -> Result<Self> {
        let is_root = is_root();
        check(&recipe, &settings, is_root)?;
        let lock = RecipeLock::open(&recipe, settings.locking, settings.cache.as_deref())?;
        let sources = match recipe.bootstrap.as_ref().map(mirror::sources) {
            // The lock has every package. mmdebstrap then writes its own list of archives.
            Some(Err(MirrorError::Missing(_))) if lock.is_exact() => Vec::new(),
            Some(sources) => sources?,
            None => Vec::new(),
        };
        let dir = tempfile::Builder::new()
            .prefix("daruma-build-")
            .tempdir()
            .context("making a temporary folder")?;
        let path = dir.path();
        let words =
            settings.environment.iter().map(|(name, value)| quote(&format!("{name}={value}")));
        let words = words.collect::<Result<Vec<_>>>()?.join(" ");
        for (name, text) in [("hooks.sh", FUNCTIONS), ("environment", &words)] {
            let file = path.join(name);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        let mut downloads = BTreeMap::new();
        for step in &recipe.steps {
            if let Action::Download(download) = &step.action {
                let fetched = fetch::fetch(download, &step.place, path)?;
                downloads.insert(download.name.clone(), fetched);
            }
        }
        let artifacts = hooks::absolute(&settings.artifacts)?;
        let hooks = Hooks {
            dir: path.to_owned(),
            disk: DiskPlan::new(&recipe, &artifacts, path)?,
            artifacts,
            downloads,
            epoch: settings.epoch,
            staged: Vec::new(),
            inputs: Vec::new(),
        };
        let mut plan = Self {
            include: recipe.bootstrap.as_ref().map_or(Vec::new(), |b| b.include.clone()),
            recipe,
            settings,
            sources,
            setup: Vec::new(),
            first: Vec::new(),
            then: Vec::new(),
            hooks,
            lock,
            is_root,
            dir,
        };
        plan.add_steps()?;
        Ok(plan)
    }

    fn add_steps(&mut self) -> Result<()> {
        if self.lock.is_exact() {
            self.setup.push(self.hooks.hook(None, "use_lock")?);
        }
        // mmdebstrap copies files from the build host for the time of the build. The last hook
        // removes them, but keeps what the recipe puts in their place.
        let bootstraps = self.recipe.bootstrap.is_some();
        let begin = if bootstraps {
            "remember_host \"$1\""
        } else if self.has_root() {
            "start_empty \"$1\""
        } else {
            "mkdir -p \"$1\""
        };
        let after = if bootstraps { self.lock.after(None) } else { String::new() };
        let remember = self.hooks.hook(None, &format!("{begin}{after}"))?;
        let list = if bootstraps { &mut self.then } else { &mut self.first };
        list.push(remember);
        let mut bootstrapping = bootstraps;
        // Without a bootstrap the root is empty until something is unpacked.
        let mut empty = !bootstraps;
        for (index, step) in self.recipe.steps.clone().iter().enumerate() {
            if let Action::Apt(apt) = &step.action
                && bootstrapping
                && !apt.recommends
                && !apt.unauthenticated
                && !apt.packages.iter().any(|package| package.ends_with('-'))
            {
                self.include.extend(apt.packages.clone());
                continue;
            }
            let Some(call) = self.hooks.call(index, step)? else { continue };
            bootstrapping = false;
            let after = self.lock.after(Some(&step.action));
            let hook = self.hooks.hook(Some(index), &format!("{call}{after}"))?;
            if empty { &mut self.first } else { &mut self.then }.push(hook);
            empty = empty && !matches!(step.action, Action::Unpack(_));
        }
        if let Some(call) = self.lock.at_end() {
            self.then.push(self.hooks.hook(None, call)?);
        }
        self.then.push(self.hooks.hook(None, "forget_host \"$1\"")?);
        if let Some(disk) = &self.hooks.disk {
            self.then.push(self.hooks.hook(Some(disk.step), "finish_disk \"$1\"")?);
        }
        Ok(())
    }

    fn has_root(&self) -> bool {
        has_root(&self.recipe)
    }

    /// Returns the command that writes the root filesystem to `out`, or to nowhere.
    pub(super) fn command(&self, out: Option<&Path>) -> Command {
        // A disk without a root filesystem needs the hooks only.
        let program = if self.has_root() { "mmdebstrap" } else { "sh" };
        let mut command = if self.is_root {
            tool::command(program)
        } else {
            // The user is root in there, and the other ids are those of /etc/subuid. So hooks can
            // write the artifacts and read the user's files.
            let mut command = tool::command("unshare");
            command.args(["--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork"]);
            command.args(["--mount-proc", program]);
            command
        };
        command.env("SOURCE_DATE_EPOCH", self.settings.epoch.to_string()).env("TZ", "UTC");
        command.envs(&self.settings.environment);
        if self.recipe.bundle.is_some() && self.hooks.disk.is_none() {
            // A bundle does not use the initrd that the kernel's hooks would make. A disk does.
            command.env("INITRD", "No");
        } else {
            command.env_remove("INITRD");
        }
        if !self.has_root() {
            let calls = self.first.iter().chain(&self.then).map(|hook| format!("({hook})"));
            let text = calls.collect::<Vec<_>>().join("\n");
            command.args(["-e", "-c", &text, "sh"]).arg(self.dir.path().join("no-root"));
            return command;
        }
        let format = if out.is_some() { "tar" } else { "null" };
        command.args(["--mode=root", &format!("--format={format}"), "--verbose"]);
        command.arg(format!("--architectures={}", self.recipe.architecture));
        let Some(bootstrap) = &self.recipe.bootstrap else {
            command.args(["--variant=custom", "--skip=update"]);
            let first = self.setup.iter().chain(&self.first);
            command.args(first.map(|hook| format!("--setup-hook={hook}")));
            command.args(self.then.iter().map(|hook| format!("--customize-hook={hook}")));
            return self.ended(command, "", out);
        };
        command.arg(format!("--variant={}", bootstrap.variant));
        command.args(self.setup.iter().map(|hook| format!("--setup-hook={hook}")));
        if self.lock.renews() {
            // The lock wants the files of all packages, and mmdebstrap removes some early.
            command.arg("--skip=essential/unlink");
        }
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
        command.args(self.then.iter().map(|hook| format!("--{stage}-hook={hook}")));
        self.ended(command, &bootstrap.suite, out)
    }

    fn ended(&self, mut command: Command, suite: &str, out: Option<&Path>) -> Command {
        command.arg(suite).arg(out.unwrap_or(Path::new("/dev/null")));
        command.args(self.sources.iter().map(Source::line));
        command
    }

    /// Returns everything that decides what the tar will hold. The cache makes its key from it.
    pub(crate) fn ingredients(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut list = vec![
            ("epoch".to_owned(), self.settings.epoch.to_string().into_bytes()),
            ("daruma-bundler".to_owned(), env!("CARGO_PKG_VERSION").into()),
            (
                "mmdebstrap".to_owned(),
                tool::run(tool::command("mmdebstrap").arg("--version"))?.into_bytes(),
            ),
            ("apt".to_owned(), tool::run(tool::command("apt-get").arg("--version"))?.into_bytes()),
            ("hooks".to_owned(), FUNCTIONS.into()),
            ("lock".to_owned(), self.lock.ingredient()),
            ("environment".to_owned(), format!("{:?}", self.settings.environment).into_bytes()),
        ];
        // The hooks name the temporary folder, whose name is different each time.
        let dir = self.dir.path().to_string_lossy().into_owned();
        let command = self.command(Some(Path::new("out.tar")));
        let command = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let command = self.without_places(&command.replace(&dir, "STAGED"))?;
        list.push(("command".to_owned(), command.into_bytes()));
        let keyrings = self.recipe.bootstrap.iter().flat_map(|b| &b.keyring_files);
        for file in self.hooks.staged.iter().chain(&self.hooks.inputs).chain(keyrings) {
            let bytes =
                std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            list.push(("file".to_owned(), bytes));
        }
        // The lock names every package. A build by it needs no network.
        let sources = if self.lock.is_exact() { &[][..] } else { &self.sources };
        for (index, source) in sources.iter().enumerate() {
            list.push((format!("InRelease of {}", source.suite), self.in_release(index, source)?));
        }
        Ok(list)
    }

    /// Replaces where the recipes and the artifacts lie on this host. The same recipe in another
    /// folder, or built from another one, gives the same.
    fn without_places(&self, command: &str) -> Result<String> {
        let mut folders = Vec::new();
        for step in &self.recipe.steps {
            // Without the slash at its end.
            let folder: PathBuf = hooks::absolute(&step.place.resolve(""))?.components().collect();
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let mut places: Vec<(PathBuf, String)> = folders
            .into_iter()
            .enumerate()
            .map(|(number, folder)| (folder, format!("RECIPE{number}")))
            .collect();
        places.push((self.hooks.artifacts.clone(), "ARTIFACTS".to_owned()));
        // A folder in another one comes first.
        places.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.as_os_str().len()));
        let mut command = command.to_owned();
        for (folder, name) in places {
            let quoted = quote_path(&folder)?;
            let begin = quoted.trim_end_matches('\'');
            command =
                command.replace(&quoted, &name).replace(&format!("{begin}/"), &format!("{name}/"));
        }
        Ok(command)
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

/// Whether this process is root. The kernel gives a process's folder in /proc its effective user.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Whether something makes a root filesystem.
fn has_root(recipe: &Recipe) -> bool {
    recipe.bootstrap.is_some()
        || recipe.steps.iter().any(|step| matches!(step.action, Action::Unpack(_)))
}

/// Refuses what cannot be done before anything starts.
fn check(recipe: &Recipe, settings: &Settings, is_root: bool) -> Result<()> {
    let needs_root = settings.needs_root;
    let needs = |step: &Step| match &step.action {
        Action::Disk(_) | Action::Download(_) => false,
        Action::Raw(raw) => raw.source.origin == Origin::Filesystem,
        Action::Run(Run { chroot, .. }) => *chroot,
        _ => true,
    };
    disk::refuse(recipe)?;
    let mut made = false;
    for step in &recipe.steps {
        match &step.action {
            Action::Unpack(unpack) if !made => {
                let file = settings.artifacts.join(&unpack.source.path);
                if unpack.source.origin == Origin::Artifacts && !file.is_file() {
                    return Err(step
                        .place
                        .error(format_args!(
                            "{} is not there; build the recipe that packs it first, or name its \
                                folder with --artifactdir",
                            file.display()
                        ))
                        .into());
                }
            }
            Action::Pack(_) => made = true,
            Action::Run(run) => made |= !run.chroot && !run.postprocess,
            _ => {}
        }
    }
    let makes_disk = recipe.steps.iter().any(|step| matches!(step.action, Action::Disk(_)));
    if !has_root(recipe) && (needs_root || !makes_disk || recipe.steps.iter().any(needs)) {
        return Err(RecipeError(format!(
            "{}: nothing makes a root filesystem; the recipe needs an mmdebstrap, a debootstrap or \
                an unpack action",
            recipe.path.display()
        ))
        .into());
    }
    tools::check(recipe, is_root)?;
    if let Some(why) = tools::foreign(&recipe.architecture).filter(|_| has_root(recipe)) {
        return Err(tool::ToolError(why).into());
    }
    Ok(())
}
