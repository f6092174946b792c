//! Every reader that must read a stored SquashFS reads it: `unsquashfs`, GRUB, and our own reader.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bundle::{BundleError, StoredFile, StoredSquashfs, limits};
use image_layout::FileDisk;
use sample::noise;

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

fn disk(path: &Path) -> FileDisk {
    FileDisk::open_read_only(path).unwrap()
}

/// Makes a boot image with a kernel of several blocks and files at the borders of sizes. Returns
/// its path and files.
fn boot_image(dir: &Path) -> (PathBuf, Vec<(&'static str, Vec<u8>)>) {
    let files = vec![
        ("vmlinuz", noise(1, (2 << 20) + 77)),
        ("initrd", noise(2, 1 << 20)),
        ("slot.cfg", b"set daruma_version=1.0.0\n".to_vec()),
        ("empty", vec![]),
        ("zeros", vec![0; 5000]),
        ("SHA256SUMS", noise(3, 4096)),
    ];
    let path = dir.join("boot.img");
    let mut squashfs = StoredSquashfs::new();
    for (name, bytes) in &files {
        squashfs.add_bytes(name, &bytes[..]).unwrap();
    }
    squashfs.write_to(&path).unwrap();
    (path, files)
}

#[test]
fn unsquashfs_lists_and_extracts_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, files) = boot_image(dir.path());
    assert_eq!(path.metadata().unwrap().len() % 4096, 0);
    let listing =
        String::from_utf8(run(Command::new("unsquashfs").arg("-lls").arg("-UTC").arg(&path)))
            .unwrap();
    for (name, bytes) in &files {
        let line =
            listing.lines().find(|line| line.ends_with(&format!("squashfs-root/{name}"))).unwrap();
        assert!(line.starts_with("-rw-r--r-- root/root"), "{line}");
        assert!(line.contains(&format!(" {} 1970-01-01 00:00", bytes.len())), "{line}");
        assert_eq!(
            run(Command::new("unsquashfs").arg("-cat").arg(&path).arg(name)),
            *bytes,
            "{name}"
        );
    }
    let out = dir.path().join("out");
    run(Command::new("unsquashfs")
        .arg("-quiet")
        .arg("-no-progress")
        .arg("-d")
        .arg(&out)
        .arg(&path));
    for (name, bytes) in &files {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), *bytes, "{name}");
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), files.len());
}

#[test]
fn grub_lists_and_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, files) = boot_image(dir.path());
    let listing =
        String::from_utf8(run(Command::new("grub-fstest").arg(&path).args(["ls", "(loop0)/"])))
            .unwrap();
    for (name, bytes) in &files {
        assert!(listing.split_whitespace().any(|listed| listed == *name), "{name}: {listing}");
        let expected = dir.path().join(name);
        std::fs::write(&expected, bytes).unwrap();
        run(Command::new("grub-fstest")
            .arg(&path)
            .arg("cmp")
            .arg(format!("(loop0)/{name}"))
            .arg(&expected));
    }
}

#[test]
fn a_bundle_is_a_squashfs_for_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample::write(dir.path(), 8192, (1 << 20) + 4096, &[1]);
    for name in ["boot", "root"] {
        let image = std::fs::read(dir.path().join(name)).unwrap();
        assert_eq!(
            run(Command::new("unsquashfs").arg("-cat").arg(&path).arg(format!("{name}.img"))),
            image
        );
        let inside = format!("(loop0)/{name}.img");
        run(Command::new("grub-fstest")
            .arg(&path)
            .arg("cmp")
            .arg(inside)
            .arg(dir.path().join(name)));
    }
    sample::open(&path, &sample::keyring(&[1], 1)).unwrap().verify_images().unwrap();
}

#[test]
fn our_reader_finds_every_file_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let (path, files) = boot_image(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let list = StoredSquashfs::list(&disk(&path)).unwrap();
    for (StoredFile { name, offset, size }, (expected, bytes)) in list.iter().zip(&files) {
        assert_eq!((name.as_str(), *size), (*expected, bytes.len() as u64));
        assert_eq!(offset % 4096, 0);
        assert!(whole[*offset as usize..].starts_with(bytes), "{name} is in one piece");
    }
    assert_eq!(StoredSquashfs::read_file(&disk(&path), "slot.cfg").unwrap(), files[2].1);
    assert!(StoredSquashfs::read_file(&disk(&path), "empty").unwrap().is_empty());
    let refusal = |name| StoredSquashfs::read_file(&disk(&path), name).unwrap_err().to_string();
    assert!(refusal("slot.cf").contains("it has no file slot.cf"));
    assert!(refusal("vmlinuz").contains("larger than 1 MiB"));
}

#[test]
fn many_files_and_a_large_one_span_metadata_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let sparse = dir.path().join("large");
    // More than 4 GiB of zeros are a hole in this file. In the image they are 4,100 stored blocks,
    // and their list takes two blocks of inodes.
    std::fs::File::create(&sparse).unwrap().set_len(4100 << 20).unwrap();
    let long = "n".repeat(limits::FILE_NAME - 3);
    let names: Vec<String> =
        (1..limits::FILES).rev().map(|number| format!("{long}{number:03}")).collect();
    let mut squashfs = StoredSquashfs::new();
    for name in &names[..60] {
        squashfs.add_bytes(name, name.as_bytes()).unwrap();
    }
    squashfs.add_file("large", &*sparse).unwrap();
    for name in &names[60..] {
        squashfs.add_bytes(name, name.as_bytes()).unwrap();
    }
    assert!(matches!(squashfs.add_bytes("one-more", &b""[..]), Err(BundleError::Input(_))));
    let path = dir.path().join("image");
    let mut holes = Holes { file: std::fs::File::create(&path).unwrap(), at: 0 };
    squashfs.write(&mut holes).unwrap();
    holes.file.set_len(holes.at).unwrap();

    assert_eq!(StoredSquashfs::list(&disk(&path)).unwrap().len(), limits::FILES);
    for name in [&names[0], &names[59], &names[60], &names[126]] {
        assert_eq!(StoredSquashfs::read_file(&disk(&path), name).unwrap(), name.as_bytes());
        assert_eq!(
            run(Command::new("unsquashfs").arg("-cat").arg(&path).arg(name)),
            name.as_bytes()
        );
        let grub =
            run(Command::new("grub-fstest").arg(&path).arg("cat").arg(format!("(loop0)/{name}")));
        assert_eq!(grub, name.as_bytes());
    }
    let listing =
        String::from_utf8(run(Command::new("unsquashfs").arg("-lls").arg(&path))).unwrap();
    assert!(listing.contains(" 4299161600 "), "{listing}");
    assert_eq!(listing.lines().filter(|line| line.starts_with("-rw")).count(), limits::FILES);
}

/// An output that writes zeros as holes, so that the test needs no 4 GiB of disk.
struct Holes {
    file: std::fs::File,
    at: u64,
}

impl std::io::Write for Holes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // The bytes are compared as slices. A comparison byte by byte takes a minute in a debug
        // build.
        static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
        if bytes != &ZEROS[..bytes.len()] {
            self.file.write_all_at(bytes, self.at)?;
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_same_files_are_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = boot_image(dir.path());
    let first = std::fs::read(first).unwrap();
    let (second, _) = boot_image(dir.path());
    assert_eq!(first, std::fs::read(second).unwrap());
    assert!(!dir.path().join(".boot.img.partial").exists());
}

#[test]
fn unfit_files_are_refused() {
    let mut squashfs = StoredSquashfs::new();
    squashfs.add_bytes("a", &b""[..]).unwrap();
    for name in ["a", "", ".", "..", "a/b", "/a", ".hidden", "a b", "ä", "a\n", &"n".repeat(256)] {
        assert!(squashfs.add_bytes(name, &b""[..]).is_err(), "{name:?}");
    }
    assert!(squashfs.add_file("b", Path::new("no/such/file")).is_err());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("input"), dir.path().join("out"));
    for now in [9_999, 10_001, 0, 1_000_000] {
        std::fs::write(&input, noise(1, 10_000)).unwrap();
        let mut squashfs = StoredSquashfs::new();
        squashfs.add_file("input", &*input).unwrap();
        std::fs::write(&input, noise(1, now)).unwrap();
        let refusal = squashfs.write_to(&out).unwrap_err();
        assert!(refusal.to_string().contains("changed while it was read"), "{refusal}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the input is left");
    }
}

#[test]
fn a_hostile_image_is_refused_or_read_but_never_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut squashfs = StoredSquashfs::new();
    squashfs
        .add_bytes("slot.cfg", &b"set a=1\n"[..])
        .unwrap()
        .add_bytes("vmlinuz", noise(1, 9000))
        .unwrap();
    squashfs.write_to(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let attempt = |at: usize, bytes: &[u8]| {
        file.write_all_at(bytes, at as u64).unwrap();
        if let Ok(files) = StoredSquashfs::list(&disk(&path)) {
            for file in files {
                assert!(file.size == 0 || file.offset + file.size <= whole.len() as u64);
                let _ = StoredSquashfs::read_file(&disk(&path), file.name.as_str());
            }
        }
        file.write_all_at(&whole[at..at + bytes.len()], at as u64).unwrap();
    };
    let metadata = whole.len() - 4096;
    for at in (0..96).chain(metadata..metadata + 300) {
        for value in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 1, whole[at] ^ 0x10] {
            attempt(at, &[value]);
            // Whole fields of ones are the largest sizes and places.
            attempt(at, &[value; 8]);
        }
    }
    for len in [0, 1, 95, 96, 4095, 4096, 4097, metadata, metadata + 1, metadata + 100] {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(StoredSquashfs::list(&disk(&path)).is_err(), "{len} bytes left");
    }
    assert!(StoredSquashfs::list(&disk(Path::new("/dev/null"))).is_err());
}
