//! The case recipes: which are read, what their templates give, which are refused and where.
//!
//! tests/tests/debos.rs builds them. tests/golden/README.md says where they come from.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bundler::recipe::{Action, Options, Program, Recipe, Run};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipes")
}

fn load(name: &str, variables: &[(&str, &str)]) -> Result<Recipe, String> {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = variables.iter().map(pair).collect();
    let prefix = format!("{}/", cases().display());
    Recipe::load_with(&cases().join(name), &Options { variables, lenient: false })
        .map_err(|error| error.0.replace(&prefix, ""))
}

/// Every case that is accepted. 10-local-packages needs a package that a build makes.
const ACCEPTED: [&str; 15] = [
    "01-defaults.yaml",
    "02-assignment.yaml",
    "03-host-scripts.yaml",
    "05-bios-grub.yaml",
    "06-overlay-and-origins.yaml",
    "07-raw-offsets.yaml",
    "09-foreign.yaml",
    "11-build-mount.yaml",
    "12-sectors.yaml",
    "13-appliance/appliance.yaml",
    "13-appliance/recipe.yaml",
    "14-resolv-conf.yaml",
    "nested/main.yaml",
    "two-stage/image.yaml",
    "two-stage/rootfs.yaml",
];

fn commands(recipe: &Recipe) -> Vec<&str> {
    let command = |action: &'_ Action| match action {
        Action::Run(Run { program: Program::Command(text), .. }) => Some(text.as_str().to_owned()),
        _ => None,
    };
    let found: Vec<_> = recipe.steps.iter().filter_map(|step| command(&step.action)).collect();
    found.into_iter().map(|text| &*text.leak()).collect()
}

fn packed(recipe: &Recipe) -> String {
    let file = recipe.steps.iter().find_map(|step| match &step.action {
        Action::Pack(pack) => Some(pack.file.clone()),
        _ => None,
    });
    file.unwrap()
}

#[test]
fn every_case_is_read_without_a_warning() {
    for name in ACCEPTED {
        let recipe = load(name, &[("server", "http://127.0.0.1:1")]).unwrap();
        assert_eq!(recipe.warnings, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn defaults_are_those_of_the_template_and_t_changes_them() {
    let small = load("01-defaults.yaml", &[]).unwrap();
    assert_eq!(packed(&small), "out-amd64-small.tar.gz");
    assert_eq!(commands(&small), ["echo small >/etc/flavour"]);
    let big = load("01-defaults.yaml", &[("flavour", "big")]).unwrap();
    assert_eq!(packed(&big), "out-amd64-big.tar.gz");
    assert_eq!(commands(&big), ["touch /etc/big", "echo big >/etc/flavour"]);
    let other = load("01-defaults.yaml", &[("flavour", "odd")]).unwrap();
    assert_eq!(commands(&other)[0], "echo \"no flavour odd\" >&2; exit 1");
}

#[test]
fn a_variable_that_is_assigned_in_an_if_keeps_its_value() {
    for (architecture, console) in [("amd64", "ttyS0"), ("arm64", "ttyAMA0")] {
        let recipe = load("02-assignment.yaml", &[("architecture", architecture)]).unwrap();
        assert_eq!(commands(&recipe), [format!("echo {console} > /etc/console")]);
    }
}

#[test]
fn an_included_recipe_sees_only_what_it_is_given() {
    let recipe = load("nested/main.yaml", &[("colour", "red")]).unwrap();
    assert_eq!(packed(&recipe), "nested-red.tar.gz");
    let script = recipe.steps.iter().find_map(|step| match &step.action {
        Action::Run(Run { program: Program::Script { file, arguments, .. }, .. }) => {
            Some((file.clone(), arguments.clone()))
        }
        _ => None,
    });
    let file = cases().join("nested/parts/scripts/append.sh");
    assert_eq!(script, Some((file, "amd64 blue".to_owned())));
}

#[test]
fn disks_are_read_with_their_bytes() {
    let disk = |name: &str| {
        let recipe = load(name, &[]).unwrap();
        let found = recipe.steps.iter().find_map(|step| match &step.action {
            Action::Disk(disk) => Some(disk.clone()),
            _ => None,
        });
        (recipe, found.unwrap())
    };
    let (recipe, raw) = disk("07-raw-offsets.yaml");
    assert_eq!((raw.size, raw.partitions[0].bytes.0), (64 << 20, 16 << 20));
    let offsets: Vec<_> = recipe
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Raw(raw) => Some(raw.offset),
            _ => None,
        })
        .collect();
    assert_eq!(offsets, [8192, 65_536, 131_072]);
    let (recipe, _) = disk("12-sectors.yaml");
    assert_eq!(recipe.sector, 4096);
    let (_, two) = disk("two-stage/image.yaml");
    let spare = two.partitions.iter().find(|partition| partition.name == "spare").unwrap();
    assert_eq!(spare.bytes, (2_000_000_000 - (16 << 20), 2_000_000_000));
    assert_eq!(two.partitions[0].label, "EFI system");
    let (_, many) = disk("11-build-mount.yaml");
    assert!(many.mountpoints[2].buildtime && !many.partitions[3].fsck);
    assert_eq!(many.partitions[0].filesystem.mounted, "vfat");
    let (_, bios) = disk("05-bios-grub.yaml");
    assert_eq!((bios.gpt, bios.id.as_deref()), (false, Some("5ca1ab1e")));
}

#[test]
fn what_debos_passes_over_is_an_error_and_a_warning_for_lenient() {
    let error = load("08-misspelt.yaml", &[]).unwrap_err();
    let wanted = "08-misspelt.yaml:9: unknown key `recommend` in the apt action; did you mean \
        `recommends`?";
    assert_eq!(error, wanted);
    let options = Options { lenient: true, ..Options::default() };
    let recipe = Recipe::load_with(&cases().join("08-misspelt.yaml"), &options).unwrap();
    let warnings = recipe.warnings.join("\n");
    for wanted in [
        ":9: unknown key `recommend` in the apt action; did you mean `recommends`?",
        ":12: unknown key `chrot` in the run action; did you mean `chroot`?",
        ":16: unknown key `compresion` in the pack action; did you mean `compression`?",
    ] {
        assert!(warnings.contains(wanted), "{warnings}");
    }
}

#[test]
fn every_refused_case_is_refused_with_its_line() {
    let wanted = [
        ("both.yaml", "both.yaml:6: ", "either `command` or `script`"),
        ("deploy-without-disk.yaml", "deploy-without-disk.yaml:6: ", "image-partition"),
        ("itself.yaml", "itself.yaml:5: ", "leads back to itself"),
        ("mount-of-nothing.yaml", "mount-of-nothing.yaml:11: ", "`fs: none`"),
        ("other-architecture/main.yaml", "other-architecture/inner.yaml:1: ", "`arm64`"),
        ("out-of-the-root.yaml", "out-of-the-root.yaml:8: ", "leads out of the root"),
        ("overlap.yaml", "overlap.yaml:10: ", "overlaps `a`"),
        ("post-in-chroot.yaml", "post-in-chroot.yaml:6: ", "exclude each other"),
        ("template.yaml", "template.yaml:6: ", "has no `{{ end }}`"),
        ("too-small.yaml", "too-small.yaml:9: ", "beyond the disk"),
        ("unknown-origin.yaml", "unknown-origin.yaml:7: ", "the origin `firmware`"),
        ("unknown-partition.yaml", "unknown-partition.yaml:11: ", "no partition `root`"),
    ];
    let files = fs::read_dir(cases().join("refused")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name != "README.md").count(), wanted.len());
    for (name, place, reason) in wanted {
        let error = load(&format!("refused/{name}"), &[]).unwrap_err();
        assert!(error.starts_with(&format!("refused/{place}")), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}
