//! What lies over the image: the changes of a device, in upper folders on /var.
//!
//! `mounts` mounts them, and `plan` says when. /etc has one upper for each slot: read `upper`,
//! `merge`, `old_image`, `updated`. The folders of a person have one upper for both slots: read
//! `folders`.

pub(crate) mod folders;
pub(crate) mod merge;
pub(crate) mod old_image;
pub(crate) mod updated;
pub(crate) mod upper;
