//! Runs the program as a user does: each error is one line and has its exit code.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use bundle::{BundleWriter, ImageInput, SecretKey, StoredSquashfs, Update};
use bundler::recipe::Packing;
use bundler::tree::Tree;
use bundler::{squash, verity};

fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

const RECIPE: &str = "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: trixie\n  \
    - action: bundle\n    compatible: box\n";

#[test]
fn a_secret_key_is_its_owners_alone_and_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = run(dir.path(), &["keygen", "--out", "keys", "--name", "release"]);
    assert_eq!(code, 0);
    let secret = dir.path().join("keys/release.key.pem");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&secret).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(
        fs::read_to_string(dir.path().join("keys/release.pub.pem"))
            .unwrap()
            .starts_with("-----BEGIN PUBLIC KEY-----")
    );
    assert!(out.starts_with("key ") && out.contains("release.pub.pem goes onto devices"), "{out}");

    let before = fs::read(&secret).unwrap();
    let (code, _, err) = run(dir.path(), &["keygen", "--out", "keys", "--name", "release"]);
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "daruma-bundler: keys/release.key.pem exists already and is not overwritten; choose \
                another --name\n"
        )
    );
    assert_eq!(fs::read(&secret).unwrap(), before);
}

#[test]
fn the_schema_of_recipes_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = run(dir.path(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &schema["title"]), (0, &"Recipe of Daruma and debos".into()));
}

#[test]
fn openssl_reads_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["keygen", "--out", "."]);
    let derived = Command::new("openssl")
        .args(["pkey", "-pubout", "-in", "daruma.key.pem"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(derived.stdout, fs::read(dir.path().join("daruma.pub.pem")).unwrap());
}

#[test]
fn every_refusal_is_one_line_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    run(path, &["keygen", "--out", "keys"]);
    fs::create_dir(path.join("ring")).unwrap();
    fs::copy(path.join("keys/daruma.pub.pem"), path.join("ring/daruma.pem")).unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    fs::write(path.join("good.yaml"), RECIPE).unwrap();
    fs::write(path.join("bad.yaml"), RECIPE.replace("suite", "siute")).unwrap();
    fs::write(path.join("noise"), [7; 10_000]).unwrap();
    fs::create_dir(path.join("programs")).unwrap();
    for program in ["daruma", "daruma-init", "daruma-static"] {
        fs::write(path.join("programs").join(program), "a program").unwrap();
    }
    let long = format!("srv/{}", "n".repeat(256));
    let mut tar = tar::Builder::new(fs::File::create(path.join("long.tar")).unwrap());
    let mut file = tar::Header::new_gnu();
    file.set_size(0);
    file.set_mode(0o644);
    tar.append_data(&mut file, &long, std::io::empty()).unwrap();
    tar.into_inner().unwrap();
    let refusal = format!("reading the root filesystem long.tar: {long} has a name of 256 bytes, ");
    let bundle_of = |rootfs: &str, extra: &[&str]| {
        let args = [
            "bundle",
            "good.yaml",
            "--rootfs",
            rootfs,
            "--key",
            "keys/daruma.key.pem",
            "--keyring",
            "ring",
            "--version",
            "1.0.0",
            "-o",
            "x",
        ];
        args.into_iter().chain(extra.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
    };
    let bundle = |extra: &[&str]| bundle_of("gone.tar", extra);
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let cases = [
        (
            words("build bad.yaml -o x.tar"),
            23,
            "bad.yaml:4: unknown key `siute` in the mmdebstrap action; did you mean `suite`?",
        ),
        (
            words("build gone.yaml -o x.tar"),
            23,
            "reading the recipe gone.yaml: No such file or directory (os error 2)",
        ),
        (words("inspect noise"), 10, "inspecting the bundle noise: "),
        (words("verify noise --keyring ring"), 10, "verifying the bundle noise: "),
        (
            words("verify gone --keyring ring"),
            1,
            "opening the bundle gone: No such file or directory (os error 2)",
        ),
        (
            words("image noise --keyring ring -o disk.vmdk"),
            1,
            "the disk image disk.vmdk must be called *.raw or *.qcow2",
        ),
        (
            words("image noise --keyring ring --credential a/b=secret -o disk.raw"),
            30,
            "--credential a/b: it has a character that a name cannot have",
        ),
        (
            bundle(&["--device-programs", "empty"]),
            1,
            "the device programs daruma, daruma-init, daruma-static are not in empty; build them \
                with `make build` and name their folder with --device-programs",
        ),
        (bundle(&["--key", "keys/daruma.key.pem"]), 1, "key "),
        (bundle_of("long.tar", &["--device-programs", "programs"]), 1, &refusal),
        (words("bundle good.yaml"), 2, ""),
    ];
    for (args, wanted, message) in cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, _, err) = run(path, &args);
        assert_eq!(code, wanted, "{args:?}: {err}");
        if wanted != 2 {
            assert!(err.starts_with(&format!("daruma-bundler: {message}")), "{args:?}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
}

/// Writes the bundle 1.0.0 for `compatible` devices, with these users.
fn bundle_with_users(dir: &Path, compatible: &str, passwd: &str) {
    let (boot, root) = (dir.join("boot.img"), dir.join("root.img"));
    let mut image = StoredSquashfs::new();
    image.add_bytes("slot.cfg", b"set daruma_version=1.0.0\n".to_vec()).unwrap();
    image.write_to(&boot).unwrap();
    let mut tree = Tree::new(1_700_000_000);
    tree.put("etc/passwd", 0o644, passwd.as_bytes());
    tree.put("etc/group", 0o644, "postgres:x:105:\n".as_bytes());
    tree.put("usr/filler", 0o644, vec![7; 300_000]);
    squash::pack(&tree, &root, 1_700_000_000, &Packing::default(), None).unwrap();
    let verity = verity::append(&root).unwrap();
    let update = Update {
        compatible: compatible.parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        build: "b".parse().unwrap(),
        description: String::new(),
        min_version: "0.0.0".parse().unwrap(),
    };
    let images = vec![
        ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
        ImageInput { name: "root".parse().unwrap(), path: &root, verity: Some(verity) },
    ];
    let keys = [SecretKey::load(&dir.join("keys/daruma.key.pem")).unwrap()];
    let writer = BundleWriter { update, images, meta: BTreeMap::new(), keys: &keys };
    writer.write(&dir.join("old.daruma")).unwrap();
}

#[test]
fn a_bundle_whose_accounts_have_other_numbers_than_before_is_refused_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    run(path, &["keygen", "--out", "keys"]);
    run(path, &["keygen", "--out", "others"]);
    for ring in ["keys", "others"] {
        let to = format!("{ring}-ring");
        fs::create_dir(path.join(&to)).unwrap();
        fs::copy(path.join(ring).join("daruma.pub.pem"), path.join(to).join("a.pem")).unwrap();
    }
    fs::write(path.join("box.yaml"), RECIPE).unwrap();
    fs::create_dir(path.join("programs")).unwrap();
    for program in ["daruma", "daruma-init", "daruma-static"] {
        fs::write(path.join("programs").join(program), "a program").unwrap();
    }
    let mut tar = tar::Builder::new(fs::File::create(path.join("new.tar")).unwrap());
    for (name, text) in [
        ("etc/passwd", "root:x:0:0::/:/bin/sh\npostgres:x:103:106::/:/bin/sh\n"),
        ("etc/group", "postgres:x:106:\n"),
    ] {
        let mut file = tar::Header::new_gnu();
        file.set_size(text.len() as u64);
        file.set_uid(0);
        file.set_gid(0);
        file.set_mtime(0);
        file.set_mode(0o644);
        tar.append_data(&mut file, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap();
    let bundle = |ring: &str| {
        let line = format!(
            "bundle box.yaml --rootfs new.tar --key keys/daruma.key.pem --keyring {ring}-ring \
             --version 2.0.0 --previous old.daruma --device-programs programs -o new.daruma"
        );
        run(path, &line.split(' ').collect::<Vec<_>>())
    };
    let users = "root:x:0:0::/:/bin/sh\npostgres:x:101:105::/:/bin/sh\n";
    bundle_with_users(path, "box", users);
    let (code, _, said) = bundle("keys");
    assert_eq!(code, 29, "{said}");
    let last = said.lines().last().unwrap();
    for part in [
        "user postgres is 103 here and 101 in old.daruma (1.0.0)",
        "group postgres is 106 here and 105 in old.daruma (1.0.0)",
        "files in a device's /var would belong to another account",
    ] {
        assert!(last.starts_with("daruma-bundler: ") && last.contains(part), "{part:?}: {said}");
    }
    let (code, _, said) = bundle("others");
    assert_eq!(code, 11, "the old bundle must be one that devices trust: {said}");
    bundle_with_users(path, "other-box", users);
    let (code, _, said) = bundle("keys");
    assert!(code == 1 && said.contains("is for devices of the kind other-box"), "{said}");
    // Equal numbers are no reason to refuse. The tar has no kernel, which comes next.
    bundle_with_users(path, "box", "postgres:x:103:106::/:\ngone:x:104:104::/:\n");
    let (_, _, said) = bundle("keys");
    assert!(said.contains("group postgres is 106") && !said.contains("user postgres"), "{said}");
    bundle_with_users(path, "box", &"x".repeat((4 << 20) + 1));
    let (code, _, said) = bundle("keys");
    assert!(code == 1 && said.contains("/etc/passwd is longer than 4194304 bytes"), "{said}");
    let left = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| left(entry.unwrap())).collect();
    assert!(!left.iter().any(|name| name.starts_with("new.daruma")), "{left:?}");
}
