//! Reads what a kernel module says about itself in the section `.modinfo` of its ELF file.
//!
//! `take` and `firmware` decide what follows from it. The caller unpacks the module first.

/// The modules that this module needs (`depends=`) and that it would like (`softdep=`), and its
/// firmware (`firmware=`).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ModInfo {
    /// Names of needed modules, with `_`.
    pub depends: Vec<String>,
    /// Names of modules that may be missing, with `_`.
    pub soft: Vec<String>,
    /// Files below the folder of firmware: names, or patterns of fnmatch(3).
    pub firmware: Vec<String>,
}

impl ModInfo {
    /// Reads an unpacked module. `None`: the file is not a 64-bit little-endian ELF file with that
    /// section.
    #[must_use]
    pub fn parse(elf: &[u8]) -> Option<Self> {
        let mut info = Self::default();
        for record in section(elf, b".modinfo")?.split(|byte| *byte == 0) {
            let Ok(record) = std::str::from_utf8(record) else { continue };
            if let Some(names) = record.strip_prefix("depends=") {
                info.depends.extend(names.split(',').filter(|name| !name.is_empty()).map(normal));
            } else if let Some(names) = record.strip_prefix("softdep=") {
                let words = names
                    .split_ascii_whitespace()
                    .filter(|word| !matches!(*word, "pre:" | "post:"));
                info.soft.extend(words.map(normal));
            } else if let Some(name) = record.strip_prefix("firmware=") {
                info.firmware.push(name.to_owned());
            }
        }
        Some(info)
    }
}

/// Returns the name with `_` for `-`, because a module's name may have either.
#[must_use]
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Finds a section in ELF64's section header table (elf(5)). The file header has e_shoff at 0x28,
/// and e_shentsize, e_shnum and e_shstrndx from 0x3a. Each section header has sh_name at 0,
/// sh_offset at 0x18 and sh_size at 0x20.
fn section<'a>(elf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64_at(elf, 0x28)?).ok()?;
    let [entry, count, names] =
        [u16_at(elf, 0x3a)?, u16_at(elf, 0x3c)?, u16_at(elf, 0x3e)?].map(usize::from);
    let header = |index: usize| elf.get(table + index * entry..table + (index + 1) * entry);
    let content = |header: &[u8]| {
        let (start, size) = (
            usize::try_from(u64_at(header, 0x18)?).ok()?,
            usize::try_from(u64_at(header, 0x20)?).ok()?,
        );
        elf.get(start..start.checked_add(size)?)
    };
    let strings = content(header(names)?)?;
    for index in 0..count {
        let header = header(index)?;
        let at = u32::from_le_bytes(header.get(..4)?.try_into().ok()?) as usize;
        if strings.get(at..)?.split(|byte| *byte == 0).next()? == name {
            return content(header);
        }
    }
    None
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
