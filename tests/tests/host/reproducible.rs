//! Checks that the same inputs give the same bytes in another folder, on another day, for another
//! user.
//!
//! `daruma-bundler` builds from copies of all inputs. `host_traces` changes the rest of
//! the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;

/// An ordinary user. The test makes it when the test runs as root, because a build by root proves
/// nothing about privileges.
const USER: &str = "daruma-test";

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(output.stdout.trim_ascii() == b"0")
}

/// Builds tiny in `dir` from copies of all inputs.
///
/// After mmdebstrap, faketime sets the time to `clock`. mmdebstrap needs the real time, because apt
/// checks the dates of the archive.
fn build(dir: &Path, as_user: bool, clock: &str) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let fixture = Fixture::open()?;
    let copy =
        |from: PathBuf, to: &str| run(Command::new("cp").arg("-r").arg(from).arg(dir.join(to)));
    copy(fixture.repo("target/daruma"), "programs")?;
    fs::create_dir(dir.join("bundler"))?;
    copy(fixture.repo("bundler/recipes"), "bundler/recipes")?;
    copy(fixture.repo("tests/recipes"), "recipes")?;
    copy(fixture.key("keyring"), "keyring")?;
    copy(fixture.key("release.key.pem"), "release.key.pem")?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    if as_user {
        run(Command::new("chown").args(["-R", USER]).arg(dir))?;
    }
    let bundler = |clock: Option<&str>, args: &[&str]| {
        let mut words: Vec<String> = Vec::new();
        if as_user {
            words.extend(["runuser", "-u", USER, "--"].map(str::to_owned));
        }
        if let Some(clock) = clock {
            words.extend(["faketime", "-f", clock].map(str::to_owned));
        }
        words.push(dir.join("programs/daruma-bundler").to_string_lossy().into_owned());
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(dir).env("SOURCE_DATE_EPOCH", "1767225600");
        run(&mut command)
    };
    let recipe = "recipes/tiny.yaml";
    bundler(None, &["build", recipe, "--no-cache", "-o", "rootfs.tar"])?;
    bundler(
        Some(clock),
        &[
            "bundle",
            "--no-cache",
            recipe,
            "--rootfs",
            "rootfs.tar",
            "--key",
            "release.key.pem",
            "--keyring",
            "keyring",
            "--version",
            "1.0.0",
            "-o",
            "tiny.daruma",
        ],
    )?;
    // Without --recipe GRUB is the host's. With it apt would fetch GRUB and look at the date;
    // `locked` has that.
    let image = ["image", "tiny.daruma", "--keyring", "keyring", "-o", "disk.raw"];
    bundler(Some(clock), &image)?;
    ["rootfs.tar.spdx.json", "tiny.daruma", "tiny.daruma.spdx.json", "disk.raw"]
        .into_iter()
        .map(|name| Ok((name, fs::read(dir.join(name))?)))
        .collect()
}

#[test]
fn the_same_inputs_give_identical_bundle_and_disk_in_another_folder_on_another_day_as_another_user()
-> Result<()> {
    let root = is_root()?;
    if root && !Command::new("id").arg(USER).output()?.status.success() {
        // --create-home also gives the user subordinate ids. The user namespace of mmdebstrap needs
        // them.
        run(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", USER]))?;
    }
    let one = tempfile::Builder::new().prefix("daruma-one-").tempdir_in("/var/tmp")?;
    let two = tempfile::Builder::new().prefix("daruma-another-").tempdir_in("/var/tmp")?;
    let files = build(one.path(), false, "@2026-01-02 03:04:05")?;
    let again = build(two.path(), root, "@2031-06-07 08:09:10")?;
    for ((name, bytes), (_, bytes_again)) in files.iter().zip(&again) {
        ensure!(bytes == bytes_again, "the files {name} differ");
    }
    Ok(())
}
