//! Writes the calls of hooks.sh: one for each action.
//!
//! `mmdebstrap` hands them to mmdebstrap. `staging` packs overlays before it starts, and `fetch`
//! gets the downloads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bundling::disk::DiskPlan;
use crate::bundling::rootfs::inputs::staging;
use crate::bundling::rootfs::inputs::states::{self, Input};
use crate::host::shell::{quote, quote_path};
use crate::recipe::{
    Action, Apt, Archive, Deploy, From, InstallDeb, Origin, Overlay, Pack, Place, Program, Raw,
    Run, Step, Unpack, matching,
};

/// The functions, which every hook reads.
pub(super) const FUNCTIONS: &str = include_str!("hooks.sh");

/// Where the calls find their files.
#[derive(Debug)]
pub(super) struct Hooks {
    /// Folder of this build, with hooks.sh.
    pub(super) dir: PathBuf,
    /// The artifact folder, absolute.
    pub(super) artifacts: PathBuf,
    /// What each `download` action has fetched.
    pub(super) downloads: BTreeMap<String, PathBuf>,
    /// The disk, if the recipe makes one.
    pub(super) disk: Option<DiskPlan>,
    /// `SOURCE_DATE_EPOCH`.
    pub(super) epoch: u64,
    /// Number of overlays that were packed.
    pub(super) staged: usize,
    /// What the action reads whose call was asked for last.
    pub(super) inputs: Vec<Input>,
}

impl Hooks {
    /// Returns a hook that calls `text`. The number is the action's.
    pub(super) fn hook(&self, number: Option<usize>, text: &str) -> Result<String> {
        let dir = quote_path(&self.dir)?;
        let begin = number.map_or(String::new(), |number| format!("begin {number}; "));
        Ok(format!("DARUMA={dir}; . \"$DARUMA\"/hooks.sh; {begin}{text}"))
    }

    /// Returns the call for an action. `None`: there is nothing to do while mmdebstrap runs.
    pub(super) fn call(&mut self, index: usize, step: &Step) -> Result<Option<String>> {
        Ok(Some(match &step.action {
            Action::Apt(apt) => format!("install_packages \"$1\" {}", self.apt(apt)?),
            Action::InstallDeb(install) => self.install_deb(install)?,
            Action::Overlay(overlay) => self.overlay(overlay)?,
            Action::Unpack(unpack) => self.unpack(unpack)?,
            Action::Pack(pack) => self.pack(pack)?,
            Action::Run(run) if !run.postprocess => self.run(run, &step.place)?,
            Action::Run(_) | Action::Download(_) => return Ok(None),
            Action::Disk(_) => "make_disk".to_owned(),
            Action::Deploy(deploy) => {
                let Deploy { fstab, cmdline, append } = deploy;
                format!("deploy \"$1\" {fstab} {cmdline} {}", quote(append)?)
            }
            Action::Raw(raw) => self.raw(index, raw)?,
        }))
    }

    fn apt(&self, apt: &Apt) -> Result<String> {
        let mut words: Vec<String> =
            [apt.update, apt.recommends, apt.unauthenticated].map(|flag| flag.to_string()).into();
        for package in &apt.packages {
            words.push(quote(package)?);
        }
        Ok(words.join(" "))
    }

    fn install_deb(&mut self, install: &InstallDeb) -> Result<String> {
        let settings = self.apt(&install.apt)?;
        let folder = self.origin(&install.origin)?;
        if install.patterns.is_empty() {
            if let Some(file) = self.folder(&install.origin)? {
                self.reads(&file);
            }
            return Ok(format!("install_files \"$1\" {settings} {folder}"));
        }
        let mut words = Vec::new();
        for pattern in &install.patterns {
            if let Some(dir) = self.folder(&install.origin)? {
                matching(&dir, pattern).iter().for_each(|file| self.reads(file));
            }
            // The shell expands the pattern when the action runs. The rest is quoted.
            let special = |c: char| "*?[]".contains(c);
            let parts = pattern.split_inclusive(special).map(|part| {
                let plain = part.trim_end_matches(special);
                Ok(format!("{}{}", quote(plain)?, &part[plain.len()..]))
            });
            words.push(format!("{folder}/{}", parts.collect::<Result<String>>()?));
        }
        Ok(format!("install_files \"$1\" {settings} {}", words.join(" ")))
    }

    fn overlay(&mut self, overlay: &Overlay) -> Result<String> {
        let Overlay { source, destination } = overlay;
        let now = match &source.origin {
            Origin::Recipe(folder) => Some(absolute(folder)?.join(&source.path)),
            Origin::Download { name, .. } => self.downloads.get(name).map(|p| p.join(&source.path)),
            Origin::Artifacts | Origin::Filesystem => None,
        };
        let Some(now) = now.filter(|path| path.exists()) else {
            if let Some(folder) = self.folder(&source.origin)? {
                self.reads(&folder.join(&source.path));
            }
            let source = self.path(source)?;
            return Ok(format!("lay_now \"$1\" {source} {}", quote(destination)?));
        };
        let tar = self.dir.join(format!("{:03}.tar", self.staged));
        self.staged += 1;
        self.reads(&tar);
        let tar_word = quote_path(&tar)?;
        if now.is_dir() {
            let folders = staging::pack_overlay(&now, &tar, self.epoch)?;
            let folders =
                folders.iter().map(|path| quote_path(path)).collect::<Result<Vec<_>>>()?;
            let names = folders.join(" ");
            return Ok(format!("lay \"$1\" {tar_word} {} {names}", quote(destination)?));
        }
        let (folder, name) = destination.rsplit_once('/').unwrap_or(("", destination));
        staging::pack_file(&now, name, &tar, self.epoch)?;
        Ok(format!("lay \"$1\" {tar_word} {}", quote(&format!("{folder}/"))?))
    }

    fn unpack(&mut self, unpack: &Unpack) -> Result<String> {
        let file = self.path(&unpack.source)?;
        if let Some(folder) = self.folder(&unpack.source.origin)? {
            self.reads(&folder.join(&unpack.source.path));
        }
        let (kind, option) = match unpack.archive {
            Archive::Tar(None) => ("tar", String::new()),
            Archive::Tar(Some(compression)) => ("tar", format!(" --{}", compression.program)),
            Archive::Zip => ("zip", String::new()),
            Archive::Deb => ("deb", String::new()),
        };
        Ok(format!("unpack \"$1\" {kind} {file} {}{option}", quote(&unpack.destination)?))
    }

    fn pack(&self, pack: &Pack) -> Result<String> {
        let file = quote_path(&self.artifacts.join(&pack.file))?;
        // Each program is told to leave out names and times.
        let program = match pack.compression.map(|compression| compression.program) {
            None => String::new(),
            Some("gzip") => " gzip -n".to_owned(),
            Some("zstd") => " zstd -q -c".to_owned(),
            Some(program) => format!(" {program} -c"),
        };
        Ok(format!("pack \"$1\" {} {file}{program}", quote(&pack.subdir)?))
    }

    fn raw(&mut self, index: usize, raw: &Raw) -> Result<String> {
        let file = match &raw.source.origin {
            Origin::Filesystem => format!("\"$(inside \"$1\" {})\"", quote(&raw.source.path)?),
            _ => self.path(&raw.source)?,
        };
        let disk = self.disk.as_ref().context("a raw action without a disk")?;
        let (offset, room) = disk.room(raw.partition.as_deref(), raw.offset);
        Ok(format!("write_raw {index} {file} {offset} {room}"))
    }

    fn run(&mut self, run: &Run, place: &Place) -> Result<String> {
        if run.chroot {
            return match &run.program {
                Program::Command(command) => {
                    Ok(format!("in_root \"$1\" /bin/sh -e -u -c {}", quote(command)?))
                }
                Program::Script { file, .. } => {
                    let file = absolute(file)?;
                    let folder = file.parent().unwrap_or(Path::new("/"));
                    // A script sees the folder that it lies in.
                    self.inputs.push(Input { path: folder.to_owned(), is_script: true });
                    let name = file.file_name().unwrap_or_default();
                    let command = command_line(&run.program, &Path::new("/tmp/script").join(name))?;
                    let folder = quote_path(folder)?;
                    Ok(format!("script_in_root \"$1\" {folder} {}", quote(&command)?))
                }
            };
        }
        let command = self.host_command(run)?;
        self.inputs.extend(states::named_files(&command));
        let folder = quote_path(&absolute(&place.resolve(""))?)?;
        let artifacts = quote_path(&self.artifacts)?;
        Ok(format!("on_host \"$1\" {folder} {artifacts} {}", quote(&command)?))
    }

    /// Returns the call for an action that comes after everything else.
    pub(super) fn after_all(&self, number: usize, run: &Run, place: &Place) -> Result<String> {
        let command = quote(&self.host_command(run)?)?;
        let folder = quote_path(&absolute(&place.resolve(""))?)?;
        let artifacts = quote_path(&self.artifacts)?;
        self.hook(Some(number), &format!("after_all {folder} {artifacts} {command}"))
    }

    /// Returns the text that a shell of the build host runs.
    fn host_command(&self, run: &Run) -> Result<String> {
        if let Program::Script { file, .. } = &run.program {
            return command_line(&run.program, &absolute(file)?);
        }
        command_line(&run.program, Path::new(""))
    }

    fn reads(&mut self, path: &Path) {
        self.inputs.push(Input { path: path.to_owned(), is_script: false });
    }

    /// Returns an origin on the build host. `None`: it is in the root filesystem.
    fn folder(&self, origin: &Origin) -> Result<Option<PathBuf>> {
        Ok(match origin {
            Origin::Recipe(folder) => Some(absolute(folder)?),
            Origin::Artifacts => Some(self.artifacts.clone()),
            Origin::Download { name, .. } => self.downloads.get(name).cloned(),
            Origin::Filesystem => None,
        })
    }

    fn path(&self, from: &From) -> Result<String> {
        let origin = self.origin(&from.origin)?;
        if from.path.is_empty() {
            return Ok(origin);
        }
        Ok(format!("{origin}/{}", quote(&from.path)?))
    }

    fn origin(&self, origin: &Origin) -> Result<String> {
        match origin {
            Origin::Recipe(folder) => quote_path(&absolute(folder)?),
            Origin::Artifacts => quote_path(&self.artifacts),
            Origin::Filesystem => Ok("\"$1\"".to_owned()),
            Origin::Download { name, .. } => {
                let path = self.downloads.get(name);
                quote_path(path.with_context(|| format!("the download {name}"))?)
            }
        }
    }
}

/// Returns the text for a shell: a command, or a script with its arguments, which the shell splits.
fn command_line(program: &Program, at: &Path) -> Result<String> {
    match program {
        Program::Command(command) => Ok(command.clone()),
        Program::Script { arguments, interpreter, .. } => {
            let interpreter = interpreter.as_ref().map_or(String::new(), |text| format!("{text} "));
            Ok(format!("{interpreter}{} {arguments}", quote_path(at)?))
        }
    }
}

/// Returns an absolute path. An empty one is the current folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let text = std::path::absolute(path);
    text.with_context(|| format!("finding {}", path.display()))
}
