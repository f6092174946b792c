//! The verb `bundle`.
//!
//! `signing` makes the bundle, as for `build`.

use std::path::PathBuf;

use anyhow::Result;
use bundler::inspect::Inspection;
use clap::Args;
use semver::Version;

use crate::verbs::build::Reading;
use crate::verbs::cache::Caching;
use crate::verbs::signing::{More, Ready};

/// Arguments of `bundle`.
#[derive(Args, Debug)]
pub(crate) struct Bundle {
    /// The recipe that the root filesystem was built from
    recipe: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// The tar file that `build` wrote
    #[arg(long, value_name = "ROOTFS.tar")]
    rootfs: PathBuf,
    /// Secret key of the release role; repeat the option until the threshold is met
    #[arg(long = "key", value_name = "KEY.pem", required = true)]
    keys: Vec<PathBuf>,
    /// Folder of the public keys that devices will trust. A root.json in it goes into the image,
    /// and its release keys then count instead
    #[arg(long, value_name = "DIR")]
    keyring: PathBuf,
    /// Version of the system, such as 1.2.3
    #[arg(long, value_name = "X.Y.Z")]
    version: Version,
    #[command(flatten)]
    more: More,
    /// The bundle to write
    #[arg(short, value_name = "OUT.daruma")]
    output: PathBuf,
    #[command(flatten)]
    caching: Caching,
}

/// Makes a bundle.
pub(crate) fn bundle(arguments: Bundle) -> Result<()> {
    // The arguments are checked completely before the long work begins.
    let Bundle { recipe, reading, rootfs, keys, keyring, version, more, output, caching } =
        arguments;
    let recipe = reading.load(&recipe)?;
    let ready = Ready::new(&recipe, &keys, &keyring, version, &more)?;
    let cache = caching.open()?;
    ready.write(&recipe, &rootfs, None, cache.as_ref(), &output)?;
    print!("{}", Inspection::read(&output)?.to_text());
    Ok(())
}
