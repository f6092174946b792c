//! Functions over lists.

use crate::recipe::template::functions::arguments::{MANY, Row, int, list};
use crate::recipe::template::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("list", 0, MANY, |v| Ok(Value::list(v.to_vec()))),
    Row("tuple", 0, MANY, |v| Ok(Value::list(v.to_vec()))),
    Row("first", 1, 1, |v| Ok(list(v, 0)?.first().cloned().unwrap_or(Value::Missing(None)))),
    Row("last", 1, 1, |v| Ok(list(v, 0)?.last().cloned().unwrap_or(Value::Missing(None)))),
    Row("rest", 1, 1, |v| Ok(Value::list(list(v, 0)?.iter().skip(1).cloned()))),
    Row("initial", 1, 1, |v| {
        let items = list(v, 0)?;
        Ok(Value::list(items[..items.len().saturating_sub(1)].to_vec()))
    }),
    Row("reverse", 1, 1, |v| Ok(Value::list(list(v, 0)?.iter().rev().cloned()))),
    Row("append", 2, 2, append),
    Row("push", 2, 2, append),
    Row("prepend", 2, 2, |v| {
        let items = list(v, 0)?;
        Ok(Value::list(std::iter::once(v[1].clone()).chain(items.iter().cloned())))
    }),
    Row("concat", 0, MANY, |v| {
        let mut all = Vec::new();
        for index in 0..v.len() {
            all.extend(list(v, index)?.iter().cloned());
        }
        Ok(Value::list(all))
    }),
    Row("uniq", 1, 1, |v| {
        let mut kept: Vec<Value> = Vec::new();
        for item in list(v, 0)?.iter() {
            if !kept.iter().any(|other| other.same(item)) {
                kept.push(item.clone());
            }
        }
        Ok(Value::list(kept))
    }),
    Row("without", 1, MANY, |v| {
        let items = list(v, 0)?;
        let kept = items.iter().filter(|item| !v[1..].iter().any(|other| other.same(item)));
        Ok(Value::list(kept.cloned()))
    }),
    Row("has", 2, 2, |v| match &v[1] {
        Value::Missing(_) => Ok(Value::Bool(false)),
        _ => Ok(Value::Bool(list(v, 1)?.iter().any(|item| item.same(&v[0])))),
    }),
    Row("compact", 1, 1, |v| {
        Ok(Value::list(list(v, 0)?.iter().filter(|item| item.is_true()).cloned()))
    }),
    Row("slice", 1, 3, slice),
    Row("chunk", 2, 2, |v| {
        let size = usize::try_from(int(v, 0)?).ok().filter(|size| *size > 0);
        let size = size.ok_or("a size of at least 1 is needed")?;
        Ok(Value::list(list(v, 1)?.chunks(size).map(|part| Value::list(part.to_vec()))))
    }),
];

fn append(values: &[Value]) -> Result<Value, String> {
    let items = list(values, 0)?;
    Ok(Value::list(items.iter().cloned().chain([values[1].clone()])))
}

/// Go's own `slice` for texts, sprig's for lists.
fn slice(values: &[Value]) -> Result<Value, String> {
    let length = match &values[0] {
        Value::Text(text) => text.len(),
        _ => list(values, 0)?.len(),
    };
    let bound = |index: usize, default: usize| match values.get(index) {
        None => Ok(default),
        Some(_) => {
            let at = usize::try_from(int(values, index)?).ok().filter(|at| *at <= length);
            at.ok_or_else(|| format!("a bound beyond the length {length}"))
        }
    };
    let (from, to) = (bound(1, 0)?, bound(2, length)?);
    match &values[0] {
        Value::Text(text) => text.get(from..to).map(Value::text),
        _ => list(values, 0)?.get(from..to).map(|items| Value::list(items.to_vec())),
    }
    .ok_or_else(|| format!("no part from {from} to {to}"))
}
