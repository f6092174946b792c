//! Reads a stored SquashFS: which files it has and where, and small files whole.
//!
//! `squashfs` writes it.
//!
//! This reader takes only the form that [`StoredSquashfs`] writes. The image may be hostile: a slot
//! after a torn write, or a partition of another system. The reader bounds every number before it
//! allocates for it or believes it. At the end it writes the tables anew and compares them. So no
//! field is left in which this reader and the kernel's could see different files.

use image_layout::Disk;

use crate::image::squashfs::{
    self, DATA_BLOCK, FLAGS, METADATA_BLOCK, NONE, STORED_DATA, STORED_METADATA, TYPE_DIR,
    TYPE_FILE, TYPE_LONG_FILE,
};
use crate::value::limits;
use crate::{BundleError, FileName, StoredFile, StoredSquashfs};

impl StoredSquashfs<'_> {
    /// Returns the files of the image at the beginning of `disk`, in the order in which they lie.
    ///
    /// # Errors
    /// The disk cannot be read or holds no stored SquashFS.
    pub fn list(disk: &impl Disk) -> Result<Vec<StoredFile>, BundleError> {
        let Tables { superblock, metadata, inodes, directory, data_end, count } =
            read_tables(disk)?;
        let mut inodes = Fields(&inodes);
        let mut places = Vec::new();
        let mut free = limits::BLOCK;
        for number in 1..=count {
            let (offset, size) = inodes.file(number)?;
            if size > 0 {
                let end = offset.checked_add(size).filter(|end| *end <= data_end);
                let end = end.ok_or_else(|| wrong("a file reaches beyond the data"))?;
                if offset < free || offset % limits::BLOCK != 0 {
                    return Err(wrong("files overlap or are not aligned"));
                }
                free = end;
            }
            places.push((offset, size));
        }
        inodes.header(TYPE_DIR, count + 1)?;
        let _place_and_links: [u8; 8] = inodes.take()?;
        if usize::from(inodes.u16()?) != directory.len() + 3 {
            return Err(wrong("the root folder is not as large as the directory"));
        }
        let mut names: Vec<Option<FileName>> = vec![None; places.len()];
        for (number, name) in Fields(&directory).names()? {
            let place = (number as usize).checked_sub(1).and_then(|index| names.get_mut(index));
            if place.ok_or_else(|| wrong("a name without a file"))?.replace(name).is_some() {
                return Err(wrong("a file with two names"));
            }
        }
        let named = |(name, (offset, size)): (Option<FileName>, (u64, u64))| {
            name.map(|name| StoredFile { name, offset, size })
                .ok_or_else(|| wrong("a file without a name"))
        };
        let files: Vec<StoredFile> =
            names.into_iter().zip(places).map(named).collect::<Result<_, _>>()?;
        let twins = |(index, file): (usize, &StoredFile)| {
            files[..index].iter().any(|f| f.name == file.name)
        };
        if files.iter().enumerate().any(twins)
            || squashfs::metadata(&files)? != (superblock, metadata)
        {
            return Err(wrong("its tables are not those of its files"));
        }
        Ok(files)
    }

    /// Returns the content of file `name`, at most [`limits::SMALL_FILE`] bytes.
    ///
    /// # Errors
    /// The disk cannot be read or holds no stored SquashFS with a file of that name, or the file is
    /// too large.
    pub fn read_file(disk: &impl Disk, name: &str) -> Result<Vec<u8>, BundleError> {
        let files = Self::list(disk)?;
        let file = files.iter().find(|file| file.name.as_str() == name);
        let file = file.ok_or_else(|| BundleError::Squashfs(format!("it has no file {name}")))?;
        if file.size > limits::SMALL_FILE {
            return Err(BundleError::Squashfs(format!("{name} is larger than 1 MiB")));
        }
        let mut content = vec![0; file.size as usize];
        disk.read_at(&mut content, file.offset)
            .map_err(BundleError::read("a file of the image"))?;
        Ok(content)
    }
}

fn wrong(why: &str) -> BundleError {
    BundleError::Squashfs(why.to_owned())
}

/// The content of the metadata blocks.
struct Tables {
    /// The superblock as it was read.
    superblock: [u8; 96],
    /// All tables as they were read.
    metadata: Vec<u8>,
    inodes: Vec<u8>,
    directory: Vec<u8>,
    /// Where the data ends and the metadata begins.
    data_end: u64,
    /// How many files there are.
    count: u32,
}

fn read_tables(disk: &impl Disk) -> Result<Tables, BundleError> {
    let mut superblock = [0; 96];
    let size = disk.size().map_err(BundleError::read("the size of the image"))?;
    if size < limits::BLOCK {
        return Err(wrong("it is smaller than a block"));
    }
    disk.read_at(&mut superblock, 0).map_err(BundleError::read("the superblock of the image"))?;
    let mut fields = Fields(&superblock);
    if &fields.take::<4>()? != b"hsqs" {
        return Err(wrong("it has no SquashFS superblock"));
    }
    let inode_count = fields.u32()?;
    let _time = fields.u32()?;
    let form = (fields.u32()?, fields.u32()?, fields.u16()?, fields.u16()?, fields.u16()?);
    if form != (DATA_BLOCK as u32, 0, 1, DATA_BLOCK.ilog2() as u16, FLAGS) {
        return Err(wrong("it is a SquashFS of another form"));
    }
    if (fields.u16()?, fields.u16()?, fields.u16()?) != (1, 4, 0) {
        return Err(wrong("it has several owners or another version"));
    }
    let _root = fields.u64()?;
    let [used, id_table, xattrs, inode_table, directory_table, fragments, exports] = [
        fields.u64()?,
        fields.u64()?,
        fields.u64()?,
        fields.u64()?,
        fields.u64()?,
        fields.u64()?,
        fields.u64()?,
    ];
    let count = inode_count.checked_sub(1).filter(|count| *count as usize <= limits::FILES);
    let count = count.ok_or_else(|| wrong("it has more files than a stored SquashFS may"))?;
    let in_order = limits::BLOCK <= inode_table
        && inode_table < directory_table
        && directory_table <= id_table
        && id_table.checked_add(8) == Some(used)
        && used <= size
        && used - inode_table <= limits::METADATA;
    if !in_order || [xattrs, exports] != [NONE; 2] {
        return Err(wrong("its tables are out of place or larger than 1 MiB"));
    }
    let mut metadata = vec![0; (used - inode_table) as usize];
    disk.read_at(&mut metadata, inode_table)
        .map_err(BundleError::read("the metadata of the image"))?;
    let (inodes, rest) = metadata.split_at((directory_table - inode_table) as usize);
    // The last 8 bytes say where the block of ids is, and the directory ends there.
    let (rest, ids) = rest.split_at(rest.len() - 8);
    let ids = Fields(ids).u64()?;
    if fragments != ids {
        return Err(wrong("it has fragments"));
    }
    let directory =
        ids.checked_sub(directory_table).and_then(|len| rest.get(..usize::try_from(len).ok()?));
    let directory = directory.ok_or_else(|| wrong("its table of ids is out of place"))?;
    let (inodes, directory) = (content(inodes)?, content(directory)?);
    Ok(Tables { superblock, metadata, inodes, directory, data_end: inode_table, count })
}

/// Returns the content of stored metadata blocks.
fn content(mut blocks: &[u8]) -> Result<Vec<u8>, BundleError> {
    let mut content = Vec::with_capacity(blocks.len());
    while let Some((header, rest)) = blocks.split_first_chunk() {
        let header = u16::from_le_bytes(*header);
        let len = usize::from(header & !STORED_METADATA);
        if header & STORED_METADATA == 0 || len > METADATA_BLOCK || len > rest.len() {
            return Err(wrong("a metadata block is compressed or cut short"));
        }
        content.extend(&rest[..len]);
        blocks = &rest[len..];
    }
    if !blocks.is_empty() {
        return Err(wrong("half a metadata block"));
    }
    Ok(content)
}

/// Little-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let (field, rest) =
            self.0.split_first_chunk().ok_or_else(|| wrong("a table is cut short"))?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, BundleError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, BundleError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BundleError> {
        self.take().map(u64::from_le_bytes)
    }

    fn header(&mut self, kind: u16, number: u32) -> Result<(), BundleError> {
        let found = self.u16()?;
        let _mode_owner_group_time: [u8; 10] = self.take()?;
        if found != kind || self.u32()? != number {
            return Err(wrong("an inode is not what stands in its place"));
        }
        Ok(())
    }

    /// Returns where the file of inode `number` begins, and the file's size.
    fn file(&mut self, number: u32) -> Result<(u64, u64), BundleError> {
        self.header(TYPE_LONG_FILE, number)?;
        let (offset, size) = (self.u64()?, self.u64()?);
        let _holes_links_fragment_xattrs: [u8; 24] = self.take()?;
        let mut rest = size;
        // If the size is larger than the list of blocks, the loop fails at the end of the table.
        // The table is at most 1 MiB.
        while rest > 0 {
            let len = rest.min(DATA_BLOCK);
            if u64::from(self.u32()? ^ STORED_DATA) != len {
                return Err(wrong("a block of data is compressed or has another size"));
            }
            rest -= len;
        }
        Ok((offset, size))
    }

    /// Returns the inode numbers and names of a directory.
    fn names(&mut self) -> Result<Vec<(u32, FileName)>, BundleError> {
        let mut names = Vec::new();
        while !self.0.is_empty() {
            let entries = u64::from(self.u32()?) + 1;
            let _inode_block = self.u32()?;
            let base = self.u32()?;
            for _ in 0..entries {
                let _inode_place = self.u16()?;
                let number = base.wrapping_add_signed(i32::from(i16::from_le_bytes(self.take()?)));
                if self.u16()? != TYPE_FILE {
                    return Err(wrong("something that is not a file"));
                }
                let len = usize::from(self.u16()?) + 1;
                let (name, rest) =
                    self.0.split_at_checked(len).ok_or_else(|| wrong("a name is cut short"))?;
                self.0 = rest;
                let name = str::from_utf8(name).ok().and_then(|name| name.parse().ok());
                names.push((number, name.ok_or_else(|| wrong("a name that no file may have"))?));
            }
        }
        Ok(names)
    }
}
