//! `make bench-size`: the sizes of the router and of base, beside other systems' published sizes.
//!
//! `packing` measures what compression costs. Bytes do not depend on other work of the machine.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bundle::{Bundle, Keyring};
use image_layout::FileDisk;
use serde_json::Value;
use tests::fixture::Fixture;

/// The recipes: name, path, and the most bytes of the bundle and of its root image.
const SYSTEMS: [(&str, &str, u64, Option<u64>); 2] = [
    ("router", "bundler/recipes/router.yaml", 60_000_000, Some(46_000_000)),
    ("base", "bundler/recipes/base.yaml", 62_000_000, None),
];
/// Most bytes of the initramfs.
const INITRAMFS: u64 = 5 << 19;
/// The packages of Debian's cloud image.
const CLOUD: &str = "tests/recipes/debian-cloud.yaml";
/// What others say of themselves: system, bytes, and where it is said.
const OTHERS: [(&str, &str, &str); 2] = [
    ("Alpine, minimal, on a disk, unpacked", "130", "alpinelinux.org/about"),
    (
        "OpenWrt 19.07.3 for MT7620, root filesystem (xz, 256 KiB)",
        "5.8",
        "openwrt-devel, 2020-08-03, 030645",
    ),
];
/// The name of files that no package has brought.
const NOBODY: &str = "no package";
/// The parts of the router that are named one by one make up this many bytes.
const NEXT: u64 = 10_000_000;

/// Prints the tables.
pub(crate) fn print(fixture: &Fixture) -> Result<()> {
    println!("| {:57} | {:>7} | {:8} | {:10} |", "what", "MB", "at most", "");
    println!("|{}|---------|----------|------------|", "-".repeat(59));
    for (name, recipe, bundle_limit, root_limit) in SYSTEMS {
        let path = fixture.bundle(recipe, "1.0.0")?;
        let keyring = Keyring::load(&fixture.key("keyring"))?;
        let bundle = Bundle::open(FileDisk::open_read_only(&path)?, &keyring)?;
        let manifest = bundle.manifest();
        let image = |name: &str| {
            manifest.image(name).map(|image| image.size).with_context(|| format!("no {name}"))
        };
        let fact = |name: &str| -> Result<u64> {
            let system = manifest.meta.get("system").context("no facts")?;
            Ok(system.get(name).with_context(|| format!("no {name}"))?.parse()?)
        };
        let whole = std::fs::metadata(&path)?.len();
        row(&format!("{name}, bundle"), whole, Some(bundle_limit));
        row(&format!("{name}, of it root with its dm-verity tree"), image("root")?, root_limit);
        row(&format!("{name}, of it boot"), image("boot")?, None);
        row(&format!("{name}, of boot: initramfs"), fact("initramfs-bytes")?, Some(INITRAMFS));
        row(&format!("{name}, of boot: recovery"), fact("recovery-bytes")?, None);
        row(&format!("{name}, of boot: microcode"), fact("microcode-bytes")?, None);
        row(&format!("{name}, of root: firmware, unpacked"), fact("firmware-bytes")?, None);
    }
    let (unpacked, packed) = cloud(fixture)?;
    row("Debian's cloud image (a stand-in), unpacked", unpacked, None);
    row("Debian's cloud image (a stand-in), packed as ours", packed, None);
    for (name, megabytes, source) in OTHERS {
        println!("| {name:57} | {megabytes:>7} | {:8} | published: {source}", "-");
    }
    let router = fixture.bundle(SYSTEMS[0].1, "1.0.0")?;
    println!("\nThe router's largest packages, packed:\n\n{}", largest(fixture, &router)?);
    Ok(())
}

/// Builds the system of [`CLOUD`]. Returns the bytes of its tar, and of a SquashFS of it.
fn cloud(fixture: &Fixture) -> Result<(u64, u64)> {
    let tar = fixture.rootfs(CLOUD)?;
    let image = tempfile::NamedTempFile::new_in("/var/tmp")?;
    let way = ["-tar", "-comp", "zstd", "-Xcompression-level", "19", "-b", "512K", "-noappend"];
    let mut pack = Command::new("mksquashfs");
    pack.arg("-").arg(image.path()).args(way).args(["-quiet", "-no-progress"]);
    let output = pack.stdin(File::open(&tar)?).output().context("starting mksquashfs")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((std::fs::metadata(&tar)?.len(), image.as_file().metadata()?.len()))
}

fn row(what: &str, bytes: u64, limit: Option<u64>) {
    let megabytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
    let verdict = match limit {
        None => "-",
        Some(limit) if bytes <= limit => "met",
        Some(_) => "**missed**",
    };
    let limit = limit.map_or("-".to_owned(), megabytes);
    println!("| {what:57} | {:>7} | {limit:8} | {verdict:10} |", megabytes(bytes));
}

/// Returns the largest packages of a bundle as a table, until they make up [`NEXT`] bytes besides
/// the kernel's modules and what belongs to no package (the agent).
fn largest(fixture: &Fixture, bundle: &Path) -> Result<String> {
    let mut size = Command::new(fixture.program("daruma-bundler"));
    let output = size.args(["size", "--json"]).arg(bundle).output()?;
    ensure!(output.status.success(), "size: {}", String::from_utf8_lossy(&output.stderr));
    let sizes: Value = serde_json::from_slice(&output.stdout)?;
    let mut rows: Vec<(u64, &str)> = sizes["rows"]
        .as_array()
        .context("no rows")?
        .iter()
        .map(|row| {
            let bytes = row["packed_bytes"].as_u64().unwrap_or_default();
            (bytes, row["name"].as_str().unwrap_or(NOBODY))
        })
        .collect();
    rows.sort_unstable_by(|a, b| b.cmp(a));
    let (mut text, mut sum) = ("| package | MB |\n|---|---|\n".to_owned(), 0);
    for (bytes, name) in rows {
        text += &format!("| {name} | {:.2} |\n", bytes as f64 / 1e6);
        let is_ours = name.starts_with("linux-image") || name == NOBODY;
        sum += if is_ours { 0 } else { bytes };
        if sum >= NEXT {
            break;
        }
    }
    Ok(text)
}
