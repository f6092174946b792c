//! Expressions of licences: Debian's form becomes SPDX's.
//!
//! `names` knows the licences. Debian writes `A or B, and C`: a comma ends a group. SPDX has
//! brackets for that. A licence that SPDX does not know becomes a reference,
//! `LicenseRef-SOURCE-NAME`.

use std::collections::BTreeMap;

use super::names;

/// References that the expressions so far use: their names and texts.
pub(super) type References = BTreeMap<String, Reference>;

/// A licence without a name of SPDX's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reference {
    /// Debian's name.
    pub(super) name: String,
    /// Its text, as a copyright file has it. `None`: the file names it only.
    pub(super) text: Option<String>,
}

/// Translates one expression of the source package `source`. `text` returns the text of a licence.
/// `None`: the expression is empty.
pub(super) fn translate(
    debian: &str,
    source: &str,
    text: impl Fn(&str) -> Option<String>,
    references: &mut References,
) -> Option<String> {
    let mut whole: Option<Group> = None;
    for part in debian.split(',').map(str::trim) {
        let (joint, part) = match part.split_once(' ') {
            Some(("or" | "and/or", rest)) => ("OR", rest),
            Some(("and", rest)) => ("AND", rest),
            _ => ("AND", part),
        };
        let Some(group) = translate_group(part, source, &text, references) else { continue };
        whole = Some(match whole {
            None => group,
            Some(first) => Group {
                text: format!("{} {joint} {}", first.in_brackets(), group.in_brackets()),
                is_one: false,
            },
        });
    }
    whole.map(|group| group.text)
}

/// Part of an expression.
struct Group {
    text: String,
    /// Whether it is one licence, which needs no brackets.
    is_one: bool,
}

impl Group {
    fn in_brackets(&self) -> String {
        if self.is_one { self.text.clone() } else { format!("({})", self.text) }
    }
}

/// Translates a part without commas. `and` binds closer than `or`, here and in SPDX.
fn translate_group(
    part: &str,
    source: &str,
    text: impl Fn(&str) -> Option<String>,
    references: &mut References,
) -> Option<Group> {
    let mut found: Option<Group> = None;
    let (mut term, mut joint) = (Vec::new(), "AND");
    for word in part.split_whitespace().chain(["and"]) {
        let next = match word {
            "and" => "AND",
            "or" | "and/or" => "OR",
            word => {
                term.push(word);
                continue;
            }
        };
        if !term.is_empty() {
            let one = translate_term(&term.join(" "), source, &text, references);
            found = Some(match found {
                None => Group { text: one, is_one: true },
                Some(first) => {
                    Group { text: format!("{} {joint} {one}", first.text), is_one: false }
                }
            });
            term.clear();
        }
        joint = next;
    }
    found
}

/// Translates one licence with its exception.
fn translate_term(
    term: &str,
    source: &str,
    text: impl Fn(&str) -> Option<String>,
    references: &mut References,
) -> String {
    let known = match term.split_once(" with ") {
        None => names::licence(term),
        Some((licence, exception)) => names::licence(licence)
            .zip(names::exception(exception))
            .map(|(licence, exception)| format!("{licence} WITH {exception}")),
    };
    known.unwrap_or_else(|| {
        let id = format!("LicenseRef-{}-{}", plain(source), plain(term));
        let reference = || Reference { name: term.to_owned(), text: text(term) };
        references.entry(id.clone()).or_insert_with(reference);
        id
    })
}

/// Letters, digits, `.` and `-` are all that an id may have.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') => plain.push(c),
            '+' => plain.push_str("plus"),
            _ => plain.push('-'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_keep_their_meaning() {
        for (debian, spdx) in [
            ("GPL-2+", "GPL-2.0-or-later"),
            ("Artistic or GPL-1+", "LicenseRef-perl-Artistic OR GPL-1.0-or-later"),
            ("GPL-2+ and Expat or ISC", "GPL-2.0-or-later AND MIT OR ISC"),
            ("GPL-2 or Expat, and ISC", "(GPL-2.0-only OR MIT) AND ISC"),
            ("GPL-2, Expat", "GPL-2.0-only AND MIT"),
            ("GPL-2+ with Bison exception", "GPL-2.0-or-later WITH Bison-exception-2.2"),
            ("GPL-2+ with magic exception", "LicenseRef-perl-GPL-2plus-with-magic-exception"),
        ] {
            let mut references = References::new();
            let text = |name: &str| Some(format!("text of {name}"));
            let found = translate(debian, "perl", text, &mut references);
            assert_eq!(found.as_deref(), Some(spdx), "{debian}");
            assert_eq!(references.len(), usize::from(spdx.contains("LicenseRef")), "{debian}");
        }
        assert_eq!(translate(" , ", "x", |_| None, &mut References::new()), None);
    }
}
