//! The format stands still: a bundle of the first version opens, and the same input still makes it.
//!
//! `make_the_golden_file` below wrote `golden/format-1.daruma`. It writes the file again when the
//! environment variable `DARUMA_WRITE_GOLDEN` is set. Only a new format needs that, and the old
//! file then stays.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::path::Path;

use bundle::{Bundle, BundleWriter, Manifest, Sha256};
use image_layout::FileDisk;

const GOLDEN_SHA256: &str = "d59573364ea1b4a133b04f97dc53da57808e6b09b770b454dbad028f53e19fe4";

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1.daruma"))
}

#[test]
fn make_the_golden_file() {
    let dir = tempfile::tempdir().unwrap();
    let made = sample::write(dir.path(), 8192, 4096 * 5, &[1, 2]);
    if std::env::var_os("DARUMA_WRITE_GOLDEN").is_some() {
        std::fs::copy(&made, golden()).unwrap();
    }
    let made = std::fs::read(made).unwrap();
    assert_eq!(
        Sha256::of(&made).to_string(),
        GOLDEN_SHA256,
        "the same input gives the same bundle"
    );
    assert!(made == std::fs::read(golden()).unwrap());
}

#[test]
fn the_golden_file_opens() {
    let verified = sample::open(golden(), &sample::keyring(&[1, 2], 2)).unwrap();
    verified.verify_payload(&mut |_| ()).unwrap();
    verified.verify_images().unwrap();
    let manifest = verified.manifest();
    assert_eq!(manifest.update, sample::update("1.2.3-rc.1+build.7"));
    assert_eq!(manifest.meta["sample"]["made"], "by a test");
    assert_eq!((manifest.images.len(), manifest.bundle.size), (2, 36864));
    let mut image = Vec::new();
    let mut chunk = Vec::new();
    for index in 0..verified.chunks("root").len() {
        verified.read_chunk("root", index, &mut chunk).unwrap();
        image.extend_from_slice(&chunk);
    }
    assert_eq!(image, sample::noise(2, 4096 * 5));
    assert!(verified.read_chunk("root", 1, &mut chunk).is_err());
    assert!(verified.read_chunk("swap", 0, &mut chunk).is_err());
    let claimed = Bundle::read(FileDisk::open_read_only(golden()).unwrap()).unwrap();
    assert_eq!(claimed.claimed_manifest().unwrap(), *manifest);
    assert_eq!(Manifest::parse(&manifest.to_ini()).unwrap(), *manifest);
}

#[test]
fn a_bundle_does_not_depend_on_where_it_is_made() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = sample::write(one.path(), 1 << 20, (1 << 20) + 8192, &[2, 1]);
    let two = sample::write(two.path(), 1 << 20, (1 << 20) + 8192, &[1, 2]);
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
}

#[test]
fn what_cannot_be_bundled_is_refused_and_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = sample::small(dir.path(), &[1]);
    let before = std::fs::read(&out).unwrap();
    let image = dir.path().join("boot");
    let keys = [sample::key(1), sample::key(1)];
    let writer = |names: &[&str], keys| BundleWriter {
        update: sample::update("1.0.0"),
        images: names
            .iter()
            .map(|name| bundle::ImageInput {
                name: name.parse().unwrap(),
                path: &image,
                verity: None,
            })
            .collect(),
        meta: Default::default(),
        keys,
    };
    let refused = |writer: BundleWriter<'_>, why: &str| {
        let refusal = writer.write(&out).unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
        assert!(std::fs::read(&out).unwrap() == before, "the old bundle is still there");
        assert!(!dir.path().join(".sample.daruma.partial").exists());
    };
    refused(writer(&["boot"], &keys[..1]), "kernel and root are one unit");
    refused(writer(&["boot", "root"], &keys[..1]), "no verity-hash");
    refused(writer(&["boot", "boot"], &keys[..1]), "two files are called boot.img");
    let mut fit = writer(&["boot", "root"], &keys[..0]);
    let verity = bundle::Verity { hash: Sha256([1; 32]), salt: bundle::Salt([2; 32]), size: 4096 };
    fit.images[1].verity = Some(verity);
    refused(fit, "1 to 16 keys");
    let mut twice = writer(&["boot", "root"], &keys);
    twice.images[1].verity = Some(verity);
    refused(twice, "named twice");
    let mut above = writer(&["boot", "root"], &keys[..1]);
    above.images[1].verity = Some(verity);
    above.update.min_version = "1.0.1".parse().unwrap();
    refused(above, "min-version is above version");
    std::fs::write(&image, sample::noise(1, 5000)).unwrap();
    refused(writer(&["boot", "root"], &keys[..1]), "pad image boot to a multiple of 4096");
}
