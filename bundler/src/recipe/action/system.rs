//! The actions that make the root filesystem: bootstrap, packages and scripts.
//!
//! `bundling::rootfs` does them.

use std::path::PathBuf;

use crate::recipe::action::origin::{Origin, Origins, matching};
use crate::recipe::yaml::{Field, Keys, Notes, Place, RecipeError, Table};

pub(super) const MMDEBSTRAP: Table = Table {
    name: "mmdebstrap",
    about: "Makes the first root filesystem.",
    fields: &[
        Field::text("suite", "Code name of the release, such as trixie.").required(),
        Field::texts("extra-suites", "More suites, such as trixie-security."),
        Field::text("variant", "Which packages it has at first; debootstrap unless given."),
        Field::texts("components", "Sections of the archive; main unless given."),
        Field::texts("include", "Packages that the bootstrap itself installs."),
        Field::texts("mirrors", "Archives instead of those of the build host's apt."),
        Field::texts("keyring-files", "Keys of the archives instead of those of the build host."),
        Field::texts("keyring-packages", "Packages with keys of archives, installed too."),
        Field::flag("merged-usr", "False is refused: Debian is merged since version 12."),
        Field::texts("apt-opts", "Lines of apt's configuration for the build."),
        Field::texts("dpkg-opts", "Lines of dpkg's configuration for the build."),
        Field::texts("aptopts", "Older name of apt-opts."),
        Field::texts("dpkgopts", "Older name of dpkg-opts."),
    ],
};

pub(super) const DEBOOTSTRAP: Table = Table {
    name: "debootstrap",
    about: "Makes the first root filesystem; Daruma does it with mmdebstrap.",
    fields: &[
        Field::text("suite", "Code name of the release, such as trixie.").required(),
        Field::text("mirror", "Archive instead of those of the build host's apt."),
        Field::text("variant", "minbase, buildd, or the standard system unless given."),
        Field::texts("components", "Sections of the archive; main unless given."),
        Field::text("keyring-package", "Package with keys of archives, installed too."),
        Field::text("keyring-file", "Keys of the archive instead of those of the build host."),
        Field::text("certificate", "File with the client's certificate for the archive."),
        Field::text("private-key", "File with the key of the certificate."),
        Field::flag("merged-usr", "False is refused: Debian is merged since version 12."),
        Field::flag("check-gpg", "False takes packages without a signature."),
    ],
};

pub(super) const APT: Table = Table {
    name: "apt",
    about: "Installs packages.",
    fields: &[
        Field::texts("packages", "Names, as apt-get install takes them.").required(),
        Field::flag("recommends", "True installs recommended packages too."),
        Field::flag("update", "False leaves the lists of packages as they are."),
        Field::flag("unauthenticated", "True takes packages without a signature."),
        Field::unused("chroot", "apt always works in the root filesystem"),
    ],
};

pub(super) const INSTALL_DEB: Table = Table {
    name: "install-deb",
    about: "Installs files of packages and what these need.",
    fields: &[
        Field::texts("packages", "Patterns of files in the origin."),
        Field::text("origin", "Where the files are; recipe unless given."),
        Field::flag("recommends", "True installs recommended packages too."),
        Field::flag("update", "False leaves the lists of packages as they are."),
        Field::flag("unauthenticated", "True takes packages without a signature."),
    ],
};

pub(super) const RUN: Table = Table {
    name: "run",
    about: "Runs a command or a script.",
    fields: &[
        Field::text("command", "Text for sh -e -u -c."),
        Field::text("script", "A script beside the recipe, and its arguments."),
        Field::flag("chroot", "True runs it in the root filesystem."),
        Field::text("label", "Name for the output."),
        Field::flag("postprocess", "True runs it on the build host after everything else."),
        Field::unused("origin", "a command names its files itself"),
    ],
};

/// The `mmdebstrap` or `debootstrap` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootstrap {
    /// Debian's code name, for instance `trixie`.
    pub suite: String,
    /// More suites to take packages from, for instance `trixie-updates` and `trixie-security`.
    pub extra_suites: Vec<String>,
    /// mmdebstrap's variant: `extract`, `custom`, `essential`, `apt`, `minbase` …
    pub variant: String,
    /// Sections of the archive; the default is `main`.
    pub components: Vec<String>,
    /// Archives that replace those of the build host's apt.
    pub mirrors: Vec<String>,
    /// Packages that the bootstrap itself installs.
    pub include: Vec<String>,
    /// Lines for apt's configuration during the build.
    pub aptopts: Vec<String>,
    /// Lines for dpkg's configuration during the build.
    pub dpkgopts: Vec<String>,
    /// Keyring files that replace those of the build host.
    pub keyring_files: Vec<PathBuf>,
    /// True takes packages without a signature.
    pub unauthenticated: bool,
}

/// The `apt` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Apt {
    /// Names in the form that `apt-get install` takes.
    pub packages: Vec<String>,
    /// True installs recommended packages too.
    pub recommends: bool,
    /// False leaves the lists of packages as they are.
    pub update: bool,
    /// True takes packages without a signature.
    pub unauthenticated: bool,
}

/// The `install-deb` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstallDeb {
    /// Where the files are.
    pub origin: Origin,
    /// Patterns of files in the origin. Empty: the origin is the file.
    pub patterns: Vec<String>,
    /// The settings that it shares with `apt`; its packages are the files.
    pub apt: Apt,
}

/// The `run` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// True runs it in the root filesystem. False runs it on the build host with `$ROOTDIR` set.
    pub chroot: bool,
    /// True runs it on the build host after all other actions.
    pub postprocess: bool,
    /// The program or command.
    pub program: Program,
}

/// The program or command of a `run` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Program {
    /// A text for `sh -e -u -c`.
    Command(String),
    /// A script of the build host.
    Script {
        /// The file.
        file: PathBuf,
        /// The arguments as the recipe has them. The shell splits them.
        arguments: String,
        /// The interpreter, for a file that is not executable.
        interpreter: Option<String>,
    },
}

/// Reads the keys of `mmdebstrap` or `debootstrap`.
pub(in crate::recipe) fn read_bootstrap(
    name: &str,
    keys: &mut Keys,
    notes: &mut Notes,
) -> Result<Bootstrap, RecipeError> {
    let mut made = Bootstrap {
        suite: keys.required("suite")?.0,
        extra_suites: Vec::new(),
        variant: keys.text("variant")?.unwrap_or_default(),
        components: keys.texts("components")?.unwrap_or_else(|| vec!["main".to_owned()]),
        mirrors: Vec::new(),
        include: Vec::new(),
        aptopts: Vec::new(),
        dpkgopts: Vec::new(),
        keyring_files: Vec::new(),
        unauthenticated: false,
    };
    if made.variant.is_empty() || made.variant == "-" {
        made.variant = "debootstrap".to_owned();
    }
    if keys.flag("merged-usr")? == Some(false) {
        let why = "`merged-usr: false` has no effect: Debian 12 and later are always merged";
        notes.warn(&keys.place, why);
    }
    if name == "debootstrap" {
        made.mirrors.extend(keys.text("mirror")?);
        made.include.extend(keys.text("keyring-package")?);
        made.keyring_files.extend(file(keys, "keyring-file")?);
        for (key, option) in [("certificate", "SslCert"), ("private-key", "SslKey")] {
            if let Some(path) = file(keys, key)? {
                made.aptopts.push(format!("Acquire::https::{option} \"{}\";", path.display()));
            }
        }
        if keys.flag("check-gpg")? == Some(false) {
            notes.warn(&keys.place, "`check-gpg: false`: nobody checks who made the packages");
            made.unauthenticated = true;
        }
        return Ok(made);
    }
    made.extra_suites = keys.texts("extra-suites")?.unwrap_or_default();
    made.mirrors = keys.texts("mirrors")?.unwrap_or_default();
    made.include = keys.texts("include")?.unwrap_or_default();
    made.include.extend(keys.texts("keyring-packages")?.unwrap_or_default());
    for (list, names) in [
        (&mut made.aptopts, ["apt-opts", "aptopts"]),
        (&mut made.dpkgopts, ["dpkg-opts", "dpkgopts"]),
    ] {
        for name in names {
            list.extend(keys.texts(name)?.unwrap_or_default());
        }
    }
    for (path, place) in keys.list("keyring-files")?.unwrap_or_default() {
        made.keyring_files.push(existing(&place, "keyring-files", &path)?);
    }
    Ok(made)
}

fn file(keys: &mut Keys, name: &'static str) -> Result<Option<PathBuf>, RecipeError> {
    let given = keys.text_at(name)?.filter(|(text, _)| !text.is_empty());
    given.map(|(text, place)| existing(&place, name, &text)).transpose()
}

fn existing(place: &Place, key: &str, path: &str) -> Result<PathBuf, RecipeError> {
    let resolved = place.resolve(path);
    if resolved.is_file() {
        return Ok(resolved);
    }
    Err(place.error(format_args!("`{key}: {}` is not a file", resolved.display())))
}

/// Reads the keys of `apt`.
pub(super) fn read_apt(keys: &mut Keys, notes: &mut Notes) -> Result<Apt, RecipeError> {
    let place = keys.place.clone();
    // A template can leave nothing in the list. debos needs not even the key.
    let is_empty = keys.is_empty("packages") || notes.lenient;
    let packages = match keys.texts("packages")? {
        Some(packages) => packages,
        None if is_empty => Vec::new(),
        None => return Err(place.error("the apt action needs `packages`")),
    };
    if packages.is_empty() {
        notes.warn(&place, "`packages` of the apt action is empty, so it installs nothing");
    }
    read_common(keys, packages, notes)
}

fn read_common(
    keys: &mut Keys,
    packages: Vec<String>,
    notes: &mut Notes,
) -> Result<Apt, RecipeError> {
    let apt = Apt {
        packages,
        recommends: keys.flag("recommends")?.unwrap_or(false),
        update: keys.flag("update")?.unwrap_or(true),
        unauthenticated: keys.flag("unauthenticated")?.unwrap_or(false),
    };
    if apt.unauthenticated {
        notes.warn(&keys.place, "`unauthenticated: true`: nobody checks who made the packages");
    }
    Ok(apt)
}

/// Reads the keys of `install-deb`.
pub(super) fn read_install_deb(
    keys: &mut Keys,
    origins: &Origins,
    notes: &mut Notes,
) -> Result<InstallDeb, RecipeError> {
    let place = keys.place.clone();
    let origin = origins.read(keys, Origin::Recipe(place.resolve("")))?;
    let list = keys.list("packages")?.unwrap_or_default();
    match &origin {
        Origin::Recipe(folder) => {
            for (pattern, place) in &list {
                if !origins.made_later() && matching(folder, pattern).is_empty() {
                    let message = format!("`packages` has `{pattern}`, which matches no file");
                    return Err(place.error(message));
                }
            }
        }
        Origin::Download { is_folder: false, .. } if !list.is_empty() => {
            return Err(place.error("the origin is one file, so `packages` must not be there"));
        }
        _ => {}
    }
    if list.is_empty() && !matches!(origin, Origin::Download { is_folder: false, .. }) {
        return Err(place.error("the install-deb action needs `packages`"));
    }
    let patterns = list.into_iter().map(|(pattern, _)| pattern).collect();
    Ok(InstallDeb { origin, patterns, apt: read_common(keys, Vec::new(), notes)? })
}

/// Reads the keys of `run`. Returns the label too.
pub(super) fn read_run(keys: &mut Keys, notes: &mut Notes) -> Result<(Run, String), RecipeError> {
    let place = keys.place.clone();
    let postprocess = keys.flag("postprocess")?.unwrap_or(false);
    let chroot = keys.flag("chroot")?.unwrap_or(false);
    if postprocess && chroot {
        return Err(place.error(
            "`chroot` and `postprocess` exclude each other: after the build there is no root \
                filesystem to run in",
        ));
    }
    let label = keys.text("label")?.unwrap_or_default();
    let command = keys.text("command")?.filter(|text| !text.is_empty());
    let script = keys.text_at("script")?.filter(|(text, _)| !text.is_empty());
    let program = match (command, script) {
        (Some(command), None) => Program::Command(command),
        (None, Some((script, at))) => read_script(&script, &at, notes)?,
        _ => return Err(place.error("the run action needs either `command` or `script`")),
    };
    Ok((Run { chroot, postprocess, program }, label))
}

fn read_script(script: &str, at: &Place, notes: &mut Notes) -> Result<Program, RecipeError> {
    use std::os::unix::fs::PermissionsExt;
    let script = script.trim_start();
    let (name, arguments) = script.split_once(char::is_whitespace).unwrap_or((script, ""));
    let file = at.resolve(name);
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
    let Some(metadata) = metadata else {
        return Err(at.error(format_args!("`script: {}` is not a file", file.display())));
    };
    let mut interpreter = None;
    if metadata.permissions().mode() & 0o111 == 0 {
        let text = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(256)]).into_owned();
        let first = text.lines().next().and_then(|line| line.strip_prefix("#!"));
        let first = first.map_or("/bin/sh", str::trim).to_owned();
        notes.warn(at, format_args!("{} is not executable; {first} runs it", file.display()));
        interpreter = Some(first);
    }
    Ok(Program::Script { file, arguments: arguments.trim().to_owned(), interpreter })
}
