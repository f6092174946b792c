//! This machine: its partitions and slots, what booted, and the only way to change the next boot.
//! `install` decides what a slot gets, and `grub-env` which slot boots.
//! Read: `command_line`, `slot_config`, `disk/`, `machine`, `esp/`, `identity`, `slot/`.

pub(crate) mod command_line;
pub(crate) mod disk;
pub(crate) mod esp;
pub(crate) mod identity;
pub(crate) mod lock;
mod machine;
pub(crate) mod reboot;
pub(crate) mod slot;
pub(crate) mod slot_config;

pub use machine::Device;
