//! Fetches a channel: newer root documents first, then the channel document.
//!
//! `trust::root` and `bundle::channel` verify the documents. `plan` decides later if the channel
//! has expired.

use std::fs::File;

use bundle::channel::{Channel, ChannelError, Kind, Signed};
use bundle::limits;

use crate::channel::contact::remembered::{Contact, file, kept};
use crate::channel::contact::report;
use crate::channel::contact::source::Source;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::pull::Document;
use crate::status::state::now_s;
use crate::trust::kept::keep;
use crate::trust::root::{ANCHOR, Trust};

/// Newer root documents are asked for at least this often, seconds.
const ROOTS_S: u64 = 86_400;

/// A channel that is believed, and the root that says so. It may have expired.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) trust: Trust,
    pub(crate) channel: Channel,
}

/// Gets the channel. An unchanged channel costs one request, and once a day a second one for the
/// root.
///
/// # Errors
/// The channel cannot be fetched, or is not believed: [`Exit::Signature`], [`Exit::Channel`]. What
/// was believed before stays.
pub(crate) fn refresh(source: &Source<'_>, interrupt: &Interrupt) -> Result<Fresh, Failure> {
    let mut trust = Trust::load(source.device)?.ok_or_else(|| {
        let path = source.device.path(ANCHOR);
        let line = format!(
            "following a channel: {} is missing, and only that file says whose signatures count; \
                build the image with root.json in its keyring folder",
            path.display()
        );
        Failure::new(Exit::Config, line)
    })?;
    let mut seen = Contact::load(source);
    let mut known = kept(source, &trust.root);
    let now = now_s();
    // This is true when the clock was set back, and at the first contact, too.
    let mut are_roots_new = false;
    if known.is_none() || now.abs_diff(seen.roots_s) >= ROOTS_S {
        follow_roots(source, &mut trust, interrupt)?;
        are_roots_new = true;
        known = kept(source, &trust.root);
    }
    let etag = seen.etag.as_deref().filter(|_| known.is_some());
    let name = file(source);
    let report = report::untold(source);
    let words = report::words(source, report);
    let document = source.fetch(&name, limits::CHANNEL, etag, words.as_deref(), interrupt)?;
    if report.is_some() && document != Document::Missing {
        report::told(source);
    }
    let channel = match (document, known) {
        (Document::Unchanged, Some((_, channel))) => channel,
        (Document::Is { bytes, .. }, Some((before, channel))) if bytes == before => channel,
        (Document::Is { bytes, etag }, _) => {
            if !are_roots_new {
                follow_roots(source, &mut trust, interrupt)?;
                are_roots_new = true;
            }
            let channel = accept(source, &trust, &bytes)?;
            seen.etag = etag;
            channel
        }
        (Document::Missing | Document::Unchanged, _) => {
            let line = format!(
                "following the channel: {} is missing; are url and name of [channel] right?",
                source.shown(&name)
            );
            return Err(Failure::new(Exit::Channel, line));
        }
    };
    if are_roots_new {
        trust.keep_anchor(source.device);
        seen.roots_s = now;
    }
    seen.url = source.folder().to_owned();
    seen.time_s = now;
    seen.store(source);
    Ok(Fresh { trust, channel })
}

/// Accepts a document that differs from the one before, and keeps it.
fn accept(source: &Source<'_>, trust: &Trust, bytes: &[u8]) -> Result<Channel, Failure> {
    let name = file(source);
    let refuse = |error: ChannelError| refused(&source.shown(&name), &error);
    let channel = Channel::open(bytes, &source.config.channel.name, &trust.root).map_err(refuse)?;
    // A daemon and a person may both have fetched one. The later of the two must not put back the
    // earlier.
    let _lock = lock(source)?;
    if let Some((before, seen)) = kept(source, &trust.root) {
        if channel.serial < seen.serial {
            return Err(refuse(ChannelError::RolledBack {
                seen: seen.serial,
                got: channel.serial,
            }));
        }
        let body =
            |bytes: &[u8]| Signed::parse(Kind::Channel, bytes).map(|signed| signed.body().to_vec());
        if channel.serial == seen.serial && body(bytes) != body(&before) {
            return Err(refuse(ChannelError::TwoFaced(channel.serial)));
        }
    }
    keep(source.device, &name, bytes);
    Ok(channel)
}

/// Follows the chain of root documents to its end.
fn follow_roots(
    source: &Source<'_>,
    trust: &mut Trust,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    for _ in 0..limits::ROOT_STEPS {
        let name = format!("{}.root.json", trust.root.version + 1);
        let Document::Is { bytes, .. } =
            source.fetch(&name, limits::ROOT, None, None, interrupt)?
        else {
            return Ok(());
        };
        trust
            .advance(source.device, &bytes)
            .map_err(|error| refused(&source.shown(&name), &error))?;
    }
    // The rest follows at the next contact.
    Ok(())
}

pub(crate) fn refused(address: &str, error: &ChannelError) -> Failure {
    let exit = if error.is_of_signatures() { Exit::Signature } else { Exit::Channel };
    Failure::new(exit, format!("following the channel {address}: {error}"))
}

fn lock(source: &Source<'_>) -> Result<File, Failure> {
    let path = source.device.path("/run/daruma/channel.lock");
    let lock = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|error: std::io::Error| {
        Failure::new(Exit::Unexpected, format!("taking the lock {}: {error}", path.display()))
    })
}
