//! Merges by lines, beside `git merge-file`.

use std::fs;
use std::process::Command;

use etc_merge::Outcome::{Conflict, Merged, Mine};

use crate::bench::{Bench, Random};

/// A text of a few lines, or a version of it with a few changes.
fn text(random: &mut Random) -> Vec<String> {
    let lines = ["", "a", "b", "[section]", "key = 1", "key = 2", "# comment", "\u{e9}"];
    (0..random.below(30)).map(|_| random.pick(&lines).to_owned()).collect()
}

fn edited(random: &mut Random, text: &[String]) -> Vec<String> {
    let mut text = text.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(text.len() + 1);
        match random.below(3) {
            0 => text.insert(at, random.pick(&["new", "key = 3", "a"]).to_owned()),
            1 if at < text.len() => drop(text.remove(at)),
            _ if at < text.len() => text[at] = random.pick(&["other", "b", "x"]).to_owned(),
            _ => {}
        }
    }
    text
}

fn bytes(random: &mut Random, text: &[String]) -> String {
    let end = if random.below(5) == 0 { "" } else { "\n" };
    if text.is_empty() { String::new() } else { text.join("\n") + end }
}

#[test]
fn where_git_merges_too_the_result_is_the_same() {
    let mut random = Random::new(20_261_128);
    let bench = Bench::new();
    let mut triples = Vec::new();
    for number in 0..400 {
        let base = text(&mut random);
        let (mine, theirs) = (edited(&mut random, &base), edited(&mut random, &base));
        let triple = [&base, &mine, &theirs].map(|text| bytes(&mut random, text));
        bench.sides(&format!("{number:03}"), [0, 1, 2].map(|side| Some(triple[side].as_str())));
        triples.push(triple);
    }
    let report = bench.merge();
    let (mut both, mut only_one, mut neither) = (0, 0, 0);
    for (number, [base, mine, theirs]) in triples.iter().enumerate() {
        let name = format!("{number:03}");
        let paths = ["upper", "base", "theirs"].map(|side| bench.at(&format!("{side}/{name}")));
        let git = Command::new("git").args(["merge-file", "-p"]).args(paths).output().unwrap();
        let new = bench.at(&format!("new/{name}"));
        let ours = if new.exists() { &fs::read_to_string(&new).unwrap() } else { theirs };
        let outcome = report.lines.iter().find(|line| line.path == name).map(|line| line.outcome);
        match (outcome, git.status.success()) {
            (None | Some(Merged | Mine), true) => {
                let git = String::from_utf8(git.stdout).unwrap();
                assert_eq!(*ours, git, "{base:?} {mine:?} {theirs:?}");
                both += 1;
            }
            (Some(Conflict), merged) => {
                assert_eq!(ours, mine, "mine stays whole");
                if merged { only_one += 1 } else { neither += 1 }
            }
            (_, false) => only_one += 1,
            other => panic!("{name}: {other:?}"),
        }
    }
    println!("both merge {both}, only one {only_one}, neither {neither}");
    assert!(both > 200 && only_one < 20);
}
