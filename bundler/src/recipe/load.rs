//! Makes one [`Recipe`] from its files.
//!
//! `template` renders each file, and `assemble` reads the actions. This file resolves `extends` and
//! the `recipe` action. It merges actions that a recipe may have only once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::recipe::action::{ELSEWHERE, ONCE, RECIPE, TOP, all, table};
use crate::recipe::assemble::{Collected, assemble};
use crate::recipe::template::render;
use crate::recipe::whole::{Options, Recipe};
use crate::recipe::yaml::{
    Key, Keys, Kind, Node, Notes, Place, RecipeError, Value, closest, with_description,
};

/// Longest chain of `extends` and `recipe`. A longer chain is a mistake.
const DEPTH_LIMIT: usize = 16;
/// Most bytes of one recipe file.
const SIZE_LIMIT: u64 = 1 << 20;

/// Debian's architectures.
const ARCHITECTURES: &[&str] = &[
    "amd64", "arm64", "armhf", "armel", "i386", "loong64", "mips64el", "ppc64el", "riscv64",
    "s390x",
];
/// Names that others give them.
const OTHER_NAMES: &[(&str, &str)] = &[("x86_64", "amd64"), ("aarch64", "arm64"), ("arm", "armhf")];

impl Recipe {
    /// Reads a recipe and every file that it extends or includes.
    ///
    /// # Errors
    /// A file cannot be read, or a recipe is wrong (see [`RecipeError`]).
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        Self::load_with(path, &Options::default())
    }

    /// Reads a recipe with template variables.
    ///
    /// # Errors
    /// As for [`Recipe::load`].
    pub fn load_with(path: &Path, options: &Options) -> Result<Self, RecipeError> {
        let mut files = Files {
            chain: Vec::new(),
            collected: Collected::default(),
            notes: Notes { lenient: options.lenient, warnings: Vec::new() },
        };
        let top = files.collect(path, None, &options.variables)?;
        assemble(path, &top, files.collected, files.notes)
    }
}

/// The files that are being read.
struct Files {
    chain: Vec<PathBuf>,
    collected: Collected,
    notes: Notes,
}

impl Files {
    /// Adds the actions of a file's parent, then those of the file. `named_at` is the line that
    /// asked for the file.
    fn collect(
        &mut self,
        path: &Path,
        named_at: Option<&Place>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Place, RecipeError> {
        let unreadable = |e: std::io::Error| match named_at {
            Some(place) => place.error(format_args!("reading {}: {e}", path.display())),
            None => RecipeError(format!("reading the recipe {}: {e}", path.display())),
        };
        let identity = path.canonicalize().map_err(unreadable)?;
        if self.chain.contains(&identity) || self.chain.len() >= DEPTH_LIMIT {
            let message = format!("{} leads back to itself", path.display());
            return Err(named_at
                .map_or_else(|| RecipeError(message.clone()), |place| place.error(&message)));
        }
        self.chain.push(identity);
        let text = read(path).map_err(unreadable)?;
        let node = self.parse(&text, path, variables)?;
        let mut keys = Keys::new("the recipe", node, TOP, &mut self.notes)?;
        let top = keys.place.clone();
        if let Some((parent, place)) = keys.text_at("extends")? {
            self.collect(&place.resolve(&parent), Some(&place), variables)?;
        }
        if let Some(architecture) = keys.text_at("architecture")? {
            check_architecture(&architecture.0, &architecture.1)?;
            self.collected.architecture = Some(architecture);
        }
        if let Some((text, place)) = keys.text_at("sectorsize")? {
            let sector = text.parse().ok().filter(|size| [512, 4096].contains(size));
            let sector = sector.ok_or_else(|| {
                place.error(format_args!("`sectorsize: {text}` must be 512 or 4096"))
            })?;
            self.collected.sector = Some((sector, place));
        }
        for node in keys.nodes("actions")? {
            let (name, node) = named(node)?;
            if name == RECIPE.name {
                self.include(node)?;
            } else {
                add(&mut self.collected, name, node)?;
            }
        }
        self.chain.pop();
        Ok(top)
    }

    /// Renders the template of a file, and parses what it gives.
    fn parse(
        &mut self,
        text: &str,
        path: &Path,
        variables: &BTreeMap<String, String>,
    ) -> Result<Node, RecipeError> {
        let at = |line| Place { file: path.into(), line };
        let rendered = render(text, variables)
            .map_err(|error| at(error.line).error(format_args!("template: {}", error.message)))?;
        for (name, line) in &rendered.missing {
            self.notes.warn(
                &at(*line),
                format_args!(
                    "the template variable `{name}` was not given, so the recipe has `<no value>` \
                        here; give it with -t {name}:VALUE"
                ),
            );
        }
        for (what, line) in &rendered.asked {
            self.notes.warn(
                &at(*line),
                format_args!(
                    "`{what}` reads the environment of this host, so another host can build \
                        something else; a variable of -t is the same everywhere"
                ),
            );
        }
        self.collected.rendered.push((path.to_owned(), rendered.text.clone()));
        Node::parse(&rendered.text, path, &rendered.lines)
    }

    /// Adds the actions of a file that a `recipe` action names. The file sees `architecture` and
    /// the variables of the action, and no others.
    fn include(&mut self, node: Node) -> Result<(), RecipeError> {
        let fields = with_description(RECIPE.fields);
        let mut keys = Keys::new("the recipe action", node, &fields, &mut self.notes)?;
        let (file, place) = keys.required("recipe")?;
        let mut variables = BTreeMap::new();
        let outer = self.collected.architecture.clone();
        if let Some((architecture, _)) = &outer {
            variables.insert("architecture".to_owned(), architecture.clone());
        }
        variables.extend(keys.pairs("variables")?);
        let sector = self.collected.sector.clone();
        self.collect(&place.resolve(&file), Some(&place), &variables)?;
        // The disk belongs to the recipe that includes the file.
        self.collected.sector = sector;
        match (&outer, &self.collected.architecture) {
            (Some((wanted, at)), Some((got, place))) if wanted != got => {
                Err(place.error(format_args!(
                    "the architecture is `{got}`, but {at} includes this file and has `{wanted}`"
                )))
            }
            _ => Ok(()),
        }
    }
}

fn check_architecture(name: &str, place: &Place) -> Result<(), RecipeError> {
    if ARCHITECTURES.contains(&name) {
        return Ok(());
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, meant)| *meant);
    let hint = match other.or_else(|| closest(name, ARCHITECTURES)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("Debian has {}", ARCHITECTURES.join(", ")),
    };
    Err(place.error(format_args!("unknown architecture `{name}`; {hint}")))
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
    let (Value::Text(text) | Value::Word(text)) = name.value else {
        return Err(name
            .place
            .error(format_args!("`action` must be text, not {}", name.value.kind())));
    };
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(other, _)| *other == text) {
        let message = format!("the action `{text}` is not supported; {instead}");
        return Err(name.place.error(message));
    }
    let known: Vec<&str> = all().map(|table| table.name).collect();
    if !known.contains(&text.as_str()) {
        let hint = match closest(&text, &known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known actions: {}", known.join(", ")),
        };
        return Err(name.place.error(format_args!("unknown action `{text}`; {hint}")));
    }
    Ok((text, node))
}

/// Merges a once-only action into one that is there already: a new key wins, and `KEY+` adds to the
/// list that is there. Appends any other action.
fn add(into: &mut Collected, name: String, node: Node) -> Result<(), RecipeError> {
    let Node { place, value: Value::Map(new) } = node else { return Ok(()) };
    if !ONCE.contains(&name.as_str()) {
        into.actions.push((name, Node { place, value: Value::Map(new) }));
        return Ok(());
    }
    let index = into.actions.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
        into.actions.push((name.clone(), Node { place, value: Value::Map(Vec::new()) }));
        into.actions.len() - 1
    });
    let Value::Map(old) = &mut into.actions[index].1.value else { return Ok(()) };
    for (key, value) in new {
        if let Some(list) = key.name.strip_suffix('+') {
            extend(old, &name, list, &key, value)?;
            continue;
        }
        match old.iter_mut().find(|(other, _)| other.name == key.name) {
            Some(entry) => *entry = (key, value),
            None => old.push((key, value)),
        }
    }
    Ok(())
}

/// Adds the items of the key `KEY+` to the list `KEY` of an earlier recipe.
fn extend(
    old: &mut [(Key, Node)],
    action: &str,
    list: &str,
    key: &Key,
    value: Node,
) -> Result<(), RecipeError> {
    let known = table(action).map_or(&[][..], |table| table.fields);
    let lists: Vec<&str> = known
        .iter()
        .filter(|field| matches!(field.kind, Kind::Texts | Kind::Words(_)))
        .map(|field| field.name)
        .collect();
    if !lists.contains(&list) {
        let hint = match closest(list, &lists) {
            Some(meant) => format!("did you mean `{meant}+`?"),
            None => format!("lists that can be added to: {}", lists.join(", ")),
        };
        let name = &key.name;
        return Err(key
            .place
            .error(format_args!("unknown key `{name}` in the {action} action; {hint}")));
    }
    let Value::List(more) = value.value else {
        return Err(value.place.error(format_args!(
            "`{list}+` of the {action} action must be a list (`- a`), not {}",
            value.value.kind()
        )));
    };
    match old.iter_mut().find(|(other, _)| other.name == list) {
        Some((_, Node { value: Value::List(items), .. })) => {
            items.extend(more);
            Ok(())
        }
        _ => Err(key.place.error(format_args!(
            "`{list}+` adds to the list `{list}` of an earlier {action} action, and there is none; \
                write `{list}`"
        ))),
    }
}
