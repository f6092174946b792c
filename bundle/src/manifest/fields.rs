//! The manifest: what a bundle is for and where its images lie.
//!
//! `ini` and `section` turn text into these fields. The signatures are on the text, not on the
//! fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use semver::Version;
use serde::Deserialize;

use crate::manifest::ini::{self, escape, unescape};
use crate::manifest::section::from_section;
use crate::value::limits;
use crate::{BuildId, Compatible, FileName, ImageName, ManifestError, Salt, Sha256};

/// A manifest whose fields are valid and agree with each other (`docs/bundle-format.md`,
/// "Manifest").
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// `[update]`
    pub update: Update,
    /// `[bundle]`
    pub bundle: BundleInfo,
    /// `[image.NAME]`, in the order in which the images and their chunk tables lie in the file.
    pub images: BTreeMap<ImageName, Image>,
    /// `[meta.NAME]`: for people and other programs.
    pub meta: BTreeMap<String, BTreeMap<String, String>>,
}

/// `[update]`: the system that the bundle brings, and the devices that it is for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Update {
    /// The kind of device.
    pub compatible: Compatible,
    /// Version of the system.
    pub version: Version,
    /// Identity of the build.
    pub build: BuildId,
    /// One or more lines for people.
    #[serde(default)]
    pub description: String,
    /// Anti-rollback floor. Once this system is committed, nothing older than the floor may be
    /// installed.
    #[serde(default = "no_floor")]
    pub min_version: Version,
}

/// `[bundle]`: the SquashFS in front of the tail.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BundleInfo {
    /// Version of the format.
    pub format: u32,
    /// Bytes of the SquashFS with its padding. The tail begins behind them.
    pub size: u64,
    /// SHA-256 of the SquashFS without the bytes of the images.
    pub frame_sha256: Sha256,
}

/// `[image.NAME]`: the content of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "RawImage")]
pub struct Image {
    /// The image's file in the SquashFS.
    pub filename: FileName,
    /// Where the image begins in the bundle, bytes; a multiple of [`limits::BLOCK`].
    pub offset: u64,
    /// The image's size, bytes; a multiple of [`limits::BLOCK`].
    pub size: u64,
    /// SHA-256 of the image as a whole. An install relies on the hashes of the chunks instead; see
    /// [`crate::Verified::verify_images`].
    pub sha256: Sha256,
    /// How many chunks the image's table has.
    pub chunks: u32,
    /// SHA-256 of the image's chunk table.
    pub chunks_sha256: Sha256,
    /// The image's dm-verity tree, which lies directly behind the data.
    pub verity: Option<Verity>,
}

/// The dm-verity tree of an image: SHA-256, 4096-byte blocks, no superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verity {
    /// Root hash.
    pub hash: Sha256,
    /// Salt.
    pub salt: Salt,
    /// Bytes of data in front of the tree.
    pub size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawImage {
    filename: FileName,
    offset: u64,
    size: u64,
    sha256: Sha256,
    chunks: u32,
    chunks_sha256: Sha256,
    verity_hash: Option<Sha256>,
    verity_salt: Option<Salt>,
    verity_size: Option<u64>,
}

/// `[hooks]` is reserved. A reader of format 1 runs no hooks, and must not skip them silently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoHooks {}

fn no_floor() -> Version {
    Version::new(0, 0, 0)
}

impl TryFrom<RawImage> for Image {
    type Error = &'static str;

    fn try_from(raw: RawImage) -> Result<Self, &'static str> {
        let verity = match (raw.verity_hash, raw.verity_salt, raw.verity_size) {
            (Some(hash), Some(salt), Some(size)) => Some(Verity { hash, salt, size }),
            (None, None, None) => None,
            _ => {
                return Err("verity-hash, verity-salt and verity-size come together or not at all");
            }
        };
        let RawImage { filename, offset, size, sha256, chunks, chunks_sha256, .. } = raw;
        Ok(Self { filename, offset, size, sha256, chunks, chunks_sha256, verity })
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The text is not a manifest of format 1, or its fields contradict each other.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > limits::MANIFEST {
            return Err(ManifestError::whole("larger than 64 KiB"));
        }
        let mut sections = ini::parse(text)?;
        let mut take =
            |name| sections.remove(name).ok_or_else(|| ManifestError::at(name, "missing section"));
        let update = from_section("update", &take("update")?)?;
        let bundle = from_section("bundle", &take("bundle")?)?;
        let mut images = BTreeMap::new();
        let mut meta = BTreeMap::new();
        for (name, section) in &sections {
            if let Some(image) = name.strip_prefix("image.") {
                let image = image.parse().map_err(|e| ManifestError::at(name, format!("{e}")))?;
                images.insert(image, from_section(name, section)?);
            } else if let Some(topic) = name.strip_prefix("meta.") {
                let text = |(key, raw): (&String, &String)| {
                    let text = unescape(raw)
                        .map_err(|e| ManifestError::at(name, format!("{key}: {e}")))?;
                    Ok((key.clone(), text))
                };
                meta.insert(topic.to_owned(), section.iter().map(text).collect::<Result<_, _>>()?);
            } else if name == "hooks" {
                from_section::<NoHooks>(name, section)?;
            } else if !name.starts_with("x-") {
                return Err(ManifestError::at(name, "unknown section"));
            }
        }
        let manifest = Self { update, bundle, images, meta };
        manifest.check()?;
        Ok(manifest)
    }

    /// Returns the manifest as text. The same manifest always gives the same text, and
    /// [`Manifest::parse`] reads it.
    #[must_use]
    pub fn to_ini(&self) -> String {
        let Update { compatible, version, build, description, min_version } = &self.update;
        let BundleInfo { format, size, frame_sha256 } = &self.bundle;
        let description = escape(description);
        let mut ini = format!(
            "[update]\ncompatible={compatible}\nversion={version}\nbuild={build}\n\
             description={description}\nmin-version={min_version}\n\n\
             [bundle]\nformat={format}\nsize={size}\nframe-sha256={frame_sha256}\n"
        );
        // Writing to a String cannot fail.
        for (name, image) in &self.images {
            let Image { filename, offset, size, sha256, chunks, chunks_sha256, verity } = image;
            let _ = write!(
                ini,
                "\n[image.{name}]\nfilename={filename}\noffset={offset}\nsize={size}\n\
                sha256={sha256}\n\
                 chunks={chunks}\nchunks-sha256={chunks_sha256}\n"
            );
            if let Some(Verity { hash, salt, size }) = verity {
                let _ = write!(ini, "verity-hash={hash}\nverity-salt={salt}\nverity-size={size}\n");
            }
        }
        for (topic, section) in &self.meta {
            let _ = write!(ini, "\n[meta.{topic}]\n");
            for (key, text) in section {
                let _ = writeln!(ini, "{key}={}", escape(text));
            }
        }
        ini
    }

    /// Returns the image `name`: `boot`, `root` or an `x-` one.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.get(name)
    }

    /// Checks that the fields agree with each other. A reader does not rely on what a signer ought
    /// to have checked. A manifest that lies with a good signature must do no harm either.
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let Self { update, bundle, images, meta } = self;
        if bundle.format != limits::FORMAT {
            return Err(ManifestError::at(
                "bundle",
                format!("format {} is not known", bundle.format),
            ));
        }
        if update.min_version.cmp_precedence(&update.version).is_gt() {
            return Err(ManifestError::at("update", "min-version is above version"));
        }
        if !printable(&update.description) {
            return Err(ManifestError::at("update", "description: control character"));
        }
        for (topic, section) in meta {
            let names_valid =
                ini::valid_name(topic) && section.keys().all(|key| ini::valid_name(key));
            if !names_valid || !section.values().all(|text| printable(text)) {
                return Err(ManifestError::at(
                    &format!("meta.{topic}"),
                    "invalid name or control character",
                ));
            }
        }
        if bundle.size == 0 || bundle.size % limits::BLOCK != 0 || bundle.size > limits::SQUASHFS {
            return Err(ManifestError::at(
                "bundle",
                "size is not a positive multiple of 4096 up to 1 TiB",
            ));
        }
        if images.len() > limits::IMAGES {
            return Err(ManifestError::whole(format!("more than {} images", limits::IMAGES)));
        }
        for name in [ImageName::BOOT, ImageName::ROOT] {
            if !images.contains_key(name) {
                return Err(ManifestError::whole(format!(
                    "no [image.{name}]; kernel and root are one unit"
                )));
            }
        }
        let mut free = limits::BLOCK; // the SquashFS's superblock is in the first block
        for (name, image) in images {
            image
                .check(name, free, bundle.size)
                .map_err(|why| ManifestError::at(&format!("image.{name}"), why))?;
            free = image.offset + image.size;
        }
        Ok(())
    }
}

impl Image {
    /// Checks one image. The image in front of it ends at `free`, and the SquashFS ends at `end`.
    fn check(&self, name: &ImageName, free: u64, end: u64) -> Result<(), &'static str> {
        let Self { offset, size, chunks, .. } = *self;
        if offset % limits::BLOCK != 0 || size % limits::BLOCK != 0 || size == 0 {
            return Err("offset and size are multiples of 4096, and size is not 0");
        }
        if offset < free {
            return Err("the image overlaps what is in front of it");
        }
        if size > end || offset > end - size {
            return Err("the image does not lie within the SquashFS");
        }
        if u64::from(chunks) > size || u64::from(chunks) * u64::from(limits::CHUNK) < size {
            return Err("so many chunks cannot make up the image");
        }
        match self.verity {
            None if name.as_str() == ImageName::ROOT => Err("the root image has no verity-hash"),
            None => Ok(()),
            Some(verity)
                if verity.size == 0 || verity.size % limits::BLOCK != 0 || verity.size > size =>
            {
                Err("verity-size is not a positive multiple of 4096 within the image")
            }
            Some(verity) if size - verity.size < verity_tree_size(verity.size) => {
                Err("the image is too small for the dm-verity tree of its data")
            }
            Some(_) => Ok(()),
        }
    }
}

/// Returns the bytes of the dm-verity tree of `data_size` bytes of data (SHA-256, 4096-byte blocks,
/// no superblock). A single block of data has no tree: its hash is the root hash.
#[must_use]
pub fn verity_tree_size(data_size: u64) -> u64 {
    const HASHES_PER_BLOCK: u64 = limits::BLOCK / 32;
    let mut level = data_size.div_ceil(limits::BLOCK);
    let mut tree = 0;
    while level > 1 {
        level = level.div_ceil(HASHES_PER_BLOCK);
        tree += level;
    }
    tree * limits::BLOCK
}

/// Returns true if a text has nothing that moves a terminal's cursor. A text may have several
/// lines.
fn printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash() -> impl Strategy<Value = Sha256> {
        any::<[u8; 32]>().prop_map(Sha256)
    }

    fn text() -> impl Strategy<Value = String> {
        "[\\PC\n\t\\\\;=#\\[ ]{0,40}".prop_filter("printable", |text| printable(text))
    }

    prop_compose! {
        fn update()(
            compatible in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            (major, minor) in (0u64..=u64::MAX, 0u64..9),
            extra in "(-[a-z][a-z0-9]{0,5})?(\\+[a-z0-9]{1,5})?",
            build in "[A-Za-z0-9][A-Za-z0-9._+:~-]{0,20}",
            description in text(),
        ) -> Update {
            Update {
                compatible: compatible.parse().unwrap(),
                version: format!("{major}.{minor}.0{extra}").parse().unwrap(),
                build: build.parse().unwrap(),
                description,
                min_version: Version::new(major / 2, 0, 0)
                    .min(format!("{major}.{minor}.0{extra}").parse().unwrap()),
            }
        }
    }

    prop_compose! {
        fn image()(
            name in "[a-z0-9][a-z0-9.-]{0,20}",
            (gap, blocks, tree) in (0u64..100, 1u64..1_000_000, 0u64..100),
            (sha256, chunks_sha256, verity) in
                (hash(), hash(), any::<(bool, [u8; 32], [u8; 32])>()),
        ) -> Image {
            let data = blocks * limits::BLOCK;
            let size = data + verity_tree_size(data) + tree * limits::BLOCK;
            let (_, hash, salt) = verity;
            Image {
                filename: name.parse().unwrap(),
                offset: gap * limits::BLOCK, // a gap for now; `manifest` puts the images in a row
                size,
                sha256,
                chunks: size.div_ceil(u64::from(limits::CHUNK)) as u32,
                chunks_sha256,
                verity: verity
                    .0
                    .then_some(Verity { hash: Sha256(hash), salt: Salt(salt), size: data }),
            }
        }
    }

    prop_compose! {
        fn manifest()(
            update in update(),
            frame_sha256 in hash(),
            boot in image(),
            root in image().prop_filter("root has a tree", |image| image.verity.is_some()),
            others in prop::collection::btree_map("x-[a-z0-9-]{1,30}", image(), 0..4),
            meta in prop::collection::btree_map(
                "[A-Za-z0-9._-]{1,9}",
                prop::collection::btree_map("[A-Za-z0-9._-]{1,9}", text(), 0..4),
                0..4,
            ),
        ) -> Manifest {
            let mut images: BTreeMap<ImageName, Image> =
                others.into_iter().map(|(name, image)| (name.parse().unwrap(), image)).collect();
            images.insert("boot".parse().unwrap(), boot);
            images.insert("root".parse().unwrap(), root);
            let mut free = limits::BLOCK;
            for image in images.values_mut() {
                image.offset += free;
                free = image.offset + image.size;
            }
            let bundle = BundleInfo { format: 1, size: free + limits::BLOCK, frame_sha256 };
            Manifest { update, bundle, images, meta }
        }
    }

    proptest! {
        #[test]
        fn a_manifest_is_read_as_it_was_written(manifest in manifest()) {
            let ini = manifest.to_ini();
            prop_assert_eq!(&Manifest::parse(&ini).unwrap(), &manifest, "{}", ini);
            let windows = format!("# a comment\n{}", ini.replace('\n', "\r\n"));
            prop_assert_eq!(Manifest::parse(&windows).unwrap(), manifest);
        }

        #[test]
        fn any_text_is_a_manifest_or_refused_in_one_line(
            manifest in manifest(), at: prop::sample::Index, with in "\\PC{0,3}|\\[|\n|=|\\]|0",
        ) {
            let mut ini: Vec<char> = manifest.to_ini().chars().collect();
            let at = at.index(ini.len());
            ini.splice(at..at + 1, with.chars());
            if let Err(refusal) = Manifest::parse(&ini.into_iter().collect::<String>()) {
                prop_assert!(!refusal.to_string().contains('\n'), "{refusal}");
            }
        }
    }

    #[test]
    fn a_tree_is_as_large_as_veritysetup_makes_it() {
        // `veritysetup format --no-superblock` makes these trees for files of so many blocks of
        // 4096 bytes.
        for (blocks, tree) in [(1, 0), (2, 1), (128, 1), (129, 3), (16_384, 129), (16_385, 132)] {
            assert_eq!(verity_tree_size(blocks * 4096), tree * 4096, "{blocks} blocks");
        }
    }
}
