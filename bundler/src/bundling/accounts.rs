//! Compares the numbers of system accounts with those of the bundle that devices run now.
//!
//! `release::previous` reads that bundle. A file in /var belongs to a number and not to a name. An
//! update that gives a name another number takes the files away from it, and gives them to whoever
//! has the old number.

use std::fmt;

use anyhow::Result;

use crate::bundling::tree::Tree;
use crate::lock::Accounts;

/// Numbers from here on belong to people, and not to the system.
const PEOPLE: u32 = 1000;

/// The accounts of the bundle that devices run now.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Its path and version, for people.
    pub name: String,
    /// Its users and groups.
    pub accounts: Accounts,
}

/// Some system accounts have other numbers than in the previous bundle.
#[derive(Debug)]
pub struct OtherNumbers(Vec<String>);

impl fmt::Display for OtherNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: files in a device's /var would belong to another account; keep the numbers: make \
             the account with its old one before its package is installed, in a `run` action with \
             addgroup --system --gid and adduser --system --uid",
            self.0.join("; ")
        )
    }
}

impl std::error::Error for OtherNumbers {}

/// Checks that every system user and group of `previous` that the tree has too keeps its number.
///
/// # Errors
/// [`OtherNumbers`] names each that does not, with both numbers.
pub fn compare(previous: &Previous, tree: &Tree) -> Result<()> {
    let read = |path: &str| tree.read(path).unwrap_or_default();
    let new = Accounts::parse(&read("etc/passwd"), &read("etc/group"));
    let old = &previous.accounts;
    let mut lines = Vec::new();
    for (kind, old, new) in [("user", &old.users, &new.users), ("group", &old.groups, &new.groups)]
    {
        for (name, before) in old {
            let Some(now) = new.get(name) else { continue };
            if now != before && *now.min(before) < PEOPLE {
                let place = &previous.name;
                lines.push(format!("{kind} {name} is {now} here and {before} in {place}"));
            }
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(OtherNumbers(lines).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(old: (&str, &str), new: (&str, &str)) -> Result<(), String> {
        let accounts = Accounts::parse(old.0.as_bytes(), old.1.as_bytes());
        let mut tree = Tree::new(0);
        tree.put("etc/passwd", 0o644, new.0.as_bytes());
        tree.put("etc/group", 0o644, new.1.as_bytes());
        let previous = Previous { name: "old.daruma (1.0.0)".to_owned(), accounts };
        compare(&previous, &tree).map_err(|error| error.to_string())
    }

    #[test]
    fn each_system_account_with_another_number_is_named_with_both() {
        let error = compared(
            ("root:x:0:0::/:\npostgres:x:101:105::/:\nsshd:x:102:1::/:\n", "kvm:x:105:\n"),
            ("root:x:0:0::/:\npostgres:x:103:105::/:\nsshd:x:101:1::/:\n", "kvm:x:106:a,b\n"),
        )
        .unwrap_err();
        for line in [
            "user postgres is 103 here and 101 in old.daruma (1.0.0)",
            "user sshd is 101 here and 102 in old.daruma (1.0.0)",
            "group kvm is 106 here and 105 in old.daruma (1.0.0)",
        ] {
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn new_gone_and_peoples_accounts_are_no_reason() {
        let old =
            ("a:x:101::\ngone:x:102::\nperson:x:1000::\nnobody:x:65534::\nbroken\nb:x:y::\n", "");
        let new =
            ("a:x:101::\nnew:x:102::\nperson:x:1001::\nnobody:x:65533::\nb:x:7::\n", "g:x:1:");
        assert_eq!(compared(old, new), Ok(()));
        // A system account that becomes a person's is one.
        compared(("a:x:101::", ""), ("a:x:1001::", "")).unwrap_err();
    }
}
