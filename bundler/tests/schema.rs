//! The JSON Schema of recipes, judged by a public validator: `check-jsonschema`, which tests/setup
//! installs.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

mod validators;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bundler::recipe::{Options, Recipe};

/// Runs the validator. Returns what it says against the files, or nothing.
fn complaints(args: &[&Path]) -> String {
    let output =
        Command::new(validators::validator("check-jsonschema")).args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { String::new() } else { String::from_utf8(said).unwrap() }
}

/// What `daruma-bundler schema` prints, as a file.
fn schema(dir: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler")).arg("schema").output().unwrap();
    assert!(output.status.success());
    let path = dir.join("schema.json");
    fs::write(&path, output.stdout).unwrap();
    path
}

/// All recipes below a folder.
fn recipes(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            recipes(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            if text.contains("\nactions:") || text.starts_with("extends:") {
                found.insert(path);
            }
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_schema_is_a_schema_and_every_good_recipe_fits_it() {
    let dir = tempfile::tempdir().unwrap();
    let schema = schema(dir.path());
    assert_eq!(complaints(&[Path::new("--check-metaschema"), &schema]), "");
    let mut all = BTreeSet::new();
    for folder in ["recipes", "../tests/recipes", "tests/golden/recipes"] {
        recipes(&root().join(folder), &mut all);
    }
    // What the templates give, for recipes that are read without a package of a build.
    let mut files = Vec::new();
    for path in &all {
        let variables = [("server".to_owned(), "http://127.0.0.1:1".to_owned())].into();
        let options = Options { variables, lenient: false };
        let Ok(recipe) = Recipe::load_with(path, &options) else { continue };
        for (_, text) in &recipe.rendered {
            let file = dir.path().join(format!("{:03}.yaml", files.len()));
            fs::write(&file, text).unwrap();
            files.push(file);
        }
    }
    assert!(files.len() >= 30, "{}", files.len());
    // And every file as it lies there, if it is no template.
    let is_good = |path: &&PathBuf| {
        let name = path.to_str().unwrap();
        let is_template = fs::read_to_string(path).unwrap().contains("{{");
        !is_template && !name.contains("/refused/") && !name.ends_with("08-misspelt.yaml")
    };
    let plain: Vec<PathBuf> = all.iter().filter(is_good).cloned().collect();
    assert!(plain.len() >= 20, "{plain:?}");
    files.extend(plain);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let args = [&[Path::new("--schemafile"), &schema], &files[..]].concat();
    assert_eq!(complaints(&args), "");
}

#[test]
fn the_schema_finds_what_an_editor_should_show() {
    let dir = tempfile::tempdir().unwrap();
    let schema = schema(dir.path());
    let head = "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: trixie\n";
    let path = dir.path().join("r.yaml");
    for (rest, wanted) in [
        (
            "  - action: apt\n    packages: [a]\n    recommend: false\n",
            "'recommend' was unexpected",
        ),
        ("  - action: pack\n", "'file' is a required property"),
        ("  - action: apt\n", "'packages' is a required property"),
        ("  - action: apt\n    packages: less\n", "'less' is not of type 'array', 'null'"),
        ("  - action: run\n    chroot: maybe\n", "'maybe' is not of type 'boolean'"),
        ("  - action: aptt\n", "'aptt' is not one of"),
        ("  - action: pack\n    file: a\n    compression: zst\n", "'zst' is not one of"),
        ("  - packages: [a]\n", "'action' is a required property"),
        ("colour: red\n", "'colour' was unexpected"),
    ] {
        fs::write(&path, format!("{head}{rest}")).unwrap();
        let said = complaints(&[Path::new("--schemafile"), &schema, &path]);
        assert!(said.contains(wanted), "{wanted}: {said}");
        // One thing is wrong, and the validator names one.
        assert_eq!(said.matches("r.yaml::").count(), 1, "{said}");
    }
}

/// All keys of a mapping's schema, and of mappings in it. Those that can change nothing are left
/// out, and so is `KEY+`, which every list has.
fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let is_every = ["action", "description"].contains(&key.as_str()) || key.ends_with('+');
        if value["deprecated"] != true && !is_every {
            found.insert(key.clone());
        }
        keys(&value["items"], found);
    }
}

/// The first columns of a section's tables of keys.
fn rows(section: &str) -> BTreeSet<String> {
    let (mut found, mut is_keys) = (BTreeSet::new(), false);
    for line in section.lines() {
        let column = line.strip_prefix('|').and_then(|rest| rest.split('|').next());
        is_keys = column.is_some_and(|column| is_keys || column.trim().starts_with("key"));
        let words = column.filter(|_| is_keys).unwrap_or_default().split('`').skip(1).step_by(2);
        found.extend(words.map(str::to_owned));
    }
    found
}

#[test]
fn the_reference_has_all_keys_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(schema(dir.path())).unwrap()).unwrap();
    let page = fs::read_to_string(root().join("../docs/recipes.md")).unwrap();
    let actions = page.split("\n## ").find(|part| part.starts_with("Actions\n")).unwrap();
    let sections: Vec<(&str, &str)> =
        actions.split("\n### ").skip(1).filter_map(|part| part.split_once('\n')).collect();
    let mut wanted = vec![BTreeSet::new(); sections.len()];
    for action in schema["properties"]["actions"]["items"]["allOf"].as_array().unwrap() {
        let name = action["if"]["properties"]["action"]["const"].as_str().unwrap();
        let of = |(heads, _): &(&str, &str)| heads.split(", ").any(|head| head == name);
        let at = sections.iter().position(of).unwrap_or_else(|| panic!("no section {name}"));
        keys(&action["then"], &mut wanted[at]);
    }
    for ((heads, text), wanted) in sections.iter().zip(wanted) {
        let found = rows(text);
        // Every action may have a description, and bundle's is in its table.
        let is_more = |key: &&String| *key != "description" && !wanted.contains(*key);
        let more: Vec<_> = found.iter().filter(is_more).collect();
        assert!(more.is_empty(), "{heads}: no such keys: {more:?}");
        let missing: Vec<_> =
            wanted.iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
        assert!(missing.is_empty(), "{heads}: {missing:?} are missing");
    }
}
