//! All tests that run a machine in QEMU.
//!
//! They are one program, so that machines always run side by side. One emulated machine keeps
//! little more than one processor busy.

mod etc;
mod machine_sweep;
mod microcode;
mod provision;
mod pull;
mod router;
mod says;
mod two_disks;
mod units;
mod update;
mod usb;
mod var;
mod watchdog;
