//! Daruma's keys are OpenSSL's keys: either side reads, makes, signs and checks what the other
//! does.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bundle::{BundleError, Keyring, PublicKey, SecretKey, signed_message};
use sample::{Parts, keyring, small};

fn openssl(dir: &Path, line: &str) -> String {
    let output =
        Command::new("openssl").args(line.split_whitespace()).current_dir(dir).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "openssl {line}: {text}");
    text
}

#[test]
fn openssl_reads_our_keys() {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    key.save(&dir.path().join("key.pem")).unwrap();
    openssl(dir.path(), "pkey -in key.pem -pubout -out pub.pem");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("pub.pem")).unwrap(),
        key.public().to_pem().unwrap()
    );
    assert!(
        openssl(dir.path(), "pkey -pubin -in pub.pem -noout -text").contains("ED25519 Public-Key")
    );
    let mode = dir.path().join("key.pem").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner reads a secret key");
    assert!(key.save(&dir.path().join("key.pem")).is_err(), "a key is not overwritten");
    let again = SecretKey::load(&dir.path().join("key.pem")).unwrap();
    assert_eq!(again.public(), key.public());
    assert_ne!(SecretKey::generate().unwrap().public(), key.public());
}

#[test]
fn we_read_the_keys_of_openssl() {
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "genpkey -algorithm ed25519 -out key.pem");
    openssl(dir.path(), "pkey -in key.pem -pubout -out pub.pem");
    let key = SecretKey::load(&dir.path().join("key.pem")).unwrap();
    let public =
        PublicKey::from_pem(&std::fs::read_to_string(dir.path().join("pub.pem")).unwrap()).unwrap();
    assert_eq!(key.public(), public);
    // OpenSSL computes the id as the documentation says.
    openssl(dir.path(), "pkey -pubin -in pub.pem -outform DER -out pub.der");
    let digest = openssl(dir.path(), "dgst -sha256 -r pub.der");
    assert_eq!(digest[..16], public.id().to_string());
}

#[test]
fn openssl_checks_the_signature_on_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let parts = Parts::of(&std::fs::read(small(dir.path(), &[1])).unwrap());
    std::fs::write(dir.path().join("message"), signed_message(parts.manifest.as_bytes())).unwrap();
    std::fs::write(dir.path().join("signature"), &parts.signatures[8..]).unwrap();
    std::fs::write(dir.path().join("pub.pem"), sample::key(1).public().to_pem().unwrap()).unwrap();
    openssl(
        dir.path(),
        "pkeyutl -verify -pubin -inkey pub.pem -rawin -in message -sigfile signature",
    );
}

#[test]
fn a_bundle_signed_by_openssl_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1]);
    let mut parts = Parts::of(&std::fs::read(&path).unwrap());
    openssl(dir.path(), "genpkey -algorithm ed25519 -out key.pem");
    let public = SecretKey::load(&dir.path().join("key.pem")).unwrap().public();
    std::fs::write(dir.path().join("message"), signed_message(parts.manifest.as_bytes())).unwrap();
    openssl(dir.path(), "pkeyutl -sign -inkey key.pem -rawin -in message -out signature");
    parts.signatures =
        [&public.id().0[..], &std::fs::read(dir.path().join("signature")).unwrap()].concat();
    std::fs::write(&path, parts.file(|_| ())).unwrap();
    sample::accept(&path, &Keyring::new([public], 1).unwrap()).unwrap();
    assert!(sample::accept(&path, &keyring(&[1], 1)).is_err());
}

#[test]
fn what_is_no_ed25519_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = sample::key(1).to_pem().unwrap();
    let public = sample::key(1).public().to_pem().unwrap();
    openssl(dir.path(), "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    openssl(dir.path(), "pkey -in ec.pem -pubout -out ec.pub.pem");
    openssl(dir.path(), "genpkey -algorithm x25519 -out x.pem");
    openssl(dir.path(), "genpkey -algorithm ed25519 -aes256 -pass pass:secret -out locked.pem");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    // These are points of small order. Such a "key" verifies signatures that nobody made. (0, 1) is
    // one.
    let weak = "-----BEGIN PUBLIC \
        KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC \
        KEY-----\n";
    for pem in [
        "",
        "key",
        &public,
        &read("ec.pem"),
        &read("x.pem"),
        &read("locked.pem"),
        &secret.replace("MC4", "MC5"),
    ] {
        let refusal = SecretKey::from_pem(pem).unwrap_err();
        assert_eq!(refusal.exit_code(), 23, "{pem}: {refusal}");
        assert!(!refusal.to_string().contains('\n'), "{refusal}");
    }
    for pem in ["", &secret, &read("ec.pub.pem"), weak, &format!("{public}{public}")] {
        assert!(PublicKey::from_pem(pem).is_err(), "{pem}");
    }
}

#[test]
fn a_keyring_is_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let load = || Keyring::load(dir.path());
    let why = || load().unwrap_err().to_string();
    assert!(why().contains("1 to 64 public keys"));
    put("one.pem", &sample::key(1).public().to_pem().unwrap());
    put("two.pem", &sample::key(2).public().to_pem().unwrap());
    put("copy.pem", &sample::key(1).public().to_pem().unwrap());
    put("README", "not a key");
    assert_eq!((load().unwrap().keys().count(), load().unwrap().threshold()), (2, 1));
    put("threshold", "2\n");
    assert_eq!(load().unwrap().threshold(), 2);
    for bad in ["0", "3", "-1", "", "two"] {
        put("threshold", bad);
        assert_eq!(load().unwrap_err().exit_code(), 23, "{bad}");
    }
    put("threshold", "1");
    put("three.pem", "not a key");
    assert!(why().contains("three.pem"), "{}", why());
    let missing = Keyring::load(&dir.path().join("none")).unwrap_err();
    assert!(matches!(missing, BundleError::File { .. }), "{missing}");
}
