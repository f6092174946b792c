//! Groups of neighbouring blocks with the same fate, and the records that they become.
//!
//! `blocks` finds the blocks, and `mix` makes the differences. A group has a size limit, so a
//! device needs little memory.

use anyhow::Result;
use bundle::Sha256;
use bundle::delta::{Output, Patch, Record, limits};
use image_layout::Disk;

use crate::host::processors;
use crate::host::progress::Progress;
use crate::release::delta::again::PackedAgain;
use crate::release::delta::blocks::{Block, Kind, OldBlocks, content};
use crate::release::delta::mix::mix;
use crate::release::part::Part;

/// Neighbouring blocks of a new image.
#[derive(Debug)]
pub(crate) struct Group {
    offset: u64,
    /// Length in the image, in bytes.
    len: u64,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    /// The old images have the same bytes, at this image and offset.
    Copy(u8, u64),
    /// Blocks that are made from old blocks, each with its length in the image.
    Patch(Vec<(Block, Output)>),
    Literal,
    Tree,
}

/// A record, its length in the delta, and the number of image bytes that it makes.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) record: Record,
    pub(crate) packed: Vec<u8>,
    pub(crate) made: u64,
}

impl Group {
    /// Returns the length of the group in the image, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }

    /// Puts `blocks` into groups. `again` packs blocks as a device will, and counts what it costs.
    pub(crate) fn form(
        image: &Part,
        blocks: Vec<Block>,
        old: &OldBlocks,
        again: &mut PackedAgain,
    ) -> Result<Vec<Self>> {
        let progress = Progress::bytes("Looking at the new blocks", image.size()?);
        let mut groups: Vec<Self> = Vec::new();
        // Bytes of content in the current group.
        let mut taken = 0;
        for block in blocks {
            let bytes = block.read(image)?;
            progress.advance(bytes.len() as u64);
            let fate = match old.places.get(&Sha256::of(&bytes)) {
                Some(&(image, offset)) => Fate::Copy(image, offset),
                None if block.kind == Kind::Tree => Fate::Tree,
                None => {
                    let (content, is_packed) = content(bytes.clone());
                    match again.packing(&content, is_packed.then_some(&*bytes))? {
                        Some(packing) => {
                            let len = content.len() as u32; // at most 1 MiB
                            Fate::Patch(vec![(block, Output { len, packing })])
                        }
                        None => Fate::Literal,
                    }
                }
            };
            let len = u64::from(block.len);
            match (groups.last_mut().map(|group| (&mut group.fate, &mut group.len)), fate) {
                (Some((Fate::Copy(image, offset), group_len)), Fate::Copy(next_image, next))
                    if next_image == *image && next == *offset + *group_len =>
                {
                    *group_len += len;
                }
                (Some((Fate::Literal, group_len)), Fate::Literal)
                    if *group_len + len <= u64::from(limits::LITERAL) =>
                {
                    *group_len += len;
                }
                (Some((Fate::Patch(members), group_len)), Fate::Patch(new))
                    if taken + new[0].1.len as usize <= limits::CONTENT =>
                {
                    taken += new[0].1.len as usize;
                    *group_len += len;
                    members.extend(new);
                }
                (_, fate) => {
                    if let Fate::Patch(new) = &fate {
                        taken = new[0].1.len as usize;
                    }
                    groups.push(Self { offset: block.offset, len, fate });
                }
            }
        }
        progress.done(&format!("{} groups", groups.len()));
        Ok(groups)
    }

    /// Returns the records of the group.
    fn steps(&self, image: &Part, old_images: &[Part; 2], old: &OldBlocks) -> Result<Vec<Step>> {
        let step = |record: Record, made| -> Result<Step> {
            let packed = record.encode()?;
            Ok(Step { record, packed, made })
        };
        let literals = || -> Result<Vec<Step>> {
            let mut steps = Vec::new();
            let mut offset = self.offset;
            while offset < self.offset + self.len {
                let len = (self.offset + self.len - offset).min(u64::from(limits::LITERAL));
                let mut bytes = vec![0; len as usize]; // at most 1 MiB
                image.read_at(&mut bytes, offset)?;
                steps.push(step(Record::Literal(bytes), len)?);
                offset += len;
            }
            Ok(steps)
        };
        match &self.fate {
            Fate::Copy(image, offset) => Ok(vec![step(
                Record::Copy { image: *image, offset: *offset, len: self.len },
                self.len,
            )?]),
            Fate::Tree => Ok(vec![step(Record::Tree, self.len)?]),
            Fate::Literal => literals(),
            Fate::Patch(members) => {
                let literals = literals()?;
                let Some(patch) = patch(members, image, old_images, old)? else {
                    return Ok(literals);
                };
                let patch = step(Record::Patch(patch), self.len)?;
                let whole: usize = literals.iter().map(|step| step.packed.len()).sum();
                Ok(if patch.packed.len() < whole { vec![patch] } else { literals })
            }
        }
    }
}

/// Returns the record that makes `members` from old blocks. `None`: no old blocks are like them.
fn patch(
    members: &[(Block, Output)],
    image: &Part,
    old_images: &[Part; 2],
    old: &OldBlocks,
) -> Result<Option<Patch>> {
    let mut new = Vec::new();
    for (block, _) in members {
        new.extend(content(block.read(image)?).0);
    }
    let chosen = old
        .similar
        .choose(&new, limits::DICTIONARY, |block| old.sources[block as usize].len as usize);
    if chosen.is_empty() {
        return Ok(None);
    }
    let dictionary: Vec<_> = chosen.iter().map(|block| old.sources[*block as usize]).collect();
    let mut bytes = Vec::new();
    for source in &dictionary {
        let block = Block { offset: source.offset, len: source.packed, kind: Kind::Data };
        bytes.extend(content(block.read(&old_images[usize::from(source.image)])?).0);
    }
    let mix = mix(&bytes, &new)?.pack()?;
    let outputs = members.iter().map(|(_, output)| *output).collect();
    Ok(Some(Patch { dictionary, mix, outputs }))
}

/// Makes the records of all groups on all processors. Returns them in the order of the groups.
pub(crate) fn encode(
    groups: &[Group],
    image: &Part,
    old_images: &[Part; 2],
    old: &OldBlocks,
    progress: &Progress,
) -> Result<Vec<Vec<Step>>> {
    processors::map(groups, |group| {
        let steps = group.steps(image, old_images, old)?;
        progress.advance(group.len);
        Ok(steps)
    })
}
