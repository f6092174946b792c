//! The indexes `modules.*.bin` in one form, whichever release of depmod has written them.
//!
//! `take` runs depmod. kmod 30 and 34 lay out the same index differently, and a bundle must not
//! depend on the build host.
//!
//! An index is a tree of letters. All numbers are big-endian, 32 bits: a magic number, a version,
//! and the offset of the root node. The upper bits of an offset say which parts the node has: the
//! rest of its name up to a NUL; the first and the last letter of its children, and an offset for
//! each letter between them; and the count of its values, each a priority and a text up to a NUL.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HEAD: usize = 12;
const PREFIX: u32 = 1 << 31;
const VALUES: u32 = 1 << 30;
const CHILDREN: u32 = 1 << 29;
const OFFSET: u32 = (1 << 28) - 1;
/// Longest name. A damaged index could lead back to itself.
const LONGEST: usize = 1024;

/// Names with their values: priority and text, in the order in which kmod reads them.
type Entries = BTreeMap<Vec<u8>, Vec<(u32, Vec<u8>)>>;
/// One of them.
type Entry<'a> = (&'a [u8], &'a [(u32, Vec<u8>)]);

/// Returns the index in this program's form. An empty file stays empty: depmod has had nothing to
/// read.
///
/// # Errors
/// It is not an index of this version.
pub(super) fn rewritten(index: &[u8]) -> Result<Vec<u8>> {
    if index.is_empty() {
        return Ok(Vec::new());
    }
    let entries = read(index)?;
    let list: Vec<_> = entries.iter().map(|(name, values)| (&**name, &**values)).collect();
    let mut out = vec![0; HEAD];
    // An index of no names has a root without parts.
    let root = if list.is_empty() { HEAD as u32 } else { write(&list, 0, &mut out)? };
    for (at, number) in [MAGIC, VERSION, root].into_iter().enumerate() {
        out[at * 4..at * 4 + 4].copy_from_slice(&number.to_be_bytes());
    }
    Ok(out)
}

fn read(index: &[u8]) -> Result<Entries> {
    let mut head = index;
    let (magic, version, root) = (number(&mut head)?, number(&mut head)?, number(&mut head)?);
    ensure!(magic == MAGIC && version == VERSION, "an index of modules of another form");
    let mut entries = Entries::new();
    if root & OFFSET != 0 {
        add(index, root, Vec::new(), &mut entries)?;
    }
    Ok(entries)
}

fn add(index: &[u8], offset: u32, mut name: Vec<u8>, entries: &mut Entries) -> Result<()> {
    let mut rest = index.get((offset & OFFSET) as usize..).context("a node beyond its end")?;
    if offset & PREFIX != 0 {
        name.extend(text(&mut rest)?);
    }
    ensure!(name.len() < LONGEST, "a name of more than {LONGEST} bytes");
    if offset & CHILDREN != 0 {
        let (first, last) = (byte(&mut rest)?, byte(&mut rest)?);
        for letter in first..=last {
            let child = number(&mut rest)?;
            if child != 0 {
                let mut name = name.clone();
                name.push(letter);
                add(index, child, name, entries)?;
            }
        }
    }
    if offset & VALUES != 0 {
        let mut values = Vec::new();
        for _ in 0..number(&mut rest)? {
            values.push((number(&mut rest)?, text(&mut rest)?.to_vec()));
        }
        entries.insert(name, values);
    }
    Ok(())
}

fn byte(rest: &mut &[u8]) -> Result<u8> {
    let (&first, after) = rest.split_first().context("it ends early")?;
    *rest = after;
    Ok(first)
}

fn number(rest: &mut &[u8]) -> Result<u32> {
    let (first, after) = rest.split_first_chunk().context("it ends early")?;
    *rest = after;
    Ok(u32::from_be_bytes(*first))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == 0).context("it ends early")?;
    let text = &rest[..end];
    *rest = &rest[end + 1..];
    Ok(text)
}

/// Writes the node of all these names, which are sorted and begin with the same `done` bytes, after
/// its children. Returns its offset.
fn write(list: &[Entry<'_>], done: usize, out: &mut Vec<u8>) -> Result<u32> {
    let (first, last) = (list[0].0, list[list.len() - 1].0);
    // Of sorted names the first and the last have the shortest common beginning.
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let (own, below) = if first.len() == common { list.split_at(1) } else { list.split_at(0) };
    let letter = |(name, _): &Entry<'_>| name[common];
    let mut children = BTreeMap::new();
    for group in below.chunk_by(|a, b| letter(a) == letter(b)) {
        children.insert(letter(&group[0]), write(group, common + 1, out)?);
    }
    let mut offset = u32::try_from(out.len()).ok().filter(|offset| *offset <= OFFSET);
    let offset = offset.as_mut().context("an index of modules of more than 256 MiB")?;
    if common > done {
        *offset |= PREFIX;
        out.extend(&first[done..common]);
        out.push(0);
    }
    if let (Some((&low, _)), Some((&high, _))) =
        (children.first_key_value(), children.last_key_value())
    {
        *offset |= CHILDREN;
        out.extend([low, high]);
        for letter in low..=high {
            out.extend(children.get(&letter).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if let [(_, values)] = own {
        *offset |= VALUES;
        out.extend(u32::try_from(values.len())?.to_be_bytes());
        for (priority, text) in *values {
            out.extend(priority.to_be_bytes());
            out.extend(text);
            out.push(0);
        }
    }
    Ok(*offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_its_names_and_another_layout_gives_the_same_bytes() {
        let mut entries = Entries::new();
        for (name, priority) in [("pci:v1*", 3), ("pci:v1*", 1), ("pci:", 0), ("usb", 2)] {
            let values = entries.entry(name.as_bytes().to_vec()).or_default();
            values.push((priority, format!("module{priority}").into_bytes()));
        }
        let list: Vec<_> = entries.iter().map(|(name, values)| (&**name, &**values)).collect();
        // The root first and its only child behind it, as no function here writes them.
        let mut other = vec![0; HEAD];
        other.extend([0xff; 10]);
        let root = write(&list, 0, &mut other).unwrap();
        for (at, number) in [MAGIC, VERSION, root].into_iter().enumerate() {
            other[at * 4..at * 4 + 4].copy_from_slice(&number.to_be_bytes());
        }
        assert_eq!(read(&other).unwrap(), entries);
        let index = rewritten(&other).unwrap();
        assert_eq!(read(&index).unwrap(), entries);
        assert!(index != other && rewritten(&index).unwrap() == index);
        assert!(rewritten(&[]).unwrap().is_empty());
        for end in 1..index.len() {
            assert!(rewritten(&index[..end]).is_err(), "{end}");
        }
        // A node that is its own child.
        let mut circle = index[..HEAD].to_vec();
        circle[8..].copy_from_slice(&(CHILDREN | 12).to_be_bytes());
        circle.extend([b'a', b'a', 0x20, 0, 0, 12]);
        assert!(rewritten(&circle).is_err());
    }
}
