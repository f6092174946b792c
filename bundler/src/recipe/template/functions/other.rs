//! Paths, encodings, hashes, the environment, the time, and `fail`.
//!
//! A path that is absolute for Go's `path` begins with `/`; the functions look at no file.

use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use crate::host::cache::hex;
use crate::recipe::template::functions::arguments::{Row, text};
use crate::recipe::template::value::{Map, Value};

pub(super) const TABLE: &[Row] = &[
    Row("base", 1, 1, |v| Ok(Value::text(base(text(v, 0)?)))),
    Row("osBase", 1, 1, |v| Ok(Value::text(base(text(v, 0)?)))),
    Row("dir", 1, 1, |v| Ok(Value::text(dir(text(v, 0)?)))),
    Row("osDir", 1, 1, |v| Ok(Value::text(dir(text(v, 0)?)))),
    Row("clean", 1, 1, |v| Ok(Value::text(clean(text(v, 0)?)))),
    Row("osClean", 1, 1, |v| Ok(Value::text(clean(text(v, 0)?)))),
    Row("ext", 1, 1, |v| Ok(Value::text(ext(text(v, 0)?)))),
    Row("osExt", 1, 1, |v| Ok(Value::text(ext(text(v, 0)?)))),
    Row("isAbs", 1, 1, |v| Ok(Value::Bool(text(v, 0)?.starts_with('/')))),
    Row("osIsAbs", 1, 1, |v| Ok(Value::Bool(text(v, 0)?.starts_with('/')))),
    Row("b64enc", 1, 1, |v| Ok(Value::text(Base64::encode_string(text(v, 0)?.as_bytes())))),
    Row("b64dec", 1, 1, |v| {
        let bytes = Base64::decode_vec(text(v, 0)?).map_err(|e| format!("not base64: {e}"))?;
        Ok(Value::text(String::from_utf8_lossy(&bytes)))
    }),
    Row("b32enc", 1, 1, |v| Ok(Value::text(base32(text(v, 0)?.as_bytes())))),
    Row("b32dec", 1, 1, |v| {
        let bytes = from_base32(text(v, 0)?).ok_or("not base32")?;
        Ok(Value::text(String::from_utf8_lossy(&bytes)))
    }),
    Row("adler32sum", 1, 1, |v| {
        let (low, high) = text(v, 0)?.bytes().fold((1_u32, 0_u32), |(low, high), byte| {
            let low = (low + u32::from(byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        Ok(Value::text((high << 16 | low).to_string()))
    }),
    Row("sha256sum", 1, 1, |v| Ok(Value::text(hex(&Sha256::digest(text(v, 0)?))))),
    Row("fromJson", 1, 1, |v| {
        let parsed = serde_json::from_str(text(v, 0)?);
        parsed.map(from_json).map_err(|error| format!("not JSON: {error}"))
    }),
    Row("toJson", 1, 1, |v| Ok(Value::text(json(&v[0]).to_string()))),
    Row("toRawJson", 1, 1, |v| Ok(Value::text(json(&v[0]).to_string()))),
    Row("toPrettyJson", 1, 1, |v| Ok(Value::text(format!("{:#}", json(&v[0]))))),
    Row("env", 1, 1, |v| Ok(Value::text(variable(text(v, 0)?)))),
    Row("expandenv", 1, 1, |v| Ok(Value::text(expanded(text(v, 0)?)))),
    Row("now", 0, 0, |_| Ok(Value::Int(now()))),
    Row("unixEpoch", 1, 1, |v| Ok(Value::text(seconds(v, 0)?.to_string()))),
    Row("date", 2, 2, |v| Ok(Value::text(date(text(v, 0)?, seconds(v, 1)?)))),
    Row("htmlDate", 1, 1, |v| Ok(Value::text(date("2006-01-02", seconds(v, 0)?)))),
    Row("hello", 0, 0, |_| Ok(Value::text("Hello!"))),
    Row("fail", 1, 1, |v| Err(text(v, 0)?.to_owned())),
    // debos's own: a UUID of version 5, from the UUID of a name space and a text.
    Row("uuid5", 2, 2, |v| {
        let space = uuid::Uuid::parse_str(text(v, 0)?)
            .map_err(|_| format!("`{}` is not a UUID", v[0].inner()))?;
        Ok(Value::text(uuid::Uuid::new_v5(&space, text(v, 1)?.as_bytes()).to_string()))
    }),
];

/// A variable of the environment.
fn variable(name: &str) -> String {
    let plain = !name.is_empty() && !name.contains(['=', '\0']);
    plain.then(|| std::env::var(name).ok()).flatten().unwrap_or_default()
}

/// Go's `os.ExpandEnv`: puts variables in the place of `$NAME` and `${NAME}`.
fn expanded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let name_end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (name, left) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(parts) => parts,
            None => after.split_at(name_end.unwrap_or(after.len())),
        };
        match name {
            "" => out.push('$'),
            name => out.push_str(&variable(name)),
        }
        rest = left;
    }
    out + rest
}

/// The alphabet of RFC 4648.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(5) {
        let mut group = [0; 8];
        group[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(group);
        let used = (chunk.len() * 8).div_ceil(5);
        let digit = |at: usize| char::from(BASE32[(bits >> (35 - 5 * at) & 31) as usize]);
        out.extend((0..8).map(|at| if at < used { digit(at) } else { '=' }));
    }
    out
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut out = Vec::new();
    for chunk in digits.as_bytes().chunks(8) {
        let value = |bits: u64, byte: &u8| {
            let digit = BASE32.iter().position(|known| known == byte)?;
            Some(bits << 5 | digit as u64)
        };
        let bits = chunk.iter().try_fold(0, value)? << (5 * (8 - chunk.len()));
        out.extend_from_slice(&bits.to_be_bytes()[3..3 + chunk.len() * 5 / 8]);
    }
    text.len().is_multiple_of(8).then_some(out)
}

fn base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".".to_owned(),
        (_, "") => "/".to_owned(),
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn ext(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rfind('.').map_or(String::new(), |at| name[at..].to_owned())
}

fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            ("..", None) if absolute => {}
            _ => parts.push(part),
        }
    }
    match (absolute, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Missing(_) => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        // Go writes a whole number without a point.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            (*number as i64).into()
        }
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.to_string().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(map) => {
            map.entries().into_iter().map(|(key, value)| (key, json(&value))).collect()
        }
    }
}

/// As Go has it: every number is one with a point.
fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Missing(None),
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Array(items) => Value::list(items.into_iter().map(from_json)),
        serde_json::Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (key, from_json(value)));
            Value::Map(Map::new(entries.collect()))
        }
    }
}

/// The time of the build: `SOURCE_DATE_EPOCH`, or the clock, because the recipe asks for it.
fn now() -> i64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs() as i64);
    fixed.or_else(clock).unwrap_or(0)
}

fn seconds(values: &[Value], index: usize) -> Result<i64, String> {
    match values.get(index) {
        Some(Value::Int(seconds)) if (0..1 << 37).contains(seconds) => Ok(*seconds),
        _ => Err("a time is needed, such as `now`".to_owned()),
    }
}

/// Formats a time in UTC by Go's layout: 2006 is the year, 01 the month, and so on.
fn date(layout: &str, seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since the 1st of March of the year 0: leap days are then at the end of a year.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = year + era * 400 + i64::from(month <= 2);
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let short = &names[(month as usize - 1) * 3..month as usize * 3];
    let pieces = [
        ("2006", format!("{year:04}")),
        ("Jan", short.to_owned()),
        ("01", format!("{month:02}")),
        ("02", format!("{day:02}")),
        ("15", format!("{:02}", rest / 3600)),
        ("04", format!("{:02}", rest / 60 % 60)),
        ("05", format!("{:02}", rest % 60)),
        ("06", format!("{:02}", year % 100)),
        ("Z07:00", "Z".to_owned()),
        ("MST", "UTC".to_owned()),
    ];
    let mut out = String::new();
    let mut left = layout;
    while let Some(first) = left.chars().next() {
        match pieces.iter().find(|(piece, _)| left.starts_with(piece)) {
            Some((piece, text)) => {
                out.push_str(text);
                left = &left[piece.len()..];
            }
            None => {
                out.push(first);
                left = &left[first.len_utf8()..];
            }
        }
    }
    out
}
