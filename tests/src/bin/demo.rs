//! `make demo`: shows the life of an update on a real Debian router in QEMU, step by step.
//!
//! `tests::story` has the steps. This file only prints them.

use std::time::Instant;

use anyhow::Result;
use tests::story::{self, Line};
use tests::vm::Firmware;

fn main() -> Result<()> {
    let firmware = Firmware::from_env()?;
    let started = Instant::now();
    let dir = tempfile::Builder::new().prefix("daruma-demo-").tempdir()?;
    println!("Daruma demo: real Debian, real GRUB ({firmware:?}), real reboots, in QEMU.");
    println!("The console of the machine: {}", dir.path().join("serial.log").display());
    story::run(firmware, dir.path(), &mut |line| {
        let at = started.elapsed().as_secs();
        match line {
            Line::Heading(text) => println!("\n[{at:4} s] == {text}"),
            Line::Text(text) => println!("[{at:4} s] {text}"),
            Line::Screen(command, text) => {
                println!("         # {command}");
                for row in text.lines() {
                    println!("         | {row}");
                }
            }
        }
    })
    .inspect_err(|_| {
        // The serial log of a failure is kept.
        let kept = std::env::temp_dir().join("daruma-demo-serial.log");
        if std::fs::copy(dir.path().join("serial.log"), &kept).is_ok() {
            eprintln!("the machine's console is kept in {}", kept.display());
        }
    })?;
    println!(
        "\nThe router was updated once and refused to die twice. ({} s)",
        started.elapsed().as_secs()
    );
    Ok(())
}
