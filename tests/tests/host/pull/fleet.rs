//! Devices in folders follow a channel in Debian's registry or on nginx, by chunks and by deltas.
//!
//! `Publisher` makes the channel, `Server` runs the servers, and `SlowLink` counts the bytes. The
//! agent is the real program.

use std::fs;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use bundle::{Bundle, ImageName, Keyring};
use image_layout::{Amount, FileDisk};
use serde_json::Value;
use tests::fixture::Fixture;
use tests::folder_device::FolderDevice;
use tests::publisher::Publisher;
use tests::server::{Place, Request, Server};
use tests::slow_link::SlowLink;

use crate::pull::{TINY, bytes, success};

/// A channel with the version that devices run, the next version, and the delta between them.
struct Fleet {
    fixture: Fixture,
    publisher: Publisher,
    disk: PathBuf,
    bundle: PathBuf,
    dir: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Result<Self> {
        let fixture = Fixture::open()?;
        let first = fixture.bundle(TINY[0], "1.0.0")?;
        let (disk, bundle) = (fixture.disk(&first)?, fixture.bundle(TINY[1], "2.0.0")?);
        let dir = tempfile::tempdir()?;
        let publisher = Publisher::new(&fixture, dir.path())?;
        publisher.publish(&first, &[])?;
        publisher.publish(&bundle, &["--deltas", "1"])?;
        Ok(Self { fixture, publisher, disk, bundle, dir })
    }

    /// Makes a device as it leaves the factory. It follows the channel at `url`.
    fn device(&self, name: &str, url: &str) -> Result<FolderDevice> {
        let device = FolderDevice::new(&self.fixture, &self.dir.path().join(name), &self.disk)?;
        device.follow(&self.publisher.path("repo"), url)?;
        Ok(device)
    }

    fn nginx(&self, name: &str) -> Result<Server> {
        let (repo, dir) =
            (self.publisher.path("repo"), self.dir.path().join(format!("{name}.nginx")));
        Server::nginx(&self.fixture, &Place::here(), repo.as_ref(), &dir, None)
    }

    fn expect_installed(&self, device: &FolderDevice) -> Result<()> {
        device.expect_installed(&self.fixture, &self.bundle)
    }

    /// Checks that no byte of the root image's dm-verity tree was asked for.
    fn expect_no_tree_fetched(&self, requests: &[Request]) -> Result<()> {
        let keyring = Keyring::load(&self.fixture.key("keyring"))?;
        let bundle = Bundle::open(FileDisk::open_read_only(&self.bundle)?, &keyring)?;
        let root = bundle.manifest().image(ImageName::ROOT).context("no root image")?;
        let verity = root.verity.context("no dm-verity tree")?;
        let tree = root.offset + verity.size..root.offset + root.size;
        let mut parts = 0;
        for request in requests.iter().filter(|request| request.path.ends_with(".daruma")) {
            let ranges = request.range.strip_prefix("bytes=").unwrap_or_default().split(',');
            for (begin, end) in ranges.filter_map(|range| range.trim().split_once('-')) {
                // A range without a beginning is the tail.
                let Ok(begin) = begin.parse::<u64>() else { continue };
                let end: u64 = end.parse()?;
                parts += 1;
                ensure!(end < tree.start || begin >= tree.end, "{begin}-{end} is in {tree:?}");
            }
        }
        ensure!(parts > 0, "nothing was fetched instead of the delta: {requests:?}");
        Ok(())
    }

    /// Returns the release 2.0.0 as the channel lists it.
    fn release(&self) -> Result<Value> {
        let text = fs::read(self.publisher.path("repo/stable.channel.json"))?;
        let document = serde_json::Deserializer::from_slice(&text).into_iter::<Value>().next();
        let document = document.context("an empty channel")??;
        let releases = document["releases"].as_array().context("no releases")?;
        let release = releases.iter().find(|release| release["version"] == "2.0.0");
        release.cloned().context("2.0.0 is not in the channel")
    }

    fn delta(&self) -> Result<PathBuf> {
        let release = self.release()?;
        let url = release["deltas"][0]["url"].as_str().context("no delta")?;
        Ok(self.publisher.path(&format!("repo/{url}")).into())
    }

    /// Starts Debian's registry and pushes the channel with the delta to it.
    fn registry(&self) -> Result<(Server, String)> {
        let registry = Server::registry(&self.fixture, &self.dir.path().join("registry"))?;
        let name = "fleet/tiny".to_owned();
        let to = format!("oci://{}/{name}", registry.address());
        self.publisher.run(&["push", &self.publisher.path("repo"), &to])?;
        self.publisher.run(&["push", &self.bundle.display().to_string(), &format!("{to}:test")])?;
        Ok((registry, name))
    }
}

fn at_link(link: &SlowLink, name: &str) -> String {
    format!("oci://{}/{name}", link.address())
}

/// Runs `words` on `device` and kills it when `link` has brought `brought` bytes.
fn kill_at(device: &FolderDevice, words: &[&str], link: &SlowLink, brought: u64) -> Result<()> {
    let mut child = device
        .command(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting daruma")?;
    while link.brought() < brought {
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            BufReader::new(child.stderr.take().context("its stderr")?).read_to_string(&mut said)?;
            anyhow::bail!("it ended with {status} after {} bytes: {said}", link.brought());
        }
        std::thread::yield_now();
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn of(requests: &[Request], end: &str) -> u64 {
    bytes(
        &requests.iter().filter(|request| request.path.ends_with(end)).cloned().collect::<Vec<_>>(),
    )
}

#[test]
fn a_device_follows_a_channel_in_debians_registry_and_fetches_only_what_is_missing() -> Result<()> {
    let fleet = Fleet::new()?;
    let size = fs::metadata(&fleet.bundle)?.len();
    // The delta is removed, so the device asks for ranges of the bundle.
    fs::remove_file(fleet.delta()?)?;
    let (registry, name) = fleet.registry()?;
    let link = SlowLink::to(registry.address(), None)?;
    let device = fleet.device("follows", &at_link(&link, &name))?;
    let said = success(&mut device.command(&["check"]))?;
    ensure!(
        said.contains("tiny 2.0.0") && said.contains("is to be installed over 1.0.0"),
        "{said}"
    );
    let said = success(&mut device.command(&["update"]))?;
    ensure!(said.contains("installed 2.0.0 into slot B"), "{said}");
    fleet.expect_installed(&device)?;
    println!("check and update by channel: {} of {size} bytes", link.brought());
    ensure!(link.brought() < size / 2, "{} of {size} bytes were fetched", link.brought());

    // Another device installs by a tag. It, too, can copy most of the content.
    let link = SlowLink::to(registry.address(), None)?;
    let device = fleet.device("by-tag", &at_link(&link, &name))?;
    success(&mut device.command(&["install", &format!("{}:test", at_link(&link, &name))]))?;
    fleet.expect_installed(&device)?;
    println!("install by tag: {} of {size} bytes", link.brought());
    ensure!(link.brought() < size / 2, "{} of {size} bytes were fetched", link.brought());
    Ok(())
}

#[test]
fn an_update_from_debians_registry_goes_on_where_it_was_killed() -> Result<()> {
    let fleet = Fleet::new()?;
    fs::remove_file(fleet.delta()?)?;
    let (registry, name) = fleet.registry()?;
    let link = SlowLink::to(registry.address(), None)?;
    let device = fleet.device("undisturbed", &at_link(&link, &name))?;
    // The device has nothing to copy, so all content must come from the registry.
    device.forget_content()?;
    success(&mut device.command(&["update"]))?;
    fleet.expect_installed(&device)?;
    let undisturbed = link.brought();
    let size = fs::metadata(&fleet.bundle)?.len();
    ensure!(
        undisturbed > size / 2,
        "{undisturbed} of {size} bytes came: that is no whole download"
    );

    let link = SlowLink::to(registry.address(), Some(undisturbed / 6))?;
    let device = fleet.device("killed", &at_link(&link, &name))?;
    device.forget_content()?;
    kill_at(&device, &["update"], &link, undisturbed / 2)?;
    device.expect_not_bootable()?;
    success(&mut device.command(&["update"]))?;
    fleet.expect_installed(&device)?;
    let share = link.brought() as f64 / undisturbed as f64;
    println!(
        "killed once: {} bytes in all, {undisturbed} undisturbed: {share:.3} ×",
        link.brought()
    );
    ensure!(share <= 1.05, "a kill cost {share:.3} times the bytes");
    Ok(())
}

#[test]
fn a_blob_that_the_registry_has_damaged_does_not_reach_the_slot() -> Result<()> {
    let fleet = Fleet::new()?;
    fs::remove_file(fleet.delta()?)?;
    let (registry, name) = fleet.registry()?;
    let content = fs::read(&fleet.bundle)?;
    let hex = bundle::Sha256::of(&content).to_string();
    let blob = format!("registry/blobs/docker/registry/v2/blobs/sha256/{hex:.2}/{hex}/data");
    let mut damaged = content;
    // The damage is in the middle of a chunk. The device must fetch that chunk, because it has
    // nothing to copy.
    damaged[2_000_000] ^= 1;
    fs::write(fleet.dir.path().join(blob), damaged)?;
    let link = SlowLink::to(registry.address(), None)?;
    let device = fleet.device("damaged", &at_link(&link, &name))?;
    device.forget_content()?;
    let output = device.command(&["update"]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(12), "{} {said}", output.status);
    device.expect_not_bootable()
}

#[test]
fn a_device_from_the_factory_takes_the_delta_and_says_what_that_saves() -> Result<()> {
    let fleet = Fleet::new()?;
    let release = fleet.release()?;
    let number = |value: &Value| value.as_u64().context("no number");
    let (tail, delta) = (number(&release["tail"])?, number(&release["deltas"][0]["size"])?);
    let server = fleet.nginx("delta")?;
    let device = fleet.device("delta", &server.url(""))?;
    let said = success(&mut device.command(&["update"]))?;
    println!("{said}");
    let by_delta = format!("a delta of {} (instead of ", Amount(delta));
    ensure!(
        said.contains(&by_delta) && said.contains(" by chunks, ") && said.contains(" in full)"),
        "{said}"
    );
    fleet.expect_installed(&device)?;
    let requests = server.requests()?;
    let (by_delta, of_bundle) = (of(&requests, ".delta"), of(&requests, ".daruma"));
    // The figure includes the heads of answers, and one byte that the agent asks for beforehand.
    ensure!(
        by_delta >= delta && by_delta < delta + 2000,
        "{by_delta} bytes for a delta of {delta}"
    );
    ensure!(of_bundle < tail + 2000, "{of_bundle} bytes of the bundle, whose tail has {tail}");

    // Another device updates without the delta.
    fs::remove_file(fleet.delta()?)?;
    let server = fleet.nginx("chunks")?;
    let device = fleet.device("chunks", &server.url(""))?;
    success(&mut device.command(&["update"]))?;
    fleet.expect_installed(&device)?;
    let (with, without) = (bytes(&requests), bytes(&server.requests()?));
    println!("fetched with the delta {with} bytes, without {without}");
    ensure!(with < without, "{with} bytes with the delta, {without} without");
    Ok(())
}

/// Offset of the hash that names the old bundle, in bytes from the start of a delta.
const OLD_HASH: usize = 24;

#[test]
fn a_delta_that_cannot_be_used_costs_one_line_and_the_update_comes_as_chunks() -> Result<()> {
    let fleet = Fleet::new()?;
    let path = fleet.delta()?;
    let good = fs::read(&path)?;
    let middle = good.len() / 2;
    let change = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        Some(bytes)
    };
    let cases = [
        ("missing", None, "the update goes on without this delta"),
        ("truncated", Some(good[..middle].to_vec()), "bytes, and the channel says"),
        ("of another pair", change(OLD_HASH), "it is for a device that runs another system"),
        ("of another zstd", change(20), "it needs zstd "),
        ("damaged in the middle", change(middle), "the rest comes as chunks of the bundle"),
        ("damaged at its end", change(good.len() - 1), "the rest comes as chunks of the bundle"),
    ];
    for (what, bytes, line) in cases {
        match bytes {
            Some(bytes) => fs::write(&path, bytes)?,
            None => fs::remove_file(&path)?,
        }
        // nginx takes no blanks in a path.
        let name = what.replace(' ', "-");
        let server = fleet.nginx(&name)?;
        let device = fleet.device(&name, &server.url(""))?;
        let said = success(&mut device.command(&["update"]))?;
        let of_the_delta = |line: &&str| {
            line.contains("goes on without this delta") || line.contains("chunks of the bundle")
        };
        let lines: Vec<&str> = said.lines().filter(of_the_delta).collect();
        println!("{what}: {lines:?}");
        ensure!(
            lines.len() == 1 && lines[0].contains(line),
            "{what}: {line:?} is not the one line of {said}"
        );
        fleet.expect_installed(&device).with_context(|| format!("a delta that is {what}"))?;
        if what == "damaged in the middle" {
            fleet.expect_no_tree_fetched(&server.requests()?)?;
        }
    }
    Ok(())
}

#[test]
fn an_update_that_is_killed_in_its_delta_is_completed_by_the_shorter_way() -> Result<()> {
    let fleet = Fleet::new()?;
    let server = fleet.nginx("server")?;
    let url = |link: &SlowLink| format!("http://{}/", link.address());
    let link = SlowLink::to(server.address(), None)?;
    let device = fleet.device("undisturbed", &url(&link))?;
    success(&mut device.command(&["update"]))?;
    let undisturbed = link.brought();
    let delta = fs::metadata(fleet.delta()?)?.len();
    for (name, left) in [("early", delta * 9 / 10), ("middle", delta / 2), ("late", delta / 20)] {
        let link = SlowLink::to(server.address(), Some(undisturbed / 3))?;
        let device = fleet.device(name, &url(&link))?;
        kill_at(&device, &["update"], &link, undisturbed - left)?;
        device.expect_not_bootable()?;
        let link = SlowLink::to(server.address(), None)?;
        device.follow(&fleet.publisher.path("repo"), &url(&link))?;
        let said = success(&mut device.command(&["update"]))?;
        fleet.expect_installed(&device)?;
        let way =
            said.lines().find(|line| line.contains("into slot B: ")).context("no way is named")?;
        println!(
            "killed {left} bytes before the end: {way}; {} bytes, {undisturbed} undisturbed",
            link.brought()
        );
        // A killed update never costs more than a new start. The device asks for the root documents
        // once more, because the address has changed.
        ensure!(link.brought() <= undisturbed + 2000, "{name}: {} bytes", link.brought());
    }
    Ok(())
}
