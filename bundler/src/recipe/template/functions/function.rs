//! A function of templates, and the list of all.
//!
//! The other files of this folder hold their tables.

use crate::recipe::template::functions::arguments::Row;
use crate::recipe::template::functions::{builtin, dict, list, number, other, text};
use crate::recipe::template::value::Value;

/// A function that a template can call.
pub(in crate::recipe::template) struct Function {
    row: &'static Row,
    /// True if the function puts its arguments into a text as they are.
    pub(in crate::recipe::template) prints: bool,
    /// True if the function reads the environment of the build host.
    pub(in crate::recipe::template) asks_host: bool,
}

impl Function {
    /// Calls the function.
    ///
    /// # Errors
    /// The number or the type of the arguments is wrong, or the function refuses their values.
    pub(in crate::recipe::template) fn call(&self, values: &[Value]) -> Result<Value, String> {
        let Row(_, least, most, run) = self.row;
        if values.len() < *least || values.len() > *most {
            let wanted = match (*least, *most) {
                (a, b) if a == b => a.to_string(),
                (a, usize::MAX) => format!("at least {a}"),
                (a, b) => format!("{a} to {b}"),
            };
            return Err(format!("takes {wanted} arguments and got {}", values.len()));
        }
        run(values)
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    let tables =
        [builtin::TABLE, text::TABLE, number::TABLE, list::TABLE, dict::TABLE, other::TABLE];
    tables.into_iter().flatten()
}

/// Functions of sprig that have a twin with `must`. In Go the twin returns an error where the other
/// one ends the program. Here both are errors.
const MUST: &str = "append chunk compact first fromJson has initial last prepend push regexFind \
                    regexFindAll regexMatch regexReplaceAll regexReplaceAllLiteral regexSplit \
                    rest reverse slice toJson toPrettyJson toRawJson uniq without";

/// Returns the function of a name.
pub(in crate::recipe::template) fn find(name: &str) -> Option<Function> {
    let twin = name.strip_prefix("must").and_then(|rest| {
        let first = rest.chars().next()?.to_ascii_lowercase();
        MUST.split(' ').find(|other| other.starts_with(first) && other[1..] == rest[1..])
    });
    let name = twin.unwrap_or(name);
    let prints = ["print", "println", "printf", "quote", "squote", "cat"].contains(&name);
    let asks_host = ["env", "expandenv"].contains(&name);
    rows().find(|row| row.0 == name).map(|row| Function { row, prints, asks_host })
}

/// Returns all names.
pub(in crate::recipe::template) fn names() -> Vec<&'static str> {
    rows().map(|row| row.0).collect()
}

/// Says why a function of slim-sprig is not there.
pub(in crate::recipe::template) fn refused(name: &str) -> Option<&'static str> {
    let random =
        ["randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes", "randInt", "uuidv4"];
    if random.contains(&name) {
        return Some("is refused: two builds of one recipe would differ; give a value with -t");
    }
    if name == "getHostByName" {
        return Some("is refused: a recipe must not depend on the network of the build host");
    }
    None
}
