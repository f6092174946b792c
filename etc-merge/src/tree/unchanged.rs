//! The files of /etc that both images have alike, by what the images say of themselves.
//!
//! Most files that a device has changed are the same in the old and the new image. The merge then
//! needs not read them there, which is dear: a SquashFS unpacks 128 KiB for each.
//!
//! An image names its files in [`SUMS`], in the form of `sha256sum`: a line for each, with the sum
//! in hexadecimal, two spaces, and the path from the root without a slash before it. Both images
//! are checked by dm-verity, so the sums are right. An image of before has none.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The file in an image, below its root.
pub const SUMS: &str = "usr/lib/daruma/etc.sha256";
/// Characters of a line before the path: a sum and two spaces.
const BEFORE: usize = 66;
/// The folder that all paths begin with.
const ETC: &[u8] = b"etc/";

/// What two images say of the files in their /etc.
#[derive(Clone, Default, Debug)]
pub struct Unchanged {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Unchanged {
    /// Reads the sums of two images, whose root folders these are.
    #[must_use]
    pub fn between(old: &Path, new: &Path) -> Self {
        let [old, new] = [old, new].map(|image| fs::read(image.join(SUMS)).unwrap_or_default());
        Self::of(old, new)
    }

    /// Takes two contents of [`SUMS`].
    #[must_use]
    pub fn of(old: Vec<u8>, new: Vec<u8>) -> Self {
        Self { old, new }
    }

    /// True if the file at this path below /etc is the same in both.
    pub(crate) fn has(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        line(&self.old, path).is_some_and(|old| line(&self.new, path) == Some(old))
    }
}

/// The line of a path. A torn last line is none.
fn line<'a>(sums: &'a [u8], path: &[u8]) -> Option<&'a [u8]> {
    let named = |line: &&[u8]| {
        let named = line.get(BEFORE..).and_then(|rest| rest.strip_prefix(ETC));
        named.and_then(|rest| rest.strip_suffix(b"\n")) == Some(path)
    };
    sums.split_inclusive(|byte| *byte == b'\n').find(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_that_both_have_count() {
        let line = |sum: &str, path: &str| format!("{}  {path}\n", sum.repeat(64));
        let old = [line("a", "etc/same"), line("a", "etc/other"), line("b", "etc/gone")].concat();
        let new = [line("a", "etc/same"), line("c", "etc/other"), line("a", "etc/new")].concat();
        let same = |old: &str, new: &str| {
            let unchanged = Unchanged::of(old.into(), new.into());
            let paths = ["same", "other", "gone", "new", "sam", ""];
            paths.into_iter().filter(|path| unchanged.has(Path::new(path))).collect::<Vec<_>>()
        };
        assert_eq!(same(&old, &new), ["same"]);
        assert_eq!(same(&old, &new.replace("etc/new\n", "etc/ne")), ["same"]);
        assert!(same("", &new).is_empty());
        assert!(same("short\n", "short\n").is_empty());
        let torn = old[..75].trim_end();
        assert!(same(torn, torn).is_empty(), "{torn}");
    }
}
