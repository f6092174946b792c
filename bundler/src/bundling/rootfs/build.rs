//! Builds a root filesystem: runs the plan, or takes the tar from the cache, and says what failed.
//!
//! `mmdebstrap` makes the plan.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image_layout::Amount;

use crate::bundling::rootfs::mmdebstrap::{Plan, Settings};
use crate::host::cache::Cache;
use crate::host::progress::Progress;
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

/// Builds a recipe: its artifacts, and with `out` the tar of its root filesystem. The cache serves
/// recipes that make no other artifacts.
///
/// # Errors
/// No archive is found, a program is missing or fails, or the output cannot be written.
pub fn build(
    recipe: Recipe,
    settings: Settings,
    out: Option<&Path>,
    cache: Option<&Path>,
) -> Result<()> {
    let name = recipe.path.display().to_string();
    let artifacts = settings.artifacts.clone();
    std::fs::create_dir_all(&artifacts)
        .with_context(|| format!("making the artifact folder {}", artifacts.display()))?;
    let plan = Plan::new(recipe, settings)?;
    let kept = cache.filter(|_| !plan.recipe.makes_artifacts() && !plan.lock.renews());
    match (kept, out) {
        (Some(dir), Some(out)) => {
            let cache = Cache::open(dir)?;
            let key = cache.key(&plan.ingredients()?);
            match cache.find(&key) {
                Some(_) => eprintln!(
                    "{name}: nothing has changed, taking the root filesystem {}… from the cache",
                    &key[..12]
                ),
                None => cache.add(&key, |part| make(&plan, &name, Some(part)))?,
            }
            cache.take(&key, out)?;
        }
        _ => make(&plan, &name, out)?,
    }
    if let Some(disk) = &plan.hooks.disk {
        disk.finish().inspect_err(|_| disk.remove())?;
    }
    plan.lock.renew(&plan.recipe, plan.dir.path(), &plan.sources)?;
    postprocess(plan)
}

fn make(plan: &Plan, name: &str, out: Option<&Path>) -> Result<()> {
    plan.lock.prepare(plan.dir.path(), &plan.sources)?;
    let suites: Vec<_> = plan.sources.iter().map(|source| source.suite.as_str()).collect();
    let from =
        if suites.is_empty() { String::new() } else { format!(" from {}", suites.join(", ")) };
    let progress = Progress::steps(&format!("Building {name}{from}"), 0);
    let part = out.map(part_of);
    let mut log = Log { action: None, code: None, lines: Vec::new() };
    let result = tool::run_watched(&mut plan.command(part.as_deref()), |line| {
        progress.advance(1);
        log.line(line);
        if let Some(step) = line.strip_prefix("I: ") {
            progress.say(step);
        } else if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
            progress.say(line);
        }
    });
    let result = result.map_err(anyhow::Error::from);
    if let Err(error) = result.and_then(|()| plan.lock.check(plan.dir.path())) {
        if let Some(disk) = &plan.hooks.disk {
            disk.remove();
        }
        if let Some(part) = part {
            let _ = std::fs::remove_file(part);
        }
        return match log.failed(&plan.recipe.steps) {
            Some(failed) => Err(failed.into()),
            None => Err(error).with_context(|| format!("building the root filesystem of {name}")),
        };
    }
    let (Some(part), Some(out)) = (part, out) else {
        progress.done("done");
        return Ok(());
    };
    let bytes =
        std::fs::metadata(&part).with_context(|| format!("reading {}", part.display()))?.len();
    std::fs::rename(&part, out)
        .with_context(|| format!("renaming {} to {}", part.display(), out.display()))?;
    progress.done(&Amount(bytes).to_string());
    Ok(())
}

/// Runs the actions that come after everything else, as the user, in the artifact folder.
fn postprocess(mut plan: Plan) -> Result<()> {
    let steps = plan.recipe.steps.clone();
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
        if let Err(error) = tool::run_watched(&mut command, |line| log.line(line)) {
            return Err(log.failed(&steps).map_or(error.into(), Into::into));
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
        if let Some(number) = line.strip_prefix("daruma-bundler: action ") {
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

/// Returns the path of the unfinished output. mmdebstrap chooses the format by the name.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part.tar");
    out.with_file_name(name)
}
