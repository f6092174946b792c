//! The six account files and what their fields mean.
//!
//! `table` reads a file, `fields` merges an entry. passwd(5), shadow(5), group(5), gshadow(5),
//! subuid(5) and subgid(5) describe them.

/// One of the account files, directly in /etc.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AccountFile {
    /// Users
    Passwd,
    /// Groups
    Group,
    /// Passwords of users
    Shadow,
    /// Passwords and administrators of groups
    Gshadow,
    /// Ranges of user numbers that a user may give to containers
    Subuid,
    /// The same of groups
    Subgid,
}

use AccountFile::{Group, Gshadow, Passwd, Shadow, Subgid, Subuid};

impl AccountFile {
    /// All of them.
    pub const ALL: [Self; 6] = [Passwd, Group, Shadow, Gshadow, Subuid, Subgid];

    /// The file's name in /etc.
    pub fn name(self) -> &'static str {
        match self {
            Passwd => "passwd",
            Group => "group",
            Shadow => "shadow",
            Gshadow => "gshadow",
            Subuid => "subuid",
            Subgid => "subgid",
        }
    }

    /// The file of this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name().as_bytes() == name)
    }

    /// What each field is, with the name of the account first.
    pub(crate) fn fields(self) -> &'static [&'static str] {
        match self {
            Passwd => &["name", "password", "number", "group", "comment", "home", "shell"],
            Group => &["name", "password", "number", "members"],
            Shadow => &[
                "name",
                "password",
                "last change",
                "least age",
                "most age",
                "warning",
                "inactivity",
                "expiry",
                "reserved field",
            ],
            Gshadow => &["name", "password", "administrators", "members"],
            Subuid | Subgid => &["name", "start", "count"],
        }
    }

    /// True if the field is a list of names without an order.
    pub(crate) fn is_set(self, field: usize) -> bool {
        matches!((self, field), (Group, 3) | (Gshadow, 2 | 3))
    }

    /// True if one name may have several lines, so that the whole line is the key.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Subuid | Subgid)
    }

    /// The field with the account's own number.
    pub(crate) fn number(self) -> Option<usize> {
        matches!(self, Passwd | Group).then_some(2)
    }
}

/// The contents of the six files; `None` for a file that is not there.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AccountFiles(pub [Option<Vec<u8>>; 6]);

impl AccountFiles {
    /// The content of one file.
    pub fn get(&self, file: AccountFile) -> Option<&[u8]> {
        self.0[file as usize].as_deref()
    }

    /// The place of one file's content.
    pub fn get_mut(&mut self, file: AccountFile) -> &mut Option<Vec<u8>> {
        &mut self.0[file as usize]
    }
}
