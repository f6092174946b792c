//! What a bundle needs besides its root filesystem, and how it is made of both.
//!
//! `bundle` and `build` have the arguments. `Bundling` and `image` do the work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::SecretKey;
use bundler::accounts::Previous;
use bundler::bundling::Bundling;
use bundler::contents::write_beside;
use bundler::credentials::Credentials;
use bundler::device::DevicePrograms;
use bundler::host::cache::{self, Cache};
use bundler::host::tool;
use bundler::lock::Lock;
use bundler::recipe::Recipe;
use bundler::repo::Trusted;
use bundler::rootfs;
use bundler::{grub, image, previous};
use clap::Args;
use semver::Version;

use crate::verbs::contents;

/// What makes a bundle of what `build` builds.
#[derive(Args, Debug)]
pub(crate) struct Signing {
    /// Make the bundle and the factory image too, signed with this key; repeat the option until
    /// the threshold is met
    #[arg(long = "key", value_name = "KEY.pem", requires_all = ["keyring", "version"])]
    keys: Vec<PathBuf>,
    /// Folder of the public keys that devices will trust, for --key
    #[arg(long, value_name = "DIR", requires = "keys")]
    keyring: Option<PathBuf>,
    /// Version of the system, such as 1.2.3, for --key
    #[arg(long, value_name = "X.Y.Z", requires = "keys")]
    version: Option<Version>,
    #[command(flatten)]
    more: More,
}

/// What a bundle may need besides.
#[derive(Args, Debug)]
pub(super) struct More {
    /// The bundle that devices run now. System users and groups must have the numbers that they
    /// have there, because files in /var belong to numbers
    #[arg(long, value_name = "OLD.daruma")]
    previous: Option<PathBuf>,
    /// Folder with daruma, daruma-static and daruma-init [default: this program's folder]
    #[arg(long, value_name = "DIR")]
    device_programs: Option<PathBuf>,
}

/// Everything that a bundle needs besides its root filesystem, read and checked.
pub(super) struct Ready {
    keys: Vec<SecretKey>,
    trusted: Trusted,
    version: Version,
    previous: Option<Previous>,
    programs: DevicePrograms,
    epoch: u64,
}

impl Signing {
    /// Reads and checks everything. `None`: no bundle is wanted.
    pub(super) fn ready(self, recipe: &Recipe) -> Result<Option<Ready>> {
        let Self { keys, keyring: Some(keyring), version: Some(version), more } = self else {
            return Ok(None);
        };
        Ready::new(recipe, &keys, &keyring, version, &more).map(Some)
    }
}

impl Ready {
    /// Reads and checks everything.
    pub(super) fn new(
        recipe: &Recipe,
        keys: &[PathBuf],
        keyring: &Path,
        version: Version,
        more: &More,
    ) -> Result<Self> {
        let settings = recipe.bundle()?;
        let keys =
            keys.iter().map(|path| Ok(SecretKey::load(path)?)).collect::<Result<Vec<_>>>()?;
        let mut ids: Vec<_> = keys.iter().map(|key| key.public().id()).collect();
        ids.sort();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("key {} is named twice; name each key once", twice[0]);
        }
        let trusted = Trusted::load(keyring)?;
        let programs = DevicePrograms::find(more.device_programs.as_deref())?;
        let epoch = rootfs::source_date_epoch()?;
        let old = more.previous.as_ref();
        let previous = old
            .map(|old| previous::read(old, &trusted.keyring, &settings.compatible))
            .transpose()?;
        Ok(Self { keys, trusted, version, previous, programs, epoch })
    }

    /// Writes the bundle, or takes it from the cache. `lock` is what the root filesystem was built
    /// by.
    pub(super) fn write(
        self,
        recipe: &Recipe,
        rootfs: &Path,
        lock: Option<&Lock>,
        cache: Option<&Cache>,
        out: &Path,
    ) -> Result<Trusted> {
        // A comparison with an older bundle may refuse this one.
        let kept = cache.filter(|_| self.previous.is_none());
        let kept = kept.map(|cache| Ok((cache, self.key(recipe, rootfs)?)));
        let kept = kept.transpose().unwrap_or_else(|error: anyhow::Error| {
            eprintln!("warning: the cache is not used for the bundle: {error:#}");
            None
        });
        if let Some(found) = kept.as_ref().and_then(|(cache, key)| cache.find(key)) {
            eprintln!("{}: nothing has changed, taking it from the cache", out.display());
            found.take(out)?;
            describe(out, lock, self.epoch)?;
            return Ok(self.trusted);
        }
        let bundling = Bundling {
            recipe,
            rootfs,
            keys: &self.keys,
            trusted: &self.trusted,
            version: &self.version,
            previous: self.previous.as_ref(),
            programs: self.programs,
            epoch: self.epoch,
            cache,
        };
        bundling.write(out)?;
        describe(out, lock, self.epoch)?;
        if let Some((cache, key)) = kept {
            let what = format!("{}: the bundle {}", recipe.path.display(), self.version);
            if let Err(error) = cache.add(&key, out, &what) {
                let dir = cache.dir().display();
                eprintln!("warning: the cache {dir} does not keep the bundle: {error}");
            }
        }
        Ok(self.trusted)
    }

    /// Returns the key of the bundle: everything that decides its bytes.
    fn key(&self, recipe: &Recipe, rootfs: &Path) -> Result<String> {
        let DevicePrograms { agent, init, recovery_agent } = &self.programs;
        let reading = || format!("reading {}", rootfs.display());
        let mut list = vec![
            ("program", cache::this_program().context("reading this program")?.into_bytes()),
            ("depmod", tool::run(tool::command("depmod").arg("--version"))?.into_bytes()),
            ("rootfs", cache::sum(rootfs).with_context(reading)?.1.into_bytes()),
            ("trusted", format!("{:?}", self.trusted).into_bytes()),
            ("version", self.version.to_string().into_bytes()),
            ("epoch", self.epoch.to_string().into_bytes()),
            ("agent", agent.clone()),
            ("init", init.clone()),
            ("recovery", recovery_agent.clone()),
        ];
        list.extend(recipe.rendered.iter().map(|(_, text)| ("recipe", text.clone().into_bytes())));
        list.extend(
            self.keys.iter().map(|key| ("key", key.public().id().to_string().into_bytes())),
        );
        let list: Vec<_> = list.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Ok(cache::key(&list))
    }

    /// Writes the bundle of `grub`'s recipe into a folder, and the factory image if the recipe
    /// names one. `lock` is what the root filesystem was built by. Returns the files.
    pub(super) fn write_all(
        self,
        grub: &grub::Source<'_>,
        rootfs: &Path,
        lock: Option<&Lock>,
        dir: &Path,
    ) -> Result<Vec<PathBuf>> {
        let recipe = grub.recipe;
        let name = format!("{}-{}", recipe.bundle()?.compatible, self.version);
        let (bundle, epoch) = (dir.join(format!("{name}.daruma")), self.epoch);
        let trusted = self.write(recipe, rootfs, lock, grub.cache, &bundle)?;
        if !recipe.has_image {
            return Ok(vec![bundle]);
        }
        let disk = dir.join(format!("{name}.raw"));
        let none = Credentials::of_arguments(&[])?;
        let (keyring, layout) = (&trusted.keyring, Some(recipe.layout));
        image::write(&bundle, keyring, layout, &none, Some(grub), epoch, &disk)?;
        Ok(vec![bundle, disk])
    }
}

/// Writes an SPDX document beside a bundle.
fn describe(bundle: &Path, lock: Option<&Lock>, epoch: u64) -> Result<()> {
    write_beside(bundle, contents::holding(bundle)?.as_ref(), lock, epoch).map(drop)
}
