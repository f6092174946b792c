//! What a person sees of a build: the action that runs, its number and time, and a summary.
//!
//! The build hands over every line that mmdebstrap and the actions print. `progress` draws.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use image_layout::Amount;

use crate::host::progress::Progress;

/// The actions of a build, and how long each took.
#[derive(Debug)]
pub struct Actions {
    /// How a person calls each action.
    names: Vec<String>,
    bar: Option<Progress>,
    begun: Instant,
    /// What runs, and since when.
    now: Option<(String, Instant)>,
    /// What ran, in seconds.
    took: Vec<(String, f64)>,
}

impl Actions {
    /// Before the first action. The names are for people.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self { names, bar: None, begun: Instant::now(), now: None, took: Vec::new() }
    }

    /// Begins with the work before the first action.
    pub fn begin(&mut self, what: &str) {
        self.next(what.to_owned(), 0);
    }

    /// Takes a line. `action` is the number of the action that printed it.
    pub fn line(&mut self, line: &str, action: Option<usize>) {
        if let Some(index) = action.filter(|_| line.starts_with("daruma-bundler: action ")) {
            let name = self.names.get(index).cloned().unwrap_or_default();
            self.next(name, index as u64);
        } else if action.is_some() && line.starts_with("daruma-bundler: finishing ") {
            self.next("filling the disk".to_owned(), self.names.len() as u64);
        } else if let Some(step) = line.strip_prefix("I: ") {
            if step.starts_with("cleaning package lists") {
                self.next("writing the result".to_owned(), self.names.len() as u64);
            }
            self.say(step);
        } else if !line.starts_with("daruma-bundler: ") {
            self.say(line);
        }
    }

    /// Ends what runs now.
    pub fn end(&mut self) {
        self.stop();
        self.bar = None;
    }

    fn say(&self, doing: &str) {
        if let Some(bar) = &self.bar {
            bar.say(doing);
        }
    }

    fn stop(&mut self) {
        if let Some((name, since)) = self.now.take() {
            self.took.push((name, since.elapsed().as_secs_f64()));
        }
    }

    fn next(&mut self, name: String, done: u64) {
        self.stop();
        let total = self.names.len() as u64;
        let bar = self.bar.get_or_insert_with(|| Progress::actions(total));
        bar.begin(&name, done, self.begun.elapsed());
        self.now = Some((name, Instant::now()));
    }

    /// Prints the times of the actions, and the files with their sizes.
    pub fn summary(&self, name: &str, out: Option<&Path>, before: &Files, dir: &Path) {
        eprintln!("{name}: built in {:.1} s", self.begun.elapsed().as_secs_f64());
        for (action, took) in self.took.iter().filter(|(_, took)| *took >= 0.05) {
            eprintln!("{took:8.1} s  {action}");
        }
        let mut files = Files::of(dir).newer_than(before);
        files.extend(out.map(Path::to_owned).filter(|out| !files.contains(out) && !is_aside(out)));
        for file in files {
            print_file(&file);
        }
    }
}

/// Whether a file lies in a folder that this program removes at its end.
fn is_aside(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    folder.is_some_and(|name| name.as_encoded_bytes().starts_with(b".daruma-"))
}

/// Prints a line of the summary: the size of a file, and the file.
pub fn print_file(file: &Path) {
    let bytes = file.metadata().map_or(0, |file| file.len());
    eprintln!("{:>10}  {}", Amount(bytes).to_string(), file.display());
}

/// The files of a folder and of the folders in it: size and time.
#[derive(Debug)]
pub struct Files(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

/// How deep the summary looks for files, and at how many.
const DEPTH: usize = 3;
const MOST: usize = 10_000;

impl Files {
    /// Looks at a folder.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let mut files = Self(BTreeMap::new());
        files.add(dir, DEPTH);
        files
    }

    fn add(&mut self, dir: &Path, depth: usize) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
            if self.0.len() >= MOST || entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if metadata.is_dir() && depth > 1 {
                self.add(&path, depth - 1);
            } else if metadata.is_file() {
                self.0.insert(path, (metadata.len(), metadata.modified().ok()));
            }
        }
    }

    /// Returns the files that are new or have changed.
    fn newer_than(&self, before: &Self) -> Vec<PathBuf> {
        let changed = |(path, state): &(&PathBuf, &(u64, Option<SystemTime>))| {
            before.0.get(*path) != Some(*state)
        };
        self.0.iter().filter(changed).map(|(path, _)| path.clone()).collect()
    }
}
