//! Functions over maps, and those that choose between values.

use std::collections::BTreeMap;

use crate::recipe::template::functions::arguments::{MANY, Row, map, text, texts};
use crate::recipe::template::value::{Map, Value};

pub(super) const TABLE: &[Row] = &[
    Row("dict", 0, MANY, |v| {
        let mut entries = BTreeMap::new();
        for pair in v.chunks(2) {
            let value = pair.get(1).cloned().unwrap_or_else(|| Value::text(""));
            entries.insert(pair[0].inner(), value);
        }
        Ok(Value::Map(Map::new(entries)))
    }),
    Row("get", 2, 2, |v| match map(v, 0)?.field(text(v, 1)?) {
        Value::Missing(_) => Ok(Value::text("")),
        value => Ok(value),
    }),
    Row("set", 3, 3, |v| {
        map(v, 0)?.set(text(v, 1)?, v[2].clone());
        Ok(v[0].clone())
    }),
    Row("unset", 2, 2, |v| {
        map(v, 0)?.remove(text(v, 1)?);
        Ok(v[0].clone())
    }),
    Row("hasKey", 2, 2, |v| Ok(Value::Bool(map(v, 0)?.has(text(v, 1)?)))),
    Row("keys", 0, MANY, |v| {
        let mut all = Vec::new();
        for index in 0..v.len() {
            all.extend(map(v, index)?.entries().into_iter().map(|(key, _)| key));
        }
        Ok(texts(all))
    }),
    Row("values", 1, 1, |v| {
        Ok(Value::list(map(v, 0)?.entries().into_iter().map(|(_, value)| value)))
    }),
    Row("pluck", 1, MANY, |v| {
        let mut found = Vec::new();
        for index in 1..v.len() {
            match map(v, index)?.field(text(v, 0)?) {
                Value::Missing(_) => {}
                value => found.push(value),
            }
        }
        Ok(Value::list(found))
    }),
    Row("pick", 1, MANY, |v| keep(v, true)),
    Row("omit", 1, MANY, |v| keep(v, false)),
    Row("dig", 3, MANY, |v| {
        let (keys, default) = (&v[..v.len() - 2], &v[v.len() - 2]);
        let mut value = v[v.len() - 1].clone();
        for index in 0..keys.len() {
            let key = text(keys, index)?;
            value = match &value {
                Value::Map(map) if map.has(key) => map.field(key),
                _ => return Ok(default.clone()),
            };
        }
        Ok(value)
    }),
    Row("default", 1, 2, |v| match v.get(1) {
        Some(given) if given.is_true() => Ok(given.clone()),
        _ => Ok(v[0].clone()),
    }),
    Row("empty", 1, 1, |v| Ok(Value::Bool(!v[0].is_true()))),
    Row("coalesce", 0, MANY, |v| {
        let found = v.iter().find(|value| value.is_true());
        Ok(found.cloned().unwrap_or(Value::Missing(None)))
    }),
    Row("all", 0, MANY, |v| Ok(Value::Bool(v.iter().all(Value::is_true)))),
    Row("any", 0, MANY, |v| Ok(Value::Bool(v.iter().any(Value::is_true)))),
    Row("ternary", 3, 3, |v| match &v[2] {
        Value::Bool(true) => Ok(v[0].clone()),
        Value::Bool(false) => Ok(v[1].clone()),
        other => Err(format!("the last argument is true or false, not a {}", other.kind())),
    }),
    Row("typeOf", 1, 1, |v| Ok(Value::text(v[0].kind()))),
    Row("typeIs", 2, 2, |v| Ok(Value::Bool(v[1].kind() == text(v, 0)?))),
    Row("typeIsLike", 2, 2, |v| {
        let wanted = text(v, 0)?;
        Ok(Value::Bool(v[1].kind() == wanted || format!("*{}", v[1].kind()) == wanted))
    }),
    Row("kindOf", 1, 1, |v| Ok(Value::text(kind(&v[0])))),
    Row("kindIs", 2, 2, |v| Ok(Value::Bool(kind(&v[1]) == text(v, 0)?))),
    Row("deepEqual", 2, 2, |v| Ok(Value::Bool(v[0].same(&v[1])))),
];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Missing(_) => "invalid",
        value => value.kind(),
    }
}

fn keep(values: &[Value], named: bool) -> Result<Value, String> {
    let mut kept = BTreeMap::new();
    for (key, value) in map(values, 0)?.entries() {
        let is_named = values[1..].iter().any(|name| name.inner() == key);
        if is_named == named {
            kept.insert(key, value);
        }
    }
    Ok(Value::Map(Map::new(kept)))
}
