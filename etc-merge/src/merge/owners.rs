//! Owners of files after a change of account numbers.
//!
//! `accounts` says which accounts have another number now. Files of the old image and of the device
//! carry the old numbers, and files of the new image carry the new ones.

use crate::accounts::renumbered::{AccountKind, Renumbered};
use crate::tree::entry::Meta;

/// The new number of each old one that changed.
#[derive(Clone, Default, Debug)]
pub(crate) struct Owners {
    users: Vec<(u32, u32)>,
    groups: Vec<(u32, u32)>,
}

impl Owners {
    pub(crate) fn new(renumbered: &[Renumbered]) -> Self {
        let mut owners = Self::default();
        for account in renumbered {
            let numbers = match account.kind {
                AccountKind::User => &mut owners.users,
                AccountKind::Group => &mut owners.groups,
            };
            numbers.push((account.old, account.new));
        }
        owners
    }

    /// Gives old metadata the new numbers.
    pub(crate) fn translate(&self, meta: &mut Meta) {
        for (numbers, number) in [(&self.users, &mut meta.uid), (&self.groups, &mut meta.gid)] {
            if let Some((_, new)) = numbers.iter().find(|(old, _)| old == number) {
                *number = *new;
            }
        }
    }
}
