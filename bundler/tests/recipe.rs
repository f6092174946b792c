//! Which recipes are read, which are refused, and with which message.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs;
use std::path::Path;

use bundler::recipe::{Action, Apt, Archive, Options, Origin, Overlay, Program, Recipe, Run};
use tempfile::TempDir;

const HEAD: &str = "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: trixie\n  - \
    action: bundle\n    compatible: box\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn load(text: &str) -> Result<Recipe, String> {
    let dir = folder(&[("r.yaml", text), ("overlay/etc/x", "x"), ("s.sh", "#!/bin/sh\n")]);
    message(dir.path(), "r.yaml")
}

fn message(dir: &Path, name: &str) -> Result<Recipe, String> {
    let prefix = format!("{}/", dir.display());
    Recipe::load(&dir.join(name)).map_err(|e| e.to_string().replace(&prefix, ""))
}

#[test]
fn every_mistake_is_named_with_its_line_and_a_remedy() {
    let with = |rest: &str| format!("{HEAD}{rest}");
    let cases = [
        (
            with("    without: [apt, pearl]\n"),
            "r.yaml:7: `without` has the unknown `pearl`; did you mean `perl`?",
        ),
        (
            with("  - action: kernel\n    module-sets: [wlan-all]\n"),
            "r.yaml:8: `module-sets` has the unknown `wlan-all`; known: bluetooth, can, cluster, \
                datacenter, guest, raid, sensors, serial, sound, wifi",
        ),
        (
            with("    compression: zstdd\n"),
            "r.yaml:7: `compression: zstdd` of the bundle action is not known; did you mean \
                `zstd`?",
        ),
        (
            with("    levle: 19\n"),
            "r.yaml:7: unknown key `levle` in the bundle action; did you mean `level`?",
        ),
        (
            with("    block-size: 256K\n    level: 9\n"),
            "r.yaml:8: `level: 9` is not a level of this zstd: 1 to 4 are fast, and 16 to 22 are \
                small",
        ),
        (
            with("    block-size: 1M\n    level: 17\n"),
            "r.yaml:8: `level: 17` is not a level of this zstd: 1 to 4 are fast, and 18 to 22 are \
                small (with blocks of up to 256K, 16 too)",
        ),
        (
            with("    compression: xz\n    level: 19\n"),
            "r.yaml:8: `level: 19` is not a level of xz: 0 to 9",
        ),
        (with("    block-size: 96K\n"), "r.yaml:7: `block-size` is 128K, 256K, 512K or 1M"),
        (
            with("  - action: apt\n    pakages: [bash]\n"),
            "r.yaml:8: unknown key `pakages` in the apt action; did you mean `packages`?",
        ),
        (
            with("  - action: apt\n    packages: bash\n"),
            "r.yaml:8: `packages` of the apt action must be a list (`- a`), not text",
        ),
        (with("  - action: apt\n"), "r.yaml:7: the apt action needs `packages`"),
        (
            with("  - action: overlya\n    source: overlay\n"),
            "r.yaml:7: unknown action `overlya`; did you mean `overlay`?",
        ),
        (
            with("  - action: frobnicate\n"),
            "r.yaml:7: unknown action `frobnicate`; known actions: mmdebstrap, apt, overlay, run, \
                recipe, kernel, bundle, image, debootstrap, install-deb, download, unpack, pack, \
                image-partition, filesystem-deploy, raw",
        ),
        (
            with("  - action: pacstrap\n    config: x\n"),
            "r.yaml:7: the action `pacstrap` is not supported; Daruma builds Debian systems: use \
                `mmdebstrap`",
        ),
        (
            with("  - action: ostree-deploy\n"),
            "r.yaml:7: the action `ostree-deploy` is not supported; Daruma updates whole images: \
                use `bundle` and `image`",
        ),
        (
            with("  - action: overlay\n    source: nowhere\n"),
            "r.yaml:8: `source: nowhere` is no folder and no file (in the overlay action)",
        ),
        (
            with("  - action: overlay\n    source: s.sh\n"),
            "r.yaml:8: a file needs `destination`, the name that it gets (in the overlay action)",
        ),
        (
            with("  - action: overlay\n    source: overlay\n    destination: /etc/../../x\n"),
            "r.yaml:9: `destination: /etc/../../x` leads out of the root filesystem; it begins at \
                the root, and `..` cannot leave it (in the overlay action)",
        ),
        (
            with("  - action: unpack\n    file: a.zip\n    compression: gz\n"),
            "r.yaml:7: `compression` is only for a tar (in the unpack action)",
        ),
        (
            with("  - action: pack\n    file: ../a.tar\n"),
            "r.yaml:8: `file: ../a.tar` leads out of the folder that it begins in (in the pack \
                action)",
        ),
        (
            with("  - action: pack\n    file: a.tar\n    compression: zst\n"),
            "r.yaml:9: `compression: zst` of the pack action is not known; did you mean `zstd`?",
        ),
        (
            with("  - action: download\n    url: ftp://x/y\n    name: y\n"),
            "r.yaml:8: `url: ftp://x/y` must begin with http:// or https:// (in the download \
                action)",
        ),
        (
            with("  - action: download\n    url: http://x/\n    name: y\n"),
            "r.yaml:8: the address has no name of a file; give `filename` (in the download action)",
        ),
        (
            with(
                "  - action: download\n    url: http://x/y\n    name: y\n  - action: unpack\n    \
                    origin: z\n    file: a\n",
            ),
            "r.yaml:11: no action before this one makes the origin `z`; did you mean `y`? (in the \
                unpack action)",
        ),
        (
            with("  - action: mmdebstrap\n    apt-opt: [x]\n"),
            "r.yaml:8: unknown key `apt-opt` in the mmdebstrap action; did you mean `apt-opts`?",
        ),
        (
            with("  - action: debootstrap\n    suite: trixie\n"),
            "r.yaml:7: a second action that makes the root filesystem",
        ),
        (with("sectorsize: 1024\n"), "r.yaml:7: `sectorsize: 1024` must be 512 or 4096"),
        (
            with("  - action: run\n    chroot: yes please\n    command: ls\n"),
            "r.yaml:8: `chroot` of the run action must be true or false, not text",
        ),
        (
            with("  - action: run\n    command: ls\n    script: s.sh\n"),
            "r.yaml:7: the run action needs either `command` or `script`",
        ),
        (
            with("  - action: run\n    script: no.sh\n"),
            "r.yaml:8: `script: no.sh` is not a file (in the run action)",
        ),
        (
            with("  - action: run\n    postprocess: true\n    chroot: true\n    command: ls\n"),
            "r.yaml:7: `chroot` and `postprocess` exclude each other: after the build there is no \
                root filesystem to run in (in the run action)",
        ),
        (
            with("  - action: image\n    root: 12 apples\n"),
            "r.yaml:8: `root: 12 apples` is not a size; write bytes, or 64M, 1G, 512K",
        ),
        (
            with("  - action: bundle\n    min-version: 1.2\n"),
            "r.yaml:8: `min-version: 1.2` is not a version like 1.2.3: unexpected end of input \
                while parsing minor version number",
        ),
        (
            with("  - action: bundle\n    min-version: one\n"),
            "r.yaml:8: `min-version: one` is not a version like 1.2.3: unexpected character 'o' \
                while parsing major version number",
        ),
        (
            with("  - action: bundle\n    args: \"a=$x\"\n"),
            "r.yaml:8: `args` cannot hold quotes, `$`, `\\` or line breaks",
        ),
        (
            with("  - action: bundle\n    compatible: two words\n"),
            "r.yaml:8: `compatible` is one word of letters, digits, `-`, `_` and `.`",
        ),
        (
            with("  - action: bundle\n    health-units:\n      - a@1.service\n      - sshd\n"),
            "r.yaml:10: `health-units` has `sshd`, which is not the name of a .service, .socket, \
                .mount or .timer",
        ),
        (
            with("  - action: bundle\n    health-units: [\"../a.service\"]\n"),
            "r.yaml:8: `health-units` has `../a.service`, which is not the name of a .service, \
                .socket, .mount or .timer",
        ),
        (with("  - apt\n"), "r.yaml:7: an action must be a mapping, not text"),
        (with("  - packages: [bash]\n"), "r.yaml:7: an action needs the key `action`"),
        (
            with("colour: red\n"),
            "r.yaml:7: unknown key `colour` in the recipe; known keys: architecture, extends, \
                sectorsize, actions",
        ),
        (
            with("extends: gone.yaml\n"),
            "r.yaml:7: reading gone.yaml: No such file or directory (os error 2)",
        ),
        (
            HEAD.replace("amd64", "arm64"),
            "r.yaml:1: architecture `arm64` is not supported for a bundle; only amd64 is",
        ),
        (
            HEAD.replace("amd64", "x86_64"),
            "r.yaml:1: unknown architecture `x86_64`; did you mean `amd64`?",
        ),
        (
            HEAD.replace("architecture: amd64\n", ""),
            "r.yaml:1: the recipe needs the key `architecture`",
        ),
        (
            HEAD.replace("    suite: trixie\n", ""),
            "r.yaml:3: the mmdebstrap action needs the key `suite`",
        ),
        (
            HEAD.replace("    compatible: box\n", ""),
            "r.yaml:5: the bundle action needs the key `compatible`",
        ),
        ("architecture: amd64\n".to_owned(), "r.yaml:1: the recipe needs at least one action"),
        (
            format!("{{{{ $suite := orr .suite \"trixie\" }}}}\n{HEAD}"),
            "r.yaml:1: template: there is no template function `orr`; did you mean `or`?",
        ),
        (format!("{HEAD}{{{{ if .x }}}}\n"), "r.yaml:7: template: `{{ if }}` has no `{{ end }}`"),
        (
            // Lines of the file, although the template takes two of them away.
            format!("{{{{- $a := 1 -}}}}\n{{{{- $b := 2 }}}}\n{HEAD}  - action: apt\n    x: 1\n"),
            "r.yaml:10: unknown key `x` in the apt action; known keys: packages, recommends, \
                update, unauthenticated, description",
        ),
        (String::new(), "r.yaml:1: the recipe is empty"),
        (
            format!("{HEAD}---\na: b\n"),
            "r.yaml:8: a recipe is one YAML document, and here a second one begins",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(load(&text).unwrap_err(), wanted, "for:\n{text}");
    }
}

#[test]
fn a_key_twice_and_broken_yaml_are_refused_with_their_line() {
    let twice = load(&HEAD.replace("    suite: trixie\n", "    suite: trixie\n    suite: sid\n"))
        .unwrap_err();
    assert!(twice.starts_with("r.yaml:5: not YAML: duplicated key"), "{twice}");
    let broken = load(&format!("{HEAD}  - action: [apt\n")).unwrap_err();
    assert!(broken.starts_with("r.yaml:") && broken.contains("not YAML"), "{broken}");
}

#[test]
fn a_variant_changes_keys_of_once_only_actions_and_appends_the_others() {
    let parent = format!(
        "{HEAD}    description: parent\n    args: quiet\n  - action: apt\n    packages: [bash]\n  \
            - action: image\n    root: 100M\n"
    );
    let child = "extends: base/parent.yaml\nactions:\n  - action: mmdebstrap\n    extra-suites: \
        [trixie-updates]\n\
                 \x20 - action: apt\n    packages: [curl]\n  - action: bundle\n    description: \
                 child\n  - action: image\n    var: 1G\n";
    let dir = folder(&[("base/parent.yaml", &parent), ("child.yaml", child)]);
    let recipe = message(dir.path(), "child.yaml").unwrap();
    let (bootstrap, bundle) = (recipe.bootstrap.unwrap(), recipe.bundle.unwrap());
    assert_eq!(
        (bootstrap.suite.as_str(), bootstrap.extra_suites.as_slice()),
        ("trixie", &["trixie-updates".to_owned()][..])
    );
    assert_eq!(
        (bundle.compatible.as_str(), bundle.description.as_str(), bundle.args.as_str()),
        ("box", "child", "quiet")
    );
    assert_eq!((recipe.layout.root, recipe.layout.var), (100 << 20, 1 << 30));
    let packages: Vec<_> = recipe
        .steps
        .iter()
        .map(|step| match &step.action {
            Action::Apt(Apt { packages, recommends: false, .. }) => packages[0].as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(packages, ["bash", "curl"]);
}

#[test]
fn an_included_recipe_stands_where_it_is_named_and_its_paths_are_its_own() {
    let part = "actions:\n  - action: overlay\n    source: files\n";
    let main = format!(
        "{HEAD}  - action: run\n    command: one\n  - action: recipe\n    recipe: \
            part/part.yaml\n  - action: run\n    chroot: true\n    command: two\n"
    );
    let dir = folder(&[("main.yaml", &main), ("part/part.yaml", part), ("part/files/etc/x", "x")]);
    let recipe = message(dir.path(), "main.yaml").unwrap();
    let actions: Vec<_> = recipe.steps.iter().map(|step| &step.action).collect();
    let [
        Action::Run(Run { chroot: false, .. }),
        Action::Overlay(Overlay { source, destination }),
        Action::Run(Run { chroot: true, program, .. }),
    ] = actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    let folder = Origin::Recipe(dir.path().join("part/"));
    assert_eq!((&source.origin, source.path.as_str()), (&folder, "files"));
    assert_eq!(destination, "/");
    assert_eq!(*program, Program::Command("two".to_owned()));
}

#[test]
fn a_mistake_in_a_parent_is_shown_in_the_parent() {
    let dir =
        folder(&[("p.yaml", &HEAD.replace("suite:", "suit:")), ("c.yaml", "extends: p.yaml\n")]);
    assert_eq!(
        message(dir.path(), "c.yaml").unwrap_err(),
        "p.yaml:4: unknown key `suit` in the mmdebstrap action; did you mean `suite`?"
    );
    let dir =
        folder(&[("p.yaml", &format!("{HEAD}    variannt: x\n")), ("c.yaml", "extends: p.yaml\n")]);
    assert_eq!(
        message(dir.path(), "c.yaml").unwrap_err(),
        "p.yaml:7: unknown key `variannt` in the bundle action; known keys: compatible, \
            min-version, args, docs, man, locales, drop, health-units, without, \
                compression, level, module-level, block-size, secrets, description"
    );
}

#[test]
fn a_circle_of_recipes_is_refused() {
    let dir = folder(&[("a.yaml", "extends: b.yaml\n"), ("b.yaml", "extends: a.yaml\n")]);
    let error = message(dir.path(), "a.yaml").unwrap_err();
    assert_eq!(error, "b.yaml:1: a.yaml leads back to itself");
}

#[test]
fn the_recipes_that_ship_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for dir in [root.join("recipes"), root.join("../tests/recipes")] {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                Recipe::load(&path).unwrap();
            }
        }
    }
}

#[test]
fn an_unknown_key_is_a_warning_for_lenient() {
    let text = format!("{HEAD}  - action: apt\n    packages: [a]\n    recommend: true\n");
    let dir = folder(&[("r.yaml", &text)]);
    let options = Options { lenient: true, ..Options::default() };
    let recipe = Recipe::load_with(&dir.path().join("r.yaml"), &options).unwrap();
    let Action::Apt(apt) = &recipe.steps[0].action else { panic!("{:?}", recipe.steps) };
    assert!(!apt.recommends);
    let [warning] = recipe.warnings.as_slice() else { panic!("{:?}", recipe.warnings) };
    let wanted = "r.yaml:9: unknown key `recommend` in the apt action; did you mean \
        `recommends`? The key is passed over";
    assert!(warning.ends_with(wanted), "{warning}");
}

#[test]
fn a_template_variable_that_nobody_gave_is_a_warning_with_its_line() {
    let text = format!("{HEAD}{{{{ if .a }}}}{{{{ end }}}}\n    description: {{{{ .colour }}}}\n");
    let recipe = load(&text).unwrap();
    assert_eq!(recipe.bundle.unwrap().description, "<no value>");
    let [warning] = recipe.warnings.as_slice() else { panic!("{:?}", recipe.warnings) };
    let wanted = "r.yaml:8: the template variable `colour` was not given, so the recipe has \
        `<no value>` here; give it with -t colour:VALUE";
    assert!(warning.ends_with(wanted), "{warning}");
}

#[test]
fn values_stay_as_they_were_written() {
    let text = "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: 1.10\n    \
                include: &list [0x10, 007, yes]\n    components: *list\n    merged-usr: on\n";
    let bootstrap = load(text).unwrap().bootstrap.unwrap();
    assert_eq!(bootstrap.suite, "1.10");
    assert_eq!(bootstrap.include, ["0x10", "007", "yes"]);
    assert_eq!(bootstrap.components, ["0x10", "007", "yes"]);
}

/// A recipe with one disk whose keys, partitions and mountpoints are given.
fn disk(keys: &str, partitions: &[&str], mountpoints: &[&str]) -> String {
    let list = |name: &str, items: &[&str]| {
        let items: String = items.iter().map(|item| format!("      - {{ {item} }}\n")).collect();
        if items.is_empty() { String::new() } else { format!("    {name}:\n{items}") }
    };
    format!(
        "architecture: amd64\nactions:\n  - action: image-partition\n    imagename: a.img\n    \
            imagesize: 1GB\n{keys}{}{}",
        list("partitions", partitions),
        list("mountpoints", mountpoints)
    )
}

#[test]
fn every_mistake_of_a_disk_is_named_before_anything_is_built() {
    const GPT: &str = "    partitiontype: gpt\n";
    const DOS: &str = "    partitiontype: msdos\n";
    const ROOT: &str = "name: root, fs: ext4, start: 1MiB, end: 100%";
    let gpt = |partition: &str| disk(GPT, &[partition], &[]);
    let with = |more: &str| gpt(&format!("{ROOT}, {more}"));
    let cases = [
        (disk("", &[ROOT], &[]), "3: the image-partition action needs the key `partitiontype`"),
        (
            disk(GPT, &[ROOT], &[]).replace("a.img", "../a.img"),
            "4: `imagename: ../a.img` leads out of the folder that it begins in",
        ),
        (
            disk("    partitiontype: mbr\n", &[ROOT], &[]),
            "6: `partitiontype: mbr` of the image-partition action is not known; known: gpt, msdos",
        ),
        (gpt("fs: ext4, start: 0%, end: 1%"), "8: a partition needs the key `name`"),
        (gpt("name: a, start: 0%, end: 1%"), "8: the partition `a` needs the key `fs`"),
        (
            gpt("name: a, fs: ext5, start: 0%, end: 1%"),
            "8: `fs: ext5` of the partition `a` is not known; did you mean `ext2`?",
        ),
        (gpt("name: a, fs: ext4, end: 1%"), "8: the partition `a` needs the key `start`"),
        (
            gpt("name: a, fs: ext4, start: 2%, end: 1%"),
            "8: the partition `a` ends before it begins",
        ),
        (
            gpt("name: a, fs: ext4, start: 1 apple, end: 1%"),
            "8: `1 apple` is not a size or a position; write for instance 64MB, 64MiB, 2048s or \
                50%",
        ),
        (
            gpt("name: a-long-name-for-fat, fs: vfat, start: 0%, end: 1%"),
            "8: the label `a-long-name-for-fat` has 19 bytes, and vfat has room for 11; give a \
                shorter `fslabel`",
        ),
        (with("fsuuid: 1234"), "8: `fsuuid: 1234` is not a UUID"),
        (
            gpt("name: a, fs: vfat, start: 0%, end: 1%, fsuuid: 12345"),
            "8: `fsuuid: 12345` is not 8 hexadecimal digits, as fat is",
        ),
        (
            gpt("name: a, fs: f2fs, start: 0%, end: 1%, fsuuid: 1234"),
            "8: `fsuuid` cannot be set for f2fs",
        ),
        (with("parttype: 83"), "8: `parttype: 83` is not a UUID"),
        (with("partuuid: x"), "8: `partuuid: x` is not a UUID"),
        (with("flags: [bot]"), "8: `flags` has the unknown `bot`; did you mean `boot`?"),
        (with("partattrs: [3]"), "8: `partattrs` has `3`; it takes 0 to 2 and 48 to 63"),
        (with("flagz: x"), "8: unknown key `flagz` in a partition; did you mean `flags`?"),
        (
            disk(DOS, &[&format!("{ROOT}, partlabel: x")], &[]),
            "8: `partlabel` is only for `partitiontype: gpt`",
        ),
        (
            disk(DOS, &[&format!("{ROOT}, parttype: 123")], &[]),
            "8: `parttype: 123` is not 2 hexadecimal digits, as msdos needs them",
        ),
        (
            disk("    partitiontype: msdos\n    gpt_gap: 1MB\n", &[ROOT], &[]),
            "7: `gpt_gap` is only for `partitiontype: gpt`",
        ),
        (disk(GPT, &[ROOT, ROOT], &[]), "9: a second partition with the name `root`"),
        (
            disk(GPT, &[ROOT], &["mountpoint: boot, partition: root"]),
            "10: `mountpoint: boot` must be an absolute path",
        ),
        (
            disk(GPT, &[ROOT], &["mountpoint: /, partition: root", "mountpoint: /, partition: r"]),
            "11: a second partition is mounted at /",
        ),
        (
            disk(GPT, &[ROOT], &["mountpoint: /, partition: rooot"]),
            "10: there is no partition `rooot`; did you mean `root`?",
        ),
        (
            format!("{}  - action: raw\n    source: s.sh\n    offset: 1MB\n", gpt(ROOT)),
            "11: `offset: 1MB` is neither bytes nor sectors; write 4096, 0x1000 or 8s",
        ),
        (
            format!("{}  - action: raw\n    source: s.sh\n    partition: roots\n", gpt(ROOT)),
            "11: there is no partition `roots`; did you mean `root`?",
        ),
        (
            format!("{}  - action: raw\n    source: gone\n", gpt(ROOT)),
            "10: `source: gone` is not a file",
        ),
    ];
    for (text, wanted) in cases {
        let error = load(&text).unwrap_err();
        let (error, action) = error.rsplit_once(" (in the ").unwrap_or((&error, ""));
        assert_eq!(error, format!("r.yaml:{wanted}"), "{action} for:\n{text}");
    }
    let two = disk(GPT, &["name: a, fs: ext4, start: 1MB, end: 64MB"], &[]);
    let two = two + "      - { name: b, fs: ext4, start: 64MB, end: 100% }\n";
    load(&two).unwrap();
}

/// The warnings of a recipe, without the name of its file.
fn warnings(text: &str) -> Vec<String> {
    let recipe = load(text).unwrap();
    let plain = |warning: &String| {
        let (_, rest) = warning.split_once("r.yaml:").unwrap();
        rest.to_owned()
    };
    recipe.warnings.iter().map(plain).collect()
}

#[test]
fn a_key_that_can_change_nothing_is_a_warning() {
    let text = format!(
        "{HEAD}  - action: apt\n    chroot: true\n    packages: [a]\n  - action: run\n    origin: \
            kernel\n    label: dpkg\n    command: ls\n  - action: overlay\n    label: files\n    \
            source: overlay\n"
    );
    let recipe = load(&text).unwrap();
    assert_eq!(recipe.steps[1].description, "dpkg");
    let wanted = [
        "8: `chroot` changes nothing in the apt action: apt always works in the root filesystem",
        "11: `origin` changes nothing in the run action: a command names its files itself",
        "15: `label` changes nothing in the overlay action: only a run action shows it",
    ];
    assert_eq!(warnings(&text), wanted);
    // A slip that looks like one of them is an error.
    let slip = text.replace("chroot: true", "chrot: true");
    assert!(load(&slip).unwrap_err().contains("r.yaml:8: unknown key `chrot`"));
}

#[test]
fn a_list_that_a_template_leaves_empty_is_a_warning() {
    for list in ["packages: [\n\n    ]", "packages: []", "packages:\n#      - one\n#      - two"] {
        let text = format!("{HEAD}  - action: apt\n    {list}\n");
        let wanted = "7: `packages` of the apt action is empty, so it installs nothing";
        assert_eq!(warnings(&text), [wanted], "{list}");
    }
    // A slip in the key itself is passed over with --lenient, and nothing is installed.
    let dir = folder(&[("r.yaml", &format!("{HEAD}  - action: apt\n    package: [a]\n"))]);
    let lenient = Options { lenient: true, ..Options::default() };
    let recipe = Recipe::load_with(&dir.path().join("r.yaml"), &lenient).unwrap();
    assert_eq!(recipe.warnings.len(), 2, "{:?}", recipe.warnings);
}

#[test]
fn a_download_of_one_file_is_found_at_the_origin_itself() {
    let download = "  - action: download\n    url: http://x/u-boot.bin\n    name: loader\n";
    for source in ["", "    source: .\n", "    source: ./\n"] {
        let text = format!(
            "{HEAD}{download}  - action: overlay\n    origin: loader\n{source}    destination: \
                /boot/u-boot.bin\n"
        );
        let recipe = load(&text).unwrap();
        let Action::Overlay(Overlay { source, .. }) = &recipe.steps[1].action else {
            panic!("{:?}", recipe.steps)
        };
        assert_eq!(source.path, "");
    }
}

#[test]
fn a_compression_may_be_the_word_zip() {
    for (name, archive) in
        [("a.zip", Archive::Zip), ("download", Archive::Zip), ("a.deb", Archive::Deb)]
    {
        let text = format!(
            "{HEAD}  - action: download\n    url: http://x/{name}\n    name: kernel\n    unpack: \
                true\n    compression: zip\n"
        );
        let recipe = load(&text).unwrap();
        let Action::Download(download) = &recipe.steps[0].action else {
            panic!("{:?}", recipe.steps)
        };
        assert_eq!(download.unpack, Some(archive), "{name}");
    }
}

#[test]
fn a_disk_may_lie_in_a_folder_and_have_no_partitions_and_no_root() {
    const GPT: &str = "    partitiontype: gpt\n";
    let text = disk(GPT, &[], &[]).replace("a.img", "disks/a.img");
    let recipe = load(&text).unwrap();
    let Action::Disk(made) = &recipe.steps[0].action else { panic!("{:?}", recipe.steps) };
    assert_eq!(made.name, "disks/a.img");
    let wanted = "3: the disk has no `partitions`; only raw actions can write to it";
    assert_eq!(warnings(&text), [wanted]);
    let data = "name: data, fs: ext4, start: 1MiB, end: 100%";
    let text = disk(GPT, &[data], &["mountpoint: /srv, partition: data"]);
    let wanted = "11: the image-partition action has no `mountpoint: /`, so the disk gets only \
        what lies below its mountpoints";
    assert_eq!(warnings(&format!("{text}  - action: filesystem-deploy\n")), [wanted]);
}

const FORMS: &str = r#"---
# A comment
{{- $suite := or .suite "trixie"}}
architecture: amd64
actions:
  - action: mmdebstrap
    suite: {{$suite}}
    variant: &kind minbase
    components: [ main, contrib,
                  non-free, ]
#   - a comment in the first column
  - description: >-
      Two lines
      that are one.
    action: run
    chroot: True<TAB># after a tab
    command: |
      cat <<EOF
      a: b # no comment
      EOF
  - &more
    action: apt
    recommends: no
    packages:
    - less # a note
    - "curl*"
  - <<: *more
    recommends: yes
  - <<: [ *more, { update: false } ]
    packages: [ *kind ]
  - action: run
    command: sh -c "echo '127.0.0.1<TAB>box' >> $ROOTDIR/etc/hosts" && test "$a" = b || { echo no; }
    chroot:  false
"#;

#[test]
fn all_forms_of_yaml_that_public_recipes_have_are_read() {
    let text = FORMS.replace("<TAB>", "\t");
    for text in [text.clone(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
        let recipe = load(&text).unwrap();
        assert_eq!(recipe.bootstrap.unwrap().components, ["main", "contrib", "non-free"]);
        assert_eq!(recipe.steps[0].description, "Two lines that are one.");
        let run = |index: usize| match &recipe.steps[index].action {
            Action::Run(Run { program: Program::Command(command), chroot, .. }) => {
                (command.clone(), *chroot)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(run(0), ("cat <<EOF\na: b # no comment\nEOF\n".to_owned(), true));
        let command = "sh -c \"echo '127.0.0.1\tbox' >> $ROOTDIR/etc/hosts\" && test \"$a\" = b \
            || { echo no; }";
        assert_eq!(run(4), (command.to_owned(), false));
        let apt = |index: usize| match &recipe.steps[index].action {
            Action::Apt(Apt { packages, recommends, update, .. }) => {
                (packages.join(" "), *recommends, *update)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(apt(1), ("less curl*".to_owned(), false, true));
        assert_eq!(apt(2), ("less curl*".to_owned(), true, true));
        assert_eq!(apt(3), ("minbase".to_owned(), false, false));
    }
}

#[test]
fn lines_in_brackets_and_quotes_may_begin_anywhere() {
    let cases = [
        "packages: [\n    ]",
        "packages: [\na,\n  # a note\n  b,\n]",
        "packages: [ a,\n  b\n]",
        "packages: [\n      \"a\",\n      {{ range list 1 2 }}x{{ . }},\n{{ end }}\n  b\n  ]",
    ];
    let wanted = [&[][..], &["a", "b"], &["a", "b"], &["a", "x1", "x2", "b"]];
    for (text, wanted) in cases.into_iter().zip(wanted) {
        let text = format!("{HEAD}  - action: apt\n    {text}\n  - action: run\n    command: ls\n");
        let recipe = load(&text).unwrap();
        let Action::Apt(apt) = &recipe.steps[0].action else { panic!("{:?}", recipe.steps) };
        assert_eq!(apt.packages, wanted, "{text}");
        assert_eq!(recipe.steps.len(), 2);
    }
    let quoted = "command: \"one\ntwo\n\n  three\"\n    chroot: !!str no";
    let text = format!("{HEAD}  - action: run\n    {quoted}\n");
    let error = load(&text).unwrap_err();
    assert_eq!(error, "r.yaml:12: `chroot` of the run action must be true or false, not text");
    let recipe = load(&text.replace("!!str no", "yes")).unwrap();
    let Action::Run(run) = &recipe.steps[0].action else { panic!("{:?}", recipe.steps) };
    assert_eq!(run.program, Program::Command("one two\nthree".to_owned()));
    // Outside of them a line must begin where the others do.
    let error = load(&format!("{HEAD}  - action: run\n   command: ls\n")).unwrap_err();
    assert!(error.starts_with("r.yaml:8: not YAML"), "{error}");
}

#[test]
fn what_a_template_takes_from_the_environment_is_a_warning() {
    let text = format!("{HEAD}    description: {{{{ env \"HOME\" | base | quote }}}}\n");
    let wanted = "7: `env HOME` reads the environment of this host, so another host can build \
        something else; a variable of -t is the same everywhere";
    assert_eq!(warnings(&text), [wanted]);
    let random = load(&text.replace("env \"HOME\" | base", "randAlphaNum 5")).unwrap_err();
    assert!(random.contains("two builds of one recipe would differ; give a value with -t"));
}
