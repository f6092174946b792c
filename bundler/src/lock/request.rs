//! What a recipe asks the archives for. A lock answers one request.
//!
//! `file` keeps it. Scripts and overlays are not part of it: a lock does not hold them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::recipe::{Action, Recipe};

/// The part of a recipe that decides which packages a build takes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Debian's name.
    pub architecture: String,
    /// mmdebstrap's variant. Empty: the recipe unpacks its root filesystem.
    #[serde(default)]
    pub variant: String,
    /// The suites, in the recipe's order. The first is the main one.
    #[serde(default)]
    pub suites: Vec<String>,
    /// The components, in the recipe's order.
    #[serde(default)]
    pub components: Vec<String>,
    /// Names of packages as the recipe writes them. `+recommends` marks an action that installs
    /// recommended packages too.
    #[serde(default)]
    pub packages: BTreeSet<String>,
}

impl Request {
    /// Returns the request of a recipe.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        let mut request = Self { architecture: recipe.architecture.clone(), ..Self::default() };
        if let Some(bootstrap) = &recipe.bootstrap {
            request.variant.clone_from(&bootstrap.variant);
            request.suites.push(bootstrap.suite.clone());
            request.suites.extend(bootstrap.extra_suites.iter().cloned());
            request.components.clone_from(&bootstrap.components);
            request.packages.extend(bootstrap.include.iter().cloned());
        }
        for step in &recipe.steps {
            if let Action::Apt(apt) = &step.action {
                let end = if apt.recommends { " +recommends" } else { "" };
                request.packages.extend(apt.packages.iter().map(|name| format!("{name}{end}")));
            }
        }
        request
    }

    /// Says how `now` differs from this request. `None`: it does not.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<String> {
        let plain = [
            ("architecture", &self.architecture, &now.architecture),
            ("variant", &self.variant, &now.variant),
        ];
        for (what, old, new) in plain {
            if old != new {
                return Some(format!(
                    "the {what} is `{new}` in the recipe and `{old}` in the lock"
                ));
            }
        }
        for (what, old, new) in [
            ("suites", &self.suites, &now.suites),
            ("components", &self.components, &now.components),
        ] {
            if old != new {
                let (old, new) = (old.join(", "), new.join(", "));
                return Some(format!("the {what} are {new} in the recipe and {old} in the lock"));
            }
        }
        let list =
            |a: &BTreeSet<String>, b| a.difference(b).cloned().collect::<Vec<_>>().join(", ");
        let (more, less) =
            (list(&now.packages, &self.packages), list(&self.packages, &now.packages));
        match (more.as_str(), less.as_str()) {
            ("", "") => None,
            (more, "") => Some(format!("the recipe asks for {more} too")),
            ("", less) => Some(format!("the recipe does not ask for {less}")),
            (more, less) => {
                Some(format!("the recipe asks for {more} too, and does not ask for {less}"))
            }
        }
    }
}
