//! Installs over TLS: trust in servers, client certificates, HTTP/2 and proxies.
//!
//! `tls` makes the certificates, `web_server` is the server, and `pull` has the other installs from
//! web servers.

use std::fs;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::bench::{Bench, Ended};
use crate::pull::{QUICK, bench_and_bundle, install};
use crate::tls::{Authority, Issued, config, greeting};
use crate::web_server::{Answer, Server, read_head};

const TRUSTED: &str = "ca-file = \"/etc/daruma/ca.pem\"\n";
const KNOWN: &str =
    "client-cert = \"/etc/daruma/device.pem\"\nclient-key = \"/etc/daruma/device.key\"\n";

/// Makes the device trust `authority`. `more` are further lines of its section [pull].
fn trust(bench: &Bench, authority: &Authority, more: &str) {
    fs::write(bench.path("etc/daruma/ca.pem"), authority.pem()).unwrap();
    bench.config(&format!("{QUICK}{TRUSTED}{more}"));
}

fn server(issued: Issued, clients: Option<&Authority>, file: &Arc<Vec<u8>>) -> Server {
    let file = file.clone();
    let greeting = greeting(config(issued, clients, "http/1.1"));
    Server::start_with("https", greeting, move |asked| Answer::honest(asked, &file))
}

#[test]
fn a_server_of_a_trusted_authority_is_believed() {
    let (bench, made, file) = bench_and_bundle();
    let authority = Authority::new();
    let server = server(authority.issue("127.0.0.1", 2099), None, &file);
    trust(&bench, &authority, "");
    install(&bench, &server).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn the_systems_own_authorities_are_trusted() {
    let (bench, made, file) = bench_and_bundle();
    let authority = Authority::new();
    let server = server(authority.issue("127.0.0.1", 2099), None, &file);
    fs::write(bench.path("system.pem"), authority.pem()).unwrap();
    let mut command = bench.command(&["install", &server.url()]);
    command.env("SSL_CERT_FILE", bench.path("system.pem")).env_remove("SSL_CERT_DIR");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Ended::of(child).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn a_certificate_that_proves_nothing_is_refused() {
    let authority = Authority::new();
    for (issued, part) in [
        (
            Authority::new().issue("127.0.0.1", 2099),
            "of no trusted authority; if the authority is yours, name it in ca-file",
        ),
        (authority.issue("127.0.0.1", 2020), "has expired; or is this device's clock wrong?"),
        (authority.issue("other.example.org", 2099), "is for another name"),
    ] {
        let (bench, _, file) = bench_and_bundle();
        let before = bench.untouchables();
        let server = server(issued, None, &file);
        trust(&bench, &authority, "");
        install(&bench, &server).refused(25, part);
        assert!(before == bench.untouchables());
        assert_eq!(server.asked().len(), 0);
    }
}

#[test]
fn a_server_that_asks_who_we_are_is_told_and_no_other() {
    let (bench, made, file) = bench_and_bundle();
    let authority = Authority::new();
    let devices = Authority::new();
    let strict = server(authority.issue("127.0.0.1", 2099), Some(&devices), &file);
    trust(&bench, &authority, "");
    install(&bench, &strict).refused(25, "client-cert and client-key of [pull]");
    let device = devices.issue("device-7", 2099);
    fs::write(bench.path("etc/daruma/device.pem"), device.certificate_pem).unwrap();
    fs::write(bench.path("etc/daruma/device.key"), device.key_pem).unwrap();
    trust(&bench, &authority, KNOWN);
    install(&bench, &strict).succeeded();
    assert!(made.is_in_slot_b(&bench));
    // Another server redirects to the strict one. The device does not show its certificate after
    // the redirect, so the strict server refuses it.
    let there = strict.url();
    let other = Server::start_with(
        "https",
        greeting(config(authority.issue("127.0.0.1", 2099), None, "http/1.1")),
        move |_| Answer::to(&there),
    );
    install(&bench, &other).refused(25, "client-cert and client-key of [pull]");
}

#[test]
fn a_key_without_a_certificate_and_files_that_are_none_are_refused() {
    let (bench, _, file) = bench_and_bundle();
    let authority = Authority::new();
    let server = server(authority.issue("127.0.0.1", 2099), None, &file);
    trust(&bench, &authority, "client-key = \"/etc/daruma/device.key\"\n");
    install(&bench, &server).refused(23, "need each other");
    trust(&bench, &authority, KNOWN);
    install(&bench, &server).refused(23, "device.key");
    bench.config(&format!("{QUICK}ca-file = \"/etc/daruma/daruma.toml\"\n"));
    install(&bench, &server).refused(23, "the file holds no certificate");
}

#[test]
fn a_redirect_from_https_to_http_is_refused() {
    let (bench, _, file) = bench_and_bundle();
    let authority = Authority::new();
    let plain = Server::honest(file.to_vec());
    let there = plain.url();
    let issued = authority.issue("127.0.0.1", 2099);
    let server =
        Server::start_with("https", greeting(config(issued, None, "http/1.1")), move |_| {
            Answer::to(&there)
        });
    trust(&bench, &authority, "");
    install(&bench, &server).refused(26, "redirects from https to http://");
    assert_eq!(plain.asked().len(), 0);
}

#[test]
fn http_where_https_was_named_is_refused() {
    let (bench, _, _) = bench_and_bundle();
    let plain = |mut tcp: TcpStream| {
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        io::copy(&mut tcp, &mut io::sink())?;
        Err(io::ErrorKind::InvalidData.into())
    };
    let server = Server::start_with("https", plain, |_| Answer::of("400 Bad Request"));
    trust(&bench, &Authority::new(), "");
    install(&bench, &server).refused(25, "does not speak TLS");
}

#[test]
fn http_2_brings_the_same_bundle() {
    let (bench, made, file) = bench_and_bundle();
    let authority = Authority::new();
    let config = config(authority.issue("127.0.0.1", 2099), None, "h2");
    let served = file.clone();
    let server = Server::start_http_2(config, move |asked| match asked.number {
        1 => Answer::of("503 Service Unavailable"),
        _ => Answer::honest(asked, &served),
    });
    trust(&bench, &authority, "headers = { X-Device = \"7\" }\n");
    install(&bench, &server).succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert!(server.asked().iter().all(|asked| asked.header("x-device") == Some("7")));
}

#[test]
fn a_proxy_leads_on_to_a_server_that_it_cannot_read() {
    let (bench, made, file) = bench_and_bundle();
    let authority = Authority::new();
    let server = server(authority.issue("127.0.0.1", 2099), None, &file);
    let tunnels = Arc::new(AtomicUsize::new(0));
    let port = tunnel(tunnels.clone());
    trust(&bench, &authority, &format!("proxy = \"http://me:secret@127.0.0.1:{port}\"\n"));
    install(&bench, &server).succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert!(tunnels.load(Ordering::SeqCst) >= 1);
    assert_eq!(server.asked()[0].header("proxy-authorization"), None);
    trust(&bench, &authority, &format!("proxy = \"http://127.0.0.1:{port}\"\n"));
    install(&bench, &server).refused(25, "the proxy asks for a password");
}

/// Runs a proxy that answers CONNECT for clients that know the password. Returns its port.
fn tunnel(tunnels: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tunnels = tunnels.clone();
            thread::spawn(move || lead(stream?, &tunnels));
        }
    });
    port
}

fn lead(client: TcpStream, tunnels: &AtomicUsize) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let Some((method, target, headers)) = read_head(&mut reader)? else { return Ok(()) };
    assert_eq!(method, "CONNECT");
    let mut out = client;
    if !headers
        .iter()
        .any(|(name, value)| name == "Proxy-Authorization" && value == "Basic bWU6c2VjcmV0")
    {
        return out.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    tunnels.fetch_add(1, Ordering::SeqCst);
    let server = TcpStream::connect(target)?;
    out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    thread::spawn(move || io::copy(&mut from_server, &mut out));
    io::copy(&mut reader, &mut to_server).map(drop)
}
