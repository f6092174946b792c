//! Targets for the reader of a bundle and of its parts.
//!
//! `tail` makes bundles in memory, and `lib` lists the targets with their limits. No fuzzer guesses
//! a hash, so the targets make hashes and signatures right.

use bundle::{Bundle, Manifest, Sha256, limits};

use crate::is_one_line;
use crate::tail::{self, KEYS, MAGIC, Tail, keyring, seal, sign};

/// The input is 48 bytes of footer and the bytes in front of it.
///
/// Magic and check are made right, because no fuzzer guesses a hash. The file is as long as the
/// footer says.
pub(crate) fn footer(input: &[u8]) {
    let Some((fields, before)) = input.split_first_chunk::<48>() else { return };
    let mut footer = [0; limits::FOOTER];
    footer[..48].copy_from_slice(fields);
    footer[..16].copy_from_slice(MAGIC);
    let u32_at = |at: usize| u32::from_le_bytes(fields[at..at + 4].try_into().unwrap()) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(fields[at..at + 8].try_into().unwrap());
    let block = before.len().checked_sub(u32_at(44)).map_or(before, |at| &before[at..]);
    seal(&mut footer, block);
    let tail = [before, &footer].concat();
    let size = u64_at(24).clamp(tail.len() as u64, 1 << 41);
    match Bundle::read(Tail { size, tail }) {
        Ok(read) => {
            let parts = (u32_at(40) + u32_at(20) + u32_at(44) + limits::FOOTER) as u64;
            assert_eq!((u32_at(16) as u32, u64_at(24)), (limits::FORMAT, size));
            assert_eq!(u64_at(32).checked_add(parts), Some(size), "nothing is left over");
            assert!(parts <= limits::TAIL && u32_at(20) <= limits::MANIFEST);
            assert_eq!(read.signatures().len() * 72 + 4, u32_at(44));
            if let Err(error) = read.claimed_manifest() {
                is_one_line(&error.to_string());
            }
        }
        Err(error) => is_one_line(&error.to_string()),
    }
}

/// The input is the text of a manifest.
pub(crate) fn manifest(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            let again = Manifest::parse(&manifest.to_ini());
            assert_eq!(again.as_ref(), Ok(&manifest), "written and read again it is another");
            assert_eq!(manifest.to_ini(), again.unwrap().to_ini());
            is_inside(&manifest);
        }
        Err(error) => is_one_line(&error.to_string()),
    }
}

/// Checks that no arithmetic of a reader on these numbers can overflow or leave the file.
fn is_inside(manifest: &Manifest) {
    let size = manifest.bundle.size;
    assert!(size <= limits::SQUASHFS && manifest.images.len() <= limits::IMAGES);
    let mut free = limits::BLOCK;
    for image in manifest.images.values() {
        assert!(image.offset >= free && image.size > 0);
        free = image.offset.checked_add(image.size).unwrap();
        assert!(free <= size && (image.offset | image.size).is_multiple_of(limits::BLOCK));
        assert!(image.verity.is_none_or(|verity| verity.size <= image.size));
    }
    assert!(
        manifest.image("boot").is_some()
            && manifest.image("root").is_some_and(|root| root.verity.is_some())
    );
    assert!(manifest.update.min_version.cmp_precedence(&manifest.update.version).is_le());
}

/// The input is the block of signatures of a bundle that is otherwise whole. The first byte chooses
/// the threshold.
pub(crate) fn signatures(input: &[u8]) {
    let Some((choice, block)) = input.split_first() else { return };
    let threshold = 1 + usize::from(choice & 1);
    let (manifest, tables) = (manifest_of(1, &zeros(1), &zeros(1)), [zeros(1), zeros(1)].concat());
    match Bundle::read(tail::bundle(12288, &tables, &manifest, block)) {
        Ok(read) => {
            let entries: Vec<u8> = read
                .signatures()
                .iter()
                .flat_map(|s| [&s.key.0[..], &s.bytes[..]].concat())
                .collect();
            let count = (read.signatures().len() as u32).to_le_bytes();
            assert_eq!([&count[..], &entries].concat(), block, "written back it is what was read");
            assert!(read.signatures().len() <= limits::SIGNATURES);
            match read.verify(&keyring(threshold)) {
                Ok(verified) => {
                    // Only the holder of a key can make its signature. Each of these holders makes
                    // one signature only.
                    let genuine = KEYS.iter().filter(|key| {
                        let signature = key.sign(manifest.as_bytes());
                        let entry = [&signature.key.0[..], &signature.bytes[..]].concat();
                        block[4..].chunks(72).any(|other| other == entry)
                    });
                    assert_eq!(genuine.count(), verified.signers().len());
                    assert!(verified.signers().len() >= threshold);
                }
                Err(error) => assert_eq!(error.exit_code(), 11, "{error}"),
            }
        }
        Err(error) => assert_eq!(error.exit_code(), 10, "{error}"),
    }
}

/// Returns a table of `count` chunks of 4096 zeros.
pub(crate) fn zeros(count: usize) -> Vec<u8> {
    [&4096u32.to_le_bytes()[..], &Sha256::of(&[0; 4096]).0].concat().repeat(count)
}

/// Returns the manifest of a liar who can hash. It names these tables, whatever they hold, and a
/// SquashFS of zeros.
pub(crate) fn manifest_of(blocks: u64, boot: &[u8], root: &[u8]) -> String {
    let frame = Sha256::of(&[0; 4096]);
    let total = |table: &[u8]| -> u64 {
        let len = |entry: &[u8]| u64::from(u32::from_le_bytes(entry[..4].try_into().unwrap()));
        table.chunks_exact(36).map(len).sum::<u64>().next_multiple_of(4096).max(4096)
    };
    let (boot_size, root_size) = (total(boot), total(root));
    let image = |name: &str, offset: u64, size: u64, table: &[u8]| {
        format!(
            "[image.{name}]\nfilename={name}.img\noffset={offset}\nsize={size}\n\
             sha256={frame}\nchunks={}\nchunks-sha256={}\n",
            table.len() / 36,
            Sha256::of(table)
        )
    };
    format!(
        "[update]\ncompatible=router\nversion=1.0.0\nbuild=b\n[bundle]\nformat=1\nsize={}\n\
         frame-sha256={frame}\n{}{}\
         verity-hash={frame}\nverity-salt={frame}\nverity-size=4096\n",
        blocks * 4096 + boot_size + root_size,
        image("boot", 4096, boot_size, boot),
        image("root", 4096 + boot_size, root_size, root),
    )
}

/// The input is the entry at which the second table begins (u16), and the tables of both images.
/// The manifest agrees with the tables as far as it can.
pub(crate) fn chunk_table(input: &[u8]) {
    let Some((border, tables)) = input.split_first_chunk() else { return };
    let border = usize::from(u16::from_le_bytes(*border)).min(tables.len() / 36) * 36;
    let (boot, root) = tables.split_at(border);
    let manifest = manifest_of(1, boot, root);
    let Ok(claim) = Manifest::parse(&manifest) else { return };
    let squashfs = claim.bundle.size;
    let file = tail::bundle(squashfs, tables, &manifest, &sign(manifest.as_bytes(), &[&KEYS[0]]));
    match Bundle::open(file, &keyring(1)) {
        Ok(verified) => {
            let mut written = Vec::new();
            for (name, image) in &verified.manifest().images {
                let mut free = 0;
                for (index, chunk) in verified.chunks(name.as_str()).iter().enumerate() {
                    assert_eq!(chunk.offset, free, "no gap and no overlap");
                    assert!((1..=limits::CHUNK).contains(&chunk.len));
                    free += u64::from(chunk.len);
                    written.extend(chunk.len.to_le_bytes());
                    written.extend(chunk.sha256.0);
                    if index < 2 {
                        let mut bytes = vec![7];
                        let read = verified.read_chunk(name.as_str(), index, &mut bytes);
                        assert_eq!(bytes.len(), if read.is_ok() { chunk.len as usize } else { 0 });
                    }
                }
                assert_eq!(free, image.size, "the chunks are the image");
            }
            assert_eq!(written, tables, "written back it is what was read");
            if squashfs <= 1 << 20 {
                let _ = verified.verify_payload(&mut |_| ());
            }
        }
        // Bytes behind the last whole entry are in the hash, but not in the table.
        Err(error) => {
            assert!(
                matches!((error.exit_code(), tables.len() % 36), (16, _) | (12, 1..)),
                "{error}"
            )
        }
    }
}

/// The input is a whole file. If the first byte is odd, a lying signer signs its manifest and
/// computes its check.
pub(crate) fn bundle(input: &[u8]) {
    let Some((choice, file)) = input.split_first() else { return };
    let mut file = file.to_vec();
    if choice & 1 == 1 {
        file = signed_again(&file).unwrap_or(file);
    }
    let size = file.len() as u64;
    match Bundle::open(Tail { size, tail: file }, &keyring(1)) {
        Ok(verified) => {
            is_inside(verified.manifest());
            let whole = verified.verify_payload(&mut |done| assert!(done <= size)).is_ok();
            let images = verified.verify_images();
            let mut bytes = Vec::new();
            for (name, image) in &verified.manifest().images {
                for (index, chunk) in verified.chunks(name.as_str()).iter().enumerate() {
                    let read = verified.read_chunk(name.as_str(), index, &mut bytes);
                    assert!(
                        read.is_ok() || (!whole && bytes.is_empty()),
                        "a bad byte was handed out"
                    );
                    assert!(chunk.offset + u64::from(chunk.len) <= image.size);
                }
            }
            if let Err(error) = images {
                is_one_line(&error.to_string());
            }
        }
        Err(error) => {
            assert!([10, 11, 12, 16].contains(&error.exit_code()), "{error}");
            is_one_line(&error.to_string());
        }
    }
}

/// Returns the file with a new signature of its manifest, if its footer leads to a manifest.
fn signed_again(file: &[u8]) -> Option<Vec<u8>> {
    let (before, footer) = file.split_last_chunk::<{ limits::FOOTER }>()?;
    let u32_at = |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().unwrap()) as usize;
    let manifest_end = before.len().checked_sub(u32_at(44))?;
    let manifest = &before[manifest_end.checked_sub(u32_at(20))?..manifest_end];
    let block = sign(manifest, &[&KEYS[0]]);
    let mut footer = *footer;
    footer[24..32]
        .copy_from_slice(&((manifest_end + block.len() + limits::FOOTER) as u64).to_le_bytes());
    footer[44..48].copy_from_slice(&(block.len() as u32).to_le_bytes());
    seal(&mut footer, &block);
    Some([&before[..manifest_end], &block, &footer].concat())
}
