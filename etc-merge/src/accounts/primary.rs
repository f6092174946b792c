//! Keeps each user in its primary group.
//!
//! `passwd` names that group by its number, and a number may mean another group in another image.
//! So the number is read with the group file of the side that it comes from.

use std::collections::{HashMap, HashSet};

use crate::accounts::file::AccountFile;
use crate::accounts::merge::line;
use crate::accounts::table::{Table, Tables};
use crate::escaped::escaped;
use crate::report::{Line, Outcome};

/// Field of passwd that has the number of the user's group.
const FIELD: usize = 3;
const PASSWD: usize = AccountFile::Passwd as usize;
const GROUP: usize = AccountFile::Group as usize;

/// The groups that users are in: their numbers by user, and their names by number.
struct Side<'a> {
    groups: &'a Table,
    of_user: HashMap<Vec<u8>, u32>,
    by_number: HashMap<u32, Vec<u8>>,
}

impl<'a> Side<'a> {
    fn new(tables: &'a Tables) -> Self {
        let (mut of_user, mut by_number) = (HashMap::new(), HashMap::new());
        for user in tables[PASSWD].entries() {
            if let Some(number) = user.number_in(FIELD) {
                of_user.entry(user.name().to_vec()).or_insert(number);
            }
        }
        for group in tables[GROUP].entries() {
            if let Some(number) = group.number() {
                by_number.entry(number).or_insert_with(|| group.name().to_vec());
            }
        }
        Self { groups: &tables[GROUP], of_user, by_number }
    }

    /// The group that this side means by the number, if this side gives it to the user.
    fn group(&self, user: &[u8], number: u32) -> Option<&Vec<u8>> {
        let number = self.of_user.get(user).filter(|mine| **mine == number)?;
        self.by_number.get(number)
    }
}

/// Puts back a group that a user still has and that was removed.
pub(crate) fn complete(result: &mut Tables, mine: &Tables, theirs: &Tables, lines: &mut Vec<Line>) {
    let sides = [Side::new(theirs), Side::new(mine)];
    let mut there: HashSet<Vec<u8>> = result[GROUP].first_fields().into_iter().collect();
    let mut missing = Vec::new();
    for user in result[PASSWD].entries() {
        let Some(number) = user.number_in(FIELD) else { continue };
        let found = |side| Side::group(side, user.name(), number).map(|group| (side, group));
        let Some((side, group)) = sides.iter().find_map(found) else { continue };
        if there.insert(group.clone()) {
            let (name, user) = (escaped(group), escaped(user.name()));
            let reason = format!("{name}: it stays, because it is the group of the user {user}");
            lines.push(line(AccountFile::Group, Outcome::Kept, reason));
            let group = side.groups.entries().find(|entry| entry.name() == group.as_slice());
            missing.extend(group.cloned());
        }
    }
    missing.into_iter().for_each(|group| result[GROUP].push(group));
}

/// Gives each user the number that its group has now.
pub(crate) fn follow(result: &mut Tables, mine: &Tables, theirs: &Tables) {
    let sides = [Side::new(theirs), Side::new(mine)];
    let now: HashMap<Vec<u8>, u32> = result[GROUP].numbers();
    for user in result[PASSWD].entries_mut() {
        let Some(number) = user.number_in(FIELD) else { continue };
        let group = sides.iter().find_map(|side| side.group(user.name(), number));
        if let Some(now) = group.and_then(|group| now.get(group))
            && *now != number
        {
            user.set_number(FIELD, *now);
        }
    }
}
