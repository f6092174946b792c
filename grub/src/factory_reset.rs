//! The request for a factory reset, as a variable of the environment.
//!
//! The agent asks for it, and daruma-init does it at the next boot. GRUB and older agents keep the
//! variable and do not look at it.
//!
//! The value is `all`, or `keep:` and paths with `:` between them. The request and its paths are
//! one value of one sector, so a power cut cannot part them. No text but these two forms is a
//! request: a reset that is not understood erases nothing.
//!
//! A path is relative to /var, or absolute and in one of [`image_layout::FOLDERS`], as `/home/ann`.
//! To a daruma-init that knows no such folders, a request with an absolute path is none.

use image_layout::place_on_var;
use thiserror::Error;

use crate::env::{Env, EnvError};

/// The variable of the environment that holds the request.
const RESET: &str = "RESET";
/// The folder below /var that every reset empties. It holds the settings and what is remembered.
const OWN: &str = "lib/daruma";
/// The longest value, in bytes. It leaves room for the other variables, `BOOTED` and `PLACE` among
/// them, which may come later.
const LONGEST: usize = 240;

/// What a factory reset is to do: /var is emptied but for some paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FactoryReset {
    keep: Vec<String>,
}

/// A path that a factory reset cannot keep. Each text is the rest of a sentence about the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CannotKeep {
    /// It is not a path below /var or one of the folders, or not in its plainest form.
    #[error(
        "is not a plain path below /var, such as /var/lib/app, or in /root, /home, /srv, /opt or \
         /usr/local"
    )]
    Path,
    /// The path is Daruma's own folder, lies in it, or holds it.
    #[error("would keep /var/lib/daruma, which a reset always empties")]
    Own,
    /// The environment could not hold it.
    #[error("has a ':' or a control character")]
    Character,
}

impl FactoryReset {
    /// Returns the reset that keeps these paths, each relative to /var or in one of the folders.
    /// Without a path it keeps nothing.
    ///
    /// # Errors
    /// The first path that cannot be kept, and why.
    pub fn new(keep: &[&str]) -> Result<Self, (String, CannotKeep)> {
        for path in keep {
            check(path).map_err(|error| ((*path).to_owned(), error))?;
        }
        Ok(Self { keep: keep.iter().map(|path| (*path).to_owned()).collect() })
    }

    /// Returns the request that the environment holds.
    #[must_use]
    pub fn of(env: &Env) -> Option<Self> {
        let value = env.get(RESET)?;
        if value == "all" {
            return Some(Self { keep: Vec::new() });
        }
        let keep: Vec<&str> = value.strip_prefix("keep:")?.split(':').collect();
        Self::new(&keep).ok()
    }

    /// Returns the paths that stay, as they were given to [`FactoryReset::new`].
    #[must_use]
    pub fn keep(&self) -> &[String] {
        &self.keep
    }

    /// Returns where the paths that stay lie on the partition, relative to /var.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let place = |path: &String| place_on_var(path).unwrap_or_else(|| path.clone());
        self.keep.iter().map(place).collect()
    }

    /// Returns the paths that stay, as a person knows them: absolute.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |path: &String| match path.as_str() {
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            below_var => format!("/var/{below_var}"),
        };
        self.keep.iter().map(name).collect()
    }

    /// Puts the request into the environment, in place of an older one.
    ///
    /// # Errors
    /// [`EnvError::Full`]: the environment has no room for so many paths.
    pub fn ask(&self, env: &mut Env) -> Result<(), EnvError> {
        let value = match self.keep.as_slice() {
            [] => "all".to_owned(),
            keep => format!("keep:{}", keep.join(":")),
        };
        if value.len() > LONGEST {
            return Err(EnvError::Full(RESET.to_owned()));
        }
        env.set(RESET, &value)
    }

    /// Takes the request out of the environment. Returns false if there was none.
    pub fn end(env: &mut Env) -> bool {
        env.unset(RESET)
    }
}

fn check(path: &str) -> Result<(), CannotKeep> {
    if path.contains(|c: char| c == ':' || c.is_control()) {
        return Err(CannotKeep::Character);
    }
    // A folder's changes lie in Daruma's own folder. Only this way leads to them.
    let (in_folder, plain) = match path.strip_prefix('/') {
        Some(rest) => (true, rest),
        None => (false, path),
    };
    if plain.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(CannotKeep::Path);
    }
    if in_folder {
        return if place_on_var(path).is_some() { Ok(()) } else { Err(CannotKeep::Path) };
    }
    let holds = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if holds(path, OWN) || holds(OWN, path) { Err(CannotKeep::Own) } else { Ok(()) }
}
