//! The targets for a SquashFS. `squashfs` is a stored one: the frame of a bundle, or a boot image
//! on a partition. `unpack` is a packed one: the root image that `size`, `diff` and `verify` read.
//!
//! `sparse` makes the disk, and `lib` lists the targets with their limits. Anything may have been
//! written to such a partition, and a stranger may have made such an image.

use bundle::{Chunk, SlotChunks, StoredSquashfs, limits};
use bundler::squash::{self, Unpacked};
use bundler::tree::Kind;
use image_layout::Disk;

use crate::sparse::Sparse;

/// The input is a [`Sparse`] disk.
pub(crate) fn squashfs(input: &[u8]) {
    let Some(disk) = Sparse::decode(input, 1 << 26, 2000) else { return };
    let files = match StoredSquashfs::list(&disk) {
        Ok(files) => files,
        Err(error) => {
            return assert_eq!(
                error.exit_code(),
                if error_is_io(&error) { 1 } else { 12 },
                "{error}"
            );
        }
    };
    assert!(files.len() <= limits::FILES);
    let mut free = limits::BLOCK;
    for file in &files {
        let twins = files.iter().filter(|other| other.name == file.name).count();
        assert_eq!(twins, 1, "two files called {}", file.name);
        if file.size > 0 {
            assert!(file.offset >= free && file.offset.is_multiple_of(limits::BLOCK));
            free = file.offset.checked_add(file.size).unwrap();
            assert!(free <= disk.size().unwrap());
        }
        match StoredSquashfs::read_file(&disk, file.name.as_str()) {
            Ok(content) => assert_eq!(content.len() as u64, file.size),
            Err(_) => assert!(file.size > limits::SMALL_FILE),
        }
    }
    if free <= 1 << 20 {
        // An install would believe these tables of such a slot. They never name more bytes than
        // there are.
        if let Ok(slot) = SlotChunks::read(&disk, 1 << 20) {
            let size =
                |chunks: &[Chunk]| chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
            assert!(size(&slot.boot) <= disk.size().unwrap());
            assert!(slot.root.is_none_or(|root| size(&root) <= 1 << 20));
        }
        is_what_the_writer_writes(&disk, &files);
    }
}

fn error_is_io(error: &bundle::BundleError) -> bool {
    matches!(error, bundle::BundleError::Read { .. })
}

/// Checks that the image is what the writer makes of these files. There is only one such image, so
/// no other reader can see other files in it.
fn is_what_the_writer_writes(disk: &Sparse, files: &[bundle::StoredFile]) {
    let mut free = limits::BLOCK;
    for file in files.iter().filter(|file| file.size > 0) {
        if file.offset != free {
            return; // with gaps, which the writer never leaves
        }
        free = (file.offset + file.size).next_multiple_of(limits::BLOCK);
    }
    let mut writer = StoredSquashfs::new();
    for file in files {
        let mut content = vec![0; file.size as usize];
        disk.read_at(&mut content, if file.size == 0 { 0 } else { file.offset }).unwrap();
        writer.add_bytes(file.name.as_str(), content).unwrap();
    }
    let mut written = Vec::new();
    writer.write(&mut written).unwrap();
    let used = u64::from_le_bytes(written[40..48].try_into().unwrap()) as usize;
    let superblock = |bytes: &[u8]| bytes[..96].to_vec();
    let mut read = vec![0; used];
    disk.read_at(&mut read, 0).unwrap();
    assert_eq!(superblock(&read), superblock(&written), "another superblock was accepted");
    assert!(read[free as usize..] == written[free as usize..used], "other tables were accepted");
}

/// The input is a [`Sparse`] disk.
pub(crate) fn unpack(input: &[u8]) {
    let Some(disk) = Sparse::decode(input, 1 << 18, 20_000) else { return };
    let Unpacked { tree, packed } = match squash::unpack(&disk) {
        Ok(unpacked) => unpacked,
        Err(error) => {
            let text = format!("{error:#}");
            return assert!(!text.contains(char::is_control), "{text:?} moves the cursor");
        }
    };
    for (path, id) in tree.iter() {
        let inode = tree.inode(id);
        if let Some((parent, _)) = path.rsplit_once('/') {
            let parent = tree.get(parent).unwrap();
            assert!(matches!(parent.kind, Kind::Dir), "{path:?} does not lie in a folder");
        }
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        assert!(path.is_empty() || path.split('/').all(plain), "{path:?} leads elsewhere");
        assert!(inode.mode <= 0o7777);
        let is_file = matches!(inode.kind, Kind::File(_));
        assert_eq!(packed.contains_key(&id), is_file, "{path:?}");
        if let Kind::File(content) = &inode.kind
            && content.len() <= 1 << 20
        {
            assert_eq!(content.read().unwrap().len() as u64, content.len(), "{path:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_of_unpack_are_whole_images() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/unpack");
        for (seed, files) in [("seed-packed", 9), ("seed-stored", 7), ("seed-xz", 9)] {
            let input = std::fs::read(format!("{folder}/{seed}")).unwrap();
            let disk = Sparse::decode(&input, 1 << 18, 20_000).unwrap();
            assert_eq!(squash::unpack(&disk).unwrap().tree.iter().count(), files, "{seed}");
        }
    }
}
