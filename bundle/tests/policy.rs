//! A device asks that a bundle is of the right kind, not too old and not too large. Each refusal
//! has its own exit code.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use bundle::{Compatible, Policy};
use semver::Version;

#[test]
fn a_device_takes_only_what_is_meant_for_it_new_enough_and_fits() {
    let dir = tempfile::tempdir().unwrap();
    let verified =
        sample::open(&sample::small(dir.path(), &[1]), &sample::keyring(&[1], 1)).unwrap();
    let (router, hypervisor): (Compatible, Compatible) =
        ("router".parse().unwrap(), "hypervisor".parse().unwrap());
    // The sample is 1.2.3-rc.1+build.7.
    let verdict = |compatible, floor: &str, current: Option<&str>, boot_capacity, root_capacity| {
        let floor: Version = floor.parse().unwrap();
        let current: Option<Version> = current.map(|current| current.parse().unwrap());
        let policy = Policy {
            compatible,
            floor: &floor,
            current: current.as_ref(),
            boot_capacity,
            root_capacity,
        };
        verified.check(&policy).map_err(|refusal| {
            assert!(!refusal.to_string().contains('\n'), "{refusal}");
            refusal.exit_code()
        })
    };
    assert_eq!(verdict(&router, "0.0.0", None, 4096, 4096), Ok(()));
    assert_eq!(verdict(&hypervisor, "0.0.0", None, 4096, 4096), Err(13));
    assert_eq!(verdict(&router, "1.2.3-rc.1", None, 4096, 4096), Ok(()));
    assert_eq!(
        verdict(&router, "1.2.3-rc.1+build.9", None, 4096, 4096),
        Ok(()),
        "build metadata does not count"
    );
    assert_eq!(verdict(&router, "1.2.3-rc.2", None, 4096, 4096), Err(14));
    assert_eq!(
        verdict(&router, "1.2.3", None, 4096, 4096),
        Err(14),
        "a pre-release is older than the release"
    );
    assert_eq!(verdict(&router, "0.0.0", Some("1.2.2"), 4096, 4096), Ok(()));
    assert_eq!(verdict(&router, "0.0.0", Some("1.2.3"), 4096, 4096), Err(14));
    assert_eq!(verdict(&router, "0.0.0", None, 4095, 4096), Err(15));
    assert_eq!(verdict(&router, "0.0.0", None, 4096, 4095), Err(15));
    assert_eq!(
        verdict(&hypervisor, "9.0.0", None, 0, 0),
        Err(13),
        "the most basic refusal comes first"
    );
}
