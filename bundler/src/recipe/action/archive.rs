//! Kinds of archives and compressions.
//!
//! `files` reads them, and `bundling` runs their programs.

/// How a tar is compressed, or `zip`, for the keys that read an archive.
pub(super) const ARCHIVES: &[&str] = &["gz", "bzip2", "xz", "zstd", "lzip", "lzma", "lzop", "zip"];
/// The same for the key that writes one.
pub(super) const PACKED: &[&str] =
    &["gz", "none", "auto", "bzip2", "xz", "zstd", "lzip", "lzma", "lzop"];

/// A kind of archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Archive {
    /// A tar. `None`: tar finds out how it is compressed.
    Tar(Option<Compression>),
    /// A zip.
    Zip,
    /// A Debian package.
    Deb,
}

/// A compression of tars: tar's option, the program and its Debian package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Name in a recipe.
    pub name: &'static str,
    /// The program that tar runs, which is also the name of its option.
    pub program: &'static str,
    /// Debian package of the program.
    pub package: &'static str,
    endings: &'static [&'static str],
}

const COMPRESSIONS: &[Compression] = &[
    Compression { name: "gz", program: "gzip", package: "gzip", endings: &["gz", "tgz", "taz"] },
    Compression { name: "bzip2", program: "bzip2", package: "bzip2", endings: &["bz2", "tbz"] },
    Compression { name: "xz", program: "xz", package: "xz-utils", endings: &["xz", "txz"] },
    Compression { name: "zstd", program: "zstd", package: "zstd", endings: &["zst", "tzst"] },
    Compression { name: "lzip", program: "lzip", package: "lzip", endings: &["lz"] },
    Compression { name: "lzma", program: "lzma", package: "xz-utils", endings: &["lzma", "tlz"] },
    Compression { name: "lzop", program: "lzop", package: "lzop", endings: &["lzo"] },
];

impl Compression {
    pub(super) fn named(name: &str) -> Option<Self> {
        COMPRESSIONS.iter().find(|known| known.name == name).copied()
    }

    pub(super) fn by_ending(file: &str) -> Option<Self> {
        let ending = file.rsplit_once('.').map(|(_, ending)| ending)?;
        COMPRESSIONS.iter().find(|known| known.endings.contains(&ending)).copied()
    }
}

impl Archive {
    /// Goes by the name of the file, as debos does: what is neither zip nor deb is a tar, of the
    /// compression that the recipe names. It may name `zip`.
    #[must_use]
    pub fn by_name(file: &str, compression: Option<&str>) -> Self {
        match file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("zip") => Self::Zip,
            Some("deb") => Self::Deb,
            _ if compression == Some("zip") => Self::Zip,
            _ => Self::Tar(compression.and_then(Compression::named)),
        }
    }
}
