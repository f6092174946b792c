//! One contact with a channel's repository: get its documents, believe them or not, keep them.
//! Leaves to `pull` how bytes come, and to `plan` what follows from the channel.
//! Read: `source`, `remembered`, `report`, `refresh`.

pub(crate) mod refresh;
pub(crate) mod remembered;
mod report;
pub(crate) mod source;
