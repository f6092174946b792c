//! The values of a template, with Go's rules for truth, printing and comparing.
//!
//! `functions` works with them.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// No value, and the name of the variable that nobody gave.
    Missing(Option<Rc<str>>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    Map(Map),
}

/// A map. Copies share it, because the function `set` changes it in place.
#[derive(Clone, Debug)]
pub(super) struct Map {
    entries: Rc<RefCell<BTreeMap<String, Value>>>,
    /// True for the variables of the template, whose values are all texts.
    texts: bool,
}

impl Map {
    pub(super) fn new(entries: BTreeMap<String, Value>) -> Self {
        Self { entries: Rc::new(RefCell::new(entries)), texts: false }
    }

    pub(super) fn of_texts(variables: &BTreeMap<String, String>) -> Self {
        let entries = variables.iter().map(|(k, v)| (k.clone(), Value::text(v.as_str()))).collect();
        Self { entries: Rc::new(RefCell::new(entries)), texts: true }
    }

    /// Returns the value of a key, as `.key` gives it.
    pub(super) fn field(&self, key: &str) -> Value {
        let found = self.entries.borrow().get(key).cloned();
        found.unwrap_or_else(|| Value::Missing(Some(key.into())))
    }

    /// Returns the value of a key, as `index` gives it: of texts an empty one.
    pub(super) fn index(&self, key: &str) -> Value {
        match self.field(key) {
            Value::Missing(_) if self.texts => Value::text(""),
            value => value,
        }
    }

    pub(super) fn set(&self, key: &str, value: Value) {
        self.entries.borrow_mut().insert(key.to_owned(), value);
    }

    pub(super) fn remove(&self, key: &str) {
        self.entries.borrow_mut().remove(key);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.borrow().contains_key(key)
    }

    /// Returns the entries in the order of their keys.
    pub(super) fn entries(&self) -> Vec<(String, Value)> {
        self.entries.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Self::List(Rc::new(items.into_iter().collect()))
    }

    /// What `if` takes for true: everything but nothing, zero and empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing(_) => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.borrow().is_empty(),
        }
    }

    /// Go's name of the type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(map) if map.texts => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// The text that `{{ value }}` prints.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Missing(_) => "<no value>".to_owned(),
            value => value.inner(),
        }
    }

    /// The text of Go's verb `%v`.
    pub(super) fn inner(&self) -> String {
        match self {
            Self::Missing(_) => "<nil>".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => float(*number),
            Self::Text(text) => text.to_string(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::inner).collect::<Vec<_>>().join(" "))
            }
            Self::Map(map) => {
                let entries = map.entries();
                let entries = entries.iter().map(|(key, value)| format!("{key}:{}", value.inner()));
                format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// Go's deep equality: same type and same content.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing(_), Self::Missing(_)) => true,
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same(b))
            }
            (Self::Map(a), Self::Map(b)) => {
                let (a, b) = (a.entries(), b.entries());
                a.len() == b.len() && a.iter().zip(&b).all(|((k, v), (l, w))| k == l && v.same(w))
            }
            _ => matches!(self.compare(other), Ok(Some(Ordering::Equal))),
        }
    }

    /// Compares two values of one basic type. `None`: they have no order, as true and false.
    ///
    /// # Errors
    /// The types differ, or cannot be compared.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok((a == b).then_some(Ordering::Equal)),
            (Self::Int(a), Self::Int(b)) => Ok(Some(a.cmp(b))),
            (Self::Float(a), Self::Float(b)) => Ok(a.partial_cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(Some(a.cmp(b))),
            (Self::List(_) | Self::Map(_) | Self::Missing(_), _)
            | (_, Self::List(_) | Self::Map(_) | Self::Missing(_)) => {
                let kinds = (self.kind(), other.kind());
                Err(format!("values of the types {} and {} cannot be compared", kinds.0, kinds.1))
            }
            _ => Err(format!(
                "values of the types {} and {} cannot be compared; `int`, `atoi` and `toString` \
                    change the type",
                self.kind(),
                other.kind()
            )),
        }
    }

    /// Parses a whole number as Go writes it: 10, 0x1F, 0o17, 017, 0b11, 1_000.
    pub(super) fn parse_int(text: &str) -> Option<i64> {
        let (negative, digits) = match text.strip_prefix(['+', '-']) {
            Some(digits) => (text.starts_with('-'), digits),
            None => (false, text),
        };
        let lower = digits.to_ascii_lowercase();
        let (radix, digits) = match lower.get(..2) {
            Some("0x") => (16, &lower[2..]),
            Some("0o") => (8, &lower[2..]),
            Some("0b") => (2, &lower[2..]),
            Some(_) if lower.starts_with('0') => (8, &lower[1..]),
            _ => (10, lower.as_str()),
        };
        let digits = digits.replace('_', "");
        let signed = if negative { format!("-{digits}") } else { digits.clone() };
        let is_number = digits.starts_with(|c: char| c.is_ascii_alphanumeric());
        is_number.then(|| i64::from_str_radix(&signed, radix).ok()).flatten()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

/// Go's `%v` of a float: the shortest digits, with an exponent where that is far from zero.
fn float(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string().replace("inf", "+Inf").replace("-+", "-");
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
