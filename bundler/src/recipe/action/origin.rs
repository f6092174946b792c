//! Where files come from: the origins that exist at an action, paths in them, and patterns.
//!
//! The actions read them, and `bundling` resolves them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::recipe::yaml::{Keys, Place, RecipeError, closest};

/// Where files come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A folder of the recipe file.
    Recipe(PathBuf),
    /// The artifact folder.
    Artifacts,
    /// The root filesystem.
    Filesystem,
    /// What a `download` action has fetched.
    Download {
        /// The name that the action gave.
        name: String,
        /// True for an archive that was unpacked.
        is_folder: bool,
    },
}

/// A path in an origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct From {
    /// The origin.
    pub origin: Origin,
    /// The path, relative to the origin. Empty: the origin itself.
    pub path: String,
}

/// What exists at an action, in the order of the recipe: origins, and the disk.
#[derive(Debug)]
pub(in crate::recipe) struct Origins {
    /// Name, file name, whether it is a folder.
    pub(super) downloads: BTreeMap<String, (String, bool)>,
    /// Whether an earlier action runs on the build host, and can make files beside the recipe.
    pub(in crate::recipe) host_ran: bool,
    /// The partitions of the disk, by name.
    pub(in crate::recipe) partitions: Option<Vec<String>>,
    /// Whether the disk has a root to deploy to.
    pub(in crate::recipe) has_root: bool,
    /// Bytes of a sector of the disk.
    pub(in crate::recipe) sector: u64,
}

impl Origins {
    /// At the beginning of a recipe for a disk with sectors of this size.
    pub(in crate::recipe) fn new(sector: u64) -> Self {
        let downloads = BTreeMap::new();
        Self { downloads, host_ran: false, partitions: None, has_root: false, sector }
    }

    /// Whether a file that is missing now can be made before it is needed.
    pub(super) fn made_later(&self) -> bool {
        self.host_ran
    }

    /// Reads the key `origin`.
    pub(super) fn read(&self, keys: &mut Keys, default: Origin) -> Result<Origin, RecipeError> {
        let Some((name, place)) = keys.text_at("origin")?.filter(|(text, _)| !text.is_empty())
        else {
            return Ok(default);
        };
        self.named(&name, &place, &keys.place)
    }

    /// Returns the origin of a name. `recipe` is the place of the action.
    pub(super) fn named(
        &self,
        name: &str,
        place: &Place,
        recipe: &Place,
    ) -> Result<Origin, RecipeError> {
        match name {
            "recipe" => Ok(Origin::Recipe(recipe.resolve(""))),
            "artifacts" => Ok(Origin::Artifacts),
            "filesystem" => Ok(Origin::Filesystem),
            _ => match self.downloads.get(name) {
                Some((_, is_folder)) => {
                    Ok(Origin::Download { name: name.to_owned(), is_folder: *is_folder })
                }
                None => {
                    let known = ["recipe", "artifacts", "filesystem"].into_iter();
                    let known: Vec<&str> =
                        known.chain(self.downloads.keys().map(String::as_str)).collect();
                    let hint = closest(name, &known)
                        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                    Err(place.error(format_args!(
                        "no action before this one makes the origin `{name}`{hint}"
                    )))
                }
            },
        }
    }
}

/// Makes an absolute path of a path in the root filesystem. A path that leaves the root is refused.
fn inside(text: &str, key: &str, place: &Place) -> Result<String, RecipeError> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.pop().is_none() {
            return Err(place.error(format_args!(
                "`{key}: {text}` leads out of the root filesystem; it begins at the root, and \
                    `..` cannot leave it"
            )));
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Reads a key that is a path in the root filesystem.
pub(super) fn inside_key(
    keys: &mut Keys,
    name: &'static str,
) -> Result<Option<String>, RecipeError> {
    let given = keys.text_at(name)?.filter(|(text, _)| !text.is_empty());
    given.map(|(text, place)| inside(&text, name, &place)).transpose()
}

/// Refuses a path that leaves its origin.
pub(super) fn within(text: &str, key: &str, place: &Place) -> Result<String, RecipeError> {
    inside(text, key, place).map(|path| path[1..].to_owned()).map_err(|_| {
        place.error(format_args!("`{key}: {text}` leads out of the folder that it begins in"))
    })
}

/// Returns the files below `folder` that match a pattern of the shell, sorted.
#[must_use]
pub fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let mut next = Vec::new();
        for dir in found {
            if !part.contains(['*', '?', '[']) {
                next.extend(Some(dir.join(part)).filter(|path| path.exists()));
                continue;
            }
            let names = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
            names.retain(|name| {
                name.to_str().is_some_and(|name| {
                    (!name.starts_with('.') || part.starts_with('.')) && shell_match(part, name)
                })
            });
            names.sort();
            next.extend(names.into_iter().map(|name| dir.join(name)));
        }
        found = next;
    }
    found
}

/// Whether a name matches a pattern with `*`, `?` and `[a-z]`.
fn shell_match(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Which positions of the pattern can be reached with the characters until now.
    let mut at: Vec<usize> = vec![0];
    let skip = |list: &mut Vec<usize>| {
        let mut index = 0;
        while index < list.len() {
            let next = list[index] + 1;
            if pattern.get(list[index]) == Some(&'*') && !list.contains(&next) {
                list.push(next);
            }
            index += 1;
        }
    };
    skip(&mut at);
    for c in name {
        let mut next = Vec::new();
        for position in at {
            let to = match pattern.get(position) {
                Some('*') => Some(position),
                Some('?') => Some(position + 1),
                Some('[') => class(&pattern[position..], c).map(|length| position + length),
                Some(other) if *other == c => Some(position + 1),
                _ => None,
            };
            next.extend(to.filter(|to| !next.contains(to)));
        }
        skip(&mut next);
        at = next;
    }
    at.contains(&pattern.len())
}

/// The length of a class `[a-z]` if it holds the character.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
    let not = matches!(pattern[1], '^' | '!');
    let set = &pattern[1 + usize::from(not)..end];
    let mut holds = false;
    let mut index = 0;
    while index < set.len() {
        if set.get(index + 1) == Some(&'-') && index + 2 < set.len() {
            holds |= (set[index]..=set[index + 2]).contains(&c);
            index += 3;
        } else {
            holds |= set[index] == c;
            index += 1;
        }
    }
    (holds != not).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_files_are_those_of_the_shell() {
        for (pattern, name, matches) in [
            ("hello_*.deb", "hello_1.0_all.deb", true),
            ("hello_*.deb", "hello_1.0_all.udeb", false),
            ("*", "", true),
            ("?.deb", "ab.deb", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(shell_match(pattern, name), matches, "{pattern} {name}");
        }
    }
}
