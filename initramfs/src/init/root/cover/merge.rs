//! A new upper of /etc: merged from the old image, what the device has changed, and the new image.
//!
//! The crate `etc-merge` decides and writes, and never fails for what it finds in /etc. `upper`
//! calls this aside and puts the result in its place.
//!
//! Beside the upper lies `merge.json`, the report that `daruma etc status` shows.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etc_merge::{AccountKind, Marks, Policy, Sides, Unchanged};

use crate::kernel::console;
use crate::root::cover::old_image::{OldImage, OldSlot};
use crate::root::cover::updated;
use crate::root::cover::upper::Source;
use crate::root::owners;

/// The report's file, beside the upper.
pub(crate) const REPORT: &str = "merge.json";
/// The image's file that says which paths the image or the device always wins, below its root.
const POLICY: &str = "usr/lib/daruma/etc.conf";
/// The time after which a merge is given up. Nothing has logged in yet, and nobody sees why it
/// takes so long.
const LIMIT: Duration = Duration::from_secs(30);

/// Makes `aside/upper` and `aside/merge.json`. `theirs` is the /etc of the new image, and `var` is
/// /var. `tick` feeds the watchdog.
///
/// # Errors
/// `aside` cannot be written.
pub(crate) fn make(
    old: Option<&OldSlot>,
    source: &Source<'_>,
    theirs: &Path,
    aside: &Path,
    var: &Path,
    tick: &dyn Fn(),
) -> Result<()> {
    let opened = match (old, source.identity) {
        (Some(old), Some(identity)) => OldImage::open(old, identity).map(Some),
        _ => Ok(None),
    };
    let (old, why) = match opened {
        Ok(old) => (old, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let root = theirs.parent().unwrap_or(Path::new("/"));
    let policy = Policy::parse(&fs::read(root.join(POLICY)).unwrap_or_default());
    let base = old.as_ref().map(OldImage::etc);
    let old_root = base.as_deref().and_then(Path::parent);
    let unchanged = old_root.map(|old| Unchanged::between(old, root)).unwrap_or_default();
    let sides = Sides {
        base: base.as_deref(),
        upper: source.upper,
        theirs,
        unchanged: &unchanged,
        policy: &policy,
        marks: Marks::Trusted,
    };
    let started = Instant::now();
    let mut beat = || {
        tick();
        started.elapsed() < LIMIT
    };
    let mut report =
        etc_merge::build(&sides, &aside.join("upper"), &mut beat).context("merging /etc")?;
    if let (Some(why), Some(fallback)) = (why, &mut report.fallback) {
        *fallback = format!("{fallback}: {why}");
    }
    match &report.fallback {
        Some(why) => {
            console::warn(&format!("/etc is not merged: {why}; the files of the old system stay"));
        }
        None => console::say(&format!(
            "/etc is merged: {} from both, {} of the device, {} to look at (daruma etc status)",
            report.counts.merged, report.counts.mine, report.counts.conflicts
        )),
    }
    // `owners` changes the files in /var where the old system has left its numbers there.
    let own = aside.ancestors().nth(2).unwrap_or(aside);
    let left = if own.join(owners::RECORD).exists() { &[][..] } else { &report.renumbered };
    for account in left {
        let kind = match account.kind {
            AccountKind::User => "user",
            AccountKind::Group => "group",
        };
        console::warn(&format!(
            "the {kind} {} has the number {} and had {}: its files in /var keep the old number; \
                change their owner, or build with --previous",
            account.name, account.new, account.old
        ));
    }
    // Without a merge, the accounts and the cache of libraries are those of the old system.
    if report.fallback.is_some() {
        updated::hide(&aside.join("upper"), var)?;
    }
    let text = serde_json::to_vec(&report).context("writing the report of the merge")?;
    let path = aside.join(REPORT);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
