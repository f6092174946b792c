//! Go's verbs of `printf`.
//!
//! `builtin` calls this file. The value of a verb that does not fit is printed as Go prints it:
//! `%!d(string=x)`.

use crate::recipe::template::functions::arguments::TEXT_LIMIT;
use crate::recipe::template::value::Value;

/// The flags, the width and the precision of one verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats values.
pub(super) fn sprintf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut rest = values.iter();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                _ => spec.zero = true,
            }
        }
        let mut number = |rest: &mut std::slice::Iter<'_, Value>| -> Option<usize> {
            if chars.next_if_eq(&'*').is_some() {
                return match rest.next() {
                    Some(Value::Int(number)) => usize::try_from(*number).ok(),
                    _ => None,
                };
            }
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse().ok()
        };
        spec.width = number(&mut rest).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            spec.precision = Some(digits.parse().unwrap_or(0));
        }
        if spec.width > TEXT_LIMIT || spec.precision.is_some_and(|p| p > 1000) {
            return Err("a width or precision that is too large".to_owned());
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match rest.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&formatted(verb, &spec, value)),
            },
        }
        if out.len() > TEXT_LIMIT {
            return Err("the text is too long".to_owned());
        }
    }
    let extra: Vec<_> = rest
        .map(|value| match value {
            Value::Missing(_) => "<nil>".to_owned(),
            value => format!("{}={}", value.kind(), value.inner()),
        })
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn formatted(verb: char, spec: &Spec, value: &Value) -> String {
    let unsuited = || match value {
        Value::Missing(_) => format!("%!{verb}(<nil>)"),
        value => format!("%!{verb}({}={})", value.kind(), value.inner()),
    };
    let body = match (verb, value) {
        ('T', value) => value.kind().to_owned(),
        ('v', Value::Missing(_)) => "<nil>".to_owned(),
        ('v' | 't', Value::Bool(flag)) => flag.to_string(),
        ('v' | 'd', Value::Int(number)) => return whole(*number, spec, 10, false),
        ('x' | 'X', Value::Int(number)) => return whole(*number, spec, 16, verb == 'X'),
        ('o', Value::Int(number)) => return whole(*number, spec, 8, false),
        ('b', Value::Int(number)) => return whole(*number, spec, 2, false),
        ('c', Value::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32);
            c.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
        }
        ('U', Value::Int(number)) => format!("U+{number:04X}"),
        ('q', Value::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32);
            format!("{:?}", c.unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        ('v' | 's', Value::Text(text)) => cut(text, spec),
        ('q', Value::Text(text)) => quoted(&cut(text, spec)),
        ('x', Value::Text(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        ('v', Value::Float(_)) if spec.precision.is_none() => value.inner(),
        ('f' | 'F', Value::Float(number)) => {
            format!("{number:.*}", spec.precision.unwrap_or(6))
        }
        ('e', Value::Float(number)) => {
            let text = format!("{number:.*e}", spec.precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        ('g' | 'v', Value::Float(_)) => value.inner(),
        ('v' | 's' | 'd' | 'q', Value::List(items)) => {
            let plain = Spec::default();
            let items: Vec<_> = items.iter().map(|item| formatted(verb, &plain, item)).collect();
            format!("[{}]", items.join(" "))
        }
        ('v' | 's', Value::Map(_)) => value.inner(),
        _ => unsuited(),
    };
    let signed = match value {
        Value::Float(number) if spec.plus && *number >= 0.0 => format!("+{body}"),
        _ => body,
    };
    let zero = spec.zero && matches!(value, Value::Float(_));
    padded(&signed, spec, zero)
}

fn cut(text: &str, spec: &Spec) -> String {
    text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect()
}

/// Go's quotes: escapes where a source text needs them.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_control() && u32::from(c) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn whole(number: i64, spec: &Spec, radix: u32, upper: bool) -> String {
    let magnitude = number.unsigned_abs();
    let mut digits = match radix {
        16 if upper => format!("{magnitude:X}"),
        16 => format!("{magnitude:x}"),
        8 => format!("{magnitude:o}"),
        2 => format!("{magnitude:b}"),
        _ => magnitude.to_string(),
    };
    let sign = match number {
        n if n < 0 => "-",
        _ if spec.plus => "+",
        _ if spec.space => " ",
        _ => "",
    };
    let mark = match radix {
        16 if spec.sharp && upper => "0X",
        16 if spec.sharp => "0x",
        8 if spec.sharp => "0",
        2 if spec.sharp => "0b",
        _ => "",
    };
    // Zeros fill the width between the sign and the digits.
    let fill = match spec.precision {
        Some(precision) => precision,
        None if spec.zero && !spec.minus => spec.width.saturating_sub(sign.len()),
        None => 0,
    };
    while digits.len() < fill {
        digits.insert(0, '0');
    }
    padded(&format!("{sign}{mark}{digits}"), spec, false)
}

fn padded(text: &str, spec: &Spec, zero: bool) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if zero {
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
