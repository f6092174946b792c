//! systemd credentials in the folder `credentials/` of the EFI system partition.
//!
//! The bundler, the agent and daruma-init agree here on names, limits and form. daruma-init hands
//! the credentials to systemd, and nothing here knows what they mean. Read `name`, `form`,
//! `listing`, then `table` and `change`, which write.

pub(crate) mod change;
pub(crate) mod form;
pub(crate) mod listing;
pub(crate) mod name;
pub(crate) mod table;
