//! One step of a recipe: an action, and where it stands.

use crate::recipe::action::disk::{self, Deploy, Disk, Raw};
use crate::recipe::action::files::{self, Download, Overlay, Pack, Unpack};
use crate::recipe::action::origin::Origins;
use crate::recipe::action::system::{self, Apt, InstallDeb, Run};
use crate::recipe::yaml::{Keys, Notes, Place, RecipeError};

/// An action that works on the root filesystem or on the disk, and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The name of the action, as the recipe has it.
    pub name: String,
    /// What a person wrote about it: `description` or `label`. Empty if there is none.
    pub description: String,
    /// Where the action begins.
    pub place: Place,
    /// What is to be done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Installs packages.
    Apt(Apt),
    /// Installs files of packages.
    InstallDeb(InstallDeb),
    /// Copies a folder or a file over the root filesystem.
    Overlay(Overlay),
    /// Fetches a file for later actions.
    Download(Download),
    /// Unpacks an archive into the root filesystem.
    Unpack(Unpack),
    /// Writes the root filesystem as a tar.
    Pack(Pack),
    /// Runs a program.
    Run(Run),
    /// Makes a disk with partitions.
    Disk(Disk),
    /// Puts the root filesystem on the disk.
    Deploy(Deploy),
    /// Writes bytes of a file to the disk.
    Raw(Raw),
}

/// Reads the keys of an action.
pub(in crate::recipe) fn read(
    name: &str,
    keys: &mut Keys,
    origins: &mut Origins,
    notes: &mut Notes,
) -> Result<Step, RecipeError> {
    let place = keys.place.clone();
    let mut description = keys.text("description")?.unwrap_or_default();
    let action = match name {
        "apt" => Action::Apt(system::read_apt(keys, notes)?),
        "install-deb" => Action::InstallDeb(system::read_install_deb(keys, origins, notes)?),
        "overlay" => Action::Overlay(files::read_overlay(keys, origins)?),
        "download" => Action::Download(files::read_download(keys, origins)?),
        "unpack" => Action::Unpack(files::read_unpack(keys, origins)?),
        "pack" => Action::Pack(files::read_pack(keys, notes)?),
        "image-partition" => Action::Disk(disk::read_disk(keys, origins, notes)?),
        "filesystem-deploy" => Action::Deploy(disk::read_deploy(keys, origins, notes)?),
        "raw" => Action::Raw(disk::read_raw(keys, origins)?),
        _ => {
            let (run, label) = system::read_run(keys, notes)?;
            if description.is_empty() {
                description = label;
            }
            Action::Run(run)
        }
    };
    Ok(Step { name: name.to_owned(), description, place, action })
}
