//! What recovery may do to the boot state.
//!
//! The usual moves are in `transition`. Recovery overwrites one slot, though the running system is
//! in neither.

use image_layout::Slot;

use crate::state::boot::{BootState, SlotState};

impl BootState {
    /// The slot that recovery overwrites: the worse one. `is_whole` says of A and of B whether its
    /// images are.
    ///
    /// Better is, in this order: whole images, not marked bad, committed rather than on trial,
    /// tries left, first in the order. So a committed slot that can still be booted is overwritten
    /// only if the other one is such a slot too.
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

    /// Recovery's [`BootState::begin_install`], before the first byte of `target` is overwritten.
    /// It is never refused: the caller takes [`BootState::recovery_target`], and there may be
    /// nothing left to lose.
    ///
    /// The other slot stays as it is. Was it on trial, then it is not any more: with its tries used
    /// up it is marked bad, as after a fall-back.
    pub fn begin_recovery(&mut self, target: Slot) {
        if self.trial == Some(!target) && !self.may_boot(!target) {
            *self.slot_mut(!target) = SlotState { ok: false, tries: 0 };
        }
        *self.slot_mut(target) = SlotState { ok: false, tries: 0 };
        self.trial = None;
        self.order = [!target, target];
    }
}
