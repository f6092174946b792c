//! Tells the whole story on the real Debian router.
//!
//! `tests::story` tells it.

use anyhow::Result;
use tests::story::{self, From, Line};

#[test]
fn a_debian_router_updates_itself_and_gets_back_up() -> Result<()> {
    let dir = tempfile::tempdir()?;
    story::run(From::Health, dir.path(), &mut |line| match line {
        Line::Heading(text) | Line::Text(text) => println!("{text}"),
        Line::Screen(command, text) => println!("# {command}\n{text}"),
    })
}
