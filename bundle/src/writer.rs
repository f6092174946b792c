//! Making a bundle. The same input always gives the same bytes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use image_layout::{Disk, FileDisk};
use sha2::Digest;

use crate::aside::Aside;
use crate::footer::Footer;
use crate::payload::{frame, hash_ranges};
use crate::squashfs::padded;
use crate::{
    BundleError, BundleInfo, Chunk, Image, ImageName, Manifest, SecretKey, Sha256, StoredFile,
    StoredSquashfs, Update, Verity, chunk, limits, signature,
};

/// What is to become a bundle.
#[derive(Debug)]
pub struct BundleWriter<'a> {
    /// `[update]`
    pub update: Update,
    /// The images: `boot` and `root`, which has a [`Verity`], and any `x-` ones.
    pub images: Vec<ImageInput<'a>>,
    /// `[meta.NAME]`
    pub meta: BTreeMap<String, BTreeMap<String, String>>,
    /// Who signs: 1 to [`limits::SIGNATURES`] keys.
    pub keys: &'a [SecretKey],
}

/// An image on its way into a bundle, where its file will be called `NAME.img`.
#[derive(Debug)]
pub struct ImageInput<'a> {
    /// Its name.
    pub name: ImageName,
    /// Where its bytes are: a positive multiple of [`limits::BLOCK`].
    pub path: &'a Path,
    /// Its dm-verity tree, which it already contains.
    pub verity: Option<Verity>,
}

impl BundleWriter<'_> {
    /// Writes the bundle beside `out`, syncs it and renames it: `out` is the whole bundle or what it was before.
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
                let why = format!("{path} is {size} bytes; pad image {} to a multiple of 4096", input.name);
                return Err(BundleError::Input(why));
            }
            squashfs.add_file(&format!("{}.img", input.name), input.path)?;
        }
        let mut aside = Aside::create(out)?;
        let files = squashfs.write(aside.file())?;

        // Hash what has been written, not what was read: the page cache has it, and nothing comes between.
        let disk = FileDisk::open_read_only(aside.partial()).map_err(BundleError::file("read", out))?;
        let size = padded(disk.size().map_err(BundleError::file("read", out))?);
        let total = files.iter().map(|file| file.size).sum();
        let mut tables = Vec::new();
        let mut images = BTreeMap::new();
        for (input, file) in inputs.into_iter().zip(files) {
            let (sha256, chunks) = hash_image(&disk, &file, total)?;
            let table = chunk::encode(&chunks);
            let StoredFile { name: filename, offset, size } = file;
            let count = chunks.len() as u32; // the table fits into 1 MiB
            let (chunks_sha256, verity) = (Sha256::of(&table), input.verity);
            let image = Image { filename, offset, size, sha256, chunks: count, chunks_sha256, verity };
            images.insert(input.name.clone(), image);
            tables.extend(table);
        }
        let frame_sha256 = hash_ranges(&disk, frame(images.values(), size))?;
        let bundle = BundleInfo { format: limits::FORMAT, size, frame_sha256 };
        let manifest = Manifest { update: self.update.clone(), bundle, images, meta: self.meta.clone() };
        manifest.check()?;
        let tail = sign(&manifest.to_ini(), &tables, size, self.keys)?;
        aside.file().write_all(&tail).map_err(BundleError::file("write", out))?;
        aside.finish()?;
        Ok(manifest)
    }
}

/// Everything behind a SquashFS of `squashfs` bytes.
pub(crate) fn sign(
    ini: &str,
    tables: &[u8],
    squashfs: u64,
    keys: &[SecretKey],
) -> Result<Vec<u8>, BundleError> {
    if ini.len() > limits::MANIFEST {
        return Err(BundleError::Input("the manifest is larger than 64 KiB; shorten its texts".to_owned()));
    }
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(ini.as_bytes())).collect();
    let signatures = signature::encode(&signatures)?;
    let len = tables.len() + ini.len() + signatures.len() + limits::FOOTER;
    let file = squashfs + len as u64;
    let (tables_len, manifest) = (tables.len(), ini.len());
    let footer = Footer { file, squashfs, tables: tables_len, manifest, signatures: signatures.len() };
    let footer = footer.encode(&signatures)?;
    Ok([tables, ini.as_bytes(), &signatures, &footer].concat())
}

/// The hash of an image as a whole, and its chunks. `total` is the size of all images, bytes.
fn hash_image(disk: &impl Disk, file: &StoredFile, total: u64) -> Result<(Sha256, Vec<Chunk>), BundleError> {
    let mut whole = sha2::Sha256::new();
    let mut chunks = Vec::new();
    let mut buf = Vec::new();
    let mut offset = 0;
    for len in chunk::cut(file.size, total) {
        buf.resize(len as usize, 0);
        disk.read_at(&mut buf, file.offset + offset).map_err(BundleError::read("the bundle just written"))?;
        whole.update(&buf);
        chunks.push(Chunk { offset, len, sha256: Sha256::of(&buf) });
        offset += u64::from(len);
    }
    Ok((Sha256::finish(whole), chunks))
}
