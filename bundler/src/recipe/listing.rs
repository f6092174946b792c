//! A whole recipe as one text, and the place that each of its lines comes from.
//!
//! `load` has merged the files. The text is YAML: it gives the same recipe again, if its paths are
//! read from the folders of the files that they come from.

use crate::recipe::yaml::{Key, Node, Place, Value};

/// A line of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Where it was written.
    pub place: Place,
    /// The line, without its end.
    pub text: String,
}

/// Returns the lines of a recipe. `top` is where the file that was named begins.
pub(super) fn listing(
    top: &Place,
    scalars: &[(&str, &(String, Place))],
    actions: &[(String, Node)],
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, (text, place)) in scalars {
        push(&mut lines, place, format!("{name}: {text}"));
    }
    push(&mut lines, top, "actions:".to_owned());
    for (name, Node { place, value }) in actions {
        push(&mut lines, place, format!("  - action: {name}"));
        if let Value::Map(entries) = value {
            for (key, value) in entries {
                entry(&mut lines, 4, key, value);
            }
        }
    }
    lines
}

fn push(lines: &mut Vec<Line>, place: &Place, text: String) {
    lines.push(Line { place: place.clone(), text });
}

/// Adds `KEY: VALUE`.
fn entry(lines: &mut Vec<Line>, indent: usize, key: &Key, value: &Node) {
    let start = format!("{:indent$}{}:", "", key.name);
    node(lines, indent, start, &key.place, value);
}

/// Adds a value behind `start`, which ends with a colon or a dash. What is below the value is
/// indented by two more than `indent`.
fn node(lines: &mut Vec<Line>, indent: usize, start: String, place: &Place, value: &Node) {
    let key_line = place.line;
    match &value.value {
        Value::Null => push(lines, place, start),
        Value::Word(word) => push(lines, place, format!("{start} {word}")),
        Value::Text(text) if is_block(text) => {
            let end = match text.strip_suffix('\n') {
                None => "|-",
                Some(text) if text.ends_with('\n') => "|+",
                Some(_) => "|",
            };
            push(lines, place, format!("{start} {end}"));
            for (index, line) in text.lines().enumerate() {
                let line = format!("{:1$}{line}", "", indent + 2);
                let mut place = value.place.clone();
                // A block begins below its key, and has its lines as they are here. Text in quotes
                // has one line.
                if value.place.line > key_line {
                    place.line += index;
                }
                push(lines, &place, line.trim_end().to_owned());
            }
        }
        Value::Text(text) => push(lines, place, format!("{start} {}", serde_json::json!(text))),
        Value::List(items) if items.is_empty() => push(lines, place, format!("{start} []")),
        Value::Map(entries) if entries.is_empty() => push(lines, place, format!("{start} {{}}")),
        Value::List(items) => {
            push(lines, place, start);
            for item in items {
                let start = format!("{:1$}-", "", indent + 2);
                node(lines, indent + 2, start, &item.place, item);
            }
        }
        Value::Map(entries) => {
            push(lines, place, start);
            for (key, value) in entries {
                entry(lines, indent + 2, key, value);
            }
        }
    }
}

/// Whether a text of several lines can be written as it is.
fn is_block(text: &str) -> bool {
    let plain = |c: char| c == '\n' || !c.is_control();
    let ends_plain = text.lines().all(|line| !line.ends_with(' '));
    text.contains('\n') && !text.starts_with([' ', '\n']) && ends_plain && text.chars().all(plain)
}
