//! Which programs of the build host a recipe needs, and which are missing.
//!
//! A build must not stop in its middle for a missing program.

use crate::bundling::disk;
use crate::host::emulator;
use crate::host::tool::{self, ToolError};
use crate::recipe::{Action, Archive, Recipe};

/// Checks that every program is there.
///
/// # Errors
/// One line names all that are missing, each with its Debian package.
pub(super) fn check(recipe: &Recipe, is_root: bool) -> Result<(), ToolError> {
    let missing: Vec<_> = needed(recipe, is_root)
        .into_iter()
        .filter(|(program, _)| !tool::exists(program))
        .map(|(program, package)| format!("{program} (Debian package {package})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ToolError(format!(
        "{} needs programs that are not installed: {}{}",
        recipe.path.display(),
        missing.join(", "),
        tool::without_apt()
    )))
}

fn needed(recipe: &Recipe, is_root: bool) -> Vec<(&'static str, &'static str)> {
    let mut all = vec![
        ("apt-get", "apt"),
        ("mmdebstrap", "mmdebstrap"),
        // Without it mmdebstrap goes on, and programs in the root find no /proc.
        ("mount", "mount"),
        ("tar", "tar"),
        ("unshare", "util-linux"),
    ];
    if !is_root {
        all.push(("newuidmap", "uidmap"));
    }
    if emulator::is_foreign(&recipe.architecture) {
        all.push(("arch-test", "arch-test"));
    }
    let mut archive = |archive: Archive| match archive {
        Archive::Tar(Some(compression)) => vec![(compression.program, compression.package)],
        Archive::Tar(None) => Vec::new(),
        Archive::Zip => vec![("unzip", "unzip")],
        Archive::Deb => vec![("dpkg-deb", "dpkg")],
    };
    for step in &recipe.steps {
        match &step.action {
            Action::Download(download) => {
                all.push(("/usr/lib/apt/apt-helper", "apt"));
                all.extend(download.unpack.into_iter().flat_map(&mut archive));
            }
            Action::Unpack(unpack) => all.extend(archive(unpack.archive)),
            Action::Pack(pack) => {
                all.extend(pack.compression.map(|program| (program.program, program.package)));
            }
            _ => {}
        }
    }
    all.extend(disk::tools(recipe));
    all.sort();
    all.dedup();
    all
}
