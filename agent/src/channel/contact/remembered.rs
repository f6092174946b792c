//! What the device remembers of a channel between two polls: the document, and when it came.
//!
//! `trust::kept` writes the files. Only signatures make the remembered document count. The other
//! facts only decide what the next poll asks for.

use bundle::channel::{Channel, Root};
use bundle::limits;
use serde::{Deserialize, Serialize};

use crate::channel::contact::source::Source;
use crate::console::warn;
use crate::trust::kept::{FOLDER, keep, read};

/// When and how the channel was fetched. Unknown fields are ignored, because a fall-back brings
/// back an older agent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Contact {
    /// The repository.
    pub(crate) url: String,
    /// The document's ETag.
    pub(crate) etag: Option<String>,
    /// Time of the last successful look, seconds since 1970 by the device's clock.
    pub(crate) time_s: u64,
    /// Time of the last question for newer root documents.
    pub(crate) roots_s: u64,
}

/// Most bytes of the file.
const LIMIT: usize = 16 << 10;

impl Contact {
    /// Loads the contact. One of another repository, or one that cannot be read, counts as none.
    pub(crate) fn load(source: &Source<'_>) -> Self {
        let path = source.device.path(FOLDER).join(Self::file(source));
        let bytes = read(&path, LIMIT).ok().filter(|bytes| bytes.len() <= LIMIT);
        let contact = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        contact.filter(|contact| contact.url == source.folder()).unwrap_or_default()
    }

    pub(crate) fn store(&self, source: &Source<'_>) {
        if let Ok(text) = serde_json::to_string_pretty(self) {
            keep(source.device, &Self::file(source), format!("{text}\n").as_bytes());
        }
    }

    fn file(source: &Source<'_>) -> String {
        format!("{}.contact.json", source.config.channel.name)
    }
}

/// Returns the channel document that was accepted last, if the root's keys still sign it. Its
/// serial is the highest that was seen. New keys end that, because a thief of the old ones could
/// have raised the serial for ever.
pub(crate) fn kept(source: &Source<'_>, root: &Root) -> Option<(Vec<u8>, Channel)> {
    let path = source.device.path(FOLDER).join(file(source));
    let bytes = read(&path, limits::CHANNEL).ok()?;
    match Channel::open(&bytes, &source.config.channel.name, root) {
        Ok(channel) => Some((bytes, channel)),
        Err(error) if error.is_of_signatures() => None,
        Err(error) => {
            warn(format_args!("reading {}: {error}", path.display()));
            None
        }
    }
}

/// Returns the name of the channel's document, in the repository and on the device.
pub(crate) fn file(source: &Source<'_>) -> String {
    format!("{}.channel.json", source.config.channel.name)
}
