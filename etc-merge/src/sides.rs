//! The folders that are merged.

use std::path::Path;

use crate::policy::Policy;
use crate::tree::marks::Marks;
use crate::tree::unchanged::Unchanged;

/// The folders to merge. The caller has mounted them; nothing in them is changed.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// /etc of the old image; `None` if the old image is gone
    pub base: Option<&'a Path>,
    /// The old upper, not the overlay
    pub upper: &'a Path,
    /// /etc of the new image
    pub theirs: &'a Path,
    /// What both images have alike
    pub unchanged: &'a Unchanged,
    /// The new image's policy
    pub policy: &'a Policy,
    /// How the old upper's overlay was mounted
    pub marks: Marks,
}
