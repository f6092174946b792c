//! The actions that move files: overlay, download, unpack and pack; and the origins of files.
//!
//! `bundling::rootfs` does them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::recipe::yaml::{Field, Keys, Notes, Place, RecipeError, Table, closest};

pub(super) const OVERLAY: Table = Table {
    name: "overlay",
    about: "Copies a folder or a file over the root filesystem.",
    fields: &[
        Field::text("source", "Folder or file in the origin."),
        Field::text("destination", "Where it goes; / unless given. For a file, its new name."),
        Field::text("origin", "recipe, artifacts, filesystem or a download; recipe unless given."),
    ],
};

pub(super) const DOWNLOAD: Table = Table {
    name: "download",
    about: "Fetches a file, which is then an origin for later actions.",
    fields: &[
        Field::text("url", "Address of the file: http or https.").required(),
        Field::text("name", "Name of the origin.").required(),
        Field::text("filename", "Name of the file instead of that in the address."),
        Field::flag("unpack", "True unpacks the file; the origin is then the folder."),
        Field::word("compression", TAR, "How a tar is compressed, if its name does not say it."),
        Field::text("sha256sum", "SHA-256 sum of the file, in hexadecimal."),
    ],
};

pub(super) const UNPACK: Table = Table {
    name: "unpack",
    about: "Unpacks a tar, zip or deb into the root filesystem.",
    fields: &[
        Field::text("file", "The archive in the origin."),
        Field::text("origin", "Where the archive is; artifacts unless given."),
        Field::text("destdir", "Folder of the root filesystem; / unless given."),
        Field::word("compression", TAR, "How a tar is compressed, if its name does not say it."),
    ],
};

pub(super) const PACK: Table = Table {
    name: "pack",
    about: "Writes the root filesystem as a tar into the artifact folder.",
    fields: &[
        Field::text("file", "Name of the tar in the artifact folder.").required(),
        Field::word("compression", PACKED, "gz unless given; auto goes by the name."),
        Field::text("subdir", "Folder of the root filesystem to pack; / unless given."),
    ],
};

const TAR: &[&str] = &["gz", "bzip2", "xz", "zstd", "lzip", "lzma", "lzop"];
const PACKED: &[&str] = &["gz", "none", "auto", "bzip2", "xz", "zstd", "lzip", "lzma", "lzop"];

/// Where files come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A folder of the recipe file.
    Recipe(PathBuf),
    /// The artifact folder.
    Artifacts,
    /// The root filesystem.
    Filesystem,
    /// What a `download` action has fetched.
    Download {
        /// The name that the action gave.
        name: String,
        /// True for an archive that was unpacked.
        is_folder: bool,
    },
}

/// A path in an origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct From {
    /// The origin.
    pub origin: Origin,
    /// The path, relative to the origin. Empty: the origin itself.
    pub path: String,
}

/// The `overlay` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlay {
    /// Folder or file.
    pub source: From,
    /// Folder in the root filesystem, or the new name of a file; an absolute path without `..`.
    pub destination: String,
}

/// The `download` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Download {
    /// Address.
    pub url: String,
    /// Name of the origin.
    pub name: String,
    /// Name of the file.
    pub filename: String,
    /// How the file is to be unpacked.
    pub unpack: Option<Archive>,
    /// SHA-256 sum in lower-case hexadecimal.
    pub sha256: Option<String>,
}

/// The `unpack` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpack {
    /// The archive.
    pub source: From,
    /// What it is, if its name or the recipe says so. The name of a download is known later.
    pub archive: Archive,
    /// Folder in the root filesystem: an absolute path without `..`.
    pub destination: String,
}

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

/// The `pack` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pack {
    /// Name in the artifact folder.
    pub file: String,
    /// How it is compressed. `None`: not at all.
    pub compression: Option<Compression>,
    /// Folder in the root filesystem: an absolute path without `..`.
    pub subdir: String,
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
    fn named(name: &str) -> Option<Self> {
        COMPRESSIONS.iter().find(|known| known.name == name).copied()
    }

    fn by_ending(file: &str) -> Option<Self> {
        let ending = file.rsplit_once('.').map(|(_, ending)| ending)?;
        COMPRESSIONS.iter().find(|known| known.endings.contains(&ending)).copied()
    }
}

impl Archive {
    /// Goes by the name of the file, as debos does: what is neither zip nor deb is a tar.
    #[must_use]
    pub fn by_name(file: &str, compression: Option<Compression>) -> Self {
        match file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("zip") => Self::Zip,
            Some("deb") => Self::Deb,
            _ => Self::Tar(compression),
        }
    }
}

/// What exists at an action, in the order of the recipe: origins, and the disk.
#[derive(Debug)]
pub(in crate::recipe) struct Origins {
    /// Name, file name, whether it is a folder.
    downloads: BTreeMap<String, (String, bool)>,
    /// Whether an earlier action runs on the build host, and can make files beside the recipe.
    pub(in crate::recipe) host_ran: bool,
    /// The partitions of the disk, by name.
    pub(in crate::recipe) partitions: Option<Vec<String>>,
    /// Whether the disk has a root to deploy to.
    pub(in crate::recipe) has_root: bool,
    /// Bytes of a sector of the disk.
    pub(in crate::recipe) sector: u64,
}

impl Origins {
    /// At the beginning of a recipe for a disk with sectors of this size.
    pub(in crate::recipe) fn new(sector: u64) -> Self {
        let downloads = BTreeMap::new();
        Self { downloads, host_ran: false, partitions: None, has_root: false, sector }
    }

    /// Whether a file that is missing now can be made before it is needed.
    pub(super) fn made_later(&self) -> bool {
        self.host_ran
    }

    /// Reads the key `origin`.
    pub(super) fn read(&self, keys: &mut Keys, default: Origin) -> Result<Origin, RecipeError> {
        let Some((name, place)) = keys.text_at("origin")?.filter(|(text, _)| !text.is_empty())
        else {
            return Ok(default);
        };
        self.named(&name, &place, &keys.place)
    }

    /// Returns the origin of a name. `recipe` is the place of the action.
    pub(super) fn named(
        &self,
        name: &str,
        place: &Place,
        recipe: &Place,
    ) -> Result<Origin, RecipeError> {
        match name {
            "recipe" => Ok(Origin::Recipe(recipe.resolve(""))),
            "artifacts" => Ok(Origin::Artifacts),
            "filesystem" => Ok(Origin::Filesystem),
            _ => match self.downloads.get(name) {
                Some((_, is_folder)) => {
                    Ok(Origin::Download { name: name.to_owned(), is_folder: *is_folder })
                }
                None => {
                    let known = ["recipe", "artifacts", "filesystem"].into_iter();
                    let known: Vec<&str> =
                        known.chain(self.downloads.keys().map(String::as_str)).collect();
                    let hint = closest(name, &known)
                        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                    Err(place.error(format_args!(
                        "no action before this one makes the origin `{name}`{hint}"
                    )))
                }
            },
        }
    }
}

/// Returns the files below `folder` that match a pattern of the shell, sorted.
#[must_use]
pub fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let mut next = Vec::new();
        for dir in found {
            if !part.contains(['*', '?', '[']) {
                next.extend(Some(dir.join(part)).filter(|path| path.exists()));
                continue;
            }
            let names = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
            names.retain(|name| {
                name.to_str().is_some_and(|name| {
                    (!name.starts_with('.') || part.starts_with('.')) && shell_match(part, name)
                })
            });
            names.sort();
            next.extend(names.into_iter().map(|name| dir.join(name)));
        }
        found = next;
    }
    found
}

/// Whether a name matches a pattern with `*`, `?` and `[a-z]`.
fn shell_match(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Which positions of the pattern can be reached with the characters until now.
    let mut at: Vec<usize> = vec![0];
    let skip = |list: &mut Vec<usize>| {
        let mut index = 0;
        while index < list.len() {
            let next = list[index] + 1;
            if pattern.get(list[index]) == Some(&'*') && !list.contains(&next) {
                list.push(next);
            }
            index += 1;
        }
    };
    skip(&mut at);
    for c in name {
        let mut next = Vec::new();
        for position in at {
            let to = match pattern.get(position) {
                Some('*') => Some(position),
                Some('?') => Some(position + 1),
                Some('[') => class(&pattern[position..], c).map(|length| position + length),
                Some(other) if *other == c => Some(position + 1),
                _ => None,
            };
            next.extend(to.filter(|to| !next.contains(to)));
        }
        skip(&mut next);
        at = next;
    }
    at.contains(&pattern.len())
}

/// The length of a class `[a-z]` if it holds the character.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
    let not = matches!(pattern[1], '^' | '!');
    let set = &pattern[1 + usize::from(not)..end];
    let mut holds = false;
    let mut index = 0;
    while index < set.len() {
        if set.get(index + 1) == Some(&'-') && index + 2 < set.len() {
            holds |= (set[index]..=set[index + 2]).contains(&c);
            index += 3;
        } else {
            holds |= set[index] == c;
            index += 1;
        }
    }
    (holds != not).then_some(end + 1)
}

/// Makes an absolute path of a path in the root filesystem. A path that leaves the root is refused.
fn inside(text: &str, key: &str, place: &Place) -> Result<String, RecipeError> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.pop().is_none() {
            return Err(place.error(format_args!(
                "`{key}: {text}` leads out of the root filesystem; it begins at the root, and \
                    `..` cannot leave it"
            )));
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

fn inside_key(keys: &mut Keys, name: &'static str) -> Result<Option<String>, RecipeError> {
    let given = keys.text_at(name)?.filter(|(text, _)| !text.is_empty());
    given.map(|(text, place)| inside(&text, name, &place)).transpose()
}

/// Refuses a path that leaves its origin.
fn within(text: &str, key: &str, place: &Place) -> Result<String, RecipeError> {
    inside(text, key, place).map(|path| path[1..].to_owned()).map_err(|_| {
        place.error(format_args!("`{key}: {text}` leads out of the folder that it begins in"))
    })
}

/// Reads the keys of `overlay`.
pub(super) fn read_overlay(keys: &mut Keys, origins: &Origins) -> Result<Overlay, RecipeError> {
    let default = Origin::Recipe(keys.place.resolve(""));
    let origin = origins.read(keys, default)?;
    let given = keys.text_at("source")?.filter(|(text, _)| !text.is_empty());
    let destination = inside_key(keys, "destination")?;
    let (path, place) = match given {
        Some(given) => given,
        None if matches!(origin, Origin::Recipe(_)) => {
            return Err(keys.place.error("the overlay action needs the key `source`"));
        }
        None => (String::new(), keys.place.clone()),
    };
    let mut is_file = matches!(origin, Origin::Download { is_folder: false, .. });
    if is_file && !path.is_empty() {
        return Err(place.error("the origin is one file, so `source` must not be there"));
    }
    if let Origin::Recipe(folder) = &origin {
        let source = folder.join(&path);
        if !source.exists() && !origins.made_later() {
            let shown = source.display();
            return Err(place.error(format_args!("`source: {shown}` is no folder and no file")));
        }
        is_file = source.is_file();
    }
    if is_file && destination.as_deref().is_none_or(|path| path == "/") {
        return Err(place.error("a file needs `destination`, the name that it gets"));
    }
    let destination = destination.unwrap_or_else(|| "/".to_owned());
    Ok(Overlay { source: From { origin, path }, destination })
}

/// Reads the keys of `download`, and adds its origin.
pub(super) fn read_download(
    keys: &mut Keys,
    origins: &mut Origins,
) -> Result<Download, RecipeError> {
    let (url, place) = keys.required("url")?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !url.contains(char::is_whitespace))
    else {
        let message = format!("`url: {url}` must begin with http:// or https://");
        return Err(place.error(message));
    };
    let (name, name_place) = keys.required("name")?;
    if let "recipe" | "artifacts" | "filesystem" = name.as_str() {
        return Err(name_place.error(format_args!("`name: {name}` is an origin already")));
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let in_url = path.split_once('/').map_or("", |(_, path)| path);
    let given = keys.text("filename")?.filter(|text| !text.is_empty());
    let filename = given.unwrap_or_else(|| in_url.to_owned());
    let filename = filename.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    if let "" | "." | ".." = filename.as_str() {
        return Err(place.error("the address has no name of a file; give `filename`"));
    }
    let compression = keys.word("compression", TAR)?.and_then(Compression::named);
    let unpack = keys.flag("unpack")?.unwrap_or(false);
    let sha256 = match keys.text_at("sha256sum")?.filter(|(text, _)| !text.is_empty()) {
        None => None,
        Some((sum, _)) if sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Some(sum.to_ascii_lowercase())
        }
        Some((_, place)) => {
            return Err(place.error("`sha256sum` must be 64 hexadecimal digits"));
        }
    };
    origins.downloads.insert(name.clone(), (filename.clone(), unpack));
    let unpack = unpack.then(|| Archive::by_name(&filename, compression));
    Ok(Download { url, name, filename, unpack, sha256 })
}

/// Reads the keys of `unpack`.
pub(super) fn read_unpack(keys: &mut Keys, origins: &Origins) -> Result<Unpack, RecipeError> {
    let place = keys.place.clone();
    let origin = origins.read(keys, Origin::Artifacts)?;
    let file = keys.text_at("file")?.filter(|(text, _)| !text.is_empty());
    let (path, file_place) = match (&origin, file) {
        (Origin::Download { is_folder: false, .. }, Some((_, place))) => {
            return Err(place.error("the origin is one file, so `file` must not be there"));
        }
        (Origin::Download { is_folder: false, .. }, None) => (String::new(), place.clone()),
        (_, Some((file, place))) => (within(&file, "file", &place)?, place),
        (_, None) => return Err(place.error("the unpack action needs the key `file`")),
    };
    let compression = keys.word("compression", TAR)?.and_then(Compression::named);
    let name = match &origin {
        Origin::Download { name, is_folder: false } => &origins.downloads[name].0,
        _ => &path,
    };
    let archive = Archive::by_name(name, compression);
    if compression.is_some() && !matches!(archive, Archive::Tar(_)) {
        return Err(place.error("`compression` is only for a tar"));
    }
    if let Origin::Recipe(folder) = &origin
        && !origins.made_later()
        && !folder.join(&path).is_file()
    {
        let shown = folder.join(&path);
        return Err(file_place.error(format_args!("`file: {}` is not a file", shown.display())));
    }
    let destination = inside_key(keys, "destdir")?.unwrap_or_else(|| "/".to_owned());
    Ok(Unpack { source: From { origin, path }, archive, destination })
}

/// Reads the keys of `pack`.
pub(super) fn read_pack(keys: &mut Keys, notes: &mut Notes) -> Result<Pack, RecipeError> {
    let (file, place) = keys.required("file")?;
    let file = within(&file, "file", &place)?;
    let by_name = Compression::by_ending(&file);
    let compression = match keys.word("compression", PACKED)? {
        None => {
            let gz = Compression::named("gz");
            if by_name != gz {
                notes.warn(
                    &place,
                    format_args!(
                        "{file} will be gz, whatever its name says; `compression: auto` goes by \
                            the name"
                    ),
                );
            }
            gz
        }
        Some("none") => None,
        Some("auto") => by_name,
        Some(name) => Compression::named(name),
    };
    let subdir = inside_key(keys, "subdir")?.unwrap_or_else(|| "/".to_owned());
    Ok(Pack { file, compression, subdir })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_files_are_those_of_the_shell() {
        for (pattern, name, matches) in [
            ("hello_*.deb", "hello_1.0_all.deb", true),
            ("hello_*.deb", "hello_1.0_all.udeb", false),
            ("*", "", true),
            ("?.deb", "ab.deb", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(shell_match(pattern, name), matches, "{pattern} {name}");
        }
    }
}
