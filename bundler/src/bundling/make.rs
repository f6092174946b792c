//! Makes a signed bundle from the tar of a root filesystem.
//!
//! Each step is in a file of its own, and this file calls the steps in order. The bundle has a root
//! image with its dm-verity tree, and a boot image with kernel and initramfs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bundle::{
    BuildId, BundleWriter, Compatible, ImageInput, ImageName, Manifest, ROOT_CHUNKS, SecretKey,
    SlotChunks, StoredSquashfs, Update, Verity,
};
use image_layout::{Amount, FileDisk};
use initramfs::recovery;
use semver::Version;
use sha2::{Digest, Sha256};

use crate::bundling::accounts::{self, Previous};
use crate::bundling::layout;
use crate::bundling::squash::before::Before;
use crate::bundling::squash::{self, blocks, facts, verity};
use crate::bundling::system::clean::{self, PACKAGE_DATABASE};
use crate::bundling::system::device::trusted::Trusted;
use crate::bundling::system::device::{self, DevicePrograms};
use crate::bundling::system::first_boot;
use crate::bundling::system::kernel::{self, KernelImage, firmware};
use crate::bundling::system::secrets;
use crate::bundling::system::without;
use crate::bundling::tree::{Kind, Tree, tar};
use crate::host::cache::{self, Cache, hex};
use crate::host::processors;
use crate::host::progress::Progress;
use crate::recipe::{BundleSettings, Firmware, Recipe};

/// Bytes of a dm-verity block.
const BLOCK: u64 = 4096;

/// The input of a bundle.
#[derive(Debug)]
pub struct Bundling<'a> {
    /// The recipe that the root filesystem was built from.
    pub recipe: &'a Recipe,
    /// The tar of the root filesystem.
    pub rootfs: &'a Path,
    /// The keys that sign, each once.
    pub keys: &'a [SecretKey],
    /// The keys that the device will accept.
    pub trusted: &'a Trusted,
    /// Version of the system.
    pub version: &'a Version,
    /// The accounts of the bundle that devices run now. Theirs must keep their numbers.
    pub previous: Option<&'a Previous>,
    /// The agent and the program of the initramfs.
    pub programs: DevicePrograms,
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub epoch: u64,
    /// Keeps what takes long to compress.
    pub cache: Option<&'a Cache>,
}

impl Bundling<'_> {
    /// Writes the bundle. Large intermediate files lie beside it until it is done.
    ///
    /// # Errors
    /// A system account has another number than before ([`accounts::OtherNumbers`]). The root
    /// filesystem has no kernel or has a secret, a host tool is missing or fails, or a file cannot
    /// be written.
    pub fn write(self, out: &Path) -> Result<Manifest> {
        let settings = self.recipe.bundle()?;
        let epoch = u32::try_from(self.epoch)
            .context("SOURCE_DATE_EPOCH does not fit into SquashFS's 32 bits")?;
        let tar::Loaded { mut tree, left_out } = tar::load(self.rootfs, epoch)?;
        for attribute in &left_out {
            eprintln!(
                "warning: SquashFS cannot hold the extended attribute {attribute}; it is left out"
            );
        }
        if let Some(previous) = self.previous {
            accounts::compare(previous, &tree)?;
        }
        let kernel = kernel::take(&mut tree, &self.recipe.kernel, epoch)?;
        let KernelImage {
            version: kernel_version,
            vmlinuz,
            initramfs_modules,
            recovery_modules,
            modules,
            microcode,
            firmware_bytes,
            missing_firmware,
        } = kernel;
        let is_auto = self.recipe.kernel.firmware == Firmware::Auto;
        let missing_firmware = if is_auto { missing_firmware } else { firmware::Named::new() };
        for (module, names) in &missing_firmware {
            eprintln!("Firmware: {module} misses {}", names.join(", "));
        }
        device::add(&mut tree, self.programs.agent, self.trusted)?;
        device::add_health_units(&mut tree, &settings.health_units);
        let identity = format!(
            "set daruma_compatible={}\nset daruma_version={}\nset daruma_min_version={}\n",
            settings.compatible, self.version, settings.min_version
        );
        let recovery = initramfs::recovery::archives(&initramfs::recovery::RecoveryInput {
            agent: &self.programs.recovery_agent,
            present: &initramfs_modules,
            modules: &recovery_modules,
            files: &device::recovery_files(&tree, identity)?,
            epoch: self.epoch,
        })?;
        let initrd = initramfs::archives(&initramfs::InitramfsInput {
            init: &self.programs.init,
            modules: initramfs_modules,
            epoch: self.epoch,
        })?;
        // To compress takes seconds of some processors, and to hash the tree some of another one.
        let (packed, hashed) = std::thread::scope(|scope| {
            let packing = scope.spawn(|| pack_initramfs(self.cache, &initrd, &recovery));
            let hashed = without::leave_out(&mut tree, &settings.without)
                .and_then(|()| clean::clean(&mut tree, settings))
                .and_then(|()| secrets::settle(&mut tree, self.recipe))
                .and_then(|()| clean::forget_disk(&mut tree, self.recipe))
                .and_then(|()| first_boot::settle(&mut tree))
                .and_then(|()| hash_of(&tree));
            let dead = |_| bail!("compressing the initramfs: a thread died");
            (packing.join().unwrap_or_else(dead), hashed)
        });
        let ((initrd, recovery), hash) = (packed?, hashed?);
        let initrd_bytes = initrd.len();
        let microcode_bytes = microcode.as_ref().map_or(0, Vec::len);
        eprintln!(
            "Initramfs: {}, recovery: {}, firmware: {}, microcode: {}",
            Amount(initrd_bytes as u64),
            Amount(recovery.len() as u64),
            Amount(firmware_bytes),
            Amount(microcode_bytes as u64)
        );
        let initrd = match microcode {
            Some(microcode) => initramfs::archive::join(&[microcode, initrd]),
            None => initrd,
        };
        let version = self.version.to_string();
        let rest: [&[u8]; 5] =
            [&vmlinuz, &initrd, &recovery, version.as_bytes(), settings.args.as_bytes()];
        let build = build_id(hash, &rest);
        clean::name_image(&mut tree, settings, self.version, &build)?;
        device::sum_etc(&mut tree)?;
        let packages = count_packages(&tree);

        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let work = tempfile::Builder::new().prefix(".daruma-bundle-").tempdir_in(dir);
        let work =
            work.with_context(|| format!("making a temporary folder in {}", dir.display()))?;
        let (root, boot) = (work.path().join("root.img"), work.path().join("boot.img"));
        let before = Before::find(self.cache, &settings.packing, &settings.compatible);
        let packed = before.as_ref().map(|before| &before.blocks);
        squash::pack(&tree, &root, epoch, &settings.packing, packed)?;
        if let Some(before) = before {
            before.keep();
        }
        drop(tree);
        let verity = verity::append(&root)?;

        let build: BuildId = build.parse().context("the build id")?;
        let update = Update {
            compatible: settings
                .compatible
                .parse::<Compatible>()
                .context("`compatible` of the recipe")?,
            version: self.version.clone(),
            build,
            description: settings.description.clone(),
            min_version: settings.min_version.clone(),
        };
        let files = [("vmlinuz", &*vmlinuz), ("initrd", &*initrd), (recovery::FILE, &*recovery)];
        let chunks = root_chunks(&root, &verity)?;
        write_boot(&boot, files, &slot_cfg(&update, &verity, settings), chunks)?;

        let size_of = |path: &Path| fs::metadata(path).map(|m| m.len()).unwrap_or(0);
        let progress = Progress::steps(&format!("Writing {}", out.display()), 0);
        let system = BTreeMap::from([
            ("packages".to_owned(), packages.to_string()),
            ("kernel".to_owned(), kernel_version),
            ("modules".to_owned(), format!("{} of {}", modules.0, modules.1)),
            ("initramfs-bytes".to_owned(), initrd_bytes.to_string()),
            ("recovery-bytes".to_owned(), recovery.len().to_string()),
            ("firmware-bytes".to_owned(), firmware_bytes.to_string()),
            ("microcode-bytes".to_owned(), microcode_bytes.to_string()),
            ("suites".to_owned(), suites(self.recipe)),
        ]);
        let mut meta = BTreeMap::from([
            ("system".to_owned(), system),
            (layout::SECTION.to_owned(), layout::to_meta(&self.recipe.layout)),
            (facts::SECTION.to_owned(), facts::to_meta(&settings.packing)),
        ]);
        if !missing_firmware.is_empty() {
            meta.insert(firmware::SECTION.to_owned(), firmware::to_meta(&missing_firmware));
        }
        let writer = BundleWriter {
            update,
            images: vec![
                ImageInput { name: "boot".parse::<ImageName>()?, path: &boot, verity: None },
                ImageInput {
                    name: "root".parse::<ImageName>()?,
                    path: &root,
                    verity: Some(verity),
                },
            ],
            meta,
            keys: self.keys,
        };
        let manifest = writer.write(out)?;
        progress.done(&format!(
            "{} (boot {}, root {})",
            Amount(size_of(out)),
            Amount(size_of(&boot)),
            Amount(size_of(&root))
        ));
        Ok(manifest)
    }
}

/// Compresses the archives of the initramfs and of recovery on all processors. zstd's highest level
/// takes seconds for each, and most archives are those of the last bundle.
fn pack_initramfs(
    cache: Option<&Cache>,
    initrd: &[Vec<u8>],
    recovery: &[Vec<u8>],
) -> Result<(Vec<u8>, Vec<u8>)> {
    let archives: Vec<&Vec<u8>> = initrd.iter().chain(recovery).collect();
    let frames = processors::map(&archives, |archive| frame(cache, archive))?;
    let (initrd, recovery) = frames.split_at(initrd.len());
    Ok((initramfs::archive::join(initrd), initramfs::archive::join(recovery)))
}

fn frame(cache: Option<&Cache>, archive: &[u8]) -> Result<Vec<u8>> {
    let Some(cache) = cache else { return Ok(initramfs::archive::frame(archive)?) };
    let key = cache::key(&[
        ("frame".to_owned(), initramfs::archive::frame_format().into_bytes()),
        ("archive".to_owned(), archive.to_owned()),
    ]);
    if let Some(frame) = cache.find(&key).and_then(|found| fs::read(found.path).ok()) {
        return Ok(frame);
    }
    let frame = initramfs::archive::frame(archive)?;
    // A bundle is as good without a cache. `build` says that a cache is full.
    let _ = cache.begin(&key).and_then(|part| {
        fs::write(&part.path, &frame)?;
        cache.keep(part, "a part of an initramfs", "")
    });
    Ok(frame)
}

/// Begins the hash of everything that decides what a device runs, with the tree.
fn hash_of(tree: &Tree) -> Result<Sha256> {
    let mut hash = Sha256::new();
    for (path, id) in tree.iter() {
        let inode = tree.inode(id);
        put(&mut hash, path.as_bytes());
        let kind = match &inode.kind {
            Kind::File(content) => {
                let mut hash = Sha256::new();
                std::io::copy(&mut content.reader(), &mut HashWriter(&mut hash))
                    .with_context(|| format!("reading {path}"))?;
                hex(&hash.finalize())
            }
            other => format!("{other:?}"),
        };
        let rest = format!(
            "{kind} {} {} {} {} {:?}",
            inode.mode, inode.uid, inode.gid, inode.mtime, inode.xattrs
        );
        put(&mut hash, rest.as_bytes());
    }
    Ok(hash)
}

/// Returns the hash with the rest, as 16 hexadecimal digits.
fn build_id(mut hash: Sha256, rest: &[&[u8]]) -> String {
    for bytes in rest {
        put(&mut hash, bytes);
    }
    hex(&hash.finalize()[..8])
}

fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the number of installed packages in dpkg's database.
fn count_packages(tree: &Tree) -> usize {
    let status = tree.read(&format!("{PACKAGE_DATABASE}/status")).unwrap_or_default();
    status.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"Package: ")).count()
}

fn suites(recipe: &Recipe) -> String {
    let Some(bootstrap) = &recipe.bootstrap else { return String::new() };
    let extra = bootstrap.extra_suites.iter().map(String::as_str);
    std::iter::once(bootstrap.suite.as_str()).chain(extra).collect::<Vec<_>>().join(" ")
}

/// Returns the variables of a slot. grub.cfg makes the kernel command line from them
/// (docs/boot-protocol.md).
fn slot_cfg(update: &Update, verity: &Verity, settings: &BundleSettings) -> String {
    let Update { compatible, version, build, min_version, .. } = update;
    format!(
        "set daruma_compatible={compatible}\n\
         set daruma_version={version}\n\
         set daruma_build={build}\n\
         set daruma_min_version={min_version}\n\
         set daruma_verity={}:{}:{}\n\
         set daruma_args=\"{}\"\n",
        verity.hash,
        verity.salt,
        verity.size / BLOCK,
        settings.args,
    )
}

/// Returns the chunk table of the root image. The image is cut at the blocks of its SquashFS, and
/// where its dm-verity tree begins. A device computes that tree itself.
fn root_chunks(root: &Path, verity: &Verity) -> Result<Vec<u8>> {
    let mut boundaries = blocks::boundaries(root)?;
    boundaries.insert(verity.size);
    let doing = || format!("cutting {} into chunks", root.display());
    let disk = FileDisk::open_read_only(root).with_context(doing)?;
    SlotChunks::root_table(&disk, &boundaries).with_context(doing)
}

/// Writes the boot image. GRUB checks kernel and initramfs at every boot. It checks the recovery
/// archive only before it starts recovery.
fn write_boot(
    out: &Path,
    files: [(&str, &[u8]); 3],
    slot_cfg: &str,
    root_chunks: Vec<u8>,
) -> Result<()> {
    let sums = files.map(|(name, bytes)| format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
    let mut boot = StoredSquashfs::new();
    for (name, bytes) in files {
        boot.add_bytes(name, bytes)?;
    }
    boot.add_bytes("slot.cfg", slot_cfg.as_bytes())?;
    boot.add_bytes("SHA256SUMS", sums[..2].concat().into_bytes())?;
    boot.add_bytes(recovery::SUMS_FILE, sums[2].as_bytes())?;
    boot.add_bytes(ROOT_CHUNKS, root_chunks)?;
    boot.write_to(out).with_context(|| format!("writing {}", out.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_from_the_cache_is_the_frame_that_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let archive = vec![b"an archive".repeat(1000), b"another".to_vec()];
        let made = pack_initramfs(None, &archive, &archive[1..]).unwrap();
        for _ in 0..2 {
            assert!(pack_initramfs(Some(&cache), &archive, &archive[1..]).unwrap() == made);
        }
        let kept = cache.entries();
        assert_eq!(kept.len(), 2);
        // A damaged frame is made again.
        fs::write(&kept[0].path, "x").unwrap();
        assert!(pack_initramfs(Some(&cache), &archive, &archive[1..]).unwrap() == made);
    }
}
