//! The verb `show`.
//!
//! `recipe` reads, and `bundling::system::kernel` knows the modules and their firmware.

use std::path::PathBuf;

use anyhow::Result;
use bundler::contents::{System, plain};
use bundler::kernel;
use bundler::recipe::Recipe;
use clap::Args;

use crate::verbs::build::Reading;
use crate::verbs::contents;

/// Arguments of `show`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The recipe
    recipe: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// Also say which kernel module misses which firmware file in what `build` or `bundle` has made
    /// of the recipe. A recipe alone does not say what its packages bring
    #[arg(long, value_name = "ROOTFS.tar|BUNDLE")]
    firmware: Option<PathBuf>,
}

/// Shows a whole recipe.
pub(crate) fn show(arguments: &Show) -> Result<()> {
    let recipe = arguments.reading.load(&arguments.recipe)?;
    let mut text = whole(&recipe);
    if let Some(file) = &arguments.firmware {
        let missing = kernel::missing_firmware(System::open(file)?.tree, &recipe.kernel)?;
        let lines = missing.iter().flat_map(|(module, names)| {
            names.iter().map(move |name| plain(&format!("{module} misses {name}\n")))
        });
        text.push_str(&format!("\nFirmware in {}:\n", file.display()));
        text.extend(lines);
        if missing.is_empty() {
            text.push_str("no module misses a file\n");
        }
    }
    contents::print(&text)
}

/// Returns the text of a whole recipe with the place of each line.
fn whole(recipe: &Recipe) -> String {
    let places: Vec<String> = recipe.listing.iter().map(|line| line.place.to_string()).collect();
    let width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
    let lines = places.iter().zip(&recipe.listing);
    lines.map(|(place, line)| format!("{place:<width$}  {}\n", line.text)).collect()
}
