//! Does what the tutorial "from your debos recipe to a fleet that updates itself" says, as written.
//!
//! Blocks that are indented by four spaces are for the build host. Lines behind the device's prompt
//! are typed on its console.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::fixture::Fixture;
use tests::ordinary_user::run;
use tests::tied;
use tests::vm::Vm;

const PAGE: &str = "docs/from-debos-to-a-fleet.md";
const PROMPT: &str = "root@box:~# ";
/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 600;

/// One thing that a reader does.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Commands of the build host.
    Host(String),
    /// A command of the device.
    Device(String),
}

fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut block, mut is_fenced) = (Vec::new(), String::new(), false);
    for line in page.lines().chain([""]) {
        is_fenced ^= line.starts_with("```");
        match line.strip_prefix("    ") {
            Some(command) if !is_fenced => block += &format!("{command}\n"),
            _ if !block.is_empty() => steps.push(Step::Host(std::mem::take(&mut block))),
            _ => {}
        }
        if let Some(command) = line.strip_prefix(PROMPT).filter(|_| is_fenced) {
            steps.push(Step::Device(command.to_owned()));
        }
    }
    steps
}

/// A folder that looks like a clone in which `make build` has run.
fn clone(fixture: &Fixture) -> Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("daruma-tutorial-").tempdir_in("/var/tmp")?;
    fs::create_dir(dir.path().join("target"))?;
    for path in ["bundler", "target/daruma"] {
        symlink(fixture.repo(path), dir.path().join(path))?;
    }
    Ok(dir)
}

fn shell(dir: &Path, text: &str) -> Result<Command> {
    let programs = dir.join("target/daruma");
    let path = std::env::var("PATH").context("PATH")?;
    let mut command = tied::command(Path::new("sh"));
    command.args(["-eu", "-c", text]).current_dir(dir);
    command.env("PATH", format!("{}:{path}", programs.display()));
    Ok(command)
}

fn settled(vm: &mut Vm) -> Result<serde_json::Value> {
    vm.run("until daruma status | grep -q 'committed, healthy'; do sleep 1; done", BOOT)?
        .success()?;
    vm.json("daruma status --json", 60)
}

#[test]
fn every_command_of_the_tutorial_from_a_recipe_of_debos_to_a_fleet_works() -> Result<()> {
    let fixture = Fixture::open()?;
    let page = fs::read_to_string(fixture.repo(PAGE))?;
    let dir = clone(&fixture)?;
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let mut server = None;
    let mut machine: Option<Vm> = None;
    let mut versions = Vec::new();
    for step in steps(&page) {
        match step {
            Step::Host(text) if text.contains("daruma-bundler serve") => {
                server = Some(tied::spawn(shell(dir.path(), &format!("exec {text}"))?)?);
            }
            Step::Host(text) if text.contains("qemu-system") => {
                let command = shell(dir.path(), &format!("exec {text}"))?;
                let mut vm = Vm::of_command(command, &path("console.log"))?;
                vm.expect(PROMPT, BOOT)?;
                versions.push(settled(&mut vm)?["version"].clone());
                machine = Some(vm);
            }
            Step::Host(text) => {
                let lines = text.lines().filter(|line| !line.starts_with("make "));
                let text = lines.collect::<Vec<_>>().join("\n");
                run(&mut shell(dir.path(), &text)?)?;
            }
            Step::Device(command) => {
                let vm = machine.as_mut().context("a command before the device has started")?;
                if command == "reboot" {
                    vm.type_line("reboot")?;
                    vm.expect("try 1 of 3", BOOT)?;
                    vm.expect(PROMPT, BOOT)?;
                    versions.push(settled(vm)?["version"].clone());
                } else {
                    vm.run(&command, BOOT)?.success().with_context(|| command)?;
                }
            }
        }
    }
    ensure!(versions == ["1.0.0", "1.1.0", "1.0.0"], "{versions:?}");
    for made in ["out/theirs/two-stage.img", "out/box-1.0.0.raw", "out/box-7.raw"] {
        ensure!(path(made).is_file(), "{made}");
    }
    let mut server = server.context("the page serves nothing")?;
    server.kill()?;
    server.wait()?;
    Ok(())
}

#[test]
fn blocks_and_lines_behind_the_prompt_are_the_steps() {
    let page = "Text\n\n    a \\\n        b\n\n```text\nroot@box:~# c\nd\n```\n";
    let wanted = [Step::Host("a \\\n    b\n".to_owned()), Step::Device("c".to_owned())];
    assert_eq!(steps(page), wanted);
}
