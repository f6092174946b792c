//! GRUB's environment block: 1,024 bytes of `NAME=value` lines, padded with `#`.
//!
//! `state` knows what the variables mean. Lines that Daruma does not know keep their order and
//! their bytes.

use std::fmt;

use thiserror::Error;

/// First line of every block.
const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// The variables that `grub.cfg` uses, in the order in which Daruma writes them.
pub(crate) const OURS: [&str; 6] = ["ORDER", "A_OK", "A_TRY", "B_OK", "B_TRY", "TRIAL"];

/// An environment block cannot be used, or cannot be changed as asked.
#[derive(Debug, Error)]
pub enum EnvError {
    /// The block does not have [`Env::SIZE`] bytes.
    #[error("the environment block has {0} bytes instead of 1024")]
    Size(usize),
    /// The first line is not GRUB's.
    #[error("the environment block does not start with \"# GRUB Environment Block\"")]
    Signature,
    /// A block cannot hold the name or the value.
    #[error("{0:?} cannot be a variable of the environment block")]
    Unwritable(String),
    /// The variable would not lie in the first 512 bytes. One sector write replaces those bytes at
    /// once.
    #[error(
        "{0:?} does not fit in the first 512 bytes of the environment block, or behind a broken \
            line"
    )]
    Full(String),
    /// The EFI system partition has no FAT that this crate can follow.
    #[error("the EFI system partition cannot be read as FAT: {0}")]
    Fat(String),
    /// A file to be overwritten in place is missing or unfit. Healing makes the file anew.
    #[error(
        "{path} on the EFI system partition cannot be overwritten in place ({why}): heal it first"
    )]
    NotInPlace {
        /// Path of the file on the partition.
        path: &'static str,
        /// What is wrong with the file.
        why: String,
    },
    /// The new environment holds, but its second copy is still the old one.
    #[error("the environment was written, but not its second copy: {0}")]
    BakNotWritten(String),
    /// Reading or writing the partition failed.
    #[error("{doing} on the EFI system partition: {source}")]
    Io {
        /// What was being done to which file.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// An environment block.
///
/// It keeps the bytes as they are and changes them as GRUB does (`lib/envblk.c`). So
/// `encode(parse(x)) == x`, and the order stays. It also answers what GRUB would make of a broken
/// block.
///
/// On disk the signature line comes first, then the `NAME=value` lines, then `#` to the end. A `\`
/// in front escapes `\` and newline in a line. A line that starts with `#` is a comment.
#[derive(Clone, PartialEq, Eq)]
pub struct Env {
    bytes: [u8; Self::SIZE],
}

/// The place of one variable in the block.
struct Line {
    /// Offset of the name.
    start: usize,
    /// Offset of the byte after the line's newline.
    end: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Env {
    /// Size of a block, bytes.
    pub const SIZE: usize = 1024;
    /// Variables must end within this many bytes, because one sector write replaces them.
    pub const ATOMIC: usize = 512;

    /// Returns a block without variables.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = [b'#'; Self::SIZE];
        bytes[..SIGNATURE.len()].copy_from_slice(SIGNATURE);
        Self { bytes }
    }

    /// Takes what GRUB would take: exactly 1,024 bytes that begin with the signature, however
    /// broken the lines are.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvError> {
        let bytes: [u8; Self::SIZE] = bytes.try_into().map_err(|_| EnvError::Size(bytes.len()))?;
        if !bytes.starts_with(SIGNATURE) {
            return Err(EnvError::Signature);
        }
        Ok(Self { bytes })
    }

    /// Returns true if the block has only variables, comments and padding at the end. A block whose
    /// second half belongs to another file is never so.
    pub(crate) fn is_nothing_else(&self) -> bool {
        let lines = self.lines();
        let content = &self.bytes[..self.content_end()];
        let behind = content
            .get(lines.last().map_or(SIGNATURE.len(), |line| line.end)..)
            .unwrap_or_default();
        let mut comments = behind.split(|byte| *byte == b'\n');
        content.ends_with(b"\n")
            // GRUB stops at a NUL in a name, and `save_env` does not.
            && !content.contains(&0)
            && !content.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"##"))
            && !lines.iter().any(|line| line.name.contains(&b'\n'))
            && comments.all(|line| matches!(line, [] | [b'#', ..]))
    }

    /// Returns the bytes for the disk.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        self.bytes
    }

    /// Returns the value that GRUB's `load_env` would give to `name`. If the name has several
    /// lines, the last one counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let line = self.lines().into_iter().rev().find(|line| line.name == name.as_bytes())?;
        Some(String::from_utf8_lossy(&line.value).into_owned())
    }

    /// Returns names and values in their order.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.lines().iter().map(|line| (text(&line.name), text(&line.value))).collect()
    }

    /// Sets `name` to `value`. A variable that exists keeps its place, and its further lines are
    /// removed. A new variable goes to the end.
    ///
    /// # Errors
    /// [`EnvError::Unwritable`]: a block cannot hold the name or the value. [`EnvError::Full`]:
    /// some variable would then leave the first 512 bytes, or a broken line would swallow the
    /// variable. The block is unchanged after an error.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EnvError> {
        let bad_name =
            name.is_empty() || name.starts_with('#') || name.contains(['=', '\n', '\\', '\0']);
        if bad_name || value.contains('\0') {
            return Err(EnvError::Unwritable(format!("{name}={value}")));
        }
        let mut next = self.clone();
        let mut lines = next.lines().into_iter().filter(|line| line.name == name.as_bytes());
        let mut text = format!("{name}=").into_bytes();
        text.extend(escape(value));
        text.push(b'\n');
        let place = match lines.next() {
            Some(first) => {
                let later: Vec<_> = lines.map(|line| line.start..line.end).collect();
                for range in later.into_iter().rev() {
                    next.splice(range, &[]);
                }
                first.start..first.end
            }
            None => {
                let end = next.content_end();
                end..end
            }
        };
        // A broken line in front of the new variable would swallow it, so the code looks.
        let fits = next.splice(place, &text) && next.content_end() <= Self::ATOMIC;
        if !fits
            || next.get(name).as_deref() != Some(value)
            || next.without(name) != self.without(name)
        {
            return Err(EnvError::Full(name.to_owned()));
        }
        *self = next;
        Ok(())
    }

    fn without(&self, name: &str) -> Vec<(String, String)> {
        self.variables().into_iter().filter(|variable| variable.0 != name).collect()
    }

    /// Removes every line of `name`. Returns false if there was none.
    pub fn unset(&mut self, name: &str) -> bool {
        let lines: Vec<_> =
            self.lines().into_iter().filter(|line| line.name == name.as_bytes()).collect();
        for line in lines.iter().rev() {
            self.splice(line.start..line.end, &[]);
        }
        !lines.is_empty()
    }

    /// Returns what is wrong with a block that GRUB nevertheless takes. Each text is the rest of a
    /// sentence about the block's file.
    #[must_use]
    pub fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        let lines = self.lines();
        for name in OURS {
            let mut places = lines.iter().filter(|line| line.name == name.as_bytes());
            match (places.next(), places.next()) {
                (None, _) => flaws.push(format!("does not say {name}")),
                (Some(_), Some(_)) => flaws.push(format!("says {name} more than once")),
                (Some(line), None) if line.end > Self::ATOMIC => {
                    flaws.push(format!("has {name} outside its first {} bytes", Self::ATOMIC));
                }
                (Some(_), None) => {}
            }
        }
        if !self.is_nothing_else() {
            flaws.push("holds something else than variables".to_owned());
        }
        let uncountable =
            |name: &&&str| name.ends_with("_TRY") && self.saved_by_grub(name, "1").is_none();
        flaws.extend(
            OURS.iter()
                .filter(uncountable)
                .map(|name| format!("leaves GRUB no way to count in {name}")),
        );
        flaws
    }

    /// Returns the block after GRUB's `save_env` of `name=value`, if GRUB's `load_env` then reads
    /// that value back.
    ///
    /// `load_env` reads another value in three cases: the block is full; its padding does not
    /// follow a newline; or a name stands twice. `save_env` changes the first line of a name, and
    /// `load_env` believes the last.
    #[must_use]
    pub fn saved_by_grub(&self, name: &str, value: &str) -> Option<Self> {
        let mut saved = self.clone();
        (saved.grub_set(name.as_bytes(), value.as_bytes())
            && saved.get(name).as_deref() == Some(value))
        .then_some(saved)
    }

    /// Does what `grub_envblk_set()` does for a value without anything to escape. Returns false
    /// where GRUB refuses.
    fn grub_set(&mut self, name: &[u8], value: &[u8]) -> bool {
        let space = self.content_end();
        if self.bytes[space - 1] != b'\n' {
            return false;
        }
        let mut at = SIGNATURE.len();
        while at + name.len() + 1 < space {
            if self.bytes[at..].starts_with(name) && self.bytes[at + name.len()] == b'=' {
                let start = at + name.len() + 1;
                let Some(end) = end_of_value(&self.bytes, start) else { return false };
                return self.splice(start..end, value);
            }
            at = next_line(&self.bytes, at);
        }
        let line = [name, b"=", value, b"\n"].concat();
        self.splice(space..space, &line)
    }

    /// Returns the offset behind the last byte that is not padding.
    pub(crate) fn content_end(&self) -> usize {
        self.bytes.iter().rposition(|&byte| byte != b'#').map_or(0, |last| last + 1)
    }

    /// Returns the lines as `grub_envblk_iterate()` finds them. A C string ends at its first NUL.
    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut at = SIGNATURE.len();
        while at < Self::SIZE {
            if self.bytes[at] == b'#' {
                at = next_line(&self.bytes, at);
                continue;
            }
            let Some(name_len) = self.bytes[at..].iter().position(|&byte| byte == b'=') else {
                break;
            };
            let value_start = at + name_len + 1;
            let Some(value_end) = end_of_value(&self.bytes, value_start) else { break };
            let name = until_nul(&self.bytes[at..at + name_len]).to_vec();
            let value = until_nul(&unescape(&self.bytes[value_start..value_end])).to_vec();
            lines.push(Line { start: at, end: value_end + 1, name, value });
            at = value_end + 1;
        }
        lines
    }

    /// Replaces a range, moves what follows, and keeps the size. Returns false and changes nothing
    /// if the text does not fit.
    fn splice(&mut self, range: std::ops::Range<usize>, with: &[u8]) -> bool {
        let end = self.content_end().max(range.end);
        if end - range.len() + with.len() > Self::SIZE {
            return false;
        }
        let tail = self.bytes[range.end..end].to_vec();
        let tail_at = range.start + with.len();
        self.bytes[range.start..tail_at].copy_from_slice(with);
        self.bytes[tail_at..tail_at + tail.len()].copy_from_slice(&tail);
        self.bytes[tail_at + tail.len()..].fill(b'#');
        true
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.variables()).finish()
    }
}

/// Returns the place behind the next newline that is not escaped, as GRUB's `find_next_line()`
/// does.
fn next_line(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Returns the offset of the newline that ends a value, if there is one.
fn end_of_value(bytes: &[u8], start: usize) -> Option<usize> {
    let end = next_line(bytes, start);
    (end <= bytes.len() && end > start && bytes[end - 1] == b'\n').then(|| end - 1)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn escape(value: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for byte in value.bytes() {
        if matches!(byte, b'\\' | b'\n') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            other => plain.push(other),
        }
    }
    plain
}
