//! Keeps two accounts from sharing a number.
//!
//! The builder gives system users the same numbers from build to build. A person may still have
//! made a user whose number a later image wants. Two names with one number would share their files
//! and could send each other signals. So the device's account keeps its number, and the image's
//! gets another (docs/decisions.md).

use std::collections::{HashMap, HashSet};

use crate::accounts::file::AccountFile;
use crate::accounts::merge::line;
use crate::accounts::table::{Record, Row, Table, Tables};
use crate::escaped::escaped;
use crate::report::{Line, Outcome};

/// Numbers for system accounts that a package gets when it is installed (Debian policy 9.2.2).
const FREE: std::ops::RangeInclusive<u32> = 100..=999;

/// Gives accounts of theirs that share a number with an account of mine another number.
pub(crate) fn separate(
    result: &mut Tables,
    [base, mine, theirs]: [&Tables; 3],
    lines: &mut Vec<Line>,
) {
    let (passwd, group) = (AccountFile::Passwd as usize, AccountFile::Group as usize);
    let mut taken = HashSet::new();
    for side in [base, mine, theirs, &*result] {
        for table in [&side[passwd], &side[group]] {
            taken.extend(table.entries().filter_map(Record::number));
        }
    }
    // A user and a group of one name get one number.
    let mut given: HashMap<Vec<u8>, u32> = HashMap::new();
    for (file, place) in [(AccountFile::Group, group), (AccountFile::Passwd, passwd)] {
        for (guest, owner) in guests(&result[place], &mine[place], &theirs[place]) {
            let old = number_of(&mine[place], &guest);
            let free = old.filter(|old| !is_used(&result[place], *old, &theirs[place]));
            let free = free.or_else(|| given.get(&guest).copied());
            let free = free.or_else(|| FREE.rev().find(|number| !taken.contains(number)));
            let Some(entry) = result[place].entries_mut().find(|entry| entry.name() == guest)
            else {
                continue;
            };
            let Some(wanted) = entry.number() else { continue };
            let (guest_name, owner) = (escaped(&guest), escaped(&owner));
            let Some(free) = free else {
                let reason = format!(
                    "{guest_name} of the image and {owner} share the number {wanted}: no number is \
                     free"
                );
                lines.push(line(file, Outcome::Account, reason));
                continue;
            };
            entry.set_number(2, free);
            taken.insert(free);
            given.insert(guest, free);
            let reason = format!(
                "{guest_name} of the image has the number {free} and not {wanted}, which \
                 belongs to {owner}"
            );
            lines.push(line(file, Outcome::Account, reason));
        }
    }
    for file in [AccountFile::Subuid, AccountFile::Subgid] {
        let place = file as usize;
        separate_ranges(&mut result[place], &mine[place], &theirs[place], lines);
    }
}

fn number_of(table: &Table, name: &[u8]) -> Option<u32> {
    table.named(name).and_then(Record::number)
}

fn is_used(result: &Table, number: u32, theirs: &Table) -> bool {
    result.entries().chain(theirs.entries()).any(|entry| entry.number() == Some(number))
}

/// The accounts with a number of theirs that an account of mine has, each with that account.
fn guests(result: &Table, mine: &Table, theirs: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    // A damaged file may give a name several numbers, so both together are looked up.
    let pair = |entry: &Record| [entry.name(), b":", &entry.fields[2]].concat();
    let pairs = |table: &Table| table.entries().map(pair).collect::<HashSet<Vec<u8>>>();
    let (mine, theirs) = (pairs(mine), pairs(theirs));
    let mut owners: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut guests = Vec::new();
    for entry in result.entries() {
        let Some(number) = entry.number() else { continue };
        let pair = pair(entry);
        match (mine.contains(&pair), theirs.contains(&pair)) {
            (true, false) => drop(owners.entry(number).or_insert_with(|| entry.name().to_vec())),
            (false, true) => guests.push((entry.name(), number)),
            _ => {}
        }
    }
    let owner = |(name, number): (&[u8], u32)| Some((name.to_vec(), owners.get(&number)?.clone()));
    guests.into_iter().filter_map(owner).collect()
}

/// Leaves out new ranges of theirs that overlap with a range of mine of another account.
fn separate_ranges(result: &mut Table, mine: &Table, theirs: &Table, lines: &mut Vec<Line>) {
    let file = result.file;
    let range = |entry: &Record| -> Option<(u64, u64)> {
        let start = u64::from(entry.number_in(1)?);
        Some((start, start + u64::from(entry.number_in(2)?)))
    };
    let keys = |table: &Table| table.entries().map(Record::key).collect::<HashSet<Vec<u8>>>();
    let (in_mine, in_theirs) = (keys(mine), keys(theirs));
    let of_mine = result.entries().filter(|entry| in_mine.contains(&entry.key()));
    let of_mine: Vec<Record> =
        of_mine.filter(|entry| !in_theirs.contains(&entry.key())).cloned().collect();
    result.rows.retain(|row| {
        let Row::Record(entry) = row else { return true };
        if in_mine.contains(&entry.key()) {
            return true;
        }
        let Some((start, end)) = range(entry) else { return true };
        let other = of_mine.iter().find(|other| {
            let overlaps = range(other).is_some_and(|(from, to)| start < to && from < end);
            overlaps && other.name() != entry.name()
        });
        if let Some(other) = other {
            let (name, other) = (escaped(entry.name()), escaped(other.name()));
            let reason =
                format!("{name}: its range was left out, because {other} has a part of it");
            lines.push(line(file, Outcome::Account, reason));
        }
        other.is_none()
    });
}
