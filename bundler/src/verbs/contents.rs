//! The verbs that show what a system holds.
//!
//! `bundler::contents` reads it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundler::contents::{By, Diff, Sizes, System, SystemError, plain};
use clap::{Args, ValueEnum};

/// Most rows of folders or files that a person is shown without asking for more.
const ROWS: usize = 40;

/// What `size` counts together.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Counted {
    Package,
    Folder,
    File,
}

/// Arguments of `size`.
#[derive(Args, Debug)]
pub(crate) struct Size {
    /// A tar that `build` wrote, packed or not, or a bundle
    file: PathBuf,
    /// What is counted together. A folder counts what is below it too
    #[arg(long, value_name = "package|folder|file", default_value = "package")]
    by: Counted,
    /// Show all folders or files, and not the largest 40 only
    #[arg(long)]
    all: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct Compared {
    /// A tar that `build` wrote, packed or not, or a bundle
    old: PathBuf,
    /// The file to compare it with
    new: PathBuf,
    /// Show all files, also those of packages that changed
    #[arg(long)]
    all: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Shows what differs between two systems.
pub(crate) fn diff(arguments: &Compared) -> Result<()> {
    let (old, new) = (System::open(&arguments.old)?, System::open(&arguments.new)?);
    let diff = Diff::of(&old, &new)?;
    if arguments.json {
        return print(&format!("{:#}\n", diff.to_json()));
    }
    print(&plain(&diff.to_text(arguments.all)))
}

/// Shows the sizes of a system.
pub(crate) fn size(arguments: &Size) -> Result<()> {
    let by = match arguments.by {
        Counted::Package => By::Package,
        Counted::Folder => By::Folder,
        Counted::File => By::File,
    };
    let sizes = Sizes::of(&System::open(&arguments.file)?, by)?;
    if arguments.json {
        return print(&format!("{:#}\n", sizes.to_json()));
    }
    let most = if arguments.all || by == By::Package { usize::MAX } else { ROWS };
    print(&plain(&sizes.to_text(most)))
}

/// Returns the system that an output holds. A tar of a folder need not hold one.
pub(crate) fn holding(output: &Path) -> Result<Option<System>> {
    match System::open(output) {
        Ok(system) => Ok(Some(system)),
        Err(error) if error.is::<SystemError>() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes to stdout. A reader that has seen enough, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to stdout")
        }
        _ => Ok(()),
    }
}
