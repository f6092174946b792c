//! Names and places that are out of the ordinary.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use etc_merge::Outcome::{Mine, Skipped};
use etc_merge::limits::MAX_FILE;
use etc_merge::{Outcome, Sides, Unchanged, build};

use crate::bench::{Bench, outcomes, sides};

#[test]
fn a_name_need_not_be_utf_8() {
    let bench = Bench::new();
    let name = OsStr::from_bytes(b"caf\xe9\n");
    fs::write(bench.at("upper").join(name), "1").unwrap();
    let report = bench.merge();
    assert_eq!(outcomes(&report), [("caf\\xe9\\x0a", Mine)]);
    assert_eq!(fs::read(bench.at("new").join(name)).unwrap(), b"1");
}

#[test]
fn a_large_file_is_compared_and_not_merged() {
    let bench = Bench::new();
    let large = |last: u8| {
        let mut bytes = vec![b'\n'; MAX_FILE as usize + 70_000];
        *bytes.last_mut().unwrap() = last;
        bytes
    };
    for (name, sides) in [("theirs", [1, 1, 2]), ("mine", [1, 2, 1]), ("both", [1, 2, 3])] {
        for (side, last) in ["base", "upper", "theirs"].into_iter().zip(sides) {
            bench.file(&format!("{side}/{name}"), large(last));
        }
    }
    let report = bench.merge();
    assert_eq!(outcomes(&report), [("both", Outcome::Conflict), ("mine", Mine)]);
    assert!(fs::read(bench.at("new/mine")).unwrap() == large(2));
    assert!(!bench.at("new/theirs").exists());
}

#[test]
fn what_both_images_have_alike_is_not_read_there() {
    let bench = Bench::new();
    bench.sides("file", [Some("a\n1\n"), Some("mine\n1\n"), Some("a\n2\n")]);
    let (base, upper, theirs) = (bench.at("base"), bench.at("upper"), bench.at("theirs"));
    let read = sides(Some(&base), &upper, &theirs, &bench.policy);
    let report = build(&read, &bench.at("read"), &mut || true).unwrap();
    assert_eq!(outcomes(&report), [("file", Outcome::Conflict)]);
    // What the images say counts, although here it is not true.
    let line = format!("{}  etc/file\n", "0".repeat(64));
    let unchanged = &Unchanged::of(line.clone().into_bytes(), line.into_bytes());
    let told = Sides { unchanged, ..read };
    let report = build(&told, &bench.at("told"), &mut || true).unwrap();
    assert_eq!(outcomes(&report), [("file", Mine)]);
    // Of another length in the two images, it is read all the same.
    bench.file("theirs/file", "a\nlonger\n");
    let report = build(&told, &bench.at("longer"), &mut || true).unwrap();
    assert_eq!(outcomes(&report), [("file", Outcome::Conflict)]);
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_goes_on() {
    let bench = Bench::new();
    let long = "a-name-that-makes-the-path-of-the-base-too-long";
    bench.sides(&format!("d/{long}"), [Some("1"), Some("2"), Some("3")]);
    bench.sides("d/b", [Some("1"), Some("2"), Some("1")]);
    fs::hard_link(bench.at(&format!("upper/d/{long}")), bench.at("upper/linked")).unwrap();
    // A path has at most 4,095 bytes. Only the long name does not fit behind this one.
    let mut base = bench.at("base").into_os_string();
    while base.len() < 4060 {
        base.push("/.");
    }
    let (base, upper, theirs) = (base.into(), bench.at("upper"), bench.at("theirs"));
    let base: std::path::PathBuf = base;
    let sides = sides(Some(&base), &upper, &theirs, &bench.policy);
    let report = build(&sides, &bench.at("new"), &mut || true).unwrap();
    let expected =
        [(format!("d/{long}"), Skipped), ("d/b".to_owned(), Mine), ("linked".to_owned(), Mine)];
    let found = outcomes(&report).into_iter().map(|(path, outcome)| (path.to_owned(), outcome));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let new = bench.new_upper();
    assert_eq!(new[&format!("d/{long}")], "file 644 \"2\"");
    assert_eq!(new["linked"], "file 644 \"2\"");
}
