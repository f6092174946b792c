//! Walks through the old upper and makes the plan.
//!
//! Only what the upper names is looked at: everything else is unchanged, so the image's is there
//! without an entry. `decide` says what becomes of a path.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::accounts::AccountFile;
use crate::error::Error;
use crate::limits::{Beat, MAX_DEPTH, MAX_ENTRIES, MAX_MERGED, beat};
use crate::merge::account_files::{self, Merged};
use crate::merge::decide::{Decision, From, Result as Becomes, Rule, decide};
use crate::merge::owners::Owners;
use crate::plan::{Action, Body, Plan};
use crate::policy::Winner;
use crate::report::{Outcome, Report};
use crate::sides::Sides;
use crate::tree::entry::{Entry, Kind, Meta};
use crate::tree::node::{self, Node};

/// Computes the merge and writes nothing. A boot with the same folders does exactly this.
///
/// # Errors
/// Everything for which a boot copies the old upper: a limit, the time, or a top folder that cannot
/// be read. Without a base it is [`Error::NoBase`].
pub fn plan(sides: &Sides<'_>, beat: Beat<'_>) -> Result<Plan, Error> {
    let base = sides.base.ok_or(Error::NoBase)?;
    Walk::new(sides, base, beat).run()
}

/// The state of a walk.
struct Walk<'a> {
    sides: &'a Sides<'a>,
    base: &'a Path,
    beat: Beat<'a>,
    actions: Vec<Action>,
    report: Report,
    accounts: Merged,
    owners: Owners,
    entries: usize,
    merged_bytes: usize,
    /// The action of the first name of each file with several names.
    links: HashMap<(u64, u64), usize>,
}

/// A folder of the upper, and what is at its path on the other sides.
struct Place<'p> {
    path: &'p Path,
    upper: &'p Node,
    /// The base's folder
    base: Option<&'p Node>,
    /// The image's folder
    theirs: Option<&'p Node>,
    /// The device did not see the base's folder, because this one or one above it is opaque.
    covered: bool,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn new(sides: &'a Sides<'a>, base: &'a Path, beat: Beat<'a>) -> Self {
        Self {
            sides,
            base,
            beat,
            actions: Vec::new(),
            report: Report::default(),
            accounts: Merged::default(),
            owners: Owners::default(),
            entries: 0,
            merged_bytes: 0,
            links: HashMap::new(),
        }
    }

    fn run(mut self) -> Result<Plan, Error> {
        beat(self.beat)?;
        for (number, fault) in &self.sides.policy.faults {
            let reason = format!("line {number} of the policy: {fault}");
            self.report.say(Path::new(""), Outcome::Policy, reason);
        }
        let folders = [self.base, self.sides.upper, self.sides.theirs];
        self.accounts = account_files::merge(folders, self.sides.marks, &mut self.report)?;
        self.owners = Owners::new(&self.accounts.renumbered);
        let (base, upper) = (self.look_old(folders[0])?, self.look_old(folders[1])?);
        let theirs = self.look_new(folders[2])?;
        let missing = |path: &Path| {
            Error::at("reading", path)(std::io::Error::from(std::io::ErrorKind::NotADirectory))
        };
        let upper = upper.filter(Node::is_folder).ok_or_else(|| missing(self.sides.upper))?;
        let theirs = theirs.filter(Node::is_folder).ok_or_else(|| missing(self.sides.theirs))?;
        let base = base.filter(Node::is_folder).ok_or_else(|| missing(self.base))?;
        self.top(&base, &upper, &theirs)?;
        self.report.renumbered = std::mem::take(&mut self.accounts.renumbered);
        Ok(Plan {
            actions: self.actions,
            report: self.report,
            upper: self.sides.upper.to_owned(),
            theirs: self.sides.theirs.to_owned(),
            marks: self.sides.marks,
        })
    }

    /// The top folder always is in the plan, because an overlay shows the upper's.
    fn top(&mut self, base: &Node, upper: &Node, theirs: &Node) -> Result<(), Error> {
        let folder = |meta: &Meta| Entry { kind: Kind::Folder, meta: meta.clone() };
        let [old, mine, new] = [base, upper, theirs].map(|node| folder(&node.meta));
        let decision = decide(Some(&old), Some(&mine), Some(&new), &Rule::Lines);
        let path = Path::new("");
        let meta = match decision.result {
            Becomes::Entry { meta, .. } => meta,
            _ => theirs.meta.clone(),
        };
        if let Some((outcome, reason)) = decision.note {
            self.report.say(path, outcome, reason);
        }
        self.actions.push(Action::Put { path: path.to_owned(), body: Body::Folder, meta });
        let (base, theirs, covered) = (Some(base), Some(theirs), upper.marked.opaque);
        let place = Place { path, upper, base, theirs, covered, depth: 0 };
        self.children(&place)
    }

    fn look_new(&self, path: &Path) -> Result<Option<Node>, Error> {
        Node::look(path, self.sides.marks)
    }

    /// Looks into the base or the upper, whose owners may have other numbers by now.
    fn look_old(&self, path: &Path) -> Result<Option<Node>, Error> {
        let mut node = self.look_new(path)?;
        if let Some(node) = &mut node {
            self.owners.translate(&mut node.meta);
        }
        Ok(node)
    }

    fn children(&mut self, place: &Place<'_>) -> Result<(), Error> {
        if place.depth > MAX_DEPTH {
            return Err(Error::Limit { what: "folders in each other", most: MAX_DEPTH as u64 });
        }
        let mut names = node::names(&place.upper.path)?;
        if let Some(base) = place.base.filter(|_| place.covered) {
            names.extend(node::names(&base.path)?);
        }
        if place.depth == 0 && self.accounts.changed {
            names.extend(AccountFile::ALL.map(|file| file.name().into()));
        }
        names.sort();
        names.dedup();
        for name in names {
            beat(self.beat)?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::Limit { what: "entries to merge", most: MAX_ENTRIES as u64 });
            }
            let path = place.path.join(&name);
            match self.child(place, &name, &path) {
                Err(error @ Error::Io { .. }) => self.keep(place, &name, &path, &error)?,
                result => result?,
            }
        }
        Ok(())
    }

    /// What cannot be compared stays as it is in the old upper.
    fn keep(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        path: &Path,
        why: &Error,
    ) -> Result<(), Error> {
        let reason = format!("here stays: {}", plain(&why.to_string()));
        self.report.say(path, Outcome::Skipped, reason);
        self.actions.retain(|action| !action.path().starts_with(path));
        self.links.clear();
        if place.upper.path.join(name).symlink_metadata().is_ok() {
            self.actions.push(Action::Copy { path: path.to_owned() });
        }
        Ok(())
    }

    fn child(&mut self, place: &Place<'_>, name: &OsStr, path: &Path) -> Result<(), Error> {
        let inside = |folder: &Node| folder.path.join(name);
        let base = place.base.map(|base| self.look_old(&inside(base))).transpose()?.flatten();
        let new = place.theirs.map(|theirs| self.look_new(&inside(theirs)));
        let theirs = new.transpose()?.flatten();
        let upper = self.look_old(&inside(place.upper))?;
        let named = upper.is_some();
        let mine = match upper {
            Some(node) if node.is_whiteout(place.upper.marked.has_whiteouts) => None,
            None if !place.covered => base.clone(),
            upper => upper,
        };
        let winner = self.sides.policy.winner(path);
        if winner == Some(Winner::Image) {
            if named {
                self.report.say(path, Outcome::Image, "policy");
            }
            return Ok(());
        }
        if named && mine.as_ref().is_some_and(|mine| mine.marked.elsewhere) {
            self.report.say(path, Outcome::Skipped, "here stays: overlayfs keeps it elsewhere");
            self.actions.push(Action::Copy { path: path.to_owned() });
            return Ok(());
        }
        let done = self.accounts.get(path.as_os_str().as_bytes()).map(<[u8]>::to_vec);
        let rule = match (done, winner) {
            (Some(done), _) => Rule::Done(done),
            (None, Some(Winner::Device)) => Rule::Device,
            (None, _) => Rule::Lines,
        };
        let nodes = [base.as_ref(), mine.as_ref(), theirs.as_ref()];
        let [old, my, new] = node::entries(nodes, self.beat)?;
        let decision = decide(old.as_ref(), my.as_ref(), new.as_ref(), &rule);
        match (&mine, &my) {
            (Some(folder), Some(mine)) if folder.is_folder() => {
                let place = Place {
                    path,
                    upper: folder,
                    base: base.as_ref().filter(|base| base.is_folder()),
                    theirs: theirs.as_ref().filter(|theirs| theirs.is_folder()),
                    covered: place.covered || folder.marked.opaque,
                    depth: place.depth + 1,
                };
                self.folder(&place, mine, new.as_ref(), decision)
            }
            _ => {
                let decision = self.with_inside(decision, base.as_ref(), theirs.as_ref())?;
                self.put(path, mine.as_ref(), my.as_ref(), new.as_ref(), decision)
            }
        }
    }

    /// A folder of mine, which stays if it was changed itself or if something in it stays.
    fn folder(
        &mut self,
        place: &Place<'_>,
        mine: &Entry,
        theirs: Option<&Entry>,
        decision: Decision,
    ) -> Result<(), Error> {
        let path = place.path;
        let stays = matches!(decision.result, Becomes::Entry { .. });
        let meta = match (decision.result, place.theirs) {
            (Becomes::Entry { meta, .. }, _) => meta,
            (_, Some(theirs)) => theirs.meta.clone(),
            (_, None) => mine.meta.clone(),
        };
        let at = self.actions.len();
        self.actions.push(Action::Put { path: path.to_owned(), body: Body::Folder, meta });
        if let Some((outcome, reason)) = decision.note {
            self.report.say(path, outcome, reason);
        }
        self.children(place)?;
        let is_empty = self.actions.len() == at + 1;
        if is_empty && !stays {
            self.actions.truncate(at);
        } else if let (false, Some(theirs), None) = (stays, theirs, place.theirs) {
            let reason = format!("here a folder, in the image {}", theirs.kind.noun());
            self.report.say(path, Outcome::Conflict, reason);
        }
        Ok(())
    }

    /// Folders are equal for `decide` whatever is in them. If mine replaced or deleted a folder
    /// that the image changed inside, a person must know.
    fn with_inside(
        &mut self,
        mut decision: Decision,
        base: Option<&Node>,
        theirs: Option<&Node>,
    ) -> Result<Decision, Error> {
        let (Some(base), Some(theirs)) = (base, theirs) else { return Ok(decision) };
        let Some((outcome @ (Outcome::Deleted | Outcome::Mine), reason)) = &mut decision.note
        else {
            return Ok(decision);
        };
        if reason.is_empty()
            && base.is_folder()
            && theirs.is_folder()
            && self.differs(base, theirs, 0)?
        {
            let deleted = *outcome == Outcome::Deleted;
            *outcome = if deleted { Outcome::DeletedChanged } else { Outcome::Conflict };
            *reason = "the image changed something in the folder".to_owned();
        }
        Ok(decision)
    }

    /// True if two folders differ in anything.
    fn differs(&mut self, base: &Node, theirs: &Node, depth: usize) -> Result<bool, Error> {
        let names = node::names(&base.path)?;
        if depth > MAX_DEPTH || names != node::names(&theirs.path)? {
            return Ok(true);
        }
        for name in names {
            beat(self.beat)?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::Limit { what: "entries to merge", most: MAX_ENTRIES as u64 });
            }
            let old = self.look_old(&base.path.join(&name))?;
            let new = self.look_new(&theirs.path.join(&name))?;
            let [old_entry, new_entry, _] =
                node::entries([old.as_ref(), new.as_ref(), None], self.beat)?;
            if old_entry != new_entry {
                return Ok(true);
            }
            if let (Some(old), Some(new)) = (&old, &new)
                && old.is_folder()
                && self.differs(old, new, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds the action for an entry that is no folder.
    fn put(
        &mut self,
        path: &Path,
        node: Option<&Node>,
        mine: Option<&Entry>,
        theirs: Option<&Entry>,
        decision: Decision,
    ) -> Result<(), Error> {
        if let Some((outcome, reason)) = decision.note {
            self.report.say(path, outcome, reason);
        }
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
            let first = self.links.get(&file).map(|first| &self.actions[*first]);
            if let Some(Action::Put { path: first, body: same, meta: equal }) = first
                && *same == body
                && *equal == meta
            {
                self.actions.push(Action::Link { path, first: first.clone() });
                return Ok(());
            }
            self.links.insert(file, self.actions.len());
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

/// A message may have a file's name in it, so it is made plain too.
fn plain(message: &str) -> String {
    crate::escaped::escaped(message.as_bytes())
}
