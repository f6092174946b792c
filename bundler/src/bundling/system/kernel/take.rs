//! Takes the kernel out of the tree for the boot image. Keeps the modules that the recipe wants,
//! and unpacks them.
//!
//! The crate `initramfs` knows which modules the initramfs needs. `firmware` and `microcode` take
//! what the modules and the processors load.
//!
//! Debian packs each module as `.ko.xz`. SquashFS would keep such a file as it is, and one changed
//! byte would change the whole file in an update. SquashFS compresses an unpacked module in blocks.
//! The size is about the same (76.1 against 75.2 MB for a router).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use initramfs::modules::{ModuleTree, name_of_path};
use initramfs::stripping;

use crate::bundling::system::kernel::firmware::{self, Named};
use crate::bundling::system::kernel::modinfo::{ModInfo, normal};
use crate::bundling::system::kernel::{microcode, module_index, module_sets};
use crate::bundling::tree::{Content, Inode, Kind, Tree, glob};
use crate::host::processors;
use crate::host::progress::Progress;
use crate::host::tool;
use crate::recipe::{self, Firmware, Pattern};

const MODULES: &str = "usr/lib/modules";
/// Files beside the modules that depmod reads. depmod writes the other files.
const DEPMOD_INPUT: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// A file that only newer releases of depmod write. Only makers of an initrd read it.
const FOR_INITRD: &str = "modules.weakdep";

/// The kernel of an image.
#[derive(Debug)]
pub struct KernelImage {
    /// For instance `6.12.48+deb13-amd64`.
    pub version: String,
    /// The bootable file.
    pub vmlinuz: Vec<u8>,
    /// The modules of the initramfs.
    pub initramfs_modules: Vec<initramfs::Module>,
    /// The modules that recovery needs in addition.
    pub recovery_modules: Vec<initramfs::Module>,
    /// The number of modules in the image, and in Debian's package.
    pub modules: (usize, usize),
    /// The archive of microcode, which goes in front of the initramfs.
    pub microcode: Option<Vec<u8>>,
    /// Bytes of the firmware files in the image.
    pub firmware_bytes: u64,
    /// The firmware files that modules of the image name and the image does not have.
    pub missing_firmware: Named,
}

/// Takes the kernel out of /boot and replaces its modules in the tree.
///
/// # Errors
/// There is no kernel or more than one. A pattern of the recipe matches no module. A module cannot
/// be unpacked. depmod is missing (package kmod) or fails. The microcode that the recipe asks for
/// is missing or damaged.
pub fn take(tree: &mut Tree, settings: &recipe::Kernel, epoch: u32) -> Result<KernelImage> {
    let version = find(tree)?;
    let microcode = microcode::take(tree, &settings.microcode, epoch)?;
    let vmlinuz = tree.read(&format!("boot/vmlinuz-{version}"))?;
    let base = format!("{MODULES}/{version}");
    let available = available(tree, &base);
    let builtin_text = String::from_utf8(tree.read(&format!("{base}/modules.builtin"))?)?;
    let builtin: BTreeSet<String> = builtin_text.lines().map(name_of_path).collect();

    let mut wanted = chosen(settings, &available, &builtin, &version)?;
    // Before depmod has run, the index knows which modules exist, but not what they need.
    let names: String = available.values().map(|path| format!("{path}:\n")).collect();
    let early = initramfs::wanted::recovery_for(&ModuleTree::parse(&names, "", &builtin_text, ""));
    wanted.extend(early.into_iter().map(normal));

    let total = available.len();
    let unpacked = Unpacked::new(tree, &available, wanted, &version, settings)?;
    let index = unpacked.depmod(tree, &base, &version)?;
    let select = |wanted: &[&str]| -> Result<Vec<initramfs::Module>> {
        initramfs::modules::select(&index, wanted)?
            .into_iter()
            .map(|selected| {
                let ko_bytes = unpacked
                    .modules
                    .get(&selected.name)
                    .context("a module without a file")?
                    .1
                    .read()?;
                let initramfs::modules::Selected { name, path, deps, aliases } = selected;
                let signed = settings.signatures && settings.btf && settings.unwind;
                let names = ModInfo::parse(&ko_bytes).unwrap_or_default().firmware;
                let firmware = firmware::contents(tree, &version, &names)?;
                Ok(initramfs::Module { name, path, deps, aliases, ko_bytes, signed, firmware })
            })
            .collect()
    };
    let initramfs_modules = select(&initramfs::wanted::default_for(&index))?;
    let mut recovery_modules = select(&initramfs::wanted::recovery_for(&index))?;
    recovery_modules
        .retain(|module| !initramfs_modules.iter().any(|other| other.name == module.name));

    let modules = (unpacked.modules.len(), total);
    unpacked.replace(tree, &base, epoch)?;
    let named = firmware::named(tree, &version)?;
    if settings.firmware == Firmware::Auto {
        firmware::keep_named(tree, &version, &named)?;
    }
    Ok(KernelImage {
        initramfs_modules,
        recovery_modules,
        modules,
        microcode,
        firmware_bytes: firmware::bytes(tree),
        missing_firmware: firmware::missing(tree, &version, &named),
        vmlinuz,
        version,
    })
}

/// Returns the firmware files that modules name and a tree does not have. The tree is that of a
/// bundle, or one that [`take`] would take; then the modules count that the recipe keeps.
///
/// # Errors
/// Those of [`take`], or the tree has no modules.
pub fn missing_firmware(mut tree: Tree, settings: &recipe::Kernel) -> Result<Named> {
    if tree.below("boot").any(|path| path.starts_with("boot/vmlinuz-")) {
        return Ok(take(&mut tree, settings, 0)?.missing_firmware);
    }
    let version = tree.below(MODULES).find_map(|path| path.strip_prefix(MODULES)?.get(1..));
    let version = version.context("it has no kernel modules")?.to_owned();
    Ok(firmware::missing(&tree, &version, &firmware::named(&tree, &version)?))
}

fn find(tree: &Tree) -> Result<String> {
    let names: BTreeSet<&str> =
        tree.below("boot").filter_map(|path| path.strip_prefix("boot/vmlinuz-")).collect();
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            bail!(
                "the root filesystem has no kernel (/boot/vmlinuz-*); add linux-image-amd64 to \
                    the recipe"
            )
        }
        many => bail!(
            "the root filesystem has more than one kernel ({}); an image has one",
            many.join(", ")
        ),
    }
}

/// Returns the name of each module → its path below the version's folder.
fn available(tree: &Tree, base: &str) -> BTreeMap<String, String> {
    let is_module = |path: &str| [".ko", ".ko.xz"].iter().any(|end| path.ends_with(end));
    tree.below(base)
        .filter(|path| is_module(path))
        .filter_map(|path| path.strip_prefix(base)?.strip_prefix('/'))
        .map(|path| (name_of_path(path), path.to_owned()))
        .collect()
}

/// Returns the modules that the recipe's patterns and sets name.
fn chosen(
    settings: &recipe::Kernel,
    available: &BTreeMap<String, String>,
    builtin: &BTreeSet<String>,
    version: &str,
) -> Result<BTreeSet<String>> {
    let Some(patterns) = &settings.modules else { return Ok(available.keys().cloned().collect()) };
    let mut wanted = BTreeSet::new();
    for Pattern { text, place } in patterns {
        let (exclude, pattern) =
            text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
        let by_path = pattern.contains('/');
        let name_pattern = normal(pattern);
        let hits: Vec<&String> = available
            .iter()
            .filter(|(name, path)| {
                if by_path {
                    glob::matches(pattern, path)
                } else {
                    glob::matches(&name_pattern, name)
                }
            })
            .map(|(name, _)| name)
            .collect();
        let built_in = !by_path && builtin.iter().any(|name| glob::matches(&name_pattern, name));
        if hits.is_empty() && !built_in {
            bail!(place.error(format_args!(
                "`modules: {text}` matches no module of the kernel {version}"
            )));
        }
        for name in hits {
            if exclude {
                wanted.remove(name);
            } else {
                wanted.insert(name.clone());
            }
        }
    }
    for pattern in settings.module_sets.iter().flat_map(|name| module_sets::patterns(name)) {
        let hits = available.iter().filter(|(_, path)| glob::matches(pattern, path));
        wanted.extend(hits.map(|(name, _)| name.clone()));
    }
    Ok(wanted)
}

/// The chosen modules, and all modules that these need, unpacked. One unnamed file holds them for
/// the tree. A folder of files holds them for depmod.
struct Unpacked {
    /// Name → path below the version's folder without `.xz`, content.
    modules: BTreeMap<String, (String, Content)>,
    dir: tempfile::TempDir,
    /// The folder of the modules' files, in which depmod also writes its files.
    folder: std::path::PathBuf,
}

impl Unpacked {
    fn new(
        tree: &Tree,
        available: &BTreeMap<String, String>,
        wanted: BTreeSet<String>,
        version: &str,
        settings: &recipe::Kernel,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("daruma-modules-")
            .tempdir()
            .context("making a temporary folder")?;
        // kmod looks in /lib/modules or in /usr/lib/modules: that depends on how Debian built it.
        let folder = dir.path().join(MODULES).join(version);
        fs::create_dir_all(&folder)?;
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib"))?;
        let store = Arc::new(tempfile::tempfile().context("making a temporary file")?);
        let mut end = 0;
        let mut this = Self { modules: BTreeMap::new(), dir, folder };
        let progress = Progress::steps("Unpacking kernel modules", wanted.len() as u64);
        let mut queue: VecDeque<String> = wanted.into_iter().collect();
        while !queue.is_empty() {
            let mut batch: Vec<(String, &String)> = Vec::new();
            for name in queue.drain(..queue.len().min(BATCH)) {
                if let Some(path) = available.get(&name)
                    && !this.modules.contains_key(&name)
                {
                    batch.push((name, path));
                }
            }
            let module = |(_, path): &(String, &String)| -> Result<(ModInfo, Vec<u8>)> {
                let mut bytes = unpack(tree, &format!("{MODULES}/{version}/{path}"))?;
                let info = ModInfo::parse(&bytes)
                    .with_context(|| format!("{path} is not a kernel module"))?;
                let no_elf = || format!("{path} is no 64-bit ELF file");
                if !settings.btf {
                    bytes = stripping::strip(&bytes).with_context(no_elf)?;
                }
                if !settings.unwind {
                    bytes = stripping::without_unwind(&bytes).with_context(no_elf)?;
                }
                Ok((info, bytes))
            };
            let unpacked = processors::map(&batch, module)?;
            for ((name, path), (info, bytes)) in batch.into_iter().zip(unpacked) {
                if this.modules.contains_key(&name) {
                    continue;
                }
                queue.extend(info.depends.into_iter().chain(info.soft));
                let path = path.strip_suffix(".xz").unwrap_or(path).to_owned();
                let file = this.folder.join(&path);
                fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
                fs::write(&file, &bytes).with_context(|| format!("writing {}", file.display()))?;
                (&*store).write_all(&bytes).context("writing a temporary file")?;
                let len = bytes.len() as u64;
                this.modules
                    .insert(name, (path, Content::Span { file: store.clone(), offset: end, len }));
                end += len;
                progress.advance(1);
            }
        }
        progress.done(&format!("{} of {}", this.modules.len(), available.len()));
        Ok(this)
    }

    /// Makes depmod write the indexes, and reads them.
    fn depmod(&self, tree: &Tree, base: &str, version: &str) -> Result<ModuleTree> {
        for name in DEPMOD_INPUT {
            if let Ok(bytes) = tree.read(&format!("{base}/{name}")) {
                fs::write(self.folder.join(name), bytes)?;
            }
        }
        tool::run(tool::command("depmod").arg("-b").arg(self.dir.path()).arg(version))?;
        let text = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        Ok(ModuleTree::parse(
            &text("modules.dep"),
            &text("modules.alias"),
            &text("modules.builtin"),
            &text("modules.softdep"),
        ))
    }

    fn replace(self, tree: &mut Tree, base: &str, epoch: u32) -> Result<()> {
        // A leftover /usr/lib/modules/VERSION/build is a link to headers that are not there.
        tree.remove(base);
        tree.ensure_dir(base);
        for (path, content) in self.modules.into_values() {
            tree.insert(&format!("{base}/{path}"), Inode::new(Kind::File(content), 0o644, epoch));
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Some(name) = entry.file_name().to_str()
                && name != FOR_INITRD
            {
                let mut bytes = Vec::new();
                File::open(entry.path())?.read_to_end(&mut bytes)?;
                if name.ends_with(".bin") {
                    bytes = module_index::rewritten(&bytes)
                        .with_context(|| format!("reading {name}, which depmod has written"))?;
                }
                tree.put(&format!("{base}/{name}"), 0o644, bytes);
            }
        }
        Ok(())
    }
}

/// Number of modules that are unpacked at a time. They are all in memory then, 5 MB at most each.
const BATCH: usize = 64;

fn unpack(tree: &Tree, path: &str) -> Result<Vec<u8>> {
    let packed = tree.read(path)?;
    if !path.ends_with(".xz") {
        return Ok(packed);
    }
    let mut bytes = Vec::new();
    liblzma::read::XzDecoder::new(&*packed)
        .read_to_end(&mut bytes)
        .with_context(|| format!("unpacking {path}"))?;
    Ok(bytes)
}
