//! Builds the case recipes of debos's form as an ordinary user, and checks what the first lines of
//! each recipe ask for.
//!
//! `bundler/tests/cases.rs` reads all cases. bundler/tests/golden/README.md says where they are
//! from.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;
use tests::ordinary_user::{USER, copy_inputs, give, is_root, run};
use tests::vm::{Firmware, Machine, SHELL, Size, Vm, data_disk};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 600;
/// A copy of the cases and of the program, which belong to the ordinary user.
struct Cases {
    dir: tempfile::TempDir,
    as_user: bool,
}

impl Cases {
    fn new() -> Result<Self> {
        let fixture = Fixture::open()?;
        let dir = tempfile::Builder::new().prefix("daruma-cases-").tempdir_in("/var/tmp")?;
        let as_user = is_root();
        let cases = Self { dir, as_user };
        let recipes = fixture.repo("bundler/tests/golden/recipes");
        run(Command::new("cp").arg("-a").arg(recipes).arg(cases.path("recipes")))?;
        fs::copy(fixture.program("daruma-bundler"), cases.path("daruma-bundler"))?;
        fs::create_dir(cases.path("out"))?;
        if as_user {
            give(cases.dir.path(), USER)?;
        }
        Ok(cases)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds a case. Returns the exit code and stderr.
    fn build(&self, case: &str, args: &[&str]) -> Result<(i32, String)> {
        let program = self.path("daruma-bundler");
        let mut command = if self.as_user {
            let mut command = Command::new("runuser");
            command.args(["-u", USER, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(["build", case, "--no-cache", "--artifactdir", "../out"]).args(args);
        let output = command.current_dir(self.path("recipes")).output()?;
        let code = output.status.code().context("a signal")?;
        Ok((code, String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn built(&self, case: &str, args: &[&str]) -> Result<()> {
        let (code, text) = self.build(case, args)?;
        ensure!(code == 0, "{case}: {text}");
        Ok(())
    }

    /// The names in a packed tar, with `./` before them.
    fn names(&self, tar: &str) -> Result<Vec<String>> {
        let output = run(Command::new("tar").arg("-tf").arg(self.path("out").join(tar)))?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// The text of a file in a packed tar.
    fn text(&self, tar: &str, file: &str) -> Result<String> {
        let path = self.path("out").join(tar);
        let output = run(Command::new("tar").arg("-xOf").arg(path).arg(file))?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

#[test]
fn variables_choose_what_is_built() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("01-defaults.yaml", &[])?;
    ensure!(cases.text("out-amd64-small.tar.gz", "./etc/flavour")? == "small\n");
    cases.built("01-defaults.yaml", &["-t", "flavour:big"])?;
    ensure!(cases.names("out-amd64-big.tar.gz")?.iter().any(|name| name == "./etc/big"));
    cases.built("02-assignment.yaml", &[])?;
    ensure!(cases.text("console.tar", "./etc/console")? == "ttyS0\n");
    Ok(())
}

#[test]
fn scripts_run_on_the_host_in_the_root_and_afterwards() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("03-host-scripts.yaml", &[])?;
    ensure!(cases.text("scripts.tar.xz", "./script-was-here")? == "one\n");
    run(Command::new("sha256sum").args(["-c", "scripts.sha256"]).current_dir(cases.path("out")))?;
    let (code, text) = cases.build("03-host-scripts.yaml", &["-t", "fail:yes"])?;
    let wanted = "03-host-scripts.yaml:30: the run action \"Ends the build\"";
    ensure!(code == 24 && text.contains(wanted) && text.contains("NEVER_SET"), "{code} {text}");
    Ok(())
}

/// Serves the files of a folder.
fn serve(folder: &Path) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("server:http://{}", listener.local_addr()?);
    let folder = folder.to_owned();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let line = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let bytes = fs::read(folder.join(path.trim_start_matches('/'))).unwrap_or_default();
            let length = bytes.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
            let _ = stream.write_all(&bytes);
        }
    });
    Ok(address)
}

#[test]
fn overlays_and_downloads_are_laid_over_the_root() -> Result<()> {
    let cases = Cases::new()?;
    let server = serve(&cases.path("recipes"))?;
    cases.built("06-overlay-and-origins.yaml", &["-t", &server])?;
    ensure!(cases.text("overlaid.tar.zst", "./opt/app/renamed.conf")? == "colour = green\n");
    Ok(())
}

#[test]
fn local_packages_are_installed_and_a_pattern_must_match() -> Result<()> {
    let cases = Cases::new()?;
    let (code, text) = cases.build("10-local-packages.yaml", &[])?;
    ensure!(code == 23 && text.contains("which matches no file"), "{code} {text}");
    let debs = cases.path("recipes/overlays/debs");
    fs::create_dir_all(debs.join("hello/DEBIAN"))?;
    let control = "Package: hello-local\nVersion: 1.0\nArchitecture: all\n\
                   Maintainer: A Test <a@b.test>\nDescription: a test\n";
    fs::write(debs.join("hello/DEBIAN/control"), control)?;
    let deb = debs.join("hello-local_1.0_all.deb");
    run(Command::new("dpkg-deb").arg("-b").arg(debs.join("hello")).arg(deb))?;
    cases.built("10-local-packages.yaml", &[])?;
    ensure!(cases.text("local.tar.gz", "./var/lib/dpkg/status")?.contains("hello-local"));
    Ok(())
}

#[test]
fn names_resolve_in_every_step_and_nothing_of_the_host_stays() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("14-resolv-conf.yaml", &[])?;
    let list = run(Command::new("tar").arg("-tvf").arg(cases.path("out/resolv.tar")))?.stdout;
    let list = String::from_utf8(list)?;
    let line = list.lines().find(|line| line.contains("./etc/resolv.conf ")).unwrap_or_default();
    ensure!(line.ends_with("/run/systemd/resolve/stub-resolv.conf"), "{line}");
    for gone in ["./etc/hostname", "resolved.bak", "sbin/policy-rc.d", "daemon.REAL"] {
        ensure!(!list.contains(gone), "{gone}");
    }
    Ok(())
}

#[test]
fn included_recipes_get_what_they_are_given() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("nested/main.yaml", &[])?;
    let levels = cases.text("nested-green.tar.gz", "./etc/levels")?;
    ensure!(levels == "main middle inner amd64 blue\n", "{levels}");
    Ok(())
}

#[test]
fn a_root_that_one_recipe_packs_is_unpacked_by_another() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("02-assignment.yaml", &[])?;
    let second = "architecture: amd64\nactions:\n  - action: unpack\n    file: console.tar\n  \
                  - action: apt\n    packages: [less]\n  - action: run\n    chroot: true\n    \
                  command: dpkg -s less | grep -q Status >/etc/has-less\n  - action: pack\n    \
                  file: second.tar.gz\n";
    fs::write(cases.path("recipes/second.yaml"), second)?;
    cases.built("second.yaml", &[])?;
    let names = cases.names("second.tar.gz")?;
    ensure!(names.iter().any(|name| name == "./usr/bin/less"));
    ensure!(cases.text("second.tar.gz", "./etc/console")? == "ttyS0\n");
    Ok(())
}

/// Bytes of a disk in the artifact folder.
fn bytes(cases: &Cases, disk: &str, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    fs::File::open(cases.path("out").join(disk))?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// What debugfs says of a filesystem on a disk.
fn debugfs(cases: &Cases, disk: &str, offset: u64, request: &str) -> Result<String> {
    let disk = format!("{}?offset={offset}", cases.path("out").join(disk).display());
    let output = run(Command::new("/sbin/debugfs").args(["-R", request, &disk]))?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn disks_without_a_root_are_made_for_any_architecture() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("07-raw-offsets.yaml", &[])?;
    let text = fs::read(cases.path("recipes/README.md"))?;
    for offset in [8192, 65_536, 131_072] {
        ensure!(bytes(&cases, "raw.img", offset, text.len())? == text, "{offset}");
    }
    ensure!(fs::metadata(cases.path("out/raw.img"))?.len() == 64 << 20);
    // The magic number of btrfs lies 64 KiB and 64 bytes into the filesystem.
    ensure!(bytes(&cases, "raw.img", (16 << 20) + 65_600, 8)? == b"_BHRfS_M");
    cases.built("12-sectors.yaml", &[])?;
    ensure!(bytes(&cases, "sectors.img", 4096, 8)? == b"EFI PART");
    // A FAT names the bytes of its sectors.
    ensure!(bytes(&cases, "sectors.img", (4 << 20) + 11, 2)? == 4096_u16.to_le_bytes());
    Ok(())
}

#[test]
fn another_architecture_is_emulated_and_the_host_registers_nothing() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("09-foreign.yaml", &[])?;
    ensure!(cases.text("foreign.tar.gz", "./etc/architecture")? == "arm64\n");
    let names = cases.names("foreign.tar.gz")?;
    ensure!(names.iter().any(|name| name == "./usr/bin/less"), "less is not installed");
    ensure!(!names.iter().any(|name| name.contains("qemu")), "the emulator is in the root");
    Ok(())
}

#[test]
fn a_mountpoint_for_the_build_only_leaves_no_folder() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("11-build-mount.yaml", &[])?;
    let at = |sector: u64| sector * 512;
    // parted's sectors of 1MB, 65MB and 165MB.
    let firmware = format!("{}@@{}", cases.path("out/many.img").display(), at(1953));
    let text = run(Command::new("mtype").args(["-i", &firmware, "::config.txt"]))?.stdout;
    ensure!(text == b"on-the-firmware\n");
    ensure!(debugfs(&cases, "many.img", at(126_954), "cat /note")? == "on-the-scratch\n");
    let part = cases.path("f2fs");
    let mut copy = Command::new("dd");
    copy.args(["bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none"]);
    copy.arg(format!("skip={}", at(1_171_876))).arg(format!("count={}", at(4_687_466)));
    copy.arg(format!("if={}", cases.path("out/many.img").display()));
    run(copy.arg(format!("of={}", part.display())))?;
    fs::File::options().write(true).open(&part)?.set_len(at(4_687_466))?;
    let checked = run(Command::new("/sbin/fsck.f2fs").arg("--dry-run").arg(&part))?.stdout;
    let checked = String::from_utf8_lossy(&checked).into_owned();
    ensure!(!checked.contains("[Fail]"), "{checked}");
    Ok(())
}

#[test]
fn grub_for_bios_lies_before_the_first_partition_and_boots_to_a_login() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("05-bios-grub.yaml", &[])?;
    let first = bytes(&cases, "bios.img", 0, 512)?;
    ensure!(first[440..444] == 0x5ca1_ab1e_u32.to_le_bytes(), "the id of the disk");
    ensure!(first[446] == 0x80 && first[510..] == [0x55, 0xaa] && first[..2] == [0xeb, 0x63]);
    ensure!(bytes(&cases, "bios.img", 512, 512)?[500..508] == 2_u64.to_le_bytes());
    let root = 2048 * 512;
    let fstab = debugfs(&cases, "bios.img", root, "cat /etc/fstab")?;
    let id = fstab.strip_prefix("UUID=").and_then(|rest| rest.split('\t').next());
    let id = id.context("no id")?.to_owned();
    ensure!(fstab.ends_with("\t/\text4\tdefaults,errors=remount-ro\t0\t1\n"), "{fstab}");
    let menu = debugfs(&cases, "bios.img", root, "cat /boot/grub/grub.cfg")?;
    ensure!(menu.contains(&format!("root=UUID={id} ro")), "{menu}");
    let probe = debugfs(&cases, "bios.img", root, "stat /usr/sbin/grub-probe")?;
    let size = probe.split("Size: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let size: u64 = size.context("no size")?.parse()?;
    ensure!(size > 100_000, "the stand-in is still in place of grub-probe: {probe}");
    let (disk, log) = (cases.path("out/bios.img"), cases.path("serial.log"));
    let (format, firmware, size) = ("raw", Firmware::Bios, Size::Router);
    let machine = Machine { disk, format, data: None, firmware, size, log };
    let options = [&SHELL[..], &["-device", "VGA"]].concat();
    let mut vm = Vm::start_with(&machine, &machine.drive(), &options)?;
    vm.expect("~# ", BOOT)?;
    // The recipe asks for no serial console, so its login prompt is on the screen (vcs(4)).
    let prompt = "until grep -aq 'login: ' /dev/vcs1; do sleep 1; done";
    vm.run(prompt, BOOT)?.success()?;
    let mounted = vm.run("findmnt -no SOURCE,FSTYPE /", 60)?.success()?;
    ensure!(mounted.contains("/dev/vda1 ext4"), "{mounted}");
    Ok(())
}

#[test]
fn a_second_recipe_makes_a_disk_for_uefi_of_the_root_of_the_first() -> Result<()> {
    let cases = Cases::new()?;
    cases.built("two-stage/rootfs.yaml", &[])?;
    cases.built("two-stage/image.yaml", &[])?;
    ensure!(cases.path("out/two-stage.img.xz").is_file(), "postprocess");
    let esp = format!("{}@@1M", cases.path("out/two-stage.img").display());
    let listed = run(Command::new("mdir").args(["-i", &esp, "-/", "-b", "::"]))?.stdout;
    let listed = String::from_utf8(listed)?;
    ensure!(listed.contains("::/EFI/BOOT/BOOTX64.EFI"), "{listed}");
    let root = 128 << 20;
    let fstab = debugfs(&cases, "two-stage.img", root, "cat /etc/fstab")?;
    let lines: Vec<_> = fstab.lines().collect();
    ensure!(lines.len() == 2 && lines[0].ends_with("\t/\text4\tdefaults\t0\t1"), "{fstab}");
    ensure!(lines[1].ends_with("\t/boot/efi\tvfat\tdefaults,umask=0077\t0\t2"), "{fstab}");
    let cmdline = debugfs(&cases, "two-stage.img", root, "cat /etc/kernel/cmdline")?;
    ensure!(cmdline.ends_with(" quiet console=ttyS0\n"), "{cmdline}");
    let spare = 2_000_000_000 - (16 << 20);
    ensure!(bytes(&cases, "two-stage.img", spare + 1024, 10)? == b"two-stage\n");
    let (disk, log) = (cases.path("out/two-stage.img"), cases.path("serial.log"));
    let (format, firmware, size) = ("raw", Firmware::Uefi, Size::Router);
    let machine = Machine { disk, format, data: None, firmware, size, log };
    Vm::start(&machine)?.expect("login: ", BOOT).map(drop)
}

#[test]
fn one_file_beside_a_recipe_makes_a_device_that_boots_updates_and_goes_back() -> Result<()> {
    let (cases, fixture) = (Cases::new()?, Fixture::open()?);
    let case = "13-appliance/appliance.yaml";
    let inputs = cases.path("inputs");
    copy_inputs(&fixture, &inputs)?;
    if cases.as_user {
        give(&inputs, USER)?;
    }
    let text = |name: &str| inputs.join(name).display().to_string();
    let (key, ring, programs) = (text("release.key.pem"), text("keyring"), text("programs"));
    let signed = |version| {
        ["--key", &key, "--keyring", &ring, "--device-programs", &programs, "--version", version]
    };
    cases.built(case, &[&signed("1.0.0")[..], &["-o", "../out/root.tar"]].concat())?;
    let out = |name: &str| cases.path("out").join(name);
    let mut bundle = Command::new(fixture.program("daruma-bundler"));
    bundle.arg("bundle").arg(cases.path("recipes").join(case)).args(signed("2.0.0"));
    run(bundle.arg("--rootfs").arg(out("root.tar")).arg("-o").arg(out("v2.daruma")))?;
    let data = out("data.ext4");
    data_disk(&data, &[("v2.daruma", &out("v2.daruma"))])?;
    let (disk, log) = (out("theirs-1.0.0.raw"), cases.path("serial.log"));
    let (format, firmware, size) = ("raw", Firmware::Bios, Size::Router);
    let machine = Machine { disk, format, data: Some(data), firmware, size, log };
    let mut vm = Vm::start_with(&machine, &machine.drive(), &SHELL)?;
    let settled = "until daruma status | grep -q 'committed, healthy'; do sleep 1; done";
    let prompt = "root@theirs:~# ";
    vm.expect(prompt, BOOT)?;
    vm.run(settled, BOOT)?.success()?;
    // The mountpoints of the recipe's own disk would fail here, or wait for a partition.
    vm.run("! systemctl is-failed systemd-remount-fs.service local-fs.target", 60)?.success()?;
    vm.run("mount -o ro /dev/vdb /mnt && daruma install /mnt/v2.daruma >/dev/null", BOOT)?
        .success()?;
    vm.type_line("reboot")?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    vm.expect(prompt, BOOT)?;
    vm.run(settled, BOOT)?.success()?;
    ensure!(vm.json("daruma status --json", 60)?["version"] == "2.0.0");
    vm.run("daruma rollback", 60)?.success()?;
    vm.type_line("reboot")?;
    vm.expect("slot A, try 1 of 3", BOOT)?;
    vm.expect(prompt, BOOT)?;
    vm.run(settled, BOOT)?.success()?;
    ensure!(vm.json("daruma status --json", 60)?["version"] == "1.0.0");
    Ok(())
}
