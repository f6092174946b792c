//! Measures how long a router takes to build: all of it, with one file changed, and unchanged.
//!
//! `mirror` has the packages, so all contenders take them from loopback, and a first build that is
//! not measured fetches them. The contenders take turns. As root, all of them work in memory. On
//! ext4 each would pay for the files that the one before has removed: for five minutes ext4 passes
//! over their inodes one by one.
//!
//! - Daruma: `daruma-bundler build` and `bundle` of the router that ships.
//! - mmdebstrap and mksquashfs alone: the same packages, and a SquashFS of the same form.
//! - debos (root only): the same packages, overlay and services by its own actions, and the same
//!   mksquashfs as a `run` action.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::debos::Debos;
use ::tests::fixture::Fixture;
use anyhow::{Result, ensure};

use crate::mirror::Mirror;
use crate::process::{self, Usage, command, measure};
use crate::sample::{self, Sample, in_turns};
use crate::sandbox::Sandbox;
use crate::slots::settle;
use crate::table::{Row, Target};

/// Number of rounds.
const ROUNDS: usize = 3;
/// The contenders.
const NAMES: [&str; 6] = [
    "a router from nothing",
    "a router into an empty cache",
    "mmdebstrap, mksquashfs",
    "one file of the overlay edited",
    "nothing changed",
    "debos, mksquashfs",
];
/// The form of the SquashFS that `bundle` makes, but for the kernel's modules, which have level 4.
const FORM: &str = "-comp zstd -Xcompression-level 19 -b 524288 -noappend -no-progress";
/// The file that is edited: in the overlay of the router.
const EDITED: &str = "overlay-router/etc/nftables.conf";

/// A router's recipe with the mirror, and what is built of it.
#[derive(Debug)]
struct Router<'a> {
    fixture: &'a Fixture,
    mirror: Mirror,
    /// Has `recipes`, which is a copy of those that ship, and all outputs.
    dir: PathBuf,
    packages: Vec<String>,
    is_root: bool,
}

/// Returns the rows.
///
/// # Errors
/// A contender fails.
pub(crate) fn rows(fixture: &Fixture, sandbox: &Sandbox) -> Result<Vec<Row>> {
    let dir = sandbox.work.join("build");
    if sandbox.is_root {
        fs::create_dir_all(&dir)?;
        // The sandbox's namespace ends with the bench, and the mount with it.
        process::run(command("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&dir))?;
    }
    let router = Router::new(fixture, &dir, sandbox.is_root)?;
    let debos = sandbox.is_root.then(|| Debos::unpack(fixture, &dir.join("debos"))).transpose()?;
    // Fills the mirror and the cache.
    let cache = Some(dir.join("cache"));
    router.daruma(cache.as_deref())?;
    router.alone()?;
    debos.as_ref().map(|debos| router.debos(debos)).transpose()?;
    let mut edits = 0;
    let contenders = if debos.is_some() { 6 } else { 5 };
    let runs = in_turns(ROUNDS, contenders, |contender| {
        // In turns, the builds from the cache come behind each other. So the second of them finds
        // nothing changed.
        if contender == 3 {
            edits += 1;
            router.edit(edits)?;
        }
        let empty = dir.join("empty-cache");
        if contender == 1 && empty.exists() {
            fs::remove_dir_all(&empty)?;
        }
        settle(false, None)?;
        let usage = match (contender, &debos) {
            (0, _) => router.daruma(None),
            (1, _) => router.daruma(Some(&empty)),
            (2, _) => router.alone(),
            (3 | 4, _) => router.daruma(cache.as_deref()),
            (_, Some(debos)) => router.debos(debos),
            (_, None) => Ok(Usage::default()),
        }?;
        eprintln!(
            "bench: {}: {:.1} s, {:.1} s of processor time",
            NAMES[contender], usage.seconds, usage.cpu_seconds
        );
        Ok(usage)
    })?;
    let (times, processor) = (sample::times(&runs), sample::processor_times(&runs));
    let row = |what: &str, of: &[Sample], ours: usize, peer: &str, theirs: usize, target| {
        let [ours, theirs]: [&Sample; 2] = [&of[ours], &of[theirs]];
        Row {
            what: what.to_owned(),
            ours: ours.to_string(),
            peer: peer.to_owned(),
            theirs: theirs.to_string(),
            ratio: Some(ours.median() / theirs.median()),
            target,
            mib: 0.0,
        }
    };
    let [nothing, kept, alone, edited, unchanged, debos_alone] = NAMES;
    let mut rows = vec![
        row(nothing, &times, 0, alone, 2, Target::Ratio(1.1)),
        row("the same, processor time", &processor, 0, alone, 2, Target::None),
        row(kept, &times, 1, alone, 2, Target::None),
        row(edited, &times, 3, nothing, 0, Target::Ratio(0.34)),
        row(unchanged, &times, 4, nothing, 0, Target::Ratio(0.1)),
    ];
    if debos.is_some() {
        rows.push(row(nothing, &times, 0, debos_alone, 5, Target::None));
        rows.push(row("the same, processor time", &processor, 0, debos_alone, 5, Target::None));
    }
    Ok(rows)
}

impl<'a> Router<'a> {
    fn new(fixture: &'a Fixture, dir: &Path, is_root: bool) -> Result<Self> {
        fs::create_dir_all(dir.join("tmp"))?;
        let mirror = Mirror::start(&dir.join("mirror"))?;
        let recipes = dir.join("recipes");
        let mut copy = Command::new("cp");
        process::run(copy.arg("-r").arg(fixture.repo("bundler/recipes")).arg(&recipes))?;
        let packages = ["base.yaml", "core.yaml", "router.yaml"]
            .map(|name| fs::read_to_string(recipes.join(name)).map(|text| packages(&text)));
        let packages = packages.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        ensure!(!packages.is_empty(), "the recipes name no packages");
        let text = format!(
            "extends: router.yaml\nactions:\n  - action: mmdebstrap\n    mirrors: [\"{}\"]\n",
            mirror.url
        );
        fs::write(recipes.join("bench.yaml"), text)?;
        fs::write(recipes.join("debos.yaml"), debos_recipe(&mirror.url, &packages))?;
        Ok(Self { fixture, mirror, dir: dir.to_owned(), packages, is_root })
    }

    /// Changes one file.
    fn edit(&self, number: usize) -> Result<()> {
        let file = self.dir.join("recipes").join(EDITED);
        let text = fs::read_to_string(&file)?;
        let first = text.lines().filter(|line| !line.starts_with("# edit "));
        let text = first.collect::<Vec<_>>().join("\n");
        Ok(fs::write(file, format!("{text}\n# edit {number}\n"))?)
    }

    /// Builds the root filesystem and its bundle. `cache`: the folder, or `None` for no cache.
    fn daruma(&self, cache: Option<&Path>) -> Result<Usage> {
        let (recipe, tar) = (self.dir.join("recipes/bench.yaml"), self.dir.join("router.tar"));
        let bundler = |verb: &str| {
            let mut command = command(&self.fixture.program("daruma-bundler").to_string_lossy());
            command.arg(verb).arg(&recipe).env("TMPDIR", self.dir.join("tmp"));
            match cache {
                Some(cache) => command.arg("--cache").arg(cache),
                None => command.arg("--no-cache"),
            };
            command
        };
        let built = measure(bundler("build").arg("-o").arg(&tar))?;
        let mut bundle = bundler("bundle");
        bundle.args(["--version", "1.0.0", "--rootfs"]).arg(&tar);
        bundle.arg("--key").arg(self.fixture.key("release.key.pem"));
        bundle.arg("--keyring").arg(self.fixture.key("keyring"));
        bundle.arg("-o").arg(self.dir.join("router.daruma"));
        Ok(built.then(measure(&bundle)?))
    }

    /// Builds a root filesystem of the same packages, and its SquashFS.
    fn alone(&self) -> Result<Usage> {
        let (tar, image) = (self.dir.join("alone.tar"), self.dir.join("alone.img"));
        let mode = if self.is_root { "root" } else { "unshare" };
        let mut mmdebstrap = command("mmdebstrap");
        mmdebstrap.arg(format!("--mode={mode}")).args(["--format=tar", "--variant=minbase"]);
        mmdebstrap.arg(format!("--include={}", self.packages.join(","))).arg("trixie").arg(&tar);
        mmdebstrap.arg(format!("deb {} trixie main", self.mirror.url));
        // As for a bundle, which has an initramfs of its own.
        mmdebstrap.env("INITRD", "No").env("SOURCE_DATE_EPOCH", "1754697600");
        mmdebstrap.env("TMPDIR", self.dir.join("tmp"));
        let built = measure(&mmdebstrap)?;
        let text = format!("exec mksquashfs - \"$2\" -tar {FORM} -quiet <\"$1\"");
        let mut squash = command("sh");
        let packed = measure(squash.args(["-c", &text, "sh"]).arg(&tar).arg(&image))?;
        Ok(built.then(packed))
    }

    fn debos(&self, debos: &Debos) -> Result<Usage> {
        measure(&debos.command(&self.dir.join("recipes"), "debos.yaml", &[]))
    }
}

/// Returns the packages of all apt actions of a recipe.
fn packages(recipe: &str) -> Vec<String> {
    let mut packages = Vec::new();
    let mut is_list = false;
    for line in recipe.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("- ") {
            Some(name) if is_list => packages.push(name.to_owned()),
            _ => is_list = line == "packages:",
        }
    }
    packages
}

/// Returns the router as a recipe of debos.
fn debos_recipe(mirror: &str, packages: &[String]) -> String {
    let packages = packages.join(", ");
    format!(
        "architecture: amd64
actions:
  - action: debootstrap
    suite: trixie
    variant: minbase
    mirror: {mirror}
    components: [main]
  - action: apt
    recommends: false
    packages: [{packages}]
  - action: overlay
    source: overlay-base
  - action: overlay
    source: overlay-core
  - action: overlay
    source: overlay-router
  - action: run
    chroot: true
    command: |
      systemctl enable nftables.service systemd-networkd.service
      systemctl disable systemd-networkd-wait-online.service
  - action: run
    command: mksquashfs \"$ROOTDIR\" \"$ARTIFACTDIR/debos.img\" {FORM} -quiet
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_of_the_lists_and_not_the_modules() {
        let text = "  - action: apt\n    packages:\n      # why\n      - one\n      - two\n\n  \
                    - action: kernel\n    modules:\n      - kernel/lib/\n";
        assert_eq!(packages(text), ["one", "two"]);
    }
}
