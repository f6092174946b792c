//! Reports about a release to the channel's server, as they stand in its access log.
//!
//! `web_server` keeps the requests. A report is part of the User-Agent of a request for the
//! channel.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bundle::channel::{Outcome, Report};
use image_layout::Slot;

use crate::bench::{Bench, Spec};
use crate::daemon::Daemon;
use crate::publisher::Publisher;
use crate::web_server::{Answer, Server};

/// Returns the reports in the requests for the channel, oldest first.
fn reports(server: &Server) -> Vec<Report> {
    let asked = server.asked();
    let agents =
        asked.iter().map(|asked| (asked.target.as_str(), asked.header("user-agent").unwrap_or("")));
    let told = agents.filter(|(_, agent)| agent.contains("daruma-result"));
    told.map(|(target, agent)| {
        assert_eq!(target, "/stable.channel.json");
        assert!(agent.starts_with("daruma/"), "{agent}");
        Report::find(agent.as_bytes()).unwrap()
    })
    .collect()
}

/// Installs the offered release, boots it, and lets the daemon commit it.
fn update(bench: &Bench, to: Slot) {
    bench.run(&["update"]).succeeded();
    assert_eq!(bench.boot(), Some(to));
    let mut daemon = Daemon::start(bench);
    daemon.says("healthy and committed");
    daemon.stop().succeeded();
}

fn follow(publisher: &Publisher, bench: &Bench, server: &Server, more: &str) {
    // The daemon does not look by itself. The tests call `check` instead.
    let url = format!("http://127.0.0.1:{}/", server.port());
    publisher.follow(bench, &url, &format!("poll-s = 0\n{more}\n[pull]\ntries = 2\n"));
}

#[test]
fn the_server_is_told_once_what_became_of_a_release_and_not_who_tells() {
    let bench = Bench::new();
    let mut publisher = Publisher::of(&bench);
    let is_down = Arc::new(AtomicBool::new(false));
    let down = is_down.clone();
    let server = publisher.serve(move |_, answer| match down.load(Ordering::SeqCst) {
        true => Answer::of("503 Service Unavailable"),
        false => answer,
    });
    follow(&publisher, &bench, &server, "");
    let good = publisher.offer(&bench.bundle(&Spec::default())).manifest_sha256;
    publisher.put_channel();
    update(&bench, Slot::B);
    assert_eq!(reports(&server), []);

    // The device repeats the report until the server answers, and then stops.
    is_down.store(true, Ordering::SeqCst);
    bench.run(&["check"]).refused(25, "503");
    let unanswered = reports(&server).len();
    assert!(unanswered > 0);
    is_down.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        bench.run(&["check"]).succeeded();
    }
    assert_eq!(reports(&server), vec![Report::new(good, Outcome::Committed); unanswered + 1]);

    // The next release fails.
    let bad = bench.bundle(&Spec { version: "2.0.1", ..Spec::default() });
    let bad = publisher.offer(&bad).manifest_sha256;
    publisher.put_channel();
    bench.run(&["update"]).succeeded();
    assert_eq!(bench.boot(), Some(Slot::A));
    bench.check("10-fails", "exit 3");
    loop {
        Daemon::start(&bench).ends().succeeded();
        if bench.boot() == Some(Slot::B) {
            break;
        }
    }
    fs::remove_file(bench.path("etc/daruma/health.d/10-fails")).unwrap();
    let mut daemon = Daemon::start(&bench);
    daemon.says("slot B is healthy");
    daemon.stop().succeeded();
    for _ in 0..2 {
        bench.run(&["check"]).succeeded();
    }
    let told = reports(&server).split_off(unanswered + 1);
    assert_eq!(told, [Report::new(bad, Outcome::FellBack)]);
    let id = fs::read_to_string(bench.path("etc/machine-id")).unwrap();
    for asked in server.asked() {
        assert!(
            !asked.header("user-agent").unwrap().contains(id.trim()) && !asked.target.contains('?')
        );
    }
}

/// Makes /var of the bench look like memory.
fn var_is_memory(bench: &Bench) {
    fs::create_dir_all(bench.path("proc/self")).unwrap();
    let table = "20 1 0:1 / / rw - squashfs d ro\n21 20 0:22 / /var rw - tmpfs tmpfs rw\n";
    fs::write(bench.path("proc/self/mountinfo"), table).unwrap();
}

#[test]
fn the_server_is_told_at_each_poll_that_var_is_broken() {
    let bench = Bench::new();
    let mut publisher = Publisher::of(&bench);
    let server = publisher.serve(|_, answer| answer);
    follow(&publisher, &bench, &server, "");
    publisher.offer(&bench.bundle(&Spec::default()));
    publisher.put_channel();
    bench.run(&["check"]).succeeded();
    var_is_memory(&bench);
    bench.run(&["check"]).succeeded();
    bench.run(&["check"]).succeeded();
    let asked = server.asked();
    let words: Vec<_> = asked
        .iter()
        .filter(|asked| asked.target == "/stable.channel.json")
        .map(|asked| asked.header("user-agent").unwrap().split_once(' ').map(|(_, word)| word))
        .collect();
    assert_eq!(words[words.len() - 2..], [Some("daruma-var/missing"); 2], "{words:?}");
    assert!(words[..words.len() - 2].iter().all(Option::is_none), "{words:?}");
    assert!(
        asked
            .iter()
            .filter(|asked| asked.header("user-agent").unwrap().contains("-var/"))
            .all(|asked| asked.target == "/stable.channel.json")
    );
}

#[test]
fn a_device_that_is_told_not_to_tells_nothing() {
    let bench = Bench::new();
    let mut publisher = Publisher::of(&bench);
    let server = publisher.serve(|_, answer| answer);
    follow(&publisher, &bench, &server, "report = false");
    publisher.offer(&bench.bundle(&Spec::default()));
    publisher.put_channel();
    update(&bench, Slot::B);
    var_is_memory(&bench);
    bench.run(&["check"]).succeeded();
    assert_eq!(reports(&server), []);
    let told = |word| {
        server.asked().iter().any(|asked| asked.header("user-agent").unwrap().contains(word))
    };
    assert!(!told("daruma-var"));
}
