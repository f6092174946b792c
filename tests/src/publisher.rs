//! A publisher: its keys, and a repository for a server.
//!
//! `daruma-bundler` does the work. The release key is that of the fixture.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::fixture::Fixture;

/// The keys and the repository of a publisher. The release key is that of the fixture.
#[derive(Clone, Debug)]
pub struct Publisher {
    fixture: Fixture,
    dir: PathBuf,
}

impl Publisher {
    /// Makes keys and, in `dir/repo`, a repository with its first root document.
    ///
    /// # Errors
    /// A step of the bundler fails.
    pub fn new(fixture: &Fixture, dir: &Path) -> Result<Self> {
        let this = Self { fixture: fixture.clone(), dir: dir.to_owned() };
        for name in ["root", "channel"] {
            this.run(&["keygen", "--out", &this.path(""), "--name", name])?;
        }
        let release = fixture.key("release.pub.pem");
        let key = |role: &str, path: &str| format!("{role}={path}");
        this.run(&[
            "root",
            "new",
            "--repo",
            &this.path("repo"),
            "--add",
            &key("root", &this.path("root.pub.pem")),
            "--add",
            &key("channel", &this.path("channel.pub.pem")),
            "--add",
            &key("release", &release.display().to_string()),
        ])?;
        this.run(&[
            "root",
            "sign",
            &this.path("repo/next.root.json"),
            "--key",
            &this.path("root.key.pem"),
        ])?;
        this.run(&["root", "finish", "--repo", &this.path("repo")])?;
        Ok(this)
    }

    /// Returns the path of a file or folder of the publisher, such as `repo` or `channel.key.pem`.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Runs the bundler.
    pub fn run(&self, words: &[&str]) -> Result<()> {
        self.fixture.bundler(words)
    }

    /// Publishes a bundle in the channel `stable`. `more` are further arguments.
    pub fn publish(&self, bundle: &Path, more: &[&str]) -> Result<()> {
        let (bundle, repo, key) =
            (bundle.display().to_string(), self.path("repo"), self.path("channel.key.pem"));
        self.run(&[&["publish", bundle.as_str(), "--repo", &repo, "--key", &key], more].concat())
    }
}
