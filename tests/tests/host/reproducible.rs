//! Checks that the same inputs give the same bytes in another folder, on another day, for another
//! user.
//!
//! `daruma-bundler` builds from copies of all inputs. `host_traces` changes the rest of
//! the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::ordinary_user::{USER, copy_inputs, give, is_root, run};

/// Builds tiny in `dir` from copies of all inputs.
///
/// After mmdebstrap, faketime sets the time to `clock`. mmdebstrap needs the real time, because apt
/// checks the dates of the archive.
fn build(dir: &Path, as_user: bool, clock: &str) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let fixture = Fixture::open()?;
    copy_inputs(&fixture, dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    if as_user {
        give(dir, USER)?;
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
        run(&mut command).map(drop)
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
    let root = is_root();
    let one = tempfile::Builder::new().prefix("daruma-one-").tempdir_in("/var/tmp")?;
    let two = tempfile::Builder::new().prefix("daruma-another-").tempdir_in("/var/tmp")?;
    let files = build(one.path(), false, "@2026-01-02 03:04:05")?;
    let again = build(two.path(), root, "@2031-06-07 08:09:10")?;
    for ((name, bytes), (_, bytes_again)) in files.iter().zip(&again) {
        ensure!(bytes == bytes_again, "the files {name} differ");
    }
    Ok(())
}
