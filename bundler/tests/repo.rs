//! A publisher uses the program: root document, channel, changing keys, and the server for trying
//! out.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use bundle::channel::{Channel, Root};
use bundle::delta::{Header, Repacker, limits};
use bundle::{BundleWriter, ImageInput, SecretKey, Sha256, Update, Verity};

/// A folder with the keys `root1`…, `channel1`…, `release1`…, and a repository in `repo`.
struct Publisher {
    dir: tempfile::TempDir,
}

impl Publisher {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (n, name) in ["root1", "root2", "root3", "channel1", "channel2", "release1", "release2"]
            .iter()
            .enumerate()
        {
            let key = SecretKey::from_seed([n as u8 + 1; 32]);
            key.save(&dir.path().join(format!("{name}.key.pem"))).unwrap();
            fs::write(dir.path().join(format!("{name}.pub.pem")), key.public().to_pem().unwrap())
                .unwrap();
        }
        Self { dir }
    }

    /// Returns a publisher with a first root document: two of three root keys, one channel key, one
    /// release key.
    fn with_root() -> Self {
        let this = Self::new();
        this.runs(
            "root new --repo repo --add root=root1.pub.pem --add root=root2.pub.pem --add \
            root=root3.pub.pem --threshold root=2 --add channel=channel1.pub.pem --add \
            release=release1.pub.pem",
        );
        this.runs("root sign repo/next.root.json --key root1.key.pem");
        this.runs("root sign repo/next.root.json --key root3.key.pem");
        this.runs("root finish --repo repo");
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, line: &str) -> (i32, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(line.split(' '))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    #[track_caller]
    fn runs(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!(code, 0, "{line}: {err}");
        out
    }

    #[track_caller]
    fn fails(&self, line: &str, code: i32, part: &str) {
        let (got, _, err) = self.run(line);
        assert_eq!(got, code, "{line}: {err}");
        assert!(
            err.contains(part) && err.lines().last().unwrap().starts_with("daruma-bundler: "),
            "{line}: {err}"
        );
    }

    fn key_id(&self, name: &str) -> String {
        SecretKey::load(&self.path(&format!("{name}.key.pem"))).unwrap().public().id().to_string()
    }

    fn root(&self) -> Root {
        Root::anchor(&fs::read(self.path("repo/root.json")).unwrap()).unwrap()
    }

    fn channel(&self) -> Channel {
        Channel::open(
            &fs::read(self.path("repo/stable.channel.json")).unwrap(),
            &"stable".parse().unwrap(),
            &self.root(),
        )
        .unwrap()
    }

    fn bundle(&self, version: &str, build: &str, key: &str) {
        fs::write(self.path("boot"), [1; 4096]).unwrap();
        fs::write(self.path("root"), vec![version.as_bytes()[0]; 300 << 10]).unwrap();
        let verity = Verity { hash: Sha256([3; 32]), salt: bundle::Salt([4; 32]), size: 200 << 10 };
        self.write_bundle(version, build, key, verity);
    }

    /// Writes a bundle of the images `boot` and `root`.
    fn write_bundle(&self, version: &str, build: &str, key: &str, verity: Verity) {
        let (boot, root) = (self.path("boot"), self.path("root"));
        let keys = [SecretKey::load(&self.path(&format!("{key}.key.pem"))).unwrap()];
        BundleWriter {
            update: Update {
                compatible: "router".parse().unwrap(),
                version: version.parse().unwrap(),
                build: build.parse().unwrap(),
                description: String::new(),
                min_version: "0.0.0".parse().unwrap(),
            },
            images: vec![
                ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
                ImageInput { name: "root".parse().unwrap(), path: &root, verity: Some(verity) },
            ],
            meta: BTreeMap::new(),
            keys: &keys,
        }
        .write(&self.path(&format!("{version}.daruma")))
        .unwrap();
    }
}

const PUBLISH: &str = "--repo repo --key channel1.key.pem";

#[test]
fn a_root_document_is_in_place_once_enough_keys_have_signed_on_whatever_machine() {
    let this = Publisher::new();
    this.fails("root new --repo repo --add root=root1.pub.pem", 1, "the role channel has no key");
    assert_eq!(this.run("root new --repo repo --add boss=root1.pub.pem").0, 2);
    this.fails(&format!("publish x.daruma {PUBLISH}"), 1, "has no root.json");
    let this = Publisher::with_root();
    let root = this.root();
    assert_eq!(
        (root.version, root.roles.root.threshold(), root.roles.root.keys().count()),
        (1, 2, 3)
    );
    assert_eq!(
        fs::read(this.path("repo/1.root.json")).unwrap(),
        fs::read(this.path("repo/root.json")).unwrap()
    );
    this.fails("root new --repo repo --add root=root1.pub.pem", 1, "exists already");

    // The release key was stolen. The next root document has another one.
    let stolen = this.key_id("release1");
    let draft = this.runs(&format!(
        "root change --repo repo --remove release={stolen} --add release=release2.pub.pem"
    ));
    assert!(draft.contains("root version 2") && draft.contains("2 of 3 must sign"), "{draft}");
    this.fails("root finish --repo repo", 11, "is not signed");
    fs::create_dir(this.path("elsewhere")).unwrap();
    fs::copy(this.path("repo/next.root.json"), this.path("elsewhere/draft.json")).unwrap();
    this.runs("root sign elsewhere/draft.json --key root2.key.pem");
    let shown = this.runs("root sign elsewhere/draft.json --key channel1.key.pem");
    assert!(shown.contains("which is not one of its root keys"), "{shown}");
    fs::copy(this.path("elsewhere/draft.json"), this.path("repo/next.root.json")).unwrap();
    this.fails("root finish --repo repo", 11, "is signed by 1 trusted key(s) and 2 are needed");
    this.runs("root sign repo/next.root.json --key root1.key.pem");
    this.runs("root finish --repo repo");
    let ids: Vec<_> = this.root().roles.release.keys().map(|key| key.id().to_string()).collect();
    assert_eq!((this.root().version, ids), (2, vec![this.key_id("release2")]));
    assert!(this.path("repo/2.root.json").exists() && !this.path("repo/next.root.json").exists());
    this.fails(&format!("root change --repo repo --remove release={stolen}"), 1, "has no key");
    this.fails("root change --repo repo --threshold channel=2", 23, "the role channel");
}

#[test]
fn publishing_twice_changes_nothing_and_says_what_devices_will_see() {
    let this = Publisher::with_root();
    this.bundle("1.0.0", "b1", "release1");
    this.bundle("2.0.0", "b2", "release1");
    this.runs(&format!("publish 1.0.0.daruma {PUBLISH}"));
    let said = this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --percent 50 --over 24"));
    assert!(said.contains("rising to 50 % within 24 h"), "{said}");
    assert!(
        said.contains("a device that runs it goes to 2.0.0 if it is among the share"),
        "{said}"
    );
    let channel = this.channel();
    assert_eq!((channel.serial, channel.root, channel.releases.len()), (2, 1, 2));
    let release = &channel.releases[1];
    let file = this.path("repo").join(release.url.as_str());
    assert_eq!(fs::read(&file).unwrap(), fs::read(this.path("2.0.0.daruma")).unwrap());
    assert_eq!(release.size, file.metadata().unwrap().len());

    let before = fs::read(this.path("repo/stable.channel.json")).unwrap();
    for again in ["", " --percent 50 --over 24"] {
        let said = this.runs(&format!("publish 2.0.0.daruma {PUBLISH}{again}"));
        assert!(said.contains("nothing to do"), "{said}");
    }
    assert_eq!(fs::read(this.path("repo/stable.channel.json")).unwrap(), before);
    // Publishing again repairs a damaged copy.
    fs::write(&file, "damaged").unwrap();
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH}"));
    assert_eq!(fs::read(&file).unwrap(), fs::read(this.path("2.0.0.daruma")).unwrap());

    this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --percent 100"));
    assert_eq!((this.channel().serial, &this.channel().releases[1].rollout), (3, &None));
    let said = this.runs(&format!("withdraw 2.0.0 {PUBLISH} --reason broken"));
    assert!(
        said.contains("withdrawn (broken)")
            && said
                .contains("1.0.0 (build b1, 321 kB): for everybody; a device that runs it stays"),
        "{said}"
    );
    this.fails(&format!("publish 2.0.0.daruma {PUBLISH}"), 1, "is withdrawn (broken)");
    this.fails(&format!("withdraw 7.0.0 {PUBLISH} --reason x"), 1, "has no release 7.0.0");
    let serial = this.channel().serial;
    this.runs(&format!("renew {PUBLISH}"));
    assert_eq!(this.channel().serial, serial + 1);
}

#[test]
fn what_devices_would_refuse_is_not_published() {
    let this = Publisher::with_root();
    this.bundle("1.0.0", "b1", "release2");
    this.fails(&format!("publish 1.0.0.daruma {PUBLISH}"), 11, "signed by a stranger");
    this.bundle("2.0.0", "b1", "release1");
    this.fails("publish 2.0.0.daruma --repo repo --key release1.key.pem", 11, "knows no such key");
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH}"));
    this.bundle("2.0.0", "b2", "release1");
    this.fails(
        &format!("publish 2.0.0.daruma {PUBLISH}"),
        1,
        "is published already as another build (b1)",
    );
    this.bundle("3.0.0", "b1", "release1");
    let mut damaged = fs::read(this.path("3.0.0.daruma")).unwrap();
    damaged[5000] ^= 1;
    fs::write(this.path("3.0.0.daruma"), damaged).unwrap();
    this.fails(&format!("publish 3.0.0.daruma {PUBLISH}"), 12, "does not match its hash");
    assert_eq!(this.channel().serial, 1);
    let hidden = fs::read_dir(this.path("repo/bundles")).unwrap().count();
    assert_eq!(hidden, 1, "the good bundle alone");
}

#[test]
fn a_channel_whose_key_was_replaced_is_looked_at_and_renewed() {
    let this = Publisher::with_root();
    this.bundle("1.0.0", "b1", "release1");
    this.runs(&format!("publish 1.0.0.daruma {PUBLISH}"));
    let stolen = this.key_id("channel1");
    this.runs(&format!(
        "root change --repo repo --remove channel={stolen} --add channel=channel2.pub.pem"
    ));
    this.runs("root sign repo/next.root.json --key root1.key.pem");
    this.runs("root sign repo/next.root.json --key root2.key.pem");
    this.runs("root finish --repo repo");
    this.fails("renew --repo repo --key channel2.key.pem", 11, "knows no such key");
    this.runs("renew --repo repo --key channel2.key.pem --trust-content");
    assert_eq!((this.channel().root, this.channel().serial), (2, 2));
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Self { child, address }
    }

    /// Returns the status line with headers, and the body.
    fn ask(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .write_all(
                format!("{}\r\nConnection: close\r\n\r\n", request.replace('\n', "\r\n"))
                    .as_bytes(),
            )
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server_has_ranges_and_etags_and_shows_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir_all(repo.join("bundles")).unwrap();
    fs::write(repo.join("bundles/a.daruma"), b"0123456789").unwrap();
    fs::write(repo.join(".hidden"), "x").unwrap();
    fs::write(dir.path().join("secret"), "x").unwrap();
    std::os::unix::fs::symlink("../secret", repo.join("link")).unwrap();
    let server = Server::start(&repo);
    let (head, body) = server.ask("GET /bundles/a.daruma HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200 OK") && body == b"0123456789", "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let (head, body) =
        server.ask(&format!("GET /bundles/a.daruma HTTP/1.1\nIf-None-Match: {etag}"));
    assert!(head.starts_with("HTTP/1.1 304") && body.is_empty(), "{head}");
    let (head, body) =
        server.ask(&format!("GET /bundles/a.daruma HTTP/1.1\nRange: bytes=-3\nIf-Range: {etag}"));
    assert!(
        head.contains("206") && head.contains("Content-Range: bytes 7-9/10") && body == b"789",
        "{head}"
    );
    let (head, body) =
        server.ask("GET /bundles/a.daruma HTTP/1.1\nRange: bytes=-3\nIf-Range: \"other\"");
    assert!(head.contains("200 OK") && body.len() == 10, "{head}");
    let (head, _) = server.ask("GET /bundles/a.daruma HTTP/1.1\nRange: bytes=10-");
    assert!(head.contains("416") && head.contains("bytes */10"), "{head}");
    let (head, body) = server.ask("HEAD /bundles/a.daruma HTTP/1.1");
    assert!(head.contains("Content-Length: 10") && body.is_empty(), "{head}");
    assert!(server.ask("POST /bundles/a.daruma HTTP/1.1\nContent-Length: 3").0.contains("405"));
    for path in [
        "/",
        "/bundles",
        "/bundles/",
        "/.hidden",
        "/../secret",
        "/bundles/../../secret",
        "/%2e%2e/secret",
        "//secret",
        "/link",
        "/bundles/.a",
        "secret",
        "/a\u{e9}",
    ] {
        let (head, body) = server.ask(&format!("GET {path} HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 404") && body.is_empty(), "{path}: {head}");
    }
}

#[test]
fn a_release_that_fails_in_the_servers_log_is_withdrawn() {
    let this = Publisher::with_root();
    this.bundle("1.0.0", "b1", "release1");
    this.bundle("2.0.0", "b2", "release1");
    this.runs(&format!("publish 1.0.0.daruma {PUBLISH}"));
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH}"));
    let simulated = this
        .runs("simulate --repo repo --devices 200 --days 1 --poll-hours 1 --failing 0 --offline 0");
    assert!(
        simulated.contains("1.0.0 to 2.0.0 (321 kB, 0 deltas), to everybody at once"),
        "{simulated}"
    );
    assert!(simulated.contains("200 devices (100 %) tried 2.0.0, it failed on 0"), "{simulated}");
    let [old, new] = [0, 1].map(|index| this.channel().releases[index].manifest_sha256.to_string());
    let line = |result: &str, hash: &str| {
        format!(
            "192.0.2.7 - - [21/Nov/2026:09:00:00 +0000] \"GET /d/stable.channel.json HTTP/1.1\" \
                304 0 \"-\" \"daruma/0.1.0 daruma-result/{result}-{}\"\n",
            &hash[..16]
        )
    };
    let first = line("committed", &new).repeat(70) + &line("fell-back", &new).repeat(4);
    fs::write(this.path("first.log"), first + &line("committed", &old).repeat(60)).unwrap();
    fs::write(this.path("second.log"), line("fell-back", &new).repeat(6)).unwrap();
    let watch = "watch --repo repo --stop-above 2 --log first.log";
    // 4 of 74 may be chance.
    let said = this.runs(&format!("{watch} --key channel1.key.pem"));
    assert!(
        said.contains("router 2.0.0: 4 of 74 devices") && said.contains("router 1.0.0: 0 of 60"),
        "{said}"
    );
    assert_eq!(this.channel().serial, 2);
    // 10 of 80 is not chance. A person must say who signs.
    let watch = format!("{watch} --log second.log");
    this.fails(&watch, 1, "router 2.0.0 should be withdrawn (10 of 80 devices");
    this.fails(
        "watch --repo repo --stop-above 2 --log nowhere.log",
        1,
        "reading the log nowhere.log",
    );
    assert_eq!(this.channel().serial, 2);
    let said = this.runs(&format!("{watch} --key channel1.key.pem"));
    assert!(said.contains("withdrawn (10 of 80 devices that tried it fell back (12.5 %"), "{said}");
    assert_eq!((this.channel().serial, this.channel().releases[1].withdrawn.is_some()), (3, true));
    // The next look finds the release withdrawn.
    let said = this.runs(&format!("{watch} --key channel1.key.pem"));
    assert!(said.contains("; withdrawn"), "{said}");
    assert_eq!(this.channel().serial, 3);
}

#[test]
fn a_publish_makes_a_delta_for_every_device_and_a_shorter_one_for_those_that_grant_the_memory() {
    let this = Publisher::with_root();
    let mut x = 1u64;
    let payload: Vec<u8> = (0..2_400_000)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'a' + (x >> 56) as u8 % 16
        })
        .collect();
    for version in 1..=2u8 {
        let mut payload = payload.clone();
        // No part of the frame stays as it was.
        payload.iter_mut().step_by(32).for_each(|byte| *byte += version);
        let mut repacker = Repacker::new(&payload).unwrap();
        let mut vmlinuz = vec![version; 5000];
        while repacker.more(&mut vmlinuz).unwrap() {}
        fs::write(this.path("boot"), vmlinuz).unwrap();
        let padding = 1_300_000u32.next_multiple_of(4096);
        fs::File::options()
            .write(true)
            .open(this.path("boot"))
            .unwrap()
            .set_len(padding.into())
            .unwrap();
        fs::write(this.path("root"), [version; 8192]).unwrap();
        let verity = bundler::verity::append(&this.path("root")).unwrap();
        this.write_bundle(&format!("{version}.0.0"), "b", "release1", verity);
    }
    this.runs(&format!("publish 1.0.0.daruma {PUBLISH}"));
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --deltas 1"));
    let before = this.channel();
    let [alone] = &before.releases[1].deltas[..] else { panic!("{:?}", before.releases[1].deltas) };
    let inode = || fs::metadata(this.path("repo").join(alone.url.as_str())).unwrap().ino();
    let made_first = inode();
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --deltas 1 --with-kernel"));
    assert_eq!(inode(), made_first, "the delta that was there is made again");
    let channel = this.channel();
    assert_eq!(channel.releases[1].deltas[0], *alone);
    let [small, kernel] = &channel.releases[1].deltas[..] else {
        panic!("{:?}", channel.releases[1].deltas)
    };
    // A device that knows nothing of memory takes the first delta.
    assert_eq!(small.memory_mib, limits::MEMORY);
    assert!(small.size > 1_000_000 && kernel.size < 100_000, "{} and {}", small.size, kernel.size);
    for delta in [small, kernel] {
        let bytes = fs::read(this.path("repo").join(delta.url.as_str())).unwrap();
        assert_eq!((bytes.len() as u64, Sha256::of(&bytes)), (delta.size, delta.sha256));
        assert_eq!(Header::read(&mut &bytes[..]).unwrap().memory, delta.memory_mib);
        assert_eq!(delta.from, channel.releases[0].manifest_sha256);
    }
    // A second call changes nothing.
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --deltas 1 --with-kernel"));
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --deltas 1"));
    assert_eq!(this.channel().serial, channel.serial);
    // A delta whose file is lost is made again, and only that one.
    let kernel_path = this.path("repo").join(kernel.url.as_str());
    let kernel_inode = fs::metadata(&kernel_path).unwrap().ino();
    fs::remove_file(this.path("repo").join(small.url.as_str())).unwrap();
    this.runs(&format!("publish 2.0.0.daruma {PUBLISH} --deltas 1"));
    assert_eq!(fs::metadata(&kernel_path).unwrap().ino(), kernel_inode);
    assert_eq!(this.channel().releases[1].deltas, channel.releases[1].deltas);
    assert!(this.path("repo").join(small.url.as_str()).exists());
}
