//! `daruma-bundler`: calls the function that belongs to a verb.
//!
//! The library does the work. `main` prints an error in one place and in one line.

#![forbid(unsafe_code)]

mod verbs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::bundle::SecretKey;
use ::bundle::oci::Reference;
use anyhow::{Context, Result, bail};
use bundler::bundling::renumber;
use bundler::credentials::Credentials;
use bundler::delta::{self, Outputs};
use bundler::host::tool;
use bundler::inspect::Inspection;
use bundler::lock::Lock;
use bundler::repo::Trusted;
use bundler::{exit, grub, image, registry, rootfs};
use clap::{Parser, Subcommand};

use verbs::{build, bundle, cache, contents, fleet, repo, show, verify};

/// Builds Debian system images, and signs them as updates for Daruma devices.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Make a key pair: NAME.key.pem signs and stays secret, NAME.pub.pem goes onto devices
    Keygen {
        /// Folder for the two files; it is made if it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Name of the two files; existing files are not overwritten
        #[arg(long, default_value = "daruma")]
        name: String,
    },
    /// Build what a recipe names, with mmdebstrap
    Build(Box<build::Build>),
    /// Called by `build` inside the root filesystem's namespace: gives accounts their old numbers
    #[command(hide = true)]
    KeepIds {
        /// The root filesystem
        root: PathBuf,
        /// The lock
        lock: PathBuf,
    },
    /// Show what `build` keeps, or remove some of it
    Cache(cache::CacheArguments),
    /// Print a recipe and all that it extends and includes as one, each line with its place
    Show(show::Show),
    /// Print the JSON Schema of recipes, for editors
    Schema,
    /// Make a signed bundle of a root filesystem
    Bundle(Box<bundle::Bundle>),
    /// Make a disk image that boots a bundle
    Image {
        /// The bundle
        bundle: PathBuf,
        /// Folder of the trusted public keys; enough of them must have signed the bundle
        #[arg(long, value_name = "DIR")]
        keyring: PathBuf,
        /// Take the sizes of the partitions and the suite of GRUB from this recipe [default: the
        /// sizes from the bundle, and this host's GRUB]
        #[arg(long, value_name = "RECIPE")]
        recipe: Option<PathBuf>,
        /// A systemd credential for the devices that get this image; may be repeated. A value on
        /// the command line is visible to other users of this machine, a file is not
        #[arg(long = "credential", value_name = "NAME=VALUE|NAME=@FILE")]
        credentials: Vec<String>,
        #[command(flatten)]
        reading: build::Reading,
        /// Write RECIPE.grub.lock, which names the packages of GRUB, and say what it changes. With
        /// FILE.lock, FILE.grub.lock
        #[arg(
            long,
            value_name = "FILE.lock",
            require_equals = true,
            conflicts_with = "locked",
            requires = "recipe"
        )]
        lock: Option<Option<PathBuf>>,
        /// Take exactly the GRUB that RECIPE.grub.lock or FILE.grub.lock names
        #[arg(long, value_name = "FILE.lock", require_equals = true, requires = "recipe")]
        locked: Option<Option<PathBuf>>,
        #[command(flatten)]
        caching: cache::Caching,
        /// The disk image to write; the ending .raw or .qcow2 chooses the format
        #[arg(short, value_name = "DISK.raw|DISK.qcow2")]
        output: PathBuf,
    },
    /// Make a delta: a short way from one bundle to another, for devices that run the old one
    Delta {
        /// The bundle that devices run now
        old: PathBuf,
        /// The bundle that devices will get
        new: PathBuf,
        /// Folder of the trusted public keys; enough of them must have signed both bundles
        #[arg(long, value_name = "DIR")]
        keyring: PathBuf,
        /// The delta to write
        #[arg(short, value_name = "OUT.delta")]
        output: PathBuf,
        /// Also write a shorter delta, which unpacks the kernel too. Only devices whose
        /// `delta-memory-mib` grants enough memory take it
        #[arg(long, value_name = "OUT.delta")]
        with_kernel: Option<PathBuf>,
    },
    /// Show what a bundle says about itself; verifies nothing
    Inspect {
        /// The bundle
        bundle: PathBuf,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show what takes the room in a tar or a bundle; verifies nothing
    Size(contents::Size),
    /// Show what differs between two tars or bundles; verifies nothing
    Diff(contents::Compared),
    /// Verify the signatures and every byte of a bundle; with --rebuild, that its recipe gives it
    Verify(Box<verify::Verify>),
    /// Make or change the root document, which says which keys devices trust
    #[command(subcommand)]
    Root(repo::RootVerb),
    /// Put a bundle into a channel, and print what devices will see
    Publish(repo::Publish),
    /// Withdraw a release: devices that do not have it will not take it
    Withdraw(repo::Withdraw),
    /// Sign a channel again, before it expires or after the root document changed
    Renew(repo::Renew),
    /// Send a repository or one bundle to an OCI registry; skips what the registry has
    Push {
        /// The repository's folder, or one bundle
        what: PathBuf,
        /// oci://HOST[:PORT]/NAME. A single bundle may have a :TAG. oci+http:// is without TLS
        to: Reference,
    },
    /// Fetch a repository, or one file of it, from an OCI registry
    Pull {
        /// oci://HOST[:PORT]/NAME[:TAG]; a tag names one file
        from: Reference,
        /// The folder to write; for one file, the file
        #[arg(short, value_name = "DIR|FILE")]
        output: PathBuf,
    },
    /// Serve a repository over HTTP, for tests; a fleet needs a real web server
    Serve(repo::Serve),
    /// Read from a server's access log how releases ended, and withdraw those that fail
    Watch(fleet::Watch),
    /// Simulate a fleet that polls a channel during a roll-out
    Simulate(fleet::Simulate),
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("daruma-bundler: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::from(exit::code(&error))
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    tool::check_folder()?;
    match verb {
        Verb::Keygen { out, name } => keygen(&out, &name),
        Verb::Build(arguments) => build::build(*arguments),
        Verb::KeepIds { root, lock } => {
            let lock = Lock::load(&lock)?.context("the lock is gone")?;
            renumber::renumber(&root, &lock.accounts())
        }
        Verb::Cache(arguments) => cache::cache(&arguments),
        Verb::Show(arguments) => show::show(&arguments),
        Verb::Schema => {
            println!("{:#}", bundler::recipe::schema());
            Ok(())
        }
        Verb::Bundle(arguments) => bundle::bundle(*arguments),
        Verb::Image {
            bundle,
            keyring,
            recipe,
            credentials,
            reading,
            lock,
            locked,
            caching,
            output,
        } => {
            let credentials = Credentials::of_arguments(&credentials)?;
            let mut recipe = recipe.map(|recipe| reading.load(&recipe)).transpose()?;
            let layout = recipe.as_ref().map(|recipe| recipe.layout);
            let locks = build::Locks { lock, locked };
            let locking =
                recipe.as_mut().map_or(rootfs::Locking::Unlocked, |recipe| locks.apply(recipe));
            let cache = recipe.as_ref().map(|_| caching.open()).transpose()?.flatten();
            let cache = cache.as_ref();
            let grub = recipe.as_ref().map(|recipe| grub::Source { recipe, locking, cache });
            image::write(
                &bundle,
                &Trusted::load(&keyring)?.keyring,
                layout,
                &credentials,
                grub.as_ref(),
                rootfs::source_date_epoch()?,
                &output,
            )
        }
        Verb::Delta { old, new, keyring, output, with_kernel } => {
            let keyring = Trusted::load(&keyring)?.keyring;
            let outputs = Outputs { small: Some(&output), kernel: with_kernel.as_deref() };
            print!("{}", delta::write(&old, &new, &keyring, outputs)?.to_text());
            Ok(())
        }
        Verb::Inspect { bundle, json } => {
            let inspection = Inspection::read(&bundle)?;
            if json {
                println!("{:#}", inspection.to_json());
            } else {
                print!("{}", inspection.to_text());
            }
            Ok(())
        }
        Verb::Size(arguments) => contents::size(&arguments),
        Verb::Diff(arguments) => contents::diff(&arguments),
        Verb::Verify(arguments) => verify::verify(*arguments),
        Verb::Root(verb) => repo::root(verb),
        Verb::Publish(arguments) => repo::publish(arguments),
        Verb::Withdraw(arguments) => repo::withdraw(arguments),
        Verb::Renew(arguments) => repo::renew(arguments),
        Verb::Push { what, to } => {
            let push = if what.is_dir() { registry::push_repository } else { registry::push_file };
            print!("{}", push(&what, &to)?);
            Ok(())
        }
        Verb::Pull { from, output } => {
            let pull =
                if from.tag.is_some() { registry::pull_file } else { registry::pull_repository };
            print!("{}", pull(&from, &output)?);
            Ok(())
        }
        Verb::Serve(arguments) => repo::serve(&arguments),
        Verb::Watch(arguments) => fleet::watch(arguments),
        Verb::Simulate(arguments) => fleet::simulate(arguments),
    }
}

fn keygen(out: &Path, name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['/', '\0']) {
        bail!("--name {name:?} cannot be the name of a file");
    }
    std::fs::create_dir_all(out).with_context(|| format!("making the folder {}", out.display()))?;
    let (secret_path, public_path) =
        (out.join(format!("{name}.key.pem")), out.join(format!("{name}.pub.pem")));
    // Devices trust the old key. Nobody could tell a new key of the same name from the old one.
    for path in [&secret_path, &public_path] {
        if path.symlink_metadata().is_ok() {
            bail!(
                "{} exists already and is not overwritten; choose another --name",
                path.display()
            );
        }
    }
    let secret = SecretKey::generate()?;
    let public = secret.public();
    secret.save(&secret_path)?;
    std::fs::write(&public_path, public.to_pem()?)
        .with_context(|| format!("writing {}", public_path.display()))?;
    println!(
        "key {}: {} signs, {} goes onto devices",
        public.id(),
        secret_path.display(),
        public_path.display()
    );
    Ok(())
}
