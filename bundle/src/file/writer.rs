//! Makes a bundle.
//!
//! The bundler brings the images. The same input always gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use image_layout::{Disk, FileDisk};

use crate::file::footer::Footer;
use crate::file::payload::{frame, hash_ranges};
use crate::image::aside::Aside;
use crate::image::squashfs::padded;
use crate::image::{chunk, cut};
use crate::trust::signature;
use crate::value::limits;
use crate::{
    BundleError, BundleInfo, Image, ImageName, Manifest, ROOT_CHUNKS, SecretKey, Sha256,
    SlotChunks, StoredFile, StoredSquashfs, Update, Verity,
};

/// The parts of a new bundle.
#[derive(Debug)]
pub struct BundleWriter<'a> {
    /// `[update]`
    pub update: Update,
    /// The images: `boot`, `root` and any `x-` ones. `root` has a [`Verity`].
    pub images: Vec<ImageInput<'a>>,
    /// `[meta.NAME]`
    pub meta: BTreeMap<String, BTreeMap<String, String>>,
    /// The keys that sign: 1 to [`limits::SIGNATURES`].
    pub keys: &'a [SecretKey],
}

/// An image that goes into a bundle. Its file there is called `NAME.img`.
#[derive(Debug)]
pub struct ImageInput<'a> {
    /// Its name.
    pub name: ImageName,
    /// The file of the image. Its size is a positive multiple of [`limits::BLOCK`].
    pub path: &'a Path,
    /// The image's dm-verity tree, which the image already contains.
    pub verity: Option<Verity>,
}

impl BundleWriter<'_> {
    /// Writes the bundle beside `out`, syncs it and renames it. So `out` is the whole bundle, or
    /// what it was before.
    ///
    /// # Errors
    /// An image cannot be read or is unfit (the message says why), or `out` cannot be written.
    pub fn write(&self, out: &Path) -> Result<Manifest, BundleError> {
        let mut inputs: Vec<&ImageInput<'_>> = self.images.iter().collect();
        inputs.sort_by_key(|input| &input.name);
        let mut squashfs = StoredSquashfs::new();
        for input in &inputs {
            let size = input.path.metadata().map_err(BundleError::file("read", input.path))?.len();
            if size == 0 || size % limits::BLOCK != 0 {
                let path = input.path.display();
                let why = format!(
                    "{path} is {size} bytes; pad image {} to a multiple of 4096",
                    input.name
                );
                return Err(BundleError::Input(why));
            }
            squashfs.add_file(&format!("{}.img", input.name), input.path)?;
        }
        let mut aside = Aside::create(out)?;
        let files = squashfs.write(aside.file())?;

        // The hashes are of the bytes that were written, not of the bytes that were read. The page
        // cache still has them, and nothing changes between.
        let disk =
            FileDisk::open_read_only(aside.partial()).map_err(BundleError::file("read", out))?;
        let size = padded(disk.size().map_err(BundleError::file("read", out))?);
        let lengths = cuts(&inputs)?;
        let mut tables = Vec::new();
        let mut images = BTreeMap::new();
        for ((input, file), cuts) in inputs.into_iter().zip(files).zip(lengths) {
            let StoredFile { name: filename, offset, size } = file;
            let sha256 = hash_ranges(&disk, std::iter::once(offset..offset + size))?;
            let table = chunk::encode(&chunk::hash(&disk, offset, &cuts.lengths)?);
            if cuts.table.is_some_and(|expected| expected != table) {
                return Err(not_of_this_root());
            }
            let count = cuts.lengths.len() as u32; // the table fits into 1 MiB
            let (chunks_sha256, verity) = (Sha256::of(&table), input.verity);
            let image =
                Image { filename, offset, size, sha256, chunks: count, chunks_sha256, verity };
            images.insert(input.name.clone(), image);
            tables.extend(table);
        }
        let frame_sha256 = hash_ranges(&disk, frame(images.values(), size))?;
        let bundle = BundleInfo { format: limits::FORMAT, size, frame_sha256 };
        let manifest =
            Manifest { update: self.update.clone(), bundle, images, meta: self.meta.clone() };
        manifest.check()?;
        let tail = sign(&manifest.to_ini(), &tables, size, self.keys)?;
        aside.file().write_all(&tail).map_err(BundleError::file("write", out))?;
        aside.finish()?;
        Ok(manifest)
    }
}

/// Returns the tail of a bundle whose SquashFS has `squashfs` bytes.
pub(crate) fn sign(
    ini: &str,
    tables: &[u8],
    squashfs: u64,
    keys: &[SecretKey],
) -> Result<Vec<u8>, BundleError> {
    if ini.len() > limits::MANIFEST {
        return Err(BundleError::Input(
            "the manifest is larger than 64 KiB; shorten its texts".to_owned(),
        ));
    }
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(ini.as_bytes())).collect();
    let signatures = signature::encode(&signatures)?;
    let len = tables.len() + ini.len() + signatures.len() + limits::FOOTER;
    let file = squashfs + len as u64;
    let (tables_len, manifest) = (tables.len(), ini.len());
    let footer =
        Footer { file, squashfs, tables: tables_len, manifest, signatures: signatures.len() };
    let footer = footer.encode(&signatures)?;
    Ok([tables, ini.as_bytes(), &signatures, &footer].concat())
}

/// How an image is cut.
#[derive(Default)]
struct Cuts {
    lengths: Vec<u32>,
    /// The table that the boot image carries for this image, if it does. The bundle's table must
    /// equal it.
    table: Option<Vec<u8>>,
}

/// Returns how each image is cut; see [`cut`].
fn cuts(inputs: &[&ImageInput<'_>]) -> Result<Vec<Cuts>, BundleError> {
    let mut cuts: BTreeMap<&str, Cuts> = BTreeMap::new();
    let size = |input: &ImageInput<'_>| -> Result<u64, BundleError> {
        Ok(input.path.metadata().map_err(BundleError::file("read", input.path))?.len())
    };
    let find = |name: &str| inputs.iter().find(|input| input.name.as_str() == name);
    if let Some(input) = find(ImageName::ROOT) {
        let lengths = cut::cut(size(input)?, &BTreeSet::new(), cut::ROOT);
        cuts.insert(ImageName::ROOT, Cuts { lengths, table: None });
    }
    if let Some(input) = find(ImageName::BOOT) {
        let size = size(input)?;
        let disk =
            FileDisk::open_read_only(input.path).map_err(BundleError::file("read", input.path))?;
        // A boot image that is no SquashFS (in tests) is cut like any other image.
        let files = match StoredSquashfs::list(&disk) {
            Err(BundleError::Squashfs(_)) => Vec::new(),
            files => files?,
        };
        let lengths = cut::cut(size, &SlotChunks::boot_boundaries(&disk, &files)?, cut::BOOT);
        cuts.insert(ImageName::BOOT, Cuts { lengths, table: None });
        if let Some(root) = cuts.get_mut(ImageName::ROOT)
            && files.iter().any(|file| file.name.as_str() == ROOT_CHUNKS)
        {
            let table = StoredSquashfs::read_file(&disk, ROOT_CHUNKS)?;
            let size = root.lengths.iter().map(|len| u64::from(*len)).sum();
            let chunks = chunk::decode(&table, size).map_err(|_| not_of_this_root())?;
            *root = Cuts {
                lengths: chunks.iter().map(|chunk| chunk.len).collect(),
                table: Some(table),
            };
        }
    }
    let taken: usize = cuts.values().map(|cuts| cuts.lengths.len()).sum();
    let others = || {
        inputs
            .iter()
            .filter(|input| ![ImageName::BOOT, ImageName::ROOT].contains(&input.name.as_str()))
    };
    let sizes: Vec<u64> = others().map(|input| size(input)).collect::<Result<_, _>>()?;
    let total: u64 = sizes.iter().sum();
    for (input, size) in others().zip(sizes) {
        let room = cut::ALL.saturating_sub(taken) as u64 * size / total.max(1);
        let lengths = cut::cut(size, &BTreeSet::new(), room as usize); // at most `cut::ALL`
        cuts.insert(input.name.as_str(), Cuts { lengths, table: None });
    }
    Ok(inputs.iter().map(|input| cuts.remove(input.name.as_str()).unwrap_or_default()).collect())
}

fn not_of_this_root() -> BundleError {
    BundleError::Input(format!(
        "{ROOT_CHUNKS} in image boot is not the chunk table of image root; make both images anew, \
            together"
    ))
}
