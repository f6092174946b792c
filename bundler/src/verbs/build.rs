//! The verb `build`, and the options of all verbs that read a recipe.
//!
//! `recipe` reads, and `bundling::rootfs` builds. The options have debos's names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundler::contents::{System, write_beside};
use bundler::grub;
use bundler::host::report;
use bundler::lock::Lock;
use bundler::recipe::{Action, Options, Recipe, RecipeError};
use bundler::rootfs::{self, Locking, Settings};
use bundler::tree::Tree;
use clap::Args;

use crate::verbs::cache::Caching;
use crate::verbs::contents;
use crate::verbs::signing::Signing;

/// How a recipe is read.
#[derive(Args, Debug)]
pub(crate) struct Reading {
    /// A variable for the recipe's template; repeat the option for more
    #[arg(short = 't', long = "template-var", value_name = "NAME:VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// Warn of unknown keys and pass over them, as debos does, instead of refusing them
    #[arg(long)]
    lenient: bool,
}

/// Arguments of `build`.
#[derive(Args, Debug)]
pub(crate) struct Build {
    /// The recipe (YAML, or a Go template of YAML)
    recipe: PathBuf,
    /// Write the root filesystem, as it is at the end, as a tar
    #[arg(short, value_name = "ROOTFS.tar")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Folder for what the actions write [default: the current folder]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    artifactdir: PathBuf,
    /// A variable for scripts; repeat the option for more
    #[arg(short, long = "environ-var", value_name = "NAME:VALUE", value_parser = pair)]
    environment: Vec<(String, String)>,
    /// Fill btrfs, f2fs and xfs through loop devices, and give scripts of the host a block device
    /// as $IMAGE. Only for root
    #[arg(long = "loop")]
    loop_devices: bool,
    /// Print the recipe and its files as their templates give them
    #[arg(long)]
    print_recipe: bool,
    /// Read and check the recipe, and build nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    locks: Locks,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    caching: Caching,
}

/// What the lock is for.
#[derive(Args, Debug)]
pub(crate) struct Locks {
    /// Write the lock, which names every package with its hash, and say what it changes [default:
    /// RECIPE.lock]
    #[arg(long, value_name = "FILE", require_equals = true, conflicts_with = "locked")]
    pub(crate) lock: Option<Option<PathBuf>>,
    /// Take exactly what the lock names; needs no network if the packages are in the cache
    /// [default: RECIPE.lock]
    #[arg(long, value_name = "FILE", require_equals = true)]
    pub(crate) locked: Option<Option<PathBuf>>,
}

impl Locks {
    /// Gives the recipe the lock that is named, and returns what is to be done with it.
    pub(crate) fn apply(self, recipe: &mut Recipe) -> Locking {
        let (locking, file) = match (self.lock, self.locked) {
            (Some(file), _) => (Locking::Renew, file),
            (None, Some(file)) => (Locking::Exact, file),
            (None, None) => (Locking::Unlocked, None),
        };
        recipe.lock = file.unwrap_or_else(|| std::mem::take(&mut recipe.lock));
        locking
    }
}

impl Reading {
    /// Reads a recipe, and prints its warnings.
    pub(crate) fn load(&self, path: &Path) -> Result<Recipe, RecipeError> {
        let variables = self.variables.iter().cloned().collect();
        let recipe = Recipe::load_with(path, &Options { variables, lenient: self.lenient })?;
        for warning in &recipe.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(recipe)
    }
}

/// Builds a recipe.
pub(crate) fn build(arguments: Build) -> Result<()> {
    let Build { recipe, output, reading, artifactdir, environment, caching, .. } = arguments;
    let Build { locks, signing, .. } = arguments;
    let mut recipe = reading.load(&recipe)?;
    if arguments.print_recipe {
        for (path, text) in &recipe.rendered {
            println!("# {}\n{}", path.display(), text.trim_end());
        }
    }
    if arguments.dry_run {
        rootfs::refuse(&recipe)?;
        eprintln!("{}: {} actions, checked", recipe.path.display(), recipe.steps.len());
        return Ok(());
    }
    let ready = signing.ready(&recipe)?;
    let makes_files = recipe.makes_artifacts() || recipe.runs_on_host();
    if output.is_none() && ready.is_none() && !makes_files {
        let instead = match recipe.bundle {
            Some(_) => "name keys with --key, --keyring and --version for the bundle",
            None => "add a pack action",
        };
        bail!(
            "{}: no action writes a file; name the tar of the root filesystem with -o, or \
                {instead}",
            recipe.path.display()
        );
    }
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    let epoch = rootfs::source_date_epoch()?;
    let needs_root = output.is_some() || ready.is_some();
    let loop_devices = arguments.loop_devices;
    let locking = locks.apply(&mut recipe);
    let artifacts = artifactdir;
    let settings = Settings {
        artifacts,
        environment,
        epoch,
        needs_root,
        loop_devices,
        locking,
        cache: caching.cache.clone(),
    };
    let cache = caching.open()?;
    let artifacts = settings.artifacts.clone();
    let outputs = outputs(&recipe, &artifacts, output.as_deref());
    let Some(ready) = ready else {
        let path = recipe.lock.clone();
        let packages = rootfs::build(recipe, settings, output.as_deref(), cache.as_ref())?;
        let lock = used_lock(&path, locking)?;
        return describe(outputs, packages, lock.as_ref(), epoch);
    };
    let making = || format!("making the artifact folder {}", artifacts.display());
    std::fs::create_dir_all(&artifacts).with_context(making)?;
    let work = tempfile::Builder::new().prefix(".daruma-bundle-").tempdir_in(&artifacts);
    let work = work.with_context(making)?;
    let tar = output.unwrap_or_else(|| work.path().join("rootfs.tar"));
    let packages = rootfs::build(recipe.clone(), settings, Some(&tar), cache.as_ref())?;
    let lock = used_lock(&recipe.lock, locking)?;
    let lock = lock.as_ref();
    describe(outputs, packages, lock, epoch)?;
    let grub = grub::Source { recipe: &recipe, locking, cache: cache.as_ref() };
    for file in ready.write_all(&grub, &tar, lock, &artifacts)? {
        report::print_file(&file);
    }
    Ok(())
}

/// The form of an output.
enum Form {
    Tar,
    Disk,
}

/// Returns what the actions write, and the tar of the root filesystem.
fn outputs(recipe: &Recipe, artifacts: &Path, tar: Option<&Path>) -> Vec<(PathBuf, Form)> {
    let written = recipe.steps.iter().filter_map(|step| match &step.action {
        Action::Pack(pack) => Some((artifacts.join(&pack.file), Form::Tar)),
        Action::Disk(disk) => Some((artifacts.join(&disk.name), Form::Disk)),
        _ => None,
    });
    written.chain(tar.map(|tar| (tar.to_owned(), Form::Tar))).collect()
}

/// Returns the lock that a build has used or written.
fn used_lock(path: &Path, locking: Locking) -> Result<Option<Lock>> {
    match locking {
        Locking::Unlocked => Ok(None),
        _ => Lock::load(path),
    }
}

/// Writes an SPDX document beside each output. `packages` are those of the recipe's disk.
fn describe(
    outputs: Vec<(PathBuf, Form)>,
    mut packages: Option<Tree>,
    lock: Option<&Lock>,
    epoch: u64,
) -> Result<()> {
    for (path, form) in outputs {
        // An action may have removed it, packed it, or written it twice.
        if !path.is_file() {
            continue;
        }
        let system = match form {
            Form::Tar => contents::holding(&path)?,
            Form::Disk => packages.take().map(|tree| System::of_tree(&path, tree)).transpose()?,
        };
        write_beside(&path, system.as_ref(), lock, epoch)?;
    }
    Ok(())
}

/// Reads the value of -t and -e.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(':').filter(|(name, _)| !name.is_empty());
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "write NAME:VALUE".to_owned())
}
