//! Installs from web servers: honest ones, broken ones and hostile ones, on real sockets.
//!
//! `web_server` is the server, and `pull_tls` has the installs over TLS. Each test makes the server
//! answer in its own way.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use image_layout::Slot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, Ended, Made, Spec, noise};
use crate::web_server::{Answer, Asked, ReadWrite, Server, Then};

/// Few tries, so that giving up is quick. The time limits are long enough for a busy machine.
pub(crate) const QUICK: &str = "[pull]\nconnect-timeout-s = 10\nlow-speed-s = 20\ntries = 3\n";
/// A short limit, for the tests in which the agent waits in vain.
const HASTY: &str = "[pull]\nlow-speed-s = 2\n";

/// Returns a device, a bundle, and the bundle's bytes.
pub(crate) fn bench_and_bundle() -> (Bench, Made, Arc<Vec<u8>>) {
    let bench = Bench::new();
    bench.config(QUICK);
    let made = bench.bundle(&Spec::default());
    let file = fs::read(&made.path).unwrap();
    (bench, made, Arc::new(file))
}

pub(crate) fn install(bench: &Bench, server: &Server) -> Ended {
    bench.run(&["install", &server.url()])
}

/// Asserts that the install ends with `code` and one line, whatever the server does.
///
/// The device then boots what ran before, and a second install succeeds. If `is_untouched` is true,
/// the install must be refused before the slot is touched.
#[track_caller]
fn refused(
    answers: impl Fn(&Asked, &[u8]) -> Answer + Send + Sync + 'static,
    code: i32,
    part: &str,
    is_untouched: bool,
) {
    let (bench, made, file) = bench_and_bundle();
    let before = bench.untouchables();
    let served = file.clone();
    let server = Server::start(move |asked| answers(asked, &served));
    install(&bench, &server).refused(code, part);
    if is_untouched {
        assert!(before == bench.untouchables(), "a refused bundle changed the device");
    }
    assert_eq!(bench.state().select().slot, Some(Slot::A));
    install(&bench, &Server::honest(file.to_vec())).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

/// Asserts that the install completes, whatever the server does. Returns the requests.
#[track_caller]
fn completed(answers: impl Fn(&Asked, &[u8]) -> Answer + Send + Sync + 'static) -> Vec<Asked> {
    completed_with(QUICK, answers)
}

#[track_caller]
fn completed_with(
    config: &str,
    answers: impl Fn(&Asked, &[u8]) -> Answer + Send + Sync + 'static,
) -> Vec<Asked> {
    let (bench, made, file) = bench_and_bundle();
    bench.config(config);
    let server = Server::start(move |asked| answers(asked, &file));
    install(&bench, &server).succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert_eq!(bench.boot(), Some(Slot::B));
    server.asked()
}

/// Number of the request for the first part of the payload: boot.img, about 1 MB. The request
/// before it is for the tail.
const PAYLOAD: usize = 1;

#[test]
fn a_bundle_on_a_web_server_is_streamed_into_the_slot() {
    let (bench, made, file) = bench_and_bundle();
    let server = Server::honest(file.to_vec());
    let ended = install(&bench, &server);
    ended.succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert_eq!(bench.boot(), Some(Slot::B));
    let asked = server.asked();
    assert_eq!(asked[0].header("range"), Some("bytes=-65536"));
    assert_eq!(asked[PAYLOAD].header("if-range"), Some("\"one\""));
    assert!(asked.iter().all(|asked| asked.header("accept-encoding") == Some("identity")));
    assert_eq!(asked.last().unwrap().connection, 0, "the connection is not kept");
    assert!(asked.len() <= 3, "{asked:?}");
    assert!(server.sent() <= file.len() as u64, "something was fetched twice");
    assert!(ended.stdout.contains("6.30 MB to fetch, 8.19 kB from the running slot"), "{ended:?}");
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    for then in [Then::Stall, Then::Reset, Then::Close, Then::Drip] {
        let asked = completed_with(HASTY, move |asked, file| {
            let answer = Answer::honest(asked, file);
            if asked.number == PAYLOAD { answer.cut(1_000_000, then) } else { answer }
        });
        let start = |asked: &Asked| asked.range(usize::MAX).unwrap().start;
        let (first, second) = (start(&asked[PAYLOAD]), start(&asked[PAYLOAD + 1]));
        // A reset also throws away bytes that the server's kernel had not sent yet.
        let least = if then == Then::Reset { first } else { first + 900_000 };
        assert!(second >= least && second <= first + 1_000_100, "{then:?}: {first} {second}");
    }
}

#[test]
fn a_killed_install_fetches_only_what_is_missing() {
    let (bench, made, file) = bench_and_bundle();
    bench.config("[pull]\nlow-speed-s = 60\n");
    let sent = 3_000_000;
    let served = file.clone();
    let server = Server::start(move |asked| {
        let answer = Answer::honest(asked, &served);
        if asked.number == PAYLOAD + 1 { answer.cut(sent, Then::Stall) } else { answer }
    });
    let mut child =
        bench.command(&["install", &server.url()]).stdout(Stdio::null()).spawn().unwrap();
    // All but 200 KB of the received bytes must be in the slot, although the install never ends.
    let kept = sent - 200_000;
    let partition = fs::File::open(bench.path("root-b")).unwrap();
    let wanted = &made.root[kept..kept + 512];
    let mut found = vec![0; 512];
    while found != wanted {
        partition.read_exact_at(&mut found, kept as u64).unwrap();
        assert!(child.try_wait().unwrap().is_none());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bench.state().select().slot, Some(Slot::A));
    let second = Server::honest(file.to_vec());
    install(&bench, &second).succeeded();
    assert!(made.is_in_slot_b(&bench));
    // boot.img, too, has no journal except the slot. All of it is there.
    let most = file.len() - made.boot.len() - kept + 65_536;
    assert!(second.sent() <= most as u64, "{} > {most}", second.sent());
}

#[test]
fn an_install_killed_anywhere_has_fetched_little_in_vain() {
    let seed = 4_u64;
    println!("seed {seed}");
    for number in noise(seed, 6 * 8).chunks_exact(8) {
        let (bench, made, file) = bench_and_bundle();
        let number = u64::from_le_bytes(number.try_into().unwrap());
        let block =
            usize::try_from(number).unwrap_or(usize::MAX) % (made.root.len() * 8 / 10 / 4096);
        let server = Server::honest(file.to_vec());
        let mut child =
            bench.command(&["install", &server.url()]).stdout(Stdio::null()).spawn().unwrap();
        let partition = fs::File::open(bench.path("root-b")).unwrap();
        let wanted = &made.root[block * 4096..][..4096];
        let mut found = vec![0; 4096];
        while found != wanted && child.try_wait().unwrap().is_none() {
            partition.read_exact_at(&mut found, block as u64 * 4096).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let first = server.sent();
        let second = Server::honest(file.to_vec());
        install(&bench, &second).succeeded();
        assert!(made.is_in_slot_b(&bench));
        // Each run fetches the tail. The figure includes bytes that the server's kernel had taken
        // and not sent.
        let in_vain = (first + second.sent()).saturating_sub(file.len() as u64 + 65_536);
        println!("killed at block {block}: {in_vain} bytes fetched in vain");
        // The limit covers a chunk of 128 KiB that is not whole yet, and pieces that wait for the
        // disk. It also covers the bytes in the kernels of both ends.
        assert!(in_vain <= 320 << 10);
    }
}

#[test]
fn a_server_that_breaks_off_again_and_again_is_given_up() {
    refused(
        |asked, file| {
            let answer = Answer::honest(asked, file);
            if asked.number >= PAYLOAD { answer.cut(0, Then::Close) } else { answer }
        },
        25,
        "given up after 3 tries",
        false,
    );
}

#[test]
fn a_line_during_an_install_on_a_terminal_does_not_stand_behind_the_bar() {
    let (bench, made, file) = bench_and_bundle();
    let served = file.clone();
    let server = Server::start(move |asked| {
        let answer = Answer::honest(asked, &served);
        if asked.number == PAYLOAD { answer.cut(500_000, Then::Close) } else { answer }
    });
    let command = bench.command(&["install", &server.url()]);
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    let line: Vec<String> =
        words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let out = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && made.is_in_slot_b(&bench), "{text}");
    assert!(text.contains('#'), "there was no bar: {text:?}");
    // A terminal shows the part of a line behind the last return to its beginning.
    let shown =
        |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap().replace("\x1b[K", "");
    let lines: Vec<String> = text.split('\n').map(shown).collect();
    let again: Vec<&String> =
        lines.iter().filter(|line| line.contains("trying again in")).collect();
    assert_eq!(again.len(), 1, "{text:?}");
    assert!(again[0].starts_with("fetching http://"), "{again:?}");
    assert!(lines.iter().all(|line| !line.contains('#')), "a bar is left: {lines:?}");
}

#[test]
fn a_body_without_a_length_is_taken_as_far_as_it_was_asked_for() {
    completed(|asked, file| Answer {
        then: Then::Close,
        ..Answer::honest(asked, file).without("Content-Length")
    });
}

#[test]
fn an_endless_body_is_cut_off() {
    for number in [0, PAYLOAD] {
        refused(
            move |asked, file| {
                let mut answer = Answer::honest(asked, file);
                if asked.number == number {
                    answer = Answer { then: Then::Endless, ..answer.without("Content-Length") };
                }
                answer
            },
            26,
            "more than it was asked for",
            number == 0,
        );
    }
}

#[test]
fn a_head_without_an_end_is_cut_off() {
    let (bench, _, _) = bench_and_bundle();
    let endless = |mut tcp: TcpStream| -> io::Result<Box<dyn ReadWrite>> {
        tcp.write_all(b"HTTP/1.1 206 Partial Content\r\n")?;
        loop {
            tcp.write_all(b"X-Header: one of very many\r\n")?;
        }
    };
    let server = Server::start_with("http", endless, |_| Answer::of("200 OK"));
    install(&bench, &server).refused(26, "is not HTTP");
    let talker = |mut tcp: TcpStream| -> io::Result<Box<dyn ReadWrite>> {
        tcp.write_all(b"SSH-2.0-OpenSSH_10.0\r\n")?;
        Ok(Box::new(tcp))
    };
    let server = Server::start_with("http", talker, |_| Answer::of("200 OK"));
    install(&bench, &server).refused(26, "is not HTTP");
}

#[test]
fn a_server_without_ranges_is_refused_and_told_what_it_lacks() {
    refused(
        |_, file| Answer { body: file.to_vec(), ..Answer::of("200 OK") },
        26,
        "it must answer 206",
        true,
    );
}

#[test]
fn a_lie_about_the_range_is_refused() {
    type Lie = fn(&[u8], usize) -> String;
    let lies: [(Lie, &str); 4] = [
        (
            |file, length| format!("bytes 0-{}/{}", length - 1, file.len()),
            "the request was for the bytes",
        ),
        (
            |file, length| {
                format!("bytes {}-{}/{}", file.len() - length, file.len() - 1, file.len() + 1)
            },
            "bytes",
        ),
        (|_, _| "bytes */*".to_owned(), "without a usable Content-Range"),
        (|_, _| "nonsense".to_owned(), "without a usable Content-Range"),
    ];
    for (lie, part) in lies {
        refused(
            move |asked, file| {
                let answer = Answer::honest(asked, file);
                let place = lie(file, answer.body.len());
                answer.with("Content-Range", place)
            },
            26,
            part,
            true,
        );
    }
    refused(
        |asked, file| Answer {
            status: "206 Partial Content",
            ..Answer::honest(asked, file).without("Content-Range")
        },
        26,
        "without a usable Content-Range",
        true,
    );
}

#[test]
fn a_file_that_changes_in_mid_download_is_noticed() {
    for number in [PAYLOAD, PAYLOAD + 1] {
        refused(
            move |asked, file| {
                let answer = Answer::honest(asked, file);
                if asked.number >= number {
                    // A server answers like this when If-Range does not hold.
                    Answer { status: "200 OK", body: file.to_vec(), ..answer }
                        .with("ETag", "\"two\"")
                } else if asked.number == PAYLOAD {
                    answer.cut(1_000_000, Then::Reset)
                } else {
                    answer
                }
            },
            26,
            "has changed",
            false,
        );
    }
    // Another server ignores If-Range.
    refused(
        |asked, file| {
            let tag = if asked.number == 0 { "\"one\"" } else { "\"two\"" };
            Answer::honest(asked, file).with("ETag", tag)
        },
        26,
        "has changed",
        false,
    );
}

#[test]
fn packed_answers_are_refused() {
    refused(
        |asked, file| Answer::honest(asked, file).with("Content-Encoding", "gzip"),
        26,
        "packed (gzip)",
        true,
    );
}

#[test]
fn a_wrong_byte_is_never_in_a_slot_that_boots() {
    refused(
        |asked, file| {
            let mut answer = Answer::honest(asked, file);
            if asked.number == PAYLOAD {
                let middle = answer.body.len() / 2;
                answer.body[middle] ^= 1;
            }
            answer
        },
        12,
        "does not match its hash",
        false,
    );
    // The wrong byte is in the tail, so the agent believes nothing.
    refused(
        |asked, file| {
            let mut answer = Answer::honest(asked, file);
            if asked.number == 0 {
                let length = answer.body.len();
                answer.body[length - 300] ^= 1;
            }
            answer
        },
        11,
        "",
        true,
    );
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let began = Instant::now();
    let asked = completed(|asked, file| match asked.number {
        0 => Answer::of("503 Service Unavailable").with("Retry-After", "1"),
        _ => Answer::honest(asked, file),
    });
    assert_eq!(asked[1].header("range"), Some("bytes=-65536"));
    assert!(began.elapsed().as_secs_f64() >= 1.0);
    refused(
        |_, _| Answer::of("503 Service Unavailable").with("Retry-After", "86400"),
        25,
        "asks to come back after 86400 s",
        true,
    );
}

#[test]
fn an_address_with_nothing_behind_it_is_refused_at_once() {
    refused(|_, _| Answer::of("404 Not Found"), 26, "404 (Not Found); is the address right?", true);
    refused(|_, _| Answer::of("403 Forbidden"), 26, "headers and client-cert", true);
    let (bench, _, _) = bench_and_bundle();
    let server = Server::honest(Vec::new());
    let url = server.url();
    drop(server);
    bench.run(&["install", &url]).refused(25, "given up after 3 tries");
    bench.run(&["install", "http://"]).refused(2, "address");
}

#[test]
fn redirects_are_followed_but_not_in_circles() {
    let asked = completed(|asked, file| match asked.target.as_str() {
        "/new.daruma" => Answer::to("there/"),
        "/there/" => Answer::to("/moved?x=y"),
        "/moved?x=y" => Answer::honest(asked, file),
        _ => Answer::of("404 Not Found"),
    });
    // The agent remembers the address where it found the bundle.
    assert_eq!(asked.iter().filter(|asked| asked.target == "/new.daruma").count(), 1);
    refused(
        |asked, _| Answer::to(format!("{}x", asked.target)),
        26,
        "redirects more than 5 times",
        true,
    );
    refused(|_, _| Answer::of("302 Found"), 26, "redirects to nowhere", true);
    refused(|_, _| Answer::to("file:///etc/passwd"), 26, "address that cannot be used", true);
}

#[test]
fn another_host_is_not_told_what_is_for_the_first() {
    let (bench, made, file) = bench_and_bundle();
    bench.config(&format!(
        "{QUICK}headers = {{ Authorization = \"Bearer secret\", X-Device = \"7\" }}\n"
    ));
    let other = Server::honest(file.to_vec());
    let there = other.url();
    let server = Server::start(move |_| Answer::to(&there));
    install(&bench, &server).succeeded();
    assert!(made.is_in_slot_b(&bench));
    assert_eq!(server.asked()[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(server.asked()[0].header("x-device"), Some("7"));
    for asked in other.asked() {
        assert_eq!((asked.header("authorization"), asked.header("x-device")), (None, None));
    }
}

#[test]
fn an_install_that_would_fetch_too_much_is_refused_before_the_slot_is_touched() {
    let (bench, made, file) = bench_and_bundle();
    bench.config(&format!("{QUICK}byte-budget = 2000000\n"));
    let before = bench.untouchables();
    let server = Server::honest(file.to_vec());
    install(&bench, &server).refused(27, "byte-budget of [pull] allows 2.00 MB");
    assert!(before == bench.untouchables());
    assert!(server.sent() <= 65_536);
    bench.config(&format!("{QUICK}byte-budget = {}\n", file.len() + 65_536));
    install(&bench, &server).succeeded();
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn a_rate_limit_is_kept() {
    let (bench, made, file) = bench_and_bundle();
    bench.config(&format!("{QUICK}rate-limit-bytes-per-s = 5000000\n"));
    let server = Server::honest(file.to_vec());
    let began = Instant::now();
    install(&bench, &server).succeeded();
    let least = file.len() as f64 / 5_000_000.0;
    assert!(began.elapsed().as_secs_f64() >= least, "{:?}", began.elapsed());
    assert!(made.is_in_slot_b(&bench));
}

#[test]
fn ctrl_c_stops_an_install_that_waits_for_the_network() {
    let (bench, _, file) = bench_and_bundle();
    bench.config("[pull]\nlow-speed-s = 60\n");
    let server = Server::start(move |asked| {
        let answer = Answer::honest(asked, &file);
        if asked.number == PAYLOAD { answer.cut(100_000, Then::Stall) } else { answer }
    });
    let mut command = bench.command(&["install", &server.url()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    while !line.contains("to fetch") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
    }
    let began = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    Ended::of(child).refused(130, "Ctrl-C");
    assert!(began.elapsed().as_secs() < 10);
    assert_eq!(bench.state().select().slot, Some(Slot::A));
}

#[test]
fn a_proxy_is_asked_for_the_whole_address() {
    let (bench, made, file) = bench_and_bundle();
    let proxy = Server::start(move |asked| match asked.header("proxy-authorization") {
        Some("Basic bWU6c2VjcmV0") => Answer::honest(asked, &file),
        _ => Answer::of("407 Proxy Authentication Required"),
    });
    let address = format!("127.0.0.1:{}", proxy.port());
    bench.config(&format!("{QUICK}proxy = \"http://me:secret@{address}\"\n"));
    bench.run(&["install", "http://bundles.example.org/new.daruma"]).succeeded();
    assert!(made.is_in_slot_b(&bench));
    for asked in proxy.asked() {
        assert_eq!(asked.target, "http://bundles.example.org/new.daruma");
        assert_eq!(asked.header("host"), Some("bundles.example.org"));
    }
    bench.config(QUICK);
    let mut command = bench.command(&["install", "http://bundles.example.org/new.daruma"]);
    let child =
        command.env("http_proxy", address).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    Ended::of(child.unwrap()).refused(26, "put user and password into proxy of [pull]");
}

#[test]
fn a_document_is_fetched_once_and_within_its_limit() {
    let bench = Bench::new();
    let device = agent::Device::at(&bench.path("")).unwrap();
    let pull = agent::Config::parse("[pull]\nproxy = \"direct\"\ntries = 1\nlow-speed-s = 1\n")
        .unwrap()
        .pull;
    let server =
        Server::start(|asked| match (asked.target.as_str(), asked.header("if-none-match")) {
            ("/new.daruma", Some("\"7\"")) => {
                Answer::of("304 Not Modified").without("Content-Length")
            }
            ("/new.daruma", _) => Answer { body: vec![b'x'; 1000], ..Answer::of("200 OK") }
                .with("Content-Length", 1000)
                .with("ETag", "\"7\""),
            ("/endless", _) => {
                Answer { then: Then::Endless, ..Answer::of("200 OK").without("Content-Length") }
            }
            ("/slow", _) => Answer { body: vec![b'x'], ..Answer::of("200 OK") }
                .with("Content-Length", 9)
                .cut(1, Then::Stall),
            _ => Answer::of("404 Not Found"),
        });
    let never = agent::Interrupt::never();
    let fetch = |path: &str, limit, etag| {
        let url = server.url().replace("/new.daruma", path);
        agent::fetch(&device, &pull, &url, limit, etag, None, &never)
    };
    let expected = agent::Document::Is { bytes: vec![b'x'; 1000], etag: Some("\"7\"".to_owned()) };
    assert_eq!(fetch("/new.daruma", 1000, None), Ok(expected));
    assert_eq!(fetch("/new.daruma", 1000, Some("\"7\"")), Ok(agent::Document::Unchanged));
    assert_eq!(fetch("/missing", 1000, None), Ok(agent::Document::Missing));
    assert_eq!(server.asked().len(), 3);
    for (path, exit, part) in [
        ("/new.daruma", agent::Exit::Server, "longer than 999 bytes"),
        ("/endless", agent::Exit::Server, "longer than 999 bytes"),
        ("/slow", agent::Exit::Network, "came in 1 s"),
    ] {
        let failure = fetch(path, 999, None).unwrap_err();
        assert_eq!(failure.exit, exit, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
}
