//! Finds the archives of the packages: those that the build host's own apt uses.
//!
//! mmdebstrap fetches the packages.
//!
//! A host behind a proxy, or with its own mirror, therefore needs no line in the recipe, and this
//! program contains no host name. The host gives only the address. The recipe gives the suite, so a
//! Debian 12 host builds Debian 13.

use std::path::Path;

use crate::host::debian;
use crate::host::tool::{self, ToolError};
use crate::recipe::{Bootstrap, RecipeError};

/// One suite of one archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Address without a slash at the end.
    pub uri: String,
    /// For instance `trixie-updates`.
    pub suite: String,
    /// For instance `main`.
    pub components: Vec<String>,
    /// Options of the line in brackets, for instance `trusted=yes`. Empty: none.
    pub options: String,
}

impl Source {
    /// Returns a line of sources.list(5).
    #[must_use]
    pub fn line(&self) -> String {
        let options = match self.options.as_str() {
            "" => String::new(),
            options => format!("[{options}] "),
        };
        format!("deb {options}{} {} {}", self.uri, self.suite, self.components.join(" "))
    }

    /// Reads such a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_ascii_whitespace().map(str::to_owned);
        let (uri, suite) = (words.next()?, words.next()?);
        Some(Self { uri, suite, components: words.collect(), options: options.trim().to_owned() })
    }

    /// Returns the address of the signed index, which has the hash of everything in the suite.
    #[must_use]
    pub fn in_release(&self) -> String {
        format!("{}/dists/{}/InRelease", self.uri, self.suite)
    }
}

/// Why no archive was found.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// `apt-get` failed.
    #[error("asking the build host's apt for its archives: {0}")]
    Tool(#[from] ToolError),
    /// The host has no such archive.
    #[error(transparent)]
    Missing(#[from] RecipeError),
}

/// Returns all suites of the recipe with their archives.
///
/// # Errors
/// The host's apt knows no Debian archive. Or the recipe wants a security archive and the host's
/// apt knows none.
pub fn sources(bootstrap: &Bootstrap) -> Result<Vec<Source>, MirrorError> {
    let (lines, mirrors): (Vec<&String>, Vec<&String>) =
        bootstrap.mirrors.iter().partition(|mirror| mirror.contains(char::is_whitespace));
    let trusted = if bootstrap.unauthenticated { "trusted=yes" } else { "" };
    let mut sources = Vec::new();
    for line in lines {
        sources.push(Source::parse(line).ok_or_else(|| not_a_line(line))?);
    }
    if mirrors.is_empty() && !sources.is_empty() {
        return Ok(sources);
    }
    let known = if mirrors.is_empty() {
        let Archives { debian, security } = match debian::folder() {
            Some(folder) => Archives::of_folder(&folder)?,
            None => {
                let format = "$(REPO_URI) $(RELEASE) $(ORIGIN) $(COMPONENT)";
                let mut apt = tool::command("apt-get");
                Archives::parse(&tool::run(apt.args(["indextargets", "--format", format]))?)
            }
        };
        (debian.into_iter().collect(), security)
    } else {
        // The mirrors of a recipe serve all its suites. The address of a mirror for security
        // updates ends with "-security".
        let trim = |uri: &String| uri.trim_end_matches('/').to_owned();
        let (security, debian): (Vec<_>, Vec<_>) =
            mirrors.into_iter().map(trim).partition(|uri| uri.ends_with("-security"));
        (debian, security.into_iter().next())
    };
    let (debian, security): (Vec<String>, Option<String>) = known;
    let suites = std::iter::once(&bootstrap.suite).chain(&bootstrap.extra_suites);
    for suite in suites {
        let uris = if suite.ends_with("-security") { security.as_slice() } else { &debian };
        if uris.is_empty() {
            return Err(missing(suite).into());
        }
        sources.extend(uris.iter().map(|uri| Source {
            uri: uri.clone(),
            suite: suite.clone(),
            components: bootstrap.components.clone(),
            options: trusted.to_owned(),
        }));
    }
    Ok(sources)
}

fn not_a_line(line: &str) -> RecipeError {
    RecipeError(format!(
        "`mirrors` has `{line}`, which is neither an address nor a line `deb ADDRESS SUITE …`"
    ))
}

fn missing(suite: &str) -> RecipeError {
    let kind = if suite.ends_with("-security") { "security" } else { "Debian" };
    let instead = "or name `mirrors` in the mmdebstrap action";
    if let Some(folder) = debian::folder() {
        let list = folder.join(LIST);
        let list = list.display();
        return RecipeError(format!(
            "building from the suite {suite}: {list} has no {kind} archive; add a line `deb \
                ADDRESS {suite} main` there, {instead}"
        ));
    }
    RecipeError(format!(
        "building from the suite {suite}: the build host's apt has no {kind} archive (`apt-get \
            indextargets` lists none); add one to /etc/apt/sources.list.d and run `apt-get \
            update`, {instead}"
    ))
}

/// apt's list of archives in a folder of `$DARUMA_TOOLS`.
const LIST: &str = "etc/apt/sources.list";

/// The archives that `apt-get indextargets` lists.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Archives {
    debian: Option<String>,
    security: Option<String>,
}

impl Archives {
    /// Reads the list of a folder of `$DARUMA_TOOLS`. apt itself knows an archive's origin only
    /// after an update, which the folder does not need.
    fn of_folder(folder: &Path) -> Result<Self, ToolError> {
        let list = folder.join(LIST);
        let text = std::fs::read_to_string(&list)
            .map_err(|error| ToolError(format!("reading {}: {error}", list.display())))?;
        Ok(Self::of_list(&text))
    }

    fn of_list(text: &str) -> Self {
        let line = |source: Source| format!("{} {} Debian -\n", source.uri, source.suite);
        Self::parse(&text.lines().filter_map(Source::parse).map(line).collect::<String>())
    }

    /// Reads lines of `URI RELEASE ORIGIN COMPONENT`. The first line of each kind counts, as in
    /// apt.
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(uri), Some(release), Some("Debian")) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let place = if release.ends_with("-security") {
                &mut found.security
            } else {
                &mut found.debian
            };
            place.get_or_insert_with(|| uri.trim_end_matches('/').to_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_archives_are_told_apart_by_their_release() {
        let text = "ftp://x.test/docker bookworm Docker stable\n\
                    ftp://a.test/debian/ bookworm Debian main\n\
                    ftp://b.test/debian/ bookworm-updates Debian main\n\
                    ftp://s.test/debian-security/ bookworm-security Debian main\n";
        let found = Archives::parse(text);
        assert_eq!(found.debian.as_deref(), Some("ftp://a.test/debian"));
        assert_eq!(found.security.as_deref(), Some("ftp://s.test/debian-security"));
    }

    #[test]
    fn the_archives_of_a_folder_are_those_of_its_list() {
        let text = "# by mmdebstrap\ndeb ftp://a.test/debian trixie main\n\
                    deb [signed-by=/k] ftp://s.test/debian-security trixie-security main\n";
        let found = Archives::of_list(text);
        assert_eq!(found.debian.as_deref(), Some("ftp://a.test/debian"));
        assert_eq!(found.security.as_deref(), Some("ftp://s.test/debian-security"));
    }

    #[test]
    fn a_host_without_a_security_archive_is_told_what_to_add() {
        let message = missing("trixie-security").to_string();
        assert!(
            message.contains("no security archive") && message.contains("apt-get update"),
            "{message}"
        );
    }
}
