//! How recipes merge along `extends`, and the listing of a whole recipe.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use bundler::recipe::Recipe;

const BASE: &str = "\
architecture: amd64
actions:
  - action: mmdebstrap
    suite: trixie
  - action: apt
    packages: [a]
  - action: kernel
    modules: [kernel/fs/, \"!kernel/fs/nls/\"]
  - action: bundle
    compatible: base
    args: \"quiet console=tty0\"
    health-units: [a.service]
";
const VARIANT: &str = "\
extends: base.yaml
actions:
  - action: run
    chroot: true
    command: |
      true
        indented
  - action: bundle
    compatible: box
    health-units+:
      - b.service
  - action: kernel
    modules+: [kernel/net/]
";

/// Writes the recipes and reads the last one, with paths that are relative to the folder.
fn load(dir: &Path, files: &[(&str, &str)]) -> Result<Recipe, String> {
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
    let prefix = format!("{}/", dir.display());
    let last = files.last().unwrap().0;
    Recipe::load(&dir.join(last)).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn modules(recipe: &Recipe) -> Vec<&str> {
    recipe.kernel.modules.iter().flatten().map(|pattern| pattern.text.as_str()).collect()
}

#[test]
fn a_key_replaces_the_parents_and_a_key_with_a_plus_adds_to_its_list() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("base.yaml", BASE), ("box.yaml", VARIANT)];
    let recipe = load(dir.path(), &files).unwrap();
    assert_eq!(modules(&recipe), ["kernel/fs/", "!kernel/fs/nls/", "kernel/net/"]);
    let bundle = recipe.bundle().unwrap();
    assert_eq!(bundle.compatible, "box");
    assert_eq!(bundle.args, "quiet console=tty0");
    assert_eq!(bundle.health_units, ["a.service", "b.service"]);
    let replacing = VARIANT.replace("modules+", "modules");
    let recipe = load(dir.path(), &[("base.yaml", BASE), ("box.yaml", &replacing)]).unwrap();
    assert_eq!(modules(&recipe), ["kernel/net/"]);
    // A second variant adds once more.
    let third = "extends: box.yaml\nactions:\n  - action: kernel\n    modules+: [x]\n";
    let files = [files[0], files[1], ("third.yaml", third)];
    let recipe = load(dir.path(), &files).unwrap();
    assert_eq!(modules(&recipe), ["kernel/fs/", "!kernel/fs/nls/", "kernel/net/", "x"]);
}

#[test]
fn a_plus_that_adds_to_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let variant =
        |keys: &str| format!("extends: base.yaml\nactions:\n  - action: bundle\n    {keys}\n");
    let cases = [
        (
            "drop+: [/usr/x]",
            "box.yaml:4: `drop+` adds to the list `drop` of an earlier bundle action, and there \
             is none; write `drop`",
        ),
        (
            "health-unit+: [x.service]",
            "box.yaml:4: unknown key `health-unit+` in the bundle action; did you mean \
             `health-units+`?",
        ),
        (
            "health-units+: x.service",
            "box.yaml:4: `health-units+` of the bundle action must be a list (`- a`), not text",
        ),
    ];
    for (keys, wanted) in cases {
        let files = [("base.yaml", BASE), ("box.yaml", &variant(keys))];
        assert_eq!(load(dir.path(), &files).unwrap_err(), wanted);
    }
    let (code, _, error) = show(dir.path(), "gone.yaml");
    assert_eq!(code, 23);
    assert!(error.starts_with("daruma-bundler: reading the recipe gone.yaml: "), "{error}");
}

fn show(dir: &Path, recipe: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"));
    let output = command.args(["show", recipe]).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn show_prints_the_whole_recipe_and_where_each_line_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), &[("base.yaml", BASE), ("box.yaml", VARIANT)]).unwrap();
    let (code, shown, error) = show(dir.path(), "box.yaml");
    assert_eq!((code, error.as_str()), (0, ""));
    let wanted = "\
base.yaml:1   architecture: amd64
box.yaml:1    actions:
base.yaml:3     - action: mmdebstrap
base.yaml:4       suite: trixie
base.yaml:5     - action: apt
base.yaml:6       packages:
base.yaml:6         - a
base.yaml:7     - action: kernel
base.yaml:8       modules:
base.yaml:8         - kernel/fs/
base.yaml:8         - \"!kernel/fs/nls/\"
box.yaml:13         - kernel/net/
base.yaml:9     - action: bundle
box.yaml:9        compatible: box
base.yaml:11      args: \"quiet console=tty0\"
base.yaml:12      health-units:
base.yaml:12        - a.service
box.yaml:11         - b.service
box.yaml:3      - action: run
box.yaml:4        chroot: true
box.yaml:5        command: |
box.yaml:6          true
box.yaml:7            indented
";
    assert_eq!(shown, wanted);
    // Its text is a recipe that means the same.
    let one = load(dir.path(), &[("box.yaml", VARIANT)]).unwrap();
    let texts =
        |recipe: &Recipe| recipe.listing.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
    let again = load(dir.path(), &[("one.yaml", &(texts(&one).join("\n") + "\n"))]).unwrap();
    assert_eq!(texts(&again), texts(&one));
    assert_eq!(modules(&again), modules(&one));
}

#[test]
fn every_recipe_that_ships_is_read_and_names_its_devices() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The tools are for build hosts.
        let is_system = path.extension().is_some_and(|ending| ending == "yaml");
        if is_system && !path.ends_with("tools.yaml") {
            let recipe = Recipe::load(&path).unwrap();
            assert!(recipe.warnings.is_empty(), "{:?}", recipe.warnings);
            assert!(recipe.has_image && recipe.bootstrap.is_some(), "{}", path.display());
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            names.push((stem, recipe.bundle().unwrap().compatible.clone()));
        }
    }
    names.sort();
    // Devices of the router take its updates.
    let devices = |stem: &str| if stem == "router-updates" { "router" } else { stem }.to_owned();
    let wanted = [
        "base",
        "base-forky",
        "core",
        "hypervisor",
        "k3s",
        "router",
        "router-updates",
        "server",
        "testing",
        "workstation",
    ];
    assert_eq!(names, wanted.map(|stem| (stem.to_owned(), devices(stem))));
    let suite = |name: &str| Recipe::load(&folder.join(name)).unwrap().bootstrap.unwrap().suite;
    assert_eq!(suite("server.yaml"), "trixie");
    assert_eq!(suite("testing.yaml"), "forky");
}
