//! Merges the six account files, and looks at them together.
//!
//! A person who changed `passwd` may have left `shadow` alone. Merged one by one, the files could
//! then have a user without a password line or without a group. `numbers` looks for two accounts
//! with one number.

use std::collections::HashSet;

use crate::accounts::file::{AccountFile, AccountFiles};
use crate::accounts::merge::{append, index, line, merge};
use crate::accounts::table::{Table, Tables};
use crate::accounts::{numbers, primary};
use crate::report::{Line, Outcome};

/// Merges the account files. The lines say what a person should know.
///
/// If nothing was changed here, the result is theirs. If the image changed nothing, it is mine.
/// Otherwise each account that only theirs has is in the result. If its number belongs to an
/// account of mine, it gets a free one.
pub fn merge_accounts(
    base: &AccountFiles,
    mine: &AccountFiles,
    theirs: &AccountFiles,
) -> (AccountFiles, Vec<Line>) {
    let mut lines = Vec::new();
    if mine == base || theirs == base || mine == theirs {
        let same = if mine == base { theirs } else { mine };
        return (same.clone(), lines);
    }
    let mut result = AccountFiles::default();
    for file in AccountFile::ALL {
        let merged = merge(file, base.get(file), mine.get(file), theirs.get(file), &mut lines);
        *result.get_mut(file) = merged;
    }
    agree(base, mine, theirs, &mut result, &mut lines);
    (result, lines)
}

/// Without a base: mine stays, and the accounts that only theirs has are added.
pub(crate) fn add_missing(mine: &AccountFiles, theirs: &AccountFiles) -> (AccountFiles, Vec<Line>) {
    let mut lines = Vec::new();
    let none = AccountFiles::default();
    let mut result = mine.clone();
    for file in AccountFile::ALL {
        let (Some(my), Some(their)) = (mine.get(file), theirs.get(file)) else { continue };
        let parse = |bytes| Table::parse(file, bytes);
        let (my, their) = (parse(my), parse(their));
        let before = my.rows.len();
        let table = append(my, &parse(b""), &their);
        if table.rows.len() > before {
            let reason = format!("{} accounts of the image were added", table.rows.len() - before);
            lines.push(line(file, Outcome::Account, reason));
            *result.get_mut(file) = Some(table.encode());
        }
    }
    agree(&none, mine, theirs, &mut result, &mut lines);
    (result, lines)
}

/// Makes the files agree with each other.
fn agree(
    base: &AccountFiles,
    mine: &AccountFiles,
    theirs: &AccountFiles,
    result: &mut AccountFiles,
    lines: &mut Vec<Line>,
) {
    let [base, mine, theirs] = [base, mine, theirs].map(tables);
    let before = tables(result);
    let mut after = before.clone();
    primary::complete(&mut after, &mine, &theirs, lines);
    complete_pairs(&mut after, [&base, &mine, &theirs]);
    numbers::separate(&mut after, [&base, &mine, &theirs], lines);
    primary::follow(&mut after, &mine, &theirs);
    for file in AccountFile::ALL {
        let (before, after) = (&before[file as usize], &after[file as usize]);
        if result.get(file).is_some() && before != after {
            *result.get_mut(file) = Some(after.encode());
        }
    }
}

fn tables(files: &AccountFiles) -> Tables {
    AccountFile::ALL.map(|file| Table::parse(file, files.get(file).unwrap_or_default()))
}

/// Gives each user its line in shadow and each group its line in gshadow, if mine has it, or if
/// theirs has it and the account is new.
fn complete_pairs(result: &mut Tables, [base, mine, theirs]: [&Tables; 3]) {
    for (of, pair) in [
        (AccountFile::Passwd as usize, AccountFile::Shadow as usize),
        (AccountFile::Group as usize, AccountFile::Gshadow as usize),
    ] {
        let there: HashSet<Vec<u8>> = result[pair].first_fields().into_iter().collect();
        let before: HashSet<Vec<u8>> = base[of].first_fields().into_iter().collect();
        let (of_mine, of_theirs) = (index(&mine[pair]), index(&theirs[pair]));
        let mut missing = Vec::new();
        for account in result[of].entries().filter(|account| !there.contains(account.name())) {
            let name = account.name();
            let theirs = || of_theirs.get(name).filter(|_| !before.contains(name));
            missing.extend(of_mine.get(name).or_else(theirs).map(|record| (*record).clone()));
        }
        missing.into_iter().for_each(|record| result[pair].push(record));
    }
}
