//! Everything that takes a machine in QEMU. One program, so that two machines always run side by
//! side: an emulated one keeps little more than one processor busy.

mod machine_sweep;
mod pull;
mod router;
mod two_disks;
mod update;
mod usb;
mod var_faults;
mod watchdog;
