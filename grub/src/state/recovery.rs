//! The changes of the boot state that recovery may make.
//!
//! `transition` has the usual moves. In recovery neither slot runs, so recovery may overwrite
//! either of them.

use image_layout::Slot;

use crate::state::boot::{BootState, SlotState};

impl BootState {
    /// Returns the slot that recovery overwrites: the worse one. `is_whole` says for A and for B
    /// whether the slot's images are whole.
    ///
    /// The first of these that differs decides which slot is better:
    ///
    /// - its images are whole
    /// - it is not marked bad
    /// - it is committed and not on trial
    /// - it has tries left
    /// - it is first in the order
    ///
    /// So a committed slot that can still be booted is overwritten only if the other slot is such a
    /// slot too.
    #[must_use]
    pub fn recovery_target(&self, is_whole: [bool; 2]) -> Slot {
        let worth = |slot: Slot| {
            let whole = is_whole[usize::from(slot == Slot::B)];
            (
                whole,
                self.slot(slot).ok,
                self.trial != Some(slot),
                self.may_boot(slot),
                self.order[0] == slot,
            )
        };
        if worth(Slot::A) < worth(Slot::B) { Slot::A } else { Slot::B }
    }

    /// Marks `target` bad before recovery overwrites its first byte, as
    /// [`BootState::begin_install`] does for an install. This is never refused: the caller takes
    /// [`BootState::recovery_target`], and there may be nothing left to lose.
    ///
    /// The other slot stays as it is, except that it is not on trial any more. If it was on trial
    /// and has used up its tries, it is marked bad, as after a fall-back.
    pub fn begin_recovery(&mut self, target: Slot) {
        if self.trial == Some(!target) && !self.may_boot(!target) {
            *self.slot_mut(!target) = SlotState { ok: false, tries: 0 };
        }
        *self.slot_mut(target) = SlotState { ok: false, tries: 0 };
        self.trial = None;
        self.order = [!target, target];
    }
}
