//! Checks the rules of the house that neither the compiler nor clippy knows. `make lint` runs it.
//!
//! Every check takes the [`Tree`] of tracked files and returns [`Violation`]s. Each violation names
//! the place, what is wrong and the remedy. The program ends with 1 if there is any violation.
//! Reading order: tree, violation, crates, then the five checks: imports/, rooms, columns, links,
//! messages.

mod columns;
mod crates;
mod imports;
mod links;
mod markdown;
mod messages;
mod rooms;
mod tree;
mod violation;

use std::process::ExitCode;
use std::{env, thread};

use anyhow::{Context, Result};

use crate::crates::Package;
use crate::imports::walk;
use crate::tree::Tree;
use crate::violation::Violation;

fn main() -> ExitCode {
    let root = env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    match check(&root) {
        Ok(violations) if violations.is_empty() => ExitCode::SUCCESS,
        Ok(violations) => {
            for violation in &violations {
                println!("{violation}");
            }
            eprintln!("house: {}", violation::summary(&violations));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("house: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All violations of the tree at `root`, sorted by check, then by place.
fn check(root: &str) -> Result<Vec<Violation>> {
    let tree = &Tree::tracked(root)?;
    let packages = crates::of(tree)?;
    let mut all = thread::scope(|scope| {
        // Parsing takes most of the time, so each crate has its thread.
        let parsed: Vec<_> = packages.iter().map(|p| scope.spawn(|| of_crate(tree, p))).collect();
        let mut all = columns::check(tree)?;
        all.extend(links::check(tree)?);
        all.extend(rooms::check(tree, &packages)?);
        for (thread, package) in parsed.into_iter().zip(&packages) {
            let of_crate = thread.join().ok().context("a thread panicked")?;
            all.extend(of_crate.with_context(|| format!("crate {}", package.dir))?);
        }
        anyhow::Ok(all)
    })?;
    all.sort();
    Ok(all)
}

/// The violations that need the parsed source of `package`.
fn of_crate(tree: &Tree, package: &Package) -> Result<Vec<Violation>> {
    let targets = walk::targets(tree, package)?;
    let mut all = imports::circles::check(&targets);
    if messages::CRATES.contains(&package.dir.as_str()) {
        all.extend(messages::check(&targets));
    }
    Ok(all)
}
