//! Checks that other hosts give the same bundle: another user without a network and Debian 13, by a
//! lock; and a host without apt.
//!
//! bundler/tests/lock.rs has an archive with two states. Here the packages are Debian's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;
use tests::ordinary_user::{USER, copy_inputs, give, is_root, run};

/// The arguments of `bundle` behind the recipe. Nothing may come from a cache.
const BUNDLE: &[&str] = &[
    "--no-cache",
    "--rootfs",
    "rootfs.tar",
    "--key",
    "release.key.pem",
    "--keyring",
    "keyring",
    "--version",
    "1.0.0",
    "-o",
    "out.daruma",
];

/// A folder with copies of all inputs.
struct Site {
    dir: tempfile::TempDir,
    /// What is run before the bundler.
    before: Vec<String>,
}

impl Site {
    fn new(name: &str) -> Result<Self> {
        let fixture = Fixture::open()?;
        let dir = tempfile::Builder::new().prefix(name).tempdir_in("/var/tmp")?;
        let site = Self { dir, before: Vec::new() };
        copy_inputs(&fixture, site.dir.path())?;
        fs::create_dir_all(site.path("cache"))?;
        fs::set_permissions(site.dir.path(), fs::Permissions::from_mode(0o755))?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Takes the lock and the package files of another site.
    fn take(&self, other: &Self, lock: &str) -> Result<()> {
        fs::copy(other.path(lock), self.path(lock))?;
        let packages = other.path("cache/packages");
        run(Command::new("cp").arg("-r").arg(packages).arg(self.path("cache/"))).map(drop)
    }

    fn bundler(&self, args: &[&str]) -> Command {
        let program = self.path("programs/daruma-bundler").to_string_lossy().into_owned();
        let mut words = self.before.iter().map(String::as_str).chain([program.as_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(args).current_dir(self.dir.path());
        command.env("SOURCE_DATE_EPOCH", "1767225600");
        command
    }
}

fn same(one: &Path, two: &Path) -> Result<()> {
    ensure!(fs::read(one)? == fs::read(two)?, "{} and {} differ", one.display(), two.display());
    Ok(())
}

#[test]
fn a_lock_gives_the_same_bundle_to_another_user_offline_and_rebuild_says_so() -> Result<()> {
    let (recipe, cache) = ("recipes/tiny.yaml", ["--cache", "cache"]);
    let one = Site::new("daruma-lock-")?;
    run(one.bundler(&["build", recipe, "-o", "rootfs.tar", "--lock"]).args(cache))?;
    run(one.bundler(&["bundle", recipe]).args(BUNDLE))?;
    let image =
        ["image", "out.daruma", "--keyring", "keyring", "-o", "disk.raw", "--recipe", recipe];
    run(one.bundler(&image).arg("--lock").args(cache))?;
    // GRUB is that of the recipe's suite.
    let lock = fs::read_to_string(one.path("recipes/tiny.grub.lock"))?;
    let grub = lock.split_once("name = \"grub-common\"\nversion = \"").context("no grub-common")?.1;
    let grub = grub.split('"').next().context("a version")?;
    ensure!(fs::read(one.path("disk.raw"))?.windows(grub.len()).any(|w| w == grub.as_bytes()));

    let mut two = Site::new("daruma-locked-")?;
    two.take(&one, "recipes/tiny.lock")?;
    fs::copy(one.path("recipes/tiny.grub.lock"), two.path("recipes/tiny.grub.lock"))?;
    fs::copy(one.path("out.daruma"), two.path("first.daruma"))?;
    if is_root() {
        give(two.dir.path(), USER)?;
        // As an ordinary user the test cannot take the network away.
        let words = ["unshare", "--net", "runuser", "-u", USER, "--"];
        two.before = words.map(str::to_owned).to_vec();
    }
    run(two.bundler(&["build", recipe, "-o", "rootfs.tar", "--locked"]).args(cache))?;
    run(two.bundler(&["bundle", recipe]).args(BUNDLE))?;
    same(&one.path("out.daruma"), &two.path("out.daruma"))?;
    run(two.bundler(&image).arg("--locked").args(cache))?;
    same(&one.path("disk.raw"), &two.path("disk.raw"))?;

    // The environment's time is another one: the bundle says which one counts.
    let verify =
        ["verify", "first.daruma", "--keyring", "keyring", "--rebuild", "--recipe", recipe];
    let output = run(two.bundler(&verify).args(cache).env("SOURCE_DATE_EPOCH", "1"))?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(said.ends_with("gives first.daruma again, byte for byte\n"), "{said}");

    let script = two.path("recipes/overlay-tiny/etc/inittab");
    fs::write(&script, [&fs::read(&script)?[..], b"# changed\n"].concat())?;
    let output = two.bundler(&verify).args(cache).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(32), "{said}");
    let wanted = "first.daruma is not what recipes/tiny.yaml gives: image root: /etc/inittab: \
                  content: ";
    ensure!(said.lines().last().is_some_and(|line| line.contains(wanted)), "{said}");
    Ok(())
}

/// Runs a command in a root filesystem of Debian 13, in the folder that the site has there.
const INSIDE: &str = r#"
set -eu
mkdir host
mount -t tmpfs tmpfs host
tar -xf host.tar -C host --exclude='./dev/*'
mkdir -p host/site
mount --bind . host/site
mount -t proc proc host/proc
mount --rbind /sys host/sys
mount --rbind /dev host/dev
chroot host sh -eu -c 'cd /site; unset TMPDIR; programs/daruma-bundler build "$1" -o rootfs.tar \
    --locked --cache cache; shift; exec programs/daruma-bundler bundle "$@"' sh "$1" "$@"
"#;

#[test]
fn debian_13_as_the_build_host_gives_the_same_bundle_as_this_host() -> Result<()> {
    let recipe = "bundler/recipes/base.yaml";
    let one = Site::new("daruma-lock-")?;
    run(&mut one.bundler(&["build", recipe, "-o", "rootfs.tar", "--lock", "--cache", "cache"]))?;
    run(one.bundler(&["bundle", recipe]).args(BUNDLE))?;

    let two = Site::new("daruma-thirteen-")?;
    two.take(&one, "bundler/recipes/base.lock")?;
    run(&mut two.bundler(&["build", "recipes/host-13.yaml", "-o", "host.tar"]))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
    if !is_root() {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.args(["sh", "-c", INSIDE, "sh", recipe]).args(BUNDLE).current_dir(two.dir.path());
    let output = run(command.env("SOURCE_DATE_EPOCH", "1767225600"))?;
    // It was another host.
    let said = String::from_utf8(output.stderr)?;
    ensure!(said.contains("the lock was made with mmdebstrap "), "{said}");
    same(&one.path("out.daruma"), &two.path("out.daruma"))
}

/// Makes a host without apt, dpkg and perl of Debian 13's root filesystem, and calls the bundler
/// there with the arguments. `$BUILDER` is the uid of an ordinary user, or empty.
const WITHOUT_APT: &str = r#"
set -eu
mkdir host
mount -t tmpfs tmpfs host
tar -xf host.tar -C host --exclude='./dev/*'
cd host
rm -rf etc/apt etc/dpkg usr/bin/apt* usr/bin/dpkg* usr/bin/mmdebstrap usr/bin/perl* usr/lib/apt \
    usr/lib/dpkg usr/sbin/veritysetup var/lib/apt var/lib/dpkg
cat /etc/resolv.conf >etc/resolv.conf
echo "builder:x:${BUILDER:-1}:0::/site:/bin/sh" >>etc/passwd
echo builder:100000:65536 | tee etc/subuid >etc/subgid
mkdir -p site
mount --bind .. site
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
# A user namespace cannot be made in a chroot.
pivot_root . mnt
cd /site
umount -l /mnt
[ -z "${BUILDER-}" ] || set -- setpriv --reuid "$BUILDER" --regid 0 --clear-groups "$@"
unset TMPDIR
HOME=/site PATH=/usr/bin exec "$@"
"#;

#[test]
fn a_host_without_apt_gives_the_same_bundle_with_the_programs_of_a_folder() -> Result<()> {
    let recipe = "recipes/tiny.yaml";
    let one = Site::new("daruma-apt-")?;
    run(&mut one.bundler(&["build", recipe, "-o", "rootfs.tar", "--lock", "--cache", "cache"]))?;
    run(one.bundler(&["bundle", recipe]).args(BUNDLE))?;
    run(&mut one.bundler(&["build", "bundler/recipes/tools.yaml"]))?;

    let two = Site::new("daruma-without-apt-")?;
    run(&mut two.bundler(&["build", "recipes/host-13.yaml", "-o", "host.tar"]))?;
    // With a lock beside the recipe, the bundler runs among the folder's programs too.
    fs::copy(one.path("recipes/tiny.lock"), two.path("recipes/tiny.lock"))?;
    fs::create_dir(two.path("tools"))?;
    let mut builder = String::new();
    let mut unpack = vec!["tar", "-x", "-C", "tools", "-f"];
    if is_root() {
        give(two.dir.path(), USER)?;
        let id = run(Command::new("id").args(["-u", USER]))?.stdout;
        String::from_utf8(id)?.trim().clone_into(&mut builder);
        unpack.splice(0..0, ["runuser", "-u", USER, "--"]);
        fs::set_permissions(one.dir.path(), fs::Permissions::from_mode(0o755))?;
    }
    let mut tar = Command::new(unpack[0]);
    tar.args(&unpack[1..]).arg(one.path("daruma-tools.tar.gz")).current_dir(two.dir.path());
    run(&mut tar)?;

    let there = |tools: &str, args: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if builder.is_empty() {
            command.args(["--user", "--map-root-user", "--map-auto"]);
        }
        command.args(["sh", "-c", WITHOUT_APT, "sh", "programs/daruma-bundler"]).args(args);
        command.env("SOURCE_DATE_EPOCH", "1767225600").env("BUILDER", &builder);
        let output = command.env("DARUMA_TOOLS", tools).current_dir(two.dir.path()).output()?;
        fs::remove_dir(two.path("host"))?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let build = ["build", recipe, "-o", "rootfs.tar", "--no-cache"];
    let (code, said) = there("", &build)?;
    let wanted = "mmdebstrap (Debian package mmdebstrap); on a host without apt, name a folder";
    ensure!(code == Some(24) && said.contains(wanted), "{code:?} {said}");
    let (code, said) = there("programs", &build)?;
    let wanted = "DARUMA_TOOLS=/site/programs: this folder is not what";
    ensure!(code == Some(24) && said.contains(wanted), "{code:?} {said}");

    let (code, said) = there("tools", &build)?;
    ensure!(code == Some(0), "{said}");
    let (code, said) = there("tools", &[&["bundle", recipe], BUNDLE].concat())?;
    ensure!(code == Some(0), "{said}");
    same(&one.path("out.daruma"), &two.path("out.daruma"))
}
