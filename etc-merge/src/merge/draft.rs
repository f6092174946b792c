//! The plan while it grows.
//!
//! `walk` adds one decision after the other. Hard links and the limit of memory are kept here.

use std::path::{Path, PathBuf};

use crate::actions::{Action, Body};
use crate::error::Error;
use crate::escaped::escaped;
use crate::limits::MAX_MERGED;
use crate::merge::decide::{Decision, From, Result as Becomes};
use crate::report::{Outcome, Report};
use crate::tree::entry::{Entry, Kind, Meta};
use crate::tree::node::Node;

/// The actions and the report so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) actions: Vec<Action>,
    pub(super) report: Report,
    merged_bytes: usize,
    /// The action of the first name of each file with several names.
    links: Vec<((u64, u64), usize)>,
}

impl Draft {
    pub(super) fn note(&mut self, path: &Path, note: Option<(Outcome, String)>) {
        if let Some((outcome, reason)) = note {
            self.report.say(path, outcome, reason);
        }
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, path: &Path, meta: Meta) {
        self.actions.push(Action::Put { path: path.to_owned(), body: Body::Folder, meta });
    }

    /// Copies what the old upper has at the path, in the place of what was planned there.
    pub(super) fn copy(&mut self, path: &Path, why: &str) {
        // The reason may have a file's name in it.
        let reason = format!("here stays: {}", escaped(why.as_bytes()));
        self.report.say(path, Outcome::Skipped, reason);
        self.actions.retain(|action| !action.path().starts_with(path));
        self.links.clear();
        self.actions.push(Action::Copy { path: path.to_owned() });
    }

    /// Adds the action for an entry that is no folder.
    pub(super) fn put(
        &mut self,
        path: &Path,
        node: Option<&Node>,
        mine: Option<&Entry>,
        theirs: Option<&Entry>,
        decision: Decision,
    ) -> Result<(), Error> {
        self.note(path, decision.note);
        let path: PathBuf = path.to_owned();
        let (from, meta) = match decision.result {
            Becomes::Theirs => return Ok(()),
            Becomes::Gone => {
                if theirs.is_some() {
                    self.actions.push(Action::Whiteout { path });
                }
                return Ok(());
            }
            Becomes::Entry { from, meta } => (from, meta),
        };
        let is_mine = from == From::Mine;
        let body = match (from, mine, theirs) {
            (From::Merged(bytes), ..) => {
                self.merged_bytes += bytes.len();
                if self.merged_bytes > MAX_MERGED {
                    let what = "bytes of merged files";
                    return Err(Error::Limit { what, most: MAX_MERGED as u64 });
                }
                Body::Merged(bytes)
            }
            (From::Mine, Some(mine), _) => body(&mine.kind, Body::Mine),
            (From::Theirs, _, Some(theirs)) => body(&theirs.kind, Body::Theirs),
            _ => return Ok(()),
        };
        if let Some(file) = node.and_then(Node::linked).filter(|_| is_mine) {
            let first = self.links.iter().find(|(is, _)| *is == file);
            let first = first.map(|(_, first)| &self.actions[*first]);
            if let Some(Action::Put { path: first, body: same, meta: equal }) = first
                && *same == body
                && *equal == meta
            {
                self.actions.push(Action::Link { path, first: first.clone() });
                return Ok(());
            }
            self.links.retain(|(is, _)| *is != file);
            self.links.push((file, self.actions.len()));
        }
        self.actions.push(Action::Put { path, body, meta });
        Ok(())
    }
}

fn body(kind: &Kind, file: Body) -> Body {
    match kind {
        Kind::File(_) => file,
        Kind::Folder => Body::Folder,
        Kind::Link(target) => Body::Link(target.clone()),
        Kind::Special { kind, device } => Body::Special { kind: *kind, device: *device },
    }
}
