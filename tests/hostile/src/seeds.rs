//! Writes the inputs from which fuzzing starts.
//!
//! The project's own writers and other people's tools make them. `src/bin/fuzz.rs` calls this
//! module. The names of seeds have a hyphen, so that `fuzz keep` never removes them.

use std::path::Path;
use std::process::Command;

use bundle::channel::{Kind, Signed};
use bundle::oci::{Artifact, ArtifactKind};
use bundle::{
    BundleWriter, ImageInput, Keyring, Salt, SecretKey, Sha256, StoredSquashfs, Update, Verity,
};
use bundler::recipe::Recipe;
use bundler::squash;
use bundler::tree::Tree;
use image_layout::Slot;

use crate::sparse::Sparse;
use crate::tail::{KEYS, sign};
use crate::{bundles, tail};

/// Writes seeds into `dir/TARGET/seed-…`.
///
/// # Panics
/// A tool is missing (tests/setup installs all of them) or a file cannot be written.
pub fn write(dir: &Path) {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(dir.join(target)).unwrap();
        std::fs::write(dir.join(target).join(format!("seed-{name}")), bytes).unwrap();
    };
    let temp = tempfile::tempdir().unwrap();
    of_bundles(temp.path(), &put);
    of_keys(&put);
    of_boot(temp.path(), &put);
    of_texts(&put);
    of_channels(&put);
    of_registries(&put);
    of_deltas(&put);
    of_etc(&put);
    of_trees(temp.path(), &put);
    let table = Sparse::encode(&partition_table());
    put("gpt", "disk", &[&[3], &table[..]].concat());
    put("gpt", "larger-disk", &[&[0, 0, 0, 3, 0], &table[4..]].concat());
}

fn of_channels(put: &dyn Fn(&str, &str, &[u8])) {
    let mut root = crate::channel::root();
    root.version = 2;
    let mut signed = root.to_signed().unwrap();
    put("root_document", "body", signed.body());
    signed.sign(&SecretKey::from_seed([1; 32])).unwrap();
    put("root_document", "signed", &signed.to_bytes());
    let release = |version: &str, more: &str| {
        format!(
            r#"{{"compatible":"router","version":"{version}","build":"b","manifest-sha256":"{:064}","url":"bundles/r-{version}.daruma","size":9000,"tail":500{more}}}"#,
            1
        )
    };
    let releases = [
        release("2.0.0", ""),
        release(
            "3.0.0",
            r#","rollout":{"start":"2026-11-21T12:00:00Z","hours":48,"percent":50},"x-note":[1]"#,
        ),
        release("3.1.0", r#","withdrawn":"eats flash","from-version":"2.0.0""#),
    ];
    let body = format!(
        r#"{{"name":"stable","serial":5,"root":1,"issued":"2026-11-21T12:00:00Z","expires":"2027-02-21T12:00:00Z","releases":[{}]}}"#,
        releases.join(",")
    );
    put("channel", "body", body.as_bytes());
    let document = format!("{body}\n{{\"signatures\":[]}}\n");
    let mut signed = Signed::parse(Kind::Channel, document.as_bytes()).unwrap();
    signed.sign(&SecretKey::from_seed([1; 32])).unwrap();
    put("channel", "signed", &signed.to_bytes());
}

fn of_bundles(temp: &Path, put: &dyn Fn(&str, &str, &[u8])) {
    let (boot, root, out) = (temp.join("boot"), temp.join("root"), temp.join("out"));
    std::fs::write(&boot, [7; 4096]).unwrap();
    std::fs::write(&root, [8; 8192]).unwrap();
    let keys = [SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32])];
    let verity = Verity { hash: Sha256([1; 32]), salt: Salt([2; 32]), size: 4096 };
    for count in [1, 2] {
        let writer = BundleWriter {
            update: Update {
                compatible: "router".parse().unwrap(),
                version: "1.2.3-rc.1+b".parse().unwrap(),
                build: "2026-11-21".parse().unwrap(),
                description: " a router;\nwith \\ and ü".to_owned(),
                min_version: "0.9.0".parse().unwrap(),
            },
            images: vec![
                ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
                ImageInput { name: "root".parse().unwrap(), path: &root, verity: Some(verity) },
            ],
            meta: [("made".to_owned(), [("by".to_owned(), "a seed".to_owned())].into())].into(),
            keys: &keys[..count],
        };
        let manifest = writer.write(&out).unwrap();
        let file = std::fs::read(&out).unwrap();
        let tail = manifest.bundle.size as usize;
        let (before, footer) = file.split_at(file.len() - 64);
        put("bundle", &format!("signed-by-{count}"), &[&[count as u8], &file[..]].concat());
        put("footer", &format!("signed-by-{count}"), &[&footer[..48], &before[tail..]].concat());
        put("manifest", &format!("signed-by-{count}"), manifest.to_ini().as_bytes());
        put("squashfs", &format!("bundle-{count}"), &Sparse::encode(&file[..tail]));
    }
    put(
        "manifest",
        "gkeyfile",
        b"# c\r\n[x-y]\na=\\s;\n[update]\ncompatible=a\nversion=1.0.0\nbuild=b\nx-a=1\n",
    );
    let mut boot_image = StoredSquashfs::new();
    for (name, content) in [
        ("vmlinuz", &[1; 9000][..]),
        ("initrd", &[2; 5000]),
        ("slot.cfg", b"set a=1\n"),
        ("empty", b""),
    ] {
        boot_image.add_bytes(name, content).unwrap();
    }
    let mut image = Vec::new();
    boot_image.write(&mut image).unwrap();
    put("squashfs", "boot", &Sparse::encode(&image));

    let (one, three) = (bundles::zeros(1), bundles::zeros(3));
    put("chunk_table", "whole", &[&[1, 0], &one[..], &three].concat());
    let halves: Vec<u8> =
        [100u32, 3996].iter().flat_map(|len| [&len.to_le_bytes()[..], &[9; 32]].concat()).collect();
    put("chunk_table", "halves", &[&[2, 0], &halves[..], &one].concat());
    put(
        "chunk_table",
        "large",
        &[&[1, 0], &one[..], &[&(1u32 << 20).to_le_bytes()[..], &[9; 32]].concat()].concat(),
    );
    let manifest = bundles::manifest_of(1, &one, &one);
    for (name, signers) in [("one", &[&KEYS[0]][..]), ("two", &[&KEYS[0], &KEYS[1]])] {
        let block = sign(manifest.as_bytes(), signers);
        put("signatures", name, &[&[signers.len() as u8 - 1], &block[..]].concat());
    }
    let stranger = SecretKey::from_seed([3; 32]);
    put(
        "signatures",
        "stranger",
        &[&[0], &sign(manifest.as_bytes(), &[&stranger, &KEYS[1]])[..]].concat(),
    );
    put("manifest", "smallest", manifest.as_bytes());
    let small = tail::bundle(
        12288,
        &[one.clone(), one].concat(),
        &manifest,
        &sign(manifest.as_bytes(), &[&KEYS[0]]),
    );
    let zeros = vec![0; 12288];
    put("bundle", "of-zeros", &[&[1], &zeros[..], &small.tail].concat());
}

fn of_keys(put: &dyn Fn(&str, &str, &[u8])) {
    let pems: Vec<String> = KEYS.iter().map(|key| key.public().to_pem().unwrap()).collect();
    let _: Keyring = tail::keyring(2);
    put("keys", "two", format!("2\n\0{}\0{}", pems[0], pems[1]).as_bytes());
    put("keys", "one", format!("\0{}", pems[0]).as_bytes());
    put("keys", "twice", format!("1\0{0}\0{0}", pems[0]).as_bytes());
    put("keys", "secret", format!("\0{}\0{}", KEYS[0].to_pem().unwrap(), pems[1]).as_bytes());
    // This key is of another kind, X25519. Its object identifier differs in one digit of base64.
    put(
        "keys",
        "x25519",
        format!("\0{}", pems[0].replace("MCowBQYDK2Vw", "MCowBQYDK2Vu")).as_bytes(),
    );
}

fn of_boot(temp: &Path, put: &dyn Fn(&str, &str, &[u8])) {
    let block = temp.join("grubenv");
    let block_path = block.to_str().unwrap();
    let variables: [&[&str]; 4] = [
        &["ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=0", "TRIAL="],
        &["ORDER=B A", "A_OK=1", "A_TRY=4", "B_OK=1", "B_TRY=2", "TRIAL=B"],
        &["saved_entry=0", "note=a \\ b\nc", "B_TRY=9", "ORDER=A B"],
        &["A_TRY=12", "TRIAL=C", "A_OK=yes"],
    ];
    for (number, variables) in variables.iter().enumerate() {
        run("grub-editenv", &[block_path, "create"]);
        run("grub-editenv", &[&[block_path, "set"], *variables].concat());
        let bytes = std::fs::read(&block).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != b'#').unwrap() + 1;
        put(
            "environment",
            &format!("editenv-{number}"),
            &[&[number as u8 * 41, 0], &bytes[25..end]].concat(),
        );
    }
    run("grub-editenv", &[&[block_path, "set"], variables[1]].concat());
    // The width, the number of blocks of 1 KiB, and options that keep the tables small.
    let forms: [(&str, &str, &[&str]); 4] = [
        ("12", "64", &["-f", "1", "-r", "16", "-s", "1"]),
        ("12", "512", &["-f", "2", "-r", "64", "-s", "4"]),
        ("16", "8192", &["-f", "1", "-r", "16", "-s", "2"]),
        ("32", "36864", &["-f", "1", "-s", "1"]),
    ];
    for (width, blocks, options) in forms {
        let image = temp.join(format!("fat{width}-{blocks}"));
        let image_path = image.to_str().unwrap();
        run(
            "mkfs.fat",
            &[options, &["-C", "-F", width, "-i", "da12da12", "-n", "ESP", image_path, blocks]]
                .concat(),
        );
        run("mmd", &["-i", image_path, "::grub"]);
        run("mcopy", &["-i", image_path, block_path, "::grub/grubenv"]);
        let bytes = std::fs::read(&image).unwrap();
        put("fat", &format!("{width}-{blocks}-one-copy"), &Sparse::encode(&bytes));
        run("mcopy", &["-i", image_path, block_path, "::grub/grubenv.bak"]);
        let bytes = std::fs::read(&image).unwrap();
        put("fat", &format!("{width}-{blocks}"), &Sparse::encode(&bytes));
    }
    let hash = "0123456789abcdef".repeat(4);
    let line = format!(
        "BOOT_IMAGE=/vmlinuz daruma.slot=B daruma.trial=1 daruma.try=2 daruma.version=1.2.3 \
            daruma.verity={hash}:00ff:1234 panic=5 quiet \
         daruma.overlay=root daruma.watchdog=0 daruma.recovery_wait=5 daruma.init=/bin/sh\n"
    );
    put("command_line", "grub", line.as_bytes());
    put(
        "command_line",
        "recovery",
        b"daruma.slot=recovery daruma.overlay=etc dyndbg=\"file a +p\" console=ttyS0",
    );
    put("slot_cfg", "short", b"set daruma_compatible=a\nset daruma_version=0.0.1-rc\n");
    put(
        "slot_cfg",
        "bundler",
        b"set daruma_compatible=router\nset daruma_version=1.2.3\nset daruma_build=b7\n\
        set daruma_min_version=1.0.0\nset daruma_args=\"quiet console=ttyS0\"\n",
    );
}

fn of_texts(put: &dyn Fn(&str, &str, &[u8])) {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["bundler/recipes", "tests/recipes"] {
        for file in std::fs::read_dir(repo.join(folder)).unwrap().map(Result::unwrap) {
            let name = file.file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(".yaml") {
                put("recipe", name, &std::fs::read(file.path()).unwrap());
            }
        }
    }
    put("recipe", "whole", WHOLE_RECIPE.as_bytes());
    put("config", "documented", agent::config::DEFAULT_FILE.as_bytes());
    let plain: Vec<&str> =
        agent::config::DEFAULT_FILE.lines().filter(|line| !line.starts_with('#')).collect();
    put("config", "short", plain.join("\n").as_bytes());
    put(
        "config",
        "set",
        b"keyring = \"/keys\"\nmin-version = \"1.2.3\"\nreboot-command = \
        [\"reboot\"]\n[health]\ndns = [\"a\"]\n\
        units-active = [\"ssh.service\"]\ndefault-route = true\n[watchdog]\ndevice = \
        \"/dev/watchdog\"\ntimeout-s = 20\n",
    );
    let mut state = agent::state::State::default();
    let version = "2.0.0".parse().unwrap();
    state.remember(Slot::B, &version, "b2", "ab");
    state.record(agent::state::Kind::InitFailed, Slot::B, Some(&version), "no root");
    state.quarantine(Slot::B, "it hung");
    put(
        "state",
        "newer",
        br#"{"new": 1, "events": [{"time_s": 1, "kind": "levitated", "slot": "A", "x": 2}]}"#,
    );
    put("state", "some", &serde_json::to_vec(&state).unwrap());
    put("units", "baseline", br#"{"format": 1, "version": "1.0.0", "units": ["ssh.service"]}"#);
    put("units", "wanted", b"default.target\n  ssh.service\n  basic.target\n    tmp.mount\n");
    put(
        "units",
        "show",
        b"Id=ssh.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n\
            NRestarts=3\nTriggeredBy=ssh.socket\n\nId=tmp.mount\nLoadState=not-found\n",
    );
}

/// A recipe with every action and key that needs no other file.
const WHOLE_RECIPE: &str = "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: \
    trixie\n    components: [main, non-free]\n    \
    include:\n      - systemd\n  - action: apt\n    packages: &p [ssh, curl]\n    recommends: \
    false\n  - action: run\n    chroot: true\n    \
    command: |\n      echo 1\n  - action: kernel\n    modules: [\"drivers/net/**\"]\n  - action: \
    bundle\n    compatible: router\n    \
    min-version: \"1.0.0\"\n    args: quiet\n    drop: *p\n  - action: image\n    esp: 64M\n    \
    boot: 96M\n    root: 1G\n";

/// Returns a small disk with a table like that of a factory image, made by sfdisk. The tests of
/// image-layout keep a table that its own writer made.
fn partition_table() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let path = file.path().to_str().unwrap();
    let script = "label: gpt\nlabel-id: 11111111-1111-1111-1111-111111111111\ntable-length: 128\n\
        start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios\n\
        start=4096, size=8192, type=uefi, name=esp\nsize=8192, type=linux, \
        name=boot-a\nsize=8192, type=linux, name=root-a\n\
        size=8192, type=linux, name=var\n";
    use std::io::Write;
    let mut child = Command::new("sfdisk")
        .args(["--quiet", path])
        .env("PATH", sbin())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("sfdisk: {error}; run tests/setup"));
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "sfdisk failed");
    std::fs::read(path).unwrap()
}

fn sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let out = Command::new(program).args(arguments).env("PATH", sbin()).output();
    let out = out.unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup"));
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn of_registries(put: &dyn Fn(&str, &str, &[u8])) {
    for kind in ArtifactKind::ALL {
        let artifact = Artifact { kind, digest: bundle::Sha256([7; 32]), size: 9000 };
        put(
            "oci",
            &format!("{kind:?}").to_lowercase(),
            &artifact.to_manifest("router-2.0.0.daruma"),
        );
    }
    put(
        "oci",
        "address",
        b"oci://me:secret@example.org:5000/fleet/routers:bundles__router-2.0.0.daruma",
    );
    put("oci", "tag", b"bundles__x_5fy-2.0.0_2bdeb13-0123456789ab.daruma");
    let challenge = b"Bearer realm=\"https://auth.example.org/token\",service=\"reg\",\
        scope=\"repository:a:pull\", Basic realm=\"x\"";
    put("oci", "challenge", challenge);
    put("oci", "token", br#"{"token":"abc","expires_in":300}"#);
}

fn of_deltas(put: &dyn Fn(&str, &str, &[u8])) {
    let pair = &*crate::delta::PAIR;
    let records: Vec<Vec<u8>> =
        pair.records.iter().map(|record| record.encode().unwrap()).collect();
    put("delta", "records", &[&[1], &records.concat()[..]].concat());
    put("delta", "whole", &[&[0], &pair.header.encode()[..], &records.concat()].concat());
    // The records in front of the patches are left out. So a reader meets the patches first.
    put("delta", "patches", &[&[1], &records[4..].concat()[..]].concat());
}

fn of_trees(temp: &Path, put: &dyn Fn(&str, &str, &[u8])) {
    let mut tree = Tree::new(0);
    tree.put("usr/bin/a", 0o4755, vec![7; 140_000]);
    tree.put("etc/b", 0o640, *b"content of b\n");
    tree.put("etc/empty", 0o644, *b"");
    tree.put_symlink("bin", "usr/bin");
    tree.link("usr/bin/c", "usr/bin/a").unwrap();
    let encoded = |image: &Path| Sparse::encode(&std::fs::read(image).unwrap());
    let recipe = temp.join("recipe.yaml");
    for (name, keys) in [("packed", "level: 4, block-size: 128K"), ("xz", "compression: xz")] {
        let bundle = format!("{{action: bundle, compatible: box, {keys}}}");
        let text = format!("architecture: amd64\nactions:\n  - {bundle}\n");
        std::fs::write(&recipe, text).unwrap();
        let packing = Recipe::load(&recipe).unwrap().bundle().unwrap().packing;
        let image = temp.join(format!("{name}.squashfs"));
        squash::pack(&tree, &image, 1_754_697_600, &packing, None).unwrap();
        put("unpack", name, &encoded(&image));
    }
    // The same kinds of files with tables that are not compressed: a fuzzer can change their bytes.
    let folder = temp.join("tree");
    std::fs::create_dir_all(folder.join("dir/deeper")).unwrap();
    std::fs::write(folder.join("dir/file"), vec![9; 9000]).unwrap();
    std::fs::write(folder.join("dir/deeper/other"), "other\n").unwrap();
    std::fs::hard_link(folder.join("dir/file"), folder.join("twin")).unwrap();
    std::os::unix::fs::symlink("dir/file", folder.join("link")).unwrap();
    let stored = temp.join("stored.squashfs");
    let options = ["-comp", "zstd", "-noI", "-noD", "-noF", "-noId", "-no-xattrs", "-all-root"];
    let fixed = ["-all-time", "0", "-mkfs-time", "0", "-b", "4096", "-no-exports", "-noappend"];
    let [folder, stored_path] = [&folder, &stored].map(|path| path.to_str().unwrap());
    let arguments = [&[folder, stored_path][..], &options, &fixed, &["-quiet"]].concat();
    run("mksquashfs", &arguments);
    put("unpack", "stored", &encoded(&stored));
}

fn of_etc(put: &dyn Fn(&str, &str, &[u8])) {
    // The files of the three sides, in the order of `AccountFile::ALL`.
    let sides = |sides: [[&str; 6]; 3]| {
        let files: Vec<&[u8]> = sides.iter().flatten().map(|text| text.as_bytes()).collect();
        files.join(&0xff)
    };
    let (root, group) = ("root:x:0:0:root:/root:/bin/bash\n", "root:x:0:\nadm:x:4:a\n");
    let shadow = "root:*:20000:0:99999:7:::\n";
    let me = format!("{root}me:x:999:999:,,,:/home/me:/bin/sh\n");
    let new = format!("{root}new:x:999:999::/:/usr/sbin/nologin\n");
    let collide = sides([
        [root, group, shadow, "root:*::\nadm:*::a\n", "", ""],
        [
            &me,
            "root:x:0:\nadm:x:4:a,me\nme:x:999:\n",
            "root:$y$x:1:0:99999:7:::\nme:!:1::::::\n",
            "root:*::\nadm:*::a,me\n",
            "me:100000:65536\n",
            "me:100000:65536\n",
        ],
        [&new, "root:x:0:\nadm:x:4:a,new\nnew:x:999:\n", shadow, "", "new:100000:9\n", ""],
    ]);
    put("accounts", "collide", &collide);
    let damaged = format!("# mine\n{me}nonsense\r\n+::::::");
    let nothing = ["", "", "", "", ""];
    let alone = |text| [&[text][..], &nothing].concat().try_into().unwrap();
    put("accounts", "damaged", &sides([alone(root), alone(&damaged), alone(&new)]));
    put("etc_policy", "documented", b"# ours\nimage = ld.so.cache\ndevice = foo.d/**\n");
    put("etc_policy", "faults", b"image\nx = y\ndevice = /a\nimage = a**\nimage = passwd\n*");
}
