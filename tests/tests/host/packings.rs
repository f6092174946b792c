//! An agent from before the keys `compression`, `level` and `block-size` installs every bundle.
//!
//! `daruma-bundler` makes the bundles, and the programs of an older commit install them.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::folder_device::FolderDevice;

/// A commit before these keys, which `two_disks` takes too. Its agents are in the field.
const BEFORE: &str = "ab6d461";
const TINY: &str = "tests/recipes/tiny.yaml";

#[test]
fn an_agent_of_before_installs_a_bundle_of_any_packing() -> Result<()> {
    let fixture = Fixture::open()?;
    let before = fixture.programs_of_commit(BEFORE)?;
    let disk = fixture.disk(&fixture.bundle(TINY, "1.0.0")?)?;
    let (rootfs, dir) = (fixture.rootfs(TINY)?, tempfile::tempdir()?);
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let mut sizes = Vec::new();
    for (name, keys) in [
        ("fast", "{ level: 1, block-size: 256K }"),
        ("small", "{ level: 22, module-level: 4, block-size: 1M }"),
        ("xz", "{ compression: xz, block-size: 1M }"),
    ] {
        let keys = keys.replace("{ ", "{ action: bundle, ");
        let parent = fixture.repo(TINY);
        let recipe = format!("extends: {}\nactions:\n  - {keys}\n", parent.display());
        fs::write(path("recipe.yaml"), recipe)?;
        let bundle = path(name);
        fixture.bundler(&[
            "bundle",
            &text("recipe.yaml"),
            "--rootfs",
            &rootfs.display().to_string(),
            "--key",
            &fixture.key("release.key.pem").display().to_string(),
            "--keyring",
            &fixture.key("keyring").display().to_string(),
            "--version",
            "2.0.0",
            "-o",
            &text(name),
        ])?;
        let device = FolderDevice::new(&fixture, &path(&format!("{name}-device")), &disk)?;
        let mut install = Command::new(before.join("daruma"));
        let output = install.args(device.arguments(&["install", &text(name)])).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {} {said}", output.status);
        device.expect_installed(&fixture, &bundle)?;
        sizes.push(fs::metadata(&bundle)?.len());
    }
    ensure!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?} bytes: fast, small, xz");
    Ok(())
}
