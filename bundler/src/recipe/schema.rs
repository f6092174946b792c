//! The JSON Schema of a recipe, for editors.
//!
//! It is made of the tables that the reader uses, so both know the same keys. A recipe that is a
//! template is not YAML before it is rendered; the schema is for what comes out.

use serde_json::{Map, Value, json};

use crate::recipe::action::{self, ONCE, TOP};
use crate::recipe::yaml::{Field, Kind, with_description};

/// Returns the schema (JSON Schema, draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let actions: Vec<Value> = action::all()
        .map(|table| {
            let mut schema = mapping(&with_description(table.fields));
            if ONCE.contains(&table.name) {
                add_lists(&mut schema, table.fields);
            }
            schema["description"] = table.about.into();
            schema["properties"]["action"] = json!({ "const": table.name });
            // A variant names only the keys that it changes.
            let required: Vec<Value> = match schema["required"].take() {
                Value::Array(keys) if !ONCE.contains(&table.name) => keys,
                _ => Vec::new(),
            };
            schema["required"] = required.into();
            // An editor then shows what is wrong with this action, and not with all others.
            let is_it = json!({ "const": table.name });
            let asks = json!({ "properties": { "action": is_it }, "required": ["action"] });
            json!({ "if": asks, "then": schema })
        })
        .collect();
    let names: Vec<&str> = action::all().map(|table| table.name).collect();
    let mut schema = mapping(TOP);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Recipe of Daruma and debos".into();
    schema["properties"]["actions"] = json!({
        "type": "array",
        "description": "What is done, one after the other.",
        "items": {
            "type": "object",
            "properties": { "action": { "enum": names } },
            "required": ["action"],
            "allOf": actions,
        },
    });
    schema
}

/// A variant adds to a list with `KEY+`.
fn add_lists(schema: &mut Value, fields: &[Field]) {
    let is_list = |field: &&Field| matches!(field.kind, Kind::Texts | Kind::Words(_));
    for field in fields.iter().filter(is_list) {
        let mut more = value(field.kind);
        more["description"] = format!("Adds to `{}` of an earlier recipe.", field.name).into();
        schema["properties"][format!("{}+", field.name)] = more;
    }
}

fn mapping(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = value(field.kind);
        schema["description"] = field.about.into();
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> =
        fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn value(kind: Kind) -> Value {
    // YAML reads `5ca1ab1e` as a text and `12345678` as a number.
    let text = json!({ "type": ["string", "number", "boolean", "null"] });
    match kind {
        Kind::Text => text,
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Texts => json!({ "type": ["array", "null"], "items": text }),
        Kind::Words(words) => {
            json!({ "type": ["array", "null"], "items": { "enum": words } })
        }
        Kind::Pairs => json!({ "type": ["object", "null"], "additionalProperties": text }),
        Kind::Mappings(fields) => json!({ "type": "array", "items": mapping(fields) }),
        Kind::Unused => json!({ "deprecated": true }),
    }
}
