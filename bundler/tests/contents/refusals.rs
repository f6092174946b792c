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
