//! A device in a folder, bundles for it, and GRUB's part of a boot.
//!
//! The tests run the real agent on it. `publisher` makes channels for it, and `daemon` runs the
//! daemon on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agent::Device;
use bundle::{
    BundleWriter, Image, ImageInput, Keyring, ROOT_CHUNKS, Salt, SecretKey, Sha256, SlotChunks,
    StoredSquashfs, Update, Verity, VerityTree,
};
use grub_env::{BootState, Env, EnvStore, GRUBENV_BAK_PATH, GRUBENV_PATH};
use image_layout::{FileDisk, Slot};

const BOOT_PARTITION: u64 = 2 << 20;
const ROOT_PARTITION: u64 = 32 << 20;

/// A device that runs 1.0.0 from slot A. Slot B is empty.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

/// The result of a run of `daruma`.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The properties of a bundle. The defaults make a good one.
pub(crate) struct Spec<'a> {
    pub(crate) version: &'a str,
    pub(crate) compatible: &'a str,
    pub(crate) min_version: &'a str,
    pub(crate) boot_padding: usize,
    pub(crate) root_size: usize,
    /// The files of the root image, each as a seed. Without files, the image is noise of
    /// `root_size` bytes, and the slot has no table of its chunks.
    pub(crate) files: &'a [u64],
    pub(crate) tree: Tree,
    pub(crate) keys: &'a [u8],
}

/// The content of the root image where its dm-verity tree should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// The last tenth of the image stands for the tree. No chunk begins with it.
    Noise,
    /// The tree of the files stands behind them, and a chunk begins with it. There is at least one
    /// file.
    Real,
    /// The same as `Real`, with a wrong bit.
    Wrong,
}

/// Describes a dm-verity tree over `data` bytes.
fn verity(data: u64) -> Verity {
    Verity { hash: Sha256([3; 32]), salt: Salt([4; 32]), size: data }
}

/// Returns the tree over `data`, as `veritysetup` would write it.
fn tree_of(data: &[u8]) -> Vec<u8> {
    let (size, nothing) = (data.len() as u64, Sha256([0; 32]));
    let image = Image {
        filename: "root.img".parse().unwrap(),
        offset: 4096,
        size,
        sha256: nothing,
        chunks: 1,
        chunks_sha256: nothing,
        verity: Some(verity(size)),
    };
    let mut tree = VerityTree::of(Some(&image)).unwrap();
    tree.update(data);
    tree.finish(size).unwrap()
}

/// Returns the bytes of a file in the root image. Some lengths are multiples of 4096, and some are
/// not.
fn file(seed: u64) -> Vec<u8> {
    let length = [50_001, 4096, 30_000, 777, 131_072, 200_000][(seed % 6) as usize];
    noise(seed, length)
}

impl Default for Spec<'_> {
    fn default() -> Self {
        Self {
            version: "2.0.0",
            compatible: "router",
            min_version: "0.0.0",
            boot_padding: 1 << 20,
            root_size: 5 << 20,
            files: &[],
            tree: Tree::Noise,
            keys: &[1],
        }
    }
}

/// Returns the key with this number. The device trusts the keys 1 and 2.
fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// Returns pseudo-random bytes, which differ from one `seed` to the next (xorshift64).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend(x.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn seed_of(version: &str) -> u64 {
    version.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte))
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        for folder in
            ["var/lib/daruma", "etc/daruma/keyring", "etc/daruma/health.d", "run/daruma", "proc"]
        {
            fs::create_dir_all(bench.path(folder)).unwrap();
        }
        for number in [1, 2] {
            let pem = key(number).public().to_pem().unwrap();
            fs::write(bench.path(&format!("etc/daruma/keyring/{number}.pem")), pem).unwrap();
        }
        for (label, size) in [
            ("boot-a", BOOT_PARTITION),
            ("boot-b", BOOT_PARTITION),
            ("root-a", ROOT_PARTITION),
            ("root-b", ROOT_PARTITION),
        ] {
            File::create(bench.path(label)).unwrap().set_len(size).unwrap();
        }
        let spec = Spec { version: "1.0.0", ..Spec::default() };
        let image = bench.boot_image(&spec);
        File::options().write(true).open(bench.path("boot-a")).unwrap().write_all(&image).unwrap();
        bench.make_esp();
        bench.set_cmdline("daruma.slot=A daruma.try=1 panic=5");
        bench.config("[health]\nretry-s = 1\n");
        bench
    }

    fn make_esp(&self) {
        let mut esp = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path("esp"))
            .unwrap();
        esp.set_len(2 << 20).unwrap();
        fatfs::format_volume(&mut esp, fatfs::FormatVolumeOptions::new()).unwrap();
        let volume = fatfs::FileSystem::new(esp, fatfs::FsOptions::new()).unwrap();
        let mut env = Env::new();
        BootState::factory().apply_to(&mut env);
        volume.root_dir().create_dir("grub").unwrap();
        for path in [GRUBENV_PATH, GRUBENV_BAK_PATH] {
            volume.root_dir().create_file(path).unwrap().write_all(&env.encode()).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn set_cmdline(&self, text: &str) {
        fs::write(self.path("cmdline"), text).unwrap();
    }

    pub(crate) fn config(&self, text: &str) {
        fs::write(self.path("etc/daruma/daruma.toml"), text).unwrap();
    }

    /// Writes a configuration whose reboot leaves a file behind. `health` has more lines of its
    /// section.
    pub(crate) fn config_with_reboot(&self, health: &str) {
        let touched = self.path("rebooted");
        self.config(&format!(
            "reboot-command = [\"touch\", {touched:?}]\n[health]\nretry-s = 1\n{health}"
        ));
    }

    pub(crate) fn check(&self, name: &str, script: &str) {
        let path = self.path(&format!("etc/daruma/health.d/{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn boot_image(&self, spec: &Spec<'_>) -> Vec<u8> {
        let slot_cfg = format!(
            "set daruma_compatible={}\nset daruma_version={}\nset daruma_build=build-{}\nset \
                daruma_min_version={}\n",
            spec.compatible, spec.version, spec.version, spec.min_version
        );
        let mut squashfs = StoredSquashfs::new();
        squashfs.add_bytes("vmlinuz", noise(seed_of(spec.version), spec.boot_padding)).unwrap();
        squashfs.add_bytes("slot.cfg", slot_cfg.into_bytes()).unwrap();
        if !spec.files.is_empty() {
            let path = self.path("root.tmp");
            fs::write(&path, Self::root_image(spec)).unwrap();
            let mut end = 0;
            let mut boundaries: BTreeSet<u64> = spec
                .files
                .iter()
                .map(|seed| {
                    end += file(*seed).len() as u64;
                    end
                })
                .collect();
            if spec.tree != Tree::Noise {
                boundaries.insert(end.next_multiple_of(4096));
            }
            let root = FileDisk::open_read_only(&path).unwrap();
            squashfs
                .add_bytes(ROOT_CHUNKS, SlotChunks::root_table(&root, &boundaries).unwrap())
                .unwrap();
        }
        let mut image = Vec::new();
        squashfs.write(&mut image).unwrap();
        image
    }

    fn root_image(spec: &Spec<'_>) -> Vec<u8> {
        if spec.files.is_empty() {
            return noise(seed_of(spec.version) + 1, spec.root_size);
        }
        let mut root: Vec<u8> = spec.files.iter().flat_map(|seed| file(*seed)).collect();
        root.resize(root.len().next_multiple_of(4096), 0);
        if spec.tree != Tree::Noise {
            let mut tree = tree_of(&root);
            tree[0] ^= u8::from(spec.tree == Tree::Wrong);
            root.extend(tree);
        }
        root
    }

    /// Puts a boot image straight into a slot, as the factory does.
    pub(crate) fn put_boot_image(&self, slot: Slot, spec: &Spec<'_>) {
        let image = self.boot_image(spec);
        File::options()
            .write(true)
            .open(self.path(slot.boot_label()))
            .unwrap()
            .write_all(&image)
            .unwrap();
    }

    /// Makes a bundle. Also returns the bytes with which the slot's partitions begin after an
    /// install.
    pub(crate) fn bundle(&self, spec: &Spec<'_>) -> Made {
        let boot = self.boot_image(spec);
        let root = Self::root_image(spec);
        let paths = [
            self.path(&format!("{}.boot", spec.version)),
            self.path(&format!("{}.root", spec.version)),
        ];
        fs::write(&paths[0], &boot).unwrap();
        fs::write(&paths[1], &root).unwrap();
        let data = match spec.tree {
            Tree::Noise => {
                let data = ((root.len() as u64 * 9 / 10) / 4096 * 4096).max(4096);
                if data.is_multiple_of(128 << 10) { data - 4096 } else { data }
            }
            Tree::Real | Tree::Wrong => {
                let files: usize = spec.files.iter().map(|seed| file(*seed).len()).sum();
                files.next_multiple_of(4096) as u64
            }
        };
        let keys: Vec<_> = spec.keys.iter().map(|number| key(*number)).collect();
        let path = self.path(&format!("{}.daruma", spec.version));
        let writer = BundleWriter {
            update: Update {
                compatible: spec.compatible.parse().unwrap(),
                version: spec.version.parse().unwrap(),
                build: format!("build-{}", spec.version).parse().unwrap(),
                description: String::new(),
                min_version: spec.min_version.parse().unwrap(),
            },
            images: vec![
                ImageInput { name: "boot".parse().unwrap(), path: &paths[0], verity: None },
                ImageInput {
                    name: "root".parse().unwrap(),
                    path: &paths[1],
                    verity: Some(verity(data)),
                },
            ],
            meta: BTreeMap::new(),
            keys: &keys,
        };
        writer.write(&path).unwrap();
        Made { path, boot, root }
    }

    /// Puts a system straight into a slot.
    pub(crate) fn put_system(&self, slot: Slot, made: &Made) {
        for (label, image) in [(slot.boot_label(), &made.boot), (slot.root_label(), &made.root)] {
            File::options().write(true).open(self.path(label)).unwrap().write_all(image).unwrap();
        }
    }

    /// Returns the keys that the device trusts.
    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::load(&self.path("etc/daruma/keyring")).unwrap()
    }

    /// Returns the device, for work in the test's own process.
    pub(crate) fn device(&self) -> Device {
        Device::at(self.folder.path()).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daruma"));
        command.arg("--root").arg(self.folder.path()).args(arguments).stdin(Stdio::null());
        // The programs that a test puts there stand in for those of the machine.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        // A proxy of this machine must not come between the agent and the servers of the tests.
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(
            self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        )
    }

    pub(crate) fn install(&self, bundle: &Path) -> Ended {
        self.run(&["install", bundle.to_str().unwrap()])
    }

    /// Returns the status as JSON.
    pub(crate) fn status(&self) -> serde_json::Value {
        let ended = self.run(&["status", "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    fn store(&self) -> EnvStore<FileDisk> {
        EnvStore::open(FileDisk::open(&self.path("esp")).unwrap()).unwrap()
    }

    pub(crate) fn state(&self) -> BootState {
        self.store().load().unwrap().state()
    }

    pub(crate) fn set_state(&self, state: &BootState) {
        let mut env = self.store().load().unwrap().env;
        state.apply_to(&mut env);
        self.store().store(&env).unwrap();
    }

    /// Boots once as GRUB does. `cannot_load` says which slots' boot images cannot be loaded.
    pub(crate) fn boot_unless(&self, cannot_load: impl Fn(Slot) -> bool) -> Option<Slot> {
        let before = self.state();
        let selection = before.select_unless(cannot_load);
        self.set_state(&selection.after);
        fs::remove_dir_all(self.path("run/daruma")).unwrap();
        fs::create_dir_all(self.path("run/daruma")).unwrap();
        let _ = fs::remove_file(self.path("rebooted"));
        self.set_cmdline(&match selection.slot {
            Some(slot) => {
                let trial = if before.trial == Some(slot) { "daruma.trial=1 " } else { "" };
                format!(
                    "daruma.slot={slot} {trial}daruma.try={} panic=5",
                    selection.after.slot(slot).tries
                )
            }
            None => "daruma.slot=recovery".to_owned(),
        });
        selection.slot
    }

    pub(crate) fn boot(&self) -> Option<Slot> {
        self.boot_unless(|_| false)
    }

    /// Returns everything that a refusal must leave as it was.
    pub(crate) fn untouchables(&self) -> Vec<Vec<u8>> {
        ["esp", "boot-a", "root-a", "boot-b", "root-b"].map(|label| self.bytes(label)).to_vec()
    }
}

/// A bundle and its images.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) boot: Vec<u8>,
    pub(crate) root: Vec<u8>,
}

impl Made {
    /// Returns true if slot B begins with exactly these images.
    pub(crate) fn is_in_slot_b(&self, bench: &Bench) -> bool {
        bench.bytes("boot-b").starts_with(&self.boot)
            && bench.bytes("root-b").starts_with(&self.root)
    }
}

impl Ended {
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts that the run ended with `code` and exactly one line, and that the line contains
    /// `part`.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(
            self.stderr.starts_with("daruma: ") && self.stderr.contains(part),
            "{part:?} is not in {self:?}"
        );
    }

    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}
