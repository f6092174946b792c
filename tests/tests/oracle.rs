//! Compares what Daruma builds with what Debian's debos builds of the same recipes.
//!
//! Debian 13's debos runs as root, in a root filesystem of its own (`tests::debos`), and without
//! its virtual machine. There it makes loop devices, and mounts what the host's kernel knows. So
//! the disks have ext4 only. The recipes begin with one packed root, because two bootstraps differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::debos::Debos;
use tests::fixture::Fixture;
use tests::ordinary_user::{as_root, run};

/// Both programs, and a folder with the recipes. Daruma's artifacts are in `ours`, and those of
/// debos in `theirs`.
struct Pair {
    fixture: Fixture,
    debos: Debos,
    dir: tempfile::TempDir,
}

impl Pair {
    fn new() -> Result<Self> {
        let fixture = Fixture::open()?;
        let dir = tempfile::Builder::new().prefix("daruma-oracle-").tempdir_in("/var/tmp")?;
        let debos = Debos::unpack(&fixture, &dir.path().join("debos"))?;
        let pair = Self { fixture, debos, dir };
        for folder in ["bundler/tests/golden/recipes", "tests/recipes/compared"] {
            let from = pair.fixture.repo(folder).join(".");
            run(Command::new("cp").arg("-a").arg(from).arg(pair.path("site")))?;
        }
        for name in ["ours", "theirs"] {
            fs::create_dir(pair.path("site").join(name))?;
        }
        Ok(pair)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Copies the root filesystem that both begin with.
    fn base(&self) -> Result<()> {
        let tar = self.fixture.rootfs("tests/recipes/compared/base.yaml")?;
        for name in ["ours", "theirs"] {
            fs::copy(&tar, self.path("site").join(name).join("base.tar"))?;
        }
        Ok(())
    }

    fn ours(&self, recipe: &str) -> Result<()> {
        let mut command = as_root(&self.fixture.program("daruma-bundler").to_string_lossy());
        command.args(["build", recipe, "--no-cache", "--artifactdir", "ours"]);
        run(command.current_dir(self.path("site"))).map(drop)
    }

    /// Builds a recipe with both.
    fn build(&self, recipe: &str) -> Result<()> {
        self.ours(recipe)?;
        let site = self.path("site");
        run(&mut self.debos.command(&site, recipe, &["--artifactdir=/site/theirs"])).map(drop)
    }

    /// The output of a shell's text in both folders of artifacts, line by line.
    fn both(&self, text: &str) -> Result<[Vec<String>; 2]> {
        let lines = |folder: &str| -> Result<Vec<String>> {
            let mut shell = as_root("sh");
            shell.args(["-eu", "-c", text]).current_dir(self.path("site").join(folder));
            let path = std::env::var("PATH").unwrap_or_default();
            let output = run(shell.env("PATH", format!("{path}:/usr/sbin:/sbin")))?;
            Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
        };
        Ok([lines("ours")?, lines("theirs")?])
    }

    fn same(&self, text: &str) -> Result<()> {
        let [ours, theirs] = self.both(text)?;
        ensure!(!ours.is_empty(), "{text}: no lines");
        ensure!(ours == theirs, "{text}:\n{ours:#?}\ndebos:\n{theirs:#?}");
        Ok(())
    }

    /// Compares partition tables, without ids: those that a recipe does not give are random in
    /// debos.
    fn same_table(&self, disk: &str) -> Result<()> {
        self.same(&format!(
            "sfdisk --dump {disk} | sed -E 's/^{disk}//; /^label-id/d; s/ uuid=[-0-9A-F]*,?//'"
        ))
    }

    /// The files of a packed tree: type, mode, owner and content of each path.
    fn trees(&self, tar: &str) -> Result<[BTreeMap<String, String>; 2]> {
        let list = format!(
            "mkdir tree; tar -xpf {tar} --numeric-owner -C tree; cd tree; \
             find . -printf '%p|%y %m %U:%G %l\n'; \
             find . -type f -exec sha256sum {{}} + | sed 's/\\([^ ]*\\)  \\(.*\\)/\\2|\\1/'"
        );
        Ok(self.both(&list)?.map(|lines| {
            let mut files: BTreeMap<String, String> = BTreeMap::new();
            for (path, about) in lines.iter().filter_map(|line| line.split_once('|')) {
                *files.entry(path.to_owned()).or_default() += about;
            }
            files
        }))
    }
}

/// Paths that differ on purpose, and all that begin with them: what `pack` leaves out
/// (docs/coming-from-debos.md), and a list of variables, which is compared by itself.
const OTHER: &[&str] = &[
    "./dev/",
    "./etc/environment-inside",
    "./run/",
    "./var/cache/apt/archives/",
    "./var/lib/apt/lists/",
    // systemd-nspawn makes it.
    "./var/log/journal",
];

/// Variables that debos gives.
fn variables(lines: &[String]) -> Vec<&str> {
    let known = ["ARTIFACTDIR", "IMAGE", "IMAGEMNTDIR", "RECIPEDIR", "ROOTDIR"];
    lines.iter().map(String::as_str).filter(|name| known.contains(name)).collect()
}

#[test]
fn a_tree_and_what_scripts_see_are_those_of_debos() -> Result<()> {
    let pair = Pair::new()?;
    pair.base()?;
    pair.build("tree.yaml")?;
    let [ours, theirs] = pair.trees("tree.tar.gz")?;
    ensure!(ours.len() > 1000, "{} files", ours.len());
    let mut differ = Vec::new();
    for path in ours.keys().chain(theirs.keys()) {
        let (one, two) = (ours.get(path), theirs.get(path));
        if one != two && !OTHER.iter().any(|other| path.starts_with(other)) {
            differ.push(format!("{path}: {one:?}, debos: {two:?}"));
        }
    }
    differ.dedup();
    ensure!(differ.is_empty(), "{differ:#?}");
    for file in ["environment-outside", "environment-after", "tree/etc/environment-inside"] {
        let [ours, theirs] = pair.both(&format!("cat {file}"))?;
        ensure!(variables(&ours) == variables(&theirs), "{file}: {ours:?}, debos: {theirs:?}");
    }
    Ok(())
}

#[test]
fn a_disk_its_table_and_its_fstab_are_those_of_debos() -> Result<()> {
    let pair = Pair::new()?;
    pair.base()?;
    pair.build("disk.yaml")?;
    pair.same("sfdisk --dump disk.img | sed 's/disk.img//'")?;
    // The root is the third partition. `offset` is in bytes.
    let part = "disk=disk.img?offset=$(($(sfdisk -d disk.img | sed -n \
                's/^disk.img3 : start= *\\([0-9]*\\).*/\\1/p') * 512))";
    for file in ["/etc/fstab", "/etc/kernel/cmdline", "/usr/lib/os-release"] {
        pair.same(&format!("{part}; debugfs -R 'cat {file}' \"$disk\""))?;
    }
    pair.same(&format!("{part}; dumpe2fs -h \"$disk\" | grep -E 'volume name|UUID|Block size'"))?;
    let [ours, theirs] = pair.both("cat environment-disk")?;
    ensure!(variables(&ours) == variables(&theirs), "{ours:?}, debos: {theirs:?}");
    let inside = format!("{part}; debugfs -R 'cat /etc/environment-inside' \"$disk\"");
    let [ours, theirs] = pair.both(&inside)?;
    ensure!(variables(&ours) == variables(&theirs), "{ours:?}, debos: {theirs:?}");
    // What raw wrote into the last partition. The copy of the table lies behind it.
    pair.same("tail -c 16777216 disk.img | head -c 16000000 | sha256sum")
}

#[test]
fn partition_tables_are_those_of_debos() -> Result<()> {
    let pair = Pair::new()?;
    for (recipe, disk) in [("gpt.yaml", "gpt.img"), ("msdos.yaml", "msdos.img")] {
        pair.build(recipe)?;
        pair.same_table(disk)?;
    }
    Ok(())
}

#[test]
fn raw_offsets_are_those_of_debos() -> Result<()> {
    let pair = Pair::new()?;
    pair.build("raw.yaml")?;
    pair.same_table("raw.img")?;
    // All but the table, whose ids are random in debos, and its copy.
    pair.same("dd if=raw.img bs=512 skip=34 count=131000 status=none | sha256sum")
}
