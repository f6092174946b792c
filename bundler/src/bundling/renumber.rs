//! Gives users and groups of a root filesystem the numbers that the last lock has for them.
//!
//! `lock` knows the numbers. `rootfs` calls this inside the root's namespace, after each action
//! that can make accounts.
//!
//! Packages make accounts in the order in which they are configured, with three different
//! programs. All of them may choose; afterwards numbers and owners are changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::lock::Accounts;

/// The first number that programs choose for system accounts, and the first of people.
const SYSTEM: u32 = 100;
const PEOPLE: u32 = 1000;

/// The attribute that a change of the owner removes.
const CAPABILITY: &str = "security.capability";

/// New numbers by those of now.
type Numbers = BTreeMap<u32, u32>;

/// Changes the accounts below `root` that have other numbers than in `kept`, and their files.
///
/// # Errors
/// Two accounts with one number would have to get two, or a file cannot be changed.
pub fn renumber(root: &Path, kept: &Accounts) -> Result<()> {
    let read = |name: &str| fs::read(root.join("etc").join(name)).unwrap_or_default();
    let now = Accounts::parse(&read("passwd"), &read("group"));
    let users = numbers("user", &kept.users, &now.users)?;
    let groups = numbers("group", &kept.groups, &now.groups)?;
    if users.is_empty() && groups.is_empty() {
        return Ok(());
    }
    for (name, columns) in
        [("passwd", &[(2, &users), (3, &groups)][..]), ("group", &[(2, &groups)])]
    {
        for end in ["", "-"] {
            let path = root.join("etc").join(format!("{name}{end}"));
            let Ok(text) = fs::read_to_string(&path) else { continue };
            // The content is written in place, so that owner and mode stay.
            let doing = || format!("writing {}", path.display());
            fs::write(&path, rewritten(&text, columns)).with_context(doing)?;
        }
    }
    let device = fs::metadata(root).with_context(|| format!("reading {}", root.display()))?.dev();
    own(root, device, &users, &groups)
}

/// Returns which numbers change. An account that `kept` does not name moves out of the way.
fn numbers(
    kind: &str,
    kept: &BTreeMap<String, u32>,
    now: &BTreeMap<String, u32>,
) -> Result<Numbers> {
    let mut taken: BTreeSet<u32> = kept.values().copied().collect();
    let fresh = now.iter().filter(|(name, _)| !kept.contains_key(*name));
    let (moving, staying): (Vec<_>, Vec<_>) = fresh.partition(|(_, number)| taken.contains(number));
    taken.extend(staying.into_iter().map(|(_, number)| number));
    let mut wanted: BTreeMap<&String, u32> = BTreeMap::new();
    for (name, &number) in moving {
        let first = if number < PEOPLE { SYSTEM } else { PEOPLE };
        let shared = now.iter().any(|(other, n)| *n == number && other != name);
        let is_alias =
            shared && kept.iter().any(|(other, n)| *n == number && now.get(other) == Some(n));
        if is_alias {
            continue;
        }
        let free = (first..u32::MAX).find(|number| !taken.contains(number));
        let free = free.with_context(|| format!("no number is free for the {kind} {name}"))?;
        taken.insert(free);
        wanted.insert(name, free);
    }
    let mut changed = Numbers::new();
    for (name, &number) in now {
        let to = kept.get(name).or_else(|| wanted.get(name)).copied().unwrap_or(number);
        if let Some(other) = changed.insert(number, to)
            && other != to
        {
            bail!(
                "the {kind} {name} shares the number {number} with another one, and the lock gives \
                    them {to} and {other}; give them numbers of their own, or remove the lock"
            );
        }
    }
    changed.retain(|from, to| from != to);
    Ok(changed)
}

/// Changes numbers in the fields of each line.
fn rewritten(text: &str, columns: &[(usize, &Numbers)]) -> String {
    let line = |line: &str| {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        for (column, numbers) in columns {
            let Some(field) = fields.get_mut(*column) else { continue };
            if let Some(to) = field.parse().ok().and_then(|number: u32| numbers.get(&number)) {
                *field = to.to_string();
            }
        }
        fields.join(":")
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Changes the owner of a file and of everything below it on the same filesystem.
fn own(path: &Path, device: u64, users: &Numbers, groups: &Numbers) -> Result<()> {
    let doing = || format!("changing the owner of {}", path.display());
    let metadata = path.symlink_metadata().with_context(doing)?;
    if metadata.dev() != device {
        return Ok(());
    }
    let (user, group) = (users.get(&metadata.uid()), groups.get(&metadata.gid()));
    if user.is_some() || group.is_some() {
        let kind = metadata.file_type();
        let capability = if kind.is_file() { capability(path).with_context(doing)? } else { None };
        lchown(path, user.copied(), group.copied()).with_context(doing)?;
        if !kind.is_symlink() {
            // The kernel takes setuid and setgid bits and capabilities away with the owner.
            let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(path, mode).with_context(doing)?;
        }
        if let Some(value) = capability {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(path, CAPABILITY, &value, flags).with_context(doing)?;
        }
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(doing)? {
            own(&entry.with_context(doing)?.path(), device, users, groups)?;
        }
    }
    Ok(())
}

fn capability(path: &Path) -> rustix::io::Result<Option<Vec<u8>>> {
    // The largest form has 24 bytes.
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path, CAPABILITY, &mut value) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(accounts: &[(&str, u32)]) -> BTreeMap<String, u32> {
        accounts.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn accounts_get_their_old_numbers_and_new_ones_move_out_of_the_way() {
        let kept = table(&[("root", 0), ("postgres", 101), ("sshd", 102), ("gone", 103)]);
        let now = table(&[("root", 0), ("sshd", 101), ("fresh", 102), ("postgres", 103)]);
        // Nobody gets 103: files in a device's /var may still belong to the account that is gone.
        assert_eq!(
            numbers("user", &kept, &now).unwrap(),
            Numbers::from([(101, 102), (102, 100), (103, 101)])
        );
        assert_eq!(numbers("user", &kept, &kept).unwrap(), Numbers::new());
    }

    #[test]
    fn an_alias_of_a_kept_account_stays_and_two_numbers_for_one_are_refused() {
        let kept = table(&[("root", 0), ("a", 101), ("b", 102)]);
        let alias = table(&[("root", 0), ("toor", 0)]);
        assert_eq!(numbers("user", &kept, &alias).unwrap(), Numbers::new());
        let shared = table(&[("a", 105), ("b", 105)]);
        let error = numbers("user", &kept, &shared).unwrap_err().to_string();
        assert!(error.contains("shares the number 105"), "{error}");
    }

    #[test]
    fn both_files_and_all_owners_change_and_setgid_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:\nme:x:7:9::/:\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nus:x:9:me\n").unwrap();
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
        let (users, groups) = (Numbers::from([(7, 101)]), Numbers::from([(9, 0)]));
        let text = rewritten(&passwd, &[(2, &users), (3, &groups)]);
        assert_eq!(text, "root:x:0:0::/:\nme:x:101:0::/:\n");
        // This user may give a file to itself only; that is enough to lose the bit.
        let file = root.join("tool");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o2755)).unwrap();
        let metadata = fs::metadata(&file).unwrap();
        let same = Numbers::from([(metadata.gid(), metadata.gid())]);
        own(root, metadata.dev(), &Numbers::new(), &same).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o2755);
    }
}
