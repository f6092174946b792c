//! Each recipe that ships: one command builds it, it boots, its health check means something, and
//! an update is committed. The test is the same for all.
//!
//! `machines` has the tests of the agent. `make variants` prints the rows of the table in
//! docs/variants.md.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use tests::fixture::Fixture;
use tests::ordinary_user::run;
use tests::vm::{Firmware, Machine, SHELL, Size, Vm, data_disk};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 900;
/// Waits for the verdict on a system that is committed, or gets so.
const SETTLED: &str = "until daruma status | grep -q 'committed, healthy'; do sleep 1; done";

/// Makes packages that are not configured, for as long as this boot lasts.
const HALF_INSTALLED: &str = "\
    sed 's/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status > /run/status && \
    mount --bind /run/status /usr/lib/sysimage/dpkg/status";

/// Prints the units that do work at updates and were started in this boot. The work is done in the
/// image, so there are none.
const AT_UPDATES: &str = "\
    for unit in ldconfig systemd-sysusers systemd-hwdb-update systemd-journal-catalog-update \
        systemd-update-done; do \
        eval $(systemctl show -p ConditionResult -p ConditionTimestampMonotonic $unit); \
        [ $ConditionTimestampMonotonic != 0 ] || echo $unit was not asked for; \
        [ $ConditionResult = no ] || echo $unit; \
    done";

/// A variant that is packed in seconds. What is in it is the same.
const QUICK: &str = "extends: RECIPE\nactions:\n  - {action: bundle, level: 4}\n";

/// True if the first version is packed as the recipe says, which takes minutes. The second never
/// is: devices take any packing.
fn is_all() -> bool {
    std::env::var_os("DARUMA_VARIANTS").is_some_and(|value| value == "all")
}

/// A recipe and what is special about it.
struct Variant {
    /// A path in the repo.
    recipe: &'static str,
    /// The name of its devices.
    compatible: &'static str,
    /// The amount of memory.
    size: Size,
    /// Breaks what the health check looks at.
    breaks: &'static str,
    /// The health check that must fail then.
    check: &'static str,
}

/// The folder of a test. The images are big, and `/tmp` may be in memory.
fn folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("daruma-variant-").tempdir_in("/var/tmp")?)
}

/// Builds the bundle and the factory image of one version, by one command.
fn build(
    fixture: &Fixture,
    recipe: &str,
    version: &str,
    out: &Path,
    more: &[String],
) -> Result<()> {
    let text = |path: PathBuf| path.display().to_string();
    let words = [
        "build".to_owned(),
        text(fixture.repo(recipe)),
        "--artifactdir".to_owned(),
        text(out.to_owned()),
        "--key".to_owned(),
        text(fixture.key("release.key.pem")),
        "--keyring".to_owned(),
        text(fixture.key("keyring")),
        "--version".to_owned(),
        version.to_owned(),
    ];
    let words: Vec<&str> = words.iter().chain(more).map(String::as_str).collect();
    fixture.bundler(&words)
}

/// Powers on, with a shell on the console.
fn power_on(disk: PathBuf, data: PathBuf, size: Size, dir: &Path) -> Result<Vm> {
    let (format, firmware, log) = ("raw", Firmware::Bios, dir.join("serial.log"));
    let machine = Machine { disk, format, data: Some(data), firmware, size, log };
    Vm::start_with(&machine, &machine.drive(), &SHELL)
}

impl Variant {
    fn lives(&self, more: &[String]) -> Result<()> {
        let (fixture, dir) = (Fixture::open()?, folder()?);
        let out = |name: &str| dir.path().join(name);
        let file =
            |version: &str, kind: &str| out(&format!("{}-{version}.{kind}", self.compatible));
        let quick = out("quick.yaml");
        fs::write(&quick, QUICK.replace("RECIPE", &fixture.repo(self.recipe).to_string_lossy()))?;
        let quick = quick.to_str().context("a path that is not UTF-8")?;
        let begun = Instant::now();
        let first = if is_all() { self.recipe } else { quick };
        build(&fixture, first, "1.0.0", dir.path(), more)?;
        build(&fixture, quick, "2.0.0", dir.path(), more)?;
        eprintln!("{}: built after {} s", self.compatible, begun.elapsed().as_secs());
        fs::remove_file(file("2.0.0", "raw"))?;
        let data = out("data.ext4");
        data_disk(&data, &[("v2.daruma", &file("2.0.0", "daruma"))])?;

        let mut vm = power_on(file("1.0.0", "raw"), data, self.size, dir.path())?;
        let prompt = format!("root@{}:~# ", self.compatible);
        let both = ["is healthy", &prompt];
        let (first, _) = vm.expect_any(&both, BOOT)?;
        let mut seconds = vm.uptime();
        vm.expect(both[1 - first], BOOT)?;
        if first == 1 {
            seconds = vm.uptime();
        }
        let keys = self.works(&mut vm, "1.0.0")?;
        let used = "awk '/^MemTotal/ { a = $2 } /^MemAvailable/ { a -= $2 } END { print a }'";
        let used = vm.run(&format!("{used} /proc/meminfo"), 60)?.success()?;
        let used = used.trim().parse::<u64>().context("kB of memory")? / 1024;
        println!("{}", self.row(&fixture, &file("1.0.0", "daruma"), used, seconds)?);

        vm.run("mount -o ro /dev/vdb /mnt && daruma install /mnt/v2.daruma >/dev/null", BOOT)?
            .success()?;
        vm.type_line("systemctl reboot")?;
        vm.expect("slot B, try 1 of 3", BOOT)?;
        vm.expect(&prompt, BOOT)?;
        ensure!(self.works(&mut vm, "2.0.0")? == keys, "the ssh host keys have changed");

        // The check fails when what it is for is gone.
        let check = format!("/etc/daruma/health.d/{}", self.check);
        let broken = vm.run(&format!("{check} && {{ {}; }} && ! {check}", self.breaks), BOOT)?;
        ensure!(broken.status == 0, "the check {} sees nothing: {broken:?}", self.check);
        eprintln!("{}: done after {} s", self.compatible, begun.elapsed().as_secs());
        Ok(())
    }

    /// Waits until the system is committed, and returns the ssh host keys.
    fn works(&self, vm: &mut Vm, version: &str) -> Result<String> {
        vm.run("dmesg -n 1", 60)?.success()?;
        vm.run(SETTLED, BOOT)?.success()?;
        let status = vm.json("daruma status --json", 60)?;
        ensure!(
            status["version"] == version && status["compatible"] == self.compatible,
            "{status}"
        );
        let failed = vm.run("systemctl list-units --failed --no-legend --plain", 60)?.success()?;
        ensure!(failed.trim().is_empty(), "units have failed:\n{failed}");
        let at_updates = vm.run(AT_UPDATES, 60)?.success()?;
        ensure!(at_updates.is_empty(), "work is done that the image has:\n{at_updates}");
        let id = vm.run("cat /etc/machine-id", 60)?.success()?;
        ensure!(id.trim().len() == 32, "the machine's id is {id:?}");
        let keys = "if [ -x /usr/sbin/sshd ]; then cat /etc/ssh/ssh_host_*_key.pub; fi";
        let keys = vm.run(keys, 60)?.success()?;
        let has_sshd = vm.run("[ -x /usr/sbin/sshd ]", 60)?.status == 0;
        ensure!(keys.lines().count() == if has_sshd { 3 } else { 0 }, "the host keys: {keys}");
        Ok(keys)
    }

    /// Returns the variant's row of the table.
    fn row(&self, fixture: &Fixture, bundle: &Path, used: u64, seconds: f64) -> Result<String> {
        let mut inspect = Command::new(fixture.program("daruma-bundler"));
        let inspected = run(inspect.args(["inspect", "--json"]).arg(bundle))?.stdout;
        let inspected: serde_json::Value = serde_json::from_slice(&inspected)?;
        let megabytes = |value: &serde_json::Value| {
            value.as_f64().map_or("?".to_owned(), |bytes| format!("{:.1} MB", bytes / 1e6))
        };
        let packages = inspected["meta"]["system"]["packages"].as_str().unwrap_or("?");
        Ok(format!(
            "| {} | {packages} | {} | {} | {} | {used} MiB | {seconds:.0} s |",
            self.compatible,
            megabytes(&inspected["size"]),
            megabytes(&inspected["images"]["root"]["size"]),
            megabytes(&inspected["images"]["boot"]["size"]),
        ))
    }
}

#[test]
fn base() -> Result<()> {
    Variant {
        recipe: "bundler/recipes/base.yaml",
        compatible: "base",
        size: Size::Router,
        breaks: HALF_INSTALLED,
        check: "20-packages",
    }
    .lives(&[])
}

#[test]
fn base_forky() -> Result<()> {
    Variant {
        recipe: "tests/recipes/base-forky.yaml",
        compatible: "base-forky",
        size: Size::Router,
        breaks: HALF_INSTALLED,
        check: "20-packages",
    }
    .lives(&[])
}

#[test]
fn core() -> Result<()> {
    Variant {
        recipe: "bundler/recipes/core.yaml",
        compatible: "core",
        size: Size::Router,
        breaks: "nft flush ruleset",
        check: "30-closed",
    }
    .lives(&["-t".to_owned(), "auditd:true".to_owned()])
}

#[test]
fn hypervisor() -> Result<()> {
    Variant {
        recipe: "bundler/recipes/hypervisor.yaml",
        compatible: "hypervisor",
        size: Size::Large,
        breaks: "virsh pool-destroy default",
        check: "50-hypervisor",
    }
    .lives(&[])
}

/// Stands in for k3s, which cannot be reached in a test: says that it is ready, and answers.
const K3S: &str = "#!/bin/sh\n\
    case $1 in\n\
    server) touch /run/k3s-stand-in; systemd-notify --ready --pid=$$; exec sleep infinity ;;\n\
    kubectl) test -e /run/k3s-stand-in && printf ok ;;\n\
    esac\n";

/// Serves `text` under every name on this machine's loopback. Returns the address.
fn serve(text: &'static str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // An error is the client's, who then fails with its own.
            let _ = stream.read(&mut [0; 4096]);
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{text}").as_bytes());
        }
    });
    Ok(address)
}

#[test]
fn k3s() -> Result<()> {
    let sum: String = Sha256::digest(K3S).iter().map(|byte| format!("{byte:02x}")).collect();
    let more = ["k3s:v0.0.0+test".to_owned(), format!("k3s_sha256:{sum}")];
    let url = format!("k3s_url:{}/k3s", serve(K3S)?);
    let more: Vec<String> =
        more.into_iter().chain([url]).flat_map(|pair| ["-t".to_owned(), pair]).collect();
    Variant {
        recipe: "bundler/recipes/k3s.yaml",
        compatible: "k3s",
        size: Size::Large,
        breaks: "systemctl stop k3s && rm /run/k3s-stand-in",
        check: "50-k3s",
    }
    .lives(&more)
}

#[test]
fn router() -> Result<()> {
    Variant {
        recipe: "bundler/recipes/router.yaml",
        compatible: "router",
        size: Size::Router,
        breaks: "nft flush ruleset",
        check: "30-closed",
    }
    .lives(&[])
}

#[test]
fn server() -> Result<()> {
    Variant {
        recipe: "bundler/recipes/server.yaml",
        compatible: "server",
        size: Size::Router,
        breaks: "mount --bind /dev/null /usr/bin/crun",
        check: "50-containers",
    }
    .lives(&["-t".to_owned(), "channel:https://updates.example.org/server".to_owned()])
}

#[test]
fn testing() -> Result<()> {
    Variant {
        recipe: "tests/recipes/testing.yaml",
        compatible: "testing",
        size: Size::Router,
        breaks: "mount --bind /dev/null /usr/bin/crun",
        check: "50-containers",
    }
    .lives(&[])
}

#[test]
fn workstation() -> Result<()> {
    Variant {
        recipe: "bundler/recipes/workstation.yaml",
        compatible: "workstation",
        size: Size::Large,
        breaks: "systemctl stop gdm",
        check: "50-desktop",
    }
    .lives(&[])
}

/// Makes an archive of one package, `greeting`, in a folder.
fn archive(dir: &Path) -> Result<[(&'static str, PathBuf); 2]> {
    let root = dir.join("greeting");
    for (path, text) in [
        (
            "DEBIAN/control",
            "Package: greeting\nVersion: 1\nArchitecture: all\nMaintainer: Nobody \
             <nobody@example.org>\nDescription: Says hello\n",
        ),
        ("usr/bin/greeting", "#!/bin/sh\necho hello\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
    }
    run(Command::new("chmod").arg("755").arg(root.join("usr/bin/greeting")))?;
    let package = dir.join("greeting.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&package))?;
    let bytes = fs::read(&package)?;
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let packages = dir.join("Packages");
    let size = bytes.len();
    fs::write(
        &packages,
        format!(
            "Package: greeting\nVersion: 1\nArchitecture: all\nFilename: ./greeting.deb\nSize: \
             {size}\nSHA256: {sum}\n"
        ),
    )?;
    Ok([("greeting.deb", package), ("Packages", packages)])
}

#[test]
fn a_package_is_installed_into_a_root_that_can_be_written_until_the_next_update() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, folder()?);
    let recipe = "tests/recipes/base-root.yaml";
    build(&fixture, recipe, "1.0.0", dir.path(), &[])?;
    build(&fixture, recipe, "2.0.0", dir.path(), &[])?;
    let bundle = dir.path().join("base-2.0.0.daruma");
    let archive = archive(dir.path())?;
    let mut files = vec![("v2.daruma", bundle.as_path())];
    files.extend(archive.iter().map(|(name, path)| (*name, path.as_path())));
    let data = dir.path().join("data.ext4");
    data_disk(&data, &files)?;
    let mut vm = power_on(dir.path().join("base-1.0.0.raw"), data, Size::Router, dir.path())?;
    vm.expect("root@base:~# ", BOOT)?;
    vm.run("dmesg -n 1; mount -o ro /dev/vdb /mnt", 60)?.success()?;
    vm.run(SETTLED, BOOT)?.success()?;
    // Debian's own addresses are there, but cannot be reached from here.
    let sources = "/etc/apt/sources.list.d/debian.sources";
    vm.run(&format!("grep -q '^Suites: trixie ' {sources} && : > {sources}"), 60)?.success()?;
    let line = "deb [trusted=yes] file:/mnt ./";
    vm.run(&format!("echo '{line}' > /etc/apt/sources.list"), 60)?.success()?;
    vm.run("apt-get -q update && apt-get -q install -y greeting && greeting", BOOT)?.success()?;
    let status = vm.json("daruma status --json", 60)?;
    ensure!(status["root"]["installed"] == serde_json::json!(["greeting"]), "{status}");
    let text = vm.run("daruma status", 60)?.success()?;
    ensure!(text.contains("changed until the next update: installed greeting"), "{text}");
    vm.run("/etc/daruma/health.d/20-packages", 60)?.success()?;
    vm.run("echo mine > /etc/mine && daruma install /mnt/v2.daruma >/dev/null", BOOT)?.success()?;
    vm.type_line("systemctl reboot")?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    vm.expect("root@base:~# ", BOOT)?;
    vm.run("dmesg -n 1", 60)?.success()?;
    vm.run(SETTLED, BOOT)?.success()?;
    let left = "! command -v greeting && ! dpkg -s greeting 2>/dev/null && cat /etc/mine";
    ensure!(vm.run(left, 60)?.success()? == "mine\n");
    let status = vm.json("daruma status --json", 60)?;
    ensure!(
        status["root"].as_object().is_none_or(|root| root["installed"] == serde_json::json!([]))
    );
    Ok(())
}

/// Runs in a namespace of its own, in the folder with the tar. The host's names are resolved.
const IN_THE_TAR: &str = "\
    mkdir root && mount -t tmpfs tmpfs root && tar -xf base.tar -C root --exclude='./dev/*' && \
    mount --rbind /dev root/dev && mount -t proc proc root/proc && \
    cp -L --remove-destination /etc/resolv.conf root/etc/resolv.conf && \
    exec chroot root sh -euc 'apt-get -q update; apt-get -q install -y --no-install-recommends \
    hello; hello'";

#[test]
fn apt_works_in_the_tar_of_the_base() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, folder()?);
    let tar = dir.path().join("base.tar");
    fs::copy(fixture.rootfs("bundler/recipes/base.yaml")?, &tar)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    if !tests::ordinary_user::is_root() {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.args(["sh", "-euc", IN_THE_TAR]).current_dir(dir.path());
    let said = String::from_utf8(run(&mut command)?.stdout)?;
    ensure!(said.ends_with("Hello, world!\n"), "{said}");
    Ok(())
}
