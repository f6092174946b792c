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
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bundling::disk::{self, DiskPlan};
use crate::bundling::rootfs::hooks::{self, FUNCTIONS, Hooks};
use crate::bundling::rootfs::inputs::fetch;
use crate::bundling::rootfs::inputs::states::{self, Input};
use crate::bundling::rootfs::locked::{Locking, RecipeLock};
use crate::bundling::rootfs::mirror::{self, MirrorError, Source};
use crate::bundling::rootfs::tools;
use crate::host::cache::key;
use crate::host::debian;
use crate::host::emulator::{self, Emulator};
use crate::host::shell::{quote, quote_path};
use crate::host::tool;
use crate::recipe::{Action, Bootstrap, Origin, Recipe, RecipeError, Run, Step};

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
    /// True if root's build may use loop devices and the kernel's filesystems for a disk.
    pub loop_devices: bool,
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
    /// Calls that make the root, if no bootstrap does, and all others.
    first: Vec<Call>,
    then: Vec<Call>,
    pub(super) hooks: Hooks,
    pub(super) lock: RecipeLock,
    is_root: bool,
    /// What the build registers for the recipe's architecture.
    emulator: Option<Emulator>,
    pub(super) dir: tempfile::TempDir,
    /// Where the root filesystem is made. Other users may pass, but cannot list it: apt's own user
    /// reads package lists there.
    space: tempfile::TempDir,
}

/// A call of hooks.sh.
#[derive(Debug)]
struct Call {
    /// The number of its action.
    step: Option<usize>,
    text: String,
    /// What it reads.
    inputs: Vec<Input>,
}

/// The names of what the cache can have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Keys {
    /// Of the root filesystem: after what makes it, and after each action that follows. The chain
    /// ends where an action does what no key can name.
    pub(super) states: Vec<String>,
    /// Of the finished tar. `None`: it depends on more than keys can name.
    pub(super) tar: Option<String>,
}

/// Where a build begins, and what it keeps.
#[derive(Clone, Default, Debug)]
pub(super) struct Way {
    /// A state to begin with: its number in [`Keys::states`], and its file.
    pub(super) from: Option<(usize, PathBuf)>,
    /// States to keep: number and file.
    pub(super) keep: Vec<(usize, PathBuf)>,
}

/// For a shell in a new mount namespace: $1 is a folder, $2 more options of overlayfs, and a
/// command follows. The command works in an overlay without syncs (`volatile`, Linux 5.10). dpkg
/// syncs each file, but a build that a power cut ends is made again. Where there is no such
/// overlay, the command works in the host's temporary folder.
const VOLATILE: &str = r#"
dir=$1 options=$2
shift 2
mkdir -m 755 "$dir/none" "$dir/upper" "$dir/work" "$dir/root"
options=lowerdir=$dir/none,upperdir=$dir/upper,workdir=$dir/work,volatile$options
if mount -t overlay -o "$options" overlay "$dir/root" 2>/dev/null; then
    # Nobody could remove what the kernel puts there.
    chmod -R u+rwx "$dir/work"
    export TMPDIR="$dir/root"
fi
exec "$@"
"#;

/// A state is kept if at least this much work went into it since the last one: as much as writing
/// and reading a state takes.
const WORTH_KEEPING_S: u64 = 3;

/// The root of a recipe in which nothing makes one, in the folder of the build.
const EMPTY_ROOT: &str = "no-root/root";

impl Plan {
    /// Checks what can be known before, fetches downloads, packs overlays, and asks the host's apt
    /// for its archives.
    ///
    /// # Errors
    /// The recipe needs what this program or the host cannot do, a download fails, a suite has no
    /// archive, or an overlay cannot be packed.
    pub fn new(recipe: Recipe, settings: Settings) -> Result<Self> {
        let is_root = tool::is_root();
        check(&recipe, &settings, is_root)?;
        let emulator =
            if has_root(&recipe) { emulator::needed(&recipe.architecture, is_root)? } else { None };
        let lock = RecipeLock::open(&recipe, settings.locking, settings.cache.as_deref())?;
        let sources = match recipe.bootstrap.as_ref().map(mirror::sources) {
            // The lock has every package. mmdebstrap then writes its own list of archives.
            Some(Err(MirrorError::Missing(_))) if lock.is_exact() => Vec::new(),
            Some(sources) => sources?,
            None => Vec::new(),
        };
        let folder = |mode| {
            let mut builder = tempfile::Builder::new();
            let builder = builder.prefix("daruma-build-").permissions(Permissions::from_mode(mode));
            builder.tempdir().context("making a temporary folder")
        };
        let (dir, space) = (folder(0o700)?, folder(0o711)?);
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
                if !has_root(&recipe) {
                    show_beside(&path.join(EMPTY_ROOT), &fetched)?;
                }
                downloads.insert(download.name.clone(), fetched);
            }
        }
        let artifacts = hooks::absolute(&settings.artifacts)?;
        let hooks = Hooks {
            dir: path.to_owned(),
            disk: DiskPlan::new(&recipe, &artifacts, path, settings.loop_devices)?,
            artifacts,
            downloads,
            epoch: settings.epoch,
            staged: 0,
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
            emulator,
            dir,
            space,
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
        let call = |step, text| Call { step, text, inputs: Vec::new() };
        let begin = if bootstraps {
            "remember_host \"$1\""
        } else if self.has_root() {
            "start_empty \"$1\""
        } else {
            "mkdir -p \"$1\""
        };
        let after = if bootstraps { self.lock.after(None) } else { String::new() };
        let remember = call(None, format!("{begin}{after}"));
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
            let Some(text) = self.hooks.call(index, step)? else { continue };
            let inputs = std::mem::take(&mut self.hooks.inputs);
            bootstrapping = false;
            let text = format!("{text}{}", self.lock.after(Some(&step.action)));
            let call = Call { step: Some(index), text, inputs };
            if empty { &mut self.first } else { &mut self.then }.push(call);
            empty = empty && !matches!(step.action, Action::Unpack(_));
        }
        if let Some(text) = self.lock.at_end() {
            self.then.push(call(None, text.to_owned()));
        }
        self.then.push(call(None, "forget_host \"$1\"".to_owned()));
        if let Some(disk) = &self.hooks.disk {
            let text = format!("finish {}; finish_disk \"$1\"", disk.step);
            self.then.push(call(None, text));
        }
        Ok(())
    }

    /// Returns the hooks before and after the root filesystem is there.
    fn all_hooks(&self, way: &Way) -> Result<(Vec<String>, Vec<String>)> {
        let hook = |call: &Call| self.hooks.hook(call.step, &call.text);
        let first = match &way.from {
            None => self.first.iter().map(hook).collect::<Result<_>>()?,
            Some((_, file)) => {
                let text = format!("take_state \"$1\" {}", quote_path(file)?);
                vec![self.hooks.hook(None, &text)?]
            }
        };
        let mut then = Vec::new();
        let begin = self.begin();
        let keep = |number: usize, then: &mut Vec<String>| -> Result<()> {
            if let Some((_, file)) = way.keep.iter().find(|(kept, _)| *kept == number) {
                let file = quote_path(file)?;
                let text = format!("keep_state \"$1\" {number} {file} {WORTH_KEEPING_S}");
                then.push(self.hooks.hook(None, &text)?);
            }
            Ok(())
        };
        let done = way.from.as_ref().map_or(0, |(number, _)| begin + number);
        for (index, call) in self.then.iter().enumerate() {
            if index >= done {
                if index == begin {
                    keep(0, &mut then)?;
                }
                then.push(hook(call)?);
                if index >= begin {
                    keep(index - begin + 1, &mut then)?;
                }
            }
        }
        Ok((first, then))
    }

    /// The number of the first of `then` that changes the root. mmdebstrap's own files are looked
    /// at before.
    fn begin(&self) -> usize {
        usize::from(self.recipe.bootstrap.is_some())
    }

    /// A bundle does not use the initrd that the kernel's hooks would make. A disk does.
    fn makes_initrd(&self) -> bool {
        self.recipe.bundle.is_none() || self.hooks.disk.is_some()
    }

    fn has_root(&self) -> bool {
        has_root(&self.recipe)
    }

    /// Returns the command that writes the root filesystem to `out`, or to nowhere.
    pub(super) fn command(&self, out: Option<&Path>, way: &Way) -> Result<Command> {
        let (first, then) = self.all_hooks(way)?;
        // A disk without a root filesystem needs the hooks only.
        let program = if self.has_root() { "mmdebstrap" } else { "sh" };
        let mut command = if self.is_root {
            // What is mounted for the build goes with it, even if it is killed.
            let mut command = tool::command("unshare");
            command.arg("--mount").args(debian::words());
            command
        } else {
            // The user is root in there, and the other ids are those of /etc/subuid. So hooks can
            // write the artifacts and read the user's files.
            let mut command = tool::command("unshare");
            command.args(["--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork"]);
            command.arg("--mount-proc");
            command.args(self.emulator.iter().flat_map(Emulator::words));
            command.args(debian::words());
            command
        };
        if self.has_root() {
            let more = if self.is_root { "" } else { ",userxattr" };
            command.args(["sh", "-e", "-c", VOLATILE, "sh"]).arg(self.space.path()).arg(more);
        }
        command.arg(program);
        command.env("SOURCE_DATE_EPOCH", self.settings.epoch.to_string()).env("TZ", "UTC");
        command.envs(&self.settings.environment);
        if self.makes_initrd() {
            command.env_remove("INITRD");
        } else {
            command.env("INITRD", "No");
        }
        if !self.has_root() {
            let calls = first.iter().chain(&then).map(|hook| format!("({hook})"));
            let text = calls.collect::<Vec<_>>().join("\n");
            command.args(["-e", "-c", &text, "sh"]).arg(self.dir.path().join(EMPTY_ROOT));
            return Ok(command);
        }
        let format = if out.is_some() { "tar" } else { "null" };
        command.args(["--mode=root", &format!("--format={format}"), "--verbose"]);
        let hooks = |stage: &str, hooks: &[String]| -> Vec<String> {
            hooks.iter().map(|hook| format!("--{stage}-hook={hook}")).collect()
        };
        command.args(hooks("setup", &self.setup));
        let bootstrap = self.recipe.bootstrap.as_ref();
        if bootstrap.is_none() || way.from.is_some() {
            command.args(["--variant=custom", "--skip=update"]);
            command.args(hooks("setup", &first)).args(hooks("customize", &then));
        }
        match bootstrap {
            None => {
                command.arg(format!("--architectures={}", self.recipe.architecture));
            }
            Some(bootstrap) if way.from.is_none() => {
                command.args(self.bootstrap_arguments(bootstrap));
                // The variant `extract` configures nothing, so mmdebstrap never runs its customize
                // hooks.
                let stage = if bootstrap.variant == "extract" { "extract" } else { "customize" };
                command.args(hooks(stage, &then));
            }
            Some(bootstrap) => {
                command.args(self.archive_arguments(bootstrap));
            }
        }
        command.arg(bootstrap.map_or("", |bootstrap| &bootstrap.suite));
        command.arg(out.unwrap_or(Path::new("/dev/null")));
        command.args(self.sources.iter().map(Source::line));
        Ok(command)
    }

    fn bootstrap_arguments(&self, bootstrap: &Bootstrap) -> Vec<OsString> {
        let mut arguments = self.archive_arguments(bootstrap);
        arguments.push(format!("--variant={}", bootstrap.variant).into());
        if self.lock.renews() {
            // The lock wants the files of all packages, and mmdebstrap removes some early.
            arguments.push("--skip=essential/unlink".into());
        }
        arguments.push(format!("--components={}", bootstrap.components.join(",")).into());
        if !self.include.is_empty() {
            arguments.push(format!("--include={}", self.include.join(",")).into());
        }
        arguments.extend(bootstrap.dpkgopts.iter().map(|line| format!("--dpkgopt={line}").into()));
        arguments
    }

    /// What apt needs to know before and after.
    fn archive_arguments(&self, bootstrap: &Bootstrap) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            vec![format!("--architectures={}", self.recipe.architecture).into()];
        arguments.extend(bootstrap.keyring_files.iter().map(|file| {
            let mut argument = OsString::from("--keyring=");
            argument.push(file);
            argument
        }));
        arguments.extend(bootstrap.aptopts.iter().map(|line| format!("--aptopt={line}").into()));
        arguments
    }

    /// Tells hooks.sh when the work begins, and the note of the state that it begins with.
    pub(super) fn begins(&self, note: &str) -> Result<()> {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
        for (name, text) in [("since", now.to_string()), ("state", format!("{note}\n"))] {
            let file = self.dir.path().join(name);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }

    /// Names a state for people.
    pub(super) fn state(&self, number: usize) -> String {
        let calls = &self.then[..self.begin() + number];
        match calls.iter().filter_map(|call| call.step).next_back() {
            None => "before its first action".to_owned(),
            Some(index) => format!("after action {} of {}", index + 1, self.recipe.steps.len()),
        }
    }

    /// Returns the keys of all states that the cache may have.
    pub(super) fn keys(&self, results: &[PathBuf]) -> Result<Keys> {
        let mut keys = Keys { states: Vec::new(), tar: None };
        if !self.has_root() {
            return Ok(keys);
        }
        // What mmdebstrap only extracts, it cannot go on with.
        let is_extracted =
            self.recipe.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.variant == "extract");
        let mut state = key(&self.ingredients()?);
        let first = self.first.len();
        for (index, call) in self.first.iter().chain(&self.then).enumerate() {
            if index == first + self.begin() && !is_extracted {
                keys.states.push(state.clone());
            }
            let Some(step) = call.step else { continue };
            let text = self.without_places(&call.text)?;
            let inside = states::stays_inside(&self.recipe.steps[step].action);
            let after = || states::after(&state, &text, &call.inputs, results);
            let Some(after) = inside.then(after).flatten() else { return Ok(keys) };
            state = after;
            if index >= first + self.begin() && !is_extracted {
                keys.states.push(state.clone());
            }
        }
        keys.tar = Some(key(&[("the tar of".to_owned(), state.into_bytes())]));
        Ok(keys)
    }

    /// Returns what decides on every root of this recipe, before its first action.
    fn ingredients(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let version = |program: &str| tool::run(tool::command(program).arg("--version"));
        let mut list = vec![
            ("format".to_owned(), states::FORMAT.into()),
            ("epoch".to_owned(), self.settings.epoch.to_string().into_bytes()),
            ("daruma-bundler".to_owned(), env!("CARGO_PKG_VERSION").into()),
            ("mmdebstrap".to_owned(), version("mmdebstrap")?.into_bytes()),
            ("hooks".to_owned(), FUNCTIONS.into()),
            ("lock".to_owned(), self.lock.ingredient()),
            ("environment".to_owned(), format!("{:?}", self.settings.environment).into_bytes()),
            ("initrd".to_owned(), self.makes_initrd().to_string().into_bytes()),
            ("architecture".to_owned(), self.recipe.architecture.clone().into_bytes()),
        ];
        let functions = self.dir.path().join("disk.sh");
        let reading = || format!("reading {}", functions.display());
        list.push(("disk".to_owned(), std::fs::read(&functions).with_context(reading)?));
        let Some(bootstrap) = &self.recipe.bootstrap else { return Ok(list) };
        list.push(("apt".to_owned(), version("apt-get")?.into_bytes()));
        list.push(("suite".to_owned(), bootstrap.suite.clone().into_bytes()));
        let is_path = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"--keyring=");
        for argument in self.bootstrap_arguments(bootstrap).iter().filter(|a| !is_path(a)) {
            list.push(("argument".to_owned(), argument.as_encoded_bytes().to_owned()));
        }
        for file in &bootstrap.keyring_files {
            let bytes =
                std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            list.push(("keyring".to_owned(), bytes));
        }
        for (index, source) in self.sources.iter().enumerate() {
            list.push(("source".to_owned(), source.line().into_bytes()));
            // The lock names every package. A build by it needs no network.
            if !self.lock.is_exact() {
                let text = self.in_release(index, source)?;
                list.push((format!("InRelease of {}", source.suite), text));
            }
        }
        Ok(list)
    }

    /// Replaces where files lie on this host: the temporary folder, the recipes, the artifacts. The
    /// same recipe in another folder, or built from another one, gives the same.
    fn without_places(&self, call: &str) -> Result<String> {
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
        places.push((self.dir.path().to_owned(), "STAGED".to_owned()));
        // A folder in another one comes first.
        places.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.as_os_str().len()));
        let mut call = call.to_owned();
        for (folder, name) in places {
            let quoted = quote_path(&folder)?;
            let begin = quoted.trim_end_matches('\'');
            call = call.replace(&quoted, &name).replace(&format!("{begin}/"), &format!("{name}/"));
        }
        Ok(call)
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

/// Shows a download beside the root, where debos has it: scripts read `$ROOTDIR/../NAME`.
fn show_beside(root: &Path, fetched: &Path) -> Result<()> {
    let link = root.with_file_name(fetched.file_name().unwrap_or_default());
    let made = std::fs::create_dir_all(root).and_then(|()| {
        // Two downloads may have one name. The later one counts, as in debos.
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => std::os::unix::fs::symlink(fetched, &link),
        }
    });
    made.with_context(|| format!("writing {}", link.display()))
}

/// Whether something makes a root filesystem.
fn has_root(recipe: &Recipe) -> bool {
    recipe.bootstrap.is_some()
        || recipe.steps.iter().any(|step| matches!(step.action, Action::Unpack(_)))
}

/// Refuses what this program cannot do on any host.
///
/// # Errors
/// One line with file, line, action and reason.
pub fn refuse(recipe: &Recipe) -> Result<(), RecipeError> {
    disk::refuse(recipe)
}

/// Refuses what cannot be done before anything starts.
fn check(recipe: &Recipe, settings: &Settings, is_root: bool) -> Result<()> {
    // What runs in the root needs a system there. Everything else works in an empty folder.
    let needs_system = |step: &Step| match &step.action {
        Action::Apt(_) | Action::InstallDeb(_) => true,
        Action::Run(Run { chroot, .. }) => *chroot,
        _ => false,
    };
    refuse(recipe)?;
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
    let mut steps = recipe.steps.iter();
    if !has_root(recipe) && (settings.needs_root || steps.any(needs_system)) {
        return Err(RecipeError(format!(
            "{}: nothing makes a root filesystem; the recipe needs an mmdebstrap, a debootstrap or \
                an unpack action",
            recipe.path.display()
        ))
        .into());
    }
    tools::check(recipe, is_root)?;
    if settings.loop_devices {
        disk::check_loops(recipe, is_root)?;
    }
    Ok(())
}
