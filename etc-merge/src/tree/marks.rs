//! What overlayfs notes in an upper: whiteouts, opaque folders, and where a file came from.
//!
//! The format is that of `Documentation/filesystems/overlayfs.rst`. A whiteout is a character
//! device 0:0. Its newer form is an empty file with the attribute `whiteout`, in a folder whose
//! attribute `opaque` is `x`.

/// The prefix of overlayfs's extended attributes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Marks {
    /// `trusted.overlay.`: every overlay that root mounts
    #[default]
    Trusted,
    /// `user.overlay.`: an overlay with the option `userxattr`
    User,
}

/// Attributes that hold only for the lower that was under the upper.
const OF_ITS_LOWER: [&[u8]; 6] = [b"origin", b"impure", b"nlink", b"upper", b"uuid", b"protattr"];

impl Marks {
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// The name without overlayfs's prefix, if it has that.
    pub(crate) fn own(self, name: &[u8]) -> Option<&[u8]> {
        name.strip_prefix(self.prefix())
    }

    /// True if the attribute must not stand in another upper.
    pub(crate) fn is_of_its_lower(self, name: &[u8]) -> bool {
        self.own(name).is_some_and(|name| OF_ITS_LOWER.contains(&name))
    }
}

/// The marks of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Marked {
    /// The folder hides the lower's folder.
    pub(crate) opaque: bool,
    /// The folder may hold whiteouts of the newer form.
    pub(crate) has_whiteouts: bool,
    /// The file is a whiteout, if its folder may hold such.
    pub(crate) whiteout: bool,
    /// The content is elsewhere in the lower, so the upper alone does not have it.
    pub(crate) elsewhere: bool,
}

impl Marked {
    /// Notes one attribute, whose name is without the prefix.
    pub(crate) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"opaque" if value == b"y" => self.opaque = true,
            b"opaque" if value == b"x" => self.has_whiteouts = true,
            b"whiteout" => self.whiteout = true,
            b"redirect" | b"metacopy" => self.elsewhere = true,
            _ => {}
        }
    }
}
