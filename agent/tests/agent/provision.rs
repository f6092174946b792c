//! The verbs `provision list`, `set` and `remove`.
//!
//! `grub/tests/credentials.rs` cuts the power at every write of them.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use grub_env::{Env, GRUBENV_BAK_PATH, GRUBENV_PATH};

use crate::bench::{Bench, Ended};

fn tool(program: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
}

/// Returns a device whose EFI system partition is the FAT32 that real devices have.
fn bench() -> Bench {
    let bench = Bench::new();
    let esp = bench.path("esp");
    fs::remove_file(&esp).unwrap();
    let block = bench.path("block");
    let mut env = Env::new();
    grub_env::BootState::factory().apply_to(&mut env);
    fs::write(&block, env.encode()).unwrap();
    let (image, block) = (esp.to_str().unwrap(), block.to_str().unwrap());
    tool("mkfs.fat", &["-F", "32", "-s", "1", "-C", image, "36864"]);
    tool("mmd", &["-i", image, "::/grub"]);
    for path in [GRUBENV_PATH, GRUBENV_BAK_PATH] {
        tool("mcopy", &["-i", image, block, &format!("::/{path}")]);
    }
    bench
}

/// Sets a credential whose value comes from the standard input.
fn set_from_input(bench: &Bench, name: &str, value: &[u8]) -> Ended {
    let mut command = bench.command(&["provision", "set", name]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A value that is too large is not read to its end.
    let _ = input.write_all(value);
    drop(input);
    Ended::of(child)
}

#[test]
fn values_come_from_the_line_a_file_or_the_input_and_are_never_shown() {
    let bench = bench();
    assert_eq!(bench.run(&["provision", "list"]).stdout, "no credentials\n");
    let file = bench.path("key.pub");
    fs::write(&file, "ssh-ed25519 SECRET").unwrap();
    let key = format!("ssh.authorized_keys.root=@{}", file.display());
    let encrypted = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAC1lFmbWAqWZ8dCCQk=";
    let set = bench.run(&["provision", "set", "system.hostname=SECRET-7"]);
    assert_eq!(set.stdout, "system.hostname is set (8 bytes); it acts from the next boot on\n");
    bench.run(&["provision", "set", &key]).succeeded();
    set_from_input(&bench, "wireguard.key", encrypted.as_bytes()).succeeded();
    let again = bench.run(&["provision", "set", "system.hostname=SECRET-7"]);
    assert_eq!(again.stdout, "system.hostname was set like this before\n");

    let listed = bench.run(&["provision", "list"]);
    assert_eq!(
        listed.stdout,
        "system.hostname (8 bytes)\nssh.authorized_keys.root (18 bytes)\n\
         wireguard.key (60 bytes, encrypted)\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&bench.run(&["provision", "list", "--json"]).stdout).unwrap();
    let first = serde_json::json!({"name": "system.hostname", "size_bytes": 8, "encrypted": false});
    assert_eq!(json["credentials"][0], first);
    assert_eq!(json["refused"], serde_json::json!([]));
    assert!(!json.to_string().contains("SECRET"));

    let removed = bench.run(&["provision", "remove", "system.hostname", "wireguard.key"]);
    assert!(removed.stdout.starts_with("removed: system.hostname, wireguard.key; it acts from"));
    assert_eq!(bench.run(&["provision", "list"]).stdout, "ssh.authorized_keys.root (18 bytes)\n");
    assert!(bench.status()["environment_damage"].as_array().is_none_or(Vec::is_empty));
}

#[test]
fn what_is_refused_is_one_line_with_its_code_and_changes_nothing() {
    let bench = bench();
    bench.run(&["provision", "set", "kept=1"]).succeeded();
    let before = bench.bytes("esp");
    bench.run(&["provision", "set", "a/b=SECRET"]).refused(30, "a/b has a character");
    bench.run(&["provision", "set", "=SECRET"]).refused(30, "is empty or begins with a dot");
    bench.run(&["provision", "set", "KEPT=2"]).refused(30, "with other capital letters");
    bench.run(&["provision", "set", "a=@/nowhere"]).refused(30, "reading the value of a from /now");
    let large = vec![b'!'; (1 << 20) + 1];
    set_from_input(&bench, "large", &large).refused(30, "large does not fit");
    bench.run(&["provision", "remove", "gone"]).refused(30, "gone was not there");
    assert!(bench.bytes("esp") == before);
    let held = bench.device().lock().unwrap();
    bench.run(&["provision", "set", "a=1"]).refused(18, "is changing the device");
    bench.run(&["provision", "remove", "kept"]).refused(18, "is changing the device");
    bench.run(&["provision", "list"]).succeeded();
    drop(held);
    fs::write(bench.path("esp"), vec![0; 1 << 20]).unwrap();
    bench.run(&["provision", "list"]).refused(30, "reading credentials/ on ");
}
