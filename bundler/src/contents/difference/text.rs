//! Shows the differences to people: a summary, then what a person would ask about next.
//!
//! The files of a package whose version has changed are left out unless all are asked for. Their
//! number is in the summary, and the package explains them.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use image_layout::Amount;

use super::change::{Change, Counts};
use super::diff::Diff;
use super::file::{Facts, FileChange};

/// Most files that a person is shown without asking for more.
const FILES: usize = 40;

impl Diff {
    /// Returns the differences as text. `all` shows every file.
    #[must_use]
    pub fn to_text(&self, all: bool) -> String {
        let Self { old, new, packages, users, groups, services, files } = self;
        let mut text = format!("{} → {}\n", old.file, new.file);
        let accounts = [("user", users), ("group", groups)];
        let lists = [packages.len(), users.len(), groups.len(), services.len(), files.len()];
        if lists == [0; 5] {
            text.push_str("nothing differs\n");
            return text;
        }
        let counts = Counts::of(packages);
        let _ = writeln!(
            text,
            "packages  {}; {} → {}",
            counted(counts, "", ""),
            old.packages,
            new.packages
        );
        let bytes = |of: fn(&Change<Facts>) -> &Option<Facts>, mark: char| {
            let these = files.iter().filter(|file| file.change.mark() == mark);
            let bytes = these.filter_map(|file| of(&file.change).as_ref()).map(|facts| facts.bytes);
            format!(" ({})", Amount(bytes.sum()))
        };
        let counts = Counts::of(files.iter().map(|file| &file.change));
        let _ = writeln!(
            text,
            "files     {}; {} → {}",
            counted(counts, &bytes(|c| &c.new, '+'), &bytes(|c| &c.old, '-')),
            Amount(old.bytes),
            Amount(new.bytes)
        );
        let rights = files.iter().filter(|file| file.is_of_rights()).count();
        let _ = writeln!(text, "rights    {rights} with another mode or owner");
        let counts = Counts::of(users.iter().chain(groups));
        let _ = writeln!(text, "accounts  {}", counted(counts, "", ""));
        let counts = Counts::of(services);
        let _ = writeln!(text, "services  {}", counted(counts, "", ""));

        list(&mut text, "packages", packages.iter().map(|change| line("", change)));
        let accounts = accounts.iter().flat_map(|(kind, list)| {
            list.iter().map(move |change| line(&format!("{kind} "), change))
        });
        list(&mut text, "accounts", accounts);
        list(&mut text, "services", services.iter().map(|change| line("", change)));
        self.list_files(&mut text, all);
        text
    }

    fn list_files(&self, text: &mut String, all: bool) {
        let changed: BTreeSet<&str> = self.packages.iter().map(|c| c.name.as_str()).collect();
        let is_explained = |file: &FileChange| {
            file.package.as_deref().is_some_and(|package| changed.contains(package))
                && !file.is_of_rights()
        };
        let (explained, others): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|file| !all && is_explained(file));
        let most = if all { usize::MAX } else { FILES };
        let title = if explained.is_empty() { "files" } else { "files of no changed package" };
        list(text, title, others.iter().take(most).map(|file| file_line(file)));
        let more = others.len().saturating_sub(most);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more; --all shows them");
        }
        if !explained.is_empty() {
            let _ = writeln!(
                text,
                "\n{} more files belong to packages that changed; --all shows them",
                explained.len()
            );
        }
    }
}

fn list(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(text, "\n{title}");
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn counted(counts: Counts, added: &str, removed: &str) -> String {
    let Counts { added: more, removed: fewer, changed } = counts;
    let none = |count: usize, text: &str| if count == 0 { String::new() } else { text.to_owned() };
    let (added, removed) = (none(more, added), none(fewer, removed));
    format!("{more} added{added}, {fewer} removed{removed}, {changed} changed")
}

fn line<V: Display>(kind: &str, change: &Change<V>) -> String {
    format!("{} {kind}{} {}", change.mark(), change.name, values(&change.old, &change.new))
}

fn values<V: Display>(old: &Option<V>, new: &Option<V>) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}

fn file_line(file: &FileChange) -> String {
    let Change { name, old, new } = &file.change;
    let mark = file.change.mark();
    let (Some(old), Some(new)) = (old, new) else {
        let facts = old.as_ref().or(new.as_ref());
        return format!("{mark} {name} {}", facts.map_or(String::new(), described));
    };
    let pair = |old: String, new: String| if old == new { old } else { format!("{old} → {new}") };
    let mut parts = Vec::new();
    for what in &file.what {
        parts.push(match *what {
            "mode" => format!("mode {:04o} → {:04o}", old.mode, new.mode),
            "owner" => format!("owner {}:{} → {}:{}", old.uid, old.gid, new.uid, new.gid),
            "content" => {
                let (old, new) = (Amount(old.bytes).to_string(), Amount(new.bytes).to_string());
                if old == new { "other content".to_owned() } else { format!("{old} → {new}") }
            }
            "attributes" => "other extended attributes".to_owned(),
            _ => pair(described(old), described(new)),
        });
    }
    format!("{mark} {name} {}", parts.join(", "))
}

fn described(facts: &Facts) -> String {
    match (facts.kind, &facts.target) {
        ("file", _) => Amount(facts.bytes).to_string(),
        ("link", Some(target)) => format!("link to {target}"),
        (kind, Some(numbers)) => format!("{kind} {numbers}"),
        (kind, None) => kind.to_owned(),
    }
}
