//! Which states of a root filesystem can be kept between its actions, and their keys.
//!
//! `mmdebstrap` has the calls of the actions, and `build` asks the cache.
//!
//! A state comes from the bootstrap and from the actions before it. So its key is the hash of the
//! state before, of the action's call, and of the files that the action reads. The path of the
//! recipe, the user and the time are in no key. The chain ends at an action that writes files of
//! the build host, or reads some that nobody can know.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::host::cache::{hex, key, sum};
use crate::recipe::{Action, Program, Run};

/// Goes into every key. A change of what this program writes into a root needs another number.
pub(in crate::bundling::rootfs) const FORMAT: &str = "state 1";

/// Most bytes of the folders that one action reads. Above that its state is not kept.
const MOST_BYTES: u64 = 256 << 20;
/// Most files of such folders.
const MOST_FILES: usize = 10_000;

/// A file or a folder that an action reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::bundling::rootfs) struct Input {
    /// The path on the build host.
    pub(in crate::bundling::rootfs) path: PathBuf,
    /// True for the folder of a script and for what a command names. It may be large, and the
    /// build's own results may lie there.
    pub(in crate::bundling::rootfs) is_script: bool,
}

/// Whether an action works inside the root alone, so that its state says all.
pub(in crate::bundling::rootfs) fn stays_inside(action: &Action) -> bool {
    match action {
        Action::Apt(_) | Action::InstallDeb(_) | Action::Overlay(_) | Action::Unpack(_) => true,
        Action::Run(Run { chroot: true, .. }) => true,
        Action::Run(Run { postprocess, program, .. }) => {
            !postprocess && matches!(program, Program::Command(text) if changes_root_only(text))
        }
        Action::Download(_)
        | Action::Pack(_)
        | Action::Disk(_)
        | Action::Deploy(_)
        | Action::Raw(_) => false,
    }
}

/// Whether a command of the build host works on `$ROOTDIR` and says which other files it reads.
fn changes_root_only(command: &str) -> bool {
    let elsewhere = ["ARTIFACTDIR", "RECIPEDIR", "IMAGE", "HOME", "PWD", "~", "`", "$("];
    command.contains("ROOTDIR") && !elsewhere.iter().any(|word| command.contains(word))
}

/// Returns the files of the build host that a command names.
pub(in crate::bundling::rootfs) fn named_files(command: &str) -> Vec<Input> {
    let words = command.split(|c: char| c.is_whitespace() || "'\"=:;|&<>(){}".contains(c));
    let paths = words.filter(|word| !word.is_empty()).map(PathBuf::from);
    let files = paths.filter(|path| path.exists()).filter(|path| path != Path::new("/"));
    files.map(|path| Input { path, is_script: true }).collect()
}

/// Returns the key of a state. `None`: an input cannot be read, or is too large.
///
/// `call` must be without paths of this host. Files named in `results` are not looked at in the
/// folder of a script, as this program writes them.
pub(in crate::bundling::rootfs) fn after(
    before: &str,
    call: &str,
    inputs: &[Input],
    results: &[PathBuf],
) -> Option<String> {
    let mut list =
        vec![("before".to_owned(), before.into()), ("call".to_owned(), call.as_bytes().to_owned())];
    let mut reading = Reading { list: Vec::new(), bytes: 0, results };
    for input in inputs {
        reading.add(&input.path, Path::new(""), input.is_script)?;
    }
    list.append(&mut reading.list);
    Some(key(&list))
}

struct Reading<'a> {
    list: Vec<(String, Vec<u8>)>,
    bytes: u64,
    results: &'a [PathBuf],
}

impl Reading<'_> {
    fn add(&mut self, path: &Path, name: &Path, is_script: bool) -> Option<()> {
        let metadata = path.symlink_metadata().ok()?;
        // The recipe names the top itself, which may be a link.
        let is_top = name.as_os_str().is_empty();
        let metadata = if is_top { path.metadata().ok()? } else { metadata };
        let mode = metadata.permissions().mode();
        let kind = metadata.file_type();
        let mut what = format!("{mode:o} ");
        if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(path)
                .ok()?
                .map(|e| e.map(|e| e.file_name()))
                .collect::<Result<_, _>>()
                .ok()?;
            names.sort();
            for entry in names {
                let below = path.join(&entry);
                if !is_script || !self.results.contains(&below) && !is_unfinished(&below) {
                    self.add(&below, &name.join(&entry), is_script)?;
                }
            }
        } else if kind.is_symlink() {
            what.push_str(fs::read_link(path).ok()?.to_str()?);
        } else if kind.is_file() {
            self.bytes += metadata.len();
            if is_script && self.bytes > MOST_BYTES {
                return None;
            }
            what.push_str(&sum(path).ok()?.1);
        } else {
            return None;
        }
        self.list.push((hex(name.as_os_str().as_encoded_bytes()), what.into_bytes()));
        (!is_script || self.list.len() <= MOST_FILES).then_some(())
    }
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".part") || name.contains(".part.")
}
