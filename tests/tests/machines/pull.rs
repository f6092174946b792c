//! A real Debian router follows a channel on a real web server.
//!
//! `Publisher` publishes the releases, and `Server` runs nginx. The daemon installs a good release
//! by itself, and then comes back from a bad one.

use std::fs;

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::publisher::Publisher;
use tests::server::{Place, Request, Server};
use tests::story;
use tests::vm::{HOST_NETWORK, Vm};

use crate::says::status;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 600;

fn ready(vm: &mut Vm) -> Result<()> {
    vm.expect_all(&["router# ", "is healthy"], BOOT)?;
    vm.run("dmesg -n 1", 60)?.success()?;
    Ok(())
}

fn expect_committed(vm: &mut Vm, slot: &str, version: &str) -> Result<()> {
    let status = status(vm)?;
    ensure!(
        status["running"] == slot && status["version"] == version && status["state"] == "committed",
        "expected a committed {version} in slot {slot}, and found {status}"
    );
    Ok(())
}

/// Types a file into the guest.
fn put(vm: &mut Vm, path: &str, text: &str) -> Result<()> {
    // The lines are short, because the input of a serial console has a limit.
    vm.run(&format!(": >{path}"), 60)?.success()?;
    for line in text.lines() {
        let line = line.replace('\'', "'\\''");
        vm.run(&format!("printf '%s\\n' '{line}' >>{path}"), 60)?.success()?;
    }
    Ok(())
}

#[test]
fn a_debian_router_finds_its_update_pulls_the_delta_commits_and_leaves_a_bad_release_alone()
-> Result<()> {
    let fixture = Fixture::open()?;
    let recipe = |number: u32| format!("tests/recipes/demo-{number}.yaml");
    let first = fixture.bundle(&recipe(1), "1.0.0")?;
    let (good, bad) = (fixture.bundle(&recipe(2), "2.0.0")?, fixture.bundle(&recipe(3), "3.0.0")?);
    let dir = tempfile::tempdir()?;
    let publisher = Publisher::new(&fixture, dir.path())?;
    publisher.publish(&first, &[])?;
    publisher.publish(&good, &["--deltas", "1"])?;
    let repo = dir.path().join("repo");
    let server = Server::nginx(&fixture, &Place::here(), &repo, &dir.path().join("nginx"), None)?;

    let (_, mut vm) = story::FIRST.resume(&fixture, dir.path(), &[], &HOST_NETWORK)?;
    vm.run("dmesg -n 1", 60)?.success()?;
    expect_committed(&mut vm, "A", "1.0.0")?;
    put(&mut vm, "/etc/daruma/root.json", &fs::read_to_string(repo.join("root.json"))?)?;
    let port = server.address().port();
    let channel =
        format!("[channel]\nurl = \"http://10.0.2.2:{port}/\"\npoll-s = 20\njitter-s = 0\n");
    put(&mut vm, "/etc/daruma/daruma.toml", &channel)?;
    vm.type_line("sync; systemctl restart daruma")?;

    // From here on nobody gives the device a command to update.
    vm.expect("slot B, try 1 of 3 (on trial)", BOOT)?;
    ready(&mut vm)?;
    expect_committed(&mut vm, "B", "2.0.0")?;
    println!("{}", vm.run("daruma status; daruma channel; daruma check", 120)?.text);

    publisher.publish(&bad, &[])?;
    for attempt in 1..=3 {
        vm.expect(&format!("slot A, try {attempt} of 3"), BOOT)?;
        vm.expect("giving up (broken on purpose)", BOOT)?;
    }
    vm.expect("slot B, try 1 of 9", BOOT)?;
    ready(&mut vm)?;
    expect_committed(&mut vm, "B", "2.0.0")?;
    let check = vm.run("daruma check", 120)?.text;
    println!("{check}");
    ensure!(check.contains("failed on this device before"), "{check}");
    // In this time the daemon looks at the channel at least twice more.
    vm.run("sleep 50", 120)?.success()?;
    expect_committed(&mut vm, "B", "2.0.0")?;
    let state = status(&mut vm)?;
    ensure!(state["slots"]["A"]["ok"] == false, "the bad release was installed again: {state}");
    vm.cut_power()?;
    judge(&server.requests()?, fs::metadata(&good)?.len())
}

/// Checks the requests that the server saw.
fn judge(requests: &[Request], full: u64) -> Result<()> {
    let of =
        |part: &'static str| requests.iter().filter(move |request| request.path.contains(part));
    let bytes = |part: &'static str| of(part).map(|request| request.bytes).sum::<u64>();
    for request in requests.iter().filter(|request| request.bytes > 10_000) {
        println!("{} {} {} {}", request.path, request.status, request.bytes, request.range);
    }
    let deltas = bytes(".delta");
    let good = bytes("2.0.0");
    println!(
        "2.0.0: {good} bytes of {full} fetched ({:.1} %), {deltas} of them a delta",
        good as f64 * 100.0 / full as f64
    );
    ensure!(deltas > 0, "no delta was fetched");
    ensure!(good < full / 4, "{good} of {full} bytes were fetched");
    let looks: Vec<u64> = of("channel.json")
        .filter(|request| request.status == 304)
        .map(|request| request.bytes)
        .collect();
    println!(
        "{} looks at an unchanged channel, at most {:?} bytes each",
        looks.len(),
        looks.iter().max()
    );
    ensure!(looks.iter().all(|bytes| *bytes < 1000) && looks.len() >= 2, "{looks:?}");
    let pulled = of("3.0.0").filter(|request| request.range.starts_with("bytes=-")).count();
    ensure!(pulled == 1, "3.0.0 was opened {pulled} times");
    Ok(())
}
