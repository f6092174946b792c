//! The scenarios: what the agent does when the power fails.
//!
//! `sweep` runs them and `judge` judges them. A new scenario is one more entry in [`all`].

use agent::{Config, Device, Failure, InstallOptions, Interrupt, Mark, Origin};
use anyhow::Result;
use bundle::{Bundle, Keyring};
use grub_env::{BootState, Env, EnvStore, FactoryReset, GRUB_CFG, SlotState};
use image_layout::{FileDisk, Slot};
use tests::grub_disk::{self, GrubDisk};
use tests::grub_emu::EnvFile;

use crate::content::{Content, Medium};
use crate::crash_disk::Story;
use crate::system::{Systems, Which};

/// The properties of a device that can be seen from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) state: BootState,
    pub(crate) damaged: bool,
    pub(crate) slots: [Option<Which>; 2],
    /// True if the next boot is asked to empty /var.
    pub(crate) resets: bool,
}

impl Seen {
    pub(crate) fn of(systems: &Systems, medium: &Medium) -> Result<Self> {
        let loaded = EnvStore::open(medium.get("esp").clone())?.load()?;
        let slots = Slot::ALL.map(|slot| systems.whole(medium, slot));
        let resets = FactoryReset::of(&loaded.env).is_some();
        Ok(Self { state: loaded.state(), damaged: !loaded.damage.is_empty(), slots, resets })
    }

    fn next(&self) -> Option<Slot> {
        self.state.select().slot
    }

    fn holds(&self, slot: Slot, which: Which) -> bool {
        self.slots[slot as usize] == Some(which)
    }
}

/// A boot of the agent.
pub(crate) struct Booted<'a> {
    pub(crate) device: &'a Device,
    pub(crate) systems: &'a Systems,
    /// The slot that GRUB started; `None` is recovery.
    pub(crate) slot: Option<Slot>,
    /// True if [`Scenario::goal`] was reached before this boot.
    pub(crate) done: bool,
}

/// The state of a device and the work that the agent does on it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    slots: [Option<Which>; 2],
    state: BootState,
    damage: fn(&mut EnvFile, &mut EnvFile),
    story: &'static str,
    /// Slots with a system that has proved itself. Each survives. GRUB boots one of them, or falls
    /// back to one.
    pub(crate) proven: &'static [(Slot, Which)],
    /// Does everything that the agent does in a boot, in order. The first run does it, and so does
    /// the run after each power cut.
    pub(crate) life: fn(&Booted<'_>) -> Result<(), Failure>,
    /// The condition that must hold after a run that was not cut off.
    pub(crate) goal: fn(&Seen) -> bool,
    /// True if GRUB may start recovery instead of a slot.
    pub(crate) may_recover: bool,
    /// True if the agent installs the large update.
    pub(crate) large: bool,
}

impl Scenario {
    /// Returns the disk before the first run.
    pub(crate) fn medium(&self, systems: &Systems, grub: &GrubDisk) -> Result<Medium> {
        let mut env = Env::new();
        self.state.apply_to(&mut env);
        let block = EnvFile::Bytes(env.encode().to_vec());
        let (mut main, mut bak) = (block.clone(), block);
        (self.damage)(&mut main, &mut bak);
        let esp = grub.esp(GRUB_CFG, &main, &bak)?;
        let root = if self.large { 10 << 20 } else { 2 << 20 };
        let empty = |len| Content::new(&[], len);
        let boot = || empty(grub_disk::PARTITION);
        let esp = Content::new(&esp, grub_disk::PARTITION);
        let recovery = systems.recovery.clone();
        let mut medium =
            Medium { partitions: [esp, boot(), empty(root), boot(), empty(root), recovery] };
        for (slot, which) in Slot::ALL.into_iter().zip(self.slots) {
            if let Some(which) = which {
                systems.put(&mut medium, slot, which);
            }
        }
        Ok(medium)
    }

    /// Returns the story before the first run.
    pub(crate) fn story(&self) -> Story {
        (!self.story.is_empty()).then(|| self.story.as_bytes().into())
    }
}

/// Does what the daemon does at every boot of a healthy system.
fn arrive(booted: &Booted<'_>) -> Result<(), Failure> {
    if let Some(slot) = booted.slot {
        agent::settle(booted.device)?;
        agent::commit(booted.device, slot)?;
    }
    Ok(())
}

/// Installs `which`, unless that was done.
fn install_this(booted: &Booted<'_>, which: Which) -> Result<(), Failure> {
    arrive(booted)?;
    if booted.done {
        return Ok(());
    }
    let file = &booted.systems.get(which).bundle;
    let interrupt = Interrupt::never();
    agent::install(booted.device, &Config::default(), file, InstallOptions::default(), &interrupt)
        .map(drop)
}

fn install_update(booted: &Booted<'_>) -> Result<(), Failure> {
    install_this(booted, Which::Update)
}

/// Installs [`Which::Alike`] as from a server, unless that was done.
fn install_from_far_away(booted: &Booted<'_>) -> Result<(), Failure> {
    arrive(booted)?;
    if booted.done {
        return Ok(());
    }
    let failure = |error: &dyn std::fmt::Display| {
        Failure::new(agent::Exit::Unexpected, format!("opening the bundle far away: {error}"))
    };
    let config = Config::default();
    let keyring =
        Keyring::load(&booted.device.path(&config.keyring)).map_err(|error| failure(&error))?;
    let disk = FileDisk::open_read_only(&booted.systems.get(Which::Alike).bundle)
        .map_err(|error| failure(&error))?;
    let bundle = Bundle::open(disk, &keyring).map_err(|error| failure(&error))?;
    let (options, interrupt) = (InstallOptions::default(), Interrupt::never());
    agent::install_bundle(
        booted.device,
        &config,
        &bundle,
        Origin::Remote { expect: &|_| Ok(()), running: None, delta: None },
        options,
        &interrupt,
        "installing from far away",
    )
    .map(drop)
}

fn mark_bad(booted: &Booted<'_>) -> Result<(), Failure> {
    if booted.done { Ok(()) } else { agent::mark(booted.device, Mark::Bad, None).map(drop) }
}

/// Installs from a technician's stick in recovery. In the boots after it, does what the daemon
/// does.
fn recover_from_a_stick(booted: &Booted<'_>) -> Result<(), Failure> {
    if booted.slot.is_some() {
        return arrive(booted);
    }
    let bundle = &booted.systems.get(Which::Update).bundle;
    let io = |error| Failure::new(agent::Exit::Unexpected, format!("making a stick: {error}"));
    // The stick is beside the bundle, so that a hard link to the bundle is possible.
    let stick = tempfile::TempDir::new_in(bundle.parent().unwrap_or(bundle)).map_err(io)?;
    std::fs::hard_link(bundle, stick.path().join("update.daruma")).map_err(io)?;
    agent::recovery::install_from(booted.device, &Config::default(), stick.path()).map(drop)
}

/// Does what daruma-init does in recovery when no bundle comes.
fn reset_tries(booted: &Booted<'_>) -> Result<(), Failure> {
    if booted.slot.is_some() {
        return arrive(booted);
    }
    let failure =
        |error| Failure::new(agent::Exit::Environment, format!("resetting the tries: {error}"));
    let store = booted.device.environment()?;
    let loaded = store.load().map_err(failure)?;
    let mut state = loaded.state();
    state.reset_tries();
    let mut env = loaded.env;
    state.apply_to(&mut env);
    if loaded.damage.is_empty() { store.store(&env) } else { store.heal(&env) }.map_err(failure)
}

const fn slot(ok: bool, tries: u8) -> SlotState {
    SlotState { ok, tries }
}

const A_FIRST: [Slot; 2] = [Slot::A, Slot::B];
const B_FIRST: [Slot; 2] = [Slot::B, Slot::A];

const fn state(order: [Slot; 2], a: SlotState, b: SlotState, trial: Option<Slot>) -> BootState {
    BootState { order, a, b, trial }
}

/// The base of all scenarios: nothing is wrong, A runs, and B holds the system before it.
const PLAIN: Scenario = Scenario {
    name: "",
    slots: [Some(Which::Running), Some(Which::Old)],
    state: state(A_FIRST, slot(true, 0), slot(true, 0), None),
    damage: |_, _| {},
    story: "",
    proven: &[(Slot::A, Which::Running), (Slot::B, Which::Old)],
    life: arrive,
    goal: |seen| !seen.damaged && seen.state.trial.is_none() && seen.next() == Some(Slot::A),
    may_recover: false,
    large: false,
};

const UPDATED: fn(&Seen) -> bool =
    |seen| !seen.damaged && seen.next() == Some(Slot::B) && seen.holds(Slot::B, Which::Update);

/// A runs. The update in B is on trial and boots next.
const TRIAL: Scenario = Scenario {
    slots: [Some(Which::Running), Some(Which::Update)],
    state: state(B_FIRST, slot(true, 0), slot(true, 0), Some(Slot::B)),
    proven: &[(Slot::A, Which::Running)],
    story: r#"{"installed":
        {"B": {"version": "2.0.0", "build": "b", "manifest_sha256": "ab", "time_s": 0}}}"#,
    goal: |seen| UPDATED(seen) && seen.state.trial.is_none(),
    ..PLAIN
};

/// GRUB has given the update in B up and boots A. No agent has seen that yet.
const FELL_BACK: Scenario = Scenario {
    state: state(B_FIRST, slot(true, 1), slot(true, 3), Some(Slot::B)),
    goal: |seen| !seen.damaged && !seen.state.b.ok && seen.next() == Some(Slot::A),
    ..TRIAL
};

/// The base of the scenarios in which one or both copies of the environment are damaged or missing.
const DAMAGED: Scenario = PLAIN;

const INSTALL: Scenario =
    Scenario { proven: &[(Slot::A, Which::Running)], life: install_update, goal: UPDATED, ..PLAIN };

/// Returns the install that the faults, the kills and the mutations use.
pub(crate) fn install_over_an_older_system() -> Scenario {
    Scenario { name: "install over an older system", ..INSTALL }
}

/// Returns every scenario.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "install into an empty slot",
            slots: [Some(Which::Running), None],
            state: BootState::factory(),
            ..INSTALL
        },
        install_over_an_older_system(),
        Scenario {
            name: "install into slot A",
            slots: [Some(Which::Old), Some(Which::Running)],
            state: state(B_FIRST, slot(true, 0), slot(true, 0), None),
            proven: &[(Slot::B, Which::Running)],
            goal: |seen| {
                !seen.damaged && seen.next() == Some(Slot::A) && seen.holds(Slot::A, Which::Update)
            },
            ..INSTALL
        },
        Scenario {
            name: "install over a slot that fell back",
            slots: [Some(Which::Running), Some(Which::Old)],
            life: install_update,
            goal: UPDATED,
            ..FELL_BACK
        },
        Scenario {
            name: "install of 9 MiB",
            life: |booted| install_this(booted, Which::Large),
            goal: |seen| {
                !seen.damaged && seen.next() == Some(Slot::B) && seen.holds(Slot::B, Which::Large)
            },
            large: true,
            ..INSTALL
        },
        Scenario {
            name: "install from far away",
            life: install_from_far_away,
            goal: |seen| {
                !seen.damaged && seen.next() == Some(Slot::B) && seen.holds(Slot::B, Which::Alike)
            },
            ..INSTALL
        },
        Scenario { name: "commit by the daemon", ..TRIAL },
        Scenario {
            name: "mark good",
            life: |booted| match booted.slot {
                Some(slot) if !booted.done => {
                    agent::mark(booted.device, Mark::Good, Some(slot)).map(drop)
                }
                _ => Ok(()),
            },
            ..TRIAL
        },
        Scenario {
            name: "mark bad, on trial",
            life: mark_bad,
            goal: |seen| !seen.state.b.ok && seen.next() == Some(Slot::A),
            ..TRIAL
        },
        Scenario {
            name: "mark bad, committed",
            life: |booted| arrive(booted).and_then(|()| mark_bad(booted)),
            goal: |seen| seen.next() == Some(Slot::B),
            ..PLAIN
        },
        Scenario {
            name: "rollback",
            life: |booted| {
                arrive(booted)?;
                if booted.done { Ok(()) } else { agent::roll_back(booted.device).map(drop) }
            },
            goal: |seen| seen.next() == Some(Slot::B),
            ..PLAIN
        },
        Scenario {
            name: "factory reset asked for",
            life: |booted| {
                arrive(booted)?;
                if booted.done {
                    Ok(())
                } else {
                    agent::factory_reset(booted.device, &[]).map(drop)
                }
            },
            goal: |seen| seen.resets && (PLAIN.goal)(seen),
            ..PLAIN
        },
        Scenario {
            // daruma-init makes the same write when /var is empty.
            name: "factory reset taken back",
            damage: |main, bak| (ask_reset(main), ask_reset(bak)).0,
            life: |booted| {
                arrive(booted)?;
                agent::cancel_reset(booted.device).map(drop)
            },
            goal: |seen| !seen.resets && (PLAIN.goal)(seen),
            ..PLAIN
        },
        Scenario { name: "fall-back report of a trial", ..FELL_BACK },
        Scenario {
            name: "fall-back report of a committed system",
            state: state(B_FIRST, slot(true, 0), slot(true, 9), None),
            proven: &[(Slot::A, Which::Running), (Slot::B, Which::Update)],
            ..FELL_BACK
        },
        Scenario {
            name: "recovery gives the tries back",
            state: state(B_FIRST, slot(true, 9), slot(true, 3), Some(Slot::B)),
            life: reset_tries,
            goal: |seen| !seen.damaged && seen.next().is_some(),
            may_recover: true,
            ..TRIAL
        },
        Scenario {
            name: "recovery, both slots marked bad, damaged copy",
            state: state(A_FIRST, slot(false, 0), slot(false, 0), None),
            damage: |_, bak| *bak = EnvFile::Bytes(vec![0; Env::SIZE]),
            life: reset_tries,
            goal: |seen| !seen.damaged && seen.next().is_some(),
            may_recover: true,
            ..PLAIN
        },
        Scenario {
            name: "recovery from a stick, both slots lost",
            slots: [None, None],
            state: state(B_FIRST, slot(true, 0), slot(true, 3), Some(Slot::B)),
            proven: &[],
            life: recover_from_a_stick,
            goal: |seen| {
                !seen.damaged && seen.next().is_some_and(|slot| seen.holds(slot, Which::Update))
            },
            may_recover: true,
            ..PLAIN
        },
        Scenario {
            name: "recovery from a stick, the committed system has used up its tries",
            slots: [Some(Which::Running), None],
            state: state(B_FIRST, slot(true, 9), slot(true, 3), Some(Slot::B)),
            life: recover_from_a_stick,
            goal: UPDATED,
            may_recover: true,
            ..TRIAL
        },
        Scenario { name: "heal: first copy zeroed", damage: |main, _| zero(main), ..DAMAGED },
        Scenario { name: "heal: second copy zeroed", damage: |_, bak| zero(bak), ..DAMAGED },
        Scenario {
            name: "heal: first copy missing",
            damage: |main, _| *main = EnvFile::Missing,
            ..DAMAGED
        },
        Scenario {
            name: "heal: second copy missing",
            damage: |_, bak| *bak = EnvFile::Missing,
            ..DAMAGED
        },
        Scenario { name: "heal: first copy empty", damage: |main, _| cut(main, 0), ..DAMAGED },
        Scenario {
            name: "heal: second copy of 512 bytes",
            damage: |_, bak| cut(bak, 512),
            ..DAMAGED
        },
        Scenario {
            name: "heal: first copy cannot count",
            damage: |main, _| twice(main),
            ..DAMAGED
        },
        Scenario {
            name: "heal: both copies zeroed",
            damage: |main, bak| (zero(main), zero(bak)).0,
            ..DAMAGED
        },
        Scenario {
            name: "heal: both copies missing",
            damage: |main, bak| (*main, *bak) = (EnvFile::Missing, EnvFile::Missing),
            ..DAMAGED
        },
        Scenario {
            name: "heal: both copies empty",
            damage: |main, bak| (cut(main, 0), cut(bak, 0)).0,
            ..DAMAGED
        },
        Scenario {
            name: "install with a first copy that is missing",
            damage: |main, _| *main = EnvFile::Missing,
            ..INSTALL
        },
    ]
}

fn ask_reset(file: &mut EnvFile) {
    let EnvFile::Bytes(bytes) = file else { return };
    let (Ok(mut env), Ok(reset)) = (Env::parse(bytes), FactoryReset::new(&["lib/app"])) else {
        return;
    };
    if reset.ask(&mut env).is_ok() {
        *bytes = env.encode().to_vec();
    }
}

fn zero(file: &mut EnvFile) {
    *file = EnvFile::Bytes(vec![0; Env::SIZE]);
}

fn cut(file: &mut EnvFile, len: usize) {
    if let EnvFile::Bytes(bytes) = file {
        bytes.truncate(len);
    }
}

/// Makes a name stand twice. GRUB writes the first and believes the last.
fn twice(file: &mut EnvFile) {
    if let EnvFile::Bytes(bytes) = file {
        let text = b"# GRUB Environment Block\nA_TRY=0\nA_TRY=0\n";
        bytes[..text.len()].copy_from_slice(text);
        bytes[text.len()..].fill(b'#');
    }
}
