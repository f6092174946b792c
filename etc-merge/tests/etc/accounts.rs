//! The account files: the rules of docs/etc.md, and random lives.

use std::collections::{BTreeMap, BTreeSet};

use etc_merge::Outcome::{Account, Conflict, DeletedChanged, Image, Kept};
use etc_merge::accounts::{AccountFile, AccountFiles, merge_accounts};
use etc_merge::{Line, Outcome, Renumbered};

use crate::bench::{Bench, Random, outcomes};

/// The files of one side: `NAME` lines start with the file's name and a space.
fn side(lines: &[&str]) -> AccountFiles {
    let mut files = AccountFiles::default();
    for line in lines {
        let (file, line) = line.split_once(' ').unwrap();
        let file = files.get_mut(AccountFile::named(file.as_bytes()).unwrap());
        file.get_or_insert_default().extend(format!("{line}\n").bytes());
    }
    files
}

fn lines_of(files: &AccountFiles) -> Vec<String> {
    let mut all = Vec::new();
    for file in AccountFile::ALL {
        let text = String::from_utf8_lossy(files.get(file).unwrap_or_default()).into_owned();
        all.extend(text.lines().map(|line| format!("{} {line}", file.name())));
    }
    all
}

/// Merges, and returns the lines of all files and of the report.
fn merged(base: &[&str], mine: &[&str], theirs: &[&str]) -> (Vec<String>, Vec<Line>) {
    let (files, lines) = merge_accounts(&side(base), &side(mine), &side(theirs));
    (lines_of(&files), lines)
}

fn said(lines: &[Line]) -> Vec<(&str, Outcome)> {
    lines.iter().map(|line| (line.path.as_str(), line.outcome)).collect()
}

const ROOT: &str = "passwd root:x:0:0:root:/root:/bin/bash";

#[test]
fn entries_and_fields_merge_in_the_order_of_the_image() {
    let (files, lines) = merged(
        &[ROOT, "passwd a:x:1:1::/:/a", "passwd b:x:2:2::/:/b", "passwd c:x:3:3::/:/c"],
        &[
            "passwd me:x:1000:1000::/home/me:/bin/sh",
            "passwd root:x:0:0:root:/root:/bin/zsh",
            "passwd a:x:1:1:comment:/:/a",
            "passwd c:x:3:3::/:/mine",
        ],
        &[
            "passwd new:x:9:9::/:/n",
            "passwd a:x:1:1::/:/image",
            "passwd root:x:0:0:root:/root:/bin/bash",
            "passwd b:x:2:2::/:/b",
            "passwd c:x:3:3::/:/theirs",
        ],
    );
    assert_eq!(
        files,
        [
            "passwd new:x:9:9::/:/n",
            "passwd a:x:1:1:comment:/:/image",
            "passwd root:x:0:0:root:/root:/bin/zsh",
            "passwd c:x:3:3::/:/mine",
            "passwd me:x:1000:1000::/home/me:/bin/sh",
        ]
    );
    assert_eq!(said(&lines), [("passwd", Conflict)]);
    assert!(lines[0].reason.starts_with("c: shell"), "{}", lines[0].reason);
}

#[test]
fn deleted_and_changed_entries_are_reported() {
    let (files, lines) = merged(
        &["shadow a:1:0:::::", "shadow b:1:0::::::", "shadow c:1:0::::::"],
        &["shadow b:secret:0::::::", "shadow x:1:0::::::"],
        &["shadow c:other:0::::::", "shadow y:1:0::::::"],
    );
    // The base is damaged: its first line has a field too few. So mine stays, with what is new.
    assert_eq!(files, ["shadow b:secret:0::::::", "shadow x:1:0::::::", "shadow y:1:0::::::"]);
    assert_eq!(said(&lines), [("shadow", Conflict)]);
    let (files, lines) = merged(
        &["shadow b:1:0::::::", "shadow c:1:0::::::"],
        &["shadow b:secret:0::::::", "shadow x:1:0::::::"],
        &["shadow c:other:0::::::", "shadow y:1:0::::::"],
    );
    assert_eq!(files, ["shadow y:1:0::::::", "shadow b:secret:0::::::", "shadow x:1:0::::::"]);
    assert_eq!(said(&lines), [("shadow", DeletedChanged), ("shadow", Kept)]);
    assert!(lines.iter().all(|line| !line.reason.contains("secret")), "{lines:?}");
}

#[test]
fn a_new_user_of_the_image_gets_a_free_number_if_a_local_user_has_its_own() {
    let (files, lines) = merged(
        &[ROOT, "group root:x:0:", "group used:x:998:"],
        &[
            ROOT,
            "passwd me:x:999:999::/:/bin/sh",
            "group root:x:0:",
            "group used:x:998:",
            "group me:x:999:",
        ],
        &[
            ROOT,
            "passwd new:x:999:999::/:/bin/false",
            "passwd friend:x:101:999::/:/bin/false",
            "group root:x:0:",
            "group used:x:998:",
            "group new:x:999:friend",
        ],
    );
    assert_eq!(
        files,
        [
            ROOT,
            "passwd new:x:997:997::/:/bin/false",
            "passwd friend:x:101:997::/:/bin/false",
            "passwd me:x:999:999::/:/bin/sh",
            "group root:x:0:",
            "group used:x:998:",
            "group new:x:997:friend",
            "group me:x:999:",
        ]
    );
    assert_eq!(said(&lines), [("group", Account), ("passwd", Account)]);
    for word in ["new", "997 and not 999", "belongs to me"] {
        assert!(lines[1].reason.contains(word), "{}", lines[1].reason);
    }
}

#[test]
fn a_renumbered_user_goes_back_if_a_local_user_has_the_new_number() {
    let (files, lines) = merged(
        &["passwd db:x:101:0::/:/b"],
        &["passwd db:x:101:0::/:/b", "passwd me:x:103:0::/:/m"],
        &["passwd db:x:103:0::/:/b"],
    );
    assert_eq!(files, ["passwd db:x:101:0::/:/b", "passwd me:x:103:0::/:/m"]);
    assert_eq!(said(&lines), [("passwd", Account)]);
    // Somebody else has the old number by now.
    let (files, _) = merged(
        &["passwd mq:x:100:0::/:/b", "passwd db:x:101:0::/:/b"],
        &["passwd mq:x:100:0::/:/b", "passwd db:x:101:0::/:/b", "passwd me:x:103:0::/:/m"],
        &["passwd mq:x:101:0::/:/b", "passwd db:x:103:0::/:/b"],
    );
    assert_eq!(
        files,
        ["passwd mq:x:101:0::/:/b", "passwd db:x:999:0::/:/b", "passwd me:x:103:0::/:/m"]
    );
}

#[test]
fn two_names_for_one_number_stay_if_one_side_wants_them() {
    let (files, lines) = merged(
        &[ROOT],
        &[ROOT, "passwd toor:x:0:0::/root:/bin/sh"],
        &[ROOT, "passwd new:x:9:9::/:/n", "passwd alias:x:9:9::/:/n"],
    );
    assert_eq!(files.len(), 4);
    assert_eq!(said(&lines), []);
}

#[test]
fn users_stay_in_their_group_when_it_gets_another_number() {
    let (files, lines) = merged(
        &["passwd a:x:5:101::/:/a", "group db:x:101:", "group old:x:7:"],
        &[
            "passwd a:x:5:101::/:/a",
            "passwd me:x:1000:101::/:/m",
            "passwd you:x:1001:7::/:/m",
            "group db:x:101:",
            "group old:x:7:",
        ],
        &["passwd a:x:5:103::/:/a", "group mq:x:101:", "group db:x:103:"],
    );
    assert_eq!(
        files,
        [
            "passwd a:x:5:103::/:/a",
            "passwd me:x:1000:103::/:/m",
            "passwd you:x:1001:7::/:/m",
            "group mq:x:101:",
            "group db:x:103:",
            "group old:x:7:",
        ]
    );
    assert_eq!(said(&lines), [("group", Kept)]);
}

#[test]
fn a_user_that_stays_keeps_its_password_line() {
    let (files, lines) = merged(
        &["passwd a:x:5:0::/:/a", "shadow a:1:0::::::", "shadow r:1:0::::::"],
        &["passwd a:x:5:0::/:/changed", "shadow a:1:0::::::", "shadow r:1:0::::::"],
        &["passwd r:x:0:0::/:/r", "shadow r:2:0::::::"],
    );
    assert_eq!(
        files,
        [
            "passwd r:x:0:0::/:/r",
            "passwd a:x:5:0::/:/changed",
            "shadow r:2:0::::::",
            "shadow a:1:0::::::"
        ]
    );
    assert_eq!(said(&lines), [("passwd", Kept)]);
}

#[test]
fn ranges_are_a_list_and_may_not_overlap() {
    let (files, lines) = merged(
        &["subuid a:100000:65536"],
        &["subuid a:100000:65536", "subuid me:165536:65536", "subuid me:300000:10"],
        &["subuid a:100000:65536", "subuid new:165536:10", "subuid b:400000:10"],
    );
    assert_eq!(
        files,
        [
            "subuid a:100000:65536",
            "subuid b:400000:10",
            "subuid me:165536:65536",
            "subuid me:300000:10"
        ]
    );
    assert_eq!(said(&lines), [("subuid", Account)]);
}

#[test]
fn a_damaged_file_stays_and_gets_the_new_users() {
    for damage in ["nonsense", "a:x:1", "me:x:1:1::/:/twice", "cr:x:1:1::/:/bin/sh\r", ":x:1:1::/:"]
    {
        let mine = format!("passwd {damage}");
        let (files, lines) = merged(
            &[ROOT, "passwd gone:x:7:7::/:/g"],
            &[ROOT, &mine, "passwd me:x:50:7::/:/m"],
            &[ROOT, "passwd gone:x:7:7::/:/g", "passwd new:x:50:9::/:/n"],
        );
        let expected = [ROOT, &mine, "passwd me:x:50:7::/:/m", "passwd new:x:999:9::/:/n"];
        // Lines of the file end in CR LF for `lines()`.
        let expected: Vec<_> = expected.iter().map(|line| line.trim_end_matches('\r')).collect();
        assert_eq!(files, expected, "{damage}");
        assert_eq!(said(&lines), [("passwd", Conflict), ("passwd", Account)], "{damage}");
    }
}

#[test]
fn comments_stay_at_the_top_and_nis_lines_at_the_end() {
    let (files, _) = merged(
        &["passwd # old", ROOT],
        &["passwd # old", "passwd # mine", ROOT, "passwd me:x:1:1::/:/m", "passwd +::::::"],
        &["passwd # old", ROOT, "passwd new:x:9:9::/:/n"],
    );
    assert_eq!(
        files,
        [
            "passwd # old",
            "passwd # mine",
            ROOT,
            "passwd new:x:9:9::/:/n",
            "passwd me:x:1:1::/:/m",
            "passwd +::::::"
        ]
    );
}

#[test]
fn a_file_may_be_missing_on_any_side() {
    let one = &["subuid a:1:1"][..];
    let two = &["subuid a:1:1", "subuid b:5:1"][..];
    for (base, mine, theirs, expected, outcomes) in [
        (&[][..], one, two, two, &[][..]),
        (one, &[][..], two, two, &[("subuid", Image)][..]),
        (one, &[][..], one, &[][..], &[][..]),
        (one, two, &[][..], two, &[("subuid", Kept)][..]),
        (one, one, &[][..], &[][..], &[][..]),
    ] {
        let (files, lines) = merged(base, mine, theirs);
        assert_eq!(files, expected);
        assert_eq!(said(&lines), outcomes);
    }
}

#[test]
fn in_a_whole_etc_the_files_and_the_owners_fit() {
    let bench = Bench::new();
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let (old, new) = (uid, uid + 1);
    let passwd = |number: u32| format!("a:x:{number}:{gid}::/:/a\n");
    bench.sides("passwd", [Some(&passwd(old)), None, Some(&passwd(new))]);
    bench.sides("group", [Some("g:x:77:\n"), Some("g:x:77:me\n"), Some("n:x:5:\ng:x:77:\n")]);
    bench.sides("mine", [None, Some("1"), None]);
    bench.sides("copied-up", [Some("1"), Some("1"), Some("1")]).folder("upper/d");
    let plan = bench.plan();
    let report = plan.report();
    assert_eq!(report.renumbered.len(), 1);
    let Renumbered { name, old: was, new: is, .. } = &report.renumbered[0];
    assert_eq!((name.as_str(), *was, *is), ("a", old, new));
    let paths: Vec<_> = outcomes(report).into_iter().map(|(path, _)| path.to_owned()).collect();
    let owner = |path: &str| {
        plan.actions().iter().find_map(|action| match action {
            etc_merge::Action::Put { path: at, meta, .. } if at.as_os_str() == path => {
                Some(meta.uid)
            }
            _ => None,
        })
    };
    assert_eq!(owner("mine"), Some(new), "a file of mine follows its owner");
    assert!(paths.contains(&"group".to_owned()) && !paths.contains(&"passwd".to_owned()));
    let group = plan.actions().iter().find_map(|action| match action {
        etc_merge::Action::Put { path, body: etc_merge::Body::Merged(bytes), .. } => {
            (path.as_os_str() == "group").then(|| String::from_utf8(bytes.clone()).unwrap())
        }
        _ => None,
    });
    assert_eq!(group.unwrap(), "n:x:5:\ng:x:77:me\n");
}

/// A random passwd, group and shadow with a few names and numbers.
fn files(random: &mut Random) -> AccountFiles {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |file: &str, line: String| lines.entry(file.to_owned()).or_default().push(line);
    for name in ["a", "b", "c", "d", "e", "f"] {
        let number = |random: &mut Random| 995 + random.below(8);
        if random.below(3) > 0 {
            let (uid, gid) = (number(random), number(random));
            add("passwd", format!("{name}:x:{uid}:{gid}::/:{}", random.pick(&["/x", "/y"])));
        }
        if random.below(2) > 0 {
            let members = random.pick(&["", "a", "a,b", "c,a", "d"]);
            add("group", format!("{name}:x:{}:{members}", number(random)));
        }
        if random.below(3) > 0 {
            add("shadow", format!("{name}:{}:0::::::", random.pick(&["!", "*"])));
        }
    }
    let mut files = AccountFiles::default();
    for (file, lines) in lines {
        let text = lines.join("\n") + "\n";
        *files.get_mut(AccountFile::named(file.as_bytes()).unwrap()) = Some(text.into_bytes());
    }
    files
}

/// Name and number of each line.
fn accounts(files: &AccountFiles, file: AccountFile) -> Vec<(String, String)> {
    let text = String::from_utf8(files.get(file).unwrap_or_default().to_vec()).unwrap();
    let fields = |line: &str| -> Vec<String> { line.split(':').map(str::to_owned).collect() };
    text.lines().map(fields).map(|fields| (fields[0].clone(), fields[2].clone())).collect()
}

#[test]
fn random_accounts_keep_the_promises() {
    let mut random = Random::new(20_261_130);
    for number in 0..3000 {
        let [base, mine, theirs] = [0; 3].map(|_| files(&mut random));
        let (result, lines) = merge_accounts(&base, &mine, &theirs);
        let context = || format!("case {number}: {base:?}\n{mine:?}\n{theirs:?}\n{result:?}");
        assert_eq!(merge_accounts(&base, &base, &theirs).0, theirs);
        assert_eq!(merge_accounts(&base, &mine, &base).0, mine);
        for file in [AccountFile::Passwd, AccountFile::Group, AccountFile::Shadow] {
            let names = |files| -> BTreeSet<String> {
                accounts(files, file).into_iter().map(|(name, _)| name).collect()
            };
            let (base, mine, theirs) = (names(&base), names(&mine), names(&theirs));
            let all: Vec<String> =
                accounts(&result, file).into_iter().map(|(name, _)| name).collect();
            let result = names(&result);
            assert_eq!(all.len(), result.len(), "a name is there twice, {}", context());
            assert!(theirs.difference(&base).all(|new| result.contains(new)), "{}", context());
            assert!(mine.difference(&base).all(|new| result.contains(new)), "{}", context());
            assert!(result.iter().all(|name| mine.contains(name) || theirs.contains(name)));
        }
        for file in [AccountFile::Passwd, AccountFile::Group] {
            let (mine, theirs) = (accounts(&mine, file), accounts(&theirs, file));
            let result = accounts(&result, file);
            let shares = |side: &[(String, String)], one: &str, other: &str| {
                let number = |name: &str| side.iter().find(|(is, _)| is == name).map(|(_, n)| n);
                number(one).is_some() && number(one) == number(other)
            };
            for (at, (one, number)) in result.iter().enumerate() {
                for (other, same) in &result[..at] {
                    let wanted = shares(&mine, one, other) || shares(&theirs, one, other);
                    assert!(number != same || wanted, "{one} and {other}, {}", context());
                }
            }
        }
        assert!(lines.iter().all(|line| line.reason.is_ascii()));
    }
}
