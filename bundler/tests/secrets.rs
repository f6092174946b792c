//! Which secrets leave an image, which are refused, and what makes them anew on the device.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use bundler::clean::PACKAGE_DATABASE;
use bundler::recipe::Recipe;
use bundler::secrets;
use bundler::tree::{Kind, Tree};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
    -----END PRIVATE KEY-----\n";

fn recipe(rest: &str) -> Recipe {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.yaml");
    let text = format!(
        "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: trixie\n  - action: \
            bundle\n    compatible: box\n{rest}"
    );
    std::fs::write(&path, text).unwrap();
    Recipe::load(&path).unwrap()
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new(1);
    for (path, text) in files {
        tree.put(path, 0o644, text.as_bytes());
    }
    tree
}

fn names(tree: &Tree) -> Vec<&str> {
    let is_dir = |id| matches!(tree.inode(id).kind, Kind::Dir);
    tree.iter().filter(|(_, id)| !is_dir(*id)).map(|(path, _)| path).collect()
}

/// Returns the error without the folder of the recipe.
fn refused(tree: &mut Tree, rest: &str) -> (String, u8) {
    let recipe = recipe(rest);
    let error = secrets::settle(tree, &recipe).unwrap_err();
    let folder = format!("{}/", recipe.path.parent().unwrap().display());
    (error.to_string().replace(&folder, ""), bundler::exit::code(&error))
}

/// A system with ssh and ssl-cert, as their packages leave it.
fn installed() -> Tree {
    let mut tree = tree(&[
        ("etc/ssh/ssh_host_ed25519_key", KEY),
        ("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA"),
        ("etc/ssh/sshd_config", ""),
        ("etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----\n"),
        ("etc/ssl/certs/ssl-cert-snakeoil.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("etc/ssl/private/ssl-cert-snakeoil.key", KEY),
        ("usr/bin/ssh-keygen", "\x7fELF -----BEGIN PRIVATE KEY-----\n"),
        ("usr/lib/systemd/system/sshd-keygen.service", "# Debian's\n"),
        ("usr/lib/systemd/systemd", "\x7fELF"),
        ("usr/sbin/make-ssl-cert", "#!/bin/sh\n"),
        ("usr/sbin/sshd", "\x7fELF"),
        ("var/lib/dbus/machine-id", "0123\n"),
        ("var/lib/systemd/random-seed", "seed"),
    ]);
    tree.put_symlink("etc/ssl/certs/1234abcd.0", "ssl-cert-snakeoil.pem");
    tree.put_symlink("etc/ssl/certs/5678abcd.0", "ca-certificates.crt");
    tree
}

#[test]
fn each_device_makes_its_own_host_keys_and_its_own_snakeoil_certificate() {
    let mut tree = installed();
    secrets::settle(&mut tree, &recipe("")).unwrap();
    let units = "usr/lib/systemd/system";
    let wanted = [
        "etc/ssh/sshd_config".to_owned(),
        "etc/ssl/certs/5678abcd.0".to_owned(),
        "etc/ssl/certs/ca-certificates.crt".to_owned(),
        "usr/bin/ssh-keygen".to_owned(),
        format!("{units}/basic.target.wants/ssl-cert-snakeoil.service"),
        format!("{units}/ssh.service.wants/sshd-keygen.service"),
        format!("{units}/ssh.socket.wants/sshd-keygen.service"),
        format!("{units}/sshd-keygen.service"),
        format!("{units}/sshd-keygen.service.d/daruma.conf"),
        format!("{units}/ssl-cert-snakeoil.service"),
        "usr/lib/systemd/systemd".to_owned(),
        "usr/sbin/make-ssl-cert".to_owned(),
        "usr/sbin/sshd".to_owned(),
    ];
    assert_eq!(names(&tree), wanted);
    let text = |name: &str| String::from_utf8(tree.read(&format!("{units}/{name}")).unwrap());
    assert_eq!(text("sshd-keygen.service").unwrap(), "# Debian's\n");
    // The package's unit waits for a first boot, which never comes in an image.
    assert!(text("sshd-keygen.service.d/daruma.conf").unwrap().contains("ConditionFirstBoot=\n"));
    assert!(text("ssl-cert-snakeoil.service").unwrap().contains("make-ssl-cert generate-default"));
}

#[test]
fn debian_12_gets_a_unit_for_the_host_keys_and_a_system_without_sshd_gets_none() {
    let unit = "usr/lib/systemd/system/sshd-keygen.service";
    let mut twelve = installed();
    twelve.remove(unit);
    secrets::settle(&mut twelve, &recipe("")).unwrap();
    let text = String::from_utf8(twelve.read(unit).unwrap()).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/ssh-keygen -A"), "{text}");
    let mut client = installed();
    client.remove("usr/sbin/sshd");
    client.remove(unit);
    secrets::settle(&mut client, &recipe("")).unwrap();
    assert!(!names(&client).iter().any(|path| path.contains("sshd-keygen")), "{client:?}");
}

#[test]
fn an_unknown_key_is_an_error_that_names_file_package_and_remedy() {
    let info = |name: &str| format!("{PACKAGE_DATABASE}/info/{name}");
    let (list, script) = (info("web:amd64.list"), info("broker.postinst"));
    let other = info("other.list");
    let files = [
        (list.as_str(), "/.\n/etc/web\n/usr/share/web/test.pem\n"),
        (script.as_str(), "#!/bin/sh\nopenssl genrsa > /etc/broker.key\n"),
        (other.as_str(), "/.\n/etc\n"),
    ];
    let cases = [
        ("usr/share/web/test.pem", "package web has it"),
        ("etc/broker.key", "package broker made it while it was installed"),
        ("etc/web/site.key", "probably package web made it, whose folder /etc/web is"),
        ("opt/site.key", "no package has it, so an action of the recipe made it"),
    ];
    for (path, who) in cases {
        let mut tree = tree(&files);
        tree.put(path, 0o600, KEY.as_bytes());
        let wanted = format!(
            "r.yaml: /{path} is a secret (PRIVATE KEY) and would be the same on every device; \
             {who}; remove it and let each device make its own, or keep it on purpose with \
             `secrets: [/{path}]` in the bundle action"
        );
        assert_eq!(refused(&mut tree, ""), (wanted, bundler::exit::RECIPE));
        secrets::settle(&mut tree, &recipe(&format!("    secrets: [/{path}]\n"))).unwrap();
        assert_eq!(tree.read(path).unwrap(), KEY.as_bytes());
    }
}

#[test]
fn a_key_without_pem_is_known_by_its_place_and_all_secrets_are_named() {
    let key = "etc/munge/munge.key";
    let mut tree = tree(&[(key, "binary"), ("etc/ssl/private/a.der", "0"), ("root/id", KEY)]);
    let (error, _) = refused(&mut tree, "");
    assert!(
        error.starts_with("r.yaml: /etc/munge/munge.key is a secret (by its place)"),
        "{error}"
    );
    assert!(error.ends_with("; 2 more: /etc/ssl/private/a.der, /root/id"), "{error}");
}

#[test]
fn a_recipe_can_keep_a_known_secret_and_a_pattern_that_matches_nothing_is_an_error() {
    let mut tree = installed();
    let keep = "    secrets: [\"/etc/ssh/ssh_host_*\", \"/var/lib/systemd/random-seed\"]\n";
    secrets::settle(&mut tree, &recipe(keep)).unwrap();
    assert!(tree.get("etc/ssh/ssh_host_ed25519_key").is_some());
    assert!(tree.get("var/lib/systemd/random-seed").is_some());
    assert!(tree.get("etc/ssl/private/ssl-cert-snakeoil.key").is_none());
    let (error, code) = refused(&mut tree, "    secrets:\n      - /etc/gone.key\n");
    assert_eq!(error, "r.yaml:8: `secrets: /etc/gone.key` matches nothing");
    assert_eq!(code, bundler::exit::RECIPE);
}
