//! Makes one [`Recipe`] from its files.
//!
//! `assemble` reads the actions. This file resolves `extends` and the `recipe` action. It merges
//! actions that a recipe may have only once.

use std::path::{Path, PathBuf};

use crate::recipe::action::{KEYS, ONCE};
use crate::recipe::assemble::assemble;
use crate::recipe::error::RecipeError;
use crate::recipe::keys::{Keys, closest};
use crate::recipe::node::{Node, Place, Value};
use crate::recipe::whole::Recipe;

/// Longest chain of `extends` and `recipe`. A longer chain is a mistake.
const DEPTH_LIMIT: usize = 16;
/// Most bytes of one recipe file.
const SIZE_LIMIT: u64 = 1 << 20;

/// Actions in order. A once-only action stands where a file named it first.
#[derive(Default)]
struct Collected {
    architecture: Option<(String, Place)>,
    /// Name of the action, and its mapping without the key `action`.
    actions: Vec<(String, Node)>,
}

impl Recipe {
    /// Reads a recipe and every file that it extends or includes.
    ///
    /// # Errors
    /// A file cannot be read, or a recipe is wrong (see [`RecipeError`]).
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        load(path)
    }
}

fn load(path: &Path) -> Result<Recipe, RecipeError> {
    let mut collected = Collected::default();
    let mut chain = Vec::new();
    let top = collect(path, None, &mut chain, &mut collected)?;
    let (architecture, place) = collected
        .architecture
        .ok_or_else(|| top.error("the recipe needs the key `architecture`"))?;
    if architecture != "amd64" {
        return Err(place
            .error(format_args!("architecture `{architecture}` is not supported; only amd64 is")));
    }
    assemble(path, &top, architecture, collected.actions)
}

/// Adds the actions of a file's parent, then those of the file. `named_at` is the line that asked
/// for the file.
fn collect(
    path: &Path,
    named_at: Option<&Place>,
    chain: &mut Vec<PathBuf>,
    into: &mut Collected,
) -> Result<Place, RecipeError> {
    let unreadable = |e: std::io::Error| match named_at {
        Some(place) => place.error(format_args!("reading {}: {e}", path.display())),
        None => RecipeError(format!("reading the recipe {}: {e}", path.display())),
    };
    let identity = path.canonicalize().map_err(unreadable)?;
    if chain.contains(&identity) || chain.len() >= DEPTH_LIMIT {
        let message = format!("{} leads back to itself", path.display());
        return Err(
            named_at.map_or_else(|| RecipeError(message.clone()), |place| place.error(&message))
        );
    }
    chain.push(identity);
    let text = read(path).map_err(unreadable)?;
    let mut keys = Keys::new(
        "the recipe",
        Node::parse(&text, path)?,
        &["architecture", "extends", "actions"],
    )?;
    let top = keys.place.clone();
    if let Some((parent, place)) = keys.text_at("extends")? {
        collect(&place.resolve(&parent), Some(&place), chain, into)?;
    }
    if let Some(architecture) = keys.text_at("architecture")? {
        into.architecture = Some(architecture);
    }
    let actions = match keys.take("actions") {
        None => Vec::new(),
        Some(Node { value: Value::List(items), .. }) => items,
        Some(node) => {
            return Err(node
                .place
                .error(format_args!("`actions` must be a list, not {}", node.value.kind())));
        }
    };
    for node in actions {
        let (name, node) = named(node)?;
        if name == "recipe" {
            let mut keys = Keys::new("the recipe action", node, &["recipe", "description"])?;
            let (file, place) = keys.required("recipe")?;
            collect(&place.resolve(&file), Some(&place), chain, into)?;
        } else {
            add(into, name, node);
        }
    }
    chain.pop();
    Ok(top)
}

/// Reads the text of a recipe. `extends: /dev/zero` must not eat all memory, and a named pipe must
/// not make the build wait for ever.
fn read(path: &Path) -> std::io::Result<String> {
    let file = std::fs::metadata(path)?;
    if !file.is_file() || file.len() > SIZE_LIMIT {
        let why = "it is not a file of at most 1 MiB";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    }
    std::fs::read_to_string(path)
}

/// Takes the key `action` out of a mapping. Returns its value and the rest.
fn named(mut node: Node) -> Result<(String, Node), RecipeError> {
    let Value::Map(entries) = &mut node.value else {
        return Err(node
            .place
            .error(format_args!("an action must be a mapping, not {}", node.value.kind())));
    };
    let Some(index) = entries.iter().position(|(key, _)| key.name == "action") else {
        return Err(node.place.error("an action needs the key `action`"));
    };
    let (_, name) = entries.remove(index);
    let Value::Text(text) = name.value else {
        return Err(name
            .place
            .error(format_args!("`action` must be text, not {}", name.value.kind())));
    };
    let known: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    if !known.contains(&text.as_str()) {
        let hint = match closest(&text, &known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known actions: {}", known.join(", ")),
        };
        return Err(name.place.error(format_args!("unknown action `{text}`; {hint}")));
    }
    Ok((text, node))
}

/// Merges a once-only action into one that is there already; the new keys win. Appends any other
/// action.
fn add(into: &mut Collected, name: String, node: Node) {
    let earlier =
        into.actions.iter_mut().find(|(other, _)| ONCE.contains(&name.as_str()) && *other == name);
    let (Some((_, Node { value: Value::Map(old), .. })), Value::Map(new)) = (earlier, &node.value)
    else {
        into.actions.push((name, node));
        return;
    };
    for (key, value) in new {
        match old.iter_mut().find(|(other, _)| other.name == key.name) {
            Some(entry) => *entry = (key.clone(), value.clone()),
            None => old.push((key.clone(), value.clone())),
        }
    }
}
