//! Bundles and channels in an OCI registry.
//!
//! `web_server` is the registry here. The bundler's tests ask Debian's own registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bundle::Sha256;
use bundle::oci::{Artifact, ArtifactKind, Tag};
use image_layout::Slot;

use crate::bench::{Bench, Made, Spec};
use crate::publisher::Publisher;
use crate::web_server::{Answer, Asked, Server, Then};

const QUICK: &str = "[pull]\nconnect-timeout-s = 1\nlow-speed-s = 1\ntries = 3";
const NAME: &str = "fleet/routers";
const BUNDLE: &str = "bundles__router-2.0.0.daruma";

/// The content of a registry: manifests by tag, blobs by digest.
#[derive(Default)]
struct Stock {
    manifests: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Stock {
    /// Holds what `daruma-bundler push` sends of the folder.
    fn of(folder: &Path) -> Self {
        let mut stock = Self::default();
        for below in ["", "bundles/"] {
            for entry in fs::read_dir(folder.join(below)).unwrap().map(Result::unwrap) {
                let name = format!("{below}{}", entry.file_name().to_str().unwrap());
                if let Some(kind) = ArtifactKind::of_path(&name) {
                    let bytes = fs::read(entry.path()).unwrap();
                    let artifact =
                        Artifact { kind, digest: Sha256::of(&bytes), size: bytes.len() as u64 };
                    stock.blobs.insert(artifact.digest.to_string(), bytes);
                    let tag = Tag::of_path(&name).unwrap().to_string();
                    stock.manifests.insert(tag, artifact.to_manifest(&name));
                }
            }
        }
        stock
    }

    /// Answers as a registry does.
    fn answer(&self, asked: &Asked) -> Answer {
        let missing = || Answer::of("404 Not Found");
        let Some((what, name)) = asked
            .target
            .strip_prefix(&format!("/v2/{NAME}/"))
            .and_then(|rest| rest.split_once('/'))
        else {
            return missing();
        };
        if what == "blobs" {
            let blob = name.strip_prefix("sha256:").and_then(|digest| self.blobs.get(digest));
            return blob.map_or_else(missing, |blob| Answer::honest(asked, blob));
        }
        assert_eq!(asked.header("accept"), Some("application/vnd.oci.image.manifest.v1+json"));
        let Some(manifest) = self.manifests.get(name) else { return missing() };
        let etag = format!("\"sha256:{}\"", Sha256::of(manifest));
        let answer = if asked.header("if-none-match") == Some(&etag) {
            Answer::of("304 Not Modified").without("Content-Length")
        } else {
            Answer::honest(asked, manifest)
        };
        answer.with("ETag", etag)
    }
}

/// Returns a device that follows a channel in a registry. The channel offers 2.0.0. `twist` may
/// change each answer.
fn registry(
    twist: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
) -> (Bench, Publisher, Made, Server) {
    let bench = Bench::new();
    let mut publisher = Publisher::of(&bench);
    let made = bench.bundle(&Spec::default());
    publisher.offer(&made);
    publisher.put_channel();
    let stock = Stock::of(publisher.path("").as_path());
    let server = Server::start(move |asked| twist(asked, stock.answer(asked)));
    publisher.follow(&bench, &at(&server, ""), QUICK);
    (bench, publisher, made, server)
}

fn at(server: &Server, login: &str) -> String {
    format!("oci://{login}127.0.0.1:{}/{NAME}", server.port())
}

type Twist = fn(&Asked, Answer) -> Answer;

fn is_blob(asked: &Asked) -> bool {
    asked.target.contains("/blobs/")
}

#[test]
fn a_device_follows_a_channel_in_a_registry() {
    let (bench, _publisher, made, server) = registry(|_, answer| answer);
    let ended = bench.run(&["check"]);
    ended.succeeded();
    assert!(ended.stdout.contains("router 2.0.0"), "{ended:?}");
    let before = server.asked().len();
    bench.run(&["check"]).succeeded();
    let asked = server.asked().split_off(before);
    assert_eq!(asked.len(), 1, "an unchanged channel is one request: {asked:?}");
    assert!(asked[0].target.ends_with("/manifests/stable.channel.json"), "{asked:?}");

    let ended = bench.run(&["update"]);
    ended.succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert_eq!(bench.boot(), Some(Slot::B));
    let blobs: Vec<_> = server.asked().into_iter().skip(before + 1).filter(is_blob).collect();
    assert!(
        !blobs.is_empty() && blobs.iter().all(|asked| asked.header("range").is_some()),
        "{blobs:?}"
    );
}

#[test]
fn a_bundle_streams_from_its_tag_and_a_broken_transfer_is_taken_up_again() {
    let cut = AtomicUsize::new(0);
    let (bench, _publisher, made, server) = registry(move |asked, answer| {
        let is_payload = is_blob(asked) && answer.body.len() > 500_000;
        if is_payload && cut.fetch_add(1, Ordering::SeqCst) == 0 {
            return answer.cut(300_000, Then::Reset);
        }
        answer
    });
    let address = format!("{}:{BUNDLE}", at(&server, ""));
    let ended = bench.run(&["install", &address]);
    ended.succeeded();
    assert!(
        ended.stdout.contains(&format!("fetching {address}: the transfer broke off")),
        "{ended:?}"
    );
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn a_registry_that_wants_tokens_gets_new_ones_as_the_old_ones_end() {
    // Each token is good for three requests.
    let (issued, used) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(3));
    let count = issued.clone();
    let (bench, _publisher, made, server) = registry(move |asked, answer| {
        if asked.target.starts_with("/token?") {
            assert_eq!(asked.header("authorization"), Some("Basic bWU6czpjcmV0"), "{asked:?}");
            assert!(asked.target.ends_with("scope=repository:fleet/routers:pull"), "{asked:?}");
            used.store(0, Ordering::SeqCst);
            let token = format!("{{\"token\":\"t{}\"}}", issued.fetch_add(1, Ordering::SeqCst) + 1);
            return Answer::honest(asked, token.as_bytes());
        }
        let good = format!("Bearer t{}", issued.load(Ordering::SeqCst));
        if used.fetch_add(1, Ordering::SeqCst) < 3 && asked.header("authorization") == Some(&good) {
            return answer;
        }
        let port = asked.header("host").unwrap();
        Answer::of("401 Unauthorized").with(
            "WWW-Authenticate",
            format!("Bearer realm=\"http://{port}/token\",service=\"reg\""),
        )
    });
    let ended = bench.run(&["install", &format!("{}:{BUNDLE}", at(&server, "me:s%3Acret@"))]);
    ended.succeeded();
    assert!(!format!("{ended:?}").contains("cret@"), "{ended:?}");
    assert!(made.is_in_slot_b(&bench));
    assert!(count.load(Ordering::SeqCst) >= 2, "{}", count.load(Ordering::SeqCst));
}

#[test]
fn a_blob_that_lies_elsewhere_is_fetched_without_the_login() {
    let (bench, publisher, made, _) = registry(|_, answer| answer);
    let stock = Stock::of(publisher.path("").as_path());
    let storage = Server::start(move |asked| stock.answer(asked));
    let port = storage.port();
    let stock = Stock::of(publisher.path("").as_path());
    let server = Server::start(move |asked| {
        if asked.header("authorization").is_none() {
            Answer::of("401 Unauthorized").with("WWW-Authenticate", "Basic realm=\"x\"")
        } else if is_blob(asked) {
            Answer::to(format!("http://127.0.0.1:{port}{}", asked.target))
        } else {
            stock.answer(asked)
        }
    });
    bench.run(&["install", &format!("{}:{BUNDLE}", at(&server, ""))]).refused(26, "401");
    bench.run(&["install", &format!("{}:{BUNDLE}", at(&server, "me:secret@"))]).succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert!(!storage.asked().is_empty());
}

/// Asserts that an install ends with `code` and one line, whatever the registry does. Nothing of
/// the device is touched.
#[track_caller]
fn refused(
    twist: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
    code: i32,
    part: &str,
) {
    let (bench, _publisher, _, server) = registry(twist);
    let before = bench.untouchables();
    bench.run(&["install", &format!("{}:{BUNDLE}", at(&server, ""))]).refused(code, part);
    assert!(before == bench.untouchables());
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

#[test]
fn a_registry_that_lies_about_a_bundle_is_refused_before_the_slot_is_touched() {
    let says = |make: fn(String) -> String| {
        move |asked: &Asked, answer: Answer| {
            if is_blob(asked) {
                answer
            } else {
                Answer::honest(asked, make(text(&answer)).as_bytes())
            }
        }
    };
    refused(
        says(|text| text.replace("\"size\": 6", "\"size\": 9")),
        26,
        "not as long as its manifest says",
    );
    refused(
        says(|text| text.replace("\"size\": 6", "\"size\": 115292150460")),
        26,
        "larger than any such file",
    );
    refused(
        says(|text| text.replace("daruma.bundle.v1", "daruma.root.v1+json")),
        26,
        "larger than any such file",
    );
    refused(says(|text| text.replace("\"sha256:", "\"sha257:")), 26, "no SHA-256");
    refused(says(|text| text.replace("sha256:", "sha256:00")), 26, "no SHA-256");
    refused(says(|_| "<html>".to_owned()), 26, "the manifest is not one of Daruma's");
    refused(says(|text| text + &" ".repeat(64 << 10)), 26, "longer than 65536 bytes");
    refused(
        |_, answer| answer.without("Content-Length").cut(0, Then::Endless),
        26,
        "longer than 65536 bytes",
    );
    refused(|asked, _| Answer::to(&asked.target), 26, "redirects more than 5 times");
    refused(|_, _| Answer::of("404 Not Found"), 26, "the registry has no such tag");
    let strange = "Bearer realm=\"ftp://x/\"";
    refused(
        move |_, _| Answer::of("401 Unauthorized").with("WWW-Authenticate", strange),
        26,
        "token server",
    );
}

#[test]
fn a_registry_that_lies_about_a_channel_is_refused() {
    let lies: [(Twist, &str); 2] = [
        (
            |asked, mut answer| {
                if is_blob(asked) {
                    answer.body[5] ^= 1;
                }
                answer
            },
            "does not match the digest in its manifest",
        ),
        (
            |asked, answer| {
                if is_blob(asked) {
                    return answer;
                }
                let other = text(&answer).replace("daruma.channel.v1+json", "daruma.bundle.v1");
                Answer::honest(asked, other.as_bytes())
            },
            "does not stand for a document",
        ),
    ];
    for (lie, part) in lies {
        let (bench, _publisher, _, _server) =
            registry(
                move |asked, answer| {
                    if answer.status.starts_with("404") { answer } else { lie(asked, answer) }
                },
            );
        bench.run(&["check"]).refused(26, part);
    }
}

#[test]
fn an_address_that_is_none_in_a_registry_is_refused() {
    let bench = Bench::new();
    bench.run(&["install", "oci://example.org/a"]).refused(2, "a tag is missing");
    bench.run(&["install", "oci://example.org/A:x"]).refused(2, "not an address in a registry");
    for url in ["oci://example.org/a:x", "oci://example.org", "oci://me@x/a"] {
        bench.config(&format!("[channel]\nurl = \"{url}\"\n"));
        bench.run(&["check"]).refused(23, "reading the configuration");
    }
}
