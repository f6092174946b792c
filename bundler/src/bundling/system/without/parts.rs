//! What each part is: its packages, and its files that no package owns.
//!
//! `packages` takes packages out, and `hwdb` keeps a part of the hardware database.

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::{Context, Result};
use image_layout::Amount;

use crate::bundling::system::without::{hwdb, packages};
use crate::bundling::tree::{Kind, Tree, glob};
use crate::recipe::Part;

/// The packages and files of a part.
struct Content {
    /// Patterns of packages' names.
    packages: &'static [&'static str],
    /// Patterns of absolute paths.
    files: &'static [&'static str],
}

const APT: Content = Content {
    packages: &["apt", "apt-utils", "debian-archive-keyring", "gpgv", "libapt-pkg*", "sqv"],
    files: &["/etc/apt/", "/usr/lib/apt/", "/usr/share/keyrings/", "/var/lib/apt/"],
};
/// The database of packages stays.
const DPKG: Content = Content {
    packages: &[
        "adduser",
        "debconf",
        "debconf-i18n",
        "dpkg",
        "init-system-helpers",
        "linux-base",
        "runit-helper",
        "tiny-initramfs",
        "tiny-initramfs-core",
        "ucf",
    ],
    files: &[
        "/etc/dpkg/",
        "/usr/share/debconf/",
        "/var/cache/debconf/",
        "/var/lib/dpkg/info/*.config",
        "/var/lib/dpkg/info/*.postinst",
        "/var/lib/dpkg/info/*.postrm",
        "/var/lib/dpkg/info/*.preinst",
        "/var/lib/dpkg/info/*.prerm",
        "/var/lib/dpkg/info/*.shlibs",
        "/var/lib/dpkg/info/*.symbols",
        "/var/lib/dpkg/info/*.templates",
        "/var/lib/dpkg/info/*.triggers",
        "/var/lib/dpkg/triggers/",
        "/var/lib/ucf/",
    ],
};
const PERL: Content = Content {
    packages: &["lib*-perl", "libperl*", "perl", "perl-base", "perl-modules-*"],
    files: &["/etc/perl/", "/usr/lib/*/perl*/", "/usr/share/perl*/"],
};
/// glibc itself knows UTF-8 and ASCII.
const GCONV: Content = Content { packages: &[], files: &["/usr/lib/*/gconv/"] };

/// Folders in which scripts lie.
const SCRIPTS: [&str; 4] = ["etc", "usr/bin", "usr/lib", "usr/sbin"];

/// Leaves the parts out, and says how large each was.
///
/// # Errors
/// The tar cannot be read, or a database in the tree is damaged.
pub fn leave_out(tree: &mut Tree, parts: &[Part]) -> Result<()> {
    let mut said = Vec::new();
    for part in parts {
        let before = files(tree);
        match part {
            Part::Apt => leave(tree, &APT)?,
            Part::Dpkg => leave(tree, &DPKG)?,
            Part::Perl => {
                leave(tree, &PERL)?;
                scripts_of(tree, "perl")?;
            }
            Part::Gconv => leave(tree, &GCONV)?,
            Part::Hwdb => hwdb::keep_network(tree)?,
        }
        forget_links(tree, &before);
        let after = files(tree);
        let bytes = bytes(&before).saturating_sub(bytes(&after));
        said.push(format!("{} {}", part.name(), Amount(bytes)));
    }
    if !said.is_empty() {
        eprintln!("Left out, before compression: {}", said.join(", "));
    }
    Ok(())
}

fn leave(tree: &mut Tree, content: &Content) -> Result<()> {
    packages::leave_out(tree, content.packages)?;
    tree.remove_below("", |path| {
        content.files.iter().any(|pattern| glob::matches(pattern, &format!("/{path}")))
    });
    Ok(())
}

/// The paths of all regular files, with their sizes in bytes.
fn files(tree: &Tree) -> BTreeSet<(String, u64)> {
    let size = |(path, id): (&str, _)| match &tree.inode(id).kind {
        Kind::File(content) => Some((path.to_owned(), content.len())),
        _ => None,
    };
    tree.iter().filter_map(size).collect()
}

fn bytes(files: &BTreeSet<(String, u64)>) -> u64 {
    files.iter().map(|(_, size)| size).sum()
}

/// Removes the scripts of an interpreter that is gone.
fn scripts_of(tree: &mut Tree, interpreter: &str) -> Result<()> {
    let mut scripts = Vec::new();
    for dir in SCRIPTS {
        for path in tree.below(dir) {
            let Some(Kind::File(content)) = tree.get(path).map(|inode| &inode.kind) else {
                continue;
            };
            let mut head = Vec::new();
            let reading = || format!("reading {path}");
            content.reader().take(64).read_to_end(&mut head).with_context(reading)?;
            if runs_with(&head, interpreter) {
                scripts.push(path.to_owned());
            }
        }
    }
    for path in scripts {
        tree.remove(&path);
    }
    Ok(())
}

/// Returns true if the first line of a script names the interpreter, such as
/// `#!/usr/bin/env perl -w`.
fn runs_with(head: &[u8], interpreter: &str) -> bool {
    let Some(line) = head.strip_prefix(b"#!").and_then(|rest| rest.split(|c| *c == b'\n').next())
    else {
        return false;
    };
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next();
    let name = if first == Some("env") { words.next() } else { first };
    // `perl5.40` is perl too.
    name.and_then(|name| name.strip_prefix(interpreter))
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Removes the symbolic links whose file was there before and is gone: a link that enables a unit,
/// or another name of a program.
fn forget_links(tree: &mut Tree, before: &BTreeSet<(String, u64)>) {
    let gone: BTreeSet<&str> = before
        .iter()
        .map(|(path, _)| path.as_str())
        .filter(|path| tree.get(path).is_none())
        .collect();
    let is_gone = |path: &str, target: &str| {
        let target = resolved(path, target);
        gone.contains(target.as_str()) || gone.contains(format!("usr/{target}").as_str())
    };
    let links: Vec<String> = tree
        .iter()
        .filter(|(path, id)| match &tree.inode(*id).kind {
            Kind::Symlink(target) => is_gone(path, target),
            _ => false,
        })
        .map(|(path, _)| path.to_owned())
        .collect();
    for link in links {
        tree.remove(&link);
    }
}

/// Returns the path that a link at `path` leads to, without a leading `/`.
fn resolved(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => path.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_first_line_names_its_interpreter() {
        for line in ["#!/usr/bin/perl\n", "#! /usr/bin/perl -w\nx", "#!/usr/bin/env perl5.40"] {
            assert!(runs_with(line.as_bytes(), "perl"), "{line}");
        }
        for line in ["#!/bin/sh\nperl\n", "perl", "#!/usr/bin/perldoc\n", "#!\n", "\x7fELF"] {
            assert!(!runs_with(line.as_bytes(), "perl"), "{line}");
        }
    }

    #[test]
    fn links_are_followed_from_their_own_folder() {
        assert_eq!(resolved("etc/a/b", "../../usr/bin/c"), "usr/bin/c");
        assert_eq!(resolved("etc/a/b", "/usr/./bin/c"), "usr/bin/c");
        assert_eq!(resolved("etc/a/b", "c"), "etc/a/c");
    }
}
