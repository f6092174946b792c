//! Which copy of the environment `grub.cfg` goes by.
//!
//! Reading the copies is left to `store`. The script has the same choice, and both must always
//! agree.

use image_layout::Slot;

use crate::env::Env;
use crate::script::{GRUBENV_BAK_PATH, GRUBENV_PATH};
use crate::state::boot::{BootState, Selection, try_name};

/// One of the two copies of the environment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Copy {
    /// [`GRUBENV_PATH`]
    Main,
    /// [`GRUBENV_BAK_PATH`]
    Bak,
}

impl Copy {
    /// Path on the EFI system partition.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Main => GRUBENV_PATH,
            Self::Bak => GRUBENV_BAK_PATH,
        }
    }
}

/// What `grub.cfg` makes of the two copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The copy in which the boot is counted; `None` when it can be counted in neither.
    pub copy: Option<Copy>,
    /// The block it goes by; `None` when neither copy can be read, so that [`BootState::unknown`]
    /// holds.
    pub env: Option<Env>,
    /// What it boots, and the state in `copy` afterwards. Without a copy nothing is written.
    pub selection: Selection,
}

/// The twin of `grub.cfg` above [`BootState::select`]: the first copy in which the boot can be
/// counted, else the first that can be read, else the defaults.
///
/// `minute` is the clock's, 0 to 59, or `None` without a clock. A boot that cannot be counted must
/// not be the same for ever, so a minute that ends in 9 tries the slots in the other order, and
/// minute 59 starts recovery.
#[must_use]
pub fn choose(main: Option<&Env>, bak: Option<&Env>, minute: Option<u8>) -> Choice {
    for (copy, env) in [(Copy::Main, main), (Copy::Bak, bak)] {
        let Some(env) = env else { continue };
        let selection = BootState::from_env(env).select();
        let counted = selection.slot.is_none_or(|slot| can_count(env, &selection.after, slot));
        if counted {
            return Choice { copy: Some(copy), env: Some(env.clone()), selection };
        }
    }
    let env = main.or(bak);
    let before = env.map_or(BootState::unknown(), BootState::from_env);
    let mut state = before;
    if minute.is_some_and(|minute| minute % 10 == 9) {
        state.order.reverse();
    }
    let slot = if minute == Some(59) { None } else { state.select().slot };
    Choice { copy: None, env: env.cloned(), selection: Selection { slot, after: before } }
}

fn can_count(env: &Env, after: &BootState, slot: Slot) -> bool {
    env.saved_by_grub(try_name(slot), &after.slot(slot).tries.to_string()).is_some()
}
