//! What `size` and `diff` say of a real Debian system.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fixture::Fixture;

fn json(fixture: &Fixture, args: &[&str]) -> Result<Value> {
    let output =
        Command::new(fixture.program("daruma-bundler")).args(args).arg("--json").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn a_real_bundle_and_its_tar_are_read_whole_and_compared() -> Result<()> {
    let (fixture, recipe) = (Fixture::open()?, "tests/recipes/demo-1.yaml");
    let (tar, bundle) = (fixture.rootfs(recipe)?, fixture.bundle(recipe, "1.0.0")?);
    let [tar, bundle] = [&tar, &bundle].map(|path| path.display().to_string());
    let facts = json(&fixture, &["inspect", &bundle])?;
    let root = facts["images"]["root"]["size"].as_u64().context("no size")?;
    let count = facts["meta"]["system"]["packages"].as_str().context("no count")?;
    let count: u64 = count.parse()?;
    for file in [&tar, &bundle] {
        let sizes = json(&fixture, &["size", file])?;
        let packages = sizes["packages"].as_u64().context("no packages")?;
        // The tar still has the packages that the router is without.
        let is_right = if file == &bundle { packages == count } else { packages > count };
        ensure!(is_right, "{file}: {packages} packages, and the bundle has {count}");
        let rows = sizes["rows"].as_array().context("no rows")?;
        let bytes = |row: &Value, key: &str| row[key].as_u64().unwrap_or_default();
        let sum: u64 = rows.iter().map(|row| bytes(row, "bytes")).sum();
        ensure!(sum == bytes(&sizes["total"], "bytes") && sum > 150_000_000, "{file}: {sum}");
        // Scripts, the package index and the like: much less than the packages have brought.
        let nobody = rows.iter().find(|row| row["name"].is_null()).context("no row of nobody")?;
        ensure!(bytes(nobody, "bytes") < sum / 5, "{file}: {nobody}");
    }
    let packed = json(&fixture, &["size", "--by=file", &bundle])?;
    let packed = packed["total"]["packed_bytes"].as_u64().context("no packed size")?;
    // The rest of the image is tables and the dm-verity tree.
    ensure!(packed < root && packed > root / 10 * 9, "{packed} of {root}");

    // A bundle is a part of its tar, and more: the agent, unpacked modules. It is without apt.
    let diff = json(&fixture, &["diff", &tar, &bundle])?;
    for list in ["users", "groups"] {
        ensure!(diff[list] == json!([]), "{list}: {}", diff[list]);
    }
    let gone = diff["packages"].as_array().context("no packages")?;
    let is_apt = |row: &Value| row["name"] == "apt";
    ensure!(gone.iter().any(is_apt) && gone.iter().all(|row| row["new"].is_null()), "{gone:?}");
    let is_enabled = |row: &Value| row["name"] == "daruma.service" && row["new"] == "enabled";
    let services = diff["services"].as_array().context("no services")?;
    ensure!(services.iter().any(is_enabled), "{services:?}");
    let diff = json(&fixture, &["diff", &bundle, &bundle])?;
    ensure!(diff["files"] == json!([]), "{}", diff["files"]);
    Ok(())
}
