//! Which paths the image or the device always wins.
//!
//! The new image brings the policy in `/usr/lib/daruma/etc.conf`; the caller reads it. `merge` asks
//! for each path that the device has changed.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::accounts::AccountFile;

/// Who wins a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Winner {
    /// The device's change is given up.
    Image,
    /// The device's change stays whole and is no conflict.
    Device,
}

/// The rules that hold if the policy of the image says nothing.
const BUILT_IN: [(Winner, &str); 14] = [
    // ldconfig makes it from the libraries of the image.
    (Winner::Image, "ld.so.cache"),
    // It says for which /usr this /etc was set up (systemd-update-done.service).
    (Winner::Image, ".updated"),
    // These are the device's own. The image has none, or a placeholder.
    (Winner::Device, "machine-id"),
    (Winner::Device, "hostname"),
    (Winner::Device, "hostid"),
    (Winner::Device, "adjtime"),
    (Winner::Device, "ssh/ssh_host_*"),
    // The tools that change the account files keep the last content here.
    (Winner::Device, "passwd-"),
    (Winner::Device, "group-"),
    (Winner::Device, "shadow-"),
    (Winner::Device, "gshadow-"),
    (Winner::Device, "subuid-"),
    (Winner::Device, "subgid-"),
    (Winner::Device, ".pwd.lock"),
];

/// The rules: those of the image, then the built-in ones. The first that fits a path counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    rules: Vec<(Winner, Vec<u8>)>,
    faults: Vec<(usize, &'static str)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::parse(b"")
    }
}

impl Policy {
    /// Reads a policy. A line is `image = PATH`, `device = PATH`, a comment (`#`) or empty. A line
    /// that is none of these is ignored, and the report names it.
    ///
    /// The path is below /etc, without `/etc/`. `*` stands for any part of a name. `/**` at the end
    /// stands for the folder and everything in it.
    pub fn parse(text: &[u8]) -> Self {
        let mut policy = Self { rules: Vec::new(), faults: Vec::new() };
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            match rule(line) {
                Ok(rule) => policy.rules.push(rule),
                Err(fault) => policy.faults.push((number + 1, fault)),
            }
        }
        let built_in = BUILT_IN.iter().map(|(winner, path)| (*winner, path.as_bytes().to_vec()));
        policy.rules.extend(built_in);
        policy
    }

    /// Number and fault of each line that means nothing.
    pub fn faults(&self) -> &[(usize, &'static str)] {
        &self.faults
    }

    /// How many rules there are, with the built-in ones.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Who wins the path, if a rule fits it. The account files always merge.
    pub(crate) fn winner(&self, path: &Path) -> Option<Winner> {
        let path = path.as_os_str().as_bytes();
        if AccountFile::named(path).is_some() {
            return None;
        }
        let rule = self.rules.iter().find(|(_, pattern)| fits(pattern, path));
        rule.map(|(winner, _)| *winner)
    }
}

fn rule(line: &[u8]) -> Result<(Winner, Vec<u8>), &'static str> {
    let middle = line.iter().position(|byte| *byte == b'=').ok_or("it is not KEY = PATH")?;
    let (key, path) = (line[..middle].trim_ascii(), line[middle + 1..].trim_ascii());
    let winner = match key {
        b"image" => Winner::Image,
        b"device" => Winner::Device,
        _ => return Err("the key is image or device"),
    };
    let names = path.strip_suffix(b"/**").unwrap_or(path);
    let mut parts = names.split(|byte| *byte == b'/');
    if parts.any(|part| matches!(part, b"" | b"." | b"..") || part.windows(2).any(|w| w == b"**")) {
        return Err("the path is below /etc, like ssh/ssh_host_* or foo.d/**");
    }
    if AccountFile::named(path).is_some() {
        return Err("the account files always merge");
    }
    Ok((winner, path.to_vec()))
}

fn fits(pattern: &[u8], path: &[u8]) -> bool {
    let below = pattern.strip_suffix(b"/**");
    let mut names = path.split(|byte| *byte == b'/');
    for part in below.unwrap_or(pattern).split(|byte| *byte == b'/') {
        if !names.next().is_some_and(|name| fits_name(part, name)) {
            return false;
        }
    }
    below.is_some() || names.next().is_none()
}

/// `*` stands for any bytes.
fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut next, mut star) = (0, 0, None);
    while next < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, next));
            at += 1;
        } else if pattern.get(at) == Some(&name[next]) {
            at += 1;
            next += 1;
        } else if let Some((place, taken)) = star {
            // The last star takes one byte more.
            star = Some((place, taken + 1));
            at = place + 1;
            next = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stars_and_whole_folders_fit() {
        let text = b"# ours\n image = a/b*d \n\ndevice=foo.d/**\nimage = foo.d/x\n";
        let policy = Policy::parse(text);
        assert_eq!(policy.faults, []);
        for (path, winner) in [
            ("a/bd", Some(Winner::Image)),
            ("a/bcccd", Some(Winner::Image)),
            ("a/bc", None),
            ("a/b/d", None),
            ("a", None),
            ("foo.d", Some(Winner::Device)),
            ("foo.d/x", Some(Winner::Device)),
            ("foo.d/x/y", Some(Winner::Device)),
            ("foo.dd", None),
            ("ld.so.cache", Some(Winner::Image)),
            ("ssh/ssh_host_rsa_key.pub", Some(Winner::Device)),
            ("ssh/sshd_config", None),
            ("machine-id", Some(Winner::Device)),
            ("passwd-", Some(Winner::Device)),
            ("passwd", None),
        ] {
            assert_eq!(policy.winner(Path::new(path)), winner, "{path}");
        }
    }

    #[test]
    fn the_image_may_overrule_what_is_built_in_but_not_the_account_files() {
        let policy = Policy::parse(b"image = hostname\ndevice = *\n");
        assert_eq!(policy.winner(Path::new("hostname")), Some(Winner::Image));
        assert_eq!(policy.winner(Path::new("shadow")), None);
    }

    #[test]
    fn a_bad_line_is_named_and_ignored() {
        let text = b"image\nboth = a\nimage = /a\nimage = a/../b\nimage = \nimage = a**b\n\
            image = passwd\ndevice = /**\nimage = \xff\n";
        let policy = Policy::parse(text);
        let lines: Vec<usize> = policy.faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(policy.rules.len(), BUILT_IN.len() + 1);
    }
}
