//! The verbs for a repository: they turn arguments into calls of the library.
//!
//! `publish::repo` does the work. This file writes the text that people read.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use bundle::{ChannelName, Compatible, SecretKey};
use bundler::repo::{
    self, Change, Offer, Published, Repository, RoleKey, RoleKeyId, RoleThreshold, Stage,
};
use bundler::serve::Server;
use clap::{Args, Subcommand};
use semver::Version;

/// The place of a channel, and the keys that sign it.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The repository's folder
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// The channel's name
    #[arg(long, default_value = "stable")]
    channel: ChannelName,
    /// Secret key of the channel role; repeat the option until the threshold is met
    #[arg(long = "key", value_name = "KEY.pem", required = true)]
    keys: Vec<PathBuf>,
    /// Days until the channel expires. An attacker cannot hide a newer channel from a device for
    /// longer than this
    #[arg(
        long,
        value_name = "N",
        default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=3660),
    )]
    expires_days: u32,
}

#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// The bundle
    bundle: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Share of devices that may take the release in the end, in percent [default: 100]. Without
    /// --percent and --over, a release that is published already keeps its roll-out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: Option<u8>,
    /// Hours in which the share rises from 0 to --percent [default: 0]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(0..=8784))]
    over: Option<u32>,
    /// Oldest version from which a device may go to this release directly [default: any]
    #[arg(long, value_name = "X.Y.Z")]
    from_version: Option<Version>,
    /// Number of older releases, newest first, from which to make a delta. A delta saves about four
    /// fifths of the bytes, and takes a minute or more to make
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=20),
    )]
    deltas: u8,
    /// Make a second, shorter delta with each, which unpacks the kernel too. Only devices whose
    /// `delta-memory-mib` grants enough memory take it. Making it takes minutes and 1.2 GB of
    /// memory
    #[arg(long, requires = "deltas")]
    with_kernel: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Withdraw {
    /// The version to withdraw
    version: Version,
    #[command(flatten)]
    place: Place,
    /// The kind of device; needed if the channel has this version for several kinds
    #[arg(long)]
    compatible: Option<Compatible>,
    /// The reason, one line; devices show it
    #[arg(long)]
    reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct Renew {
    #[command(flatten)]
    place: Place,
    /// Sign the channel although its old signatures no longer count, after you replaced the
    /// channel's key. Look at the content first
    #[arg(long)]
    trust_content: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The repository's folder
    dir: PathBuf,
    /// Address and port to listen on; port 0 means any free port
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[derive(Subcommand, Debug)]
pub(crate) enum RootVerb {
    /// Draft the first root document
    New(ChangeArguments),
    /// Draft the next root document, with other keys, other thresholds or a later expiry
    Change(ChangeArguments),
    /// Sign a draft; each key holder does this in turn
    Sign {
        /// The draft, next.root.json
        file: PathBuf,
        /// Secret key of the root role
        #[arg(long, value_name = "KEY.pem")]
        key: PathBuf,
    },
    /// Publish the draft as root.json; enough key holders must have signed it
    Finish {
        /// The repository's folder
        #[arg(long, value_name = "DIR")]
        repo: PathBuf,
    },
    /// Show a root document; verifies nothing
    Show {
        /// The document
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ChangeArguments {
    /// The repository's folder
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// Add a key to a role; ROLE is root, channel or release
    #[arg(long, value_name = "ROLE=KEY.pub.pem")]
    add: Vec<RoleKey>,
    /// Remove a key from a role, by the key's id
    #[arg(long, value_name = "ROLE=KEYID")]
    remove: Vec<RoleKeyId>,
    /// Number of keys of a role that must sign [default: as before; 1 for a new role]
    #[arg(long, value_name = "ROLE=N")]
    threshold: Vec<RoleThreshold>,
    /// Days until the root document expires
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1095,
        value_parser = clap::value_parser!(u32).range(1..=36600),
    )]
    expires_days: u32,
}

impl Place {
    fn keys(&self) -> Result<Vec<SecretKey>> {
        self.keys.iter().map(|path| Ok(SecretKey::load(path)?)).collect()
    }
}

pub(crate) fn publish(arguments: Publish) -> Result<()> {
    let Publish { bundle, place, percent, over, from_version, deltas, with_kernel } = arguments;
    let stage = (percent.is_some() || over.is_some())
        .then(|| Stage { percent: percent.unwrap_or(100), hours: over.unwrap_or(0) });
    let keys = place.keys()?;
    let offer =
        Offer { bundle: &bundle, from_version, stage, deltas: usize::from(deltas), with_kernel };
    let repo = Repository::open(&place.repo)?;
    show(&repo.publish(&place.channel, &offer, &keys, place.expires_days)?)
}

pub(crate) fn withdraw(arguments: Withdraw) -> Result<()> {
    let Withdraw { version, place, compatible, reason } = arguments;
    let (keys, repo) = (place.keys()?, Repository::open(&place.repo)?);
    show(&repo.withdraw(
        &place.channel,
        compatible.as_ref(),
        &version,
        &reason,
        &keys,
        place.expires_days,
    )?)
}

pub(crate) fn renew(arguments: Renew) -> Result<()> {
    let Renew { place, trust_content } = arguments;
    let (keys, repo) = (place.keys()?, Repository::open(&place.repo)?);
    show(&repo.renew(&place.channel, &keys, place.expires_days, trust_content)?)
}

fn show(published: &Published) -> Result<()> {
    print!("{}", published.to_text());
    Ok(())
}

pub(crate) fn serve(arguments: &Serve) -> Result<()> {
    let server = Server::bind(&arguments.dir, arguments.listen)?;
    println!(
        "serving {} at http://{}/ (for trying out; Ctrl-C ends it)",
        arguments.dir.display(),
        server.address()?
    );
    server.run(&|line| println!("{line}"))
}

pub(crate) fn root(verb: RootVerb) -> Result<()> {
    match verb {
        RootVerb::New(arguments) => {
            let draft = arguments.change().first(&Repository::create(&arguments.repo)?)?;
            print!("{}{}", repo::show(&draft)?, next_step(&draft));
        }
        RootVerb::Change(arguments) => {
            let draft = arguments.change().next(&Repository::open(&arguments.repo)?)?;
            print!("{}{}", repo::show(&draft)?, next_step(&draft));
        }
        RootVerb::Sign { file, key } => print!("{}", repo::sign(&file, &SecretKey::load(&key)?)?),
        RootVerb::Finish { repo } => {
            let root = repo::finish(&Repository::open(&repo)?)?;
            println!(
                "root version {} is in place, until {}; new channels use it; run `daruma-bundler \
                    renew` for each channel that exists",
                root.version, root.expires
            );
        }
        RootVerb::Show { file } => print!("{}", repo::show(&file)?),
    }
    Ok(())
}

fn next_step(draft: &std::path::Path) -> String {
    let path = draft.display();
    format!(
        "{path} is a draft: sign it with `daruma-bundler root sign {path} --key …`, then \
            `daruma-bundler root finish`\n"
    )
}

impl ChangeArguments {
    fn change(&self) -> Change {
        let Self { add, remove, threshold, expires_days, .. } = self;
        Change {
            add: add.clone(),
            remove: remove.clone(),
            threshold: threshold.clone(),
            expires_days: *expires_days,
        }
    }
}
