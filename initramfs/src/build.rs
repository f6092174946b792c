//! The initramfs as two archives: the program, and the modules with their index.
//!
//! `modules` and `wanted` say which modules go in. The kernel keeps what it unpacks last, so the
//! modules' archive is the second.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{self, Archive};
use crate::error::BuildError;
use crate::index::{self, Entry, Index};
use crate::stripping;

/// Where the modules and the index of them lie inside the initramfs.
pub const MODULE_DIR: &str = "lib/modules";
/// Where the kernel looks for firmware inside the initramfs.
pub const FIRMWARE_DIR: &str = "lib/firmware";

/// A kernel module that goes into the initramfs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// The module's name as the kernel says it: with `_`, without `.ko`.
    pub name: String,
    /// The module's path relative to `/lib/modules/VERSION`, as `modules.dep` has it. It is only
    /// for messages.
    pub path: String,
    /// Names of the modules that must be loaded before this one, in that order.
    pub deps: Vec<String>,
    /// Patterns of the devices that the module drives, as in `modules.alias`.
    pub aliases: Vec<String>,
    /// The unpacked ELF file (not `.ko.xz`).
    pub ko_bytes: Vec<u8>,
    /// True keeps its signature, and with that its types for BPF. False lets [`build`] strip it.
    pub signed: bool,
    /// The firmware files that it asks the kernel for: the name below [`FIRMWARE_DIR`], with the
    /// ending of a packed file, and the content.
    pub firmware: Vec<(String, Vec<u8>)>,
}

/// The input of [`build`]. The same input gives the same bytes.
#[derive(Clone, Debug)]
pub struct InitramfsInput<'a> {
    /// The static program `daruma-init`.
    pub init: &'a [u8],
    /// The modules, in any order. The dependencies must be among them.
    pub modules: Vec<Module>,
    /// `SOURCE_DATE_EPOCH` in seconds: the time of every file.
    pub epoch: u64,
}

/// Returns the initramfs: two newc archives, each one zstd frame ([`archive::compress`]).
///
/// The first holds `/init` and the two device nodes that a process has before `/dev` is mounted.
/// The second holds `/lib/modules/NAME.ko`, the [`Index`] of the modules, and their firmware below
/// `/lib/firmware`. An update of the kernel changes only the second.
pub fn build(input: &InitramfsInput<'_>) -> Result<Vec<u8>, BuildError> {
    archive::compress(&archives(input)?)
}

/// Returns the archives of [`build`], for a caller that compresses them itself.
pub fn archives(input: &InitramfsInput<'_>) -> Result<Vec<Vec<u8>>, BuildError> {
    let mut program = Archive::new(input.epoch)?;
    program.file("init", 0o755, input.init)?;
    program.char_device("dev/console", 0o600, (5, 1))?;
    program.char_device("dev/null", 0o666, (1, 3))?;
    let mut modules = Archive::new(input.epoch)?;
    add_modules(&mut modules, &input.modules, &[])?;
    Ok(vec![program.finish()?, modules.finish()?])
}

/// Puts the modules, their index and their firmware into the archive. Another archive brings the
/// modules of `present` and their firmware. The index names these modules too.
pub(crate) fn add_modules(
    archive: &mut Archive,
    modules: &[Module],
    present: &[Module],
) -> Result<(), BuildError> {
    let mut all: Vec<(&Module, bool)> = modules
        .iter()
        .map(|module| (module, true))
        .chain(present.iter().map(|m| (m, false)))
        .collect();
    all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let names: BTreeSet<&str> = all.iter().map(|(module, _)| module.name.as_str()).collect();
    if let Some(pair) = all.windows(2).find(|pair| pair[0].0.name == pair[1].0.name) {
        return Err(BuildError::Twice(pair[0].0.name.clone()));
    }
    let mut index = Index::default();
    for (module, is_new) in all {
        for dependency in &module.deps {
            if !names.contains(dependency.as_str()) {
                return Err(BuildError::Missing {
                    module: module.name.clone(),
                    dependency: dependency.clone(),
                });
            }
        }
        let mut words = module.aliases.iter().chain([&module.name]);
        if let Some(bad) = words.find(|word| word.is_empty() || word.contains(char::is_whitespace))
        {
            return Err(BuildError::Name(bad.clone()));
        }
        if is_new {
            let stripped = stripping::strip(&module.ko_bytes)
                .ok_or_else(|| BuildError::NotElf(module.path.clone()))?;
            let bytes = if module.signed { &module.ko_bytes } else { &stripped };
            archive.file(&format!("{MODULE_DIR}/{}.ko", module.name), 0o644, bytes)?;
        }
        let entry = Entry { deps: module.deps.clone(), aliases: module.aliases.clone() };
        index.modules.insert(module.name.clone(), entry);
    }
    archive.file(&format!("{MODULE_DIR}/{}", index::FILE), 0o644, index.to_text().as_bytes())?;
    let is_present = |name: &String| {
        present.iter().flat_map(|module| &module.firmware).any(|(other, _)| other == name)
    };
    let firmware: BTreeMap<_, _> = modules
        .iter()
        .flat_map(|module| &module.firmware)
        .filter(|(name, _)| !is_present(name))
        .map(|(name, content)| (name, content))
        .collect();
    for (name, content) in firmware {
        archive.file(&format!("{FIRMWARE_DIR}/{name}"), 0o644, content)?;
    }
    Ok(())
}
