//! The moves of the boot state that the agent and daruma-init may make.
//!
//! The agent and daruma-init decide when to make a move. A move that is not allowed changes
//! nothing.

use image_layout::Slot;
use thiserror::Error;

use crate::state::boot::{BootState, SlotState};

/// A move that would cost the device its only proven system, or that makes no sense in this state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TransitionError {
    /// The running system has not proved itself, and the other slot has.
    #[error(
        "slot {0} is on trial: commit it (`daruma mark good`) or give it up (`daruma mark bad`) \
            first"
    )]
    OnTrial(Slot),
    /// The other slot would be the only one left, and GRUB cannot boot it.
    #[error("slot {0} is the only slot that may be booted")]
    OnlyGood(Slot),
    /// The slot was not prepared with [`BootState::begin_install`].
    #[error("slot {0} may be booted already: it was not prepared for an install")]
    NotPrepared(Slot),
    /// Rolling back leads to the other slot, which is not bootable.
    #[error("slot {0} is marked bad: there is nothing to roll back to")]
    NothingThere(Slot),
}

impl BootState {
    /// Marks `target` bad before its first byte is overwritten, so that GRUB does not boot it.
    ///
    /// # Errors
    /// [`TransitionError::OnTrial`] while the other slot, which is the running one, is on trial.
    /// [`TransitionError::OnlyGood`] when `target` may be booted and the other slot may not. (When
    /// neither may, as in recovery, there is nothing to lose.)
    pub fn begin_install(&mut self, target: Slot) -> Result<(), TransitionError> {
        if self.trial == Some(!target) {
            return Err(TransitionError::OnTrial(!target));
        }
        if self.slot(target).ok && !self.slot(!target).ok {
            return Err(TransitionError::OnlyGood(target));
        }
        *self.slot_mut(target) = SlotState { ok: false, tries: 0 };
        self.trial = None;
        self.order = [!target, target];
        Ok(())
    }

    /// Puts `target` on trial after it was written and compared. GRUB tries it first, with all its
    /// tries.
    ///
    /// # Errors
    /// [`TransitionError::OnTrial`] while the other slot is on trial.
    /// [`TransitionError::NotPrepared`] when [`BootState::begin_install`] did not come first.
    pub fn begin_trial(&mut self, target: Slot) -> Result<(), TransitionError> {
        if self.trial == Some(!target) {
            return Err(TransitionError::OnTrial(!target));
        }
        if self.slot(target).ok {
            return Err(TransitionError::NotPrepared(target));
        }
        self.put_on_trial(target);
        Ok(())
    }

    /// Marks `slot` healthy: its count starts anew, and it is committed if it was on trial.
    pub fn mark_good(&mut self, slot: Slot) {
        *self.slot_mut(slot) = SlotState { ok: true, tries: 0 };
        if self.trial == Some(slot) {
            self.trial = None;
        }
    }

    /// Marks `slot` bad, so that GRUB does not boot it any more.
    ///
    /// # Errors
    /// [`TransitionError::OnlyGood`] when the other slot is marked bad too.
    pub fn mark_bad(&mut self, slot: Slot) -> Result<(), TransitionError> {
        if !self.slot(!slot).ok {
            return Err(TransitionError::OnlyGood(slot));
        }
        *self.slot_mut(slot) = SlotState { ok: false, tries: 0 };
        if self.trial == Some(slot) {
            self.trial = None;
        }
        self.order = [!slot, slot];
        Ok(())
    }

    /// Puts the other slot on trial, with all its tries, like an update. A person asked for the
    /// other slot.
    ///
    /// # Errors
    /// [`TransitionError::OnTrial`] while `running` is itself on trial. Rolling back would then
    /// make an unproven system the one to fall back to; [`BootState::mark_bad`] gives that system
    /// up. [`TransitionError::NothingThere`] when the other slot may not be booted.
    pub fn roll_back(&mut self, running: Slot) -> Result<(), TransitionError> {
        if self.trial == Some(running) {
            return Err(TransitionError::OnTrial(running));
        }
        if !self.slot(!running).ok {
            return Err(TransitionError::NothingThere(!running));
        }
        self.put_on_trial(!running);
        Ok(())
    }

    /// Marks the other slot bad after a fall-back. GRUB booted `running` because the other slot
    /// used up its tries or could not be loaded.
    pub fn fell_back(&mut self, running: Slot) {
        *self.slot_mut(!running) = SlotState { ok: false, tries: 0 };
        self.slot_mut(running).ok = true;
        self.trial = None;
        self.order = [running, !running];
    }

    /// Gives both slots all their tries again. If neither slot may be booted, both may afterwards.
    /// Recovery does this when no bundle came, and `grub.cfg` does it when recovery does not load.
    pub fn reset_tries(&mut self) {
        if !self.a.ok && !self.b.ok {
            self.a.ok = true;
            self.b.ok = true;
        }
        self.a.tries = 0;
        self.b.tries = 0;
    }

    fn put_on_trial(&mut self, target: Slot) {
        *self.slot_mut(target) = SlotState { ok: true, tries: 0 };
        self.trial = Some(target);
        self.order = [target, !target];
    }
}
