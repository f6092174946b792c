//! Tells systemd that the work of a first boot is done, if it is done.
//!
//! While /etc/.updated or /var/.updated is older than /usr, systemd makes the users, the cache of
//! libraries and some databases anew (ConditionNeedsUpdate= in systemd.unit(5)). The packages did
//! that when they were installed, so the image brings both files. `daruma-init` hides them from a
//! device that has files of its own which this work reads.
//! Read `libraries`, `accounts`, `messages`.

mod accounts;
mod libraries;
mod messages;

use anyhow::Result;

use crate::bundling::tree::{Content, Inode, Kind, Tree};

/// The stamps that systemd compares with /usr.
const STAMPS: [&str; 2] = ["etc/.updated", "var/.updated"];
/// Folders of units, in the image.
const UNITS: [&str; 3] =
    ["etc/systemd/system", "usr/lib/systemd/system", "usr/local/lib/systemd/system"];
/// The units of the work that this module knows.
const KNOWN: [&str; 5] = [
    "ldconfig.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-sysusers.service",
    "systemd-update-done.service",
];

/// Adds the stamps to a system with systemd. If some of the work is not done, says which, and
/// removes the stamps: each device then does all of it.
///
/// # Errors
/// A file of the tree cannot be read.
pub fn settle(tree: &mut Tree) -> Result<()> {
    let Some(mtime) = tree.get("usr").map(|usr| usr.mtime) else { return Ok(()) };
    if tree.get("usr/lib/systemd/systemd").is_none() {
        return Ok(());
    }
    for stamp in STAMPS {
        tree.remove(stamp);
    }
    let checks = [libraries::undone, accounts::undone, hardware, messages::undone, other_units];
    for check in checks {
        if let Some(undone) = check(tree)? {
            eprintln!("note: systemd's work at updates is left to each device: {undone}");
            return Ok(());
        }
    }
    // systemd-update-done(8) writes the time into the file too.
    let text = format!(
        "# What systemd does while this is older than /usr is done in this image.\n\
         TIMESTAMP_NSEC={}\n",
        u64::from(mtime) * 1_000_000_000
    );
    for stamp in STAMPS {
        let content = Content::Bytes(text.clone().into_bytes().into());
        tree.insert(stamp, Inode::new(Kind::File(content), 0o644, mtime));
    }
    Ok(())
}

/// systemd-hwdb-update.service compiles the sources of the hardware database.
fn hardware(tree: &Tree) -> Result<Option<String>> {
    let places = [
        ("etc/udev/hwdb.d", &["etc/udev/hwdb.bin"][..]),
        ("usr/local/lib/udev/hwdb.d", &["etc/udev/hwdb.bin"]),
        ("usr/lib/udev/hwdb.d", &["usr/lib/udev/hwdb.bin", "etc/udev/hwdb.bin"]),
    ];
    for (sources, compiled) in places {
        let source = tree.below(sources).find(|path| path.ends_with(".hwdb"));
        if let Some(source) = source
            && !compiled.iter().any(|path| tree.get(path).is_some())
        {
            return Ok(Some(format!(
                "/{source} is not compiled into /{}; run `systemd-hwdb update` in the recipe",
                compiled[0]
            )));
        }
    }
    Ok(None)
}

/// A unit of somebody else may wait for an update in the same way.
fn other_units(tree: &Tree) -> Result<Option<String>> {
    for path in UNITS.iter().flat_map(|folder| tree.below(folder)) {
        let is_known = path.rsplit('/').next().is_some_and(|name| KNOWN.contains(&name));
        let is_file = tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::File(_)));
        if is_file && !is_known {
            let bytes = tree.read(path)?;
            if String::from_utf8_lossy(&bytes).contains("NeedsUpdate=") {
                return Ok(Some(format!("/{path} has ConditionNeedsUpdate=")));
            }
        }
    }
    Ok(None)
}
