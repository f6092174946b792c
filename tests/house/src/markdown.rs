//! As much of Markdown as the checks need: what is code, the headings' anchors, the links.
//!
//! GitHub and mdbook make an anchor of a heading in the same way: lower case, letters, digits, `_`
//! and `-` stay, a space becomes `-`, the rest goes. A second heading of the same name gets `-1`.

use std::collections::{BTreeMap, BTreeSet};

/// Tells, line by line, what is code. A fence starts and ends code; so do four spaces, unless the
/// paragraph above is an item of a list.
#[derive(Default)]
pub(crate) struct Code {
    fence: Option<String>,
    in_list: bool,
}

impl Code {
    /// Whether `line`, the next one, is code or a fence.
    pub(crate) fn is(&mut self, line: &str) -> bool {
        let text = line.trim_start();
        if let Some(fence) = &self.fence {
            if text.starts_with(fence.as_str()) {
                self.fence = None;
            }
            return true;
        }
        let fence = ["```", "~~~"].into_iter().find(|fence| text.starts_with(fence));
        if fence.is_some() {
            self.fence = fence.map(str::to_owned);
            return true;
        }
        if !line.starts_with(' ') && !line.is_empty() {
            let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let bullet = ["- ", "* ", "+ "].iter().any(|mark| text.starts_with(mark));
            self.in_list = bullet || number != text && number.starts_with(". ");
        }
        line.starts_with("    ") && !self.in_list
    }
}

/// A link, and its line.
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) to: String,
}

/// The links and anchors of one page.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) links: Vec<Link>,
    pub(crate) anchors: BTreeSet<String>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut code = Code::default();
        let mut times = BTreeMap::new();
        for (line, full) in (1..).zip(text.lines()) {
            if code.is(full) {
                continue;
            }
            if let Some(heading) = heading(full) {
                let slug = slug(heading);
                let n = times.entry(slug.clone()).or_insert(0);
                page.anchors.insert(if *n == 0 { slug } else { format!("{slug}-{n}") });
                *n += 1;
            }
            let plain = without_code(full);
            page.anchors.extend(attribute(&plain, "id=\"").chain(attribute(&plain, "name=\"")));
            let sources = attribute(&plain, "src=\"").chain(attribute(&plain, "href=\""));
            let all = inline_links(&plain).chain(definition(&plain)).chain(sources);
            page.links.extend(all.map(|to| Link { line, to }));
        }
        page
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim_end_matches('#').trim())
}

fn slug(heading: &str) -> String {
    let mut text = heading.to_owned();
    // Of a link in a heading only its text counts.
    while let Some(at) = text.find("](") {
        let end = text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, "");
    }
    let kept = text.chars().filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The line without its code spans.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    // An unpaired mark opens no span.
    let last = if parts.len().is_multiple_of(2) { parts.len() - 1 } else { parts.len() };
    let outside = |&(at, _): &(usize, &&str)| at.is_multiple_of(2) || at >= last;
    parts.iter().enumerate().filter(outside).map(|(_, part)| *part).collect()
}

/// The targets of `[text](target)`, wherever the text starts.
fn inline_links(line: &str) -> impl Iterator<Item = String> {
    line.split("](").skip(1).map(|rest| {
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth < 0
        });
        let target = rest[..end.unwrap_or(rest.len())].split_whitespace().next().unwrap_or("");
        target.trim_matches(['<', '>']).to_owned()
    })
}

/// The target of `[name]: target`.
fn definition(line: &str) -> Option<String> {
    let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
    target.split_whitespace().next().map(str::to_owned)
}

/// The values of an HTML attribute, of which `start` is the name with `="`.
fn attribute(line: &str, start: &str) -> impl Iterator<Item = String> {
    line.split(start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let page = Page::parse(
            "# What `make` does, and why\n## A [link](b.md) -- done\n## Twice\n## Twice\n\
             ```\n# no heading\n```\n<a id=\"own\"></a>\n",
        );
        let expected = ["a-link----done", "own", "twice", "twice-1", "what-make-does-and-why"];
        assert_eq!(page.anchors.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn links_in_code_are_none() {
        let page = Page::parse("[a](b.md) `[c](d)` [e](f_(g).md \"t\")\n\n    [h](i)\n[j]: k.md\n");
        let links: Vec<_> = page.links.iter().map(|link| link.to.as_str()).collect();
        assert_eq!(links, ["b.md", "f_(g).md", "k.md"]);
    }
}
