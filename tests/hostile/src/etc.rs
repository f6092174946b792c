//! Targets for what a device's /etc may hold at the first boot of a new system.
//!
//! `lib` lists the targets with their limits. Persons and programs write these files, and the image
//! brings the policy.

use std::collections::HashSet;

use etc_merge::accounts::{AccountFile, AccountFiles, merge_accounts};
use etc_merge::{Policy, renumbered};

use crate::is_one_line;

/// The input is the account files of the three sides, with `\xff` between them, in the order of
/// [`AccountFile::ALL`] for base, mine and theirs. A file that is left out is not there.
pub(crate) fn accounts(input: &[u8]) {
    let mut texts = input.split(|byte| *byte == 0xff);
    let mut side = || {
        let mut files = AccountFiles::default();
        for file in AccountFile::ALL {
            let text = texts.next().filter(|text| !text.is_empty());
            *files.get_mut(file) = text.map(<[u8]>::to_vec);
        }
        files
    };
    let [base, mine, theirs] = [side(), side(), side()];
    assert_eq!(merge_accounts(&base, &base, &theirs).0, theirs, "mine = base gives theirs");
    assert_eq!(merge_accounts(&base, &mine, &base).0, mine, "theirs = base gives mine");
    let (result, lines) = merge_accounts(&base, &mine, &theirs);
    for line in &lines {
        is_one_line(&line.reason);
        assert!(line.reason.is_ascii());
    }
    for file in AccountFile::ALL {
        let [of_base, of_mine, of_theirs, of_result] =
            [&base, &mine, &theirs, &result].map(|side| side.get(file).unwrap_or_default());
        let fields = fields(file);
        let before = first_fields(of_base);
        let after = first_fields(of_result);
        for line in whole_lines(of_theirs, fields) {
            let name = line.split(|byte| *byte == b':').next().unwrap();
            let is_list = matches!(file, AccountFile::Subuid | AccountFile::Subgid);
            assert!(
                is_list || before.contains(name) || after.contains(name),
                "{} of {} is new and not there",
                name.escape_ascii(),
                file.name()
            );
        }
        let is_whole = |text| lines_of(text).count() == whole_lines(text, fields).count();
        if [of_base, of_mine, of_theirs].into_iter().all(is_whole) {
            assert!(is_whole(of_result), "{}: entries become entries", file.name());
        }
    }
    let of = |side: &AccountFiles, file| side.get(file).unwrap_or_default().to_vec();
    let (passwd, group) = (AccountFile::Passwd, AccountFile::Group);
    let moved = renumbered(
        &of(&mine, passwd),
        &of(&mine, group),
        &of(&result, passwd),
        &of(&result, group),
    );
    let old: HashSet<_> = moved.iter().map(|account| (account.kind, account.old)).collect();
    assert_eq!(old.len(), moved.len(), "an old number goes to one new one");
}

/// How many fields an entry has.
fn fields(file: AccountFile) -> usize {
    match file {
        AccountFile::Passwd => 7,
        AccountFile::Shadow => 9,
        AccountFile::Group | AccountFile::Gshadow => 4,
        AccountFile::Subuid | AccountFile::Subgid => 3,
    }
}

fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn whole_lines(text: &[u8], fields: usize) -> impl Iterator<Item = &[u8]> {
    lines_of(text).filter(move |line| {
        let plain = !matches!(line[0], b':' | b'#' | b'+' | b'-') && !line.contains(&b'\r');
        let count = line.iter().filter(|byte| **byte == b':').count() + 1;
        plain && !line.contains(&0) && count == fields
    })
}

fn first_fields(text: &[u8]) -> HashSet<&[u8]> {
    lines_of(text).map(|line| line.split(|byte| *byte == b':').next().unwrap()).collect()
}

/// The input is the policy of an image.
pub(crate) fn policy(input: &[u8]) {
    let policy = Policy::parse(input);
    for (line, fault) in policy.faults() {
        assert!((1..=input.split(|byte| *byte == b'\n').count()).contains(line));
        is_one_line(fault);
    }
    // Every line is a rule, a fault, a comment or empty.
    let lines = input.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let said = lines.filter(|line| !line.is_empty() && line[0] != b'#').count();
    let built_in = Policy::default().rules();
    assert_eq!(policy.rules() - built_in + policy.faults().len(), said);
}
