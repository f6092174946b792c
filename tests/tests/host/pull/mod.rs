//! `daruma install URL` from a real nginx: what the agent fetches, and how it survives a bad link.
//!
//! `Server` runs nginx, and `fleet` tests devices that follow a channel. The device is a folder.

mod fleet;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;
use tests::folder_device::FolderDevice;
use tests::ordinary_user::as_root;
use tests::server::{Place, Request, Server};

/// Two versions that come from one root filesystem.
const TINY: [&str; 2] = ["tests/recipes/tiny.yaml"; 2];
/// The real router, from trixie alone and with the updates of trixie.
const ROUTER: [&str; 2] = ["tests/recipes/demo-1.yaml", "tests/recipes/demo-2.yaml"];

/// Version 1.0.0 on a device, and version 2.0.0 in a folder for a server.
struct Story {
    fixture: Fixture,
    device: FolderDevice,
    bundle: PathBuf,
    dir: tempfile::TempDir,
}

impl Story {
    fn new(recipes: [&str; 2]) -> Result<Self> {
        let fixture = Fixture::open()?;
        let disk = fixture.disk(&fixture.bundle(recipes[0], "1.0.0")?)?;
        let bundle = fixture.bundle(recipes[1], "2.0.0")?;
        let dir = tempfile::tempdir()?;
        let device = FolderDevice::new(&fixture, &dir.path().join("device"), &disk)?;
        fs::create_dir(dir.path().join("www"))?;
        fs::copy(&bundle, dir.path().join("www/update.daruma"))?;
        Ok(Self { fixture, device, bundle, dir })
    }

    fn nginx(&self, place: &Place, rate: Option<u64>) -> Result<Server> {
        let dir = self.dir.path();
        Server::nginx(&self.fixture, place, &dir.join("www"), &dir.join("nginx"), rate)
    }

    /// Checks that version 2.0.0 is in the slot that does not run, and will be booted.
    fn expect_installed(&self) -> Result<()> {
        self.device.expect_installed(&self.fixture, &self.bundle)
    }
}

fn success(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {text}", output.status);
    Ok(text)
}

fn bytes(requests: &[Request]) -> u64 {
    requests.iter().map(|request| request.bytes).sum()
}

#[test]
fn an_install_fetches_what_the_running_slot_lacks_in_few_requests() -> Result<()> {
    let story = Story::new(TINY)?;
    let server = story.nginx(&Place::here(), None)?;
    let text = success(&mut story.device.command(&["install", &server.url("update.daruma")]))?;
    println!("{text}");
    story.expect_installed()?;
    let requests = server.requests()?;
    let size = fs::metadata(&story.bundle)?.len();
    println!("{} requests, {} of {size} bytes", requests.len(), bytes(&requests));
    ensure!(requests.len() <= 200, "{} requests", requests.len());
    ensure!(requests.iter().all(|request| request.status == 206), "{requests:?}");
    // Both versions come from one root filesystem, so the device lacks only names and versions.
    ensure!(bytes(&requests) < size / 2, "{} of {size} bytes were fetched", bytes(&requests));
    Ok(())
}

/// Kills the agent ten times at moments that spread over the download, then lets it finish.
#[test]
fn ten_kills_cost_next_to_nothing() -> Result<()> {
    let story = Story::new(ROUTER)?;
    // The device has nothing to copy, so everything must come from the server.
    story.device.forget_content()?;
    let size = fs::metadata(&story.bundle)?.len();
    let rate = size / 6;
    let server = story.nginx(&Place::here(), None)?;
    success(&mut story.device.command(&["install", &server.url("update.daruma")]))?;
    let undisturbed = bytes(&server.requests()?);
    story.expect_installed()?;

    let second = Story::new(ROUTER)?;
    second.device.forget_content()?;
    let server = second.nginx(&Place::here(), Some(rate))?;
    // The seed is fixed. The moments look random and are the same in every run.
    let mut seed = 20_261_121_u64;
    println!("seed {seed}");
    let mut kills = 0;
    while kills < 10 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis(400 + (seed >> 33) % 400);
        let mut child = second
            .device
            .command(&["install", &server.url("update.daruma")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(moment);
        ensure!(child.try_wait()?.is_none(), "the download was over after {kills} kills");
        child.kill()?;
        child.wait()?;
        second.device.expect_not_bootable()?;
        kills += 1;
    }
    success(&mut second.device.command(&["install", &server.url("update.daruma")]))?;
    second.expect_installed()?;
    let all = bytes(&server.requests()?);
    let share = all as f64 / undisturbed as f64;
    println!("{kills} kills: {all} bytes in all, {undisturbed} undisturbed: {share:.3} ×");
    ensure!(share <= 1.05, "{kills} kills cost {share:.3} times the bytes");
    Ok(())
}

/// Two network namespaces and a cable between them. They are removed when this value is dropped.
struct Network {
    client: String,
    server: String,
}

/// The address of the server, and the two addresses that the client has one after the other.
const SERVER: [u8; 4] = [10, 77, 0, 1];
const CLIENT: [&str; 2] = ["10.77.0.2/24", "10.77.0.3/24"];

impl Network {
    fn new() -> Result<Self> {
        let id = std::process::id();
        let network = Self { client: format!("daruma-c{id}"), server: format!("daruma-s{id}") };
        for name in [&network.client, &network.server] {
            ip(&["netns", "add", name])?;
        }
        let (client, server) = (network.client.as_str(), network.server.as_str());
        ip(&[
            "-n", client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
            server,
        ])?;
        ip(&["-n", client, "addr", "add", CLIENT[0], "dev", "eth0"])?;
        ip(&["-n", server, "addr", "add", "10.77.0.1/24", "dev", "eth0"])?;
        for name in [client, server] {
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        Ok(network)
    }

    /// Drops `percent` of each hundred packets to the client, at random.
    fn lose(&self, percent: u32) -> Result<()> {
        let rules = format!(
            "table inet loss {{\n chain input {{\n  type filter hook input priority 0;\n  \
             numgen random mod 100 < {percent} drop\n }}\n}}\n"
        );
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), rules)?;
        let place = Place { namespace: Some(self.client.clone()), address: SERVER.into() };
        success(place.command(Path::new("/usr/sbin/nft")).arg("-f").arg(file.path()))?;
        Ok(())
    }

    /// Gives the client another address, as another provider would. Its connections then hang.
    fn change_address(&self) -> Result<()> {
        ip(&["-n", &self.client, "addr", "del", CLIENT[0], "dev", "eth0"])?;
        ip(&["-n", &self.client, "addr", "add", CLIENT[1], "dev", "eth0"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            // It is no error if the namespace is already gone.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    success(as_root("/usr/sbin/ip").args(words)).map(drop)
}

#[test]
fn lost_packets_and_a_changed_address_only_delay_an_install() -> Result<()> {
    let story = Story::new(TINY)?;
    story.device.configure("[pull]\nlow-speed-s = 2\n")?;
    // All content must come over the network.
    story.device.forget_content()?;
    let network = Network::new()?;
    network.lose(5)?;
    let place = Place { namespace: Some(network.server.clone()), address: SERVER.into() };
    let rate = fs::metadata(&story.bundle)?.len() / 4;
    let server = story.nginx(&place, Some(rate))?;
    let client = Place { namespace: Some(network.client.clone()), address: SERVER.into() };
    let mut command = client.command(story.device.program());
    command.args(story.device.arguments(&["install", &server.url("update.daruma")]));
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_millis(1500));
    network.change_address()?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the install ended with {}: {said}", output.status);
    story.expect_installed()?;
    let requests = server.requests()?;
    let size = fs::metadata(&story.bundle)?.len();
    println!("{} requests, {} bytes for a bundle of {size}", requests.len(), bytes(&requests));
    ensure!(requests.iter().any(|request| request.status == 206 && request.bytes < size / 2));
    Ok(())
}
