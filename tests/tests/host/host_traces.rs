//! Checks that nothing of the build host is in an image.
//!
//! `Fixture` finds the programs, and `daruma-bundler` builds the bundle.
//!
//! Two hosts that differ in everything build the same bundle. The bundle has no names and no
//! addresses of either host. Each host is a mount and UTS namespace, which needs root or sudo.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;
use tests::ordinary_user::{as_root, copy_inputs, give, run};

/// Two ordinary users with subordinate ids. The user namespace of mmdebstrap needs such ids.
const USERS: [&str; 2] = ["daruma-test", "daruma-other"];

/// The properties in which two build hosts differ.
struct Host {
    name: &'static str,
    /// A domain in /etc/hosts, which is also the search domain.
    domain: &'static str,
    /// A second name server, from the addresses for documentation (RFC 5737).
    address: &'static str,
    umask: &'static str,
    /// Mode of /etc/resolv.conf, /etc/hosts and /etc/hostname.
    mode: u32,
    environment: [(&'static str, &'static str); 3],
    user: &'static str,
}

const HOSTS: [Host; 2] = [
    Host {
        name: "northern-build-host",
        domain: "north.example",
        address: "192.0.2.53",
        umask: "022",
        mode: 0o644,
        environment: [("LANG", "C.UTF-8"), ("LC_ALL", "C"), ("TZ", "UTC")],
        user: USERS[0],
    },
    Host {
        name: "southern-build-host",
        domain: "south.example",
        address: "198.51.100.53",
        umask: "077",
        mode: 0o664,
        environment: [("LANG", "de_AT"), ("LC_ALL", "fr_FR.UTF-8"), ("TZ", "Pacific/Auckland")],
        user: USERS[1],
    },
];

/// Builds the bundle on `host`, in `dir`.
fn build(host: &Host, dir: &Path) -> Result<Vec<u8>> {
    let fixture = Fixture::open()?;
    let own = |file: &str, more: String| -> Result<()> {
        let path = dir.join(file);
        let text = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        fs::write(&path, text + &more)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(host.mode))?)
    };
    own("resolv.conf", format!("nameserver {}\nsearch {}\n", host.address, host.domain))?;
    own("hosts", format!("{} neighbour.{}\n", host.address, host.domain))?;
    own("hostname", format!("{}\n", host.name))?;
    copy_inputs(&fixture, dir)?;
    give(dir, host.user)?;
    let environment: Vec<String> =
        host.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let script = format!(
        "cd {dir} && for f in resolv.conf hosts hostname; do mount --bind $f /etc/$f; done && \
         hostname {name} && umask {umask} && exec runuser -u {user} -- env {environment} \
         SOURCE_DATE_EPOCH=1767225600 sh -e -c '\
         programs/daruma-bundler build recipes/traces.yaml --no-cache -o rootfs.tar && \
         programs/daruma-bundler bundle recipes/traces.yaml --no-cache --rootfs rootfs.tar \
         --key release.key.pem --keyring keyring --version 1.0.0 -o traces.daruma'",
        dir = dir.display(),
        name = host.name,
        umask = host.umask,
        user = host.user,
        environment = environment.join(" "),
    );
    run(as_root("unshare").args(["--mount", "--uts", "sh", "-e", "-c", &script]))?;
    let bundle = dir.join("traces.daruma");
    run(as_root("chmod").arg("a+r").arg(&bundle))?;
    Ok(fs::read(bundle)?)
}

/// Unpacks the bundle. Returns the files of its root image that contain a name or the address of
/// the host.
fn traces(dir: &Path, host: &Host) -> Result<String> {
    let bundle = dir.join("traces.daruma");
    let (outer, root) = (dir.join("outer"), dir.join("root"));
    let unpack = |image: &Path, to: &Path| -> Result<()> {
        let mut unsquashfs = as_root("unsquashfs");
        run(unsquashfs.args(["-q", "-n", "-d"]).arg(to).arg(image)).map(drop)
    };
    unpack(&bundle, &outer)?;
    unpack(&outer.join("root.img"), &root)?;
    let mut grep = as_root("grep");
    for word in [host.name, host.domain, host.address] {
        grep.args(["-e", word]);
    }
    // Exit code 1 means that grep found nothing.
    let output = grep.args(["-rlaF"]).arg(&root).output().context("starting grep")?;
    let code = output.status.code();
    ensure!(code == Some(0) || code == Some(1), "grep {}: {code:?}", root.display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn two_hosts_that_differ_in_everything_build_the_same_bundle_with_no_trace_of_either() -> Result<()>
{
    let mut bundles = Vec::new();
    for host in &HOSTS {
        let dir = tempfile::Builder::new().prefix("daruma-host-").tempdir_in("/var/tmp")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        bundles.push(build(host, dir.path())?);
        let found = traces(dir.path(), host)?;
        ensure!(found.is_empty(), "of the host {} there is something in:\n{found}", host.name);
        // Only root can delete files of root.
        run(as_root("rm").arg("-rf").args([dir.path().join("outer"), dir.path().join("root")]))?;
        run(as_root("chmod").args(["-R", "a+rwX"]).arg(dir.path()))?;
    }
    ensure!(bundles[0] == bundles[1], "the bundles differ");
    Ok(())
}
