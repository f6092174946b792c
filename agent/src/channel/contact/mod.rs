//! One contact with a channel's repository: fetches its documents, verifies them and keeps them.
//! `pull` transports the bytes, and `plan` decides what follows from the channel.
//! Read: `source`, `remembered`, `report`, `refresh`.

pub(crate) mod refresh;
pub(crate) mod remembered;
mod report;
pub(crate) mod source;
