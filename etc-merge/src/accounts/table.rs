//! An account file as a table.
//!
//! `merge` compares tables. A table keeps every line that it does not understand, so that it can be
//! written back as it was.

use std::collections::{HashMap, HashSet};

use crate::accounts::file::AccountFile;

/// An entry: at least a name, and the right number of fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    file: AccountFile,
    /// All fields, the name first.
    pub(crate) fields: Vec<Vec<u8>>,
}

impl Record {
    pub(crate) fn name(&self) -> &[u8] {
        &self.fields[0]
    }

    /// The line without its end.
    pub(crate) fn line(&self) -> Vec<u8> {
        self.fields.join(&b':')
    }

    /// What tells this entry from the others of its file.
    pub(crate) fn key(&self) -> Vec<u8> {
        if self.file.is_list() { self.line() } else { self.name().to_vec() }
    }

    /// The account's own number, if the field is a number.
    pub(crate) fn number(&self) -> Option<u32> {
        self.number_in(self.file.number()?)
    }

    /// The number in a field.
    pub(crate) fn number_in(&self, field: usize) -> Option<u32> {
        let digits = self.fields.get(field)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Puts a number into a field.
    pub(crate) fn set_number(&mut self, field: usize, number: u32) {
        self.fields[field] = number.to_string().into_bytes();
    }
}

/// One line of an account file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Row {
    Record(Record),
    /// A comment, a line of NIS (`+` or `-`), or something that is no entry.
    Other(Vec<u8>),
}

/// An account file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    pub(crate) file: AccountFile,
    pub(crate) rows: Vec<Row>,
    /// Why the file cannot be merged by entries.
    pub(crate) damage: Option<&'static str>,
}

/// One side's six tables.
pub(crate) type Tables = [Table; 6];

impl Table {
    /// Reads a file. Empty lines are left out.
    pub(crate) fn parse(file: AccountFile, bytes: &[u8]) -> Self {
        let mut table = Self { file, rows: Vec::new(), damage: None };
        let mut keys = HashSet::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let fields: Vec<Vec<u8>> =
                line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
            let odd = line.iter().any(|byte| matches!(byte, b'\r' | 0));
            if matches!(line[0], b'#' | b'+' | b'-') && !odd {
                table.rows.push(Row::Other(line.to_vec()));
            } else if odd || fields[0].is_empty() || fields.len() != file.fields().len() {
                table.rows.push(Row::Other(line.to_vec()));
                table.damage = Some("a line is no entry");
            } else {
                let record = Record { file, fields };
                if !keys.insert(record.key()) {
                    table.damage = Some("a name has two lines");
                }
                table.rows.push(Row::Record(record));
            }
        }
        table
    }

    /// The file's bytes; every line ends in a newline.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in &self.rows {
            match row {
                Row::Record(record) => bytes.extend(record.line()),
                Row::Other(line) => bytes.extend(line),
            }
            bytes.push(b'\n');
        }
        bytes
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Record> {
        self.rows.iter().filter_map(|row| match row {
            Row::Record(record) => Some(record),
            Row::Other(_) => None,
        })
    }

    /// The lines that are no entries.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.rows.iter().filter_map(|row| match row {
            Row::Record(_) => None,
            Row::Other(line) => Some(line),
        })
    }

    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.rows.iter_mut().filter_map(|row| match row {
            Row::Record(record) => Some(record),
            Row::Other(_) => None,
        })
    }

    /// The number of each account.
    pub(crate) fn numbers(&self) -> HashMap<Vec<u8>, u32> {
        let mut all = HashMap::new();
        for entry in self.entries() {
            if let Some(number) = entry.number() {
                all.entry(entry.name().to_vec()).or_insert(number);
            }
        }
        all
    }

    /// The first entry of this name.
    pub(crate) fn named(&self, name: &[u8]) -> Option<&Record> {
        self.entries().find(|entry| entry.name() == name)
    }

    /// What stands before the first colon of each line, even of one that is no entry.
    pub(crate) fn first_fields(&self) -> Vec<Vec<u8>> {
        let first = |row: &Row| match row {
            Row::Record(record) => record.name().to_vec(),
            Row::Other(line) => {
                line.split(|byte| *byte == b':').next().unwrap_or_default().to_vec()
            }
        };
        self.rows.iter().map(first).collect()
    }

    /// Adds an entry at the end, but before the lines that stand there and are no entries. NIS
    /// lines must stay last.
    pub(crate) fn push(&mut self, record: Record) {
        let last = self.rows.iter().rposition(|row| matches!(row, Row::Record(_)));
        self.rows.insert(last.map_or(self.rows.len(), |last| last + 1), Row::Record(record));
    }
}
