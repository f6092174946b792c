//! Makes the actions of a recipe from its mappings.
//!
//! `load` has found the mappings in the files and merged them. `Keys` has refused unknown keys
//! before an action checks its own.

use std::path::{Path, PathBuf};

use image_layout::Layout;

use crate::recipe::action::{
    self, Action, Kernel, Origins, Run, read_bootstrap, read_bundle, read_image, read_kernel,
};
use crate::recipe::listing::listing;
use crate::recipe::whole::Recipe;
use crate::recipe::yaml::{Keys, Node, Notes, Place, RecipeError, with_description};

/// Bytes of a sector unless the recipe says otherwise.
const SECTOR: u64 = 512;

/// Actions in order. A once-only action stands where a file named it first.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) architecture: Option<(String, Place)>,
    pub(super) sector: Option<(u64, Place)>,
    /// Name of the action, and its mapping without the key `action`.
    pub(super) actions: Vec<(String, Node)>,
    pub(super) rendered: Vec<(PathBuf, String)>,
}

/// Reads the actions in order.
pub(super) fn assemble(
    path: &Path,
    top: &Place,
    collected: Collected,
    mut notes: Notes,
) -> Result<Recipe, RecipeError> {
    let Collected { architecture, sector, actions, rendered } = collected;
    let (architecture, place) =
        architecture.ok_or_else(|| top.error("the recipe needs the key `architecture`"))?;
    if actions.is_empty() {
        return Err(top.error("the recipe needs at least one action"));
    }
    let given = sector.as_ref().map(|(size, place)| (size.to_string(), place.clone()));
    let named = (architecture.clone(), place.clone());
    let scalars = std::iter::once(("architecture", &named));
    let scalars: Vec<_> =
        scalars.chain(given.as_ref().map(|given| ("sectorsize", given))).collect();
    let listing = listing(top, &scalars, &actions);
    let sector = sector.map_or(SECTOR, |(size, _)| size);
    let mut recipe = Recipe {
        path: path.to_owned(),
        lock: path.with_extension("lock"),
        architecture,
        sector,
        bootstrap: None,
        steps: Vec::new(),
        kernel: Kernel::default(),
        bundle: None,
        layout: Layout::default(),
        has_image: false,
        warnings: Vec::new(),
        rendered,
        listing,
    };
    let mut origins = Origins::new(sector);
    for (name, node) in actions {
        let own = name == "bundle";
        let fields = action::table(&name).map_or(&[][..], |table| table.fields);
        let mut keys =
            Keys::new(format!("the {name} action"), node, &with_description(fields), &mut notes)?;
        match name.as_str() {
            "mmdebstrap" | "debootstrap" => {
                if recipe.bootstrap.is_some() {
                    return Err(keys.place.error("a second action that makes the root filesystem"));
                }
                if recipe.steps.iter().any(|step| works_on_root(&step.action)) {
                    return Err(keys.place.error(format_args!(
                        "{name} makes the root filesystem, so it must come before the actions \
                            that change it"
                    )));
                }
                recipe.bootstrap = Some(read_bootstrap(&name, &mut keys, &mut notes)?);
            }
            "kernel" => recipe.kernel = read_kernel(&mut keys)?,
            "image" => {
                recipe.layout = read_image(&mut keys)?;
                recipe.has_image = true;
            }
            _ if own => recipe.bundle = Some(read_bundle(&mut keys)?),
            _ => {
                let step = action::read(&name, &mut keys, &mut origins, &mut notes)
                    .map_err(|error| naming(error, &name))?;
                if let Action::Run(Run { chroot: false, postprocess: false, .. }) = &step.action {
                    origins.host_ran = true;
                }
                recipe.steps.push(step);
            }
        }
    }
    if let Some((vendor, place)) = recipe.kernel.microcode.first()
        && recipe.architecture != "amd64"
    {
        return Err(place.error(format_args!(
            "`microcode: {}` is for processors of amd64, and the architecture is `{}`; leave it \
                out",
            vendor.name(),
            recipe.architecture
        )));
    }
    if recipe.bundle.is_some() && recipe.architecture != "amd64" {
        return Err(place.error(format_args!(
            "architecture `{}` is not supported for a bundle; only amd64 is",
            recipe.architecture
        )));
    }
    recipe.warnings = notes.warnings;
    Ok(recipe)
}

/// Adds the action to a message that does not name it.
fn naming(error: RecipeError, name: &str) -> RecipeError {
    let action = format!("the {name} action");
    if error.0.contains(&action) {
        return error;
    }
    RecipeError(format!("{} (in {action})", error.0))
}

/// Whether an action needs or changes the root filesystem.
fn works_on_root(action: &Action) -> bool {
    match action {
        Action::Download(_) | Action::Disk(_) | Action::Raw(_) => false,
        Action::Run(run) => run.chroot,
        _ => true,
    }
}
