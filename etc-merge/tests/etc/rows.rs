//! The table of docs/etc.md, a test for each row, and for each kind of entry.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use etc_merge::Outcome::{Conflict, Deleted, DeletedChanged, Image, Kept, Merged, Mine};
use rustix::fs::{CWD, FileType, Mode, lgetxattr, mknodat};

use crate::bench::{Bench, outcomes};

fn entries(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(path, words)| ((*path).to_owned(), (*words).to_owned())).collect()
}

#[test]
fn a_file_that_was_not_changed_here_is_the_images() {
    let bench = Bench::new();
    bench.sides("unnamed", [Some("1"), None, Some("2")]);
    bench.sides("copied-up", [Some("1"), Some("1"), Some("2")]);
    bench.sides("removed", [Some("1"), Some("1"), None]);
    bench.sides("d/in-a-folder", [Some("1"), Some("1"), Some("2")]);
    assert_eq!(outcomes(&bench.merge()), []);
    assert_eq!(bench.new_upper(), entries(&[]));
}

#[test]
fn a_file_that_was_changed_here_only_or_in_the_same_way_is_mine() {
    let bench = Bench::new();
    bench.sides("changed", [Some("1"), Some("2"), Some("1")]);
    bench.sides("added", [None, Some("2"), None]);
    bench.sides("same", [Some("1"), Some("2"), Some("2")]);
    bench.sides("d/added", [None, Some("2"), None]);
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [("added", Mine), ("changed", Mine), ("d", Mine), ("d/added", Mine)]
    );
    let new = [
        ("added", "file 644 \"2\""),
        ("changed", "file 644 \"2\""),
        ("d", "folder 755"),
        ("d/added", "file 644 \"2\""),
    ];
    assert_eq!(bench.new_upper(), entries(&new));
}

#[test]
fn texts_merge_by_lines_and_other_files_stay_mine() {
    let bench = Bench::new();
    bench.sides("text", [Some("a\nb\nc\nd\n"), Some("A\nb\nc\nd\n"), Some("a\nb\nc\nD\n")]);
    bench.sides("same-line", [Some("a\n"), Some("b\n"), Some("c\n")]);
    bench.sides("binary", [Some("a\0\nb\nc\nd\n"), Some("A\0\nb\nc\nd\n"), Some("a\0\nb\nc\nD\n")]);
    bench.sides("both-added", [None, Some("1"), Some("2")]);
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [("binary", Conflict), ("both-added", Conflict), ("same-line", Conflict), ("text", Merged)]
    );
    let new = bench.new_upper();
    assert_eq!(new["text"], "file 644 \"A\\nb\\nc\\nD\\n\"");
    assert_eq!(new["same-line"], "file 644 \"b\\n\"");
    assert_eq!(new["both-added"], "file 644 \"1\"");
    assert!(new["binary"].contains("A\\0"));
    assert_eq!((report.counts.merged, report.counts.conflicts), (1, 3));
}

#[test]
fn what_was_deleted_here_stays_deleted() {
    let bench = Bench::new();
    for (path, theirs) in [("same", Some("1")), ("changed", Some("2")), ("gone", None)] {
        bench.sides(path, [Some("1"), None, theirs]).whiteout(&format!("upper/{path}"));
    }
    bench.sides("folder/a", [Some("1"), None, Some("1")]).whiteout("upper/folder");
    bench.sides("folder2/a", [Some("1"), None, Some("2")]).whiteout("upper/folder2");
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [
            ("changed", DeletedChanged),
            ("folder", Deleted),
            ("folder2", DeletedChanged),
            ("same", Deleted)
        ]
    );
    let deleted = ["changed", "folder", "folder2", "same"].map(|path| (path, "whiteout"));
    assert_eq!(bench.new_upper(), entries(&deleted));
}

#[test]
fn what_was_changed_here_and_removed_by_the_image_stays() {
    let bench = Bench::new();
    bench.sides("file", [Some("1"), Some("2"), None]);
    bench.sides("d/changed", [Some("1"), Some("2"), None]);
    bench.sides("d/unchanged", [Some("1"), None, None]);
    bench.sides("d/copied-up", [Some("1"), Some("1"), None]);
    bench.sides("e/copied-up", [Some("1"), Some("1"), None]);
    let report = bench.merge();
    assert_eq!(outcomes(&report), [("d/changed", Kept), ("file", Kept)]);
    let new = [("d", "folder 755"), ("d/changed", "file 644 \"2\""), ("file", "file 644 \"2\"")];
    assert_eq!(bench.new_upper(), entries(&new));
}

#[test]
fn another_type_is_a_conflict_only_if_the_image_changed_it_too() {
    let bench = Bench::new();
    bench.sides("to-link", [Some("1"), None, Some("1")]).link("upper/to-link", "x");
    bench.sides("conflict", [Some("1"), None, Some("2")]).link("upper/conflict", "x");
    bench.sides("file-here", [Some("1"), Some("2"), None]).folder("theirs/file-here");
    bench.sides("d/a", [Some("1"), Some("2"), None]).link("theirs/d", "elsewhere");
    bench.sides("replaced/a", [Some("1"), None, Some("2")]).file("upper/replaced", "file");
    bench.sides("kept/a", [Some("1"), None, Some("1")]).file("upper/kept", "file");
    bench.sides("new-folder/a", [None, Some("1"), None]).file("base/new-folder", "");
    bench.file("theirs/new-folder", "");
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [
            ("conflict", Conflict),
            ("d/a", Kept),
            ("d", Conflict),
            ("file-here", Conflict),
            ("kept", Mine),
            ("new-folder", Mine),
            ("new-folder/a", Mine),
            ("replaced", Conflict),
            ("to-link", Mine),
        ]
    );
    let new = bench.new_upper();
    assert_eq!((new["conflict"].as_str(), new["d"].as_str()), ("link x", "folder 755"));
    assert_eq!(new["kept"], "file 644 \"file\"");
    assert_eq!(new["new-folder/a"], "file 644 \"1\"");
}

#[test]
fn links_merge_by_their_targets() {
    let bench = Bench::new();
    for (name, [base, mine, theirs]) in
        [("a", ["1", "1", "2"]), ("b", ["1", "2", "1"]), ("c", ["1", "2", "3"])]
    {
        bench.link(&format!("base/{name}"), base).link(&format!("upper/{name}"), mine);
        bench.link(&format!("theirs/{name}"), theirs);
    }
    assert_eq!(outcomes(&bench.merge()), [("b", Mine), ("c", Conflict)]);
    assert_eq!(bench.new_upper(), entries(&[("b", "link 2"), ("c", "link 2")]));
}

#[test]
fn modes_and_attributes_merge_each_by_itself() {
    let bench = Bench::new();
    bench.sides("mode-here", [Some("1"), Some("1"), Some("2")]).mode("upper/mode-here", 0o600);
    bench.sides("mode-there", [Some("1"), Some("2"), Some("1")]).mode("theirs/mode-there", 0o600);
    bench.sides("both", [Some("1"), Some("1"), Some("1")]);
    bench.mode("upper/both", 0o600).mode("theirs/both", 0o640);
    bench.sides("attributes", [Some("1"), Some("1"), Some("1")]);
    for (side, name) in [("upper", "user.here"), ("theirs", "user.there")] {
        bench.attribute(&format!("{side}/attributes"), name, side);
    }
    bench.folder("base/d").folder("upper/d").folder("theirs/d").mode("upper/d", 0o700);
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [
            ("attributes", Merged),
            ("both", Conflict),
            ("d", Mine),
            ("mode-here", Merged),
            ("mode-there", Merged)
        ]
    );
    assert!(report.lines[1].reason.contains("mode"), "{}", report.lines[1].reason);
    let new = bench.new_upper();
    assert_eq!(new["mode-here"], "file 600 \"2\"");
    assert_eq!(new["mode-there"], "file 600 \"2\"");
    assert_eq!((new["both"].as_str(), new["d"].as_str()), ("file 600 \"1\"", "folder 700"));
    for (name, value) in [("user.here", "upper"), ("user.there", "theirs")] {
        let mut buffer = [0; 16];
        let length = lgetxattr(bench.at("new/attributes"), name, &mut buffer[..]).unwrap();
        assert_eq!(&buffer[..length], value.as_bytes());
    }
}

#[test]
fn the_top_folder_has_the_merged_mode() {
    let bench = Bench::new();
    bench.mode("theirs", 0o751);
    bench.merge();
    assert_eq!(fs::metadata(bench.at("new")).unwrap().mode() & 0o7777, 0o751);
}

#[test]
fn an_opaque_folder_hides_what_the_base_has_and_not_what_is_new() {
    let bench = Bench::new();
    bench.sides("d/old", [Some("1"), None, Some("1")]);
    bench.sides("d/changed", [Some("1"), None, Some("2")]);
    bench.sides("d/mine", [None, Some("1"), None]);
    bench.sides("d/new", [None, None, Some("1")]);
    bench.attribute("upper/d", "user.overlay.opaque", "y");
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [("d/changed", DeletedChanged), ("d/mine", Mine), ("d/old", Deleted)]
    );
    let new = [
        ("d", "folder 755"),
        ("d/changed", "whiteout"),
        ("d/mine", "file 644 \"1\""),
        ("d/old", "whiteout"),
    ];
    assert_eq!(bench.new_upper(), entries(&new));
}

#[test]
fn a_folder_in_an_opaque_folder_hides_the_base_without_a_mark() {
    let bench = Bench::new();
    bench.sides("d/e/old", [Some("1"), None, Some("1")]).folder("upper/d/e");
    bench.attribute("upper/d", "user.overlay.opaque", "y");
    assert_eq!(outcomes(&bench.merge()), [("d/e/old", Deleted)]);
    assert_eq!(bench.new_upper()["d/e/old"], "whiteout");
}

#[test]
fn a_whiteout_may_be_an_attribute_and_only_in_a_marked_folder() {
    let bench = Bench::new();
    for path in ["d/a", "e/a"] {
        bench.sides(path, [Some("1"), Some(""), Some("1")]);
        bench.attribute(&format!("upper/{path}"), "user.overlay.whiteout", "");
    }
    bench.attribute("upper/d", "user.overlay.opaque", "x");
    assert_eq!(outcomes(&bench.merge()), [("d/a", Deleted), ("e/a", Mine)]);
    let new = bench.new_upper();
    assert_eq!((new["d/a"].as_str(), new["e/a"].as_str()), ("whiteout", "file 644 \"\""));
}

#[test]
fn notes_on_the_old_lower_are_not_copied_and_hard_links_stay_links() {
    let bench = Bench::new();
    bench.file("upper/a", "1").attribute("upper/a", "user.overlay.origin", "x");
    for name in ["b", "c", "merged"] {
        fs::hard_link(bench.at("upper/a"), bench.at(&format!("upper/{name}"))).unwrap();
    }
    bench.file("base/merged", "1").file("theirs/merged", "1").mode("theirs/merged", 0o600);
    bench.file("base/c", "0").file("theirs/c", "0");
    bench.merge();
    let new = bench.new_upper();
    assert_eq!(new["b"], "file 644 \"1\" = a");
    assert_eq!(new["c"], "file 644 \"1\" = a");
    assert!(!new.contains_key("merged"), "it was not changed here");
    let mut buffer = [0; 16];
    assert!(lgetxattr(bench.at("new/a"), "user.overlay.origin", &mut buffer[..]).is_err());
}

#[test]
fn a_file_that_overlayfs_keeps_elsewhere_is_copied_as_it_is() {
    let bench = Bench::new();
    bench.sides("d/a", [Some("1"), Some("2"), Some("3")]);
    bench.attribute("upper/d", "user.overlay.redirect", "/other");
    let report = bench.merge();
    assert_eq!(report.lines[0].outcome, etc_merge::Outcome::Skipped);
    assert_eq!(bench.new_upper()["d/a"], "file 644 \"2\"");
    let mut buffer = [0; 16];
    lgetxattr(bench.at("new/d"), "user.overlay.redirect", &mut buffer[..]).unwrap();
}

#[test]
fn special_files_stay() {
    let bench = Bench::new();
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        mknodat(CWD, bench.at(&format!("upper/{name}")), kind, Mode::RUSR, 0).unwrap();
    }
    bench.file("base/fifo", "1").file("theirs/fifo", "2");
    assert_eq!(outcomes(&bench.merge()), [("fifo", Conflict), ("socket", Mine)]);
    let kind = |name: &str| fs::symlink_metadata(bench.at(name)).unwrap().file_type();
    assert!(kind("new/fifo").is_fifo() && kind("new/socket").is_socket());
}

#[test]
fn the_policy_names_who_wins() {
    let mut bench = Bench::new();
    bench.policy = etc_merge::Policy::parse(b"image = won\ndevice = d/**\nnonsense\n");
    bench.sides("won", [Some("1"), Some("2"), Some("3")]);
    bench.sides("won-not", [Some("1"), Some("2"), Some("3")]);
    bench.sides("d/a", [Some("a\nb\nc\n"), Some("A\nb\nc\n"), Some("a\nb\nC\n")]);
    bench.sides("machine-id", [Some(""), Some("1\n"), Some("uninitialized\n")]);
    bench.sides("ld.so.cache", [Some("1"), Some("2"), Some("3")]);
    let report = bench.merge();
    assert_eq!(
        outcomes(&report),
        [
            ("", etc_merge::Outcome::Policy),
            ("d/a", Mine),
            ("ld.so.cache", Image),
            ("machine-id", Mine),
            ("won", Image),
            ("won-not", Conflict),
        ]
    );
    assert!(report.lines[0].reason.starts_with("line 3"), "{}", report.lines[0].reason);
    let new = bench.new_upper();
    assert_eq!(new["d/a"], "file 644 \"A\\nb\\nc\\n\"");
    assert!(!new.contains_key("won") && !new.contains_key("ld.so.cache"));
}

#[test]
fn the_time_of_a_file_that_is_mine_stays() {
    let bench = Bench::new();
    bench.file("upper/a", "1");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(bench.at("upper/a")).unwrap().set_modified(time).unwrap();
    bench.merge();
    assert_eq!(fs::metadata(bench.at("new/a")).unwrap().modified().unwrap(), time);
}
