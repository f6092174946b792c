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
    let (fixture, recipe) = (Fixture::open()?, "tests/recipes/tiny.yaml");
    let (tar, bundle) = (fixture.rootfs(recipe)?, fixture.bundle(recipe, "1.0.0")?);
    let next = fixture.bundle(recipe, "2.0.0")?;
    let [tar, bundle, next] = [&tar, &bundle, &next].map(|path| path.display().to_string());
    let facts = json(&fixture, &["inspect", &bundle])?;
    let root = facts["images"]["root"]["size"].as_u64().context("no size")?;
    let count = facts["meta"]["system"]["packages"].as_str().context("no count")?;
    for file in [&tar, &bundle] {
        let sizes = json(&fixture, &["size", file])?;
        ensure!(sizes["packages"].to_string() == count, "{file}: {}", sizes["packages"]);
        let rows = sizes["rows"].as_array().context("no rows")?;
        let bytes = |row: &Value, key: &str| row[key].as_u64().unwrap_or_default();
        let sum: u64 = rows.iter().map(|row| bytes(row, "bytes")).sum();
        ensure!(sum == bytes(&sizes["total"], "bytes") && sum > 50_000_000, "{file}: {sum}");
        // Scripts, the package index and the like: much less than the packages have brought.
        let nobody = rows.iter().find(|row| row["name"].is_null()).context("no row of nobody")?;
        ensure!(bytes(nobody, "bytes") < sum / 5, "{file}: {nobody}");
    }
    let packed = json(&fixture, &["size", "--by=file", &bundle])?;
    let packed = packed["total"]["packed_bytes"].as_u64().context("no packed size")?;
    // The rest of the image is tables and the dm-verity tree.
    ensure!(packed < root && packed > root / 10 * 9, "{packed} of {root}");

    let diff = json(&fixture, &["diff", &bundle, &next])?;
    for list in ["packages", "users", "groups", "services"] {
        ensure!(diff[list] == json!([]), "{list}: {}", diff[list]);
    }
    let files = diff["files"].as_array().context("no files")?;
    let paths: Vec<_> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    ensure!(paths == ["/usr/lib/os-release"], "{paths:?}");
    let diff = json(&fixture, &["diff", &tar, &bundle])?;
    ensure!(diff["packages"] == json!([]), "{}", diff["packages"]);
    Ok(())
}
