//! Names and places that are out of the ordinary.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use etc_merge::Outcome::{Mine, Skipped};
use etc_merge::limits::{MAX_DEPTH, MAX_FILE};

use crate::bench::{Bench, outcomes};

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
    assert_eq!(outcomes(&report), [("both", etc_merge::Outcome::Conflict), ("mine", Mine)]);
    assert!(fs::read(bench.at("new/mine")).unwrap() == large(2));
    assert!(!bench.at("new/theirs").exists());
}

#[test]
fn a_base_that_cannot_be_compared_leaves_the_file_as_it_is() {
    let bench = Bench::new();
    // A link in the place of a folder is no error; a name that is too long is one.
    let deep = "d/".repeat(MAX_DEPTH - 1);
    bench.sides(&format!("{deep}a"), [Some("1"), Some("2"), Some("1")]);
    let report = bench.merge();
    assert_eq!(outcomes(&report), [(format!("{deep}a").as_str(), Mine)]);
    assert!(report.lines.iter().all(|line| line.outcome != Skipped));
}
