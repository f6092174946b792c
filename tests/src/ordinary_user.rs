//! The ordinary user who builds in a test, and the copies of a build's inputs that belong to the
//! user.
//!
//! A build by root proves nothing about privileges, and the user may not look into root's clone or
//! cache.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::fixture::Fixture;

/// The user. It has subordinate ids, which the user namespace of mmdebstrap needs.
pub const USER: &str = "daruma-test";

/// Runs a program that must succeed.
///
/// # Errors
/// It fails; the error has what it wrote to stderr.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(output)
}

/// Returns whether the test runs as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Returns a command that runs as root, by sudo if need be.
#[must_use]
pub fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}

/// Gives a folder to `user`, who is made if there is none.
///
/// # Errors
/// Neither root nor sudo can do it.
pub fn give(dir: &Path, user: &str) -> Result<()> {
    if !Command::new("id").arg(user).output()?.status.success() {
        run(as_root("useradd").args(["--create-home", "--shell", "/bin/sh", user]))?;
    }
    run(as_root("chown").args(["-R", user]).arg(dir)).map(drop)
}

/// Copies what a build needs into `dir`: `programs`, `bundler/recipes`, `recipes` (those of the
/// tests), `keyring` and `release.key.pem`.
///
/// # Errors
/// A copy fails.
pub fn copy_inputs(fixture: &Fixture, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir.join("bundler"))?;
    for (from, to) in [
        (fixture.repo("target/daruma"), "programs"),
        (fixture.repo("bundler/recipes"), "bundler/recipes"),
        (fixture.repo("tests/recipes"), "recipes"),
        (fixture.key("keyring"), "keyring"),
        (fixture.key("release.key.pem"), "release.key.pem"),
    ] {
        run(Command::new("cp").arg("-r").arg(from).arg(dir.join(to)))?;
    }
    Ok(())
}
