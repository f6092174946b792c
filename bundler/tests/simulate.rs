//! A simulated fleet behaves like a real one: the shares of the roll-out, the stop, and one result
//! for one seed.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::process::Command;

use bundler::share::Share;
use bundler::simulate::{Offer, Run, Scenario};
use bundler::watch::StopRule;
use semver::Version;

const HOUR: u64 = 3600;

fn percent(text: &str) -> Share {
    text.parse().unwrap()
}

fn scenario(devices: u32, failing: &str, stop_above: Option<&str>) -> Scenario {
    Scenario {
        devices,
        days: 5,
        poll_hours: 6,
        jitter_minutes: 30,
        window: None,
        offline: percent("5"),
        failing: percent(failing),
        fetched: percent("50"),
        stop: stop_above.map(|above| StopRule { above: percent(above) }),
        watch_minutes: 10,
        seed: 7,
        offer: Offer::invented(Version::new(2, 0, 0), 48, 75_000_000, None).unwrap(),
    }
}

/// Returns the number of devices that have the release or are getting it, whatever the result of
/// their trial.
fn touched(run: &Run, sample: usize) -> u64 {
    run.samples[sample].counts[1..].iter().map(|count| u64::from(*count)).sum()
}

#[test]
fn one_seed_gives_one_result_and_another_seed_another() {
    let one = scenario(2000, "2", Some("1"));
    let mut other = one.clone();
    other.seed += 1;
    let (first, second) = (one.run().unwrap(), one.run().unwrap());
    assert_eq!(first.to_text(&one), second.to_text(&one));
    assert_eq!(first.to_svg(&one), second.to_svg(&one));
    assert_ne!(first.to_svg(&one), other.run().unwrap().to_svg(&other));
}

#[test]
fn a_good_release_reaches_everybody_and_nobody_before_the_share() {
    let scenario = scenario(5000, "0", Some("1"));
    let run = scenario.run().unwrap();
    for (index, sample) in run.samples.iter().enumerate() {
        assert_eq!(sample.counts.iter().sum::<u32>(), 5000);
        // The places of 5000 devices are spread evenly, but not exactly. The tolerance is four
        // standard deviations of sqrt(n p (1-p)).
        let in_share = sample.share.fraction() * 5000.0;
        let touched = touched(&run, index) as f64;
        assert!(touched <= in_share + 4.0 * 36.0, "{touched} devices and a share of {in_share}");
    }
    assert_eq!(touched(&run, 0), 0);
    assert_eq!(run.samples.last().unwrap().counts, [0, 5000, 0, 0]);
    assert_eq!((run.tried, run.failed, &run.stop), (5000, 0, &None));
    assert_eq!((run.results.committed, run.results.fell_back), (5000, 0));
    let [half, most, all] = run.reached.map(Option::unwrap);
    // The share is 50 % after 24 h. A device sees that with its next poll.
    assert!((24 * HOUR..33 * HOUR).contains(&half) && half < most && most < all && all < 60 * HOUR);
}

#[test]
fn a_release_to_a_part_of_the_devices_stays_there() {
    let mut scenario = scenario(5000, "0", None);
    let releases = &mut scenario.offer.channel.releases;
    releases.last_mut().unwrap().rollout.as_mut().unwrap().percent = 20;
    let run = scenario.run().unwrap();
    assert!(run.tried.abs_diff(1000) < 4 * 29, "{} of 5000 for 20 %", run.tried);
    assert_eq!(run.reached, [None; 3]);
}

#[test]
fn a_release_that_fails_is_stopped_and_nobody_takes_it_after_the_next_poll() {
    let scenario = scenario(20_000, "5", Some("1"));
    let run = scenario.run().unwrap();
    let stop = run.stop.as_ref().expect("it is stopped");
    assert!(stop.reason.contains("fell back"), "{}", stop.reason);
    // At a rate of 5 %, some hundred results are enough to be sure of more than 1 %. Meanwhile
    // other devices have begun.
    assert!(run.tried < 400, "{} of 20000 devices got a bad release", run.tried);
    assert!(run.failed > 0 && run.results.fell_back <= run.failed);
    // A device that decided before the stop goes on. A download takes some minutes, or until the
    // link is back.
    let last = run.samples.iter().rposition(|sample| sample.at_s <= stop.at_s).unwrap();
    assert!(run.samples[last + 2..].iter().all(|sample| sample.share == percent("0")));
    let (at_stop, in_the_end) = (touched(&run, last + 1), touched(&run, run.samples.len() - 1));
    assert!(in_the_end - at_stop <= 3, "{at_stop} at the stop, {in_the_end} in the end");
    // Every device has seen the withdrawn channel.
    assert!(run.traffic.channels >= 20_000 + run.tried);

    let mut unwatched = scenario.clone();
    unwatched.stop = None;
    let run = unwatched.run().unwrap();
    assert_eq!((run.tried, &run.stop), (20_000, &None));
    assert!(run.failed.abs_diff(1000) < 4 * 31, "{} failed", run.failed);
    // A device on which the release failed does not try it again.
    assert_eq!(u64::from(run.samples.last().unwrap().counts[3]), run.failed);
}

#[test]
fn failures_below_the_limit_stop_nothing() {
    let run = scenario(10_000, "0.5", Some("1")).run().unwrap();
    assert_eq!((&run.stop, run.tried), (&None, 10_000));
}

#[test]
fn a_poll_of_an_unchanged_channel_is_one_answer_without_a_body() {
    let mut scenario = scenario(500, "0", None);
    scenario.offline = percent("0");
    let run = scenario.run().unwrap();
    let (polls, changes) = (run.traffic.unchanged + run.traffic.channels, run.traffic.channels);
    assert_eq!(changes, 500, "each device gets the channel once");
    // 5 days with a poll every 6 to 6.5 hours, and one more poll after each install.
    assert!((500 * 18..=500 * 22).contains(&polls), "{polls} polls");
    let document = scenario.offer.channel.to_signed().unwrap().to_bytes().len() as u64;
    assert!(run.traffic.poll_bytes < polls * 300 + changes * (document + 300));
}

#[test]
fn bytes_are_those_of_the_delta_when_there_is_one() {
    let mut scenario = scenario(1000, "0", None);
    let run = scenario.run().unwrap();
    assert_eq!((run.traffic.deltas, run.traffic.bundles), (0, 1000));
    assert_eq!(run.traffic.download_bytes, 1000 * 37_500_000);
    scenario.offer =
        Offer::invented(Version::new(2, 0, 0), 48, 75_000_000, Some(15_000_000)).unwrap();
    let run = scenario.run().unwrap();
    assert_eq!((run.traffic.deltas, run.traffic.bundles), (1000, 0));
    assert_eq!(run.traffic.download_bytes, 1000 * 15_000_000);
}

#[test]
fn a_release_that_needs_a_stop_on_the_way_is_reached_in_two_steps() {
    let mut scenario = scenario(300, "0", None);
    let releases = &mut scenario.offer.channel.releases;
    let mut between = releases[0].clone();
    between.version = Version::new(1, 5, 0);
    between.manifest_sha256 = bundle::Sha256::of(b"1.5.0");
    releases[1].from_version = Some(Version::new(1, 5, 0));
    releases.push(between);
    scenario.days = 7;
    let run = scenario.run().unwrap();
    assert_eq!(run.samples.last().unwrap().counts, [0, 0, 300, 0, 0]);
    assert_eq!((run.tried, run.traffic.bundles), (300, 600));
}

#[test]
fn devices_with_a_window_install_and_restart_in_it_only() {
    let mut scenario = scenario(1000, "0", None);
    scenario.window = Some("2-5".parse().unwrap());
    let run = scenario.run().unwrap();
    assert_eq!(run.samples.last().unwrap().counts, [0, 1000, 0, 0]);
    // The simulation begins at midnight.
    for pair in run.samples.windows(2) {
        let hour = pair[0].at_s / HOUR % 24;
        // A trial that begins in the window may be committed a little later.
        let is_night = pair[1].at_s % (24 * HOUR) > 2 * HOUR && hour < 6;
        assert!(is_night || pair[0].counts[1] == pair[1].counts[1], "{} h: {pair:?}", hour);
    }
}

#[test]
fn an_expired_channel_is_refused_and_said() {
    let mut scenario = scenario(300, "0", None);
    scenario.offer.channel.expires = scenario.offer.start.after(24 * HOUR);
    let run = scenario.run().unwrap();
    assert!(run.refused > 0 && run.tried < 200 && run.to_text(&scenario).contains("had expired"));
}

#[test]
fn the_program_prints_the_seed_and_draws_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        let out = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(
                "simulate --devices 3000 --failing 8 --stop-above 2% --seed 41 --svg r.svg"
                    .split(' '),
            )
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        (
            String::from_utf8(out.stdout).unwrap(),
            std::fs::read_to_string(dir.path().join("r.svg")).unwrap(),
        )
    };
    let (text, svg) = run();
    assert!(text.contains("seed 41") && text.contains("stopped after"), "{text}");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("stopped after"));
    assert_eq!(run(), (text, svg));
    let out = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
        .args(["simulate", "--repo", "nowhere"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(
        !out.status.success() && error.lines().count() == 1 && error.contains("nowhere"),
        "{error}"
    );
}
