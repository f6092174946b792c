//! The verb `verify`, and its `--rebuild`: does a bundle come from its recipe, byte for byte?
//!
//! `rootfs` and `Bundling` make the second bundle, and `rebuild` compares. A key that is thrown
//! away signs it: signatures are not compared.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bundle::{Bundle, SecretKey};
use bundler::bundling::Bundling;
use bundler::device::DevicePrograms;
use bundler::image;
use bundler::rebuild::{self, Differs, Side};
use bundler::repo::Trusted;
use bundler::rootfs::{self, Locking, Settings};
use clap::Args;
use image_layout::FileDisk;

use crate::verbs::build::{Reading, pair};

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle
    bundle: PathBuf,
    /// Folder of the trusted public keys; enough of them must have signed the bundle
    #[arg(long, value_name = "DIR")]
    keyring: PathBuf,
    /// Build the recipe again, exactly as its lock says, and compare every byte
    #[arg(long, requires = "recipe")]
    rebuild: bool,
    /// The recipe of the bundle, for --rebuild
    #[arg(long, value_name = "RECIPE", requires = "rebuild")]
    recipe: Option<PathBuf>,
    /// The lock, for --rebuild [default: RECIPE.lock beside the recipe]
    #[arg(long, value_name = "FILE", requires = "rebuild")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// A variable for scripts, for --rebuild; repeat the option for more
    #[arg(short, long = "environ-var", value_name = "NAME:VALUE", value_parser = pair)]
    environment: Vec<(String, String)>,
    /// Folder with daruma, daruma-static and daruma-init, for --rebuild [default: this program's
    /// folder]
    #[arg(long, value_name = "DIR")]
    device_programs: Option<PathBuf>,
    /// Folder that keeps package files and built root filesystems, for --rebuild [default: package
    /// files in the user's cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Verifies a bundle.
pub(crate) fn verify(arguments: Verify) -> Result<()> {
    let trusted = Trusted::load(&arguments.keyring)?;
    let verified = image::open_verified(&arguments.bundle, &trusted.keyring)?;
    let update = &verified.manifest().update;
    println!("{} {} ({}): good", update.compatible, update.version, update.build);
    let Some(path) = &arguments.recipe else { return Ok(()) };
    let mut recipe = arguments.reading.load(path)?;
    recipe.lock = arguments.lock.unwrap_or(recipe.lock);
    recipe.bundle()?;
    let programs = DevicePrograms::find(arguments.device_programs.as_deref())?;
    let bundle = Side { path: &arguments.bundle, manifest: verified.manifest() };
    let epoch = rebuild::epoch(bundle)?;
    let work = tempfile::Builder::new().prefix("daruma-rebuild-").tempdir();
    let work = work.context("making a temporary folder")?;
    let (tar, again) = (work.path().join("rootfs.tar"), work.path().join("again.daruma"));
    let settings = Settings {
        artifacts: work.path().join("artifacts"),
        environment: arguments.environment.into_iter().collect(),
        epoch,
        needs_root: true,
        loop_devices: false,
        locking: Locking::Exact,
        cache: arguments.cache.clone(),
    };
    // A proof builds everything again.
    rootfs::build(recipe.clone(), settings, Some(&tar), None)?;
    let bundling = Bundling {
        recipe: &recipe,
        rootfs: &tar,
        keys: &[SecretKey::generate()?],
        trusted: &trusted,
        version: &update.version,
        previous: None,
        programs,
        epoch,
        cache: None,
    };
    bundling.write(&again)?;
    let reading = || format!("reading {}", again.display());
    let disk = FileDisk::open_read_only(&again).with_context(reading)?;
    let manifest = Bundle::read(disk).and_then(|b| b.claimed_manifest()).with_context(reading)?;
    let rebuilt = Side { path: &again, manifest: &manifest };
    if let Some(why) = rebuild::difference(bundle, rebuilt)? {
        let (bundle, recipe) = (arguments.bundle.display(), path.display());
        let message = format!("{bundle} is not what {recipe} gives: {why}");
        return Err(Differs(message).into());
    }
    println!("{} gives {} again, byte for byte", path.display(), arguments.bundle.display());
    Ok(())
}
