//! Whatever happens to a bundle on its way, it is refused before any of it is used.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bundle::BundleError;
use sample::{Parts, accept, keyring, open, small};

/// Flips bit `bit` of the file. A program that has the file open is not told.
fn flip(file: &File, bit: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

/// Flips every bit in `bytes` of the bundle, one at a time, and opens the bundle anew.
fn every_bit_is_refused(path: &Path, bytes: std::ops::Range<u64>, trusted: &bundle::Keyring) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    for bit in bytes.start * 8..bytes.end * 8 {
        flip(&file, bit);
        let refusal = accept(path, trusted).expect_err(&format!("bit {bit} flipped"));
        assert!([10, 11, 12, 16].contains(&refusal.exit_code()), "bit {bit}: {refusal}");
        flip(&file, bit);
    }
    accept(path, trusted).unwrap();
}

#[test]
fn any_flipped_bit_of_the_tail_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1, 2]);
    let size = path.metadata().unwrap().len();
    let tail = Parts::of(&std::fs::read(&path).unwrap()).squashfs.len() as u64;
    // The reader does not know key 2. It must still notice damage to that key's signature.
    every_bit_is_refused(&path, tail..size, &keyring(&[1], 1));
}

#[test]
fn any_flipped_bit_of_the_payload_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1]);
    let tail = Parts::of(&std::fs::read(&path).unwrap()).squashfs.len() as u64;
    let verified = open(&path, &keyring(&[1], 1)).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut chunk = Vec::new();
    for bit in 0..tail * 8 {
        flip(&file, bit);
        let refusal =
            verified.verify_payload(&mut |_| ()).expect_err(&format!("bit {bit} flipped"));
        assert_eq!(refusal.exit_code(), 12, "bit {bit}: {refusal}");
        for name in ["boot", "root"].into_iter().filter(|_| bit % 8 == 0) {
            let image = verified.manifest().image(name).unwrap();
            let hit = (image.offset..image.offset + image.size).contains(&(bit / 8));
            assert_eq!(verified.read_chunk(name, 0, &mut chunk).is_err(), hit, "bit {bit}");
            assert_eq!(chunk.is_empty(), hit, "no byte of a bad chunk is handed out");
        }
        flip(&file, bit);
    }
    verified.verify_payload(&mut |_| ()).unwrap();
}

#[test]
fn a_bundle_cut_short_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1]);
    let file = File::options().write(true).open(&path).unwrap();
    let trusted = keyring(&[1], 1);
    for len in (0..path.metadata().unwrap().len()).rev() {
        file.set_len(len).unwrap();
        let refusal = accept(&path, &trusted).expect_err(&format!("{len} bytes left"));
        assert_eq!(refusal.exit_code(), 10, "{len} bytes left: {refusal}");
    }
}

#[test]
fn a_bundle_that_goes_on_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1]);
    let whole = std::fs::read(&path).unwrap();
    let trusted = keyring(&[1], 1);
    for more in 1..=4096 {
        // The fillers are zeros, and a copy of the bundle's own end. With the copy the last bytes
        // are a footer again.
        for filler in [vec![0; more], whole[whole.len() - more..].to_vec()] {
            std::fs::write(&path, [&whole[..], &filler].concat()).unwrap();
            let refusal = accept(&path, &trusted).expect_err(&format!("{more} bytes more"));
            assert_eq!(refusal.exit_code(), 10, "{more} bytes more: {refusal}");
        }
    }
    // Bytes between SquashFS and tail are refused too.
    for more in [1, 72, 4096] {
        let (squashfs, tail) = whole.split_at(16384);
        std::fs::write(&path, [squashfs, &vec![0; more], tail].concat()).unwrap();
        assert_eq!(accept(&path, &trusted).unwrap_err().exit_code(), 10);
    }
}

#[test]
fn a_flip_in_a_large_bundle_is_found_by_both_threads() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample::write(dir.path(), 3 << 20, (5 << 20) + 4096, &[1]);
    let verified = open(&path, &keyring(&[1], 1)).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut last = 0;
    verified.verify_payload(&mut |done| last = done.max(last)).unwrap();
    assert_eq!(last, verified.manifest().bundle.size, "progress ends at the whole");
    for offset in (4096..last).step_by(98_304).chain([last - 1]) {
        flip(&file, offset * 8 + 3);
        assert_eq!(
            verified.verify_payload(&mut |_| ()).unwrap_err().exit_code(),
            12,
            "byte {offset}"
        );
        flip(&file, offset * 8 + 3);
    }
}

#[test]
fn only_trusted_keys_and_enough_of_them_open_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1, 2]);
    let refusal =
        |seeds: &[u8], threshold| open(&path, &keyring(seeds, threshold)).map(|_| ()).unwrap_err();
    assert!(matches!(refusal(&[3], 1), BundleError::Stranger(keys) if keys.len() == 2));
    assert!(matches!(refusal(&[1, 3], 2), BundleError::Threshold { have: 1, need: 2 }));
    assert!(matches!(refusal(&[1, 2, 3], 3), BundleError::Threshold { have: 2, need: 3 }));
    assert_eq!(refusal(&[3], 1).exit_code(), 11);
    assert_eq!(refusal(&[1, 3], 2).exit_code(), 11);
    assert_eq!(open(&path, &keyring(&[1, 2, 3], 2)).unwrap().signers().len(), 2);
    assert_eq!(open(&path, &keyring(&[2], 1)).unwrap().signers(), [sample::key(2).public().id()]);
}

#[test]
fn a_signature_that_is_missing_moved_or_forged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = small(dir.path(), &[1]);
    let parts = Parts::of(&std::fs::read(&path).unwrap());
    let verdict = |parts: &Parts, trusted: &[u8], threshold| {
        std::fs::write(&path, parts.file(|_| ())).unwrap();
        accept(&path, &keyring(trusted, threshold))
    };
    verdict(&parts, &[1], 1).expect("taken apart and put together it is the same bundle");

    let none = Parts { signatures: vec![], ..parts.clone() };
    assert!(matches!(verdict(&none, &[1], 1), Err(BundleError::NotSigned)));

    let other = Parts { manifest: parts.manifest.replace("1.2.3", "9.9.9"), ..parts.clone() };
    assert!(matches!(verdict(&other, &[1], 1), Err(BundleError::BadSignature(_))));
    verdict(&other.clone().signed_by(&[1]), &[1], 1).unwrap();

    // The signature is a stranger's, under the name of a trusted key.
    let mut forged = parts.clone().signed_by(&[2]);
    forged.signatures[..8].copy_from_slice(&sample::key(1).public().id().0);
    assert!(matches!(verdict(&forged, &[1], 1), Err(BundleError::BadSignature(_))));

    // One good signature does not make up for a bad one. The same signature twice does not count as
    // two.
    let mut half = parts.clone().signed_by(&[1, 2]);
    half.signatures[72 + 20] ^= 1;
    assert!(matches!(verdict(&half, &[1, 2], 1), Err(BundleError::BadSignature(_))));
    let twice = Parts { signatures: parts.signatures.repeat(2), ..parts.clone() };
    assert!(matches!(verdict(&twice, &[1, 2], 2), Err(BundleError::Torn(_))));
    let mut swapped = parts.clone().signed_by(&[1, 2]);
    swapped.signatures.rotate_left(72);
    assert!(matches!(verdict(&swapped, &[1, 2], 2), Err(BundleError::Torn(_))));

    // The signature is over the manifest without the line that says what it is.
    use ed25519_dalek::Signer;
    let bare = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).sign(parts.manifest.as_bytes());
    let mut plain = parts.clone();
    plain.signatures[8..].copy_from_slice(&bare.to_bytes());
    assert!(matches!(verdict(&plain, &[1], 1), Err(BundleError::BadSignature(_))));

    // Sixteen signatures are the limit.
    let many: Vec<u8> = (1..=16).collect();
    verdict(&parts.clone().signed_by(&many), &many, 16).unwrap();
    let many: Vec<u8> = (1..=17).collect();
    assert!(matches!(verdict(&parts.signed_by(&many), &many, 1), Err(BundleError::Torn(_))));
}
