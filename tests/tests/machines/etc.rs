//! The state of a real Debian router over an update: what a person changed in /etc and has put into
//! /home and its like, and what a new version brings.
//!
//! `tests/recipes/etc-2.yaml` is the new version. `etc-merge` has the tests of every row of the
//! rules; this one shows that the whole of it holds on a device.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;
use tests::story::FIRST;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 600;

/// What a person does on the router.
const BY_HAND: &str = "\
    useradd -m -s /bin/bash ann && echo ann:secret | chpasswd && usermod -aG adm ann && \
    mkdir -p /etc/ssh/authorized_keys && ssh-keygen -q -t ed25519 -N '' -f /run/key && \
    cp /run/key.pub /etc/ssh/authorized_keys/ann && \
    sed -i 's/^#log-queries/log-queries/' /etc/dnsmasq.conf && \
    sed -i 's/^#MaxAuthTries 6/MaxAuthTries 3/' /etc/ssh/sshd_config && \
    sed -i 's/^dhcp-range=.*/dhcp-range=192.168.1.9,192.168.1.99,1h/' /etc/dnsmasq.d/lan.conf && \
    systemctl -q disable systemd-timesyncd && rm /etc/ppp/peers/provider && \
    printf '[NetDev]\\nName=wg0\\nKind=wireguard\\n[WireGuard]\\nPrivateKey=%s\\n' $(wg genkey) \
        > /etc/systemd/network/50-wg0.netdev && \
    chgrp systemd-network /etc/systemd/network/50-wg0.netdev && \
    chmod 640 /etc/systemd/network/50-wg0.netdev && \
    install -o dnsmasq -m 600 /dev/null /var/lib/misc/of-dnsmasq && \
    su ann -c 'echo mine > ~/note' && echo mine > /root/note && mkdir /srv/data /opt/app && \
    printf '#!/bin/sh\\necho mine\\n' > /usr/local/bin/own && chmod +x /usr/local/bin/own && \
    mkdir /opt/app/lib && cp /usr/lib/x86_64-linux-gnu/libz.so.1 /opt/app/lib && \
    echo /opt/app/lib > /etc/ld.so.conf.d/app.conf && ldconfig && sync";

/// What holds after the update: a name for the message, and a command.
const AFTER: [(&str, &str); 19] = [
    ("the user is there, with the password", "getent shadow ann | grep -q '^ann:\\$'"),
    ("the user is in the group", "id -nG ann | grep -qw adm"),
    (
        "the key is there",
        "cmp /run/key.pub /etc/ssh/authorized_keys/ann || test -s /etc/ssh/authorized_keys/ann",
    ),
    ("the person's line of dnsmasq.conf", "grep -q '^log-queries' /etc/dnsmasq.conf"),
    ("the image's line of dnsmasq.conf", "grep -q '^cache-size=1000' /etc/dnsmasq.conf"),
    ("the person's line of sshd_config", "grep -q '^MaxAuthTries 3' /etc/ssh/sshd_config"),
    ("the image's line of sshd_config", "grep -q '^LoginGraceTime 1m' /etc/ssh/sshd_config"),
    ("the person wins a conflict", "grep -q '^dhcp-range=192.168.1.9,' /etc/dnsmasq.d/lan.conf"),
    ("the service stays disabled", "! systemctl -q is-enabled systemd-timesyncd"),
    ("what either has deleted is gone", "! ls /etc/ppp/peers/provider /etc/ppp/ip-pre-up"),
    (
        "WireGuard is up",
        "ip -br link show wg0 && test $(stat -c %a /etc/systemd/network/50-wg0.netdev) = 640",
    ),
    ("the new user is there", "id mosquitto && getent shadow mosquitto"),
    ("the new service runs", "systemctl is-active mosquitto"),
    (
        "files in /var follow their account's number",
        "test $(id -u dnsmasq) = 187 && test $(stat -c %u /var/lib/misc/of-dnsmasq) = 187",
    ),
    (
        "the home is there, and is ann's",
        "su ann -c 'cat ~/note && touch ~/x' && test $(stat -c %U:%a /home/ann) = ann:700",
    ),
    (
        "files beside it are there",
        "cat /root/note && ls -d /srv/data /opt/app && test $(own) = mine",
    ),
    (
        "the new image's file in /usr/local is there",
        "test $(cat /usr/local/share/of-the-image) = 2.0.0",
    ),
    (
        "the cache of libraries heeds the person's folder",
        "systemctl is-active ldconfig && ldconfig -p | grep /opt/app/lib/libz.so.1",
    ),
    ("the hypervisor's key is there", "grep -q '^ssh-ed25519 AAAA' /root/.ssh/authorized_keys"),
];

/// A credential as a hypervisor hands it in. QEMU makes its tables anew at a reset, so that the
/// next boot finds it.
const CREDENTIAL: &str =
    "type=11,value=io.systemd.credential:ssh.authorized_keys.root=ssh-ed25519 AAAA ann@desk";

/// A hash of slot A's upper, with names, modes, owners and contents.
const HASH: &str = "sync; cd /var/lib/daruma/etc/A/upper && \
    (find . -printf '%p %y %m %U:%G %l\\n' | sort; find . -type f | sort | xargs -d '\\n' cat) | \
    sha256sum; cd /";

#[test]
fn an_update_keeps_what_a_person_changed_in_etc_and_brings_what_is_new() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, tempfile::tempdir()?);
    let bundle = fixture.bundle("tests/recipes/etc-2.yaml", "2.0.0")?;
    let files: [(&str, &Path); 1] = [("v2.daruma", &bundle)];
    let (_machine, mut vm) =
        FIRST.resume(&fixture, dir.path(), &files, &["-smbios", CREDENTIAL])?;
    vm.run("dmesg -n 1; mount -o ro /dev/vdb /mnt", 60)?.success()?;
    vm.run("test $(cat /usr/local/share/of-the-image) = 1.0.0", 60)?.success()?;
    vm.run(BY_HAND, 60)?.success()?;
    let before = vm.run(HASH, 60)?.success()?;
    vm.run("daruma install /mnt/v2.daruma", 600)?.success()?;
    let planned = vm.json("daruma etc plan --json", 60)?;
    vm.type_line("systemctl reboot")?;
    let shutdown = vm.expect("slot B, try 1 of 3", BOOT)?;
    for trouble in ["FAILED", "Unable to", "Failed to", "daruma-init: "] {
        ensure!(!shutdown.contains(trouble), "the shutdown says {trouble:?}:\n{shutdown}");
    }
    vm.expect_all(&["router# ", "is healthy"], BOOT)?;
    for (what, command) in AFTER {
        vm.run(command, 60)?.success().with_context(|| what.to_owned())?;
    }
    let status = vm.json("daruma status --json", 60)?;
    ensure!(status["version"] == "2.0.0" && status["state"] == "committed", "{status}");
    let etc = vm.json("daruma etc status --json", 60)?;
    // Until the reboot the system has written to its own /etc: .pwd.lock.
    ensure!(etc["merge"] == planned, "the boot did {} and the plan was {planned}", etc["merge"]);
    let text = vm.run("daruma etc status", 60)?.success()?;
    println!("{text}");
    ensure!(text.contains("conflict         /etc/dnsmasq.d/lan.conf"), "{text}");
    let (old, new) = ("-dhcp-range=192.168.1.50", "+dhcp-range=192.168.1.9");
    let diff = vm.run("daruma etc diff /etc/dnsmasq.d/lan.conf", 60)?.success()?;
    ensure!(diff.contains(old) && diff.contains(new), "{diff}");
    vm.run("daruma etc reset /etc/dnsmasq.d/lan.conf", 60)?.success()?;
    vm.run("grep -q '^dhcp-range=192.168.1.50' /etc/dnsmasq.d/lan.conf", 60)?.success()?;
    // The old slot's upper is as it was, byte for byte. Falling back shows it again.
    let after = vm.run(HASH, 60)?.success()?;
    ensure!(before == after, "the old upper has changed: {before} and {after}");
    Ok(())
}
