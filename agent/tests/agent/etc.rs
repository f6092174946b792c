//! `daruma etc` on a device in a folder: what differs, what the next merge does, and the way back
//! to the image.

use std::fs;
use std::path::Path;

use etc_merge::{Marks, Outcome, Policy, Report, Sides, Unchanged};
use serde_json::Value;

use crate::bench::Bench;

/// A device whose /etc differs from its image in a file, and whose other slot changes another line
/// of it.
fn device() -> Bench {
    let bench = Bench::new();
    let put = |path: &str, text: &str| {
        let path = bench.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let image = "a\nb\nc\nd\ne\n";
    put("run/daruma/image/etc/dns.conf", image);
    put("run/daruma/image/etc/same", "same\n");
    put("run/daruma/other-image/etc/dns.conf", "a\nb\nc\nd\nimage\n");
    for folder in ["var/lib/daruma/etc/A/upper", "etc"] {
        put(&format!("{folder}/dns.conf"), "mine\nb\nc\nd\ne\n");
        put(&format!("{folder}/added"), "mine\n");
        put(&format!("{folder}/same"), "same\n");
    }
    bench
}

fn json(bench: &Bench, words: &[&str]) -> Value {
    let ended = bench.run(words);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn status_lists_what_differs_and_nothing_that_is_equal() {
    let bench = device();
    let status = json(&bench, &["etc", "status", "--json"]);
    let expected = serde_json::json!([
        { "path": "added", "change": "added" },
        { "path": "dns.conf", "change": "changed" },
    ]);
    assert_eq!(status["changes"], expected);
    assert_eq!(status["merge"], Value::Null);
    let text = bench.run(&["etc", "status"]).stdout;
    assert!(text.contains("changed  /etc/dns.conf"), "{text}");
    assert!(text.contains("was not merged"), "{text}");
}

#[test]
fn diff_shows_the_lines_of_one_path_or_of_all() {
    let bench = device();
    let one = bench.run(&["etc", "diff", "/etc/dns.conf"]).stdout;
    assert!(one.contains("-a\n+mine\n") && !one.contains("added"), "{one}");
    let all = bench.run(&["etc", "diff"]).stdout;
    assert!(all.contains("+++ device/etc/added") && all.contains("+mine"), "{all}");
    // A name that is no ASCII is shown escaped, and its file is found all the same.
    for folder in ["var/lib/daruma/etc/A/upper", "etc"] {
        fs::write(bench.path(&format!("{folder}/f\u{fc}r")), "local\n").unwrap();
    }
    let named = bench.run(&["etc", "diff"]).stdout;
    assert!(named.is_ascii() && named.contains("xc3") && named.contains("+local"), "{named}");
    let lines = json(&bench, &["etc", "diff", "dns.conf", "--json"]);
    assert!(lines.as_array().unwrap().contains(&"+mine".into()), "{lines}");
    let refused = bench.run(&["etc", "diff", "/usr/bin"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("not below /etc"), "{refused:?}");
}

#[test]
fn plan_says_what_the_merge_then_does() {
    let bench = device();
    let planned = json(&bench, &["etc", "plan", "--json"]);
    let planned: Report = serde_json::from_value(planned).unwrap();
    let line = planned.lines.iter().find(|line| line.path == "dns.conf").unwrap();
    assert_eq!(line.outcome, Outcome::Merged);
    let policy = Policy::default();
    let sides = Sides {
        base: Some(&bench.path("run/daruma/image/etc")),
        upper: &bench.path("var/lib/daruma/etc/A/upper"),
        theirs: &bench.path("run/daruma/other-image/etc"),
        unchanged: &Unchanged::default(),
        policy: &policy,
        marks: Marks::Trusted,
    };
    let done = etc_merge::build(&sides, &bench.path("result"), &mut || true).unwrap();
    assert_eq!(planned, done);
    assert_eq!(fs::read(bench.path("result/dns.conf")).unwrap(), b"mine\nb\nc\nd\nimage\n");
    // A system that was started before keeps its own /etc.
    fs::create_dir_all(bench.path("var/lib/daruma/etc/B")).unwrap();
    fs::write(bench.path("var/lib/daruma/etc/B/identity"), "hash\n").unwrap();
    let refused = bench.run(&["etc", "plan"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("was started before"), "{refused:?}");
}

#[test]
fn the_last_merge_is_in_status_and_a_damaged_report_is_said() {
    let bench = device();
    let report = bench.path("var/lib/daruma/etc/A/merge.json");
    let mut merged = Report::default();
    merged.counts.merged = 2;
    merged.counts.conflicts = 1;
    fs::write(&report, serde_json::to_vec(&merged).unwrap()).unwrap();
    let text = bench.run(&["status"]).stdout;
    assert!(text.contains("/etc      2 merged, 0 of the device, 1 to look at"), "{text}");
    fs::write(&report, "{\"method\"").unwrap();
    let text = bench.run(&["status"]).stdout;
    assert!(text.contains("merge.json"), "{text}");
    assert!(bench.run(&["etc", "status"]).stdout.contains("the last merge: reading"));
}

#[test]
fn reset_gives_paths_back_to_the_image() {
    let bench = device();
    let text = bench.run(&["etc", "reset", "/etc/dns.conf", "added"]).stdout;
    assert!(text.contains("/etc/dns.conf is the image's again"), "{text}");
    assert!(text.contains("/etc/added is removed, as in the image"), "{text}");
    assert_eq!(fs::read(bench.path("etc/dns.conf")).unwrap(), b"a\nb\nc\nd\ne\n");
    assert!(!bench.path("etc/added").exists() && !bench.path("etc/.daruma-reset").exists());
    for wrong in ["/etc", "/var/lib", "../x"] {
        assert_eq!(bench.run(&["etc", "reset", wrong]).code, Some(2), "{wrong}");
    }
    let missing = bench.run(&["etc", "reset", "nothing"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("neither the image nor the device"), "{missing:?}");
}

#[test]
fn a_system_that_keeps_no_changes_says_so() {
    let bench = Bench::new();
    let refused = bench.run(&["etc", "status"]);
    assert_eq!(refused.code, Some(22), "{refused:?}");
    assert!(refused.stderr.contains("keeps none there"), "{refused:?}");
    assert!(Path::new(&bench.path("var")).exists());
}

#[test]
fn status_says_what_was_installed_into_a_root_that_can_be_written() {
    let bench = Bench::new();
    let put = |path: &str| {
        let path = bench.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    let upper = "var/lib/daruma/root/A/upper";
    for file in ["etc/app.conf", "home/ann/note", "usr/bin/app", "usr/local/bin/own"] {
        put(&format!("{upper}/{file}"));
    }
    put(&format!("{upper}/usr/lib/sysimage/dpkg/info/app:amd64.list"));
    // What an older mode of the same device has left does not count.
    let mounts = bench.path("proc/self/mountinfo");
    fs::create_dir_all(mounts.parent().unwrap()).unwrap();
    fs::write(&mounts, "20 1 254:0 / / ro - squashfs /dev/dm-0 ro\n").unwrap();
    assert_eq!(bench.status()["root"], Value::Null);
    fs::write(&mounts, "30 1 0:28 / / rw - overlay overlay rw\n").unwrap();
    let expected = serde_json::json!({ "installed": ["app"], "removed": [], "files": 2 });
    assert_eq!(bench.status()["root"], expected);
    let text = bench.run(&["status"]).stdout;
    let line = "/         changed until the next update: installed app; 2 files differ";
    assert!(text.contains(line), "{text}");
}
