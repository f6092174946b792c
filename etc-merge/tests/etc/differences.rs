//! What differs from the image, and what hides it.

use std::path::{Path, PathBuf};

use etc_merge::Change::{Added, Changed, Deleted, Metadata};
use etc_merge::{Marks, differences, hiding};

use crate::bench::Bench;

#[test]
fn only_what_differs_is_listed() {
    let bench = Bench::new();
    bench.sides("same", [None, Some("1"), Some("1")]);
    bench.sides("changed", [None, Some("1"), Some("2")]);
    bench.sides("added", [None, Some("1"), None]);
    bench.sides("mode", [None, Some("1"), Some("1")]).mode("upper/mode", 0o600);
    bench.sides("gone", [None, None, Some("1")]).whiteout("upper/gone");
    bench.sides("never-there", [None, None, None]).whiteout("upper/never-there");
    bench.sides("d/same", [None, Some("1"), Some("1")]);
    bench.sides("opaque/mine", [None, Some("1"), None]);
    bench.sides("opaque/theirs", [None, None, Some("1")]);
    bench.sides("opaque/in/theirs", [None, None, Some("1")]).folder("upper/opaque/in");
    bench.attribute("upper/opaque", "user.overlay.opaque", "y");
    let found =
        differences(&bench.at("theirs"), &bench.at("upper"), Marks::User, &mut || true).unwrap();
    let found: Vec<_> =
        found.iter().map(|found| (found.path.to_str().unwrap(), found.change)).collect();
    let expected = [
        ("added", Added),
        ("changed", Changed),
        ("gone", Deleted),
        ("mode", Metadata),
        ("opaque/in/theirs", Deleted),
        ("opaque/mine", Added),
        ("opaque/theirs", Deleted),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_reset_removes_what_hides_the_path() {
    let bench = Bench::new();
    bench.file("upper/a/b", "1").whiteout("upper/w").file("upper/o/c", "1");
    bench.attribute("upper/o", "user.overlay.opaque", "y");
    for (path, hides) in [
        ("a/b", Some("a/b")),
        ("a", Some("a")),
        ("a/other", None),
        ("w/x/y", Some("w")),
        ("o/c", Some("o")),
        ("o/theirs", Some("o")),
        ("nothing", None),
    ] {
        let found = hiding(&bench.at("upper"), Path::new(path), Marks::User).unwrap();
        assert_eq!(found, hides.map(PathBuf::from), "{path}");
    }
}
