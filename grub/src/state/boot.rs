//! The boot state, and the choice that `grub.cfg` makes from it.
//!
//! `transition` and `recovery` say how the state may change. [`BootState::select`] and the script
//! must always agree.

use image_layout::Slot;

use crate::env::Env;

/// Boots that a slot on trial may take to become healthy.
pub const TRIAL_TRIES: u8 = 3;
/// Boots in a row that a committed slot may take without becoming healthy.
pub const COMMITTED_TRIES: u8 = 9;

/// What the environment says about one slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotState {
    /// The slot may be booted (`A_OK`).
    pub ok: bool,
    /// Boots since the slot was last healthy (`A_TRY`), at most [`COMMITTED_TRIES`].
    pub tries: u8,
}

/// What the environment says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootState {
    /// The slots in the order in which they are tried (`ORDER`).
    pub order: [Slot; 2],
    /// Slot A.
    pub a: SlotState,
    /// Slot B.
    pub b: SlotState,
    /// The slot on trial (`TRIAL`).
    pub trial: Option<Slot>,
}

/// What GRUB boots, and what it leaves in the environment when it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    /// The slot; `None` is the recovery partition.
    pub slot: Option<Slot>,
    /// The state after GRUB has counted this boot.
    pub after: BootState,
}

impl BootState {
    /// Returns the state of a fresh device: slot A is committed, slot B is empty.
    #[must_use]
    pub const fn factory() -> Self {
        Self {
            order: [Slot::A, Slot::B],
            a: SlotState { ok: true, tries: 0 },
            b: SlotState { ok: false, tries: 0 },
            trial: None,
        }
    }

    /// Returns the state of an environment that says nothing: both slots may be booted.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { b: SlotState { ok: true, tries: 0 }, ..Self::factory() }
    }

    /// Reads the variables as leniently as `grub.cfg` does. A variable that is missing or not
    /// understood takes the value of [`BootState::unknown`].
    ///
    /// - `ORDER` is `B A` if it says so, and otherwise `A B`.
    /// - A slot is bad only if its `OK` says `0`.
    /// - A `TRY` that is not a number is 0, and a number above the limit is the limit.
    /// - `TRIAL` is a slot's exact name or nothing.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        let slot = |slot: Slot| SlotState {
            ok: env.get(ok_name(slot)).as_deref() != Some("0"),
            tries: env.get(try_name(slot)).map_or(0, |text| parse_tries(&text)),
        };
        let order = match env.get("ORDER").as_deref() {
            Some("B A") => [Slot::B, Slot::A],
            _ => [Slot::A, Slot::B],
        };
        let trial = match env.get("TRIAL").as_deref() {
            Some("A") => Some(Slot::A),
            Some("B") => Some(Slot::B),
            _ => None,
        };
        Self { order, a: slot(Slot::A), b: slot(Slot::B), trial }
    }

    /// Writes all six variables into `env`, each in its place.
    ///
    /// The first 512 bytes may have no room for the variables, or a broken line may be in their
    /// way. Then they become the first lines of the block. The other variables follow as far as
    /// they fit.
    pub fn apply_to(&self, env: &mut Env) {
        let variables = [
            ("ORDER", format!("{} {}", self.order[0], self.order[1])),
            ("A_OK", u8::from(self.a.ok).to_string()),
            ("A_TRY", self.a.tries.to_string()),
            ("B_OK", u8::from(self.b.ok).to_string()),
            ("B_TRY", self.b.tries.to_string()),
            ("TRIAL", self.trial.map_or("", Slot::name).to_owned()),
        ];
        let in_place = |target: &mut Env| {
            variables.iter().try_for_each(|(name, value)| target.set(name, value)).is_ok()
                && Self::from_env(target) == *self
                && target.flaws().is_empty()
        };
        let mut next = env.clone();
        if !in_place(&mut next) {
            next = Env::new();
            // The variables take 66 bytes behind a signature of 25, so they always fit.
            let fits = in_place(&mut next);
            debug_assert!(fits);
            for (name, value) in env.variables() {
                let mut with = next.clone();
                // Another program's variable is lost if it has no room, or if GRUB would stumble
                // over its name. Daruma's variables are never lost.
                if next.get(&name).is_none()
                    && with.set(&name, &value).is_ok()
                    && with.flaws().is_empty()
                {
                    next = with;
                }
            }
        }
        *env = next;
    }

    /// Returns one slot's state.
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> SlotState {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    pub(crate) const fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// Returns the number of boots that `slot` may take without becoming healthy.
    #[must_use]
    pub fn limit(&self, slot: Slot) -> u8 {
        if self.trial == Some(slot) { TRIAL_TRIES } else { COMMITTED_TRIES }
    }

    /// Returns true if GRUB would try `slot`.
    #[must_use]
    pub fn may_boot(&self, slot: Slot) -> bool {
        let state = self.slot(slot);
        state.ok && state.tries < self.limit(slot)
    }

    /// Returns what GRUB boots from this state when everything loads, and what GRUB writes. This is
    /// the twin of `grub.cfg`.
    #[must_use]
    pub fn select(&self) -> Selection {
        self.select_unless(|_| false)
    }

    /// Does the same as [`BootState::select`] when kernel, initramfs or `slot.cfg` of some slots
    /// cannot be loaded. GRUB counts the try of such a slot, and takes the next slot in the same
    /// boot.
    #[must_use]
    pub fn select_unless(&self, cannot_load: impl Fn(Slot) -> bool) -> Selection {
        let mut after = *self;
        for slot in self.order {
            if self.may_boot(slot) {
                after.slot_mut(slot).tries += 1;
                if !cannot_load(slot) {
                    return Selection { slot: Some(slot), after };
                }
            }
        }
        Selection { slot: None, after }
    }
}

/// Returns the name of the variable that says whether `slot` may be booted.
pub(crate) const fn ok_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "A_OK",
        Slot::B => "B_OK",
    }
}

/// Returns the name of the variable that counts the boots of `slot`.
pub(crate) const fn try_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "A_TRY",
        Slot::B => "B_TRY",
    }
}

/// Reads a count as GRUB's script does, which knows no arithmetic. It knows the exact texts `0` to
/// `8`. Other digits are too many boots, and any other text is none.
fn parse_tries(text: &str) -> u8 {
    match text.as_bytes() {
        [digit @ b'0'..=b'8'] => digit - b'0',
        digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => COMMITTED_TRIES,
        _ => 0,
    }
}
