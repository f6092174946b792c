//! Files that hold no system: one line each, and an exit code.

use std::fs;

use crate::small::{Bench, entries};

#[test]
fn what_is_no_system_is_refused_in_one_line() {
    let bench = Bench::new();
    bench.tar("root.tar", &entries());
    bench.bundle("root.daruma", &entries());
    fs::write(bench.path("noise"), [7; 10_000]).unwrap();
    fs::write(bench.path("empty"), []).unwrap();
    let whole = fs::read(bench.path("root.daruma")).unwrap();
    fs::write(bench.path("torn.daruma"), &whole[..whole.len() - 700]).unwrap();
    let whole = fs::read(bench.path("root.tar")).unwrap();
    fs::write(bench.path("torn.tar"), &whole[..100_000]).unwrap();
    // Cut at the end of an entry, where a reader of tars sees nothing wrong.
    fs::write(bench.path("cut.tar"), &whole[..whole.len() - 1024]).unwrap();
    fs::write(bench.path("torn.tar.gz"), b"\x1f\x8b\x08 and no more").unwrap();
    let few: Vec<_> = entries().into_iter().filter(|entry| !entry.0.contains("dpkg")).collect();
    bench.tar("few.tar", &few);
    let other = "is neither a tar nor a bundle; name a file that `build` or `bundle` wrote";
    let cases: &[(&str, i32, &str)] = &[
        ("noise", 10, other),
        ("empty", 10, other),
        ("torn.daruma", 10, "reading the bundle torn.daruma: "),
        ("torn.tar", 10, "torn.tar is torn or holds no root filesystem: "),
        ("cut.tar", 10, "cut.tar is torn or holds no root filesystem: its end is missing; get"),
        ("torn.tar.gz", 10, "torn.tar.gz is torn or holds no root filesystem: gzip: "),
        ("few.tar", 10, "few.tar has no list of packages (/var/lib/dpkg/status)"),
        ("gone", 1, "opening gone: No such file or directory (os error 2)"),
    ];
    for (file, wanted, message) in cases {
        let (code, out, err) = bench.run(&["size", file]);
        assert_eq!((code, out.as_str()), (*wanted, ""), "{file}: {err}");
        assert!(err.starts_with("daruma-bundler: ") && err.contains(message), "{file}: {err}");
        assert_eq!(err.lines().count(), 1, "{file}: {err}");
    }
    // Folders and files need no list.
    assert_eq!(bench.run(&["size", "--by=folder", "few.tar"]).0, 0);
}

#[test]
fn a_name_with_control_characters_does_not_reach_the_terminal() {
    let bench = Bench::new();
    let mut entries = entries();
    entries.push(("srv/\u{1b}[2Jx", "x".repeat(90_000), 0o644, 0));
    bench.bundle("root.daruma", &entries);
    bench.tar("other.tar", &crate::small::entries());
    for args in [&["size", "--by=file", "root.daruma"][..], &["diff", "other.tar", "root.daruma"]] {
        let (code, out, err) = bench.run(args);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("/srv/\\u{1b}[2Jx") && !out.contains('\u{1b}'), "{out}");
    }
}

#[test]
fn a_list_of_packages_of_any_size_is_not_read_into_memory() {
    let bench = Bench::new();
    let mut entries = entries();
    entries.retain(|(path, ..)| *path != "var/lib/dpkg/status");
    entries.push(("var/lib/dpkg/status", "\n".repeat((64 << 20) + 1), 0o644, 0));
    bench.tar("root.tar", &entries);
    let (code, _, err) = bench.run(&["size", "root.tar"]);
    let wanted = "root.tar is torn or holds no root filesystem: its list of packages cannot be \
                  read, or is too large; get the file again";
    assert!(code == 10 && err.contains(wanted), "{err}");
}
