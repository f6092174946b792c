//! The secrets that packages are known to make while they are installed, and how a device makes its
//! own.
//!
//! `mod` refuses the others. The units lie in agent/dist.

use crate::bundling::tree::{Kind, Tree, glob};

/// One kind of secret.
struct Known {
    /// Patterns over absolute paths.
    paths: &'static [&'static str],
    /// How a device makes it anew. `None`: the program that uses it does.
    anew: Option<Anew>,
}

/// What makes a secret anew at boot.
struct Anew {
    /// Files without which nothing is added.
    needs: &'static [&'static str],
    /// Files that are added unless the tree has them: path, content.
    files: &'static [(&'static str, &'static str)],
    /// Links that start the unit: path, target.
    links: &'static [(&'static str, &'static str)],
}

const SYSTEMD: &str = "usr/lib/systemd/systemd";
const KNOWN: &[Known] = &[
    Known {
        paths: &["/etc/ssh/ssh_host_*"],
        anew: Some(Anew {
            needs: &[SYSTEMD, "usr/sbin/sshd", "usr/bin/ssh-keygen"],
            files: &[
                // Debian 13 has a unit of this name. Debian 12 has none.
                (
                    "usr/lib/systemd/system/sshd-keygen.service",
                    include_str!("../../../../../agent/dist/sshd-keygen.service"),
                ),
                (
                    "usr/lib/systemd/system/sshd-keygen.service.d/daruma.conf",
                    include_str!("../../../../../agent/dist/sshd-keygen.conf"),
                ),
            ],
            links: &[
                (
                    "usr/lib/systemd/system/ssh.service.wants/sshd-keygen.service",
                    "../sshd-keygen.service",
                ),
                (
                    "usr/lib/systemd/system/ssh.socket.wants/sshd-keygen.service",
                    "../sshd-keygen.service",
                ),
            ],
        }),
    },
    // ssl-cert's certificate, which other packages' services use until they get a better one.
    Known {
        paths: &["/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"],
        anew: Some(Anew {
            needs: &[SYSTEMD, "usr/sbin/make-ssl-cert"],
            files: &[(
                "usr/lib/systemd/system/ssl-cert-snakeoil.service",
                include_str!("../../../../../agent/dist/ssl-cert-snakeoil.service"),
            )],
            links: &[(
                "usr/lib/systemd/system/basic.target.wants/ssl-cert-snakeoil.service",
                "../ssl-cert-snakeoil.service",
            )],
        }),
    },
    Known {
        paths: &[
            "/var/lib/NetworkManager/secret_key",
            "/var/lib/systemd/credential.secret",
            "/var/lib/systemd/random-seed",
            "/var/lib/urandom/random-seed",
            // nvme takes the number of the mainboard without these.
            "/etc/nvme/hostid",
            "/etc/nvme/hostnqn",
        ],
        anew: None,
    },
];
/// dbus has a copy of the machine's id where it has no link. systemd-tmpfiles makes the link.
const DBUS_ID: &str = "var/lib/dbus/machine-id";

/// Removes the known secrets but those that are kept, and adds what makes them anew.
pub(super) fn settle(tree: &mut Tree, is_kept: &dyn Fn(&str) -> bool) {
    for known in KNOWN {
        let goes = |path: &str| {
            let path = format!("/{path}");
            known.paths.iter().any(|pattern| glob::matches(pattern, &path)) && !is_kept(&path)
        };
        let gone: Vec<String> =
            tree.below("").filter(|path| goes(path)).map(str::to_owned).collect();
        for path in &gone {
            tree.remove(path);
            remove_links(tree, path);
        }
        if let Some(anew) = &known.anew {
            add(tree, anew);
        }
    }
    if tree.get(DBUS_ID).is_some_and(|inode| matches!(inode.kind, Kind::File(_))) {
        tree.remove(DBUS_ID);
    }
}

/// Removes links in a removed file's folder that led to it. openssl finds a certificate by such a
/// link.
fn remove_links(tree: &mut Tree, gone: &str) {
    let Some((folder, name)) = gone.rsplit_once('/') else { return };
    let leads_there = |path: &str| {
        let target = tree.get(path).map(|inode| &inode.kind);
        matches!(target, Some(Kind::Symlink(to)) if to == name || *to == format!("/{gone}"))
    };
    let links: Vec<String> =
        tree.below(folder).filter(|path| leads_there(path)).map(str::to_owned).collect();
    for link in links {
        tree.remove(&link);
    }
}

fn add(tree: &mut Tree, anew: &Anew) {
    if anew.needs.iter().any(|path| tree.get(path).is_none()) {
        return;
    }
    for (path, text) in anew.files {
        if tree.get(path).is_none() {
            tree.put(path, 0o644, text.as_bytes());
        }
    }
    for (path, target) in anew.links {
        tree.put_symlink(path, target);
    }
}
