//! QEMU's control channel (QMP): sends commands to a machine, and waits for its events.
//!
//! `vm` starts the machine. The commands work from outside, so the guest need not cooperate.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The channel to one machine.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    events: VecDeque<Value>,
}

/// Waits for a machine that is about to be started with [`QmpListener::options`].
#[derive(Debug)]
pub struct QmpListener {
    listener: UnixListener,
    /// Options that make QEMU connect to this listener.
    pub options: [String; 4],
}

impl QmpListener {
    /// Listens on a socket in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let path = dir.join("qmp");
        // A machine that ran in this folder before may have left its socket.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("listening on {}", path.display()))?;
        let chardev = format!("socket,id=qmp,path={}", path.display());
        let options = [
            "-chardev".to_owned(),
            chardev,
            "-mon".to_owned(),
            "chardev=qmp,mode=control".to_owned(),
        ];
        Ok(Self { listener, options })
    }

    /// Accepts the connection of the machine that was just started.
    pub fn accept(self) -> Result<Qmp> {
        let (stream, _) = self.listener.accept()?;
        let mut qmp = Qmp { stream: BufReader::new(stream), events: VecDeque::new() };
        qmp.receive(Duration::from_secs(60))?.context("QEMU's greeting")?;
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }
}

impl Qmp {
    /// Sends a command to the machine.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": name, "arguments": arguments });
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        loop {
            let answer = self.receive(Duration::from_secs(60))?;
            let answer = answer.with_context(|| format!("QEMU does not answer {name}"))?;
            if answer.get("event").is_some() {
                self.events.push_back(answer);
            } else if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            } else {
                bail!("{name}: {answer}");
            }
        }
    }

    /// Waits for an event such as `WATCHDOG` or `RESET`. Earlier events are forgotten.
    pub fn event(&mut self, name: &str, timeout_s: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(timeout_s);
        loop {
            let event = match self.events.pop_front() {
                Some(event) => Some(event),
                None => self.receive(deadline.saturating_duration_since(Instant::now()))?,
            };
            let event = event.with_context(|| format!("no {name} within {timeout_s} s"))?;
            if event["event"] == name {
                return Ok(());
            }
        }
    }

    /// Returns the next message, or `None` if there is none in this time.
    fn receive(&mut self, timeout: Duration) -> Result<Option<Value>> {
        let timeout = timeout.max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(timeout))?;
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(length) => ensure!(length > 0, "QEMU has hung up"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("reading from QEMU"),
        }
        Ok(Some(serde_json::from_str(&line).with_context(|| format!("QEMU said {line:?}"))?))
    }
}
