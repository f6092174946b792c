//! Long names of a FAT: the entries that stand before the short entry of a file.
//!
//! `esp` and the crate `grub-env` write them, and `grub-env` reads them.
//!
//! The layout follows Microsoft's *FAT32 File System Specification* 1.03, "Long Directory Entries".
//! A name has at most 255 characters of UTF-16, 13 in each entry, the last entry first. Every entry
//! has the checksum of the short name, so an entry that is left over belongs to no file.

/// Bytes of a directory entry.
pub const FAT_ENTRY: usize = 32;
/// Characters of the longest name.
pub const LONGEST_FAT_NAME: usize = 255;
/// Attributes of an entry that holds a part of a long name.
const ATTRIBUTES: u8 = 0x0f;
/// The bits of the attributes that count.
const ATTRIBUTES_MASK: u8 = 0x3f;
/// Marks the entry with the end of the name, which comes first.
const LAST: u8 = 0x40;
/// Places of the 13 characters in an entry.
const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Returns the short name that goes with a long one: eight hexadecimal digits, and up to three
/// letters of the ending. `salt` gives another name where the first one is taken.
#[must_use]
pub fn short_alias(name: &str, salt: u32) -> [u8; 11] {
    let mut short = [b' '; 11];
    let digits = fnv1a(name.as_bytes()).wrapping_add(salt);
    short[..8].copy_from_slice(format!("{digits:08X}").as_bytes());
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let letters = ending.bytes().filter(u8::is_ascii_alphanumeric);
    short[8..].iter_mut().zip(letters).for_each(|(place, byte)| *place = byte.to_ascii_uppercase());
    short
}

/// Returns the entries that give a short entry its long name, in the order of the folder.
#[must_use]
pub fn long_name_entries(name: &str, short: &[u8; 11]) -> Vec<[u8; FAT_ENTRY]> {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(PLACES.len());
    if units.len() < count * PLACES.len() {
        units.push(0);
        units.resize(count * PLACES.len(), 0xffff);
    }
    let entry = |(index, part): (usize, &[u16])| {
        let mut bytes = [0; FAT_ENTRY];
        let number = index + 1;
        bytes[0] = number as u8 | if number == count { LAST } else { 0 };
        bytes[11] = ATTRIBUTES;
        bytes[13] = checksum(short);
        for (place, unit) in PLACES.iter().zip(part) {
            bytes[*place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    };
    units.chunks(PLACES.len()).enumerate().map(entry).rev().collect()
}

/// Puts a long name together from its entries, as they come.
#[derive(Clone, Debug, Default)]
pub struct LongName {
    /// The parts so far, the end of the name first.
    parts: Vec<[u16; PLACES.len()]>,
    /// The number that the next entry must have. 0: the short entry comes next.
    next: u8,
    checksum: u8,
}

impl LongName {
    /// Returns true if an entry holds a part of a long name.
    #[must_use]
    pub fn is_part(entry: &[u8; FAT_ENTRY]) -> bool {
        entry[11] & ATTRIBUTES_MASK == ATTRIBUTES
    }

    /// Takes an entry. Returns false if it holds no part of a long name.
    pub fn take(&mut self, entry: &[u8; FAT_ENTRY]) -> bool {
        if !Self::is_part(entry) {
            return false;
        }
        let number = entry[0] & !LAST;
        if entry[0] & LAST != 0 {
            *self = Self { parts: Vec::new(), next: number, checksum: entry[13] };
        }
        let fits = number == self.next && entry[13] == self.checksum;
        if !fits || number == 0 || usize::from(number) > LONGEST_FAT_NAME.div_ceil(PLACES.len()) {
            *self = Self::default();
            return true;
        }
        self.parts.push(PLACES.map(|place| u16::from_le_bytes([entry[place], entry[place + 1]])));
        self.next = number - 1;
        true
    }

    /// Returns the long name of a short entry, and the number of its entries. None: it has none.
    /// The next name then begins anew. Text that is no UTF-16 becomes U+FFFD.
    pub fn end(&mut self, short: &[u8; 11]) -> Option<(String, usize)> {
        let Self { parts, next, checksum: expected } = std::mem::take(self);
        if parts.is_empty() || next != 0 || expected != checksum(short) {
            return None;
        }
        let units = parts.iter().rev().flatten().copied().take_while(|unit| *unit != 0);
        let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        Some((text.collect(), parts.len()))
    }
}

/// FNV-1a, 32 bits: a CRC-32 would bring its tables, 20 kB, into the agent.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[[u8; FAT_ENTRY]], short: &[u8; 11]) -> Option<(String, usize)> {
        let mut name = LongName::default();
        assert!(entries.iter().all(|entry| name.take(entry)));
        name.end(short)
    }

    #[test]
    fn a_name_of_any_length_is_read_as_it_was_written() {
        for length in [1, 12, 13, 14, 26, 250, LONGEST_FAT_NAME] {
            let name: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            let short = short_alias(&name, 0);
            let entries = long_name_entries(&name, &short);
            assert_eq!(read(&entries, &short), Some((name, length.div_ceil(13))));
        }
    }

    #[test]
    fn entries_that_are_left_over_belong_to_no_file() {
        let name = "ssh.authorized_keys.root.cred";
        let short = short_alias(name, 0);
        assert_eq!(&short[8..], b"CRE");
        assert_ne!(short, short_alias(name, 1));
        let entries = long_name_entries(name, &short);
        assert_eq!(read(&entries, &short_alias(name, 1)), None, "another file's");
        assert_eq!(read(&entries[1..], &short), None, "without its end");
        assert_eq!(read(&entries[..2], &short), None, "without its start");
        let twice = [&entries[..1], &entries].concat();
        assert_eq!(read(&twice, &short).unwrap().0, name, "a new name begins");
        let mut hostile = entries[0];
        hostile[0] = LAST | 0x3f;
        assert_eq!(read(&[hostile], &short), None, "longer than a name can be");
        assert!(!LongName::default().take(&[b' '; FAT_ENTRY]));
    }
}
