//! The sectors of the partitions, as parted chooses them for the same text without alignment.
//!
//! `offset` reads the positions. mod.rs keeps what comes out.
//!
//! parted takes `64MiB` and `2048s` exactly. It may move `64MB` and `50%` by half a unit, so that a
//! partition can begin where the one before it ends. An end in MiB is the first byte behind the
//! partition; any other end is its last sector.

use crate::recipe::action::disk::offset::Position;

/// Sectors of a disk that partitions may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// True for an msdos table of more than four partitions. The fourth and later ones are logical.
    pub(super) logical: bool,
}

/// Where a partition lies.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sectors {
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
    /// Sector of the boot record that describes a logical partition of an msdos table.
    pub record: Option<u64>,
}

/// Returns the sectors of each partition, or the number of a partition and what is wrong with it.
pub(super) fn fit_all(
    ends: &[(Position, Position)],
    room: Room,
) -> Result<Vec<Sectors>, (usize, String)> {
    let mut placed: Vec<Sectors> = Vec::new();
    for (index, (from, to)) in ends.iter().enumerate() {
        let mut first = from.bytes / room.sector;
        let mut last = to.bytes / room.sector;
        if to.exclusive {
            last = last.saturating_sub(1);
        }
        // A position that is written as 0 or 100 % means the whole disk.
        let slack = |position: &Position| position.slack.div_ceil(room.sector).max(1);
        if first < room.first && (from.bytes == 0 || room.first - first <= slack(from)) {
            first = room.first;
        }
        if last > room.last && (to.is_end || last - room.last <= slack(to) && to.slack > 0) {
            last = room.last;
        }
        let is_logical = room.logical && index >= 3;
        for other in &placed {
            let begin = other.record.unwrap_or(other.first);
            if (begin..=other.last).contains(&first) && other.last - first < slack(from) {
                first = other.last + 1;
            }
            if (begin..=other.last).contains(&last) && first < begin && last - begin < slack(to) {
                last = begin - 1;
            }
        }
        let mut record = None;
        if is_logical {
            // The record lies before its partition. Where that sector is taken, the partition gives
            // up its own first one. So it does where parted may move the first logical partition:
            // the extended one then begins at the position itself.
            let taken = |at: u64| placed.iter().any(|p| (p.first..=p.last).contains(&at));
            let moves = index == 3 && slack(from) > 1;
            if first > room.first && !taken(first - 1) && !moves {
                record = Some(first - 1);
            } else {
                record = Some(first);
                first += 1;
            }
        }
        if first > last {
            return Err((index, "has no room".to_owned()));
        }
        if first < room.first || last > room.last {
            return Err((
                index,
                format!(
                    "takes the sectors {first} to {last}, and the table leaves {} to {}",
                    room.first, room.last
                ),
            ));
        }
        let begin = record.unwrap_or(first);
        if placed.iter().any(|p| begin <= p.last && p.record.unwrap_or(p.first) <= last) {
            return Err((index, "overlaps another one by a sector".to_owned()));
        }
        if is_logical && placed.last().is_some_and(|before| index > 3 && before.last > first) {
            return Err((index, "is logical, so it must come after the one before it".to_owned()));
        }
        placed.push(Sectors { first, last, record });
    }
    // The extended partition reaches from the first logical one to the end of the last.
    if let Some(logical) = placed.get(3).filter(|_| room.logical) {
        let begin = logical.record.unwrap_or(logical.first);
        if placed[..3].iter().any(|primary| primary.last > begin) {
            return Err((3, "is logical, so it must come after the three primary ones".to_owned()));
        }
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::action::disk::offset::position;

    fn sectors(list: &[(&str, &str)], room: Room) -> Result<Vec<(u64, u64)>, (usize, String)> {
        let disk = (room.last + 34) * room.sector;
        let ends: Vec<_> = list
            .iter()
            .map(|(from, to)| {
                let read = |text: &str| position(text, disk, room.sector).unwrap();
                (read(from), read(to))
            })
            .collect();
        Ok(fit_all(&ends, room)?.iter().map(|place| (place.first, place.last)).collect())
    }

    const GPT: Room = Room { first: 34, last: 3_906_216, sector: 512, logical: false };

    #[test]
    fn ends_are_inclusive_but_not_those_in_mib() {
        for (from, to, wanted) in [
            ("1MiB", "128MiB", (2048, 262_143)),
            ("2048s", "4095s", (2048, 4095)),
            ("0%", "100%", (34, 3_906_216)),
            ("1MB", "65MB", (1953, 126_953)),
            ("-16MiB", "100%", (3_873_482, 3_906_216)),
        ] {
            assert_eq!(sectors(&[(from, to)], GPT), Ok(vec![wanted]), "{from} {to}");
        }
    }

    #[test]
    fn a_coarse_position_gives_way_to_the_partition_before_it() {
        let both = sectors(&[("1MB", "65MB"), ("65MB", "50%")], GPT).unwrap();
        assert_eq!(both[1].0, both[0].1 + 1);
        let wrong = sectors(&[("2048s", "4096s"), ("4096s", "5000s")], GPT).unwrap();
        assert_eq!(wrong[1].0, 4097);
    }

    #[test]
    fn a_logical_partition_has_its_record_before_it() {
        let room = Room { first: 1, last: 100_000, sector: 512, logical: true };
        let list = ["1MiB", "2MiB", "3MiB", "4MiB", "5MiB", "6MiB"];
        let pairs: Vec<_> = list.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let found = sectors(&pairs, room).unwrap();
        assert_eq!(found[3], (8193, 10_239), "its record lies in its first sector");
        assert_eq!(found[4], (10_241, 12_287));
    }

    #[test]
    fn the_extended_partition_begins_at_a_coarse_position_as_with_debos() {
        let room = Room { first: 1, last: 4_194_303, sector: 512, logical: true };
        let primary = [("1MiB", "64MiB"), ("64MiB", "512MiB"), ("512MiB", "600MB")];
        let list = [&primary[..], &[("671MB", "1074MB"), ("1075MB", "100%")]].concat();
        let found = sectors(&list, room).unwrap();
        assert_eq!(found[3].0, 1_310_547, "1310546 is its record");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let (index, why) = sectors(&[("2048s", "3906249s")], GPT).unwrap_err();
        assert_eq!((index, why.contains("the table leaves 34 to 3906216")), (0, true), "{why}");
        assert!(sectors(&[("16s", "40s")], GPT).is_err());
    }
}
