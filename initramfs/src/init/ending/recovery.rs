//! Recovery: GRUB found no slot to try, or a person asked for recovery.
//!
//! The agent waits for a USB stick and installs from it. GRUB loads the agent's archive only for
//! recovery. This file loads drivers for new devices, and shows the agent's lines on all consoles.
//! It feeds the watchdog as long as the agent prints lines. If nothing was installed, both slots
//! get their tries back and the device restarts. So a device survives power that failed many times
//! in a row.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use grub_env::EnvStore;
use image_layout::label;
use initramfs::wanted;

use crate::boot::Boot;
use crate::cmdline::Cmdline;
use crate::disk::environment;
use crate::disk::partitions::{self, LabelledDisk};
use crate::ending::failure;
use crate::kernel::console;
use crate::kernel::uevents::{Uevent, Uevents};
use crate::prepare::{SYS, load_for_root, load_for_var};
use crate::root::var;

/// How long the agent may be silent. A slow disk that syncs 8 MiB is silent for less.
const SILENCE: Duration = Duration::from_secs(60);
/// How often this program looks for the agent's lines and for its end.
const TICK: Duration = Duration::from_millis(250);

/// Lets the agent install from a stick. If it does not, resets the tries. Restarts in either case.
pub(crate) fn run(boot: &mut Boot, wait: Duration, uevents: &Uevents) -> Result<Infallible> {
    console::loud("RECOVERY: no slot could be started, or a person asked for it");
    let told = boot.line.as_ref().map(Cmdline::told).unwrap_or_default();
    let disk = partitions::wait(
        Path::new(SYS),
        &told,
        &[label::ESP],
        uevents,
        &mut boot.drivers,
        &boot.watchdog,
    )?;
    let agent = Path::new("/").join(initramfs::recovery::AGENT);
    if agent.exists() {
        prepare(boot, &disk);
        match install(boot, &agent, wait, uevents) {
            Ok(status) if status.success() => failure::restart(),
            Ok(status) => console::detail(&format!("the agent ended: {status}")),
            Err(error) => console::loud(&format!("{error:#}")),
        }
    } else {
        console::loud("this boot image has no recovery archive: nothing can be installed");
    }
    reset_tries(&disk)?;
    console::loud("both slots have their tries back; restarting");
    failure::restart()
}

/// Prepares drivers, file systems and /var. A stick that works without them needs none of them.
fn prepare(boot: &mut Boot, disk: &LabelledDisk) {
    let mut results = vec![load_for_var(&mut boot.drivers), load_for_root(&mut boot.drivers)];
    results.extend(wanted::STICK.iter().map(|name| boot.drivers.load(name)));
    boot.watchdog.ping();
    boot.drivers.load_for_all(Path::new(SYS));
    boot.watchdog.ping();
    // The agent's knowledge of the slots lies on /var. If the partition cannot be mounted, /var is
    // memory.
    results.push(var::mount(disk.device(label::VAR).as_deref(), Path::new("/var")).map(drop));
    for error in results.into_iter().filter_map(Result::err) {
        console::warn(&format!("{error:#}"));
    }
}

/// Runs the agent to its end.
fn install(boot: &mut Boot, agent: &Path, wait: Duration, uevents: &Uevents) -> Result<ExitStatus> {
    let (reader, writer) = std::io::pipe().context("making a pipe for the agent's words")?;
    let mut child = Command::new(agent)
        .args(["recovery", "--wait-s", &wait.as_secs().to_string()])
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("making a pipe for the agent's words")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("starting {}", agent.display()))?;
    let lines = listen(reader);
    let mut heard = Instant::now();
    loop {
        if heard.elapsed() > SILENCE {
            kill(&mut child);
            bail!("the agent has said nothing for {} s and is given up", SILENCE.as_secs());
        }
        boot.watchdog.ping();
        if say(&lines) {
            heard = Instant::now();
        }
        if let Some(status) = child.try_wait().context("waiting for the agent")? {
            // The agent may have said something in between. Nobody else holds the pipe.
            while let Ok(line) = lines.recv_timeout(TICK) {
                show(&line);
            }
            return Ok(status);
        }
        match uevents.wait(TICK)? {
            Some(Uevent::Added { modalias: Some(modalias) }) => boot.drivers.load_for(&modalias),
            Some(Uevent::Lost) => boot.drivers.load_for_all(Path::new(SYS)),
            _ => {}
        }
    }
}

/// Returns the lines that come through the pipe, until its other end is closed.
fn listen(reader: PipeReader) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Shows the lines that have come since. Returns true if there were any, an empty line included.
fn say(lines: &Receiver<String>) -> bool {
    let mut heard = false;
    for line in lines.try_iter() {
        heard = true;
        show(&line);
    }
    heard
}

fn show(line: &str) {
    let line = line.trim_start_matches("daruma: ").trim();
    if !line.is_empty() {
        console::loud(line);
    }
}

fn kill(child: &mut Child) {
    // A process that hangs in the kernel cannot be killed, so the code does not wait for it.
    let _ = child.kill();
    let _ = child.try_wait();
}

fn reset_tries(disk: &LabelledDisk) -> Result<()> {
    let esp =
        disk.device(label::ESP).with_context(|| format!("looking for esp on {}", disk.name))?;
    let store =
        EnvStore::open(environment::open_esp(&esp)?).context("reading the EFI system partition")?;
    let loaded = store.load().context("reading the environment")?;
    let env = environment::with_tries_reset(loaded.env);
    if loaded.damage.is_empty() {
        store.store(&env).context("writing the environment")
    } else {
        store.heal(&env).context("rebuilding the environment")
    }
}
