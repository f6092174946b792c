//! The kernel finds the microcode that stands in front of the initramfs.
//!
//! No emulated processor takes microcode: it ignores the write to its register, and the kernel says
//! nothing then. What can be seen is the step before. The kernel looks for a patch for this
//! processor in the archive, and keeps it for later processors; `initcall_debug` shows the result.
//! It is -22 (EINVAL) where there is no archive, or no patch in it for this processor.

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::vm::{Firmware, Machine, Size, Vm, overlay_disk};

const BOOT: u64 = 300;
/// A processor for which AMD's file of family 15h has a patch. The kernel takes no microcode where
/// the processor says that there is a hypervisor.
const PROCESSOR: [&str; 2] =
    ["-cpu", "max,vendor=AuthenticAMD,family=21,model=1,stepping=2,-hypervisor"];

#[test]
fn the_kernel_finds_a_patch_for_its_processor_in_front_of_the_initramfs() -> Result<()> {
    let fixture = Fixture::open()?;
    let bundle = fixture.bundle("tests/recipes/microcode.yaml", "1.0.0")?;
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("disk.qcow2");
    overlay_disk(&fixture.disk(&bundle)?, &disk)?;
    let (format, firmware, size) = ("qcow2", Firmware::Bios, Size::Tiny);
    let log = dir.path().join("serial.log");
    let machine = Machine { disk, format, data: None, firmware, size, log };
    let mut vm = Vm::start_with(&machine, &machine.drive(), &PROCESSOR)?;
    vm.expect_all(&["tiny# ", "is healthy"], BOOT)?;
    let said = vm.run("dmesg | grep -i microcode", 60)?.success()?;
    println!("{said}");
    let found = said.lines().find(|line| line.contains("initcall save_microcode_in_initrd"));
    ensure!(found.is_some_and(|line| line.contains(" returned 0 ")), "{said}");
    // What the kernel has read does not stay in memory as files.
    let root = vm.run("ls /usr/lib/firmware/amd-ucode", 60)?;
    ensure!(root.status != 0, "the root has the microcode too: {}", root.text);
    vm.cut_power()
}
