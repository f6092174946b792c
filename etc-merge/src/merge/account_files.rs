//! Reads the account files of the three sides and merges them.
//!
//! `accounts` has the rules. `walk` puts the contents into the plan.

use std::path::Path;

use crate::accounts::renumbered::{Renumbered, renumbered};
use crate::accounts::{AccountFile, AccountFiles, merge_accounts};
use crate::error::Error;
use crate::report::Report;
use crate::tree::marks::Marks;
use crate::tree::node::Node;

/// The account files after the merge.
#[derive(Default)]
pub(crate) struct Merged {
    files: AccountFiles,
    /// True if the old upper names one of them.
    pub(crate) changed: bool,
    pub(crate) renumbered: Vec<Renumbered>,
}

impl Merged {
    /// The content of the file, if it was merged with the others.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.files.get(AccountFile::named(name).filter(|_| self.changed)?)
    }
}

/// One side of one file: nothing is there, a file that can be merged, or something else.
enum Found {
    Nothing,
    Hidden,
    Bytes(Vec<u8>),
    Other,
}

fn find(folder: &Path, file: AccountFile, marks: Marks) -> Result<Found, Error> {
    Ok(match Node::look(&folder.join(file.name()), marks)? {
        None => Found::Nothing,
        Some(node) if node.is_whiteout(false) => Found::Hidden,
        Some(node) => node.accounts()?.map_or(Found::Other, Found::Bytes),
    })
}

/// Merges the files. A file that is no plain file on one side, or too large, is left out: then mine
/// stays as with any other file.
pub(crate) fn merge(
    [base, upper, theirs]: [&Path; 3],
    marks: Marks,
    report: &mut Report,
) -> Result<Merged, Error> {
    let mut sides: [AccountFiles; 3] = Default::default();
    let mut changed = false;
    for file in AccountFile::ALL {
        let before = find(base, file, marks)?;
        let there = find(theirs, file, marks)?;
        let mine = find(upper, file, marks)?;
        changed |= !matches!(mine, Found::Nothing);
        let old = bytes(before);
        let mine = match mine {
            Found::Nothing => Some(old.clone().unwrap_or_default()),
            mine => bytes(mine),
        };
        if let (Some(old), Some(mine), Some(there)) = (old, mine, bytes(there)) {
            for (side, content) in sides.iter_mut().zip([old, mine, there]) {
                *side.get_mut(file) = content;
            }
        }
    }
    let [base, mine, theirs] = &sides;
    let (files, lines) = merge_accounts(base, mine, theirs);
    lines.into_iter().for_each(|line| report.add(line));
    let numbers = |files: &AccountFiles| {
        [AccountFile::Passwd, AccountFile::Group].map(|f| files.get(f).unwrap_or_default().to_vec())
    };
    let ([old_passwd, old_group], [new_passwd, new_group]) = (numbers(mine), numbers(&files));
    let renumbered = renumbered(&old_passwd, &old_group, &new_passwd, &new_group);
    Ok(Merged { files, changed, renumbered })
}

/// The content, or nothing. `None` if it is neither.
fn bytes(found: Found) -> Option<Option<Vec<u8>>> {
    match found {
        Found::Nothing | Found::Hidden => Some(None),
        Found::Bytes(bytes) => Some(Some(bytes)),
        Found::Other => None,
    }
}
