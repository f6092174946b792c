//! The actions of a recipe, each a plain struct, and the names of their keys.
//!
//! `assemble` reads the keys. docs/recipes.md describes each of them.

use std::path::PathBuf;

use crate::recipe::node::Place;

/// All actions and the keys that each knows, besides `action`.
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
        &["compatible", "description", "min-version", "args", "docs", "man", "locales", "drop"],
    ),
    ("image", &["esp", "boot", "root", "recovery", "var", "description"]),
];
/// Actions that an image has once: naming one again, in a variant, changes keys of the first.
pub(super) const ONCE: &[&str] = &["mmdebstrap", "kernel", "bundle", "image"];

/// The `mmdebstrap` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootstrap {
    /// Debian's code name, for instance `trixie`.
    pub suite: String,
    /// More suites whose packages are taken, for instance `trixie-updates` and `trixie-security`.
    pub extra_suites: Vec<String>,
    /// mmdebstrap's variant: `extract`, `custom`, `essential`, `apt`, `minbase` …
    pub variant: String,
    /// Sections of the archive; `main` when the recipe says nothing.
    pub components: Vec<String>,
    /// Archives to use instead of those of the build host's apt.
    pub mirrors: Vec<String>,
    /// Packages installed by the bootstrap itself.
    pub include: Vec<String>,
    /// Lines for apt's configuration during the build.
    pub aptopts: Vec<String>,
    /// Lines for dpkg's configuration during the build.
    pub dpkgopts: Vec<String>,
    /// Keyring files, instead of the build host's.
    pub keyring_files: Vec<PathBuf>,
}

/// An action that changes the root filesystem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Installs packages.
    Apt {
        /// Names, as `apt-get install` takes them.
        packages: Vec<String>,
        /// Whether recommended packages come along.
        recommends: bool,
    },
    /// Copies a folder of the build host over the root filesystem.
    Overlay {
        /// Folder on the build host.
        source: PathBuf,
        /// Folder in the root filesystem, absolute.
        destination: String,
    },
    /// Runs a program.
    Run {
        /// In the root filesystem; otherwise on the build host with `$ROOTDIR` set.
        chroot: bool,
        /// What to run.
        run: Run,
    },
}

/// What a `run` action runs.
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
    /// Which modules stay; what they need comes along. `None`: all.
    pub modules: Option<Vec<Pattern>>,
    /// Whether the modules of the root image keep their types for BPF programs, and with them their
    /// signatures.
    pub btf: bool,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { modules: None, btf: true }
    }
}

/// A pattern of a recipe with its place, because "matches nothing" is only known much later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// See docs/recipes.md, "Patterns".
    pub text: String,
    /// Where it was written.
    pub place: Place,
}

/// The `bundle` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BundleSettings {
    /// Which devices the bundle is for.
    pub compatible: String,
    /// One line for people.
    pub description: String,
    /// A device refuses to go below this version once it runs this bundle.
    pub min_version: semver::Version,
    /// Appended to the kernel command line.
    pub args: String,
    /// Keeps all of /usr/share/doc; otherwise only the copyright files.
    pub docs: bool,
    /// Keeps manual pages and info files.
    pub man: bool,
    /// Folders of /usr/share/locale that stay, for instance `de`.
    pub locales: Vec<String>,
    /// What else is left out: patterns over absolute paths.
    pub drop: Vec<Pattern>,
}
