//! The tamper table of what decides a boot: each variable of the environment, and each field of the
//! FAT that leads to it.
//!
//! A row is a field with a wrong, a huge, an overlapping, a negative-like, an all-ones and a
//! missing value. No value may cause a write over anything but the two copies. All values end as
//! docs/boot-protocol.md says.

#![allow(clippy::unwrap_used)] // A test may; clippy does not know its helper functions for one.

#[allow(dead_code)] // each test program uses its part
mod esp;

use std::collections::BTreeMap;
use std::ops::Range;

use esp::{MemoryDisk, block, fat};
use grub_env::{BootState, Copy, Env, EnvError, EnvStore, SlotState};
use image_layout::Slot;

#[test]
fn every_variable_with_every_kind_of_value_has_its_documented_meaning() {
    let truth = BootState {
        order: [Slot::B, Slot::A],
        a: SlotState { ok: false, tries: 4 },
        b: SlotState { ok: true, tries: 2 },
        trial: Some(Slot::B),
    };
    let whole = String::from_utf8(block(truth)).unwrap();
    let whole = whole.trim_end_matches('#');
    let unknown = BootState::unknown();
    // Each row says what a value that is not understood means (docs/boot-protocol.md, "The
    // environment").
    type Default = fn(&mut BootState, &BootState);
    let rows: [(&str, Default); 6] = [
        ("ORDER", |state, unknown| state.order = unknown.order),
        ("A_OK", |state, unknown| state.a.ok = unknown.a.ok),
        ("A_TRY", |state, unknown| state.a.tries = unknown.a.tries),
        ("B_OK", |state, unknown| state.b.ok = unknown.b.ok),
        ("B_TRY", |state, unknown| state.b.tries = unknown.b.tries),
        ("TRIAL", |state, unknown| state.trial = unknown.trial),
    ];
    let mut count = 0;
    for (name, default) in rows {
        let line = whole.lines().find(|line| line.starts_with(&format!("{name}="))).unwrap();
        let huge = "9".repeat(300);
        for (case, value) in [
            ("wrong", Some("x")),
            ("huge", Some(&*huge)),
            ("with a blank", Some(" 1")),
            ("negative", Some("-1")),
            ("all ones", Some("\u{ff}\u{ff}")),
            ("empty", Some("")),
            ("missing", None),
        ] {
            let text = match value {
                Some(value) => whole.replace(&format!("{line}\n"), &format!("{name}={value}\n")),
                None => whole.replace(&format!("{line}\n"), ""),
            };
            let mut bytes = text.into_bytes();
            bytes.resize(Env::SIZE, b'#');
            let mut env = Env::parse(&bytes).unwrap();
            let mut expected = truth;
            default(&mut expected, &unknown);
            if name.ends_with("TRY") && case == "huge" {
                // Digits mean many boots, whatever the number is.
                expected.a.tries = if name == "A_TRY" { 9 } else { expected.a.tries };
                expected.b.tries = if name == "B_TRY" { 9 } else { expected.b.tries };
            }
            assert_eq!(BootState::from_env(&env), expected, "{name} {case}");
            // After healing, the block says the same, in full.
            expected.apply_to(&mut env);
            assert_eq!(
                (BootState::from_env(&env), env.flaws()),
                (expected, vec![]),
                "{name} {case}"
            );
            count += 1;
        }
        // The overlapping value is a second line of the name. The last line counts, GRUB cannot
        // count in it, and it is a flaw.
        let mut bytes = format!("{whole}{name}=x\n").into_bytes();
        bytes.resize(Env::SIZE, b'#');
        let mut expected = truth;
        default(&mut expected, &unknown);
        let env = Env::parse(&bytes).unwrap();
        assert_eq!(BootState::from_env(&env), expected, "{name} twice");
        assert!(env.flaws().iter().any(|flaw| flaw.contains("more than once")), "{name} twice");
        count += 1;
    }
    for (at, byte) in (0..25).flat_map(|at| [0, 0x7f, 0x80, 0xff].map(|byte| (at, byte))) {
        let mut bytes = block(truth);
        bytes[at] = byte;
        assert!(
            matches!(Env::parse(&bytes), Err(EnvError::Signature)),
            "byte {at} of the first line"
        );
        count += 1;
    }
    println!("environment: {count} values");
}

/// Returns the values of a little-endian field. `overlap` leads into something else.
fn cases(truth: &[u8], overlap: &[u64]) -> Vec<(String, Vec<u8>)> {
    let len = truth.len();
    let bits = len as u32 * 8;
    let number = truth.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let all = u64::MAX >> (64 - bits);
    let fixed = [
        ("wrong".to_owned(), number.wrapping_add(1)),
        ("halved".to_owned(), number / 2),
        ("huge".to_owned(), all >> 1),
        ("all ones".to_owned(), all),
        ("negative-like".to_owned(), number | 1 << (bits - 1)),
        ("missing".to_owned(), 0),
    ];
    let overlaps = overlap.iter().map(|to| (format!("overlapping {to:#x}"), *to));
    let to_bytes =
        |(case, value): (String, u64)| (case, (value & all).to_le_bytes()[..len].to_vec());
    fixed.into_iter().chain(overlaps).map(to_bytes).filter(|(_, value)| value != truth).collect()
}

/// A FAT with both copies and a script, and the places of its parts.
struct Esp {
    width: u8,
    image: Vec<u8>,
    script: Vec<u8>,
}

impl Esp {
    fn new(width: u8, kib: usize) -> Self {
        let good = block(BootState::factory());
        let script = b"if [ x = y ]; then\n  load_env\nfi\n".repeat(60);
        let files: [(&str, &[u8]); 4] = [
            ("grub.cfg", &script),
            ("grubenv", &good),
            ("between", &[7; 3000]),
            ("grubenv.bak", &good),
        ];
        Self { width, image: fat(width, kib, 512, &files), script }
    }

    fn entry(&self, name: &[u8; 11]) -> usize {
        self.image.windows(11).position(|window| window == name).unwrap()
    }

    fn cluster(&self, name: &[u8; 11]) -> u64 {
        let entry = self.entry(name);
        u64::from(u16::from_le_bytes(self.image[entry + 26..entry + 28].try_into().unwrap()))
    }

    /// Returns where the table's entry of a cluster lies (FAT16 and FAT32).
    fn table_entry(&self, cluster: u64) -> Range<usize> {
        let reserved = usize::from(u16::from_le_bytes([self.image[14], self.image[15]]));
        let len = usize::from(self.width / 8);
        let at = reserved * 512 + cluster as usize * len;
        at..at + len
    }

    /// Returns where both copies lie. It finds them by their content, which stands twice.
    fn copies(&self) -> Vec<Range<usize>> {
        let block = block(BootState::factory());
        let found = (0..self.image.len())
            .step_by(512)
            .filter(|at| self.image[*at..].starts_with(&block[..512]));
        found.map(|at| at..at + Env::SIZE).collect()
    }

    fn rows(&self) -> Vec<(String, Range<usize>, Vec<u64>)> {
        let (main, bak) = (self.entry(b"GRUBENV    "), self.entry(b"GRUBENV BAK"));
        let dir = self.entry(b"GRUB       ");
        let [script, main_cluster, bak_cluster, dir_cluster] =
            [b"GRUB    CFG", b"GRUBENV    ", b"GRUBENV BAK", b"GRUB       "]
                .map(|name| self.cluster(name));
        let others = vec![script, script + 1, dir_cluster, main_cluster, bak_cluster, 2];
        let mut rows = Vec::new();
        let mut put = |name: &str, at: Range<usize>, overlap: Vec<u64>| {
            rows.push((name.to_owned(), at, overlap))
        };
        put("boot sector: bytes a sector", 11..13, vec![1024, 4096]);
        put("boot sector: sectors a cluster", 13..14, vec![2, 3, 64]);
        put("boot sector: reserved sectors", 14..16, vec![64]);
        put("boot sector: FATs", 16..17, vec![3]);
        put("boot sector: root entries", 17..19, vec![16]);
        put("boot sector: sectors (16)", 19..21, vec![4085]);
        put("boot sector: sectors a FAT (16)", 22..24, vec![2]);
        put("boot sector: sectors (32)", 32..36, vec![65_525]);
        put("boot sector: signature", 510..512, vec![0x55]);
        if self.width == 32 {
            put("boot sector: sectors a FAT (32)", 36..40, vec![2]);
            put("boot sector: root cluster", 44..48, others.clone());
        }
        for (name, at) in [("folder", dir), ("grubenv", main), ("grubenv.bak", bak)] {
            put(&format!("{name}: name"), at..at + 8, vec![0xe5]);
            put(&format!("{name}: attributes"), at + 11..at + 12, vec![0x0f, 0x10, 0x20]);
            put(&format!("{name}: cluster, high"), at + 20..at + 22, vec![script]);
            put(&format!("{name}: cluster, low"), at + 26..at + 28, others.clone());
            put(&format!("{name}: size"), at + 28..at + 32, vec![512, 1023, 1025]);
        }
        // The values are free, reserved, bad, a loop, and into other chains.
        for (name, cluster) in
            [("folder", dir_cluster), ("grubenv", main_cluster), ("grubenv.bak", bak_cluster)]
        {
            let mut values = others.clone();
            values.extend([1, 0xfff7, 0x0fff_fff7, cluster]);
            put(&format!("chain of {name}"), self.table_entry(cluster), values);
        }
        rows
    }
}

#[test]
fn no_field_of_the_fat_leads_a_write_to_another_file() {
    let truth = BootState::factory();
    let mut new = truth;
    new.b.ok = true;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for esp in [Esp::new(16, 8192), Esp::new(32, 40_000)] {
        let copies = esp.copies();
        assert_eq!(copies.len(), 2);
        for (field, at, overlap) in esp.rows() {
            // Each value takes 40 MB. So of a FAT32 only those fields are tried that a FAT16 does
            // not have.
            if esp.width == 32
                && !["(32)", "root cluster", "high", "chain of grubenv"]
                    .iter()
                    .any(|part| field.ends_with(part))
            {
                continue;
            }
            for (case, value) in cases(&esp.image[at.clone()], &overlap) {
                let what = format!("FAT{}, {field}, {case}", esp.width);
                let mut image = esp.image.clone();
                image[at.clone()].copy_from_slice(&value);
                let store = match EnvStore::open(MemoryDisk::new(image.clone())) {
                    Ok(store) => store,
                    Err(error) => {
                        assert!(matches!(error, EnvError::Fat(_)), "{what}: {error}");
                        *counts.entry("refused: no FAT").or_default() += 1;
                        continue;
                    }
                };
                let loaded = store.load().unwrap();
                // The state is the truth from one of the copies. When no way leads to either copy,
                // it is what a lost environment means.
                let expected = if loaded.copy.is_some() { truth } else { BootState::unknown() };
                assert_eq!(loaded.state(), expected, "{what}");
                assert!(loaded.copy == Some(Copy::Main) || !loaded.damage.is_empty(), "{what}");
                let fate = match (loaded.copy, loaded.damage.is_empty()) {
                    (Some(_), true) => "harmless: both copies are found",
                    (Some(_), false) => "damage: named, the other copy is used",
                    (None, _) => "damage: named, no copy is found",
                };
                *counts.entry(fate).or_default() += 1;
                let mut env = loaded.env.clone();
                new.apply_to(&mut env);
                let stored = store.store(&env);
                if loaded.damage.is_empty() {
                    stored.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(store.load().unwrap().state(), new, "{what}");
                }
                let after = store.into_disk().bytes();
                let sectors = image.chunks(512).zip(after.chunks(512)).enumerate();
                for (sector, (old, _)) in sectors.filter(|(_, (old, now))| old != now) {
                    // A wrong size of clusters leads to a place where nothing is.
                    let blank = old == [0; 512];
                    let ours = copies.iter().any(|copy| copy.contains(&(sector * 512)));
                    assert!(blank || ours, "{what}: sector {sector} was written to");
                }
                // The boot sector is another matter: a reader that believes a wrong one finds no
                // grub.cfg to boot with.
                if !field.starts_with("boot sector") && !field.contains("folder") {
                    let store = EnvStore::open(MemoryDisk::new(image)).unwrap();
                    store.heal(&env).unwrap_or_else(|error| panic!("{what}: {error}"));
                    let healed = store.load().unwrap();
                    assert_eq!((healed.state(), healed.damage), (new, vec![]), "{what}");
                    let after = store.into_disk().bytes();
                    let script = &esp.script[..512];
                    let found = (0..after.len())
                        .step_by(512)
                        .find(|at| after[*at..].starts_with(script))
                        .unwrap();
                    assert!(
                        after[found..].starts_with(&esp.script),
                        "{what}: grub.cfg was written to"
                    );
                }
            }
        }
    }
    for (fate, count) in &counts {
        println!("FAT: {count} values {fate}");
    }
    println!("{} values in all", counts.values().sum::<usize>());
}
