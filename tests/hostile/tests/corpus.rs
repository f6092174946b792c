//! Runs every kept input of every fuzz target, without a fuzzer.
//!
//! `tests/fuzz` fuzzes the targets. A finding becomes a kept input, so a mended fault stays mended.

#![allow(clippy::unwrap_used)] // a test may

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hostile::TARGETS;

/// Most files and most bytes of one target. The limits keep the repo small.
const MOST: (usize, usize) = (64, 320 << 10);

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

#[test]
fn every_kept_input_is_survived() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let files =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let mut bytes = 0;
        for file in &files {
            let input = fs::read(file).unwrap();
            assert!(input.len() <= target.max_len, "{} is longer than -max_len", file.display());
            bytes += input.len();
            println!("{}", file.display()); // shown when the next line panics
            (target.run)(&input);
        }
        assert!(files.len() >= 2, "{} is (almost) empty", folder.display());
        assert!(
            files.len() <= MOST.0 && bytes <= MOST.1,
            "{}: {} files, {bytes} bytes",
            target.name,
            files.len()
        );
        println!("{}: {} inputs, {bytes} bytes", target.name, files.len());
    }
}

#[test]
fn every_target_has_its_program_and_nothing_else_lies_in_the_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let listed = |folder: PathBuf| -> BTreeSet<String> {
        let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        fs::read_dir(folder).unwrap().map(|file| name(file.unwrap().path())).collect()
    };
    assert_eq!(listed(corpus()), names);
    assert_eq!(listed(corpus().join("../fuzz_targets")), names);
    let manifest = fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
    for name in names {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not in Cargo.toml"
        );
    }
}
