//! What happens when a merge is not possible.

use std::fs;

use etc_merge::limits::MAX_DEPTH;
use etc_merge::{Error, Method, Sides, build, plan};

use crate::bench::{Bench, sides, tree};

fn changed() -> Bench {
    let bench = Bench::new();
    bench.sides("file", [Some("1"), Some("2"), Some("3")]);
    bench.sides("gone", [Some("1"), None, Some("1")]).whiteout("upper/gone");
    bench.sides("d/a", [Some("1"), Some("2"), Some("3")]);
    bench.sides("copied-up", [Some("1"), Some("1"), Some("2")]);
    bench.attribute("upper/d", "user.overlay.opaque", "y");
    fs::hard_link(bench.at("upper/file"), bench.at("upper/linked")).unwrap();
    bench
}

#[test]
fn without_a_base_the_old_upper_is_copied_and_new_accounts_are_added() {
    let bench = changed();
    let passwd = "root:x:0:0::/:/bin/sh\n";
    bench.file("upper/passwd", format!("{passwd}me:x:999:999::/:/bin/sh"));
    bench.file("theirs/passwd", format!("{passwd}new:x:999:999::/:/usr/sbin/nologin\n"));
    bench.file("theirs/group", "root:x:0:\nnew:x:999:\n").mode("upper/passwd", 0o640);
    let (upper, theirs, new) = (bench.at("upper"), bench.at("theirs"), bench.at("new"));
    let report = build(&sides(None, &upper, &theirs, &bench.policy), &new, &mut || true).unwrap();
    assert_eq!(report.method, Method::MineWins);
    assert!(report.fallback.unwrap().contains("old image is gone"));
    let mut old = tree(&upper);
    old.insert(
        "passwd".to_owned(),
        format!(
            "file 640 {:?}",
            format!("{passwd}me:x:999:999::/:/bin/sh\nnew:x:998:999::/:/usr/sbin/nologin\n")
        ),
    );
    assert_eq!(tree(&new), old);
    assert!(report.lines.iter().any(|line| line.reason.contains("998 and not 999")));
}

#[test]
fn when_the_time_is_over_the_old_upper_is_copied() {
    let bench = changed();
    let (base, upper, theirs) = (bench.at("base"), bench.at("upper"), bench.at("theirs"));
    let sides = sides(Some(&base), &upper, &theirs, &bench.policy);
    // The time may be over at any beat, also while the plan is written.
    let mut all = 0;
    build(&sides, &bench.at("new"), &mut || {
        all += 1;
        true
    })
    .unwrap();
    let merged = tree(&bench.at("new"));
    assert!(all > 10, "{all} beats");
    for last in 0..all {
        let new = bench.at(&format!("new{last}"));
        let mut beats = 0;
        let report = build(&sides, &new, &mut || {
            beats += 1;
            beats <= last
        })
        .unwrap();
        assert_eq!(report.method, Method::MineWins, "beat {last} of {all}");
        assert_eq!(tree(&new), tree(&upper));
    }
    assert_ne!(merged, tree(&upper));
}

#[test]
fn too_deep_folders_are_a_limit() {
    let bench = Bench::new();
    bench.sides(&format!("{}a", "d/".repeat(MAX_DEPTH + 1)), [None, Some("1"), None]);
    let (base, upper, theirs) = (bench.at("base"), bench.at("upper"), bench.at("theirs"));
    let sides = sides(Some(&base), &upper, &theirs, &bench.policy);
    assert!(matches!(plan(&sides, &mut || true), Err(Error::Limit { .. })));
    let report = build(&sides, &bench.at("new"), &mut || true).unwrap();
    assert_eq!(report.method, Method::MineWins);
    assert_eq!(tree(&bench.at("new")), tree(&upper));
}

#[test]
fn a_target_with_content_is_refused() {
    let bench = changed();
    bench.file("new/a", "");
    let (base, upper, theirs) = (bench.at("base"), bench.at("upper"), bench.at("theirs"));
    let sides = sides(Some(&base), &upper, &theirs, &bench.policy);
    let planned = plan(&sides, &mut || true).unwrap();
    assert!(matches!(planned.write(&bench.at("new"), &mut || true), Err(Error::Io { .. })));
    assert!(bench.at("new/a").exists());
}

#[test]
fn an_upper_that_is_missing_is_an_error_and_nothing_is_left() {
    let bench = Bench::new();
    let (base, theirs, none) = (bench.at("base"), bench.at("theirs"), bench.at("none"));
    let policy = &bench.policy;
    let sides = Sides { upper: &none, ..sides(Some(&base), &none, &theirs, policy) };
    assert!(matches!(plan(&sides, &mut || true), Err(Error::Io { .. })));
}
