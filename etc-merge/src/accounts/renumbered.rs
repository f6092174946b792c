//! Accounts whose number is another than before.
//!
//! The image gives system users their numbers, and another set of packages gives other numbers.
//! Files on /var keep the old number. Whoever knows /var changes their owners with this list.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::accounts::file::AccountFile;
use crate::accounts::table::Table;
use crate::escaped::escaped;

/// A user or a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum AccountKind {
    /// An entry of passwd
    User,
    /// An entry of group
    Group,
}

/// One account that has another number than before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Renumbered {
    /// User or group
    pub kind: AccountKind,
    /// The name, in printable ASCII
    pub name: String,
    /// The number that its files have
    pub old: u32,
    /// The number that it has now
    pub new: u32,
}

/// Returns the accounts that are in the old and in the new files with different numbers.
///
/// The list is one step, not a sequence. With 100 → 101 and 101 → 103, look up each file's old
/// owner in the list once. If several names share an old number, only the first of them counts: its
/// name is the one that the system shows for that number. Lines that are no entries are ignored.
pub fn renumbered(
    old_passwd: &[u8],
    old_group: &[u8],
    new_passwd: &[u8],
    new_group: &[u8],
) -> Vec<Renumbered> {
    let mut all = Vec::new();
    let files = [
        (AccountKind::User, AccountFile::Passwd, old_passwd, new_passwd),
        (AccountKind::Group, AccountFile::Group, old_group, new_group),
    ];
    for (kind, file, old, new) in files {
        let (old, new) = (Table::parse(file, old), Table::parse(file, new));
        let now = new.numbers();
        let mut seen = HashSet::new();
        for entry in old.entries() {
            let Some(old) = entry.number().filter(|number| seen.insert(*number)) else { continue };
            let Some(&new) = now.get(entry.name()) else { continue };
            if new != old {
                all.push(Renumbered { kind, name: escaped(entry.name()), old, new });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(old: &str, new: &str) -> Vec<(String, u32, u32)> {
        let table = |text: &str| -> String {
            let line = |pair: &str| {
                let (name, number) = pair.split_once(' ').unwrap();
                format!("{name}:x:{number}:7::/:/bin/sh\n")
            };
            text.split(',').filter(|pair| !pair.is_empty()).map(line).collect()
        };
        let found = renumbered(table(old).as_bytes(), b"", table(new).as_bytes(), b"");
        found.into_iter().map(|found| (found.name, found.old, found.new)).collect()
    }

    fn moved(all: &[(&str, u32, u32)]) -> Vec<(String, u32, u32)> {
        all.iter().map(|(name, old, new)| ((*name).to_owned(), *old, *new)).collect()
    }

    #[test]
    fn a_chain_and_a_swap_are_one_step() {
        let chain = users(
            "mosquitto 100,postgres 101,x 5",
            "avahi 100,mosquitto 101,chrony 102,postgres 103,x 5",
        );
        assert_eq!(chain, moved(&[("mosquitto", 100, 101), ("postgres", 101, 103)]));
        assert_eq!(users("a 1,b 2", "a 2,b 1"), moved(&[("a", 1, 2), ("b", 2, 1)]));
        assert_eq!(users("a 1,b 2,c 3", "c 2,a 3,b 1").len(), 3);
    }

    #[test]
    fn a_new_user_a_removed_user_and_the_second_name_of_a_number_are_left_out() {
        assert_eq!(users("gone 1,root 0,toor 0", "new 1,root 0,toor 9"), []);
    }

    #[test]
    fn groups_are_told_from_users_and_damaged_lines_are_ignored() {
        let found = renumbered(
            b"a:x:many:1::/:/\nb:x:1\n\n# c:x:1:1::/:/\n",
            b"g:x:1:\nhuge:x:4294967296:\n",
            b"a:x:1:1::/:/\nb:x:2:1::/:/\nc:x:2:1::/:/\n",
            b"g:x:2:a\nhuge:x:1:\n",
        );
        let expected =
            Renumbered { kind: AccountKind::Group, name: "g".to_owned(), old: 1, new: 2 };
        assert_eq!(found, [expected]);
    }
}
