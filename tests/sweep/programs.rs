//! Runs the shipped program `daruma` on a device whose surroundings are broken.
//!
//! `judge` judges the device after the install. The broken surroundings are `/var`, the clock and
//! another install.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;

use crate::Bench;
use crate::content::{Content, LABELS};
use crate::folder::Folder;
use crate::judge::Case;
use crate::scenario;
use crate::system::Which;

/// The name of a fault, the function that makes it in a device's folder, and the words before the
/// program.
type Surrounding = (&'static str, fn(&Path) -> std::io::Result<()>, &'static [&'static str]);

const SURROUNDINGS: [Surrounding; 6] = [
    (
        "/var is full (state.json cannot be written)",
        |folder| {
            std::os::unix::fs::symlink("/dev/full", folder.join("var/lib/daruma/state.json.new"))
        },
        &[],
    ),
    (
        "/var is missing and cannot be made",
        |folder| {
            fs::remove_dir_all(folder.join("var"))?;
            fs::write(folder.join("var"), "")
        },
        &[],
    ),
    (
        "/var refuses (a folder where state.json.new should be)",
        |folder| fs::create_dir(folder.join("var/lib/daruma/state.json.new")),
        &[],
    ),
    (
        "state.json is a folder",
        |folder| fs::create_dir(folder.join("var/lib/daruma/state.json")),
        &[],
    ),
    ("the clock stands at 1970", |_| Ok(()), &["faketime", "-f", "1970-01-02 00:00:00"]),
    ("the clock stands at 2100", |_| Ok(()), &["faketime", "-f", "2100-01-01 00:00:00"]),
];

/// Runs all of them. A device that did not survive one is an error.
pub(crate) fn run(bench: &Bench, out: &mut impl Write) -> Result<bool> {
    let program = Fixture::open()?.program("daruma");
    writeln!(out, "\nThe program daruma in broken surroundings: exit codes of its installs\n")?;
    for (name, break_it, prefix) in SURROUNDINGS {
        let device = Device::new(bench)?;
        break_it(device.folder.path())?;
        let output = device.start(&program, prefix)?.wait_with_output()?;
        ensure!(output.status.success(), "{name}: {}", last_line(&output));
        device.judge(bench).with_context(|| name)?;
        let said = last_line(&output).replace(&device.folder.path().display().to_string(), "");
        writeln!(out, "{name:>56}  0  {}", said.chars().take(90).collect::<String>())?;
    }
    let device = Device::new(bench)?;
    let held = agent::Device::at(device.folder.path()).and_then(|device| device.lock());
    let held = held.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let output = device.start(&program, &[])?.wait_with_output()?;
    drop(held);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(18) && said.lines().count() == 1,
        "another holds the lock: {said}"
    );
    writeln!(out, "{:>56}  18", "an install while another holds the lock")?;
    let both = [device.start(&program, &[])?, device.start(&program, &[])?];
    let mut codes = Vec::new();
    for child in both {
        let output = child.wait_with_output()?;
        let code = output.status.code().context("killed")?;
        ensure!([0, 18].contains(&code), "two installs: {}", last_line(&output));
        codes.push(code);
    }
    ensure!(codes.contains(&0), "neither of two installs went through");
    device.judge(bench).context("two installs at once")?;
    writeln!(out, "{:>56}  {} and {}", "two installs at once", codes[0], codes[1])?;
    Ok(true)
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// A device of files that runs slot A.
struct Device<'a> {
    folder: Folder,
    bench: &'a Bench,
}

impl<'a> Device<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let judge = bench.judge()?;
        let medium =
            scenario::install_over_an_older_system().medium(&bench.systems, &judge.grub)?;
        let folder = judge.folder;
        for (label, content) in LABELS.into_iter().zip(&medium.partitions) {
            fs::write(folder.path().join(label), content.bytes())?;
        }
        fs::write(folder.path().join("cmdline"), "daruma.slot=A daruma.try=1")?;
        Ok(Self { folder, bench })
    }

    fn start(&self, program: &Path, prefix: &[&str]) -> Result<Child> {
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--root").arg(self.folder.path()).arg("install");
        command.arg(&self.bench.systems.get(Which::Update).bundle);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().with_context(|| format!("starting {}", program.display()))
    }

    /// Checks that the update is there and boots, and that the agent's next run has nothing to
    /// mend.
    fn judge(&self, bench: &Bench) -> Result<()> {
        let judge = bench.judge()?;
        let scenario = scenario::install_over_an_older_system();
        let mut medium = scenario.medium(&bench.systems, &judge.grub)?;
        for (label, content) in LABELS.into_iter().zip(&mut medium.partitions) {
            *content = Content::new(&fs::read(self.folder.path().join(label))?, content.len());
        }
        ensure!(
            bench.systems.whole(&medium, image_layout::Slot::B) == Some(Which::Update),
            "not installed"
        );
        let case = Case { scenario: &scenario, medium: &medium, story: &None };
        judge.judge(&[case])?.into_iter().try_for_each(|verdict| verdict.map(drop))
    }
}
