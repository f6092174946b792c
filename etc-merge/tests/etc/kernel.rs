//! overlayfs itself makes the old uppers and shows the new ones.
//!
//! A user namespace lets any user mount an overlay. Each test enters one twice: to change files in
//! the old overlay, and to look at the new one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use etc_merge::{Action, Body, Difference, Marks, differences};

use crate::bench::{Bench, Random, tree};

type Tree = BTreeMap<String, String>;

/// Runs a shell script as root of new user and mount namespaces, in the folder of `bench`.
fn as_root(bench: &Bench, script: &str) {
    fs::write(bench.at("script"), script).unwrap();
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-eu", "script"])
        .current_dir(bench.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("unshare: {error}; it is in the package util-linux"));
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "the kernel must let users mount overlays: {errors}");
}

/// The lines of a script that mount an overlay at `seen`, do something there, and copy what it
/// shows to `copy`.
fn overlay(lower: &str, upper: &str, copy: &str, inside: &str) -> String {
    format!(
        "mkdir -p work seen\nmount -t overlay overlay \
         -o lowerdir={lower},upperdir={upper},workdir=work,userxattr,index=off seen\n\
         (cd seen\n{inside}\n)\ncp -a seen {copy}\numount seen\nrm -rf work\n"
    )
}

/// What the device sees before and after, of one case.
struct Seen {
    base: Tree,
    mine: Tree,
    theirs: Tree,
    result: Tree,
    /// What the plan says that the result is
    computed: Tree,
    report: etc_merge::Report,
    differences: Vec<Difference>,
}

/// Applies the actions of the plan to the image's tree.
fn computed(bench: &Bench) -> Tree {
    let mut seen = plain(&tree(&bench.at("theirs")));
    for action in bench.plan().actions() {
        let path = action.path().to_str().unwrap();
        let file = |side: &str| fs::read(bench.at(side).join(path)).unwrap();
        let words = |bytes: Vec<u8>, mode: u32| {
            format!("file {mode:o} {:?}", String::from_utf8_lossy(&bytes))
        };
        let (words, is_folder) = match action {
            Action::Put { body: Body::Folder, meta, .. } => {
                (format!("folder {:o}", meta.mode), true)
            }
            Action::Put { body: Body::Mine, meta, .. } => (words(file("upper"), meta.mode), false),
            Action::Put { body: Body::Theirs, meta, .. } => {
                (words(file("theirs"), meta.mode), false)
            }
            Action::Put { body: Body::Merged(bytes), meta, .. } => {
                (words(bytes.clone(), meta.mode), false)
            }
            Action::Put { body: Body::Link(target), .. } => {
                (format!("link {}", String::from_utf8_lossy(target)), false)
            }
            Action::Link { first, .. } => (seen[first.to_str().unwrap()].clone(), false),
            Action::Whiteout { .. } => (String::new(), false),
            other => panic!("{other:?}"),
        };
        if !is_folder || !seen.get(path).is_some_and(|words| words.starts_with("folder")) {
            let below = format!("{path}/");
            seen.retain(|other, _| other != path && !other.starts_with(&below));
        }
        if !words.is_empty() {
            seen.insert(path.to_owned(), words);
        }
    }
    seen
}

/// Fills base and theirs with one script each, changes the old overlay with another, and merges.
fn lives(cases: &[[String; 3]]) -> Vec<Seen> {
    let benches: Vec<Bench> = cases.iter().map(|_| Bench::new()).collect();
    let hub = Bench::new();
    let (mut old, mut new) = (String::new(), String::new());
    for (bench, [base, mine, theirs]) in benches.iter().zip(cases) {
        let dir = bench.dir.path().display();
        write!(old, "cd {dir}\n(cd base\n{base}\n)\n(cd theirs\n{theirs}\n)\n").unwrap();
        old.push_str(&overlay("base", "upper", "mine", mine));
        write!(new, "cd {dir}\n{}", overlay("theirs", "new", "result", "")).unwrap();
    }
    as_root(&hub, &old);
    let computed: Vec<_> = benches.iter().map(computed).collect();
    let reports: Vec<_> = benches.iter().map(Bench::merge).collect();
    let differing = |bench: &Bench| {
        let (theirs, new) = (bench.at("theirs"), bench.at("new"));
        differences(&theirs, &new, Marks::User, &mut || true).unwrap()
    };
    let differences: Vec<_> = benches.iter().map(differing).collect();
    as_root(&hub, &new);
    let seen = benches.iter().zip(reports).zip(differences).zip(computed);
    seen.map(|(((bench, report), differences), computed)| Seen {
        base: tree(&bench.at("base")),
        mine: tree(&bench.at("mine")),
        theirs: tree(&bench.at("theirs")),
        result: tree(&bench.at("result")),
        computed,
        report,
        differences,
    })
    .collect()
}

#[test]
fn folders_that_were_deleted_moved_and_made_again_are_merged() {
    let base = "mkdir a b; echo 1 >a/1; echo 2 >a/2; echo 1 >b/1; echo 1 >c; echo 1 >d";
    let mine = "rm -r a; mkdir a; echo mine >a/mine; mv b moved; rm c; ln -s x c; chmod 600 d; \
        mkdir -p new/deep; echo 1 >new/deep/f; ln d linked";
    let theirs = "mkdir a b; echo 1 >a/1; echo 22 >a/2; echo 3 >a/3; echo 1 >b/1; echo 2 >b/2; \
        echo 1 >c; echo 2 >d; mkdir -p new/deep; echo 2 >new/deep/g";
    let [seen] = &lives(&[[base, mine, theirs].map(str::to_owned)])[..] else { panic!() };
    let mut expected = seen.theirs.clone();
    // All of a was deleted; b was moved, so its files were deleted and added elsewhere.
    for path in ["a/1", "a/2", "b", "b/1", "b/2"] {
        expected.remove(path);
    }
    for (path, words) in [
        ("a/mine", "file 644 \"mine\\n\""),
        ("moved", "folder 755"),
        ("moved/1", "file 644 \"1\\n\""),
        ("c", "link x"),
        ("d", "file 600 \"2\\n\""),
        ("linked", "file 600 \"1\\n\""),
        ("new/deep/f", "file 644 \"1\\n\""),
    ] {
        expected.insert(path.to_owned(), words.to_owned());
    }
    assert_eq!(seen.result, expected);
    let person: Vec<&str> = seen.report.for_a_person().map(|line| line.path.as_str()).collect();
    assert_eq!(person, ["a/2", "b"]);
}

/// One change, as a line of a script. Errors are ignored: not every change fits every tree.
fn change(random: &mut Random) -> String {
    let paths = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b", "f", "f/a", "f/e", "f/e/a"];
    let (path, other) = (random.pick(&paths), random.pick(&paths));
    let line = random.pick(&["one", "two", "three"]);
    let text = random.pick(&["a", "b", "d/a", "d/e/a", "f/a"]);
    match random.below(20) {
        0 => format!("rm -rf {path}"),
        1 => format!("rm -rf {path}; mkdir {path}; echo {line} >{path}/a"),
        2 => format!("rm -rf {path}; ln -s {line} {path}"),
        3 => format!("chmod {} {path}", random.pick(&["711", "700", "755"])),
        4 => format!("touch {path}"),
        7 => format!("mv -T {path} {other}"),
        8 => format!("ln -f {path} {other}"),
        9 => format!("mkdir -p {path}"),
        10 | 11 => format!("printf '%s\\n' a b c {line} >{path}"),
        12..=15 => format!("sed -i '1s/^/{line} /' {text}"),
        _ => format!("sed -i '$s/$/ {line}/' {text}"),
    }
}

fn changes(random: &mut Random, most: usize) -> String {
    let changes: Vec<String> = (0..random.below(most + 1)).map(|_| change(random)).collect();
    changes.iter().map(|change| format!("({change}) 2>/dev/null || true\n")).collect()
}

/// The part of a tree's words that does not tell which files are one by hard links.
fn plain(tree: &Tree) -> Tree {
    let plain = |words: &String| words.split(" = ").next().unwrap().to_owned();
    tree.iter().map(|(path, words)| (path.clone(), plain(words))).collect()
}

/// True if an entry above `path` is no folder or not the same in both trees.
fn is_below_a_change(one: &Tree, other: &Tree, path: &str) -> bool {
    let kind = |tree: &Tree, path: &str| {
        tree.get(path).and_then(|w| w.split(' ').next()).map(str::to_owned)
    };
    path.match_indices('/').any(|(at, _)| kind(one, &path[..at]) != kind(other, &path[..at]))
}

/// True if a part of mine that differs from the base (type, mode, content) is not there.
fn is_lost(base: Option<&str>, mine: Option<&str>, is: Option<&str>) -> bool {
    let (Some(old), Some(my), Some(now)) = (base, mine, is) else {
        return mine != base && is != mine;
    };
    let [old, my, now] = [old, my, now].map(|words| words.splitn(3, ' ').collect::<Vec<_>>());
    (0..3).any(|part| my.get(part) != old.get(part) && now.get(part) != my.get(part))
}

#[test]
fn random_lives_keep_the_promises() {
    let mut random = Random::new(5);
    let start = "mkdir -p d/e f/e; for i in a b d/a d/e/a f/a f/e/a; do printf '%s\\n' a b c d \
        e f g >$i; done\n";
    let mut cases = Vec::new();
    for number in 0..80 {
        let base = start.to_owned() + &changes(&mut random, 4);
        let mine = if number % 10 == 0 { String::new() } else { changes(&mut random, 12) };
        let more = if number % 10 == 1 { String::new() } else { changes(&mut random, 12) };
        cases.push([base.clone(), mine, base + &more]);
    }
    let (mut merged, mut conflicts) = (0, 0);
    for (number, (seen, scripts)) in lives(&cases).into_iter().zip(&cases).enumerate() {
        let context = || format!("case {number}: {scripts:#?}\n{:#?}", seen.report);
        let (base, mine) = (plain(&seen.base), plain(&seen.mine));
        let (theirs, result) = (plain(&seen.theirs), plain(&seen.result));
        assert_eq!(result, seen.computed, "{}", context());
        if number % 10 == 0 {
            assert_eq!(result, theirs, "mine = base, {}", context());
        }
        if number % 10 == 1 {
            assert_eq!(result, mine, "theirs = base, {}", context());
        }
        let all = base.keys().chain(mine.keys()).chain(theirs.keys()).chain(result.keys());
        for path in all {
            let of = |tree: &Tree| tree.get(path).cloned();
            let (base, mine, theirs) = (of(&base), of(&mine), of(&theirs));
            let is = of(&result);
            // Nothing of mine is lost that is not reported.
            let reported = |path: &str| seen.report.lines.iter().any(|line| line.path == path);
            let above = path.match_indices('/').any(|(at, _)| reported(&path[..at]));
            if is_lost(base.as_deref(), mine.as_deref(), is.as_deref()) {
                assert!(reported(path) || above, "{path} is lost, {}", context());
            }
            // Nothing is there that nobody has, except merged files and folders.
            if is.is_some() && is != mine && is != theirs {
                assert!(reported(path), "{path} is new, {}", context());
            }
            if is.is_none() && mine.is_some() && theirs.is_some() {
                assert!(above || reported(path), "{path} is gone, {}", context());
            }
            // What was not changed here is the image's.
            if mine == base && !is_below_a_change(&seen.result, &seen.theirs, path) {
                let folder = mine.is_some_and(|words| words.starts_with("folder"));
                assert!(is == theirs || folder, "{path} is not theirs, {}", context());
            }
        }
        // The upper holds what differs, and nothing else.
        for difference in &seen.differences {
            let path = difference.path.to_str().unwrap();
            assert_ne!(result.get(path), theirs.get(path), "{path}, {}", context());
        }
        merged += seen.report.counts.merged;
        conflicts += seen.report.counts.conflicts;
    }
    println!("{merged} merged, {conflicts} for a person");
    assert!(merged >= 10 && conflicts > 20);
}
