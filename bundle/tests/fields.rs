//! The tamper table: every field of every structure of a bundle.
//!
//! `tamper` has the changes that need no knowledge of the fields. Each field has a wrong, a huge,
//! an overlapping, a negative-like and a missing value. A key that the reader trusts signs the
//! change again, so the test reaches the layer behind the signature. A row says what refuses the
//! value, or why the value does no harm.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use bundle::{BundleError, Sha256, StoredSquashfs};
use image_layout::Disk;
use sample::{Parts, keyring, open, small};

/// What must happen to a changed bundle.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// `Bundle::open` or `verify_payload` refuses it with this exit code, before a slot is touched.
    Refused(u8),
    /// An install does not need the field. `verify_images` (the bundler's `verify`) refuses it with
    /// this code.
    NotByInstall(u8),
    /// The bundle is accepted, because another field decides all that this field decides.
    Harmless,
}
use Fate::{Harmless, NotByInstall, Refused};

struct Bench {
    folder: tempfile::TempDir,
    truth: Parts,
    /// How many values of each structure met which fate.
    counts: BTreeMap<(&'static str, String), usize>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let truth = Parts::of(&std::fs::read(small(folder.path(), &[1])).unwrap());
        Self { folder, truth, counts: BTreeMap::new() }
    }

    fn put(&self, file: &[u8]) -> PathBuf {
        let path = self.folder.path().join("lie.daruma");
        std::fs::write(&path, file).unwrap();
        path
    }

    /// Checks the fate of a whole file. `change` says in the message what was changed.
    fn judge(&mut self, structure: &'static str, change: &str, file: &[u8], expected: Fate) {
        let path = self.put(file);
        let verified = open(&path, &keyring(&[1], 1));
        let payload = verified.as_ref().ok().map(|verified| verified.verify_payload(&mut |_| ()));
        let images = verified.as_ref().ok().map(|verified| verified.verify_images());
        let refusal = |error: &BundleError| {
            assert!(!error.to_string().contains('\n'), "{structure} {change}: {error}");
            error.exit_code()
        };
        let fate = match (&verified, &payload, &images) {
            (Err(error), ..) | (_, Some(Err(error)), _) => Refused(refusal(error)),
            (.., Some(Err(error))) => NotByInstall(refusal(error)),
            _ => Harmless,
        };
        let why = verified.err().or(payload.and_then(Result::err)).or(images.and_then(Result::err));
        assert_eq!(fate, expected, "{structure} {change}: {why:?}");
        self.count(structure, fate);
    }

    fn count(&mut self, structure: &'static str, fate: Fate) {
        *self.counts.entry((structure, format!("{fate:?}"))).or_default() += 1;
    }

    fn print(&self) {
        for ((structure, fate), count) in &self.counts {
            println!("{structure}: {count} values {fate}");
        }
        println!("{} values in all", self.counts.values().sum::<usize>());
    }
}

struct Memory<'a>(&'a [u8]);

impl Disk for Memory<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = self.0.get(offset as usize..).and_then(|from| from.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the cases of a little-endian number that is `truth`. `overlap` is a value that leads
/// into something else.
fn cases(truth: &[u8], overlap: u64) -> Vec<(&'static str, Vec<u8>)> {
    let len = truth.len();
    let bits = len as u32 * 8;
    let number = truth.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let all = u64::MAX >> (64 - bits);
    [
        ("wrong", number.wrapping_add(1)),
        ("wrong by a block", number.wrapping_add(4096)),
        ("huge", all >> 1),
        ("overlapping", overlap),
        ("all ones", all),
        ("negative-like", number | 1 << (bits - 1)),
        ("missing", 0),
    ]
    .map(|(case, value)| (case, (value & all).to_le_bytes()[..len].to_vec()))
    .into_iter()
    .filter(|(_, value)| value != truth)
    .collect()
}

#[test]
fn every_field_of_the_footer_has_its_row() {
    let mut bench = Bench::new();
    let truth = bench.truth.clone();
    let squashfs = truth.squashfs.len() as u64;
    // Each row has the field, its place, and where an overlapping value leads. The check is made
    // right after each change, except for its own row.
    let rows: [(&str, Range<usize>, u64); 8] = [
        ("magic, first half", 0..8, 1),
        ("magic, second half", 8..16, 1),
        ("format", 16..20, 2),
        ("manifest", 20..24, truth.manifest.len() as u64 + 72),
        ("file", 24..32, squashfs),
        ("squashfs", 32..40, squashfs - 4096),
        ("tables", 40..44, truth.tables.len() as u64 + 36),
        ("signatures", 44..48, truth.signatures.len() as u64 + 4 + 64),
    ];
    for (field, at, overlap) in rows {
        let whole = truth.file(|_| ());
        let footer = whole[whole.len() - 64..].to_vec();
        for (case, value) in cases(&footer[at.clone()], overlap) {
            let lie = truth.file(|footer| footer[at.clone()].copy_from_slice(&value));
            bench.judge("footer", &format!("{field} {case}"), &lie, Refused(10));
        }
        let mut cut = whole.clone();
        cut.drain(whole.len() - 64 + at.start..whole.len() - 64 + at.end);
        bench.judge("footer", &format!("{field} cut out"), &cut, Refused(10));
    }
    let whole = truth.file(|_| ());
    for (half, at) in [("first", whole.len() - 16), ("second", whole.len() - 8)] {
        for (case, value) in cases(&whole[at..at + 8], 1) {
            let mut lie = whole.clone();
            lie[at..at + 8].copy_from_slice(&value);
            bench.judge("footer", &format!("check, {half} half {case}"), &lie, Refused(10));
        }
    }
    bench.judge("footer", "missing", &whole[..whole.len() - 64], Refused(10));
    bench.judge("footer", "twice", &[&whole[..], &whole[whole.len() - 64..]].concat(), Refused(10));
    bench.print();
}

#[test]
fn every_field_of_the_signatures_has_its_row() {
    let mut bench = Bench::new();
    let truth = bench.truth.clone();
    // The count belongs to the block, and the fields of an entry belong to `signatures`.
    let key = truth.signatures[..8].to_vec();
    for (case, value) in cases(&key, 0) {
        let mut lie = truth.clone();
        lie.signatures[..8].copy_from_slice(&value);
        // The key is not in the keyring, so no trusted key has signed.
        bench.judge("signatures", &format!("key id {case}"), &lie.file(|_| ()), Refused(11));
    }
    for (part, at) in [("R", 8), ("S", 40), ("S, last bytes", 64)] {
        for (case, value) in cases(&truth.signatures[at..at + 8], 1) {
            let mut lie = truth.clone();
            lie.signatures[at..at + 8].copy_from_slice(&value);
            bench.judge("signatures", &format!("{part} {case}"), &lie.file(|_| ()), Refused(11));
        }
        let mut lie = truth.clone();
        lie.signatures.drain(at..at + 8);
        bench.judge("signatures", &format!("{part} cut out"), &lie.file(|_| ()), Refused(10));
    }
    let mut lie = truth.clone();
    lie.signatures.clear();
    bench.judge("signatures", "none", &lie.file(|_| ()), Refused(11));
    lie.signatures = [&truth.signatures[..], &truth.signatures].concat();
    bench.judge("signatures", "one twice", &lie.file(|_| ()), Refused(10));
    // `Parts` computes the count. So the test changes the count in the file, and makes the check
    // right again.
    let whole = truth.file(|_| ());
    let at = whole.len() - 64 - 4 - truth.signatures.len();
    for (case, value) in cases(&whole[at..at + 4], 2) {
        let mut lie = whole.clone();
        lie[at..at + 4].copy_from_slice(&value);
        let end = lie.len() - 16;
        let check = Sha256::of(&lie[at..end]);
        lie[end..].copy_from_slice(&check.0[..16]);
        bench.judge("signatures", &format!("count {case}"), &lie, Refused(10));
    }
    bench.print();
}

/// Returns `manifest` with `key` of `section` changed, or without the line.
fn with(manifest: &str, section: &str, key: &str, value: Option<&str>) -> String {
    let mut inside = false;
    let mut changed = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        }
        let name = line.split('=').next();
        match value {
            Some(value) if inside && name == Some(key) => changed += &format!("{key}={value}\n"),
            None if inside && name == Some(key) => {}
            _ => changed += &format!("{line}\n"),
        }
    }
    changed
}

#[test]
fn every_key_of_the_manifest_has_its_row() {
    let mut bench = Bench::new();
    let truth = bench.truth.clone();
    let (other, ones) = (Sha256([3; 32]).to_string(), "f".repeat(64));
    let (huge, max, minus) = ("1099511627776", "18446744073709551615", "-4096");
    // Each key has a wrong, a huge, an overlapping, an all-ones and a negative value with their
    // fates. The last fate is that of the manifest without the key.
    type Row<'a> = (&'a str, &'a str, [(&'a str, Fate); 5], Fate);
    let m = Refused(16);
    let number = |wrong, overlap| [(wrong, m), (huge, m), (overlap, m), (max, m), (minus, m)];
    let hash = |fate| [(&*other, fate), ("00", m), (&*other, fate), (&*ones, fate), ("-1", m)];
    let long = "a".repeat(300);
    let name =
        |wrong, fate| [(wrong, fate), (&*long, m), ("../boot.img", m), ("\u{fffd}", m), ("-1", m)];
    let rows: Vec<Row<'_>> = vec![
        // The policy also refuses it (policy.rs).
        ("update", "compatible", name("toaster", Harmless), m),
        (
            "update",
            "version",
            [("1.2", m), (max, m), ("0.8.9", m), ("18446744073709551616.0.0", m), ("-1.0.0", m)],
            m,
        ),
        ("update", "build", name("b2", Harmless), m),
        // This is text for people: anything without control characters is good.
        (
            "update",
            "description",
            [("x", Harmless), (&*long, Harmless), ("\\x", m), ("\u{7f}", m), ("-1", Harmless)],
            Harmless,
        ),
        (
            "update",
            "min-version",
            [("1.2", m), (max, m), ("1.2.4", m), ("18446744073709551616.0.0", m), ("-1.0.0", m)],
            Harmless,
        ),
        (
            "bundle",
            "format",
            [("2", m), ("4294967297", m), ("0", m), ("4294967295", m), ("-1", m)],
            m,
        ),
        ("bundle", "size", number("20480", "4096"), m),
        ("bundle", "frame-sha256", hash(Refused(12)), m),
        ("image.boot", "filename", name("other.img", NotByInstall(16)), m),
        ("image.boot", "offset", [("12288", m), (huge, m), ("8192", m), (max, m), (minus, m)], m),
        ("image.boot", "size", number("8192", "12288"), m),
        ("image.boot", "sha256", hash(NotByInstall(12)), m),
        (
            "image.boot",
            "chunks",
            [("2", Refused(12)), ("4294967295", m), ("0", m), (max, m), ("-1", m)],
            m,
        ),
        ("image.boot", "chunks-sha256", hash(Refused(12)), m),
        ("image.root", "filename", name("boot.img", NotByInstall(16)), m),
        // 12288 is in the SquashFS but is not the image: the chunks say so.
        (
            "image.root",
            "offset",
            [("12288", Refused(12)), (huge, m), ("4096", m), (max, m), (minus, m)],
            m,
        ),
        ("image.root", "size", number("8192", "16384"), m),
        ("image.root", "sha256", hash(NotByInstall(12)), m),
        ("image.root", "chunks", [("2", m), ("4294967295", m), ("0", m), (max, m), ("-1", m)], m),
        ("image.root", "chunks-sha256", hash(Refused(12)), m),
        // The kernel judges what the signer says of his own root. The trial does not boot, and the
        // device falls back.
        ("image.root", "verity-hash", hash(Harmless), m),
        ("image.root", "verity-salt", hash(Harmless), m),
        ("image.root", "verity-size", number("4097", "8192"), m),
        (
            "meta.sample",
            "made",
            [("x", Harmless), (&*long, Harmless), ("\\x", m), ("\u{7f}", m), ("-1", Harmless)],
            Harmless,
        ),
    ];
    let mut known = 0;
    for (section, key, values, missing) in rows {
        known += 1;
        let all = values.iter().map(|(value, fate)| (Some(*value), *fate)).chain([(None, missing)]);
        for (value, fate) in all {
            let manifest = with(&truth.manifest, section, key, value);
            assert_ne!(manifest, truth.manifest, "[{section}] {key}={value:?} changes nothing");
            let lie = Parts { manifest, ..truth.clone() }.signed_by(&[1]);
            bench.judge(
                "manifest",
                &format!("[{section}] {key}={value:?}"),
                &lie.file(|_| ()),
                fate,
            );
        }
    }
    let keys = truth.manifest.lines().filter(|line| line.contains('=')).count();
    assert_eq!(known, keys, "a key of the manifest has no row");
    bench.print();
}

#[test]
fn every_field_of_a_chunk_table_has_its_row() {
    let mut bench = Bench::new();
    let truth = bench.truth.clone();
    for (image, entry) in [("boot", 0), ("root", 36)] {
        // The last eight bytes of the hash stand for all of it, and so do its first eight.
        let rows = [
            ("length", 0..4, Refused(16)),
            ("hash", 4..12, Refused(12)),
            ("hash, end", 28..36, Refused(12)),
        ];
        for (field, at, fate) in rows {
            let at = entry + at.start..entry + at.end;
            let mut lies: Vec<_> = cases(&truth.tables[at.clone()], 8192)
                .into_iter()
                .map(|(case, value)| {
                    let mut tables = truth.tables.clone();
                    tables[at.clone()].copy_from_slice(&value);
                    (case, tables, fate)
                })
                .collect();
            let mut cut = truth.tables.clone();
            cut.drain(at);
            // The bytes that are cut out of the first table are taken from the second. So the hash
            // of a table, or its end, is missing.
            lies.push(("cut out", cut, Refused(16)));
            for (case, tables, fate) in lies {
                let mut manifest = truth.manifest.clone();
                for (section, table) in
                    [("image.boot", tables.get(..36)), ("image.root", tables.get(36..72))]
                {
                    let hash = Sha256::of(table.unwrap_or_default()).to_string();
                    manifest = with(&manifest, section, "chunks-sha256", Some(&hash));
                }
                let lie = Parts { tables, manifest, ..truth.clone() }.signed_by(&[1]);
                bench.judge(
                    "chunk table",
                    &format!("{image} {field} {case}"),
                    &lie.file(|_| ()),
                    fate,
                );
            }
        }
    }
    bench.print();
}

/// Returns name and place of each field of a stored SquashFS with files `a` (5,000 bytes) and `b`
/// (3 bytes).
fn squashfs_fields(image: &[u8]) -> Vec<(String, Range<usize>)> {
    let u64_at = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let (used, ids, inodes, directory) = (u64_at(40), u64_at(48), u64_at(64), u64_at(72));
    let mut fields = Vec::new();
    let mut at = 0;
    let mut put = |structure: &str, begin: Option<usize>, names: &[(&str, usize)]| {
        at = begin.unwrap_or(at);
        for (name, len) in names {
            fields.push((format!("{structure} {name}"), at..at + len));
            at += len;
        }
    };
    put(
        "superblock",
        Some(0),
        &[
            ("magic", 4),
            ("inodes", 4),
            ("time", 4),
            ("block size", 4),
            ("fragments", 4),
            ("compressor", 2),
            ("block log", 2),
            ("flags", 2),
            ("ids", 2),
            ("major", 2),
            ("minor", 2),
            ("root inode", 8),
            ("bytes used", 8),
            ("id table", 8),
            ("xattr table", 8),
            ("inode table", 8),
            ("directory table", 8),
            ("fragment table", 8),
            ("export table", 8),
        ],
    );
    let header = [("type", 2), ("mode", 2), ("owner", 2), ("group", 2), ("time", 4), ("number", 4)];
    put("inode table", Some(inodes), &[("block header", 2)]);
    for (file, blocks) in [("inode a", 1), ("inode b", 1)] {
        put(file, None, &header);
        put(
            file,
            None,
            &[
                ("start", 8),
                ("size", 8),
                ("holes", 8),
                ("links", 4),
                ("fragment", 4),
                ("offset", 4),
                ("xattrs", 4),
            ],
        );
        put(file, None, &[("block", 4)].repeat(blocks));
    }
    put("inode root", None, &header);
    put(
        "inode root",
        None,
        &[("start", 4), ("links", 4), ("listing", 2), ("offset", 2), ("parent", 4)],
    );
    put(
        "directory table",
        Some(directory),
        &[("block header", 2), ("entries", 4), ("inode block", 4), ("base", 4)],
    );
    for entry in ["entry a", "entry b"] {
        put(
            entry,
            None,
            &[("inode offset", 2), ("number", 2), ("type", 2), ("name length", 2), ("name", 1)],
        );
    }
    put("id table", None, &[("block header", 2), ("id", 4), ("place of the block", 8)]);
    assert_eq!((at, used - 8), (used, ids), "the fields are all there is");
    fields
}

#[test]
fn every_field_of_a_stored_squashfs_has_its_row() {
    let mut bench = Bench::new();
    let path = bench.folder.path().join("boot.img");
    let mut squashfs = StoredSquashfs::new();
    squashfs.add_bytes("a", vec![7; 5000]).unwrap().add_bytes("b", &b"abc"[..]).unwrap();
    squashfs.write_to(&path).unwrap();
    let truth = std::fs::read(&path).unwrap();
    let list = |bytes: &[u8]| StoredSquashfs::list(&Memory(bytes));
    assert_eq!(list(&truth).unwrap().len(), 2);
    for (field, at) in squashfs_fields(&truth) {
        // 4096 is the place of the first file.
        for (case, value) in cases(&truth[at.clone()], 4096) {
            let mut lie = truth.clone();
            lie[at.clone()].copy_from_slice(&value);
            if field.ends_with("name") && case == "wrong" {
                // A file of another name is another image, and a reader that looks for the first
                // name finds no file.
                assert!(
                    StoredSquashfs::read_file(
                        &Memory(&lie),
                        str::from_utf8(&truth[at.clone()]).unwrap()
                    )
                    .is_err()
                );
                bench.count("stored SquashFS", Harmless);
                continue;
            }
            let refusal = list(&lie).expect_err(&format!("{field} {case}"));
            assert_eq!(refusal.exit_code(), 12, "{field} {case}: {refusal}");
            bench.count("stored SquashFS", Refused(12));
        }
        let mut cut = truth.clone();
        cut.drain(at);
        let refusal = list(&cut).expect_err(&format!("{field} cut out"));
        assert_eq!(refusal.exit_code(), 12, "{field} cut out: {refusal}");
        bench.count("stored SquashFS", Refused(12));
    }
    bench.print();
}

#[test]
fn every_field_of_a_bundles_squashfs_is_covered_and_a_liar_gains_nothing_from_it() {
    let mut bench = Bench::new();
    let truth = bench.truth.clone();
    // These are the tables of the bundle itself. An install needs none of them, because it finds
    // the images by the manifest. A signer who lies in them fools only `unsquashfs`; `verify`
    // refuses his bundle.
    let frame =
        |squashfs: &[u8]| Sha256::of(&[&squashfs[..4096], &squashfs[12288..]].concat()).to_string();
    for at in (0..96).step_by(4).chain((12288..12288 + 256).step_by(4)) {
        for (case, value) in cases(&truth.squashfs[at..at + 4], 4096) {
            let mut lie = truth.clone();
            lie.squashfs[at..at + 4].copy_from_slice(&value);
            bench.judge("frame", &format!("byte {at} {case}"), &lie.file(|_| ()), Refused(12));
            lie.manifest =
                with(&truth.manifest, "bundle", "frame-sha256", Some(&frame(&lie.squashfs)));
            let lie = lie.signed_by(&[1]);
            // Behind the tables is padding, and nobody reads it. A file of another name is a lie of
            // the manifest.
            let used = u64::from_le_bytes(truth.squashfs[40..48].try_into().unwrap()) as usize;
            let renamed = ["boot.img", "root.img"].iter().any(|name| {
                let place =
                    truth.squashfs.windows(8).position(|window| window == name.as_bytes()).unwrap();
                (place.saturating_sub(3)..place + 8).contains(&at)
                    && StoredSquashfs::list(&Memory(&lie.squashfs)).is_ok()
            });
            let fate = if lie.squashfs[..used] == truth.squashfs[..used] {
                Harmless
            } else {
                NotByInstall(if renamed { 16 } else { 12 })
            };
            bench.judge("frame, signed", &format!("byte {at} {case}"), &lie.file(|_| ()), fate);
        }
    }
    bench.print();
}
