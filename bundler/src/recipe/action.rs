//! The actions of a recipe, each a plain struct, and the names of their keys.
//!
//! `assemble` reads the keys. docs/recipes.md describes each key.

use std::path::PathBuf;

use crate::recipe::node::Place;

/// All actions and the keys of each, without the key `action`.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "mmdebstrap",
        &[
            "suite",
            "extra-suites",
            "variant",
            "components",
            "include",
            "mirrors",
            "keyring-files",
            "aptopts",
            "dpkgopts",
            "description",
        ],
    ),
    ("apt", &["packages", "recommends", "update", "unauthenticated", "description"]),
    ("overlay", &["source", "destination", "description"]),
    ("run", &["command", "script", "chroot", "label", "postprocess", "description"]),
    ("recipe", &["recipe", "description"]),
    ("kernel", &["modules", "btf", "description"]),
    (
        "bundle",
        &[
            "compatible",
            "description",
            "min-version",
            "args",
            "docs",
            "man",
            "locales",
            "drop",
            "health-units",
        ],
    ),
    ("image", &["esp", "boot", "root", "recovery", "var", "description"]),
];
/// Actions that an image has once. A second one of the same name, in a variant, changes keys of the
/// first.
pub(super) const ONCE: &[&str] = &["mmdebstrap", "kernel", "bundle", "image"];

/// The `mmdebstrap` action.
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
}

/// An action that changes the root filesystem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Installs packages.
    Apt {
        /// Names in the form that `apt-get install` takes.
        packages: Vec<String>,
        /// True installs recommended packages too.
        recommends: bool,
    },
    /// Copies a folder of the build host over the root filesystem.
    Overlay {
        /// Folder on the build host.
        source: PathBuf,
        /// Folder in the root filesystem, as an absolute path.
        destination: String,
    },
    /// Runs a program.
    Run {
        /// True runs it in the root filesystem. False runs it on the build host with `$ROOTDIR`
        /// set.
        chroot: bool,
        /// The program or command.
        run: Run,
    },
}

/// The program or command of a `run` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Run {
    /// A line for `sh -e -c`.
    Command(String),
    /// An executable file of the build host and its arguments.
    Script(PathBuf, Vec<String>),
}

/// The `kernel` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Patterns of the modules that stay, together with the modules that these need. `None`: all
    /// stay.
    pub modules: Option<Vec<Pattern>>,
    /// True keeps the types for BPF programs, and with them the signatures, in the modules of the
    /// root image.
    pub btf: bool,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { modules: None, btf: true }
    }
}

/// A pattern of a recipe and its place. The build finds out late that a pattern matches nothing,
/// and then needs the place for the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// The pattern; see docs/recipes.md, "Patterns".
    pub text: String,
    /// The place where the pattern was written.
    pub place: Place,
}

/// The `bundle` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BundleSettings {
    /// The kind of device that the bundle is for.
    pub compatible: String,
    /// One line for people.
    pub description: String,
    /// A device that runs this bundle refuses every version below this one.
    pub min_version: semver::Version,
    /// Text that is appended to the kernel command line.
    pub args: String,
    /// True keeps all of /usr/share/doc. False keeps only the copyright files.
    pub docs: bool,
    /// True keeps manual pages and info files.
    pub man: bool,
    /// Folders of /usr/share/locale that stay, for instance `de`.
    pub locales: Vec<String>,
    /// More files to leave out: patterns over absolute paths.
    pub drop: Vec<Pattern>,
    /// Units that must work where a device has no baseline yet.
    pub health_units: Vec<String>,
}
