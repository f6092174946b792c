//! `daruma-init`: the first process of a boot, in the initramfs.
//!
//! It mounts the slot that GRUB chose, through dm-verity, puts the overlays over it and hands over
//! to the real init; in recovery it gets a device going again that has no slot left. What fails
//! here is said on the console, written down on /var and ends in a restart, which costs the slot
//! one try.
//!
//! Reads from top to bottom: [`Boot::run`] prepares, [`Plan`] says what is to be done,
//! [`Boot::execute`] does it.

mod cmdline;
mod console;
mod drivers;
mod environment;
mod failure;
mod fill;
mod handover;
mod mounts;
mod partitions;
mod plan;
mod recovery;
mod sys;
mod tree;
mod uevents;
mod upper;
mod var;
mod verity;
mod watchdog;

use std::convert::Infallible;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use image_layout::{Slot, label};
use initramfs::wanted;
use sys_mount::MountFlags;

use cmdline::{Choice, Cmdline};
use drivers::Drivers;
use mounts::Overlay;
use plan::{NEW_ROOT, Plan, Step, VAR};
use uevents::Uevents;
use var::VarState;
use verity::VerityDevice;
use watchdog::Watchdog;

/// Where sysfs is mounted.
const SYS: &str = "/sys";

/// What has been found and done so far: what the end of a failed boot needs to know.
struct Boot {
    line: Option<Cmdline>,
    drivers: Drivers,
    watchdog: Watchdog,
    esp: Option<PathBuf>,
    /// Where /var can be written durably.
    var: Option<PathBuf>,
}

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "daruma-init: started as process {}; it is the first process of a boot",
            std::process::id()
        );
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(|panic| {
        console::loud(&format!("FAILED: {panic}; rebooting"));
        failure::restart();
    }));
    let mut boot = Boot {
        line: None,
        drivers: Drivers::default(),
        watchdog: Watchdog::none(),
        esp: None,
        var: None,
    };
    let Err(error) = boot.run();
    failure::end(&boot, &error)
}

impl Boot {
    fn run(&mut self) -> Result<Infallible> {
        mount_kernel_file_systems()?;
        console::open();
        let text = fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
        let line = self.line.insert(Cmdline::parse(&text)?).clone();
        let uevents = Uevents::open()?;
        self.drivers = Drivers::open(&Path::new("/").join(initramfs::MODULE_DIR))?;
        if line.watchdog_s > 0 {
            self.watchdog = arm_watchdog(&mut self.drivers, line.watchdog_s);
        }
        let slot = match line.choice {
            Choice::Recovery => {
                let wait = Duration::from_secs(line.recovery_wait_s);
                return recovery::run(self, wait, &uevents);
            }
            Choice::Slot(slot) => slot,
        };
        let mut for_var = self.drivers.clone();
        let (told, needed) = (line.told(), [slot.root_label()]);
        // On a second processor, because ext4 alone takes as long as finding the disk and all that
        // the root needs. A module that both ask for is loaded by the first; the kernel lets the
        // other wait for it.
        let disk = thread::scope(|scope| {
            let loading = scope.spawn(|| load_for_var(&mut for_var));
            let disk = partitions::wait(
                Path::new(SYS),
                &told,
                &needed,
                &uevents,
                &mut self.drivers,
                &self.watchdog,
            );
            let root = load_for_root(&mut self.drivers);
            let var = loading.join().unwrap_or_else(|_| bail!("loading the file system of /var"));
            var.and(root).and(disk)
        })?;
        self.esp = disk.device(label::ESP);
        let plan = Plan::new(&line, slot, &disk)?;
        self.execute(&plan)
    }

    fn execute(&mut self, plan: &Plan) -> Result<Infallible> {
        let root = Path::new(NEW_ROOT);
        let mut var_state = VarState::Memory;
        let mut var_device = None;
        let mut verity = None;
        for step in &plan.steps {
            self.watchdog.ping();
            let tick = || self.watchdog.ping();
            match step {
                Step::MountVar { device } => {
                    var_state = var::mount(device.as_deref(), Path::new(VAR))?;
                    if var_state == VarState::Persistent {
                        self.var = Some(VAR.into());
                        var_device = device.as_deref();
                    }
                }
                Step::SettleDisk { disk, new_guids } => {
                    // Neither a disk that cannot be used whole nor one without a name is a reason
                    // not to boot.
                    let settled = var::settle_table(disk, *new_guids);
                    let grown = var_device.map(|device| var::grow(device, Path::new(VAR)));
                    for error in
                        [Some(settled), grown].into_iter().flatten().filter_map(Result::err)
                    {
                        console::warn(&format!("{error:#}"));
                    }
                }
                Step::OpenRoot { label, partition, verity: figures } => {
                    let device = VerityDevice::open(partition, figures)
                        .with_context(|| format!("opening {label}"))?;
                    verity = Some(device);
                }
                Step::MountRoot { label, at } => {
                    let device =
                        &verity.as_ref().context("mounting the root: it is not open")?.path;
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
                            "filling /var: {error:#}; what is new in the image's /var is missing"
                        ));
                    }
                }
                Step::CoverRoot { slot } => {
                    self.cover("root", Path::new(plan::IMAGE), root, *slot, plan, var_state)?;
                }
                Step::CoverRootWithMemory => cover_with_memory(Path::new(plan::IMAGE), root)?,
                Step::CoverEtc { slot } => {
                    let etc = root.join("etc");
                    self.cover("etc", &etc, &etc, *slot, plan, var_state)?;
                }
                Step::PlaceVar => {
                    let place = root.join("var");
                    mounts::move_to(Path::new(VAR), &place)?;
                    self.var = self.var.take().map(|_| place);
                }
                Step::Guard => {
                    let verity = verity.as_ref().context("guarding the root: it is not open")?;
                    verity.restart_on_corruption()?;
                }
                Step::Start { init } => {
                    handover::check(root, init)?;
                    console::say(&format!("slot {}: starting {}", plan.slot, init.display()));
                    return handover::switch(root, init);
                }
            }
        }
        bail!("the plan ends without starting anything")
    }

    /// Covers `lower` with the slot's upper, at `target`. `kind` is the folder below
    /// /var/lib/daruma.
    fn cover(
        &self,
        kind: &str,
        lower: &Path,
        target: &Path,
        slot: Slot,
        plan: &Plan,
        state: VarState,
    ) -> Result<()> {
        let tick = || self.watchdog.ping();
        let base = |var: &str| Path::new(var).join("lib/daruma").join(kind);
        let mut lowers = vec![lower.to_owned()];
        // An upper cannot lie on an overlay, which is what /var is when it is read-only.
        let place = if state == VarState::ReadOnly {
            lowers.splice(0..0, upper::read_only(&base(var::DISK), slot, &plan.root_hash));
            Path::new(var::MEMORY).join(kind)
        } else {
            base(VAR)
        };
        let prepare = |place: &Path| {
            upper::prepare(place, slot, &plan.root_hash, lower, &tick)
                .with_context(|| format!("preparing the changes of {kind} for slot {slot}"))
        };
        let upper = match prepare(&place) {
            Err(error) if state == VarState::Persistent => {
                // Such as a full /var: the settings are as they were last, and what changes now is
                // kept in memory.
                console::warn(&format!("{error:#}; they are kept in memory only"));
                lowers.splice(0..0, upper::read_only(&base(VAR), slot, &plan.root_hash));
                mounts::tmpfs(Path::new(var::MEMORY))?;
                prepare(&Path::new(var::MEMORY).join(kind))?
            }
            result => result?,
        };
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

fn mount_kernel_file_systems() -> Result<()> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mounts::mount("proc", "proc", "/proc", strict, "")?;
    mounts::mount("sysfs", "sysfs", SYS, strict, "")?;
    mounts::mount("devtmpfs", "devtmpfs", "/dev", MountFlags::NOSUID, "mode=755")?;
    mounts::mount(
        "tmpfs",
        "tmpfs",
        "/run",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=755,size=20%",
    )?;
    DirBuilder::new().mode(0o755).create("/run/daruma").context("creating /run/daruma")
}

/// What mounting /var takes.
fn load_for_var(drivers: &mut Drivers) -> Result<()> {
    [wanted::CRYPTO, wanted::VAR].concat().into_iter().try_for_each(|name| drivers.load(name))
}

/// What mounting a slot's root takes, and what makes hashing fast.
fn load_for_root(drivers: &mut Drivers) -> Result<()> {
    let modaliases = drivers::modaliases(Path::new(SYS));
    for name in wanted::CPU {
        drivers.load_if_asked(name, &modaliases);
    }
    wanted::ROOT.iter().try_for_each(|name| drivers.load(name))
}

/// Loads one watchdog's driver and arms it. The sure ones come first, and no second one is started:
/// whoever takes over feeds one only.
fn arm_watchdog(drivers: &mut Drivers, timeout_s: u32) -> Watchdog {
    let device = Path::new("/dev/watchdog");
    let modaliases = || drivers::modaliases(Path::new(SYS));
    let now = modaliases();
    if !wanted::WATCHDOG.iter().any(|name| drivers.load_if_asked(name, &now)) && !device.exists() {
        // These only make the device of a watchdog, which then asks for its driver.
        for bus in wanted::WATCHDOG_BUS {
            drivers.load_if_asked(bus, &now);
        }
        let now = modaliases();
        wanted::WATCHDOG.iter().any(|name| drivers.load_if_asked(name, &now));
    }
    Watchdog::arm(device, timeout_s).unwrap_or_else(|| {
        console::say("there is no watchdog");
        Watchdog::none()
    })
}
