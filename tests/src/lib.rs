//! The parts that the end-to-end tests, the demo and the benchmarks share.
//!
//! The tests choose what to check. All parts are real: images, GRUB, machines and servers.

pub mod accel;
pub mod cut_disk;
pub mod debos;
pub mod fixture;
pub mod folder_device;
pub mod grub_disk;
pub mod grub_emu;
pub mod healthy;
pub mod machine_judge;
pub mod ordinary_user;
pub mod publisher;
pub mod qmp;
pub mod recording;
pub mod server;
pub mod share;
pub mod slow_link;
pub mod stick;
pub mod story;
pub mod tied;
pub mod trial_disk;
pub mod usb;
pub mod vm;
pub mod write_log;
