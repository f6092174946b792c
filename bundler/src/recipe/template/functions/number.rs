//! Functions over numbers.
//!
//! sprig takes any value for a number: a text is parsed, and what is none counts as 0.

use crate::recipe::template::functions::arguments::{ITEMS_LIMIT, MANY, Row, int, text};
use crate::recipe::template::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("atoi", 1, 1, |v| Ok(Value::Int(text(v, 0)?.parse().unwrap_or(0)))),
    Row("int", 1, 1, |v| Ok(Value::Int(whole(&v[0])))),
    Row("int64", 1, 1, |v| Ok(Value::Int(whole(&v[0])))),
    Row("float64", 1, 1, |v| Ok(Value::Float(real(&v[0])))),
    Row("toDecimal", 1, 1, |v| Ok(Value::Int(i64::from_str_radix(&v[0].inner(), 8).unwrap_or(0)))),
    Row("add1", 1, 1, |v| checked(whole(&v[0]).checked_add(1))),
    Row("add", 0, MANY, |v| checked(v.iter().try_fold(0i64, |sum, n| sum.checked_add(whole(n))))),
    Row("sub", 2, 2, |v| checked(whole(&v[0]).checked_sub(whole(&v[1])))),
    Row("mul", 1, MANY, |v| {
        checked(v[1..].iter().try_fold(whole(&v[0]), |sum, n| sum.checked_mul(whole(n))))
    }),
    Row("div", 2, 2, |v| checked(whole(&v[0]).checked_div(whole(&v[1])))),
    Row("mod", 2, 2, |v| checked(whole(&v[0]).checked_rem(whole(&v[1])))),
    Row("max", 1, MANY, |v| Ok(Value::Int(v.iter().map(whole).max().unwrap_or(0)))),
    Row("biggest", 1, MANY, |v| Ok(Value::Int(v.iter().map(whole).max().unwrap_or(0)))),
    Row("min", 1, MANY, |v| Ok(Value::Int(v.iter().map(whole).min().unwrap_or(0)))),
    Row("maxf", 1, MANY, |v| Ok(Value::Float(v.iter().map(real).fold(real(&v[0]), f64::max)))),
    Row("minf", 1, MANY, |v| Ok(Value::Float(v.iter().map(real).fold(real(&v[0]), f64::min)))),
    Row("ceil", 1, 1, |v| Ok(Value::Float(real(&v[0]).ceil()))),
    Row("floor", 1, 1, |v| Ok(Value::Float(real(&v[0]).floor()))),
    Row("round", 2, 3, |v| {
        let places = i32::try_from(int(v, 1)?).map_err(|_| "too many places".to_owned())?;
        let half = v.get(2).map_or(0.5, real);
        let scaled = real(&v[0]) * 10f64.powi(places);
        let up = scaled.fract() >= half;
        let rounded = if up { scaled.ceil() } else { scaled.floor() };
        Ok(Value::Float(rounded / 10f64.powi(places)))
    }),
    Row("until", 1, 1, |v| {
        let end = int(v, 0)?;
        steps(0, end, if end < 0 { -1 } else { 1 })
    }),
    Row("untilStep", 3, 3, |v| steps(int(v, 0)?, int(v, 1)?, int(v, 2)?)),
    Row("seq", 0, MANY, |v| {
        let towards = |from: i64, to: i64| if to < from { -1 } else { 1 };
        let (from, step, to) = match v.len() {
            1 => (1, towards(1, int(v, 0)?), int(v, 0)?),
            2 => (int(v, 0)?, towards(int(v, 0)?, int(v, 1)?), int(v, 1)?),
            3 => (int(v, 0)?, int(v, 1)?, int(v, 2)?),
            _ => return Ok(Value::text("")),
        };
        let Value::List(numbers) = steps(from, to + step.signum(), step)? else {
            return Ok(Value::text(""));
        };
        let numbers: Vec<_> = numbers.iter().map(Value::inner).collect();
        Ok(Value::text(numbers.join(" ")))
    }),
    // debos's own, deprecated there.
    Row("sector", 1, 1, |v| Ok(Value::text(format!("{}s", int(v, 0)?)))),
];

fn checked(number: Option<i64>) -> Result<Value, String> {
    number.map(Value::Int).ok_or_else(|| "the result is no number of 64 bits".to_owned())
}

/// sprig's `toInt64`.
fn whole(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        Value::Float(number) => *number as i64,
        Value::Bool(flag) => i64::from(*flag),
        Value::Text(text) => Value::parse_int(text).unwrap_or(0),
        _ => 0,
    }
}

/// sprig's `toFloat64`.
fn real(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Text(text) => text.parse().unwrap_or(0.0),
        value => whole(value) as f64,
    }
}

fn steps(start: i64, end: i64, step: i64) -> Result<Value, String> {
    let mut numbers = Vec::new();
    let mut at = start;
    while step > 0 && at < end || step < 0 && at > end {
        numbers.push(Value::Int(at));
        if numbers.len() > ITEMS_LIMIT {
            return Err(format!("more than {ITEMS_LIMIT} numbers"));
        }
        at = at.checked_add(step).ok_or("a number that is too large")?;
    }
    Ok(Value::list(numbers))
}
