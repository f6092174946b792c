//! A release without sshd on the real Debian router, which nothing was configured to notice.
//!
//! `tests::story` tells it; the demo tells the whole story. `etc` and `pull` have the updates of
//! the router that are committed, and the one that does not boot.

use anyhow::Result;
use tests::story::{self, Line};

#[test]
fn a_release_without_sshd_is_given_up_though_nothing_was_configured() -> Result<()> {
    let dir = tempfile::tempdir()?;
    story::end(dir.path(), &mut |line| match line {
        Line::Heading(text) | Line::Text(text) => println!("{text}"),
        Line::Screen(command, text) => println!("# {command}\n{text}"),
    })
}
