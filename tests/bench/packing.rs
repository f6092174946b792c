//! `make bench-size PACKINGS=packings`: what each way to pack the router's root image costs.
//!
//! `apply` measures a delta. Only sizes are exact: times depend on the machine, and compare the
//! ways with each other.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tests::fixture::Fixture;

use crate::apply::Place;
use crate::install::Workload;
use crate::sandbox::Sandbox;
use crate::{INSTALLED, RUNNING};

/// The keys of the `bundle` action.
const WAYS: [&str; 12] = [
    "level: 4, module-level: 4, block-size: 128K",
    "level: 4, module-level: 4, block-size: 256K",
    "level: 19, module-level: 4, block-size: 128K",
    "level: 19, module-level: 16, block-size: 128K",
    "level: 19, module-level: 4, block-size: 256K",
    "level: 19, module-level: 16, block-size: 256K",
    "level: 19, module-level: 19, block-size: 256K",
    "level: 19, module-level: 4, block-size: 512K",
    "level: 19, module-level: 4, block-size: 1M",
    "level: 22, module-level: 22, block-size: 1M",
    "compression: xz, level: 6, block-size: 128K",
    "compression: xz, level: 6, block-size: 1M",
];

/// Prints a row for each way whose number is wanted; for all if none is.
pub(crate) fn print(fixture: &Fixture, sandbox: &Sandbox, wanted: &[usize]) -> Result<()> {
    println!("| keys | bundle | root | delta | seconds | processor | peak memory |");
    println!("|---|---|---|---|---|---|---|");
    for (number, keys) in WAYS.iter().enumerate() {
        if wanted.is_empty() || wanted.contains(&number) {
            let dir = sandbox.work.join(format!("packing-{number}"));
            println!("{}", row(fixture, keys, &dir).with_context(|| format!("packing {keys}"))?);
            fs::remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

fn row(fixture: &Fixture, keys: &str, dir: &Path) -> Result<String> {
    fs::create_dir_all(dir)?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    let workload = |(recipe, version): (&str, &str)| -> Result<Workload> {
        let path = dir.join(format!("{version}.yaml"));
        let parent = fixture.repo(recipe);
        let variant =
            format!("extends: {}\nactions:\n  - {{action: bundle, {keys}}}\n", parent.display());
        fs::write(&path, variant)?;
        let bundle = dir.join(format!("{version}.daruma"));
        fixture.bundler(&[
            "bundle",
            &text(&path)?,
            "--rootfs",
            &text(&fixture.rootfs(recipe)?)?,
            "--key",
            &text(&fixture.key("release.key.pem"))?,
            "--keyring",
            &text(&fixture.key("keyring"))?,
            "--version",
            version,
            "-o",
            &text(&bundle)?,
        ])?;
        Workload::of(fixture, &bundle, &dir.join(version))
    };
    let (old, new) = (workload(RUNNING)?, workload(INSTALLED)?);
    let (delta, keyring) = (dir.join("update.delta"), fixture.key("keyring"));
    fixture.bundler(&[
        "delta",
        &text(&old.bundle)?,
        &text(&new.bundle)?,
        "--keyring",
        &text(&keyring)?,
        "-o",
        &text(&delta)?,
    ])?;
    let place = Place {
        keyring: &keyring,
        new: &new.bundle,
        old_boot: &old.images.boot,
        old_root: &old.images.root,
    };
    let usage = place.cost("delta", Some(&delta))?.usage;
    let megabytes = |path: &Path| -> Result<String> {
        Ok(format!("{:.1}", fs::metadata(path)?.len() as f64 / 1e6))
    };
    Ok(format!(
        "| `{keys}` | {} | {} | {} | {:.1} | {:.1} | {:.1} MiB |",
        megabytes(&new.bundle)?,
        megabytes(&new.images.root)?,
        megabytes(&delta)?,
        usage.seconds,
        usage.cpu_seconds,
        usage.peak_bytes as f64 / f64::from(1 << 20),
    ))
}
