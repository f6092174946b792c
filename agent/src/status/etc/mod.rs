//! `daruma etc`: what differs from the image, and what the next merge of /etc will do.
//! Leaves the merge itself to the crate `etc-merge`, and its time, the boot, to daruma-init.
//! Read: `place`, `images`, `report`, `changes`, `difference`, `reset`.

mod changes;
mod difference;
mod images;
mod place;
mod report;
mod reset;

pub use changes::{Changed, Changes};
pub use difference::difference;
pub(crate) use report::{last, summary};
pub use report::{plan, text};
pub use reset::reset;
