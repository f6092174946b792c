//! Carries out the plan, step by step.
//!
//! `plan` says what a step is for. Each step feeds the watchdog. The last step does not return.

use std::convert::Infallible;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image_layout::{FOLDERS_ON_VAR, Slot};
use sys_mount::MountFlags;

use crate::boot::Boot;
use crate::disk::credentials;
use crate::disk::verity::{self, VerityDevice};
use crate::ending::shutdown;
use crate::kernel::console;
use crate::plan::{self, NEW_ROOT, Plan, Step, VAR};
use crate::root::cover::upper::{self, Make, Source};
use crate::root::cover::{folders, merge, updated};
use crate::root::mounts::{self, Overlay};
use crate::root::var::{self, VarState};
use crate::root::{fill, handover, owners, reset};

impl Boot {
    /// Does the steps of the plan. Returns only when a step fails.
    pub(crate) fn execute(&mut self, plan: &Plan) -> Result<Infallible> {
        let root = Path::new(NEW_ROOT);
        let mut var_state = VarState::Memory;
        let mut var_device = None;
        let mut verity = None;
        let mut is_reset = false;
        for step in &plan.steps {
            self.watchdog.ping();
            let tick = || self.watchdog.ping();
            match step {
                Step::ResetVar { var, reset } => {
                    // A reset that fails must not keep a system from booting.
                    match reset::reset(var, reset, &tick) {
                        Ok(()) => is_reset = true,
                        Err(error) => console::warn(&format!(
                            "the factory reset is not done and goes on at the next boot: {error:#}"
                        )),
                    }
                }
                Step::EndReset { esp } => {
                    if is_reset
                        && var_state == VarState::Persistent
                        && let Err(error) = reset::end(Path::new(VAR), esp)
                    {
                        console::warn(&format!(
                            "{error:#}; the next boot does the factory reset once more"
                        ));
                    }
                }
                Step::PostponeReset => console::warn(&format!(
                    "the factory reset waits until slot {} is committed",
                    plan.slot
                )),
                Step::MountVar { device } => {
                    var_state = var::mount(device.as_deref(), Path::new(VAR))?;
                    if var_state == VarState::Persistent {
                        self.var = Some(VAR.into());
                        var_device = device.as_deref();
                    }
                }
                Step::SettleDisk { disk, new_guids } => {
                    // A disk that cannot be used whole, or has no name, is no reason not to boot.
                    let settled = var::settle_table(disk, *new_guids);
                    let grown = var_device.map(|device| var::grow(device, Path::new(VAR)));
                    for error in
                        [Some(settled), grown].into_iter().flatten().filter_map(Result::err)
                    {
                        console::warn(&format!("{error:#}"));
                    }
                }
                Step::OpenRoot { label, partition, verity: figures } => {
                    let device = VerityDevice::open(verity::ROOT, partition, figures)
                        .with_context(|| format!("opening {label}"))?;
                    verity = Some(device);
                }
                Step::MountRoot { label, at } => {
                    let device = &verity
                        .as_ref()
                        .context("mounting the root: the root image is not open")?
                        .path;
                    mounts::mount("squashfs", device, at, MountFlags::RDONLY, "").with_context(
                        || format!("mounting {label}, or its content does not match daruma.verity"),
                    )?;
                }
                Step::FillVar { image } => {
                    // A full /var must not keep a system from booting: the update may be what
                    // empties it.
                    let from = Path::new(image).join("var");
                    if let Err(error) = fill::fill(&from, Path::new(VAR), &plan.root_hash, &tick) {
                        console::warn(&format!(
                            "filling /var: {error:#}; new files of the image's /var are missing"
                        ));
                    }
                }
                Step::CoverRoot { slot } => {
                    let make = |source: &Source<'_>, aside: &Path| {
                        upper::carry_over(source, aside, &tick)?;
                        // Accounts and the cache of libraries are those of the old system.
                        let etc = aside.join("upper/etc");
                        if etc.is_dir() { updated::hide(&etc, Path::new(VAR)) } else { Ok(()) }
                    };
                    let image = Path::new(plan::IMAGE);
                    self.cover("root", image, root, *slot, plan, var_state, &make)?;
                }
                Step::CoverRootWithMemory => cover_with_memory(Path::new(plan::IMAGE), root)?,
                Step::CoverEtc { slot, old } => {
                    let etc = root.join("etc");
                    let make = |source: &Source<'_>, aside: &Path| {
                        merge::make(old.as_ref(), source, &etc, aside, Path::new(VAR), &tick)
                    };
                    self.cover("etc", &etc, &etc, *slot, plan, var_state, &make)?;
                }
                Step::SettleOwners { slot } => {
                    if var_state == VarState::Persistent
                        && let Err(error) = owners::settle(
                            Path::new(VAR),
                            &root.join("etc"),
                            *slot,
                            &plan.root_hash,
                            &tick,
                        )
                    {
                        console::warn(&format!(
                            "giving files in /var to the new numbers of their accounts: {error:#}; \
                                the next boot goes on"
                        ));
                    }
                }
                Step::CoverFolders => {
                    let below = |var: &str| Path::new(var).join(FOLDERS_ON_VAR);
                    // A /var that is read-only is an overlay, and cannot hold an upper.
                    let (base, shown) = if var_state == VarState::ReadOnly {
                        (Path::new(var::MEMORY).join("folders"), Some(below(var::DISK)))
                    } else {
                        (below(VAR), None)
                    };
                    if let Err(error) = folders::cover(root, &base, shown.as_deref()) {
                        console::warn(&format!(
                            "{error:#}; nothing can be written there in this boot"
                        ));
                    }
                }
                Step::PlaceVar => {
                    let place = root.join("var");
                    mounts::move_to(Path::new(VAR), &place)?;
                    self.var = self.var.take().map(|_| place);
                }
                Step::HandOverCredentials { esp } => {
                    for line in credentials::hand_over(esp, Path::new("/run")) {
                        console::warn(&line);
                    }
                }
                Step::Guard => {
                    let verity =
                        verity.as_ref().context("guarding the root: the root image is not open")?;
                    verity.restart_on_corruption()?;
                }
                Step::Start { init } => {
                    handover::check(root, init)?;
                    if let Err(error) = shutdown::leave_program() {
                        console::warn(&format!("{error:#}; a shutdown leaves the root open"));
                    }
                    console::say(&format!("slot {}: starting {}", plan.slot, init.display()));
                    return handover::switch(root, init);
                }
            }
        }
        bail!("the plan ends without starting anything")
    }

    /// Covers `lower` with the slot's upper, at `target`. `kind` is the folder below
    /// /var/lib/daruma. `make` makes a new upper from an older one.
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    fn cover(
        &self,
        kind: &str,
        lower: &Path,
        target: &Path,
        slot: Slot,
        plan: &Plan,
        state: VarState,
        make: Make<'_>,
    ) -> Result<()> {
        let base = |var: &str| Path::new(var).join("lib/daruma").join(kind);
        let mut lowers = vec![lower.to_owned()];
        // An upper cannot lie on an overlay. When /var is read-only, /var is an overlay.
        let place = if state == VarState::ReadOnly {
            lowers.splice(0..0, upper::read_only(&base(var::DISK), slot, &plan.root_hash));
            Path::new(var::MEMORY).join(kind)
        } else {
            base(VAR)
        };
        let prepare = |place: &Path| {
            upper::prepare(place, slot, &plan.root_hash, lower, make)
                .with_context(|| format!("preparing the changes of {kind} for slot {slot}"))
        };
        let upper = match prepare(&place) {
            Err(error) if state == VarState::Persistent => {
                // This happens with a full /var. The settings are as they were last, and new
                // changes are kept in memory.
                console::warn(&format!("{error:#}; they are kept in memory only"));
                lowers.splice(0..0, upper::read_only(&base(VAR), slot, &plan.root_hash));
                mounts::tmpfs(Path::new(var::MEMORY))?;
                prepare(&Path::new(var::MEMORY).join(kind))?
            }
            result => result?,
        };
        if kind == "etc" {
            let shown = lowers[..lowers.len() - 1].iter().map(PathBuf::as_path);
            let uppers: Vec<&Path> = std::iter::once(&*upper.upper).chain(shown).collect();
            if let Err(error) = updated::settle(&uppers, Path::new(VAR)) {
                console::warn(&format!("{error:#}; systemd does not heed it at this update"));
            }
        }
        Overlay { lower: lowers, upper: upper.upper, work: upper.work }.mount(target)
    }
}

fn cover_with_memory(lower: &Path, target: &Path) -> Result<()> {
    let memory = Path::new("/daruma/memory");
    mounts::tmpfs(memory)?;
    let overlay = Overlay {
        lower: vec![lower.into()],
        upper: memory.join("upper"),
        work: memory.join("work"),
    };
    for dir in [&overlay.upper, &overlay.work] {
        DirBuilder::new()
            .mode(0o755)
            .create(dir)
            .with_context(|| format!("creating {}", dir.display()))?;
    }
    overlay.mount(target)
}
