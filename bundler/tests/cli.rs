//! Runs the program as a user does: each error is one line and has its exit code.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

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
