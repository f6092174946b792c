//! Functions over texts.

use regex::Regex;

use crate::recipe::template::functions::arguments::{
    MANY, Row, TEXT_LIMIT, int, strings, text, texts,
};
use crate::recipe::template::functions::format::quoted;
use crate::recipe::template::value::{Map, Value};

pub(super) const TABLE: &[Row] = &[
    Row("trim", 1, 1, |v| ok(text(v, 0)?.trim())),
    Row("upper", 1, 1, |v| ok(&text(v, 0)?.to_uppercase())),
    Row("lower", 1, 1, |v| ok(&text(v, 0)?.to_lowercase())),
    Row("title", 1, 1, |v| ok(&title(text(v, 0)?))),
    Row("trunc", 2, 2, |v| ok(&trunc(int(v, 0)?, text(v, 1)?))),
    Row("substr", 3, 3, |v| ok(&substr(int(v, 0)?, int(v, 1)?, text(v, 2)?))),
    Row("repeat", 2, 2, |v| repeat(int(v, 0)?, text(v, 1)?)),
    Row("trimall", 2, 2, |v| ok(trim_all(text(v, 0)?, text(v, 1)?))),
    Row("trimAll", 2, 2, |v| ok(trim_all(text(v, 0)?, text(v, 1)?))),
    Row("trimSuffix", 2, 2, |v| {
        let (end, all) = (text(v, 0)?, text(v, 1)?);
        ok(all.strip_suffix(end).unwrap_or(all))
    }),
    Row("trimPrefix", 2, 2, |v| {
        let (start, all) = (text(v, 0)?, text(v, 1)?);
        ok(all.strip_prefix(start).unwrap_or(all))
    }),
    Row("contains", 2, 2, |v| Ok(Value::Bool(text(v, 1)?.contains(text(v, 0)?)))),
    Row("hasPrefix", 2, 2, |v| Ok(Value::Bool(text(v, 1)?.starts_with(text(v, 0)?)))),
    Row("hasSuffix", 2, 2, |v| Ok(Value::Bool(text(v, 1)?.ends_with(text(v, 0)?)))),
    Row("quote", 0, MANY, |v| ok(&each(v, quoted))),
    Row("squote", 0, MANY, |v| ok(&each(v, |text| format!("'{text}'")))),
    Row("cat", 0, MANY, |v| ok(&each(v, str::to_owned))),
    Row("indent", 2, 2, |v| ok(&indent(int(v, 0)?, text(v, 1)?)?)),
    Row("nindent", 2, 2, |v| ok(&format!("\n{}", indent(int(v, 0)?, text(v, 1)?)?))),
    Row("replace", 3, 3, |v| ok(&text(v, 2)?.replace(text(v, 0)?, text(v, 1)?))),
    Row("plural", 3, 3, |v| ok(if int(v, 2)? == 1 { text(v, 0)? } else { text(v, 1)? })),
    Row("toString", 1, 1, |v| ok(&v[0].inner())),
    Row("toStrings", 1, 1, |v| Ok(texts(strings(&v[0])))),
    Row("join", 2, 2, |v| ok(&strings(&v[1]).join(text(v, 0)?))),
    Row("sortAlpha", 1, 1, |v| {
        let mut all = strings(&v[0]);
        all.sort();
        Ok(texts(all))
    }),
    Row("splitList", 2, 2, |v| Ok(texts(split(text(v, 0)?, text(v, 1)?, usize::MAX)))),
    Row("split", 2, 2, |v| Ok(numbered(split(text(v, 0)?, text(v, 1)?, usize::MAX)))),
    Row("splitn", 3, 3, |v| {
        let most = usize::try_from(int(v, 1)?).unwrap_or(usize::MAX);
        Ok(numbered(split(text(v, 0)?, text(v, 2)?, most)))
    }),
    Row("regexMatch", 2, 2, |v| Ok(Value::Bool(regex(v)?.is_match(text(v, 1)?)))),
    Row("regexFind", 2, 2, |v| ok(regex(v)?.find(text(v, 1)?).map_or("", |found| found.as_str()))),
    Row("regexFindAll", 3, 3, |v| {
        let most = usize::try_from(int(v, 2)?).unwrap_or(usize::MAX);
        Ok(texts(regex(v)?.find_iter(text(v, 1)?).take(most).map(|found| found.as_str())))
    }),
    Row("regexReplaceAll", 3, 3, |v| short(&regex(v)?.replace_all(text(v, 1)?, text(v, 2)?))),
    Row("regexReplaceAllLiteral", 3, 3, |v| {
        short(&regex(v)?.replace_all(text(v, 1)?, regex::NoExpand(text(v, 2)?)))
    }),
    Row("regexSplit", 3, 3, |v| Ok(texts(split_at(&regex(v)?, text(v, 1)?, int(v, 2)?)))),
    Row("regexQuoteMeta", 1, 1, |v| {
        let special = |c| "\\.+*?()|[]{}^$".contains(c);
        let quote = |c| String::from_iter(special(c).then_some('\\').into_iter().chain([c]));
        ok(&text(v, 0)?.chars().map(quote).collect::<String>())
    }),
    // debos's own: a word of a shell.
    Row("escape", 1, 1, |v| ok(&shell(text(v, 0)?))),
];

fn ok(text: &str) -> Result<Value, String> {
    Ok(Value::text(text))
}

/// Joins what `each` makes of the values that are there with blanks.
fn each(values: &[Value], each: impl Fn(&str) -> String) -> String {
    let there = values.iter().filter(|value| !matches!(value, Value::Missing(_)));
    there.map(|value| each(&value.inner())).collect::<Vec<_>>().join(" ")
}

/// The regular expression that is the first argument. Go's and this one's are RE2's language.
fn regex(values: &[Value]) -> Result<Regex, String> {
    let pattern = text(values, 0)?;
    Regex::new(pattern).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{pattern}` is no regular expression: {why}")
    })
}

/// Go's `Split`: the parts between the matches, at most `most` of them unless it is negative.
fn split_at<'a>(regex: &Regex, text: &'a str, most: i64) -> Vec<&'a str> {
    if most == 0 {
        return Vec::new();
    }
    if text.is_empty() {
        return vec![text];
    }
    let (mut parts, mut begin, mut end) = (Vec::new(), 0, 0);
    for found in regex.find_iter(text) {
        if usize::try_from(most).is_ok_and(|most| parts.len() + 1 == most) {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(&text[begin..end]);
        }
        begin = found.end();
    }
    if end != text.len() {
        parts.push(&text[begin..]);
    }
    parts
}

fn short(text: &str) -> Result<Value, String> {
    if text.len() > TEXT_LIMIT {
        return Err("the text is too long".to_owned());
    }
    ok(text)
}

fn title(text: &str) -> String {
    let mut start = true;
    let mut out = String::new();
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    out
}

/// The first `count` bytes, or with a negative count the last ones. Never half a character.
fn trunc(count: i64, text: &str) -> String {
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if bytes >= text.len() {
        return text.to_owned();
    }
    let at = if count < 0 { text.len() - bytes } else { bytes };
    let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    if count < 0 { text[at..].to_owned() } else { text[..at].to_owned() }
}

fn substr(start: i64, end: i64, text: &str) -> String {
    let boundary = |at: i64| {
        let at = usize::try_from(at).unwrap_or(0).min(text.len());
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
    };
    let until = if end < 0 || end > text.len() as i64 { text.len() } else { boundary(end) };
    let from = if start < 0 { 0 } else { boundary(start) };
    text.get(from..until).unwrap_or_default().to_owned()
}

fn repeat(count: i64, text: &str) -> Result<Value, String> {
    let count = usize::try_from(count).map_err(|_| "a negative count".to_owned())?;
    if text.len().saturating_mul(count) > TEXT_LIMIT {
        return Err("the text is too long".to_owned());
    }
    ok(&text.repeat(count))
}

fn trim_all<'a>(set: &str, text: &'a str) -> &'a str {
    text.trim_matches(|c| set.contains(c))
}

fn indent(count: i64, text: &str) -> Result<String, String> {
    let count = usize::try_from(count).ok().filter(|count| *count <= 1000);
    let pad = " ".repeat(count.ok_or("an indent of 0 to 1000 is needed")?);
    Ok(pad.clone() + &text.replace('\n', &format!("\n{pad}")))
}

fn split(separator: &str, text: &str, most: usize) -> Vec<String> {
    match (separator, most) {
        (_, 0) => Vec::new(),
        ("", _) => text.chars().map(String::from).collect(),
        (separator, most) => text.splitn(most, separator).map(str::to_owned).collect(),
    }
}

/// A map with the keys `_0`, `_1` …, as sprig's `split` gives it.
fn numbered(parts: Vec<String>) -> Value {
    let entries = parts.into_iter().enumerate();
    Value::Map(Map::new(entries.map(|(n, part)| (format!("_{n}"), Value::text(part))).collect()))
}

fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}
