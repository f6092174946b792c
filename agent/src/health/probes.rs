//! Checks that need no program: a default route, a host name, a process.
//!
//! `check` chooses the check and its time limit. The error of a check is the end of a sentence that
//! begins with its name.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Succeeds if the kernel's tables below `net` have a default route, IPv4 or IPv6, that is up.
pub(crate) fn default_route(net: &Path) -> Result<(), String> {
    const UP: u32 = 1;
    const REJECT: u32 = 0x200;
    let is_usable =
        |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (UP | REJECT) == UP);
    // Iface Destination Gateway Flags RefCnt Use Metric Mask ...
    let ipv4 = fs::read_to_string(net.join("route")).unwrap_or_default().lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        matches!(fields[..], [_, "00000000", _, flags, _, _, _, "00000000", ..] if is_usable(flags))
    });
    // destination prefix source prefix next-hop metric refcnt use flags device
    let ipv6 = fs::read_to_string(net.join("ipv6_route")).unwrap_or_default().lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        matches!(fields[..], [destination, "00", _, _, _, _, _, _, flags, device]
            if destination.bytes().all(|byte| byte == b'0') && device != "lo" && is_usable(flags))
    });
    if ipv4 || ipv6 { Ok(()) } else { Err("found none".to_owned()) }
}

/// Succeeds if the system's resolver knows an address of `host`.
pub(crate) async fn resolves(host: &str, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(mut addresses)) => {
            addresses.next().map(drop).ok_or_else(|| "gave no address".to_owned())
        }
        Ok(Err(error)) => Err(format!("did not resolve: {error}")),
        Err(_) => Err(format!("gave no answer within {:.1} s", limit.as_secs_f64())),
    }
}

/// Succeeds if a process called `name` runs, by the tables below `proc`.
pub(crate) fn process_runs(proc: &Path, name: &str) -> Result<(), String> {
    // TASK_COMM_LEN is 16 with the final zero. The full name is at the start of cmdline.
    let short: String = name.chars().take(15).collect();
    let entries = fs::read_dir(proc)
        .map_err(|error| format!("cannot be run: {}: {error}", proc.display()))?;
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.trim_end() != short {
            continue;
        }
        if name.len() <= 15 {
            return Ok(());
        }
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let program = cmdline.split(|byte| *byte == 0).next().unwrap_or_default();
        if program.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes()) {
            return Ok(());
        }
    }
    Err("does not run".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_of_either_kind_is_enough() {
        let net = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(net.path().join(name), text).unwrap();
        assert!(default_route(net.path()).is_err());
        write(
            "route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                        eth0\t000AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
        );
        let none = "00000000000000000000000000000000";
        // Every kernel with IPv6 has this: the reject route on lo.
        write(
            "ipv6_route",
            &format!("{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n"),
        );
        assert!(default_route(net.path()).is_err());
        write(
            "ipv6_route",
            &format!(
                "{none} 00 {none} 00 fe800000000000000000000000000001 00000400 00000001 00000000 \
                    00000003     eth0\n"
            ),
        );
        default_route(net.path()).unwrap();
        write("ipv6_route", "");
        write("route", "Iface\nppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n");
        default_route(net.path()).unwrap();
    }

    #[test]
    fn a_process_is_found_by_its_name_however_long() {
        let proc = tempfile::tempdir().unwrap();
        let add = |pid: &str, comm: &str, cmdline: &str| {
            fs::create_dir(proc.path().join(pid)).unwrap();
            fs::write(proc.path().join(pid).join("comm"), comm).unwrap();
            fs::write(proc.path().join(pid).join("cmdline"), cmdline).unwrap();
        };
        add("12", "dnsmasq\n", "/usr/sbin/dnsmasq\0-k\0");
        add("13", "systemd-network\n", "/lib/systemd/systemd-networkd\0");
        add("self", "hidden\n", "hidden\0");
        process_runs(proc.path(), "dnsmasq").unwrap();
        process_runs(proc.path(), "systemd-networkd").unwrap();
        assert!(process_runs(proc.path(), "systemd-networking").is_err());
        assert!(process_runs(proc.path(), "hidden").is_err());
    }

    #[test]
    fn a_name_resolves_through_the_systems_resolver() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limit = Duration::from_secs(20);
        runtime.block_on(resolves("localhost", limit)).unwrap();
        assert!(runtime.block_on(resolves("no such host", limit)).is_err());
    }
}
