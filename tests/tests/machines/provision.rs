//! One router image and the credentials of each device make devices that answer.
//!
//! Each device gets its host name, an address on the LAN and a key for root. A device answers if
//! its key logs in over SSH at its address. `grub/tests/credentials.rs` has what may be wrong with
//! the partition.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use grub_env::CredentialStore;
use image_layout::{FileDisk, PartitionTable};
use tests::fixture::Fixture;
use tests::stick;
use tests::story::FIRST;
use tests::vm::{Firmware, Machine, Vm, data_disk};

use crate::says::status;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 600;
/// The card joins the LAN, where the router answers.
const LINK: &str = "[Match]\nMACAddress=52:54:00:12:34:56\n[Link]\nName=lan0\n";

/// A value that nothing in the system asks for.
const SECRET: &str = "never-to-be-kept";

/// What a device is asked over SSH.
const COMMAND: &str = "hostname && cat /run/credentials/@system/vm.token";

/// What one device gets.
struct Credentials {
    number: u8,
    key: PathBuf,
    /// The name, and a file with the value
    files: Vec<(&'static str, PathBuf)>,
}

impl Credentials {
    fn make(dir: &Path, number: u8) -> Result<Self> {
        let dir = dir.join(format!("device-{number}"));
        fs::create_dir(&dir)?;
        let key = dir.join("key");
        tool(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
        let network = format!(
            "[Match]\nName=br-lan\n[Network]\nAddress=192.168.1.{number}/24\n\
             ConfigureWithoutCarrier=yes\n"
        );
        let values = [
            ("system.hostname", format!("router-{number}")),
            ("network.link.05-lan", LINK.to_owned()),
            ("network.network.05-br-lan", network),
            ("app.token", format!("{SECRET}-{number}")),
            ("ssh.authorized_keys.root", fs::read_to_string(key.with_extension("pub"))?),
        ];
        let file = |(name, value): (&'static str, String)| {
            let path = dir.join(name);
            fs::write(&path, value)?;
            Ok((name, path))
        };
        let files = values.map(file).into_iter().collect::<Result<_>>()?;
        Ok(Self { number, key, files })
    }

    /// Copies them with mtools into the folder of the partition at `place` of an image, and more
    /// files.
    fn copy_into(&self, image: &Path, place: u64, more: &[(&str, &Path)]) -> Result<()> {
        let partition = format!("{}@@{place}", image.display());
        let own = self.files.iter().map(|(name, path)| (*name, path.as_path()));
        for (name, path) in own.chain(more.iter().copied()) {
            let target = format!("::/credentials/{name}.cred");
            tool(Command::new("mcopy").args(["-i", &partition]).arg(path).arg(target))?;
        }
        Ok(())
    }

    /// Powers on a device with this disk.
    fn start(&self, disk: PathBuf, data: Option<PathBuf>) -> Result<(Vm, u16)> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = disk.with_extension("log");
        let (format, firmware) = ("raw", Firmware::Bios);
        let machine = Machine { disk, format, data, firmware, size: FIRST.size, log };
        let network = format!(
            "user,id=net0,restrict=on,net=192.168.1.0/24,dhcpstart=192.168.1.200,\
             hostfwd=tcp:127.0.0.1:{port}-192.168.1.{}:22",
            self.number
        );
        // The hypervisor gives one too. systemd reads it by itself.
        let smbios = "type=11,value=io.systemd.credential:vm.token=of-the-hypervisor";
        let options = ["-netdev", &network, "-smbios", smbios];
        Ok((Vm::start_with(&machine, &machine.drive(), &options)?, port))
    }

    /// Waits until the device answers to its key, and fails if it has another name.
    fn expect_answer(&self, vm: &mut Vm, port: u16) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(BOOT);
        loop {
            let options = ["BatchMode=yes", "StrictHostKeyChecking=no", "ConnectTimeout=20"];
            let mut ssh = Command::new("ssh");
            ssh.args(options.map(|option| format!("-o{option}")))
                .args(["-oUserKnownHostsFile=/dev/null", "-F/dev/null", "-oIdentitiesOnly=yes"])
                .arg("-i")
                .arg(&self.key)
                .args(["-p", &port.to_string(), "root@127.0.0.1", COMMAND]);
            let output = ssh.output().context("starting ssh (package openssh-client)")?;
            if output.status.success() {
                let said = String::from_utf8_lossy(&output.stdout);
                let expected = format!("router-{}\nof-the-hypervisor", self.number);
                ensure!(said == expected, "the device says {said:?} and not {expected:?}");
                return Ok(());
            }
            if Instant::now() > deadline {
                let screen = vm.run("systemctl --failed; ip -br addr; ls -la /root/.ssh", 60);
                bail!("{}\n{screen:?}", String::from_utf8_lossy(&output.stderr));
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Damages the FAT32 at `place` of an image: the file's first cluster is marked as free in all
/// copies of the table, so its chain leads nowhere.
fn end_chain(image: &Path, place: u64, file: &str) -> Result<()> {
    let partition = format!("{}@@{place}", image.display());
    let output = Command::new("mshowfat").args(["-i", &partition, file]).output()?;
    let said = String::from_utf8(output.stdout)?;
    let digits = said.split('<').nth(1).and_then(|rest| rest.split(['-', '>', ' ']).next());
    let cluster: u64 = digits.with_context(|| format!("mshowfat says {said:?}"))?.parse()?;
    let image = File::options().read(true).write(true).open(image)?;
    let mut start = [0; 512];
    image.read_exact_at(&mut start, place)?;
    let number = |at: usize| u64::from(u16::from_le_bytes([start[at], start[at + 1]]));
    // Microsoft's FAT specification, "BPB": bytes of a sector, sectors before the first table,
    // number of tables, sectors of a table.
    let (sector, before, size) = (number(11), number(14), number(36));
    for copy in 0..u64::from(start[16]) {
        let table = place + (before + copy * size) * sector;
        image.write_all_at(&[0; 4], table + 4 * cluster)?;
    }
    Ok(())
}

fn tool(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Returns the factory disk of the router, and where its EFI system partition begins.
fn factory(fixture: &Fixture) -> Result<(PathBuf, u64)> {
    let disk = fixture.disk(&fixture.bundle(FIRST.recipe, FIRST.version)?)?;
    let table = PartitionTable::read(&FileDisk::open_read_only(&disk)?)?;
    let place = table.find("esp").context("a disk without an ESP")?.offset;
    Ok((disk, place))
}

#[test]
fn name_key_and_network_stay_over_an_update_and_a_factory_reset() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, tempfile::tempdir()?);
    let device = Credentials::make(dir.path(), 11)?;
    let (disk, data) = (dir.path().join("disk.raw"), dir.path().join("data.ext4"));
    let bundle = fixture.bundle(FIRST.recipe, FIRST.version)?;
    let keyring = fixture.key("keyring");
    let text = |path: &Path| path.display().to_string();
    let mut words = vec!["image".to_owned(), text(&bundle), "--keyring".into(), text(&keyring)];
    for (name, path) in &device.files {
        words.extend(["--credential".to_owned(), format!("{name}=@{}", path.display())]);
    }
    words.extend(["-o".to_owned(), text(&disk)]);
    fixture.bundler(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let update = fixture.bundle("tests/recipes/demo-2.yaml", "2.0.0")?;
    data_disk(&data, &[("v2.daruma", &update)])?;

    let (mut vm, port) = device.start(disk, Some(data))?;
    vm.expect_all(&[FIRST.prompt, "is healthy"], BOOT)?;
    device.expect_answer(&mut vm, port).context("at the first boot")?;
    let listed = vm.run("dmesg -n 1; daruma provision list", 60)?.success()?;
    for (name, path) in &device.files {
        let line = format!("{name} ({} bytes)", fs::metadata(path)?.len());
        ensure!(listed.contains(&line), "{line} is not in {listed}");
    }
    // systemd has taken them over, and nothing of them is where it stays.
    let found = vm.run(&format!("grep -rl {SECRET} /var /etc /run/daruma"), 120)?;
    ensure!(found.status == 1 && found.text.is_empty(), "kept: {}", found.text);
    vm.run("! test -e /run/credentials/@initrd", 60)?.success()?;
    vm.run(&format!("grep -q {SECRET} /run/credentials/@system/app.token"), 60)?.success()?;
    vm.run("mount -o ro /dev/vdb /mnt && daruma install /mnt/v2.daruma", 600)?.success()?;
    vm.type_line("systemctl reboot")?;
    vm.expect_all(&["slot B, try 1 of 3", FIRST.prompt, "is healthy"], BOOT)?;
    device.expect_answer(&mut vm, port).context("after the update")?;

    vm.run("daruma factory-reset", 60)?.success()?;
    vm.type_line("systemctl reboot")?;
    vm.expect("/var is a new file system", BOOT)?;
    vm.expect_all(&[FIRST.prompt, "is healthy"], BOOT)?;
    // The machine id is a new one, and with it the bridge's MAC address. QEMU's network believes
    // the old address until it hears the new one.
    let hear = "until ping -c 1 -W 5 192.168.1.2; do sleep 1; done";
    vm.run(&format!("dmesg -n 1; {hear}"), 120)?.success()?;
    device.expect_answer(&mut vm, port).context("after the factory reset")?;
    println!("three boots: {:.0} s", vm.uptime());
    Ok(())
}

#[test]
fn twenty_devices_come_from_one_image_and_each_has_what_is_its_own() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, tempfile::tempdir()?);
    let (factory, place) = factory(&fixture)?;
    let esp = dir.path().join("esp.factory");
    fs::write(&esp, stick::partition(&factory, "esp")?)?;
    for number in 20..38 {
        let copy = dir.path().join("esp");
        stick::copy_disk(&esp, &copy)?;
        let device = Credentials::make(dir.path(), number)?;
        device.copy_into(&copy, 0, &[])?;
        let store = CredentialStore::open(FileDisk::open_read_only(&copy)?)?;
        let listing = store.list()?;
        ensure!(listing.refused.is_empty() && listing.credentials.len() == device.files.len());
        for (stored, (name, path)) in listing.credentials.iter().zip(&device.files) {
            ensure!(stored.name == *name && store.read(stored)? == fs::read(path)?, "{name}");
        }
    }
    let [large, small, torn] = ["large", "small", "torn"].map(|name| dir.path().join(name));
    fs::write(&large, vec![b'!'; grub_env::CREDENTIALS_BYTES + 1])?;
    fs::write(&small, "x")?;
    fs::write(&torn, vec![b'!'; 8 << 10])?;
    // What cannot be taken keeps neither the rest from working nor the device from booting.
    let refused = [("large", large.as_path()), (".hidden", &small), ("torn", &torn)];
    for (number, more) in [(38, &[][..]), (39, &refused)] {
        let device = Credentials::make(dir.path(), number)?;
        let disk = dir.path().join(format!("{number}.raw"));
        stick::copy_disk(&factory, &disk)?;
        device.copy_into(&disk, place, more)?;
        if !more.is_empty() {
            end_chain(&disk, place, "::/credentials/torn.cred")?;
        }
        let (mut vm, port) = device.start(disk, None)?;
        for (name, _) in more {
            vm.expect(&format!("credentials/ on /dev/vda2: {name}"), BOOT)?;
        }
        device.expect_answer(&mut vm, port).with_context(|| format!("device {number}"))?;
        println!("device {number} answers: {:.0} s", vm.uptime());
        if !more.is_empty() {
            vm.expect(FIRST.prompt, BOOT)?;
            let status = status(&mut vm)?;
            let said = status.to_string();
            ensure!(
                said.contains("large does not fit") && said.contains("torn: its clusters"),
                "{status}"
            );
        }
    }
    Ok(())
}
