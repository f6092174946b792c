//! Reads the arguments of a function, with Go's messages for a wrong type.
//!
//! The tables of the functions have the form that is defined here.

use std::rc::Rc;

use crate::recipe::template::value::{Map, Value};

/// What a function makes of its values.
pub(super) type Run = fn(&[Value]) -> Result<Value, String>;

/// Name, fewest and most arguments, function.
pub(super) struct Row(pub(super) &'static str, pub(super) usize, pub(super) usize, pub(super) Run);

/// No limit of the number of arguments.
pub(super) const MANY: usize = usize::MAX;
/// Most items that a function makes.
pub(super) const ITEMS_LIMIT: usize = 100_000;
/// Most bytes of a text that a function makes.
pub(super) const TEXT_LIMIT: usize = 1 << 20;

fn wrong(value: &Value, wanted: &str) -> String {
    match value {
        Value::Missing(Some(name)) => format!("`.{name}` was not given; {wanted} is needed"),
        Value::Missing(None) => format!("no value; {wanted} is needed"),
        value => format!("{} is a {}; {wanted} is needed", value.inner(), value.kind()),
    }
}

/// Takes a text.
pub(super) fn text(values: &[Value], index: usize) -> Result<&str, String> {
    match values.get(index) {
        Some(Value::Text(text)) => Ok(text),
        other => Err(wrong(other.unwrap_or(&Value::Missing(None)), "a text")),
    }
}

/// Takes a whole number. A text is none, as in Go.
pub(super) fn int(values: &[Value], index: usize) -> Result<i64, String> {
    match values.get(index) {
        Some(Value::Int(number)) => Ok(*number),
        other => Err(wrong(other.unwrap_or(&Value::Missing(None)), "a whole number")),
    }
}

/// Takes a list.
pub(super) fn list(values: &[Value], index: usize) -> Result<Rc<Vec<Value>>, String> {
    match values.get(index) {
        Some(Value::List(items)) => Ok(items.clone()),
        other => Err(wrong(other.unwrap_or(&Value::Missing(None)), "a list")),
    }
}

/// Takes a map.
pub(super) fn map(values: &[Value], index: usize) -> Result<Map, String> {
    match values.get(index) {
        Some(Value::Map(map)) => Ok(map.clone()),
        other => Err(wrong(other.unwrap_or(&Value::Missing(None)), "a map")),
    }
}

/// Takes a list of texts as `join` and `sortAlpha` do: other values are printed, nothing is left
/// out.
pub(super) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::List(items) => {
            let there = items.iter().filter(|item| !matches!(item, Value::Missing(_)));
            there.map(Value::inner).collect()
        }
        Value::Missing(_) => Vec::new(),
        value => vec![value.inner()],
    }
}

/// Makes a list of texts.
pub(super) fn texts<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> Value {
    Value::list(items.into_iter().map(|item| Value::text(item.as_ref())))
}
