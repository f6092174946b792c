//! Checks a release role whose bundles need more than one signature.
//!
//! `daruma-bundler` makes and verifies the bundles. A bundle with too few signatures is refused
//! with exit code 11.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::fixture::Fixture;

#[test]
fn a_bundle_that_two_keys_must_sign_is_signed_by_two_and_one_is_not_enough() -> Result<()> {
    let (fixture, recipe) = (Fixture::open()?, "tests/recipes/tiny.yaml");
    let (rootfs, recipe) = (fixture.rootfs(recipe)?, fixture.repo(recipe));
    let dir = tempfile::tempdir()?;
    let ring = dir.path().join("ring");
    fs::create_dir(&ring)?;
    fs::write(ring.join("threshold"), "2\n")?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["one", "two", "three"] {
        fixture.bundler(&["keygen", "--out", &path(""), "--name", name])?;
        fs::copy(path(&format!("{name}.pub.pem")), ring.join(format!("{name}.pem")))?;
    }
    let bundle = |signers: &[&str], out: &str| {
        let (recipe, rootfs) = (recipe.display().to_string(), rootfs.display().to_string());
        let (ring, out) = (path("ring"), path(out));
        let mut words =
            vec!["bundle", &recipe, "--rootfs", &rootfs, "--keyring", &ring, "--version", "1.0.0"];
        words.extend(["-o", &out]);
        let keys: Vec<String> =
            signers.iter().map(|name| path(&format!("{name}.key.pem"))).collect();
        words.extend(keys.iter().flat_map(|key| ["--key", key.as_str()]));
        fixture.bundler(&words)
    };
    bundle(&["three", "one"], "by-two.daruma")?;
    fixture.bundler(&["verify", &path("by-two.daruma"), "--keyring", &path("ring")])?;
    // The bytes are the same in any order of the keys.
    bundle(&["one", "three"], "again.daruma")?;
    ensure!(
        fs::read(path("by-two.daruma"))? == fs::read(path("again.daruma"))?,
        "the bundles differ"
    );

    bundle(&["two"], "by-one.daruma")?;
    let mut verify = Command::new(fixture.program("daruma-bundler"));
    let output =
        verify.args(["verify", &path("by-one.daruma"), "--keyring", &path("ring")]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(11), "{} {said}", output.status);
    ensure!(said.contains("signed by 1 trusted key(s), and the keyring asks for 2"), "{said}");
    Ok(())
}
