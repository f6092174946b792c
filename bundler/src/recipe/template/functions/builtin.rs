//! Go's own functions of templates.
//!
//! `eval` has `and` and `or`; their rows here give only the names.

use std::cmp::Ordering;

use crate::recipe::template::functions::arguments::{MANY, Row, int, text};
use crate::recipe::template::functions::format::sprintf;
use crate::recipe::template::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("and", 1, MANY, |v| Ok(v.iter().find(|v| !v.is_true()).or(v.last()).cloned().ok_or("")?)),
    Row("or", 1, MANY, |v| Ok(v.iter().find(|v| v.is_true()).or(v.last()).cloned().ok_or("")?)),
    Row("not", 1, 1, |v| Ok(Value::Bool(!v[0].is_true()))),
    Row("eq", 2, MANY, |v| {
        for other in &v[1..] {
            if equal(&v[0], other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    Row("ne", 2, 2, |v| Ok(Value::Bool(!equal(&v[0], &v[1])?))),
    Row("lt", 2, 2, |v| ordered(v, |order| order == Ordering::Less)),
    Row("le", 2, 2, |v| ordered(v, |order| order != Ordering::Greater)),
    Row("gt", 2, 2, |v| ordered(v, |order| order == Ordering::Greater)),
    Row("ge", 2, 2, |v| ordered(v, |order| order != Ordering::Less)),
    Row("len", 1, 1, |v| match &v[0] {
        Value::Text(text) => Ok(Value::Int(text.len() as i64)),
        Value::List(items) => Ok(Value::Int(items.len() as i64)),
        Value::Map(map) => Ok(Value::Int(map.entries().len() as i64)),
        other => Err(format!("a {} has no length", other.kind())),
    }),
    Row("index", 1, MANY, |v| {
        (1..v.len()).try_fold(v[0].clone(), |value, at| match &value {
            Value::Map(map) => Ok(map.index(text(v, at)?)),
            Value::List(items) => item(items, int(v, at)?).cloned(),
            Value::Text(text) => {
                let bytes: Vec<_> = text.bytes().map(|byte| Value::Int(i64::from(byte))).collect();
                item(&bytes, int(v, at)?).cloned()
            }
            other => Err(format!("a {} has no items", other.kind())),
        })
    }),
    Row("print", 0, MANY, |v| Ok(Value::text(print(v)))),
    Row("println", 0, MANY, |v| {
        let words: Vec<_> = v.iter().map(Value::inner).collect();
        Ok(Value::text(words.join(" ") + "\n"))
    }),
    Row("printf", 1, MANY, |v| Ok(Value::text(sprintf(text(v, 0)?, &v[1..])?))),
    Row("html", 0, MANY, |v| {
        let escaped = print(v).chars().fold(String::new(), |mut out, c| {
            match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                '"' => out.push_str("&#34;"),
                '\'' => out.push_str("&#39;"),
                c => out.push(c),
            }
            out
        });
        Ok(Value::text(escaped))
    }),
    Row("urlquery", 0, MANY, |v| {
        let escaped = print(v).bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b' ' => out.push('+'),
                b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => out.push(b.into()),
                b => out.push_str(&format!("%{b:02X}")),
            }
            out
        });
        Ok(Value::text(escaped))
    }),
];

/// Go's `fmt.Sprint`: a blank between two values that are both no text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            out.push(' ');
        }
        out.push_str(&value.inner());
    }
    out
}

/// Go's `eq`. Nothing is equal to nothing only; two types that differ are an error.
fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Missing(_), other) | (other, Value::Missing(_)) => {
            Ok(matches!((a, other), (Value::Missing(_), Value::Missing(_))))
        }
        _ => Ok(a.compare(b)? == Some(Ordering::Equal)),
    }
}

fn ordered(values: &[Value], wanted: fn(Ordering) -> bool) -> Result<Value, String> {
    if let (Value::Bool(_), _) | (_, Value::Bool(_)) = (&values[0], &values[1]) {
        return Err("true and false have no order".to_owned());
    }
    Ok(Value::Bool(values[0].compare(&values[1])?.is_some_and(wanted)))
}

fn item(items: &[Value], index: i64) -> Result<&Value, String> {
    let found = usize::try_from(index).ok().and_then(|index| items.get(index));
    found.ok_or_else(|| format!("item {index} of {} items, counted from 0", items.len()))
}
