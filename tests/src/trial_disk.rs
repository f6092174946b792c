//! Changes disks on the host: puts an update on trial, or damages a partition.
//!
//! `Fixture` makes the disk, and `vm` boots it. The change happens before the machine starts.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bundle::{Bundle, Keyring};
use grub_env::{BootState, Env, EnvStore};
use image_layout::{FileDisk, PartitionTable, Slot, label};

use crate::cut_disk::copy_data;
use crate::fixture::Fixture;

/// Returns the bytes of an image of a bundle that `keyring` trusts.
pub fn image(bundle: &Path, keyring: &Keyring, name: &str) -> Result<Vec<u8>> {
    let bundle = Bundle::open(FileDisk::open_read_only(bundle)?, keyring)?;
    let (mut bytes, mut chunk) = (Vec::new(), Vec::new());
    for index in 0..bundle.chunks(name).len() {
        bundle.read_chunk(name, index, &mut chunk)?;
        bytes.extend_from_slice(&chunk);
    }
    ensure!(!bytes.is_empty(), "the bundle has no image {name}");
    Ok(bytes)
}

/// Makes a sparse copy of a raw disk.
pub fn copy(disk: &Path, out: &Path) -> Result<()> {
    let (from, to) = (File::open(disk)?, File::create(out)?);
    let size = from.metadata()?.len();
    to.set_len(size)?;
    Ok(copy_data(&from, &to, 0, 0, size)?)
}

/// Copies a partition of a raw disk to a file, lets `change` work on the file, and copies it back.
pub fn change_partition(
    disk: &Path,
    label: &str,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let table = PartitionTable::read(&FileDisk::open_read_only(disk)?)?;
    let partition =
        table.find(label).with_context(|| format!("{} has no {label}", disk.display()))?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join(label);
    let whole = File::options().read(true).write(true).open(disk)?;
    let part = File::create(&path)?;
    part.set_len(partition.size)?;
    copy_data(&whole, &part, partition.offset, 0, partition.size)?;
    change(&path)?;
    // New holes in the file are not copied back. No change here frees anything.
    copy_data(&File::open(&path)?, &whole, 0, partition.offset, partition.size)?;
    Ok(())
}

/// Makes a raw disk of a machine's qcow2. The machine is off.
pub fn raw_of(qcow2: &Path, out: &Path) -> Result<()> {
    let mut convert = Command::new("qemu-img");
    let status = convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(qcow2).arg(out).status();
    ensure!(
        status.context("starting qemu-img (package qemu-utils)")?.success(),
        "qemu-img convert"
    );
    Ok(())
}

/// Changes the environment of a raw disk.
pub fn change_environment(disk: &Path, change: impl FnOnce(&mut Env) -> Result<()>) -> Result<()> {
    change_partition(disk, label::ESP, |path| {
        let store = EnvStore::open(FileDisk::open(path)?)?;
        let mut env = store.load()?.env;
        change(&mut env)?;
        Ok(store.store(&env)?)
    })
}

/// Uses up `tries` of slot B's, which is on trial.
pub fn use_up(disk: &Path, tries: u8) -> Result<()> {
    change_environment(disk, |env| {
        let mut state = BootState::from_env(env);
        ensure!(state.trial == Some(Slot::B), "slot B is not on trial");
        state.b.tries = tries;
        state.apply_to(env);
        Ok(())
    })
}

/// Puts `update` into slot B of a raw disk, on trial, with `tries` of its three used up.
pub fn put_on_trial(disk: &Path, update: &Path, tries: u8) -> Result<()> {
    let fixture = Fixture::open()?;
    let keyring = Keyring::load(&fixture.key("keyring"))?;
    for (name, label) in [("boot", Slot::B.boot_label()), ("root", Slot::B.root_label())] {
        let bytes = image(update, &keyring, name)?;
        change_partition(disk, label, |path| {
            Ok(File::options().write(true).open(path)?.write_all_at(&bytes, 0)?)
        })?;
    }
    change_environment(disk, |env| {
        let mut state = BootState::from_env(env);
        state.begin_install(Slot::B)?;
        state.begin_trial(Slot::B)?;
        state.apply_to(env);
        Ok(())
    })?;
    use_up(disk, tries)
}
