//! Gives the files in /var to the new numbers of their accounts.
//!
//! The same account may have another number in another system. `etc_merge::renumbered` compares the
//! numbers of the system that ran last with those of the system that starts. This happens in both
//! directions: a device that falls back gets the old numbers back.
//!
//! On disk, in /var/lib/daruma: `owners` says which system ran last and which numbers it had. It
//! has the root hash, the users and the groups, each ended by a NUL byte. `owners.todo` is a change
//! that has begun: the `owners` of afterwards, and one record for each file, ended by a NUL byte. A
//! record has the old user, old group, new user, new group and set-id mode in decimal, and the
//! path. The list is durable before the first file changes, so a boot after a power cut finishes
//! the change, whichever system it starts.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use etc_merge::{AccountKind, Renumbered, renumbered};
use image_layout::Slot;

use crate::kernel::console;
use crate::root::tree;

/// The file with the numbers of the system that ran last, in [`OWN`].
pub(crate) const RECORD: &str = "owners";
/// The folder of /var that belongs to Daruma. The uppers in it have the numbers of their own
/// system.
const OWN: &str = "lib/daruma";
/// The part of it whose files belong to accounts.
const FOLDERS: &str = "lib/daruma/folders";
/// Set-user-ID and set-group-ID. A change of the owner clears them.
const SET_ID: u32 = 0o6000;
/// Bytes of an account file above which it is not read.
const LIMIT: u64 = 1 << 20;

/// The numbers of the system that ran last.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Owners {
    /// Its root hash
    system: String,
    /// As in /etc/passwd: name, an empty field, number
    users: String,
    /// As in /etc/group
    groups: String,
}

impl Owners {
    fn encode(&self) -> Vec<u8> {
        format!("{}\0{}\0{}\0", self.system, self.users, self.groups).into_bytes()
    }

    /// Reads the next three fields. Returns `None` if they are not there.
    fn decode(bytes: &mut impl io::BufRead) -> Result<Option<Self>> {
        let mut field = || -> Result<Option<String>> {
            Ok(field(bytes)?.and_then(|bytes| String::from_utf8(bytes).ok()))
        };
        let (Some(system), Some(users), Some(groups)) = (field()?, field()?, field()?) else {
            return Ok(None);
        };
        Ok(Some(Self { system, users, groups }))
    }
}

/// Reads to the next NUL byte. Returns `None` if there is none.
fn field(bytes: &mut impl io::BufRead) -> Result<Option<Vec<u8>>> {
    let mut field = Vec::new();
    bytes.read_until(0, &mut field).context("reading the owners of /var")?;
    Ok((field.pop() == Some(0)).then_some(field))
}

/// The owner of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Owner {
    user: u32,
    group: u32,
    /// The mode of a regular file that has [`SET_ID`], else 0
    mode: u32,
}

/// Reads and changes the owners of files. The tests keep them in a table.
struct Files<'a> {
    look: &'a dyn Fn(&Path) -> io::Result<Owner>,
    give: &'a mut dyn FnMut(&Path, Owner) -> io::Result<()>,
}

/// Settles the owners in `var`, before anything of the system runs. `etc` is the /etc of the system
/// that starts, from `slot`, with this root hash.
///
/// # Errors
/// /var cannot be read or written. What has begun goes on at the next boot.
pub(crate) fn settle(
    var: &Path,
    etc: &Path,
    slot: Slot,
    root_hash: &str,
    tick: &dyn Fn(),
) -> Result<()> {
    let files = Files { look: &look, give: &mut give };
    settle_with(var, etc, slot, root_hash, tick, files)
}

fn settle_with(
    var: &Path,
    etc: &Path,
    slot: Slot,
    root_hash: &str,
    tick: &dyn Fn(),
    mut files: Files<'_>,
) -> Result<()> {
    let record = var.join(OWN).join(RECORD);
    let todo = record.with_extension("todo");
    finish(var, &record, &todo, tick, &mut files)?;
    let now = Owners {
        system: root_hash.to_owned(),
        users: numbers(&etc.join("passwd")),
        groups: numbers(&etc.join("group")),
    };
    let last = fs::read(&record).ok();
    let last = last.and_then(|bytes| Owners::decode(&mut bytes.as_slice()).ok().flatten());
    let Some(last) = last else {
        // A device whose last system did not keep its numbers. That system could not take the files
        // back, so they stay as they are.
        return write(&record, &now);
    };
    if last == now {
        return Ok(());
    }
    let other = var.join(OWN).join("etc").join((!slot).name());
    let is_others = fs::read_to_string(other.join("identity"))
        .is_ok_and(|identity| identity.trim() == last.system);
    let now = Owners {
        users: with_gone(now.users, &last.users),
        groups: with_gone(now.groups, &last.groups),
        ..now
    };
    let changes = if is_others && last.system != root_hash {
        // What a person changed since that system started is in its upper.
        let changed = |name: &str, kept: &str| {
            let text = numbers(&other.join("upper").join(name));
            if text.is_empty() { kept.to_owned() } else { text }
        };
        let (users, groups) = (changed("passwd", &last.users), changed("group", &last.groups));
        renumbered(users.as_bytes(), groups.as_bytes(), now.users.as_bytes(), now.groups.as_bytes())
    } else {
        Vec::new()
    };
    if changes.is_empty() {
        return write(&record, &now);
    }
    plan(var, &changes, &now, &todo, tick, &files)?;
    let count = finish(var, &record, &todo, tick, &mut files)?;
    let names: Vec<String> = changes
        .iter()
        .map(|change| {
            let kind = if change.kind == AccountKind::User { "user" } else { "group" };
            format!("{kind} {} {} -> {}", change.name, change.old, change.new)
        })
        .collect();
    console::say(&format!("{count} files in /var have new owners: {}", names.join(", ")));
    Ok(())
}

fn write(record: &Path, owners: &Owners) -> Result<()> {
    tree::write_durably(record, &owners.encode())
}

/// Returns the entries of an account file with their numbers, and nothing else of it.
fn numbers(path: &Path) -> String {
    let is_small = |stat: fs::Metadata| stat.is_file() && stat.len() <= LIMIT;
    if !fs::symlink_metadata(path).is_ok_and(is_small) {
        return String::new();
    }
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        number.parse::<u32>().ok()?;
        // The rest of the fields, so that it reads as an entry of either file.
        let rest = if path.file_name() == Some("passwd".as_ref()) { ":0:::" } else { ":" };
        Some(format!("{name}::{number}{rest}\n"))
    };
    text.lines().filter_map(entry).collect()
}

/// Adds the entries of accounts that the system lacks. Their files may still be there, and the
/// account may come back.
fn with_gone(mut now: String, last: &str) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let names: HashSet<String> = now.lines().map(name).collect();
    for line in last.lines().filter(|line| !names.contains(&name(line))) {
        now += line;
        now.push('\n');
    }
    now
}

/// Writes the list of all files that change.
fn plan(
    var: &Path,
    changes: &[Renumbered],
    after: &Owners,
    todo: &Path,
    tick: &dyn Fn(),
    files: &Files<'_>,
) -> Result<()> {
    let of = |kind: AccountKind| -> HashMap<u32, u32> {
        let of_kind = changes.iter().filter(|change| change.kind == kind);
        of_kind.map(|change| (change.old, change.new)).collect()
    };
    let (users, groups) = (of(AccountKind::User), of(AccountKind::Group));
    let aside = todo.with_extension("new");
    let context = || format!("writing {}", aside.display());
    let mut list = BufWriter::new(File::create(&aside).with_context(context)?);
    list.write_all(&after.encode()).with_context(context)?;
    let device = fs::symlink_metadata(var)?.dev();
    let mut folders = vec![var.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder that cannot be read has files that no service reads either.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            tick();
            let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
            let below = path.strip_prefix(var).unwrap_or(&path);
            let Ok(stat) = fs::symlink_metadata(&path) else { continue };
            if stat.dev() != device {
                continue;
            }
            if stat.is_dir() {
                let leads_to_folders = Path::new(FOLDERS).starts_with(below);
                if !below.starts_with(OWN) || leads_to_folders || below.starts_with(FOLDERS) {
                    folders.push(path.clone());
                }
            }
            let Ok(is) = (files.look)(&path) else { continue };
            let user = *users.get(&is.user).unwrap_or(&is.user);
            let group = *groups.get(&is.group).unwrap_or(&is.group);
            if (user, group) == (is.user, is.group) {
                continue;
            }
            write!(list, "{} {} {user} {group} {} ", is.user, is.group, is.mode)
                .and_then(|()| list.write_all(below.as_os_str().as_bytes()))
                .and_then(|()| list.write_all(b"\0"))
                .with_context(context)?;
        }
    }
    list.into_inner().map_err(io::IntoInnerError::into_error).with_context(context)?;
    tree::sync(var)?;
    fs::rename(&aside, todo).with_context(|| format!("writing {}", todo.display()))?;
    tree::sync(var)
}

/// Does what the list says, if there is one, and takes it away. Returns the number of its files.
fn finish(
    var: &Path,
    record: &Path,
    todo: &Path,
    tick: &dyn Fn(),
    files: &mut Files<'_>,
) -> Result<u64> {
    let list = match File::open(todo) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        list => list.with_context(|| format!("reading {}", todo.display()))?,
    };
    let mut list = BufReader::new(list);
    let after = Owners::decode(&mut list)?;
    let mut count = 0;
    while let Some(bytes) = field(&mut list)? {
        tick();
        let (path, was, is) =
            parse(&bytes).with_context(|| format!("{} is damaged: remove it", todo.display()))?;
        let path = var.join(path);
        // The file may be gone, or may have been given to someone else by a system that knows
        // nothing of the list.
        let Ok(found) = (files.look)(&path) else { continue };
        let has = (found.user, found.group);
        let lost_mode = has == (is.user, is.group) && is.mode != 0 && found.mode != is.mode;
        if has == (was.user, was.group) || lost_mode {
            (files.give)(&path, is).with_context(|| format!("changing {}", path.display()))?;
        }
        count += 1;
    }
    tree::sync(var)?;
    if let Some(after) = after {
        write(record, &after)?;
    }
    fs::remove_file(todo).with_context(|| format!("removing {}", todo.display()))?;
    Ok(count)
}

/// Reads a record: the path, the old owner, the new owner.
fn parse(bytes: &[u8]) -> Result<(PathBuf, Owner, Owner)> {
    let mut fields = bytes.splitn(6, |byte| *byte == b' ');
    let mut number = || -> Result<u32> {
        let field = fields.next().context("a number is missing")?;
        Ok(std::str::from_utf8(field)?.parse()?)
    };
    let (was_user, was_group) = (number()?, number()?);
    let (user, group, mode) = (number()?, number()?, number()?);
    let path = Path::new(std::ffi::OsStr::from_bytes(fields.next().context("no path")?));
    let is_below = |part| matches!(part, std::path::Component::Normal(_));
    ensure!(path.components().all(is_below), "the path leads elsewhere");
    let was = Owner { user: was_user, group: was_group, mode };
    Ok((path.to_owned(), was, Owner { user, group, mode }))
}

fn look(path: &Path) -> io::Result<Owner> {
    let stat = fs::symlink_metadata(path)?;
    let mode = stat.mode() & 0o7777;
    let mode = if stat.is_file() && mode & SET_ID != 0 { mode } else { 0 };
    Ok(Owner { user: stat.uid(), group: stat.gid(), mode })
}

fn give(path: &Path, to: Owner) -> io::Result<()> {
    lchown(path, Some(to.user), Some(to.group))?;
    match to.mode {
        0 => Ok(()),
        mode => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A device whose files have their owners in a table, so that the tests need no root.
    struct Device {
        dir: tempfile::TempDir,
        table: RefCell<HashMap<PathBuf, Owner>>,
    }

    /// mosquitto and postgres; in the new system avahi has come before both.
    const OLD: &str = "root:x:0:0::/:\nmosquitto:x:100:100::/:\npostgres:x:101:101::/:\n";
    const NEW: &str =
        "root:x:0:0::/:\navahi:x:100:100::/:\nmosquitto:x:101:101::/:\npostgres:x:103:103::/:\n";

    impl Device {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["var/lib/daruma/etc/A/upper", "var/lib/daruma/etc/B/upper", "etc"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            let device = Self { dir, table: RefCell::default() };
            device.file("lib/mosquitto/db", 100, 100, 0);
            device.file("lib/postgresql/main", 101, 101, 0);
            device.file("lib/daruma/folders/srv/upper/data", 101, 101, 0);
            device.file("lib/daruma/etc/A/upper/conf", 101, 101, 0);
            device.file("log/mixed", 0, 101, 0);
            device.file("lib/helper", 101, 100, 0o4755);
            device
        }

        fn var(&self) -> PathBuf {
            self.dir.path().join("var")
        }

        fn file(&self, path: &str, user: u32, group: u32, mode: u32) {
            let path = self.var().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            self.table.borrow_mut().insert(path, Owner { user, group, mode });
        }

        /// Boots a system. The power fails before the change with number `cut`.
        fn boot(&self, slot: Slot, hash: &str, passwd: &str, cut: usize) -> Result<()> {
            let etc = self.dir.path().join("etc");
            let group: String = passwd
                .lines()
                .map(|line| line.split(':').take(3).collect::<Vec<_>>().join(":") + ":\n")
                .collect();
            fs::write(etc.join("passwd"), passwd)?;
            fs::write(etc.join("group"), group)?;
            let own = self.var().join("lib/daruma/etc").join(slot.name());
            fs::write(own.join("identity"), format!("{hash}\n"))?;
            let look = |path: &Path| {
                let other = Owner { user: 0, group: 0, mode: 0 };
                fs::symlink_metadata(path)?;
                Ok(*self.table.borrow().get(path).unwrap_or(&other))
            };
            let mut left = cut;
            let mut give = |path: &Path, to: Owner| {
                left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power fails"))?;
                self.table.borrow_mut().insert(path.to_owned(), to);
                Ok(())
            };
            let files = Files { look: &look, give: &mut give };
            settle_with(&self.var(), &etc, slot, hash, &|| {}, files)
        }

        fn owners(&self) -> Vec<(String, u32, u32, u32)> {
            let var = self.var();
            let table = self.table.borrow();
            let mut all: Vec<_> = table
                .iter()
                .map(|(path, owner)| {
                    let below = path.strip_prefix(&var).unwrap().to_str().unwrap().to_owned();
                    (below, owner.user, owner.group, owner.mode)
                })
                .collect();
            all.sort();
            all
        }
    }

    fn after_the_update() -> Vec<(String, u32, u32, u32)> {
        [
            ("lib/daruma/etc/A/upper/conf", 101, 101, 0),
            ("lib/daruma/folders/srv/upper/data", 103, 103, 0),
            ("lib/helper", 103, 101, 0o4755),
            ("lib/mosquitto/db", 101, 101, 0),
            ("lib/postgresql/main", 103, 103, 0),
            ("log/mixed", 0, 103, 0),
        ]
        .map(|(path, user, group, mode)| (path.to_owned(), user, group, mode))
        .to_vec()
    }

    #[test]
    fn files_follow_their_accounts_and_come_back() {
        let device = Device::new();
        let before = device.owners();
        device.boot(Slot::A, "v1", OLD, 0).unwrap();
        assert_eq!(device.owners(), before);
        device.boot(Slot::B, "v2", NEW, 99).unwrap();
        assert_eq!(device.owners(), after_the_update());
        // The next boot of the same system changes nothing.
        device.boot(Slot::B, "v2", NEW, 0).unwrap();
        device.boot(Slot::A, "v1", OLD, 99).unwrap();
        assert_eq!(device.owners(), before);
    }

    #[test]
    fn a_power_cut_at_any_change_is_finished_by_either_system() {
        for cut in 0..5 {
            let device = Device::new();
            let before = device.owners();
            device.boot(Slot::A, "v1", OLD, 0).unwrap();
            device.boot(Slot::B, "v2", NEW, cut).unwrap_err();
            if cut % 2 == 0 {
                device.boot(Slot::B, "v2", NEW, 99).unwrap();
                assert_eq!(device.owners(), after_the_update(), "cut before {cut}");
            }
            device.boot(Slot::A, "v1", OLD, 99).unwrap();
            assert_eq!(device.owners(), before, "cut before {cut}");
            assert!(!device.var().join("lib/daruma/owners.todo").exists());
        }
    }

    #[test]
    fn without_the_old_systems_numbers_nothing_changes() {
        let device = Device::new();
        let before = device.owners();
        device.boot(Slot::B, "v2", NEW, 0).unwrap();
        assert_eq!(device.owners(), before);
        // v1 knows nothing of this, and v3 comes in its place: v2 ran last, in the other slot.
        device.boot(Slot::A, "v3", NEW, 0).unwrap();
        // A system in between that left no trace: the record is of neither slot.
        device.boot(Slot::B, "v4", NEW, 0).unwrap();
        fs::write(device.var().join("lib/daruma/etc/B/identity"), "v5\n").unwrap();
        device.boot(Slot::A, "v6", OLD, 0).unwrap();
        assert_eq!(device.owners(), before);
    }

    #[test]
    fn what_a_person_changed_meanwhile_counts() {
        let device = Device::new();
        device.boot(Slot::A, "v1", OLD, 0).unwrap();
        let upper = device.var().join("lib/daruma/etc/A/upper/passwd");
        fs::write(upper, OLD.replace("postgres:x:101", "postgres:x:102")).unwrap();
        device.file("lib/postgresql/main", 102, 101, 0);
        device.boot(Slot::B, "v2", NEW, 99).unwrap();
        let owners = device.owners();
        assert!(owners.contains(&("lib/postgresql/main".to_owned(), 103, 103, 0)), "{owners:?}");
    }

    #[test]
    fn an_account_that_was_gone_for_a_version_finds_its_files() {
        let device = Device::new();
        device.boot(Slot::A, "v1", OLD, 0).unwrap();
        device.boot(Slot::B, "v2", "root:x:0:0::/:\npostgres:x:101:101::/:\n", 0).unwrap();
        let back = "root:x:0:0::/:\nmosquitto:x:110:110::/:\npostgres:x:101:101::/:\n";
        device.boot(Slot::A, "v3", back, 99).unwrap();
        let owners = device.owners();
        assert!(owners.contains(&("lib/mosquitto/db".to_owned(), 110, 110, 0)), "{owners:?}");
    }

    #[test]
    fn a_damaged_list_says_so_and_a_path_cannot_lead_elsewhere() {
        let device = Device::new();
        let todo = device.var().join("lib/daruma/owners.todo");
        for list in [&b"v1\0\0\0x y z\0"[..], b"v1\0\0\x001 1 2 2 0 ../etc/passwd\0"] {
            fs::write(&todo, list).unwrap();
            let error = device.boot(Slot::A, "v1", OLD, 99).unwrap_err();
            assert!(
                format!("{error:#}").contains("owners.todo is damaged: remove it"),
                "{error:#}"
            );
        }
        // A list that is cut off in a record ends there.
        fs::write(&todo, b"v1\0\0\x00101 101 7 7 0 lib/postgresql/main\x00101 1").unwrap();
        device.boot(Slot::A, "v1", OLD, 99).unwrap();
        let owners = device.owners();
        assert!(owners.contains(&("lib/postgresql/main".to_owned(), 7, 7, 0)), "{owners:?}");
    }

    #[test]
    fn ten_thousand_files_take_no_time_to_speak_of() {
        let device = Device::new();
        for number in 0..10_000 {
            device.file(&format!("lib/postgresql/{}/{number}", number % 100), 101, 101, 0);
        }
        device.boot(Slot::A, "v1", OLD, 0).unwrap();
        let started = std::time::Instant::now();
        device.boot(Slot::B, "v2", NEW, usize::MAX).unwrap();
        println!("{} files: {:.2} s", device.owners().len(), started.elapsed().as_secs_f64());
        let owners = device.owners();
        assert_eq!(owners.iter().filter(|(_, user, ..)| *user == 103).count(), 10_003);
    }
}
