//! Merges one account file by entries.
//!
//! `together` looks at all six afterwards, because accounts are spread over several files.

use std::collections::{HashMap, HashSet};

use crate::accounts::fields;
use crate::accounts::file::AccountFile;
use crate::accounts::table::{Record, Row, Table};
use crate::escaped::escaped;
use crate::report::{Line, Outcome};

/// Makes a line of the report.
pub(crate) fn line(file: AccountFile, outcome: Outcome, reason: String) -> Line {
    Line { path: file.name().to_owned(), outcome, reason }
}

/// The entries by their keys.
pub(crate) fn index(table: &Table) -> HashMap<Vec<u8>, &Record> {
    let mut all = HashMap::new();
    for entry in table.entries() {
        all.entry(entry.key()).or_insert(entry);
    }
    all
}

/// Merges the contents of one file.
pub(crate) fn merge(
    file: AccountFile,
    base: Option<&[u8]>,
    mine: Option<&[u8]>,
    theirs: Option<&[u8]>,
    lines: &mut Vec<Line>,
) -> Option<Vec<u8>> {
    if mine == base {
        return theirs.map(<[u8]>::to_vec);
    }
    if theirs == base || mine == theirs {
        return mine.map(<[u8]>::to_vec);
    }
    let (mine, theirs) = match (mine, theirs) {
        (None, theirs) => {
            let reason = "it was deleted here; the image's is there again".to_owned();
            lines.push(line(file, Outcome::Image, reason));
            return theirs.map(<[u8]>::to_vec);
        }
        (Some(mine), None) => {
            let reason = "changed here, and the image removed it".to_owned();
            lines.push(line(file, Outcome::Kept, reason));
            return Some(mine.to_vec());
        }
        (Some(mine), Some(theirs)) => (Table::parse(file, mine), Table::parse(file, theirs)),
    };
    let base = Table::parse(file, base.unwrap_or_default());
    let damage = [("here", &mine), ("in the image", &theirs), ("in the old image", &base)]
        .into_iter()
        .find_map(|(whose, table)| table.damage.map(|damage| format!("{whose}: {damage}")));
    if let Some(damage) = damage {
        let reason = format!("{damage}; the file stays, and new accounts of the image are added");
        lines.push(line(file, Outcome::Conflict, reason));
        return Some(append(mine, &base, &theirs).encode());
    }
    Some(by_entries(&base, &mine, &theirs, lines).encode())
}

/// Adds the accounts that only the image has to a file that stays as it is.
pub(crate) fn append(mut mine: Table, base: &Table, theirs: &Table) -> Table {
    let known = [mine.first_fields(), base.first_fields()].concat();
    let mut known: HashSet<Vec<u8>> = known.into_iter().collect();
    for entry in theirs.entries() {
        if known.insert(entry.name().to_vec()) {
            mine.push(entry.clone());
        }
    }
    mine
}

fn by_entries(base: &Table, mine: &Table, theirs: &Table, lines: &mut Vec<Line>) -> Table {
    let file = mine.file;
    let (in_base, in_mine, in_theirs) = (index(base), index(mine), index(theirs));
    let mut say = |outcome: Outcome, name: &[u8], what: &str| {
        lines.push(line(file, outcome, format!("{}: {what}", escaped(name))));
    };
    let mut rows = Vec::new();
    for their in theirs.entries() {
        let key = their.key();
        match (in_base.get(&key), in_mine.get(&key)) {
            (None, None) => rows.push(Row::Record(their.clone())),
            (Some(base), None) => {
                if *base != their {
                    say(Outcome::DeletedChanged, their.name(), "deleted; the image changed it");
                }
            }
            (base, Some(my)) => {
                let mut fields = Vec::new();
                let merged = fields::merge(file, base.copied(), my, their, &mut fields);
                for field in fields {
                    let added = if base.is_none() { "added" } else { "changed" };
                    let what = format!("{field}: {added} here and in the image; here counts");
                    say(Outcome::Conflict, my.name(), &what);
                }
                rows.push(Row::Record(merged));
            }
        }
    }
    for my in mine.entries().filter(|my| !in_theirs.contains_key(&my.key())) {
        match in_base.get(&my.key()) {
            // The image removed it, and nobody changed it here.
            Some(base) if *base == my => continue,
            Some(_) => say(Outcome::Kept, my.name(), "changed here; the image removed it"),
            None => {}
        }
        rows.push(Row::Record(my.clone()));
    }
    let (head, tail) = others(base, mine, theirs);
    let rows = head.into_iter().chain(rows).chain(tail).collect();
    Table { file, rows, damage: None }
}

/// Merges the lines that are no entries: those before the first entry, and the rest.
fn others(base: &Table, mine: &Table, theirs: &Table) -> (Vec<Row>, Vec<Row>) {
    let others = |table: &Table| -> HashSet<Vec<u8>> { table.others().cloned().collect() };
    let (before, in_mine, in_theirs) = (others(base), others(mine), others(theirs));
    let stays = |line: &Vec<u8>| {
        (in_mine.contains(line) && in_theirs.contains(line)) || !before.contains(line)
    };
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for table in [theirs, mine] {
        let mut place = &mut head;
        for row in &table.rows {
            match row {
                Row::Record(_) => place = &mut tail,
                Row::Other(line) if stays(line) && seen.insert(line.clone()) => {
                    place.push(row.clone())
                }
                Row::Other(_) => {}
            }
        }
    }
    (head, tail)
}
