//! The actions that move files: overlay, download, unpack and pack.
//!
//! `origin` says where files come from, and `bundling::rootfs` does the actions.

use crate::recipe::action::archive::{ARCHIVES, Archive, Compression, PACKED};
use crate::recipe::action::origin::{From, Origin, Origins, inside_key, within};
use crate::recipe::yaml::{Field, Keys, Notes, RecipeError, Table};

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
        Field::word("compression", ARCHIVES, "What the archive is, if its name does not say it."),
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
        Field::word("compression", ARCHIVES, "What the archive is, if its name does not say it."),
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

/// Reads the keys of `overlay`.
pub(super) fn read_overlay(keys: &mut Keys, origins: &Origins) -> Result<Overlay, RecipeError> {
    let default = Origin::Recipe(keys.place.resolve(""));
    let origin = origins.read(keys, default)?;
    let mut given = keys.text_at("source")?.filter(|(text, _)| !text.is_empty());
    let destination = inside_key(keys, "destination")?;
    let mut is_file = matches!(origin, Origin::Download { is_folder: false, .. });
    if is_file {
        // `.` is the origin itself.
        given = given.filter(|(path, _)| !is_here(path));
    }
    let (path, place) = match given {
        Some(given) => given,
        None if matches!(origin, Origin::Recipe(_)) => {
            return Err(keys.place.error("the overlay action needs the key `source`"));
        }
        None => (String::new(), keys.place.clone()),
    };
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

/// Whether a path in an origin is the origin itself.
fn is_here(path: &str) -> bool {
    path.split('/').all(|part| part.is_empty() || part == ".")
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
    let compression = keys.word("compression", ARCHIVES)?;
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
        (Origin::Download { is_folder: false, .. }, Some((path, place))) if !is_here(&path) => {
            return Err(place.error("the origin is one file, so `file` must not be there"));
        }
        (Origin::Download { is_folder: false, .. }, _) => (String::new(), place.clone()),
        (_, Some((file, place))) => (within(&file, "file", &place)?, place),
        (_, None) => return Err(place.error("the unpack action needs the key `file`")),
    };
    let compression = keys.word("compression", ARCHIVES)?;
    let name = match &origin {
        Origin::Download { name, is_folder: false } => &origins.downloads[name].0,
        _ => &path,
    };
    let archive = Archive::by_name(name, compression);
    if compression.is_some_and(|word| word != "zip") && !matches!(archive, Archive::Tar(_)) {
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
