//! Root and channel documents: who is believed, what is decided, and that no bytes do harm.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use bundle::channel::{
    Channel, ChannelError, Delta, Facts, Kind, Later, Reason, Release, Role, Roles, Rollout, Root,
    Signed, Timestamp, Verdict, decide,
};
use bundle::{ChannelName, Compatible, Keyring, SecretKey, Sha256, Unsigned};
use proptest::prelude::*;
use semver::Version;

const DAY: u64 = 86_400;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn ring(numbers: &[u8], threshold: usize) -> Keyring {
    Keyring::new(numbers.iter().map(|number| key(*number).public()), threshold).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// Returns root keys 1, 2, 3 (two must sign), channel key 11, release key 21.
fn root() -> Root {
    let roles =
        Roles { root: ring(&[1, 2, 3], 2), channel: ring(&[11], 1), release: ring(&[21], 1) };
    Root { version: 1, expires: now().after(365 * DAY), roles, later: Later::default() }
}

fn signed_root(root: &Root, keys: &[u8]) -> Vec<u8> {
    let mut signed = root.to_signed().unwrap();
    keys.iter().for_each(|number| signed.sign(&key(*number)).unwrap());
    signed.to_bytes()
}

fn release(version: &str) -> Release {
    Release {
        compatible: "router".parse().unwrap(),
        version: version.parse().unwrap(),
        build: "b1".parse().unwrap(),
        manifest_sha256: Sha256::of(version.as_bytes()),
        url: format!("bundles/router-{version}.daruma").parse().unwrap(),
        size: 1 << 20,
        tail: 4096,
        from_version: None,
        deltas: Vec::new(),
        rollout: None,
        withdrawn: None,
        later: Later::default(),
    }
}

fn channel(releases: Vec<Release>) -> Channel {
    let (issued, expires) = (now(), now().after(30 * DAY));
    let name = "stable".parse().unwrap();
    Channel { name, serial: 5, root: 1, issued, expires, releases, later: Later::default() }
}

fn signed_channel(channel: &Channel, keys: &[u8]) -> Vec<u8> {
    let mut signed = channel.to_signed().unwrap();
    keys.iter().for_each(|number| signed.sign(&key(*number)).unwrap());
    signed.to_bytes()
}

fn stable() -> ChannelName {
    "stable".parse().unwrap()
}

struct Device {
    compatible: Compatible,
    version: Version,
    floor: Version,
    quarantine: Vec<Sha256>,
    seen_serial: u64,
    now: Timestamp,
}

impl Device {
    /// Returns a router that runs `version` now.
    fn running(version: &str) -> Self {
        let (compatible, version) = ("router".parse().unwrap(), version.parse().unwrap());
        Self {
            compatible,
            version,
            floor: Version::new(0, 0, 0),
            quarantine: Vec::new(),
            seen_serial: 0,
            now: now(),
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            id: "0123456789abcdef",
            compatible: &self.compatible,
            version: &self.version,
            manifest: Some(Sha256::of(self.version.to_string().as_bytes())),
            floor: &self.floor,
            quarantine: &self.quarantine,
            delta_memory_mib: 32,
            seen_serial: self.seen_serial,
            now: self.now,
        }
    }

    /// Returns the version that the device installs.
    fn takes(&self, channel: &Channel) -> Option<String> {
        match decide(channel, &root(), &self.facts()).verdict {
            Verdict::Install(release, _) => Some(release.version.to_string()),
            Verdict::Nothing => None,
            Verdict::Refuse(error) => panic!("{error}"),
        }
    }

    fn refuses(&self, channel: &Channel) -> ChannelError {
        match decide(channel, &root(), &self.facts()).verdict {
            Verdict::Refuse(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_document_is_two_json_values_that_jq_reads_and_openssl_verifies() {
    let bytes = signed_channel(&channel(vec![release("2.0.0")]), &[11]);
    let values: Vec<serde_json::Value> =
        serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0]["releases"][0]["url"], "bundles/router-2.0.0.daruma");
    assert_eq!(values[1]["signatures"][0]["key"], key(11).public().id().to_string());
    let roots: serde_json::Value =
        serde_json::Deserializer::from_slice(&signed_root(&root(), &[1, 2]))
            .into_iter()
            .next()
            .unwrap()
            .unwrap();
    let line = roots["roles"]["channel"]["keys"][0].as_str().unwrap().to_owned();
    assert_eq!(key(11).public().to_pem().unwrap().lines().nth(1), Some(line.as_str()));

    let dir = tempfile::tempdir().unwrap();
    let body = Signed::parse(Kind::Channel, &bytes).unwrap().body().to_vec();
    std::fs::write(dir.path().join("message"), [b"daruma channel v1\n", &body[..]].concat())
        .unwrap();
    let sig = values[1]["signatures"][0]["sig"].as_str().unwrap();
    let sig: Vec<u8> =
        (0..64).map(|i| u8::from_str_radix(&sig[2 * i..2 * i + 2], 16).unwrap()).collect();
    std::fs::write(dir.path().join("sig"), sig).unwrap();
    std::fs::write(dir.path().join("key"), key(11).public().to_pem().unwrap()).unwrap();
    let openssl = std::process::Command::new("openssl")
        .args([
            "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "message",
            "-sigfile", "sig",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(openssl.status.success(), "{openssl:?}");
}

#[test]
fn a_root_is_an_anchor_only_if_enough_of_its_own_keys_have_signed() {
    assert_eq!(Root::anchor(&signed_root(&root(), &[1, 3])), Ok(root()));
    let too_few = ChannelError::Unsigned {
        kind: Kind::Root,
        cause: Unsigned::Threshold { have: 1, need: 2 },
    };
    assert_eq!(Root::anchor(&signed_root(&root(), &[2])), Err(too_few.clone()));
    assert_eq!(
        Root::anchor(&signed_root(&root(), &[2, 11])),
        Err(too_few),
        "a channel key is no root key"
    );
    assert!(matches!(Root::anchor(&signed_root(&root(), &[])), Err(ChannelError::Unsigned { .. })));
}

#[test]
fn a_root_follows_another_only_if_the_old_keys_and_its_own_have_signed() {
    let next = Root { version: 2, ..root() };
    let mut moved = next.clone();
    moved.roles.root = ring(&[3, 4, 5], 2);
    let unsigned = |bytes: &[u8]| root().successor(bytes).unwrap_err().is_of_signatures();
    assert_eq!(root().successor(&signed_root(&next, &[1, 2])), Ok(next.clone()));
    assert!(unsigned(&signed_root(&next, &[1])), "one stolen root key of two that are needed");
    assert!(unsigned(&signed_root(&next, &[11, 21])), "channel and release keys are no root keys");
    // Keys 1 and 2 give the root to 3, 4 and 5.
    assert_eq!(root().successor(&signed_root(&moved, &[1, 2, 4, 5])), Ok(moved.clone()));
    assert!(unsigned(&signed_root(&moved, &[1, 2])), "the new keys have not agreed");
    assert!(unsigned(&signed_root(&moved, &[4, 5])), "the old keys have not agreed");
    assert!(
        moved.successor(&signed_root(&Root { version: 3, ..next.clone() }, &[1, 2])).is_err(),
        "1 and 2 are out"
    );
    let again = Root { version: 1, expires: now(), ..root() };
    let error = root().successor(&signed_root(&again, &[1, 2])).unwrap_err();
    assert_eq!(error, ChannelError::RootOrder { trusted: 1, got: 1 });
}

#[test]
fn a_channel_is_believed_only_with_the_channel_roles_signatures() {
    let wanted = channel(vec![release("2.0.0")]);
    assert_eq!(
        Channel::open(&signed_channel(&wanted, &[11]), &stable(), &root()),
        Ok(wanted.clone())
    );
    for keys in [&[][..], &[1, 2, 3], &[21], &[12]] {
        let error = Channel::open(&signed_channel(&wanted, keys), &stable(), &root()).unwrap_err();
        assert!(error.is_of_signatures(), "{keys:?}: {error}");
    }
    let error = Channel::open(&signed_channel(&wanted, &[11]), &"beta".parse().unwrap(), &root())
        .unwrap_err();
    assert!(matches!(error, ChannelError::OtherName { .. }), "{error}");
    let ahead = Channel { root: 2, ..wanted };
    let error = Channel::open(&signed_channel(&ahead, &[11]), &stable(), &root()).unwrap_err();
    assert_eq!(error, ChannelError::RootTooOld { wanted: 2, trusted: 1 });
}

#[test]
fn a_signature_on_one_kind_of_document_is_none_on_another() {
    // A release key must not make channels, and a manifest must not be taken for a document.
    let body = signed_channel(&channel(Vec::new()), &[11]);
    assert!(Signed::parse(Kind::Root, &body).unwrap().signers(&ring(&[11], 1)).is_err());
    assert!(Signed::parse(Kind::Channel, &body).unwrap().signers(&ring(&[11], 1)).is_ok());
}

#[test]
fn every_flipped_bit_is_found() {
    let wanted = channel(vec![release("2.0.0")]);
    let good = signed_channel(&wanted, &[11]);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(Channel::open(&bad, &stable(), &root()).is_err(), "byte {at} bit {bit}");
        }
        assert!(Channel::open(&good[..at], &stable(), &root()).is_err(), "cut at {at}");
    }
}

#[test]
fn unknown_keys_are_refused_and_those_for_later_are_kept() {
    let good = signed_channel(&channel(vec![release("2.0.0")]), &[]);
    let text = String::from_utf8(good).unwrap();
    let sign = |text: &str| {
        let mut signed = Signed::parse(Kind::Channel, text.as_bytes()).unwrap();
        signed.sign(&key(11)).unwrap();
        Channel::open(&signed.to_bytes(), &stable(), &root())
    };
    let places = ["\"serial\"", "\"compatible\""];
    for place in places {
        let error =
            sign(&text.replace(place, &format!("\"depends\": [\"other\"], {place}"))).unwrap_err();
        assert!(error.to_string().contains("unknown key \"depends\""), "{error}");
        let twice = sign(&text.replace(
            place,
            &format!("\"issued\": \"2026-11-21T12:00:00Z\", \"version\": \"2.0.0\", {place}"),
        ));
        assert!(twice.is_err());
        let channel =
            sign(&text.replace(place, &format!("\"x-depends\": [\"other\"], {place}"))).unwrap();
        let again = String::from_utf8(channel.to_signed().unwrap().to_bytes()).unwrap();
        assert!(again.contains("x-depends"), "{again}");
    }
}

#[test]
fn a_channel_that_contradicts_itself_is_refused_however_well_it_is_signed() {
    let broken = |change: &dyn Fn(&mut Channel)| {
        let mut channel = channel(vec![release("2.0.0"), release("2.1.0")]);
        change(&mut channel);
        channel.to_signed()
    };
    assert!(broken(&|_| {}).is_ok());
    type Change = dyn Fn(&mut Channel);
    let cases: [(&str, &Change); 10] = [
        ("serial 0", &|c| c.serial = 0),
        ("serial 9007199254740993", &|c| c.serial = (1 << 53) + 1),
        ("expires before", &|c| c.expires = c.issued),
        ("comes twice", &|c| c.releases[1].version = "2.0.0+other".parse().unwrap()),
        ("more than 512", &|c| {
            c.releases = (0..513).map(|n| release(&format!("{n}.0.0"))).collect()
        }),
        ("tail", &|c| c.releases[0].tail = c.releases[0].size),
        ("tail", &|c| c.releases[0].tail = 63),
        ("size", &|c| c.releases[0].size = 1 << 41),
        ("rollout", &|c| {
            c.releases[0].rollout =
                Some(Rollout { start: now(), hours: 1, percent: 101, later: Later::default() })
        }),
        ("withdrawn", &|c| c.releases[0].withdrawn = Some("a\nb".to_owned())),
    ];
    for (part, change) in cases {
        let error = broken(change).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let large = Channel {
        releases: (0..512)
            .map(|n| Release {
                url: "u".repeat(1024).parse().unwrap(),
                ..release(&format!("{n}.0.0"))
            })
            .collect(),
        ..channel(Vec::new())
    };
    assert!(matches!(large.to_signed(), Err(ChannelError::TooLarge { .. })));
}

#[test]
fn the_highest_release_that_fits_is_taken() {
    let offer = channel(["1.0.0", "2.0.0", "3.0.0", "2.5.0"].map(release).to_vec());
    assert_eq!(Device::running("1.0.0").takes(&offer).as_deref(), Some("3.0.0"));
    assert_eq!(Device::running("3.0.0").takes(&offer), None, "nothing is newer");
    assert_eq!(Device::running("3.0.0-rc.1").takes(&offer).as_deref(), Some("3.0.0"));
    assert_eq!(Device::running("4.0.0").takes(&offer), None, "a channel never takes a device back");

    let mut other = offer.clone();
    other.releases[2].compatible = "switch".parse().unwrap();
    assert_eq!(Device::running("1.0.0").takes(&other).as_deref(), Some("2.5.0"));

    let floor = Device { floor: Version::new(9, 0, 0), ..Device::running("1.0.0") };
    assert_eq!(floor.takes(&offer), None);
    let failed = Device { quarantine: vec![Sha256::of(b"3.0.0")], ..Device::running("1.0.0") };
    assert_eq!(
        failed.takes(&offer).as_deref(),
        Some("2.5.0"),
        "what failed here is not taken again"
    );
    let facts = failed.facts();
    let root = root();
    let decision = decide(&offer, &root, &facts);
    assert_eq!(decision.passed_over[0].reason, Reason::Quarantined);
}

#[test]
fn a_withdrawn_release_is_taken_by_nobody_and_who_runs_it_is_told() {
    let mut offer = channel(["2.0.0", "3.0.0"].map(release).to_vec());
    offer.releases[1].withdrawn = Some("eats flash".to_owned());
    assert_eq!(Device::running("1.0.0").takes(&offer).as_deref(), Some("2.0.0"));
    let device = Device::running("3.0.0");
    let (facts, root) = (device.facts(), root());
    assert_eq!(decide(&offer, &root, &facts).running_withdrawn, Some("eats flash"));
    assert_eq!(device.takes(&offer), None);
}

#[test]
fn a_release_that_needs_a_newer_start_is_reached_by_a_step_between() {
    let mut offer = channel(["2.0.0", "3.0.0"].map(release).to_vec());
    offer.releases[1].from_version = Some(Version::new(2, 0, 0));
    assert_eq!(Device::running("1.0.0").takes(&offer).as_deref(), Some("2.0.0"));
    assert_eq!(Device::running("2.0.0").takes(&offer).as_deref(), Some("3.0.0"));
}

#[test]
fn the_delta_from_the_running_release_is_named() {
    let mut offer = channel(vec![release("2.0.0")]);
    let delta = |from: &str| Delta {
        from: Sha256::of(from.as_bytes()),
        url: format!("bundles/{from}.delta").parse().unwrap(),
        size: 7,
        sha256: Sha256([0; 32]),
        memory_mib: 32,
        later: Later::default(),
    };
    offer.releases[0].deltas = vec![delta("1.1.0"), delta("1.0.0")];
    let (device, root) = (Device::running("1.0.0"), root());
    let Verdict::Install(_, found) = decide(&offer, &root, &device.facts()).verdict else {
        panic!()
    };
    assert_eq!(urls(&found), ["bundles/1.0.0.delta"]);
    let unknown = Facts { manifest: None, ..device.facts() };
    assert!(matches!(
        decide(&offer, &root, &unknown).verdict,
        Verdict::Install(_, none) if none.is_empty()
    ));
}

fn urls<'a>(deltas: &[&'a Delta]) -> Vec<&'a str> {
    deltas.iter().map(|delta| delta.url.as_str()).collect()
}

#[test]
fn a_device_is_offered_the_shortest_delta_first_and_none_that_takes_more_memory_than_it_grants() {
    let delta = |name: &str, size, memory_mib| Delta {
        from: Sha256::of(b"1.0.0"),
        url: format!("bundles/{name}.delta").parse().unwrap(),
        size,
        sha256: Sha256([0; 32]),
        memory_mib,
        later: Later::default(),
    };
    let mut offer = channel(vec![release("2.0.0")]);
    offer.releases[0].deltas = vec![delta("small", 700, 32), delta("kernel", 300, 850)];
    // The offer is as it comes out of the signed document: with the key where it counts, and
    // without it elsewhere.
    let bytes = signed_channel(&offer, &[11]);
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text.matches("memory-mib").count(), 1, "{text}");
    let offer = Channel::open(&bytes, &stable(), &root()).unwrap();
    let (device, root) = (Device::running("1.0.0"), root());
    let ways = [
        (32, &["bundles/small.delta"][..]),
        (849, &["bundles/small.delta"]),
        (850, &["bundles/kernel.delta", "bundles/small.delta"]),
    ];
    for (delta_memory_mib, expected) in ways {
        let facts = Facts { delta_memory_mib, ..device.facts() };
        let Verdict::Install(_, found) = decide(&offer, &root, &facts).verdict else { panic!() };
        assert_eq!(urls(&found), expected, "{delta_memory_mib} MiB");
    }
}

#[test]
fn a_device_waits_for_its_turn() {
    let mut offer = channel(vec![release("2.0.0")]);
    offer.releases[0].rollout =
        Some(Rollout { start: now(), hours: 24, percent: 100, later: Later::default() });
    let mut device = Device::running("1.0.0");
    let root = root();
    let decision = decide(&offer, &root, &device.facts()).passed_over.remove(0).reason;
    let Reason::NotItsTurn(Some(turn)) = decision else { panic!("{decision:?}") };
    device.now = Timestamp::from_seconds(turn.seconds() - 1);
    assert_eq!(device.takes(&offer), None);
    device.now = turn;
    assert_eq!(device.takes(&offer).as_deref(), Some("2.0.0"));
    offer.releases[0].rollout.as_mut().unwrap().percent = 0;
    assert_eq!(device.takes(&offer), None);
}

#[test]
fn an_expired_or_older_channel_is_refused_and_a_clock_in_the_past_counts_as_its_issue() {
    let offer = channel(vec![release("2.0.0")]);
    let late = Device { now: offer.expires, ..Device::running("1.0.0") };
    assert!(matches!(late.refuses(&offer), ChannelError::Expired { kind: Kind::Channel, .. }));
    let later = Device { now: root().expires, ..Device::running("1.0.0") };
    assert!(matches!(later.refuses(&offer), ChannelError::Expired { kind: Kind::Root, .. }));
    let seen = Device { seen_serial: 6, ..Device::running("1.0.0") };
    assert_eq!(seen.refuses(&offer), ChannelError::RolledBack { seen: 6, got: 5 });
    assert_eq!(
        Device { seen_serial: 5, ..Device::running("1.0.0") }.takes(&offer).as_deref(),
        Some("2.0.0")
    );
    let behind = Device { now: Timestamp::from_seconds(0), ..Device::running("1.0.0") };
    assert_eq!(behind.takes(&offer).as_deref(), Some("2.0.0"));
    let (facts, root) = (behind.facts(), root());
    assert_eq!(decide(&offer, &root, &facts).now, offer.issued);
}

#[test]
fn a_role_with_one_key_twice_or_a_threshold_out_of_reach_is_refused() {
    let text = String::from_utf8(signed_root(&root(), &[])).unwrap();
    let claimed = |text: &str| Root::claimed(&Signed::parse(Kind::Root, text.as_bytes()).unwrap());
    assert!(claimed(&text).is_ok());
    let (one, two) = (key(1).public().to_base64(), key(2).public().to_base64());
    for (from, to) in [
        (two.as_str(), one.as_str()),
        ("\"threshold\": 2", "\"threshold\": 4"),
        ("\"threshold\": 2", "\"threshold\": 0"),
        ("\"version\": 1", "\"version\": 0"),
        ("\"version\": 1", "\"version\": -1"),
        (&one[..10], "AAAAAAAAAA"),
    ] {
        assert!(claimed(&text.replace(from, to)).is_err(), "{from} -> {to}");
    }
    assert_eq!(Role::ALL.map(Role::name), ["root", "channel", "release"]);
}

/// Any JSON, a few levels deep.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        Just("2.0.0".into()),
        Just("2026-11-21T12:00:00Z".into()),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof![
            "[a-z-]{1,9}",
            Just("serial".to_owned()),
            Just("releases".to_owned()),
            Just("roles".to_owned())
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_are_believed_or_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Root::anchor(&bytes).is_err());
        prop_assert!(root().successor(&bytes).is_err());
        prop_assert!(Channel::open(&bytes, &stable(), &root()).is_err());
    }

    /// Tests the layer behind the signature with whatever a holder of the key signs.
    #[test]
    fn no_signed_json_does_harm(
        mut value in json(),
        field in prop::sample::select(
            vec!["name", "serial", "root", "issued", "expires", "releases"],
        ),
        version in prop::sample::select(vec!["version", "expires", "roles"]),
    ) {
        for kind in [Kind::Channel, Kind::Root] {
            let mut document = match kind {
                Kind::Channel => serde_json::to_value(channel(vec![release("2.0.0")])).unwrap(),
                Kind::Root => serde_json::to_value(root()).unwrap(),
            };
            document[if kind == Kind::Channel { field } else { version }] = value.take();
            let text = format!("{document}\n{{\"signatures\":[]}}\n");
            let mut signed = Signed::parse(kind, text.as_bytes()).unwrap();
            signed.sign(&key(if kind == Kind::Channel { 11 } else { 1 })).unwrap();
            signed.sign(&key(2)).unwrap();
            let bytes = signed.to_bytes();
            let again = Signed::parse(kind, &bytes);
            prop_assert_eq!(again.as_ref(), Ok(&signed), "written back as it was read");
            match kind {
                Kind::Channel => {
                    if let Ok(channel) = Channel::open(&bytes, &stable(), &root()) {
                        let device = Device::running("1.0.0");
                        let root = root();
                        let _ = decide(&channel, &root, &device.facts());
                        let signed = channel.to_signed().unwrap();
                        prop_assert_eq!(Channel::claimed(&signed), Ok(channel));
                    }
                }
                Kind::Root => {
                    if let Ok(found) = Root::anchor(&bytes) {
                        prop_assert_eq!(Root::claimed(&found.to_signed().unwrap()), Ok(found));
                    }
                }
            }
        }
    }
}
