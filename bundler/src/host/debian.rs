//! A small Debian in a folder, whose programs a host without apt uses instead of its own.
//!
//! `tool` starts every program through it. `bundler/recipes/tools.yaml` makes the folder.
//!
//! `$DARUMA_TOOLS` names the folder. A program sees the folder's /usr and /etc, and everything else
//! of the host at its place. So paths of recipes, artifacts and temporary files stay as they are.

use std::ffi::OsString;
use std::path::PathBuf;

/// The environment variable.
pub const VARIABLE: &str = "DARUMA_TOOLS";

/// For a shell in a new mount namespace: $1 is the folder, and a command follows. The root is put
/// together on the folder's /mnt, where only this namespace sees it.
pub(super) const ENTER: &str = r#"
tools=$1 here=$(pwd -P) new=$1/mnt
shift
mount -t tmpfs -o mode=755 tmpfs "$new"
for path in /*; do
    name=${path#/}
    case $name in bin | etc | lib* | sbin | usr) continue ;; esac
    if [ -L "$path" ]; then
        cp -P "$path" "$new/$name"
    elif [ -d "$path" ]; then
        mkdir "$new/$name"
        mount --rbind "$path" "$new/$name"
    fi
done
for path in "$tools"/bin "$tools"/lib* "$tools"/sbin; do
    cp -P "$path" "$new/${path##*/}"
done
for name in etc usr; do
    mkdir "$new/$name"
    mount --bind "$tools/$name" "$new/$name"
done
for name in hosts resolv.conf; do
    [ ! -e "/etc/$name" ] || mount --bind "/etc/$name" "$new/etc/$name"
done
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$new" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$here" "$@"
"#;

/// Returns the folder. `None`: the host's own programs count.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
    // A path that cannot be made absolute is one that `check` refuses.
    Some(std::path::absolute(&value).unwrap_or_else(|_| value.into()))
}

/// Returns why the folder cannot be used, in one line with the remedy.
pub(super) fn complaint() -> Option<String> {
    let folder = folder()?;
    let is_there = |path: &str| folder.join(path).exists();
    if ["usr/bin/mmdebstrap", "etc/resolv.conf", "etc/hosts", "mnt"].into_iter().all(is_there) {
        return None;
    }
    Some(format!(
        "{VARIABLE}={}: this folder is not what bundler/recipes/tools.yaml makes; build that \
            recipe on a Debian host, and unpack daruma-tools.tar.gz into the folder",
        folder.display()
    ))
}

/// Number of words from [`ENTER`] to the command.
pub(super) const BEFORE: usize = 3;

/// Returns the words that begin a command in a new mount namespace.
#[must_use]
pub fn words() -> Vec<OsString> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut words: Vec<OsString> = ["sh", "-e", "-c", ENTER, "sh"].map(OsString::from).to_vec();
    words.push(folder.into());
    words
}
