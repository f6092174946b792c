//! Debian's debos, in a root filesystem of its own. It runs as root.
//!
//! Its packages do not go well with a build host: systemd-resolved replaces /etc/resolv.conf. The
//! recipe is `tests/recipes/debos.yaml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::fixture::Fixture;
use crate::ordinary_user::{as_root, run};

/// debos, ready to run.
#[derive(Debug)]
pub struct Debos {
    root: PathBuf,
}

/// Runs debos in its root filesystem. The mounts end with it. $1 is the root, $2 the folder of the
/// recipes.
const INSIDE: &str = r#"
root=$1 site=$2
shift 2
cd "$root"
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount --bind "$site" site
# systemd-nspawn, with which debos runs scripts in the root, removes folders of a tmpfs only, and
# asks for the machine's id.
mount -t tmpfs -o mode=755 tmpfs run
echo 5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e >etc/machine-id
# debos gives it to chroots.
rm -f etc/resolv.conf
cp -L /etc/resolv.conf etc/
unset TMPDIR
# debos shows a chroot this folder of the host's /dev, which udev would have made. One debos at a
# time has it.
exec 9</dev
flock 9
trap '[ -z "${made-}" ] || rmdir dev/disk' EXIT
[ -e dev/disk ] || made=$(mkdir -v dev/disk)
chroot . sh -c 'cd /site && exec debos --disable-fakemachine "$@"' sh "$@"
"#;

impl Debos {
    /// Unpacks the root filesystem into `dir`.
    ///
    /// # Errors
    /// It cannot be built or unpacked.
    pub fn unpack(fixture: &Fixture, dir: &Path) -> Result<Self> {
        let tar = fixture.rootfs("tests/recipes/debos.yaml")?;
        fs::create_dir_all(dir)?;
        let mut unpack = as_root("tar");
        unpack.args(["-x", "--numeric-owner", "--exclude=./dev/*", "-C"]).arg(dir);
        run(unpack.arg("-f").arg(tar))?;
        run(as_root("mkdir").arg(dir.join("site")))?;
        Ok(Self { root: dir.to_owned() })
    }

    /// Returns a command that builds a recipe of the folder `site`, which debos sees as `/site`.
    /// Its artifacts come there too, unless `args` say otherwise.
    #[must_use]
    pub fn command(&self, site: &Path, recipe: &str, args: &[&str]) -> Command {
        let mut command = as_root("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        command.args(["sh", "-eu", "-c", INSIDE, "sh"]).arg(&self.root).arg(site);
        command.args(args).arg(recipe);
        command
    }
}
