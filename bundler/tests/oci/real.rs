//! Debian's docker-registry.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::publisher::Publisher;
use crate::web::{Web, say};

/// An empty registry on loopback. It ends with the test.
struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    address: String,
}

/// Returns the program, unpacked from its package and not installed.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-registry");
        let program = dir.join("usr/bin/docker-registry");
        if !program.exists() {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            let run =
                |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
            run(Command::new("apt-get")
                .args(["download", "-qq", "docker-registry"])
                .current_dir(&dir));
            let package = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
            let aside = dir.join("aside");
            run(Command::new("dpkg").arg("-x").arg(&package).arg(&aside));
            fs::rename(aside.join("usr"), dir.join("usr")).unwrap();
        }
        program
    })
}

impl Registry {
    /// Starts a registry. `auth` is that section of its configuration.
    fn start(auth: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {at}\nhttp:\n  addr: \
                127.0.0.1:0\n{auth}"
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let mut child = Command::new(program())
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let address = lines
            .find_map(|line| {
                Some(line.split_once("listening on ")?.1.split('"').next()?.to_owned())
            })
            .expect("the registry has ended");
        // The registry would stop if this pipe were full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, dir, address }
    }

    fn at(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }

    /// Returns the file in which the registry keeps the blob with this content.
    fn blob(&self, content: &[u8]) -> PathBuf {
        let hex = bundle::Sha256::of(content).to_string();
        self.dir.path().join(format!("docker/registry/v2/blobs/sha256/{:.2}/{hex}/data", hex))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_repository_comes_back_as_it_was_and_nothing_goes_twice() {
    let (registry, publisher) = (Registry::start(""), Publisher::with_release());
    let to = registry.at("fleet/routers");
    let out = publisher.runs(&format!("push repo {to}"));
    assert!(out.contains(": 4 files sent (3.1"), "{out}");
    let out = publisher.runs(&format!("push repo {to}"));
    assert!(out.contains(": 0 files sent (0 B), 4 were there already"), "{out}");

    let out = publisher.runs(&format!("pull {to} -o mirror"));
    assert!(out.contains("4 files fetched"), "{out}");
    assert_eq!(publisher.files("mirror"), publisher.files("repo"));
    let out = publisher.runs(&format!("pull {to} -o mirror"));
    assert!(out.contains("0 files fetched (0 B), 4 were there already"), "{out}");

    publisher.publish("2.0.0");
    let out = publisher.runs(&format!("push repo {to}"));
    assert!(out.contains(": 2 files sent"), "{out}");
    publisher.runs(&format!("pull {to} -o mirror"));
    assert_eq!(publisher.files("mirror"), publisher.files("repo"));
}

#[test]
fn an_older_folder_does_not_take_the_place_of_a_newer_channel() {
    let (registry, publisher) = (Registry::start(""), Publisher::with_release());
    let to = registry.at("r");
    publisher.runs(&format!("push repo {to}"));
    publisher.runs(&format!("pull {to} -o old"));
    publisher.publish("2.0.0");
    publisher.runs(&format!("push repo {to}"));
    publisher.fails(&format!("push old {to}"), CHANNEL, "serial 2 was seen before");
    publisher.runs(&format!("pull {to} -o mirror"));
    assert_eq!(publisher.files("mirror"), publisher.files("repo"));
    // The same in the other direction: a release that was published here and not pushed yet is not
    // lost.
    publisher.publish("3.0.0");
    publisher.fails(&format!("pull {to} -o repo"), CHANNEL, "serial 3 was seen before");
    publisher.runs(&format!("push repo {to}"));
    // The draft of a root document is not for devices.
    publisher.runs("root change --repo repo --expires-days 30");
    let out = publisher.runs(&format!("push repo {to}"));
    assert!(
        out.contains("0 files sent") && out.contains("next.root.json: not for devices"),
        "{out}"
    );
}

/// The exit code for a channel that cannot be accepted.
const CHANNEL: i32 = 28;

#[test]
fn one_bundle_has_the_tag_that_it_is_given() {
    let (registry, publisher) = (Registry::start(""), Publisher::new());
    publisher.bundle("1.0.0");
    let to = registry.at("a");
    publisher.runs(&format!("push 1.0.0.daruma {to}:one"));
    publisher.runs(&format!("pull {to}:one -o back.daruma"));
    assert_eq!(publisher.runs("verify back.daruma --keyring ring"), "router 1.0.0 (b1): good\n");
    assert!(publisher.runs(&format!("push 1.0.0.daruma {to}:one")).contains("was there already"));
    // Another tag has the same blob, which is not sent again.
    assert!(
        publisher
            .runs(&format!("push 1.0.0.daruma {to}"))
            .contains(":bundles__1.0.0.daruma: sent (0 B)")
    );
    publisher.fails(&format!("pull {to}:two -o bad"), 26, "the registry has no such artifact");
    publisher.fails(
        &format!("pull {}:one -o bad", registry.at("b")),
        26,
        "the registry has no such artifact",
    );
    publisher.fails(
        &format!("pull {} -o bad", registry.at("b")),
        26,
        "the registry has no such artifact",
    );
    fs::write(publisher.path("x.txt"), "x").unwrap();
    let (code, _, err) = publisher.run(&format!("push x.txt {to}:x"));
    assert_eq!((code, err.contains("the name is not that of a bundle")), (1, true), "{err}");
}

/// Checks what devices rely on, and asks as devices ask. The agent's own tests have a registry of
/// their own.
#[test]
fn a_registry_serves_the_end_of_a_blob_and_says_that_nothing_has_changed() {
    let (registry, publisher) = (Registry::start(""), Publisher::new());
    publisher.bundle("1.0.0");
    publisher.runs(&format!("push 1.0.0.daruma {}:one", registry.at("a")));
    let content = fs::read(publisher.path("1.0.0.daruma")).unwrap();
    let ask = |path: &str, header: &str| -> (String, Vec<u8>) {
        let mut stream = std::net::TcpStream::connect(&registry.address).unwrap();
        write!(
            stream,
            "GET /v2/a/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    };
    let blob = format!("blobs/sha256:{}", bundle::Sha256::of(&content));
    let (head, tail) = ask(&blob, "Range: bytes=-1000");
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    assert_eq!(tail, content[content.len() - 1000..]);
    let etag = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("etag: ").map(str::to_owned))
        .unwrap();
    let (head, part) = ask(&blob, &format!("Range: bytes=4096-8191\r\nIf-Range: {etag}"));
    assert!(head.starts_with("HTTP/1.1 206 ") && part == content[4096..8192], "{head}");

    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let (head, manifest) = ask("manifests/one", accept);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(bundle::oci::Artifact::parse(&manifest).unwrap().size, content.len() as u64);
    let etag = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("etag: ").map(str::to_owned))
        .unwrap();
    let (head, nothing) = ask("manifests/one", &format!("{accept}\r\nIf-None-Match: {etag}"));
    assert!(head.starts_with("HTTP/1.1 304 ") && nothing.is_empty(), "{head}");
}

#[test]
fn a_blob_that_was_changed_in_the_registry_is_not_taken() {
    let (registry, publisher) = (Registry::start(""), Publisher::new());
    publisher.bundle("1.0.0");
    let to = format!("{}:one", registry.at("a"));
    publisher.runs(&format!("push 1.0.0.daruma {to}"));
    let content = fs::read(publisher.path("1.0.0.daruma")).unwrap();
    let blob = registry.blob(&content);
    let mut file = fs::File::options().write(true).open(&blob).unwrap();
    file.write_all(b"!").unwrap();
    publisher.fails(&format!("pull {to} -o bad"), 12, "not what the manifest's digest says");
    file.set_len(content.len() as u64 - 5).unwrap();
    publisher.fails(&format!("pull {to} -o bad"), 12, "the manifest says");
    assert!(!publisher.path("bad").exists() && !publisher.path(".bad.partial").exists());
}

#[test]
fn a_password_that_the_registry_checks_is_needed_and_enough() {
    let htpasswd = tempfile::NamedTempFile::new().unwrap();
    fs::write(htpasswd.path(), "me:$2y$05$abcdefghijklmnopqrstuu49bmewiittwnvuj/vFgzYzqzdo5wdXG\n")
        .unwrap();
    let auth =
        format!("auth:\n  htpasswd:\n    realm: x\n    path: {}\n", htpasswd.path().display());
    let (registry, mut publisher) = (Registry::start(&auth), Publisher::with_release());
    let to = registry.at("a");
    publisher.fails(
        &format!("push repo {to}"),
        23,
        "the registry wants a login; set $DARUMA_REGISTRY_AUTH",
    );
    publisher.log_in("me:wrong");
    publisher.fails(
        &format!("push repo {to}"),
        23,
        "user and password are not right for this registry",
    );
    publisher.log_in("me:s:cret");
    assert!(publisher.runs(&format!("push repo {to}")).contains("4 files sent"));
    assert!(publisher.runs(&format!("pull {to} -o mirror")).contains("4 files fetched"));
}

#[test]
fn a_registry_that_wants_a_token_gets_one_of_its_token_server() {
    let tokens = Web::new(|request, stream| {
        if request.authorization.as_deref() == Some("Basic bWU6c2VjcmV0") {
            say(stream, 200, "", br#"{"token":"abc"}"#)
        } else {
            say(stream, 401, "", b"")
        }
    });
    // This kind of login, which the registry brings, checks that there is a token. It does not
    // check the token's content.
    let auth =
        format!("auth:\n  silly:\n    realm: http://{}/token\n    service: reg\n", tokens.address);
    let (registry, mut publisher) = (Registry::start(&auth), Publisher::with_release());
    let to = registry.at("fleet/routers");
    publisher.fails(&format!("push repo {to}"), 23, "the registry wants a login");
    publisher.log_in("me:secret");
    assert!(publisher.runs(&format!("push repo {to}")).contains("4 files sent"));
    let asked: Vec<_> = tokens.seen().into_iter().map(|request| request.line).collect();
    assert!(
        asked[0].starts_with("GET /token?service=reg&scope=repository:fleet/routers:pull"),
        "{asked:?}"
    );
}
