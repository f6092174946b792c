//! The check that no line is longer than 100 columns.
//!
//! It reads Rust, Markdown, configuration, shell scripts and Makefiles. A line that cannot be
//! broken may be longer: a table or code in Markdown, a recipe of a Makefile, a single link, a raw
//! string of one word.
//! Corpora, golden files, lock files and licences are left out. A character is a column.

use anyhow::Result;

use crate::markdown::Code;
use crate::tree::Tree;
use crate::violation::{Check, Violation};

const COLUMNS: usize = 100;

const ENDINGS: [&str; 16] = [
    "rs", "md", "sh", "cfg", "toml", "yaml", "yml", "service", "timer", "socket", "mount", "path",
    "target", "conf", "network", "netdev",
];

/// One violation for each line that is too long.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Violation>> {
    let mut all = Vec::new();
    for path in tree.files().filter(|path| !left_out(path)) {
        let bytes = tree.bytes(path)?;
        if !has_ending(path) && !bytes.starts_with(b"#!") {
            continue;
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        all.extend(long_lines(path, &text).map(|(line, columns)| Violation {
            check: Check::Columns,
            path: path.to_owned(),
            line,
            what: format!("{columns} columns, at most {COLUMNS}"),
            remedy: "break the line",
            details: Vec::new(),
        }));
    }
    Ok(all)
}

fn left_out(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "Cargo.lock"
        || name.starts_with("LICENSE")
        || path.starts_with("tests/fuzz/corpus/")
        || path.contains("/golden/")
}

fn has_ending(path: &str) -> bool {
    let ending = path.rsplit_once('.').map(|(_, ending)| ending);
    is_makefile(path) || ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

fn is_makefile(path: &str) -> bool {
    path == "Makefile" || path.ends_with("/Makefile")
}

/// The number and the length of each line that is too long.
fn long_lines<'a>(path: &'a str, text: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    let markdown = path.ends_with(".md");
    let mut code = Code::default();
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let in_code = markdown && code.is(line);
        let columns = line.chars().count();
        let fits = columns <= COLUMNS
            || in_code
            || markdown && line.trim_start().starts_with('|')
            || is_makefile(path) && line.starts_with('\t')
            || is_one_link(line)
            || is_one_raw_string(line);
        (!fits).then_some((number, columns))
    })
}

/// Whether the line, without the marks of a comment or a list, is one word or one link.
fn is_one_link(line: &str) -> bool {
    let text = line.trim_start_matches([' ', '\t', '/', '!', '#', '*', '-', '>', '"']);
    let one_word = !text.contains(' ') && text.contains("://");
    let definition = text.starts_with('[') && text.split_once("]: ").is_some_and(one_word_after);
    let link = text.starts_with('[') && text.matches("](").count() == 1;
    one_word || definition || link && text.trim_end_matches(['.', ',', ';', ':']).ends_with(')')
}

/// Whether the line is one raw string without a blank, such as JSON: Rust cannot continue it.
fn is_one_raw_string(line: &str) -> bool {
    line.trim().starts_with("r#\"") && !line.trim().contains(' ')
}

fn one_word_after((_, after): (&str, &str)) -> bool {
    !after.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn a_line_of_101_columns_is_found_in_every_kind_of_text_and_100_characters_are_not() {
        let long = format!("#!/bin/sh\n{}\n{}\n", "é".repeat(100), "é".repeat(101));
        let files = ["a.rs", "b.md", "c.toml", "d.service", "Makefile", "setup", "Cargo.lock"];
        let files = files.map(|path| (path, long.as_str()));
        let (_dir, tree) = made_up(&files);
        let found = check(&tree).unwrap();
        let places: Vec<_> = found.iter().map(|v| (v.path.as_str(), v.line)).collect();
        let expected = ["a.rs", "b.md", "c.toml", "d.service", "Makefile", "setup"];
        assert_eq!(places, expected.map(|path| (path, 3)));
        assert_eq!(found[0].what, "101 columns, at most 100");
    }

    #[test]
    fn lines_that_cannot_be_broken_may_be_longer() {
        let long = "x".repeat(101);
        let markdown = format!(
            "| {long} |\n\n```\n{long} y\n```\n\n    {long} y\n\n- [{long} y](z).\n\
             https://example.org/{long}\n\n- item\n\n    {long} y\n"
        );
        let (_dir, tree) = made_up(&[
            ("a.md", &markdown),
            ("Makefile", &format!("all:\n\t{long} y\n")),
            ("a.rs", &format!("// https://example.org/{long}\n    r#\"{long}\"#,\n")),
        ]);
        let found = check(&tree).unwrap();
        let places: Vec<_> = found.iter().map(|v| (v.path.as_str(), v.line)).collect();
        assert_eq!(places, [("a.md", 14)]);
    }
}
