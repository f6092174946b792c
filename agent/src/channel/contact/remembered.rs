//! What is remembered of a channel between two looks: the document itself, which is believed for
//! its signatures only, and when and how it was got, which decides nothing but what is asked for.

use bundle::channel::{Channel, Root};
use bundle::limits;
use serde::{Deserialize, Serialize};

use crate::channel::contact::source::Source;
use crate::console::warn;
use crate::trust::kept::{FOLDER, keep, read};

/// When and how the channel was got. Unknown fields are ignored: a fall-back brings an older agent
/// back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Contact {
    /// The repository.
    pub(crate) url: String,
    /// The document's ETag.
    pub(crate) etag: Option<String>,
    /// When it was last looked at with success, seconds since 1970 by the device's clock.
    pub(crate) time_s: u64,
    /// When it was last asked for newer root documents.
    pub(crate) roots_s: u64,
}

/// Most bytes of the file.
const LIMIT: usize = 16 << 10;

impl Contact {
    /// That of another repository, and one that cannot be read, are none.
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

/// The channel document that was accepted last, if the root's keys still speak for it. Its serial
/// is the highest that was seen: when the keys are replaced it does not count any more, or their
/// thief could have raised it for ever.
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

/// The name of the channel's document, in the repository and here.
pub(crate) fn file(source: &Source<'_>) -> String {
    format!("{}.channel.json", source.config.channel.name)
}
