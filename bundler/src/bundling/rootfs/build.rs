//! Builds a root filesystem: runs the plan, or takes the tar from the cache, and says what failed.
//!
//! `mmdebstrap` makes the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bundling::rootfs::hooks;
use crate::bundling::rootfs::mmdebstrap::{Keys, Plan, Settings, Way};
use crate::bundling::tree::Tree;
use crate::host::cache::{self, Cache, Found, Part};
use crate::host::report::{Actions, Files};
use crate::host::tool::{self, ToolError};
use crate::recipe::{Action, Recipe, Step};

/// `SOURCE_DATE_EPOCH` if the environment has none: 2025-08-09T00:00:00Z, the day of the Debian 13
/// release. The time is fixed because the same input must give the same bundle on every day.
pub const DEFAULT_EPOCH: u64 = 1_754_697_600;

/// Number of lines of a failing action that go into the error.
const LAST_WORDS: usize = 12;

/// Returns `SOURCE_DATE_EPOCH` in seconds.
///
/// # Errors
/// The variable is set but is not a number.
pub fn source_date_epoch() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(DEFAULT_EPOCH),
        Ok(text) => text.parse().with_context(|| {
            format!("SOURCE_DATE_EPOCH={text}: the value is not a number of seconds since 1970")
        }),
    }
}

/// Builds a recipe: its artifacts, and with `out` the tar of its root filesystem. Begins after the
/// last action whose state the cache has. Returns the list of packages of the recipe's disk, as the
/// part of a tree that has it.
///
/// # Errors
/// No archive is found, a program is missing or fails, or the output cannot be written.
pub fn build(
    recipe: Recipe,
    settings: Settings,
    out: Option<&Path>,
    cache: Option<&Cache>,
) -> Result<Option<Tree>> {
    let name = recipe.path.display().to_string();
    let artifacts = settings.artifacts.clone();
    std::fs::create_dir_all(&artifacts)
        .with_context(|| format!("making the artifact folder {}", artifacts.display()))?;
    let before = Files::of(&artifacts);
    let mut progress = Actions::new(names(&recipe.steps));
    let plan = Plan::new(recipe, settings)?;
    let kept = cache.filter(|_| !plan.lock.renews()).and_then(|cache| {
        match results(&plan, out).and_then(|files| plan.keys(&files)) {
            Ok(keys) => Some((cache, keys)),
            Err(error) => {
                eprintln!("warning: {name}: the cache is not used: {error:#}");
                None
            }
        }
    });
    let found = kept
        .as_ref()
        .zip(out)
        .and_then(|((cache, keys), out)| Some((cache.find(keys.tar.as_deref()?)?, out)));
    match found {
        Some((found, out)) => {
            eprintln!("{name}: nothing has changed, taking the root filesystem from the cache");
            found.take(out)?;
        }
        None => {
            let kept = kept.as_ref().map(|(cache, keys)| (*cache, keys));
            make(&plan, &name, out, kept, &mut progress)?;
        }
    }
    if let Some(disk) = &plan.hooks.disk {
        disk.finish().inspect_err(|_| disk.remove())?;
    }
    let packages = plan.hooks.disk.as_ref().and_then(|disk| disk.packages());
    plan.lock.renew(&plan.recipe, plan.dir.path(), &plan.sources)?;
    postprocess(&plan, &mut progress)?;
    if let Some(cache) = cache {
        let _ = cache.trim(cache::LIMIT, None);
    }
    progress.summary(&name, out, &before, &artifacts);
    Ok(packages)
}

/// How a person calls each action.
fn names(steps: &[Step]) -> Vec<String> {
    let name = |(index, step): (usize, &Step)| {
        let about = match &step.action {
            _ if !step.description.is_empty() => format!(" \"{}\"", step.description),
            Action::Overlay(overlay) => format!(" {}", overlay.source.path),
            Action::Unpack(unpack) => format!(" {}", unpack.source.path),
            Action::Pack(pack) => format!(" {}", pack.file),
            Action::Disk(disk) => format!(" {}", disk.name),
            _ => String::new(),
        };
        format!("{} of {}: {}{about}", index + 1, steps.len(), step.name)
    };
    steps.iter().enumerate().map(name).collect()
}

/// The files that a build writes.
fn results(plan: &Plan, out: Option<&Path>) -> Result<Vec<PathBuf>> {
    let artifacts = hooks::absolute(&plan.settings.artifacts)?;
    let written = plan.recipe.steps.iter().filter_map(|step| match &step.action {
        Action::Pack(pack) => Some(artifacts.join(&pack.file)),
        Action::Disk(disk) => Some(artifacts.join(&disk.name)),
        _ => None,
    });
    let mut files: Vec<PathBuf> = written.chain([artifacts.clone()]).collect();
    files.extend(out.map(hooks::absolute).transpose()?);
    Ok(files)
}

fn make(
    plan: &Plan,
    name: &str,
    out: Option<&Path>,
    kept: Option<(&Cache, &Keys)>,
    progress: &mut Actions,
) -> Result<()> {
    plan.lock.prepare(plan.dir.path(), &plan.sources)?;
    let mut states = States::new(plan, kept, out.is_some());
    plan.begins(states.from.as_ref().map_or("", |(_, found)| &found.about.note))?;
    if let Some((number, _)) = &states.from {
        eprintln!("{name}: taking the root filesystem {} from the cache", plan.state(*number));
    }
    let work = out.map(work_folder).transpose()?;
    let part = work.as_ref().map(|dir| dir.path().join("rootfs.tar"));
    let mut log = Log { action: None, code: None, lines: Vec::new() };
    let suites: Vec<_> = plan.sources.iter().map(|source| source.suite.as_str()).collect();
    progress.begin(&match (&states.from, suites.as_slice()) {
        (Some(_), _) => "reading the root filesystem from the cache".to_owned(),
        (None, []) => "beginning".to_owned(),
        (None, suites) => format!("packages from {}", suites.join(", ")),
    });
    let mut command = plan.command(part.as_deref(), &states.way())?;
    let result = tool::run_watched(&mut command, |line| {
        if states.line(line) {
            return;
        }
        log.line(line);
        progress.line(line, log.action);
    });
    progress.end();
    let result = result.map_err(anyhow::Error::from);
    if let Err(error) = result.and_then(|()| plan.lock.check(plan.dir.path())) {
        if let Some(disk) = &plan.hooks.disk {
            disk.remove();
        }
        return match log.failed(&plan.recipe.steps) {
            Some(failed) => Err(failed.into()),
            None => Err(error).with_context(|| format!("building the root filesystem of {name}")),
        };
    }
    let (Some(part), Some(out)) = (part, out) else { return Ok(()) };
    if let Some(key) = kept.and_then(|(_, keys)| keys.tar.as_ref()) {
        states.keep_tar(key, &part);
    }
    std::fs::rename(&part, out).with_context(|| format!("writing {}", out.display()))
}

/// A folder beside the output. A build that is killed leaves nothing under the output's name.
fn work_folder(out: &Path) -> Result<tempfile::TempDir> {
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".daruma-build-").tempdir_in(dir);
    made.with_context(|| format!("making a temporary folder in {}", dir.display()))
}

/// The states that a build begins with and keeps.
struct States<'a> {
    plan: &'a Plan,
    cache: Option<&'a Cache>,
    from: Option<(usize, Found)>,
    /// By their numbers.
    parts: BTreeMap<usize, Part>,
    /// Whether a person knows that the cache cannot be written.
    told: bool,
}

impl<'a> States<'a> {
    /// Looks for the last state that the cache has. `is_tar`: the finished tar is kept too, so the
    /// last state is not worth its place.
    fn new(plan: &'a Plan, kept: Option<(&'a Cache, &Keys)>, is_tar: bool) -> Self {
        let mut states =
            Self { plan, cache: None, from: None, parts: BTreeMap::new(), told: false };
        let Some((cache, keys)) = kept else { return states };
        states.cache = Some(cache);
        let all = keys.states.iter().enumerate();
        states.from = all.clone().rev().find_map(|(n, key)| Some((n, cache.find(key)?)));
        let begin = states.from.as_ref().map_or(0, |(number, _)| number + 1);
        let last = keys.states.len().saturating_sub(1);
        for (number, key) in all.skip(begin) {
            if number == last && number > 0 && is_tar && keys.tar.is_some() {
                break;
            }
            match cache.begin(key) {
                Ok(part) => drop(states.parts.insert(number, part)),
                Err(error) => {
                    states.not_kept(&error.to_string());
                    break;
                }
            }
        }
        states
    }

    fn way(&self) -> Way {
        let keep = self.parts.iter().map(|(number, part)| (*number, part.path.clone()));
        let from = self.from.as_ref().map(|(number, found)| (*number, found.path.clone()));
        Way { from, keep: keep.collect() }
    }

    fn not_kept(&mut self, why: &str) {
        if let Some(cache) = self.cache.filter(|_| !self.told) {
            let (name, dir) = (self.plan.recipe.path.display(), cache.dir().display());
            eprintln!("warning: {name}: the cache {dir} does not keep this build: {why}");
        }
        self.told = true;
    }

    /// Keeps the finished tar.
    fn keep_tar(&mut self, key: &str, file: &Path) {
        let Some(cache) = self.cache else { return };
        let what = format!("{}: the root filesystem", self.plan.recipe.path.display());
        cache.add(key, file, &what).unwrap_or_else(|error| self.not_kept(&error.to_string()));
    }

    /// Takes a line of `keep_state`, and returns whether it is one.
    fn line(&mut self, line: &str) -> bool {
        let Some(line) = line.strip_prefix("daruma-bundler: ") else { return false };
        let number = |text: &str| -> Option<(usize, String)> {
            let (number, rest) = text.split_once(' ')?;
            Some((number.parse().ok()?, rest.to_owned()))
        };
        if let Some((number, note)) = line.strip_prefix("kept ").and_then(number) {
            let Some((part, cache)) = self.parts.remove(&number).zip(self.cache) else {
                return true;
            };
            let what = format!("{}: {}", self.plan.recipe.path.display(), self.plan.state(number));
            if let Err(error) = cache.keep(part, &what, &note) {
                self.not_kept(&error.to_string());
            }
            return true;
        }
        if let Some((_, why)) = line.strip_prefix("not kept ").and_then(number) {
            self.not_kept(&why);
            return true;
        }
        false
    }
}

/// Runs the actions that come after everything else, as the user, in the artifact folder.
fn postprocess(plan: &Plan, progress: &mut Actions) -> Result<()> {
    let steps = &plan.recipe.steps;
    for (index, step) in steps.iter().enumerate() {
        let Action::Run(run) = &step.action else { continue };
        if !run.postprocess {
            continue;
        }
        let text = plan.hooks.after_all(index, run, &step.place)?;
        let mut command = tool::command("sh");
        command.args(["-c", &text]).envs(&plan.settings.environment);
        command.env("SOURCE_DATE_EPOCH", plan.settings.epoch.to_string());
        let mut log = Log { action: Some(index), code: None, lines: Vec::new() };
        let result = tool::run_watched(&mut command, |line| {
            log.line(line);
            progress.line(line, log.action);
        });
        progress.end();
        if let Err(error) = result {
            return Err(log.failed(steps).map_or(error.into(), Into::into));
        }
    }
    Ok(())
}

/// What mmdebstrap and the actions have said.
struct Log {
    /// The action that runs or ran last.
    action: Option<usize>,
    /// The code that it failed with.
    code: Option<String>,
    /// Its lines.
    lines: Vec<String>,
}

impl Log {
    fn line(&mut self, line: &str) {
        let number = line.strip_prefix("daruma-bundler: action ");
        if let Some(number) = number.or(line.strip_prefix("daruma-bundler: finishing ")) {
            self.action = number.parse().ok();
            self.lines.clear();
        } else if let Some(code) = line.strip_prefix("daruma-bundler: failed ") {
            self.code = Some(format!("exit status {code}"));
        } else if self.code.is_none() && !line.trim().is_empty() {
            self.lines.push(line.trim().to_owned());
        }
    }

    /// Names the action that failed, where it stands, and its last lines.
    fn failed(&self, steps: &[Step]) -> Option<ToolError> {
        let (index, code) = (self.action?, self.code.as_ref()?);
        let step = steps.get(index)?;
        let what = match step.description.as_str() {
            "" => format!("the {} action", step.name),
            text => format!("the {} action \"{text}\"", step.name),
        };
        let last = &self.lines[self.lines.len().saturating_sub(LAST_WORDS)..];
        let said = if last.is_empty() { "it printed nothing".to_owned() } else { last.join(" | ") };
        let message =
            format!("{what} ({} of {}) ended with {code}: {said}", index + 1, steps.len());
        Some(ToolError(step.place.error(message).0))
    }
}
