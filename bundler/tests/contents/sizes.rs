//! `size`: what takes the room.

use serde_json::{Value, json};

use crate::small::{Bench, entries};

fn rows(value: &Value) -> Vec<(&str, u64, u64)> {
    fn row(row: &Value) -> Option<(&str, u64, u64)> {
        let name = row["name"].as_str().unwrap_or("-");
        Some((name, row["files"].as_u64()?, row["bytes"].as_u64()?))
    }
    value["rows"].as_array().unwrap().iter().map(|value| row(value).unwrap()).collect()
}

#[test]
fn a_tar_and_a_bundle_have_the_same_sizes_by_package() {
    let bench = Bench::new();
    bench.tar("root.tar", &entries());
    bench.bundle("root.daruma", &entries());
    let tar = bench.json(&["size", "root.tar", "--json"]);
    let bundle = bench.json(&["size", "root.daruma", "--json"]);
    // Each package also has its own list.
    let rest: u64 = tar["total"]["bytes"].as_u64().unwrap() - 205_037;
    let wanted = [("libx", 2, 200_019), ("tool", 2, 5018), ("-", 5, rest)];
    assert_eq!(rows(&tar), wanted);
    assert_eq!(rows(&bundle), wanted);
    assert_eq!((&tar["packages"], &tar["total"]["files"]), (&json!(2), &json!(9)));
    assert_eq!(tar["total"].get("packed_bytes"), None);
    let packed = bundle["total"]["packed_bytes"].as_u64().unwrap();
    assert!((100..2000).contains(&packed), "{packed}: much of it is one letter");
}

#[test]
fn folders_count_what_is_below_them_and_a_hard_link_counts_once() {
    let bench = Bench::new();
    let mut entries = entries();
    entries.push(("usr/bin/tool2", "= usr/bin/tool".to_owned(), 0o755, 0));
    bench.tar("root.tar", &entries);
    let folders = bench.json(&["size", "--by", "folder", "root.tar", "--json"]);
    let folders = rows(&folders);
    assert_eq!(folders[0], ("/usr", 3, 205_300));
    assert_eq!(folders[1], ("/usr/lib", 2, 200_300));
    assert!(folders.contains(&("/usr/bin", 1, 5000)), "{folders:?}");
    let files = bench.json(&["size", "--by", "file", "root.tar", "--json"]);
    let files = rows(&files);
    assert_eq!(&files[..2], [("/usr/lib/libx.so.3", 1, 200_000), ("/usr/bin/tool", 1, 5000)]);
    assert!(!files.iter().any(|(name, ..)| name.ends_with("tool2")), "{files:?}");
}

#[test]
fn the_modules_of_a_kernel_and_a_diverted_file_have_their_package() {
    let bench = Bench::new();
    let mut entries = entries();
    for (path, text, ..) in &mut entries {
        if path.ends_with("status") {
            text.push_str(&crate::small::status("linux-image-6.1-amd64", "6.1", ""));
        }
    }
    let diversion = "/usr/bin/tool\n/usr/bin/tool.old\nlibx\n".to_owned();
    entries.push(("var/lib/dpkg/diversions", diversion, 0o644, 0));
    entries.push(("usr/bin/tool.old", "o".repeat(77), 0o755, 0));
    for (path, text, ..) in &mut entries {
        if path.ends_with("tool.list") {
            "/usr/bin/tool\n".clone_into(text);
        }
        if path.ends_with("amd64.list") {
            "/usr/lib/libx.so.3\n/usr/bin/tool\n".clone_into(text);
        }
    }
    bench.tar("root.tar", &entries);
    let sizes = bench.json(&["size", "root.tar", "--json"]);
    let sizes = rows(&sizes);
    assert!(sizes.contains(&("linux-image-6.1-amd64", 1, 300)), "{sizes:?}");
    assert!(sizes.contains(&("tool", 2, 91)), "{sizes:?}");
    assert!(sizes.contains(&("libx", 3, 205_033)), "{sizes:?}");
}

#[test]
fn the_text_is_a_sum_and_a_table_with_the_largest_first() {
    let bench = Bench::new();
    bench.tar("root.tar", &entries());
    let (code, out, _) = bench.run(&["size", "root.tar"]);
    assert_eq!(code, 0);
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("root.tar: 2 packages, 9 files, 206 kB"), "{out}");
    assert_eq!(lines[1..4], ["     size  package", "   200 kB  libx", "  5.02 kB  tool"]);
    assert!(lines[4].ends_with("  (no package)"), "{out}");

    let many = (0..60).map(|number| format!("srv/{number}")).collect::<Vec<_>>();
    let mut entries = entries();
    for name in &many {
        entries.push((Box::leak(name.clone().into_boxed_str()), "x".to_owned(), 0o644, 0));
    }
    bench.tar("root.tar", &entries);
    let (_, out, _) = bench.run(&["size", "--by=file", "root.tar"]);
    assert!(out.ends_with("and 29 more; --all shows them\n"), "{out}");
    let (_, out, _) = bench.run(&["size", "--by=file", "--all", "root.tar"]);
    assert_eq!(out.lines().count(), 2 + 69);
}

#[test]
fn packed_tars_are_read_too() {
    let bench = Bench::new();
    bench.tar("root.tar", &entries());
    let plain = bench.json(&["size", "root.tar", "--json"]);
    for program in ["gzip", "xz", "zstd"] {
        let packed = std::process::Command::new(program)
            .args(["-c", "root.tar"])
            .current_dir(bench.path(""))
            .output()
            .unwrap();
        // debos packs with gzip whatever the name says, so the content decides.
        std::fs::write(bench.path("packed.tar"), packed.stdout).unwrap();
        let sizes = bench.json(&["size", "packed.tar", "--json"]);
        assert_eq!(sizes["rows"], plain["rows"], "{program}");
    }
}
