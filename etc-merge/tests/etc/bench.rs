//! Three folders of a test, and what was made of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use etc_merge::{Marks, Method, Outcome, Plan, Policy, Report, Sides, Unchanged, build, plan};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

/// Three sides in a folder of their own. The attributes of overlayfs are those of `userxattr`.
pub(crate) struct Bench {
    pub dir: tempfile::TempDir,
    pub policy: Policy,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for side in ["base", "upper", "theirs"] {
            fs::create_dir(dir.path().join(side)).unwrap();
            set_mode(&dir.path().join(side), 0o755);
        }
        Self { dir, policy: Policy::default() }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file, with the folders above it. `path` starts with the side.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let at = self.at(path);
        self.folder(path.rsplit_once('/').unwrap().0);
        fs::write(&at, content).unwrap();
        set_mode(&at, 0o644);
        self
    }

    pub(crate) fn folder(&self, path: &str) -> &Self {
        let mut at = self.dir.path().to_owned();
        for name in Path::new(path) {
            at.push(name);
            if !at.exists() {
                fs::create_dir(&at).unwrap();
                set_mode(&at, 0o755);
            }
        }
        self
    }

    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        self.folder(path.rsplit_once('/').unwrap().0);
        symlink(target, self.at(path)).unwrap();
        self
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) -> &Self {
        set_mode(&self.at(path), mode);
        self
    }

    pub(crate) fn whiteout(&self, path: &str) -> &Self {
        self.folder(path.rsplit_once('/').unwrap().0);
        mknodat(CWD, self.at(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        self
    }

    pub(crate) fn attribute(&self, path: &str, name: &str, value: &str) -> &Self {
        lsetxattr(self.at(path), name, value.as_bytes(), XattrFlags::empty()).unwrap();
        self
    }

    /// Puts the same file into several sides.
    pub(crate) fn sides(&self, path: &str, contents: [Option<&str>; 3]) -> &Self {
        for (side, content) in ["base", "upper", "theirs"].into_iter().zip(contents) {
            if let Some(content) = content {
                self.file(&format!("{side}/{path}"), content);
            }
        }
        self
    }

    /// Plans, and checks that the plan is the same when the images say what they have alike.
    pub(crate) fn plan(&self) -> Plan {
        let (base, upper, theirs) = (self.at("base"), self.at("upper"), self.at("theirs"));
        let sides = sides(Some(&base), &upper, &theirs, &self.policy);
        let read = plan(&sides, &mut || true).unwrap();
        let unchanged = &Unchanged::of(sums(&base), sums(&theirs));
        let told = plan(&Sides { unchanged, ..sides }, &mut || true).unwrap();
        assert_eq!(told.actions(), read.actions());
        assert_eq!(told.report(), read.report());
        read
    }

    /// Merges into `new`, and checks that the plan alone says the same.
    pub(crate) fn merge(&self) -> Report {
        let planned = self.plan();
        let (base, upper, theirs) = (self.at("base"), self.at("upper"), self.at("theirs"));
        let sides = sides(Some(&base), &upper, &theirs, &self.policy);
        let report = build(&sides, &self.at("new"), &mut || true).unwrap();
        assert_eq!(report.fallback, None);
        assert_eq!(report.method, Method::Merged);
        assert_eq!(&report, planned.report());
        report
    }

    /// The new upper without its top folder.
    pub(crate) fn new_upper(&self) -> BTreeMap<String, String> {
        let mut tree = tree(&self.at("new"));
        tree.remove("");
        tree
    }
}

pub(crate) fn sides<'a>(
    base: Option<&'a Path>,
    upper: &'a Path,
    theirs: &'a Path,
    policy: &'a Policy,
) -> Sides<'a> {
    static NOTHING: LazyLock<Unchanged> = LazyLock::new(Unchanged::default);
    Sides { base, upper, theirs, unchanged: &NOTHING, policy, marks: Marks::User }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What an image says of its /etc, with another sum than SHA-256. What cannot be read is left out.
fn sums(etc: &Path) -> Vec<u8> {
    let mut lines = String::new();
    for path in tree(etc).into_keys() {
        let file = etc.join(&path);
        let is_file = fs::symlink_metadata(&file).is_ok_and(|stat| stat.is_file());
        if let (true, Ok(content)) = (is_file, fs::read(&file)) {
            let mut sum = DefaultHasher::new();
            content.hash(&mut sum);
            writeln!(lines, "{:064x}  etc/{path}", sum.finish()).unwrap();
        }
    }
    lines.into_bytes()
}

/// Path and outcome of each line.
pub(crate) fn outcomes(report: &Report) -> Vec<(&str, Outcome)> {
    report.lines.iter().map(|line| (line.path.as_str(), line.outcome)).collect()
}

/// Every entry of a folder in words. Equal files that are one by hard links say so by a number.
pub(crate) fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut inodes = Vec::new();
    add(dir, "", &mut all, &mut inodes);
    all
}

fn add(at: &Path, path: &str, all: &mut BTreeMap<String, String>, inodes: &mut Vec<(u64, String)>) {
    let stat = fs::symlink_metadata(at).unwrap();
    let mode = stat.mode() & 0o7777;
    let kind = stat.file_type();
    let mut words = if kind.is_dir() {
        format!("folder {mode:o}")
    } else if kind.is_file() {
        let text = String::from_utf8_lossy(&fs::read(at).unwrap()).into_owned();
        format!("file {mode:o} {text:?}")
    } else if kind.is_symlink() {
        format!("link {}", fs::read_link(at).unwrap().display())
    } else if kind.is_char_device() && stat.rdev() == 0 {
        "whiteout".to_owned()
    } else {
        format!("special {:o} {}", stat.mode(), stat.rdev())
    };
    if !kind.is_dir() && stat.nlink() > 1 {
        match inodes.iter().find(|(inode, _)| *inode == stat.ino()) {
            Some((_, first)) => words.push_str(&format!(" = {first}")),
            None => inodes.push((stat.ino(), path.to_owned())),
        }
    }
    all.insert(path.to_owned(), words);
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let text = name.to_string_lossy();
            let below = if path.is_empty() { text.to_string() } else { format!("{path}/{text}") };
            add(&at.join(&name), &below, all, inodes);
        }
    }
}

/// Numbers that do not repeat, the same for the same seed (xorshift64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}
