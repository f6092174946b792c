//! Keeps out of the image what each device must have of its own: private keys and other secrets.
//!
//! `clean` removes what is not secret. Packages make secrets while they are installed, so without
//! this every device would have the same.
//! Read `known`, which the device makes anew, `pem` and `maker`.

mod known;
mod maker;
mod pem;

use std::io::Read as _;

use anyhow::{Result, bail};

use crate::bundling::tree::{Content, Kind, Tree, glob};
use crate::recipe::{Recipe, RecipeError};

/// Longest file that is searched for a private key, in bytes. A key has some kilobytes.
const SEARCHED_BYTES: u64 = 1 << 20;
/// Files that are secret whatever they hold, if they hold anything. No unit makes them anew.
const SECRET_PLACES: &[&str] = &[
    "/etc/bind/rndc.key",
    "/etc/krb5.keytab",
    "/etc/munge/munge.key",
    "/etc/ssl/private/**",
    "/etc/unbound/unbound_*.key",
    "/root/.gnupg/private-keys-v1.d/**",
    "/var/lib/rabbitmq/.erlang.cookie",
];
/// Most secrets that an error names.
const NAMED: usize = 5;

/// Removes the secrets that a device makes anew, and adds the units that make them. `secrets` of
/// the recipe names what stays.
///
/// # Errors
/// Another secret is in the tree; the message names the file and its package. A pattern of
/// `secrets` matches nothing.
pub fn settle(tree: &mut Tree, recipe: &Recipe) -> Result<()> {
    let kept = &recipe.bundle()?.secrets;
    let is_kept = |path: &str| kept.iter().any(|pattern| glob::matches(&pattern.text, path));
    for pattern in kept {
        let is_there = |path: &str| glob::matches(&pattern.text, &format!("/{path}"));
        if !tree.below("").any(is_there) {
            bail!(pattern.place.error(format_args!("`secrets: {}` matches nothing", pattern.text)));
        }
    }
    known::settle(tree, &is_kept);
    let mut found: Vec<(String, String)> = Vec::new();
    for (path, id) in tree.iter() {
        let Kind::File(content) = &tree.inode(id).kind else { continue };
        let absolute = format!("/{path}");
        let what = || {
            let by_place = SECRET_PLACES.iter().any(|place| glob::matches(place, &absolute));
            let key = private_key(content)?;
            anyhow::Ok(key.or((by_place && content.len() > 0).then(|| "by its place".to_owned())))
        };
        if !is_kept(&absolute)
            && let Some(what) = what()?
        {
            found.push((path.to_owned(), what));
        }
    }
    let Some((path, what)) = found.first() else { return Ok(()) };
    let others: Vec<String> =
        found.iter().skip(1).take(NAMED - 1).map(|(path, _)| format!("/{path}")).collect();
    let mut more = String::new();
    if !others.is_empty() {
        more = format!("; {} more: {}", found.len() - 1, others.join(", "));
    }
    bail!(RecipeError(format!(
        "{}: /{path} is a secret ({what}) and would be the same on every device; {}; remove it \
            and let each device make its own, or keep it on purpose with `secrets: [/{path}]` in \
            the bundle action{more}",
        recipe.path.display(),
        maker::of(tree, path),
    )))
}

/// Returns the kind of the private key in a file.
fn private_key(content: &Content) -> Result<Option<String>> {
    if content.len() > SEARCHED_BYTES {
        return Ok(None);
    }
    let mut reader = content.reader();
    let mut bytes = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut bytes)?;
    // Programs have the words of a key's first line, and no key.
    if bytes == *b"\x7fELF" {
        return Ok(None);
    }
    reader.read_to_end(&mut bytes)?;
    Ok(pem::private_key(&String::from_utf8_lossy(&bytes)))
}
