//! Walks through the old upper and makes the plan.
//!
//! Only what the upper names is looked at: everything else is unchanged, so the image's is there
//! without an entry. `decide` says what becomes of a path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::accounts::AccountFile;
use crate::actions::Plan;
use crate::error::Error;
use crate::limits::{Beat, MAX_DEPTH};
use crate::merge::account_files::{self, Merged};
use crate::merge::decide::{Decision, Result as Becomes, Rule, decide};
use crate::merge::draft::Draft;
use crate::merge::owners::Owners;
use crate::merge::reader::Reader;
use crate::policy::Winner;
use crate::report::Outcome;
use crate::sides::Sides;
use crate::tree::entry::{Entry, Kind, Meta};
use crate::tree::node::Node;

/// Computes the merge and writes nothing. A boot with the same folders does exactly this.
///
/// # Errors
/// Everything for which a boot copies the old upper: a limit, the time, or a top folder that cannot
/// be read. Without a base it is [`Error::NoBase`].
pub fn plan(sides: &Sides<'_>, beat: Beat<'_>) -> Result<Plan, Error> {
    let base = sides.base.ok_or(Error::NoBase)?;
    let reader = Reader::new(sides.marks, beat);
    let (draft, accounts) = (Draft::default(), Merged::default());
    Walk { sides, base, reader, draft, accounts }.run()
}

/// The state of a walk.
struct Walk<'a> {
    sides: &'a Sides<'a>,
    base: &'a Path,
    reader: Reader<'a>,
    draft: Draft,
    accounts: Merged,
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
    fn run(mut self) -> Result<Plan, Error> {
        self.reader.step()?;
        for (number, fault) in self.sides.policy.faults() {
            let reason = format!("line {number} of the policy: {fault}");
            self.draft.report.say(Path::new(""), Outcome::Policy, reason);
        }
        let folders = [self.base, self.sides.upper, self.sides.theirs];
        self.accounts = account_files::merge(folders, self.sides.marks, &mut self.draft.report)?;
        self.reader.owners = Owners::new(&self.accounts.renumbered);
        let (base, upper) = (self.reader.look_old(folders[0])?, self.reader.look_old(folders[1])?);
        let theirs = self.reader.look_new(folders[2])?;
        let missing = |path: &Path| {
            Error::at("reading", path)(std::io::Error::from(std::io::ErrorKind::NotADirectory))
        };
        let upper = upper.filter(Node::is_folder).ok_or_else(|| missing(self.sides.upper))?;
        let theirs = theirs.filter(Node::is_folder).ok_or_else(|| missing(self.sides.theirs))?;
        let base = base.filter(Node::is_folder).ok_or_else(|| missing(self.base))?;
        self.top(&base, &upper, &theirs)?;
        self.draft.report.renumbered = std::mem::take(&mut self.accounts.renumbered);
        Ok(Plan {
            actions: self.draft.actions,
            report: self.draft.report,
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
        self.draft.note(path, decision.note);
        self.draft.folder(path, meta);
        let (base, theirs, covered) = (Some(base), Some(theirs), upper.marked.opaque);
        let place = Place { path, upper, base, theirs, covered, depth: 0 };
        self.children(&place)
    }

    fn children(&mut self, place: &Place<'_>) -> Result<(), Error> {
        if place.depth > MAX_DEPTH {
            return Err(Error::Limit { what: "folders in each other", most: MAX_DEPTH as u64 });
        }
        let mut names = self.reader.names(place.upper)?;
        if let Some(base) = place.base.filter(|_| place.covered) {
            names.extend(self.reader.names(base)?);
        }
        if place.depth == 0 && self.accounts.changed {
            for file in AccountFile::ALL {
                names.insert(file.name().into());
            }
        }
        for name in names {
            self.reader.step()?;
            let path = place.path.join(&name);
            match self.child(place, &name, &path) {
                // What cannot be compared stays as it is in the old upper.
                Err(error @ Error::Io { .. }) => self.draft.copy(&path, &error.to_string()),
                result => result?,
            }
        }
        Ok(())
    }

    fn child(&mut self, place: &Place<'_>, name: &OsStr, path: &Path) -> Result<(), Error> {
        let inside = |folder: &Node| folder.path.join(name);
        let base =
            place.base.map(|base| self.reader.look_old(&inside(base))).transpose()?.flatten();
        let new = place.theirs.map(|theirs| self.reader.look_new(&inside(theirs)));
        let theirs = new.transpose()?.flatten();
        let upper = self.reader.look_old(&inside(place.upper))?;
        let named = upper.is_some();
        let mine = match upper {
            Some(node) if node.is_whiteout(place.upper.marked.has_whiteouts) => None,
            None if !place.covered => base.clone(),
            upper => upper,
        };
        let winner = self.sides.policy.winner(path);
        if winner == Some(Winner::Image) {
            if named {
                self.draft.report.say(path, Outcome::Image, "policy");
            }
            return Ok(());
        }
        if named && mine.as_ref().is_some_and(|mine| mine.marked.elsewhere) {
            self.draft.copy(path, "overlayfs keeps its content elsewhere");
            return Ok(());
        }
        let done = self.accounts.get(path.as_os_str().as_bytes()).map(<[u8]>::to_vec);
        let rule = match (done, winner) {
            (Some(done), _) => Rule::Done(done),
            (None, Some(Winner::Device)) => Rule::Device,
            (None, _) => Rule::Lines,
        };
        let nodes = [base.as_ref(), mine.as_ref(), theirs.as_ref()];
        // The content of an account file is compared with what was merged.
        let unchanged = !matches!(rule, Rule::Done(_)) && self.sides.unchanged.has(path);
        let [old, my, new] = self.reader.entries(nodes, unchanged)?;
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
                self.draft.put(path, mine.as_ref(), my.as_ref(), new.as_ref(), decision)
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
        let at = self.draft.actions.len();
        self.draft.folder(path, meta);
        self.draft.note(path, decision.note);
        self.children(place)?;
        let is_empty = self.draft.actions.len() == at + 1;
        if is_empty && !stays {
            self.draft.actions.truncate(at);
        } else if let (false, Some(theirs), None) = (stays, theirs, place.theirs) {
            let reason = format!("here a folder, in the image {}", theirs.kind.noun());
            self.draft.report.say(path, Outcome::Conflict, reason);
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
            && self.reader.differs(base, theirs, 0)?
        {
            let deleted = *outcome == Outcome::Deleted;
            *outcome = if deleted { Outcome::DeletedChanged } else { Outcome::Conflict };
            *reason = "the image changed something in the folder".to_owned();
        }
        Ok(decision)
    }
}
