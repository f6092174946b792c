//! INI text by the rules of GLib's `GKeyFile`, which RAUC's manifests follow too.
//!
//! `section` and `fields` know what the keys mean.
//!
//! `#` comments stand on their own line. A group that comes twice is one group. The last of equal
//! keys wins. Values know the escapes `\s \n \t \r \\`, and `\;` in lists. This reader is stricter
//! than GLib, so that no two readers can differ. It takes only names of `A-Z a-z 0-9 . _ -`, and
//! refuses control characters.

use std::collections::BTreeMap;

use crate::ManifestError;

/// Keys and raw (still escaped) values of one section.
pub(crate) type Section = BTreeMap<String, String>;

/// Returns all sections of `text`.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Section>, ManifestError> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut current: Option<String> = None;
    for (index, line) in text.split('\n').enumerate() {
        let wrong = |why: &str| ManifestError::line(index + 1, why);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(wrong("control character"));
        }
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.trim_end_matches([' ', '\t']).strip_suffix(']');
            let name =
                name.filter(|name| valid_name(name)).ok_or_else(|| wrong("not a [section]"))?;
            sections.entry(name.to_owned()).or_default();
            current = Some(name.to_owned());
            continue;
        }
        let (key, value) =
            line.split_once('=').ok_or_else(|| wrong("neither [section] nor key=value"))?;
        let key = key.trim_end_matches([' ', '\t']);
        if !valid_name(key) {
            return Err(wrong("a key is made of A-Z a-z 0-9 . _ -"));
        }
        let section = current.as_ref().and_then(|name| sections.get_mut(name));
        let section = section.ok_or_else(|| wrong("a key before the first [section]"))?;
        section.insert(key.to_owned(), value.trim_start_matches([' ', '\t']).to_owned());
    }
    Ok(sections)
}

/// Returns true if `text` can be the name of a section or a key.
pub(crate) fn valid_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

/// Returns the text that a raw value stands for.
pub(crate) fn unescape(raw: &str) -> Result<String, String> {
    pieces(raw, false).map(|mut pieces| pieces.remove(0))
}

/// Returns the items of a raw value that is a `;` list. The last item may end in `;` or not.
pub(crate) fn unescape_list(raw: &str) -> Result<Vec<String>, String> {
    let mut items = pieces(raw, true)?;
    if items.last().is_some_and(String::is_empty) {
        items.pop();
    }
    Ok(items)
}

/// Unescapes the value. A list is also split at each `;` that is not escaped. The result is never
/// empty.
fn pieces(raw: &str, list: bool) -> Result<Vec<String>, String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => piece.push(match chars.next() {
                Some('s') => ' ',
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('\\') => '\\',
                Some(';') if list => ';',
                Some(other) => return Err(format!("unknown escape \\{}", other.escape_debug())),
                None => return Err("a \\ at the end of the line".to_owned()),
            }),
            ';' if list => pieces.push(std::mem::take(&mut piece)),
            c => piece.push(c),
        }
    }
    pieces.push(piece);
    Ok(pieces)
}

/// Returns the raw value for `text`; [`unescape`] is its inverse.
pub(crate) fn escape(text: &str) -> String {
    let mut raw = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // A reader would lose only leading blanks. While blanks lead, `raw` holds nothing but
            // `\s` escapes.
            ' ' if raw.len() == 2 * raw.matches("\\s").count() => raw.push_str("\\s"),
            '\n' => raw.push_str("\\n"),
            '\t' => raw.push_str("\\t"),
            '\r' => raw.push_str("\\r"),
            '\\' => raw.push_str("\\\\"),
            c => raw.push(c),
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, String> {
        let sections = parse(text).map_err(|e| e.to_string())?;
        unescape(&sections["s"]["k"])
    }

    #[test]
    fn the_rules_of_gkeyfile_hold() {
        assert_eq!(value("[s]\nk=1\nk=2").unwrap(), "2", "the last key wins");
        assert_eq!(
            value("[s]\nk=1\n[t]\nk=3\n[s]\nj=0\n").unwrap(),
            "1",
            "a group that comes twice is one"
        );
        assert_eq!(
            value("# c\n\n [s] \n  # c\n  k =  a # b; c \n").unwrap(),
            "a # b; c ",
            "no comment behind a value"
        );
        assert_eq!(value("[s]\r\nk=a\r\n").unwrap(), "a", "CRLF");
        assert_eq!(value("[s]\nk=\\s\\n\\t\\r\\\\ = é").unwrap(), " \n\t\r\\ = é");
        assert_eq!(value("[s]\nk=").unwrap(), "");
    }

    #[test]
    fn what_is_not_ini_is_refused_with_its_line() {
        for (text, why) in [
            ("k=1", "line 1: a key before"),
            ("[s]\nword", "line 2: neither"),
            ("[s]\n=1", "line 2: a key is"),
            ("[s]\na b=1", "line 2: a key is"),
            ("[s]\nk[de]=1", "line 2: a key is"),
            ("[s\nk=1", "line 1: not a [section]"),
            ("[]\nk=1", "line 1: not a [section]"),
            ("[s] x\nk=1", "line 1: not a [section]"),
            ("[s]\nk=a\0b", "line 2: control"),
            ("[s]\nk=\x1b[2J", "line 2: control"),
            ("[s]\nk=a\rb", "line 2: control"),
            ("\u{feff}[s]\nk=1", "line 1: neither"),
            ("[s]\nk=\\x", "unknown escape \\x"),
            ("[s]\nk=\\;", "unknown escape \\;"),
            ("[s]\nk=a\\", "a \\ at the end"),
        ] {
            let got = value(text).unwrap_err();
            assert!(got.starts_with(why), "{text:?}: {got}");
        }
    }

    #[test]
    fn a_list_ends_with_or_without_its_separator() {
        let list = |raw| unescape_list(raw).unwrap();
        assert_eq!(list("a;b;"), ["a", "b"]);
        assert_eq!(list("a;b"), ["a", "b"]);
        assert_eq!(list("a\\;b;\\s;;c"), ["a;b", " ", "", "c"]);
        assert!(list("").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_escaping(text in "\\PC*|[ \\t\\n\\r\\\\;=\\[#a]*") {
            let line = format!("[s]\nk={}\n", escape(&text));
            proptest::prop_assert_eq!(value(&line).unwrap(), text);
        }
    }
}
