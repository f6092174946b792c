//! The way out when a merge is not possible: mine wins whole files.
//!
//! It is a plain copy of the old upper. The image's new accounts are added, because its services do
//! not start without them.

use std::fs;
use std::io;
use std::path::Path;

use crate::accounts::together::add_missing;
use crate::accounts::{AccountFile, AccountFiles};
use crate::error::Error;
use crate::limits::Beat;
use crate::report::{Method, Report};
use crate::sides::Sides;
use crate::tree::marks::Marks;
use crate::tree::node::Node;
use crate::write::copy::Copy;
use crate::write::entry;

/// Copies the old upper to `target`, and adds the accounts that only the new image has. The base is
/// not needed. `beat` only feeds the watchdog here.
///
/// What cannot be read is left out and reported. See [`build`](crate::build) for `target`.
///
/// # Errors
/// `target` cannot be written.
pub fn mine_wins(sides: &Sides<'_>, target: &Path, beat: Beat<'_>) -> Result<Report, Error> {
    let mut report = Report { method: Method::MineWins, ..Report::default() };
    let mut tick = || {
        beat();
        true
    };
    let mut copy = Copy { upper: sides.upper, target, marks: sides.marks, links: Vec::new() };
    copy.copy(Path::new(""), &mut report, &mut tick)?;
    add_accounts(sides, target, &mut report)?;
    Ok(report)
}

/// What the overlay would show of an account file.
fn shown(path: &Path, theirs: &Path, marks: Marks) -> Option<Node> {
    let look = |path: &Path| Node::look(path, marks).ok().flatten();
    look(path).or_else(|| look(theirs))
}

fn add_accounts(sides: &Sides<'_>, target: &Path, report: &mut Report) -> Result<(), Error> {
    let (mut mine, mut theirs) = (AccountFiles::default(), AccountFiles::default());
    for file in AccountFile::ALL {
        let (path, image) = (target.join(file.name()), sides.theirs.join(file.name()));
        let bytes = |node: Option<Node>| node.and_then(|node| node.accounts().ok().flatten());
        *mine.get_mut(file) = bytes(shown(&path, &image, sides.marks));
        *theirs.get_mut(file) = bytes(Node::look(&image, sides.marks).ok().flatten());
    }
    let (result, lines) = add_missing(&mine, &theirs);
    for file in AccountFile::ALL.into_iter().filter(|file| result.get(*file) != mine.get(*file)) {
        let (path, image) = (target.join(file.name()), sides.theirs.join(file.name()));
        let Some(node) = shown(&path, &image, sides.marks) else { continue };
        let replace = || -> io::Result<()> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            entry::bytes(&path, result.get(file).unwrap_or_default())?;
            entry::set_meta(&path, &node.meta).map(drop)
        };
        replace().map_err(Error::at("writing", &path))?;
    }
    lines.into_iter().for_each(|line| report.add(line));
    Ok(())
}
