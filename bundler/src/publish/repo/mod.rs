//! A repository: a folder that any web server can serve without changes.
//!
//! `registry` copies it into a registry. `docs/channels.md` says what lies where.
//! Read `repository`, `publish`, `drafts`, then `place`.

mod drafts;
mod place;
mod publish;
mod repository;

pub use drafts::{Change, RoleKey, RoleKeyId, RoleThreshold, finish, show, sign};
pub use publish::{Offer, Published, Stage};
pub use repository::{DRAFT, Repository, now};

pub use crate::bundling::system::device::trusted::{ROOT, Trusted};
