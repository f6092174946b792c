//! Targets for the readers that decide about a boot.
//!
//! They read the environment, the FAT that holds it, the kernel's command line and `slot.cfg`.
//! `lib` lists the targets with their limits.

use agent::{Booted, CommandLine, SlotConfig};
use grub_env::{BootState, CREDENTIALS_BYTES, CredentialStore, Env, EnvStore, SlotState, choose};
use image_layout::Slot;

use crate::init_cmdline::{Choice, Cmdline};
use crate::is_one_line;
use crate::sparse::Sparse;

const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// The input is a state (1 byte), the length of a value (1 byte), that value, and the rest of a
/// block behind its signature.
pub(crate) fn environment(input: &[u8]) {
    assert_eq!(Env::parse(input).is_ok(), input.len() == Env::SIZE && input.starts_with(SIGNATURE));
    let [bits, len, rest @ ..] = input else { return };
    let (value, rest) = rest.split_at(rest.len().min(usize::from(*len)));
    let mut block = [SIGNATURE, rest].concat();
    block.resize(Env::SIZE, b'#');
    let env = Env::parse(&block).unwrap();
    assert_eq!(env.encode().to_vec(), block, "written back it is what was read");

    let found = BootState::from_env(&env);
    assert!(found.a.tries <= 9 && found.b.tries <= 9);
    let minute = Some(bits % 60);
    for choice in [
        choose(Some(&env), None, minute),
        choose(None, Some(&env), minute),
        choose(Some(&env), Some(&env), None),
    ] {
        // If the boot is counted, GRUB must then read the state that the choice promises.
        let counted = choice.env.as_ref().zip(choice.selection.slot).zip(choice.copy);
        if let Some(((env, slot), _)) = counted {
            let tries = choice.selection.after.slot(slot).tries;
            let saved = env
                .saved_by_grub(if slot == Slot::A { "A_TRY" } else { "B_TRY" }, &tries.to_string());
            assert_eq!(BootState::from_env(&saved.unwrap()), choice.selection.after);
        }
    }

    let state = BootState {
        order: if bits & 1 == 0 { [Slot::A, Slot::B] } else { [Slot::B, Slot::A] },
        a: SlotState { ok: bits & 2 == 0, tries: bits >> 5 },
        b: SlotState { ok: bits & 4 == 0, tries: bits >> 6 },
        trial: [None, Some(Slot::A), Some(Slot::B), None][usize::from(bits >> 3 & 3)],
    };
    let mut healed = env.clone();
    state.apply_to(&mut healed);
    assert_eq!(
        (BootState::from_env(&healed), healed.flaws()),
        (state, vec![]),
        "healed and not whole"
    );
    let mut torn = healed.encode();
    torn[Env::ATOMIC..].fill(0xff);
    assert_eq!(BootState::from_env(&Env::parse(&torn).unwrap()), state, "not in the first sector");
    let before = healed.clone();
    state.apply_to(&mut healed);
    assert_eq!(healed, before, "healing a whole block changes it");

    let value = String::from_utf8_lossy(value);
    let mut set = env.clone();
    match set.set("TRIAL", &value) {
        Ok(()) => assert_eq!(set.get("TRIAL").as_deref(), Some(&*value)),
        Err(_) => assert_eq!(set, env, "refused and changed all the same"),
    }
    while set.unset("TRIAL") {}
    assert_eq!(set.get("TRIAL"), None);
}

/// The input is a [`Sparse`] disk, at most as large as a device's EFI system partition.
pub(crate) fn fat(input: &[u8]) {
    const SECTORS: u64 = 40 << 11;
    let Some(disk) = Sparse::decode(input, SECTORS, 2_000_000) else { return };
    let Ok(store) = EnvStore::open(disk) else { return };
    let Ok(loaded) = store.load() else { return };
    loaded.damage.iter().for_each(|line| is_one_line(line));
    let mut env = loaded.env.clone();
    let mut state = loaded.state();
    state.mark_good(Slot::A);
    state.apply_to(&mut env);
    if store.store(&env).is_ok() {
        let again = store.load().unwrap();
        assert_eq!(again.state(), state, "stored and not there");
    }
    let disk = store.into_disk();
    // A store writes only the two copies: 1,024 bytes each, in at most three sectors a copy.
    let written: usize = disk.writes.borrow().iter().map(|(_, len)| len).sum();
    assert!(written <= 6 * 4096, "{written} bytes written to store 2 blocks");
    let Ok(store) = EnvStore::open(disk) else { return };
    if store.heal(&env).is_ok() {
        let healed = store.load().unwrap();
        assert_eq!((healed.state(), healed.damage), (state, vec![]), "healed and not whole");
    }
    credentials(store.into_disk());
}

/// Reads the credentials of the same disk as a boot does, and sets one.
fn credentials(disk: Sparse) {
    let Ok(store) = CredentialStore::open(disk) else { return };
    if let Ok(listing) = store.list() {
        listing.refused.iter().for_each(|line| is_one_line(line));
        let read = listing.credentials.iter().filter_map(|found| store.read(found).ok());
        assert!(read.map(|content| content.len()).sum::<usize>() <= CREDENTIALS_BYTES);
    }
    let environment = |store: CredentialStore<Sparse>| {
        let store = EnvStore::open(store.into_disk()).unwrap();
        let found = store.load().ok().map(|found| (found.state(), found.damage));
        (CredentialStore::open(store.into_disk()).unwrap(), found)
    };
    let (store, before) = environment(store);
    if store.set("a", b"content").is_ok() {
        let found = store.list().unwrap();
        let found = found.credentials.iter().find(|found| found.name == "a");
        assert_eq!(found.map(|found| store.read(found).unwrap()).unwrap(), b"content");
        assert!(store.remove("a").unwrap(), "set and not removed");
        assert_eq!(environment(store).1, before, "the environment is another one");
    }
}

/// The input is the text of `/proc/cmdline`.
pub(crate) fn command_line(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let agent = CommandLine::parse(&text);
    let init = Cmdline::parse(&text);
    if let Err(error) = &init {
        is_one_line(&format!("{error:#}"));
    }
    let Ok(init) = init else { return };
    assert!(init.init.is_absolute());
    if let Some(verity) = &init.verity {
        // The text goes into a table for the kernel. Blanks separate the fields of the table.
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(plain(&verity.root_hash) && plain(&verity.salt) && verity.data_blocks > 0);
        assert!(verity.data_blocks.checked_mul(4096).is_some());
    }
    // Two programs read the command line of one boot. If they differed, the agent would install
    // over the running system.
    let agent = agent.expect("init knows the slot and the agent does not");
    let slot = match init.choice {
        Choice::Slot(slot) => Booted::Slot(slot),
        Choice::Recovery => Booted::Recovery,
    };
    assert_eq!((agent.booted, agent.trial), (slot, init.trial), "two readers, two opinions");
}

/// The input is the text of `slot.cfg`.
pub(crate) fn slot_cfg(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match SlotConfig::parse(&text) {
        Ok(config) => {
            let again = format!(
                "set daruma_compatible={}\nset daruma_version={}\nset daruma_build={}\nset \
                    daruma_min_version={}\n",
                config.compatible, config.version, config.build, config.min_version
            );
            assert_eq!(
                SlotConfig::parse(&again),
                Ok(config),
                "written and read again it is another"
            );
        }
        Err(error) => is_one_line(&error),
    }
}
