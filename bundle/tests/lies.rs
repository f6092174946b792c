//! A bundle that lies with a good signature does no harm either.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use bundle::{BundleError, Sha256};
use sample::{Parts, accept, keyring, small};

struct Liar {
    dir: tempfile::TempDir,
    truth: Parts,
}

impl Liar {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let truth = Parts::of(&std::fs::read(small(dir.path(), &[1])).unwrap());
        Self { dir, truth }
    }

    fn verdict(&self, file: &[u8]) -> Result<(), BundleError> {
        let path = self.dir.path().join("lie.daruma");
        std::fs::write(&path, file).unwrap();
        accept(&path, &keyring(&[1], 1))
    }

    /// Returns the verdict on the bundle with another manifest, signed by the trusted key.
    fn says(&self, manifest: &str) -> Result<(), BundleError> {
        let parts = Parts { manifest: manifest.to_owned(), ..self.truth.clone() };
        self.verdict(&parts.signed_by(&[1]).file(|_| ()))
    }
}

/// Returns `manifest` with `key` of `section` set to `value`, or without it.
fn with(manifest: &str, section: &str, key: &str, value: Option<&str>) -> String {
    let mut inside = false;
    let mut found = false;
    let mut changed = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        }
        if inside && line.split('=').next() == Some(key) {
            found = true;
            if let Some(value) = value {
                changed += &format!("{key}={value}\n");
            }
        } else {
            changed += line;
            changed += "\n";
        }
    }
    assert!(found, "no {key} in [{section}]");
    changed
}

#[test]
fn every_field_of_the_manifest_is_checked() {
    let liar = Liar::new();
    let truth = &liar.truth.manifest;
    liar.says(truth).unwrap();
    let hash = "0".repeat(64);
    let sizes = [
        "",
        "0",
        "-1",
        "1",
        "4095",
        "4097",
        "8192",
        "16384",
        "1099511627776",
        "1099511631872",
        "18446744073709551615",
        "18446744073709547520",
        "4096 ",
        "+4096",
        "04096",
        "0x1000",
        "4k",
    ];
    let hashes = [
        "",
        "00",
        &hash[1..],
        &hash.replace('0', "A"),
        &hash.replace('0', "g"),
        &format!("{hash}00"),
        "é".repeat(32).as_str(),
    ]
    .map(str::to_owned);
    let refused = |section: &str, key: &str, value: Option<&str>, code: u8| {
        let lie = with(truth, section, key, value);
        if lie == *truth {
            return;
        }
        let refusal = liar.says(&lie).expect_err(&format!("[{section}] {key}={value:?}"));
        assert_eq!(refusal.exit_code(), code, "[{section}] {key}={value:?}: {refusal}");
        assert!(!refusal.to_string().contains('\n'), "one line: {refusal}");
    };
    for (section, key) in [
        ("bundle", "size"),
        ("image.boot", "offset"),
        ("image.boot", "size"),
        ("image.root", "offset"),
        ("image.root", "size"),
    ] {
        for size in sizes {
            refused(section, key, Some(size), 16);
        }
    }
    for size in sizes.iter().filter(|size| **size != "4096") {
        refused("image.root", "verity-size", Some(size), 16);
        refused("image.root", "chunks", Some(size), 16);
        refused("image.boot", "chunks", Some(size), 16);
    }
    for (section, key) in [
        ("bundle", "frame-sha256"),
        ("image.boot", "sha256"),
        ("image.boot", "chunks-sha256"),
        ("image.root", "sha256"),
        ("image.root", "chunks-sha256"),
        ("image.root", "verity-hash"),
        ("image.root", "verity-salt"),
    ] {
        for hash in &hashes {
            refused(section, key, Some(hash), 16);
        }
    }
    // These are well-formed hashes of something else.
    refused("bundle", "frame-sha256", Some(&hash), 12);
    refused("image.boot", "chunks-sha256", Some(&hash), 12);
    refused("image.root", "chunks-sha256", Some(&hash), 12);
    for (section, key, values) in [
        ("update", "compatible", &["", "a b", "ä", "-x", "a/b", "a\\nb"][..]),
        ("update", "version", &["", "1", "1.2", "v1.2.3", "01.2.3", "0.8.9", "1.2.3 "]),
        ("update", "min-version", &["", "1.2", "2.0.0", "1.2.3"]),
        ("update", "build", &["", "a b", "$(x)", "a;b", "\"x\""]),
        ("update", "description", &["\\x", "a\\", "\u{7}", "\\r"]),
        ("bundle", "format", &["", "0", "2", "4294967297"]),
        ("image.boot", "filename", &["", "../x", "/etc/passwd", ".x", "a b", "a\\nb"]),
        ("image.root", "filename", &["", "..", "a/b"]),
    ] {
        for value in values {
            refused(section, key, Some(value), 16);
        }
    }
    for (section, key) in [
        ("update", "compatible"),
        ("update", "version"),
        ("update", "build"),
        ("bundle", "format"),
        ("bundle", "size"),
        ("bundle", "frame-sha256"),
        ("image.boot", "filename"),
        ("image.boot", "offset"),
        ("image.boot", "size"),
        ("image.boot", "sha256"),
        ("image.boot", "chunks"),
        ("image.boot", "chunks-sha256"),
        ("image.root", "verity-hash"),
        ("image.root", "verity-salt"),
        ("image.root", "verity-size"),
    ] {
        refused(section, key, None, 16);
    }
}

#[test]
fn sections_are_all_there_and_all_known() {
    let liar = Liar::new();
    let truth = &liar.truth.manifest;
    let refused = |lie: String, why: &str| {
        let refusal = liar.says(&lie).expect_err(why);
        assert_eq!(refusal.exit_code(), 16, "{refusal}");
        assert!(refusal.to_string().contains(why), "{why}: {refusal}");
    };
    for section in ["update", "bundle", "image.boot", "image.root"] {
        refused(truth.replace(&format!("[{section}]"), "[x-gone]"), section);
    }
    refused(format!("{truth}[other]\n"), "[other]: unknown section");
    refused(format!("{truth}[image.swap]\n"), "image.swap");
    refused(format!("{truth}[image.x-]\n"), "image.x-");
    refused(format!("{truth}[hooks]\npre-install=run-me\n"), "unknown field `pre-install`");
    refused(truth.replace("[bundle]", "[bundle]\ncodec=zstd"), "unknown field `codec`");
    refused(String::new(), "missing section");
    refused(format!("{truth}\0"), "control character");

    let long = format!("{truth}#{}\n", "-".repeat(64 << 10));
    assert!(liar.says(&long).unwrap_err().to_string().contains("larger than 64 KiB"));

    liar.says(&format!(
        "{truth}[hooks]\nx-later=1\n[x-later]\nany=thing\n[meta.more]\nany=thing\n"
    ))
    .unwrap();
    liar.says(&truth.replace("[bundle]", "[bundle]\nx-codec=zstd")).unwrap();
    liar.says(&with(truth, "update", "description", None)).unwrap();
    liar.says(&with(truth, "update", "min-version", None)).unwrap();
}

#[test]
fn images_that_overlap_or_trade_places_are_refused() {
    let liar = Liar::new();
    let truth = &liar.truth.manifest;
    let at = |boot: &str, root: &str| {
        let lie = with(
            &with(truth, "image.boot", "offset", Some(boot)),
            "image.root",
            "offset",
            Some(root),
        );
        liar.says(&lie).unwrap_err().exit_code()
    };
    assert_eq!(at("8192", "4096"), 16, "images lie in the order of their names");
    assert_eq!(at("8192", "8192"), 16, "one over the other");
    assert_eq!(at("0", "8192"), 16, "over the superblock");
    assert_eq!(at("4096", "16384"), 16, "in the tail");
    assert_eq!(
        at("8192", "12288"),
        12,
        "in the frame: well-formed, and not what the chunks hash to"
    );
}

#[test]
fn every_field_of_a_chunk_table_is_checked() {
    let liar = Liar::new();
    let lie = |change: &dyn Fn(&mut Vec<u8>), root_chunks: &str| {
        let mut parts = liar.truth.clone();
        change(&mut parts.tables);
        // The manifest has the hash of the changed table, because a liar can hash too.
        let root = parts.tables.get(36..36 + 36 * root_chunks.parse::<usize>().unwrap());
        let root = root.or(parts.tables.get(36..));
        for (section, table) in [("image.boot", parts.tables.get(..36)), ("image.root", root)] {
            let hash = Sha256::of(table.unwrap_or_default()).to_string();
            parts.manifest = with(&parts.manifest, section, "chunks-sha256", Some(&hash));
        }
        parts.manifest = with(&parts.manifest, "image.root", "chunks", Some(root_chunks));
        liar.verdict(&parts.signed_by(&[1]).file(|_| ()))
    };
    lie(&|_| (), "1").unwrap();
    for len in [0u32, 1, 4095, 4097, 8192, 1 << 20, (1 << 20) + 1, u32::MAX] {
        for at in [0, 36] {
            let refusal = lie(&|table| table[at..at + 4].copy_from_slice(&len.to_le_bytes()), "1")
                .unwrap_err();
            assert_eq!(refusal.exit_code(), 16, "length {len}: {refusal}");
        }
    }
    assert_eq!(lie(&|table| table[40] ^= 1, "1").unwrap_err().exit_code(), 12, "another hash");
    assert_eq!(
        lie(&|table| table.truncate(36), "0").unwrap_err().exit_code(),
        16,
        "no chunks at all"
    );
    assert_eq!(lie(&|table| table.truncate(36), "1").unwrap_err().exit_code(), 16, "no table");
    assert_eq!(lie(&|table| table.truncate(71), "1").unwrap_err().exit_code(), 16, "half an entry");
    assert_eq!(
        lie(&|table| table.extend([0; 36]), "1").unwrap_err().exit_code(),
        16,
        "a table too many"
    );
    assert_eq!(
        lie(&|table| table.extend([0; 36]), "2").unwrap_err().exit_code(),
        16,
        "an empty chunk"
    );
    let halves = |table: &mut Vec<u8>| {
        table.truncate(36);
        let root = &liar.truth.squashfs[8192..12288];
        for half in [&root[..100], &root[100..]] {
            table.extend((half.len() as u32).to_le_bytes());
            table.extend(Sha256::of(half).0);
        }
    };
    lie(&halves, "2").expect("chunks may be of any lengths that add up");
}

#[test]
fn every_field_of_the_footer_is_checked() {
    let liar = Liar::new();
    let code = |at: usize, bytes: &[u8]| {
        let file = liar.truth.file(|footer| footer[at..at + bytes.len()].copy_from_slice(bytes));
        if file == liar.truth.file(|_| ()) {
            return;
        }
        let refusal = liar.verdict(&file).expect_err(&format!("footer byte {at}: {bytes:?}"));
        assert_eq!(refusal.exit_code(), 10, "footer byte {at}: {refusal}");
    };
    for format in [0u32, 2, 256, u32::MAX] {
        code(16, &format.to_le_bytes());
    }
    for at in [20, 40, 44] {
        for len in [0u32, 1, 35, 36, 64, 72, 73, 108, 1 << 16, 1 << 20, u32::MAX - 63, u32::MAX] {
            code(at, &len.to_le_bytes());
        }
    }
    for at in [24, 32] {
        for len in [0u64, 1, 4096, 12288, 16384, 16385, 20480, 1 << 40, u64::MAX - 63, u64::MAX] {
            code(at, &len.to_le_bytes());
        }
    }
    // The borders between the parts move, while the sum stays.
    let parts = &liar.truth;
    let [manifest, tables, signatures] =
        [parts.manifest.len(), parts.tables.len(), parts.signatures.len() + 4];
    for shift in [1usize, 36, 72, 76] {
        let moved = |from: usize, a: usize, to: usize, b: usize| {
            let file = parts.file(|footer| {
                footer[from..from + 4].copy_from_slice(&((a - shift) as u32).to_le_bytes());
                footer[to..to + 4].copy_from_slice(&((b + shift) as u32).to_le_bytes());
            });
            assert!(liar.verdict(&file).is_err());
        };
        moved(20, manifest, 40, tables);
        moved(20, manifest, 44, signatures);
        if shift <= tables {
            moved(40, tables, 20, manifest);
        }
        moved(44, signatures, 20, manifest);
    }
}

#[test]
fn a_tail_larger_than_its_limit_is_refused() {
    let liar = Liar::new();
    let mut parts = liar.truth.clone();
    parts.tables = vec![0; 1 << 20];
    let refusal = liar.verdict(&parts.file(|_| ())).unwrap_err();
    assert!(refusal.to_string().contains("tail is larger than 1 MiB"), "{refusal}");
}
