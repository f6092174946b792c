//! Targets for the documents of a channel's server.
//!
//! `lib` lists the targets with their limits. Each input is read twice: as it is, and with the
//! signature of a trusted key.

use bundle::channel::{
    Channel, Facts, Kind, Later, Roles, Root, Signed, Timestamp, Verdict, decide,
};
use bundle::{Keyring, SecretKey};
use semver::Version;

use crate::is_one_line;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// Returns the trusted root, which has key 1 for every role.
pub(crate) fn root() -> Root {
    let ring = || Keyring::new([key(1).public()], 1).unwrap();
    let roles = Roles { root: ring(), channel: ring(), release: ring() };
    Root {
        version: 1,
        expires: Timestamp::from_seconds(4_000_000_000),
        roles,
        later: Later::default(),
    }
}

/// Returns the input as it is, and as the body of a document that key 1 has signed.
fn forms(kind: Kind, input: &[u8]) -> [Option<Signed>; 2] {
    let raw = Signed::parse(kind, input);
    let body = [input.strip_suffix(b"\n").unwrap_or(input), b"\n{\"signatures\":[]}\n"].concat();
    let mut signed = Signed::parse(kind, &body).unwrap();
    signed.sign(&key(1)).unwrap();
    for signed in [raw.as_ref().ok(), Some(&signed)].into_iter().flatten() {
        assert_eq!(
            Signed::parse(kind, &signed.to_bytes()).as_ref(),
            Ok(signed),
            "written back as it was read"
        );
    }
    match raw {
        Ok(raw) => [Some(raw), Some(signed)],
        Err(error) => {
            is_one_line(&error.to_string());
            [None, Some(signed)]
        }
    }
}

/// The input is a root document.
pub(crate) fn root_document(input: &[u8]) {
    for signed in forms(Kind::Root, input).into_iter().flatten() {
        let bytes = signed.to_bytes();
        match root().successor(&bytes) {
            Ok(next) => {
                assert!(next.version > 1, "it goes back");
                assert!(
                    signed.signers(&root().roles.root).is_ok()
                        && signed.signers(&next.roles.root).is_ok()
                );
                assert_eq!(Root::claimed(&next.to_signed().unwrap()), Ok(next));
            }
            Err(error) => is_one_line(&error.to_string()),
        }
        if let Ok(anchor) = Root::anchor(&bytes) {
            assert!(signed.signers(&anchor.roles.root).is_ok(), "an anchor that nobody has signed");
        }
    }
}

/// The input is a channel.
pub(crate) fn channel(input: &[u8]) {
    let (compatible, name) = ("router".parse().unwrap(), "stable".parse().unwrap());
    let (version, floor) = (Version::new(1, 0, 0), Version::new(0, 5, 0));
    for signed in forms(Kind::Channel, input).into_iter().flatten() {
        let root = root();
        let channel = match Channel::open(&signed.to_bytes(), &name, &root) {
            Ok(channel) => channel,
            Err(error) => {
                is_one_line(&error.to_string());
                continue;
            }
        };
        assert!(signed.signers(&root.roles.channel).is_ok(), "a channel that nobody has signed");
        for (now, seen_serial) in [(0, 0), (1_800_000_000, 5), (u64::MAX, u64::MAX)] {
            let facts = Facts {
                id: "device",
                compatible: &compatible,
                version: &version,
                manifest: None,
                floor: &floor,
                quarantine: &[],
                delta_memory_mib: 1024,
                seen_serial,
                now: Timestamp::from_seconds(now),
            };
            let decision = decide(&channel, &root, &facts);
            decision.passed_over.iter().for_each(|passed| is_one_line(&passed.reason.to_string()));
            match decision.verdict {
                Verdict::Install(release, _) => {
                    assert!(release.version.cmp_precedence(&version).is_gt(), "it goes back");
                    assert!(release.compatible == compatible && release.withdrawn.is_none());
                    assert!(channel.serial >= seen_serial && decision.now < channel.expires);
                    let address = release.url.within("/srv/repo");
                    assert!(address.starts_with("http") || !address.contains(".."), "{address}");
                }
                Verdict::Refuse(error) => is_one_line(&error.to_string()),
                Verdict::Nothing => {}
            }
        }
    }
}
