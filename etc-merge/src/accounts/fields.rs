//! Merges one entry of an account file, field by field.
//!
//! `merge` says which entries. The report names fields and accounts, never a value: `shadow` has
//! secrets.

use std::collections::HashSet;

use crate::accounts::file::AccountFile;
use crate::accounts::table::Record;
use crate::three::three;

/// Merges an entry that both sides have. Adds the name of each field that both changed.
pub(crate) fn merge(
    file: AccountFile,
    base: Option<&Record>,
    mine: &Record,
    theirs: &Record,
    conflicts: &mut Vec<&'static str>,
) -> Record {
    let mut merged = mine.clone();
    for (index, what) in file.fields().iter().enumerate() {
        let base = base.map(|base| base.fields[index].as_slice());
        let (mine, theirs) = (&mine.fields[index], &theirs.fields[index]);
        merged.fields[index] = if file.is_set(index) {
            members(base, mine, theirs)
        } else {
            let chosen = three(base, mine.as_slice(), theirs.as_slice());
            if chosen.conflict {
                conflicts.push(what);
            }
            chosen.value.to_vec()
        };
    }
    merged
}

/// Merges lists of names as sets: what one side added is in, what one side removed is out.
fn members(base: Option<&[u8]>, mine: &[u8], theirs: &[u8]) -> Vec<u8> {
    // Equal sides keep even an odd spelling.
    if mine == theirs || base == Some(mine) {
        return theirs.to_vec();
    }
    if base == Some(theirs) {
        return mine.to_vec();
    }
    let list = |field: &'_ [u8]| -> Vec<Vec<u8>> {
        let names = field.split(|byte| *byte == b',').filter(|name| !name.is_empty());
        names.map(<[u8]>::to_vec).collect()
    };
    let (mine, theirs) = (list(mine), list(theirs));
    let set = |names: &[Vec<u8>]| names.iter().cloned().collect::<HashSet<_>>();
    let before: HashSet<Vec<u8>> = base.map(list).unwrap_or_default().into_iter().collect();
    let (in_mine, in_theirs) = (set(&mine), set(&theirs));
    let mut seen = HashSet::new();
    let stays = |name: &&Vec<u8>| {
        let both = in_mine.contains(*name) && in_theirs.contains(*name);
        both || !before.contains(*name)
    };
    let merged = theirs.iter().chain(&mine).filter(stays);
    let merged = merged.filter(|name| seen.insert((*name).clone()));
    merged.map(Vec::as_slice).collect::<Vec<_>>().join(&b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_a_set() {
        for (base, mine, theirs, expected) in [
            (Some("a,b"), "a,b,me", "a,b,new", "a,b,new,me"),
            (Some("a,b"), "b,me", "a,b,new", "b,new,me"),
            (Some("a,b"), "a,b,me", "b", "b,me"),
            (Some("a,b"), "", "a,b,c", "c"),
            (None, "me,both", "both,new", "both,new,me"),
            (Some(""), "a", "a", "a"),
            (Some("a"), "a,,me,me", "a,b", "a,b,me"),
        ] {
            let base = base.map(str::as_bytes);
            let merged = members(base, mine.as_bytes(), theirs.as_bytes());
            assert_eq!(String::from_utf8(merged).unwrap(), expected, "{base:?} {mine} {theirs}");
        }
    }
}
