//! The environment on a FAT is found, overwritten in place, cut off from power, and healed.

#![allow(clippy::unwrap_used)] // A test may; clippy does not know its helper functions for one.

mod esp;

use std::fs;
use std::process::Command;

use esp::{FATS, MemoryDisk, block, fat};
use grub_env::{BootState, Copy, Env, EnvError, EnvStore, GRUBENV_BAK_PATH, GRUBENV_PATH};
use image_layout::{FileDisk, Slot};
use proptest::prelude::*;

fn trial_of_b() -> BootState {
    let mut state = BootState::factory();
    state.begin_trial(Slot::B).unwrap();
    state
}

fn store(bytes: Vec<u8>) -> EnvStore<MemoryDisk> {
    EnvStore::open(MemoryDisk::new(bytes)).unwrap()
}

fn env_of(state: BootState) -> Env {
    Env::parse(&block(state)).unwrap()
}

/// Returns what another implementation of FAT finds.
fn read_file(disk: Vec<u8>, path: &str) -> Vec<u8> {
    let fs = fatfs::FileSystem::new(std::io::Cursor::new(disk), fatfs::FsOptions::new()).unwrap();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut fs.root_dir().open_file(path).unwrap(), &mut content).unwrap();
    content
}

#[test]
fn on_every_fat_the_block_is_overwritten_where_it_lies() {
    for (width, kib, sector) in FATS {
        let old = block(BootState::factory());
        let image = fat(
            width,
            kib,
            sector,
            &[("grubenv", &old), ("between", &[7; 9999]), ("grubenv.bak", &old)],
        );
        for granule in [512_u32, 4096] {
            if granule < u32::from(sector) {
                continue;
            }
            let mut disk = MemoryDisk::new(image.clone());
            disk.sector = granule as usize;
            let store = EnvStore::with_sector_size(disk, granule).unwrap();
            let loaded = store.load().unwrap();
            assert_eq!((loaded.state(), loaded.copy), (BootState::factory(), Some(Copy::Main)));
            assert_eq!(loaded.damage, Vec::<String>::new());
            store.store(&env_of(trial_of_b())).unwrap();
            assert_eq!(store.load().unwrap().state(), trial_of_b());
            let disk = store.into_disk();
            // Each copy takes one sector, so everything changes at once.
            assert_eq!(
                disk.writes.borrow().len(),
                2,
                "FAT{width}, sectors of {sector}, writes of {granule}"
            );
            let now = disk.bytes();
            let changed = image.iter().zip(&now).filter(|(old, new)| old != new).count();
            assert!(changed < 50, "{changed} bytes changed");
            assert_eq!(read_file(now.clone(), GRUBENV_PATH), block(trial_of_b()));
            assert_eq!(read_file(now.clone(), GRUBENV_BAK_PATH), block(trial_of_b()));
            assert_eq!(read_file(now, "grub/between"), [7; 9999]);
        }
    }
}

#[test]
fn what_mtools_made_is_found_and_what_is_written_grub_editenv_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (image, plain) = (dir.path().join("esp.img"), dir.path().join("grubenv"));
    let run = |program: &str, arguments: &[&str]| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let out = Command::new(program).args(arguments).env("PATH", path).output();
        let out = out.unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup"));
        assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let (image_path, plain_path) = (image.to_str().unwrap(), plain.to_str().unwrap());
    run("grub-editenv", &[plain_path, "create"]);
    run(
        "grub-editenv",
        &[plain_path, "set", "ORDER=B A", "A_OK=1", "A_TRY=0", "B_OK=1", "B_TRY=2", "TRIAL=B"],
    );
    run("mkfs.vfat", &["-C", "-F", "32", image_path, "40000"]);
    run("mmd", &["-i", image_path, "::grub"]);
    for name in ["::grub/grubenv", "::grub/grubenv.bak"] {
        run("mcopy", &["-i", image_path, plain_path, name]);
    }
    let store = EnvStore::open(FileDisk::open(&image).unwrap()).unwrap();
    let mut env = store.load().unwrap().env;
    let mut state = BootState::from_env(&env);
    assert_eq!((state.trial, state.b.tries), (Some(Slot::B), 2));
    state.mark_good(Slot::B);
    state.apply_to(&mut env);
    store.store(&env).unwrap();
    for name in ["::grub/grubenv", "::grub/grubenv.bak"] {
        run("mcopy", &["-n", "-o", "-i", image_path, name, plain_path]);
        assert_eq!(fs::read(&plain).unwrap(), env.encode());
        assert_eq!(
            run("grub-editenv", &[plain_path, "list"]),
            "ORDER=B A\nA_OK=1\nA_TRY=0\nB_OK=1\nB_TRY=0\nTRIAL=\n"
        );
    }
}

#[test]
fn a_power_cut_at_any_point_leaves_the_old_or_the_new_state_and_a_second_run_finishes() {
    let (old, new) = (BootState::factory(), trial_of_b());
    let mut cuts = 0;
    for operations in 0.. {
        let store = EnvStore::open(MemoryDisk::new(esp::esp(old)).cut_after(operations)).unwrap();
        let outcome = store.store(&env_of(new));
        for after in store.into_disk().after_the_cut() {
            cuts += 1;
            let store = self::store(after);
            let loaded = store.load().unwrap();
            assert!(
                [old, new].contains(&loaded.state()),
                "after {operations} operations: {:?}",
                loaded.state()
            );
            assert!(outcome.is_err() || loaded.state() == new);
            assert_eq!(loaded.damage, Vec::<String>::new());
            store.store(&env_of(new)).unwrap();
            assert_eq!(store.load().unwrap().state(), new);
        }
        if outcome.is_ok() {
            println!("{cuts} outcomes of {operations} cuts");
            assert!(cuts > 6);
            return;
        }
    }
}

#[test]
fn a_power_cut_while_a_file_is_made_anew_never_loses_the_other_copy() {
    let state = trial_of_b();
    let good = block(state);
    let image = fat(12, 64, 512, &[("grub.cfg", b"#"), ("grubenv", &good), ("grubenv.bak", b"")]);
    for operations in 0.. {
        let store = EnvStore::open(MemoryDisk::new(image.clone()).cut_after(operations)).unwrap();
        let outcome = store.heal(&env_of(state));
        let disk = store.into_disk();
        for after in disk.after_the_cut() {
            let store = self::store(after);
            assert_eq!(store.load().unwrap().state(), state, "after {operations} operations");
            store.heal(&env_of(state)).unwrap();
            assert_eq!(store.load().unwrap().damage, Vec::<String>::new());
        }
        if outcome.is_ok() {
            return;
        }
    }
}

#[test]
fn each_damage_is_named_read_around_and_healed() {
    let good = block(trial_of_b());
    let torn: Vec<u8> = good.iter().map(|byte| byte ^ 0x55).collect();
    let cases: [(&str, Option<&[u8]>); 5] = [
        ("is missing", None),
        ("0 bytes", Some(b"")),
        ("700 bytes", Some(&good[..700])),
        ("2000 bytes", Some(&[b'#'; 2000])),
        ("does not start", Some(&torn)),
    ];
    for (what, content) in cases {
        for damaged in [vec!["grubenv"], vec!["grubenv.bak"], vec!["grubenv", "grubenv.bak"]] {
            let files: Vec<(&str, &[u8])> = ["grubenv", "grubenv.bak"]
                .into_iter()
                .filter_map(|name| {
                    Some((name, if damaged.contains(&name) { content? } else { &good[..] }))
                })
                .collect();
            let store = store(fat(16, 8192, 512, &files));
            let loaded = store.load().unwrap();
            let readable = damaged.len() == 1 || what == "700 bytes";
            assert_eq!(
                loaded.state(),
                if readable { trial_of_b() } else { BootState::unknown() },
                "{what} {damaged:?}"
            );
            assert_eq!(
                loaded.damage.len(),
                damaged.len(),
                "{what} {damaged:?}: {:?}",
                loaded.damage
            );
            if content.is_none_or(|content| content.len() != 1024) {
                let refused = store.store(&loaded.env);
                assert!(
                    matches!(
                        refused,
                        Err(EnvError::NotInPlace { .. } | EnvError::BakNotWritten(_))
                    ),
                    "{refused:?}"
                );
            }
            store.heal(&loaded.env).unwrap();
            let healed = store.load().unwrap();
            assert_eq!(
                (healed.state(), healed.damage),
                (loaded.state(), vec![]),
                "{what} {damaged:?}"
            );
            let disk = store.into_disk().bytes();
            assert_eq!(read_file(disk.clone(), GRUBENV_PATH), loaded.env.encode());
            assert_eq!(read_file(disk, GRUBENV_BAK_PATH), loaded.env.encode());
        }
    }
}

#[test]
fn a_file_without_clusters_or_with_a_loop_is_healed() {
    let good = block(trial_of_b());
    for (what, cluster) in [("none", 0_u16), ("beyond the end", 0xfff0), ("reserved", 1)] {
        let mut image = fat(16, 8192, 512, &[("grubenv", &good), ("grubenv.bak", &good)]);
        let entry = image.windows(11).position(|name| name == b"GRUBENV    ").unwrap();
        image[entry + 26..entry + 28].copy_from_slice(&cluster.to_le_bytes());
        let store = store(image);
        let loaded = store.load().unwrap();
        assert_eq!((loaded.state(), loaded.copy), (trial_of_b(), Some(Copy::Bak)), "{what}");
        store.heal(&loaded.env).unwrap();
        assert_eq!(store.load().unwrap().damage, Vec::<String>::new(), "{what}");
    }
}

/// One flipped bit in a directory entry is enough to cause this.
#[test]
fn a_block_whose_clusters_are_another_files_never_overwrites_that_file() {
    let good = block(trial_of_b());
    let script = b"if [ x = y ]; then\n  load_env\nfi\n".repeat(40);
    let files: [(&str, &[u8]); 3] =
        [("grub.cfg", &script), ("grubenv", &good), ("grubenv.bak", &good)];
    let image = fat(16, 8192, 512, &files);
    let entry = |name: &[u8]| image.windows(11).position(|window| window == name).unwrap() + 26;
    let cluster = |name: &[u8]| &image[entry(name)..entry(name) + 2];
    let script_cluster = cluster(b"GRUB    CFG").to_vec();
    let table = 512 * usize::from(u16::from_le_bytes([image[14], image[15]]));
    let second =
        table + 2 * usize::from(u16::from_le_bytes(cluster(b"GRUBENV    ").try_into().unwrap()));
    for (what, at) in [("all of it", entry(b"GRUBENV    ")), ("its second cluster", second)] {
        let mut image = image.clone();
        image[at..at + 2].copy_from_slice(&script_cluster);
        let store = store(image);
        let loaded = store.load().unwrap();
        assert_eq!(loaded.state(), trial_of_b(), "{what}");
        assert!(!loaded.damage.is_empty(), "{what}");
        assert!(
            matches!(store.store(&env_of(BootState::factory())), Err(EnvError::NotInPlace { .. })),
            "{what}"
        );
        store.heal(&loaded.env).unwrap();
        assert_eq!(store.load().unwrap().damage, Vec::<String>::new(), "{what}");
        assert_eq!(read_file(store.into_disk().bytes(), "grub/grub.cfg"), script, "{what}");
    }
}

#[test]
fn what_is_no_fat_is_refused() {
    for bytes in [vec![], vec![0; 512], vec![0; 1 << 20], vec![0xff; 1 << 20]] {
        assert!(matches!(EnvStore::open(MemoryDisk::new(bytes)), Err(EnvError::Fat(_))));
    }
    let mut cut_short = esp::esp(BootState::factory());
    cut_short.truncate(100 << 10);
    assert!(matches!(EnvStore::open(MemoryDisk::new(cut_short)), Err(EnvError::Fat(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The FAT may cause neither a hang nor a panic, and never a byte outside the disk
    /// (`MemoryDisk` would say so).
    #[test]
    fn a_hostile_fat_is_survived(
        which in 0..2_usize,
        // The changes hit where it hurts: boot sector, tables, directories.
        changes in prop::collection::vec((0..8192_usize, any::<u8>()), 1..40),
        boot in prop::collection::vec((11..90_usize, any::<u8>()), 0..3),
    ) {
        let (width, kib, sector) = [(12, 512, 512), (16, 8192, 512)][which];
        let good = block(trial_of_b());
        let mut image = fat(width, kib, sector, &[("grubenv", &good), ("grubenv.bak", &good)]);
        for (at, byte) in changes.into_iter().map(|(at, byte)| (at + 512, byte)).chain(boot) {
            image[at] = byte;
        }
        if let Ok(store) = EnvStore::open(MemoryDisk::new(image))
            && let Ok(loaded) = store.load()
        {
            let _any = store.store(&loaded.env);
            let _any = store.heal(&loaded.env);
            let _any = store.load();
        }
    }
}
