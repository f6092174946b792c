//! Which copy of the environment `grub.cfg` uses.
//!
//! `store` reads the copies. The script makes the same choice, and both must always agree.

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
    /// Returns the copy's path on the EFI system partition.
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
    /// The copy in which GRUB counts the boot; `None` when GRUB can count in neither.
    pub copy: Option<Copy>,
    /// The block that GRUB uses. `None` when GRUB can read neither copy: then
    /// [`BootState::unknown`] holds.
    pub env: Option<Env>,
    /// What GRUB boots, and the state in `copy` afterwards. Without a copy GRUB writes nothing.
    pub selection: Selection,
}

/// Returns the choice of `grub.cfg` between the copies. It takes the first copy in which it can
/// count the boot. Otherwise it takes the first copy that it can read, and without one the
/// defaults.
///
/// `minute` is the clock's, 0 to 59, or `None` without a clock. A boot that cannot be counted must
/// not be the same for ever. So a minute that ends in 9 tries the slots in the other order, and
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
