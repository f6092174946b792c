//! Registries that lie, stall or redirect to wrong places.

use std::fs;
use std::io::Write;
use std::net::TcpListener;

use bundle::Sha256;
use bundle::oci::{Artifact, ArtifactKind};

use crate::publisher::Publisher;
use crate::web::{Web, say};

const CONTENT: &[u8] = b"what a bundle is does not matter here";

fn artifact() -> Artifact {
    Artifact { kind: ArtifactKind::Bundle, digest: Sha256::of(CONTENT), size: CONTENT.len() as u64 }
}

/// Starts a registry whose manifest is that of `artifact`. It sends the blob as `blob` says.
fn registry(
    artifact: Artifact,
    blob: impl Fn(&mut std::net::TcpStream) -> std::io::Result<()> + Send + 'static,
) -> Web {
    Web::new(move |request, stream| {
        if request.line.starts_with("GET /v2/a/manifests/") {
            say(stream, 200, "", &artifact.to_manifest("x.daruma"))
        } else {
            blob(stream)
        }
    })
}

#[test]
fn what_a_registry_sends_is_what_its_manifest_says_or_nothing() {
    let publisher = Publisher::new();
    let good = registry(artifact(), |stream| say(stream, 200, "", CONTENT));
    publisher.runs(&format!("pull oci://{}/a:x -o good", good.address));
    assert_eq!(fs::read(publisher.path("good")).unwrap(), CONTENT);

    let other = CONTENT.to_ascii_uppercase();
    let longer = [CONTENT, b"!"].concat();
    let chunked = |stream: &mut std::net::TcpStream| {
        write!(stream, "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            write!(stream, "1000\r\n{:4096}\r\n", "")?;
        }
    };
    let short = |stream: &mut std::net::TcpStream| {
        write!(stream, "HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\nhalf", CONTENT.len())
    };
    let endless = Artifact { size: 10_000, ..artifact() };
    for (web, code, part) in [
        (
            registry(artifact(), move |stream| say(stream, 200, "", &other)),
            12,
            "not what the manifest's digest says",
        ),
        (
            registry(artifact(), move |stream| say(stream, 200, "", &longer)),
            12,
            "the registry has 38",
        ),
        (registry(artifact(), short), 25, "broke off"),
        (registry(endless, chunked), 12, "sends more than the manifest says"),
        (
            registry(artifact(), |stream| say(stream, 404, "", b"")),
            26,
            "the registry has no such artifact",
        ),
        (registry(artifact(), |stream| say(stream, 500, "", b"")), 25, "the registry answered 500"),
        (
            registry(artifact(), |stream| write!(stream, "SSH-2.0-x\r\n\r\n")),
            26,
            "the registry's answer cannot be used",
        ),
    ] {
        publisher.fails(&format!("pull oci://{}/a:x -o bad", web.address), code, part);
        assert!(
            !publisher.path("bad").exists() && !publisher.path(".bad.partial").exists(),
            "{part}"
        );
    }
}

#[test]
fn a_manifest_is_strict_and_has_an_end() {
    let publisher = Publisher::new();
    let text = String::from_utf8(artifact().to_manifest("x.daruma")).unwrap();
    let size = format!("\"size\": {}", CONTENT.len());
    for (manifest, part) in [
        (text.replace(&size, "\"size\": 1152921504606846976"), "larger than any such file"),
        (text.replace("daruma.bundle", "other.thing"), "media type that Daruma does not know"),
        (text.replace("\"layers\": [", "\"layers\": [], \"x\": ["), "not exactly one layer"),
        ("\u{1b}[2J{".to_owned(), "the manifest is not one of Daruma's"),
        (format!("{text}{}", " ".repeat(64 << 10)), "more than 65536 bytes"),
    ] {
        let web = Web::new(move |_, stream| say(stream, 200, "", manifest.as_bytes()));
        publisher.fails(&format!("pull oci://{}/a:x -o bad", web.address), 26, part);
    }
    let endless = Web::new(|_, stream| {
        write!(stream, "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            write!(stream, "1000\r\n{:4096}\r\n", "")?;
        }
    });
    publisher.fails(
        &format!("pull oci://{}/a:x -o bad", endless.address),
        26,
        "more than 65536 bytes",
    );
}

#[test]
fn redirects_have_an_end_and_no_login_goes_with_them() {
    let mut publisher = Publisher::new();
    publisher.log_in("me:secret");
    let circle = Web::new(|_, stream| say(stream, 307, "Location: /v2/a/manifests/x\r\n", b""));
    publisher.fails(
        &format!("pull oci://{}/a:x -o bad", circle.address),
        26,
        "redirects more than 5 times",
    );
    let nowhere = Web::new(|_, stream| say(stream, 302, "Location: file:///etc/passwd\r\n", b""));
    publisher.fails(
        &format!("pull oci://{}/a:x -o bad", nowhere.address),
        26,
        "an address that cannot be used",
    );

    let cdn = Web::new(|_, stream| say(stream, 200, "", CONTENT));
    let away = format!("Location: http://{}/blob\r\n", cdn.address);
    let first = Web::new(move |request, stream| match &request.authorization {
        None => say(stream, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", b""),
        Some(_) if request.line.contains("/manifests/") => {
            say(stream, 200, "", &artifact().to_manifest("x"))
        }
        Some(_) => say(stream, 307, &away, b""),
    });
    publisher.runs(&format!("pull oci://{}/a:x -o good", first.address));
    assert_eq!(first.seen().last().unwrap().authorization.as_deref(), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(cdn.seen().len(), 1);
    assert_eq!(cdn.seen()[0].authorization, None);
}

#[test]
fn a_registry_that_wants_to_know_who_asks_is_told_or_the_remedy_is() {
    let mut publisher = Publisher::new();
    let strange = Web::new(|_, stream| say(stream, 401, "WWW-Authenticate: Negotiate\r\n", b""));
    publisher.fails(
        &format!("pull oci://{}/a:x -o bad", strange.address),
        26,
        "neither Basic nor Bearer",
    );
    let basic =
        Web::new(|_, stream| say(stream, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", b""));
    let line = format!("pull oci://{}/a:x -o bad", basic.address);
    publisher.fails(&line, 23, "set $DARUMA_REGISTRY_AUTH=user:password");
    publisher.log_in("me:secret");
    publisher.fails(&line, 23, "user and password are not right");
    assert_eq!(basic.seen().len(), 3, "and it is not asked for ever");
    publisher.fails(
        &format!("pull oci://me:secret@{}/a:x -o bad", basic.address),
        23,
        "everybody on this machine can see a password",
    );
}

#[test]
fn tags_lead_to_the_files_of_a_repository_only_and_their_list_has_an_end() {
    let publisher = Publisher::new();
    let tags = concat!(
        r#"{"tags":["latest","bundles___2e_2e__x.daruma","_2e_2e__root.json","#,
        r#""bundles__a.daruma",".","_2fetc__root.json"]}"#,
    );
    let web = Web::new(move |request, stream| {
        if request.line.contains("/tags/list") {
            say(stream, 200, "", tags.as_bytes())
        } else if request.line.contains("/manifests/") {
            say(stream, 200, "", &artifact().to_manifest("../../x"))
        } else {
            say(stream, 200, "", CONTENT)
        }
    });
    let out = publisher.runs(&format!("pull oci://{}/a -o mirror", web.address));
    assert!(out.contains("1 files fetched") && out.contains("4 other tags"), "{out}");
    assert_eq!(publisher.files("mirror").into_keys().collect::<Vec<_>>(), ["bundles/a.daruma"]);

    let endless = Web::new(|_, stream| {
        let next = "Link: </v2/a/tags/list?last=x&n=1000>; rel=\"next\"\r\n";
        say(stream, 200, next, br#"{"tags":["latest"]}"#)
    });
    publisher.fails(&format!("pull oci://{}/a -o mirror", endless.address), 26, "never ends");
    let none = Web::new(|_, stream| say(stream, 200, "", b"[]"));
    publisher.fails(
        &format!("pull oci://{}/a -o mirror", none.address),
        26,
        "the registry's list of tags cannot be read",
    );
}

#[test]
fn without_a_registry_it_is_said_in_one_line() {
    let publisher = Publisher::with_release();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    publisher.fails(&format!("push repo oci://{closed}/a"), 25, "the registry cannot be reached");
    publisher.fails(
        &format!("pull oci://{closed}/a:x -o bad"),
        25,
        "the registry cannot be reached",
    );
    let (code, _, err) = publisher.run("pull http://example.org/a -o bad");
    assert_eq!(
        (code, err.contains("the address begins neither with oci:// nor")),
        (2, true),
        "{err}"
    );
}
