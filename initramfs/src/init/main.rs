//! `daruma-init`: the first process of a boot, in the initramfs.
//!
//! It mounts the slot that GRUB chose, through dm-verity, and puts the overlays over it. Then it
//! hands over to the real init. In recovery it repairs a device that has no slot left. The program
//! reports a failure on the console, writes it down on /var and restarts. The restart costs the
//! slot one try. A copy of it ends the system at shutdown.
//!
//! Read the program from top to bottom: [`Boot::run`] prepares, [`Plan`] says what is to be done,
//! and [`Boot::execute`] does it.

mod boot;
mod cmdline;
mod disk;
mod ending;
mod execute;
mod kernel;
mod plan;
mod prepare;
mod root;

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use image_layout::label;

use crate::boot::Boot;
use crate::cmdline::{Choice, Cmdline};
use crate::disk::partitions;
use crate::ending::{failure, recovery, shutdown};
use crate::kernel::console;
use crate::kernel::drivers::Drivers;
use crate::kernel::uevents::Uevents;
use crate::plan::Plan;
use crate::prepare::{SYS, arm_watchdog, load_for_root, load_for_var, mount_kernel_file_systems};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "daruma-init: started as process {}; daruma-init runs only as the first process of a \
                boot",
            std::process::id()
        );
        return ExitCode::from(2);
    }
    let mut arguments = std::env::args_os();
    if shutdown::is_asked_for(arguments.next().as_deref()) {
        shutdown::run(arguments.next().as_deref());
    }
    std::panic::set_hook(Box::new(|panic| {
        console::loud(&format!("FAILED: {panic}; rebooting"));
        failure::restart();
    }));
    let mut boot = Boot::new();
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
        // /var's drivers load on a second processor. ext4 alone takes as long as finding the disk
        // and all that the root needs. The first thread to need a module loads it, and the kernel
        // lets the other thread wait for it.
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
}
