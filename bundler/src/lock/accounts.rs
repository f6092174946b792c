//! The names and numbers of a system's users and groups.
//!
//! `file` keeps them in the lock. `bundling::accounts` compares them with those of a bundle, and
//! `bundling::renumber` gives accounts their old numbers.

use std::collections::BTreeMap;

/// Users and groups by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accounts {
    /// Numbers of users.
    pub users: BTreeMap<String, u32>,
    /// Numbers of groups.
    pub groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// Reads the text of `/etc/passwd` and `/etc/group`. A line without a number is no account.
    #[must_use]
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: numbers(passwd), groups: numbers(group) }
    }
}

/// Returns the name and the third field of each line. Both files have this form. Of a name that
/// stands twice the first line counts, as for the C library.
fn numbers(text: &[u8]) -> BTreeMap<String, u32> {
    let mut numbers = BTreeMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        if let Ok(number) = number.parse() {
            numbers.entry(name.to_owned()).or_insert(number);
        }
    }
    numbers
}
