//! A device follows a channel with deltas.
//!
//! `publisher` offers the deltas, and `web_server` serves them. The tests show which delta the
//! device takes, and what it does without one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use bundle::channel::{Delta, Later};
use bundle::delta::{Header, Record, limits, zstd_version};
use bundle::{Bundle, Sha256};
use image_layout::{FileDisk, Slot};

use crate::bench::{Bench, Ended, Made, Spec};
use crate::publisher::Publisher;

/// MiB of memory that the delta with the kernel needs.
const MEMORY: u32 = 800;
/// Offset in the running slot's root partition, behind its image. The bytes there are those that
/// the deltas copy.
const STORE: u64 = 16 << 20;

/// A device that runs 1.0.0, and a publisher of 2.0.0 with two deltas to it.
struct Offered {
    bench: Bench,
    publisher: Publisher,
    made: Made,
}

impl Offered {
    /// Makes the device and two deltas.
    ///
    /// The channel says that the shorter delta needs [`MEMORY`] MiB, and its header asks for
    /// `kernel` MiB. The longer delta needs only what every device grants.
    fn new(kernel: u32) -> Self {
        let bench = Bench::new();
        let mut publisher = Publisher::of(&bench);
        let old = bench.bundle(&Spec { version: "1.0.0", ..Spec::default() });
        bench.put_system(Slot::A, &old);
        let made = bench.bundle(&Spec::default());
        let root = File::options().write(true).open(bench.path("root-a")).unwrap();
        root.write_all_at(&[&made.boot[..], &made.root].concat(), STORE).unwrap();
        let hash = |made: &Made| {
            let bundle =
                Bundle::open(FileDisk::open_read_only(&made.path).unwrap(), &bench.keyring())
                    .unwrap();
            bundle.manifest_sha256()
        };
        let (from, to) = (hash(&old), hash(&made));
        let (boot, root) = (made.boot.len() as u64, made.root.len() as u64);
        let copies = [(STORE, boot), (STORE + boot, root)];
        let records =
            copies.map(|(offset, len)| Record::Copy { image: 1, offset, len }.encode().unwrap());
        let delta = |name: &str, memory: u32, memory_mib: u32, behind: usize| {
            let header = Header { zstd: zstd_version(), old: from, new: to, memory };
            // The device does not read the bytes behind the last record.
            let bytes = [header.encode(), records.concat(), vec![0; behind]].concat();
            let url = format!("bundles/{name}.delta");
            fs::write(publisher.path(&url), &bytes).unwrap();
            let (size, sha256) = (bytes.len() as u64, Sha256::of(&bytes));
            Delta {
                from,
                url: url.parse().unwrap(),
                size,
                sha256,
                memory_mib,
                later: Later::default(),
            }
        };
        let deltas = vec![
            delta("small", limits::MEMORY, limits::MEMORY, 200_000),
            delta("kernel", kernel, MEMORY, 0),
        ];
        publisher.offer(&old);
        publisher.offer(&made).deltas = deltas;
        publisher.put_channel();
        Self { bench, publisher, made }
    }

    /// Updates the device, whose configuration grants `granted` MiB. Returns the deltas that it
    /// asked for, in order.
    fn update(&self, granted: u32) -> (Ended, Vec<String>) {
        let server = self.publisher.serve(|_, answer| answer);
        let url = format!("http://127.0.0.1:{}", server.port());
        self.publisher.follow(
            &self.bench,
            &url,
            &format!("[pull]\ntries = 1\ndelta-memory-mib = {granted}"),
        );
        let ended = self.bench.run(&["update"]);
        ended.succeeded();
        assert!(self.made.is_in_slot_b(&self.bench));
        let mut asked: Vec<String> =
            server.asked().iter().map(|asked| asked.target.clone()).collect();
        asked.retain(|target| target.ends_with(".delta"));
        asked.dedup();
        (ended, asked)
    }
}

#[track_caller]
fn says(ended: &Ended, part: &str) {
    assert!(
        ended.stdout.contains(part) || ended.stderr.contains(part),
        "{part:?} is not in {ended:?}"
    );
}

#[test]
fn a_delta_that_takes_more_memory_than_is_granted_is_not_asked_for() {
    for granted in [limits::MEMORY, MEMORY - 1] {
        let (ended, asked) = Offered::new(MEMORY).update(granted);
        assert_eq!(asked, ["/bundles/small.delta"]);
        says(
            &ended,
            "into slot B: a delta of 200 kB (instead of 6.30 MB by chunks, 6.30 MB in full)",
        );
    }
}

#[test]
fn where_the_memory_is_granted_the_shorter_delta_is_taken_and_the_device_says_so() {
    let (ended, asked) = Offered::new(MEMORY).update(MEMORY);
    assert_eq!(asked, ["/bundles/kernel.delta"]);
    says(
        &ended,
        "a delta of 128 B with the kernel's payload, in 800 MiB of memory (instead of 6.30 MB by \
            chunks",
    );
}

#[test]
fn without_the_one_delta_the_other_is_taken_and_without_both_the_chunks() {
    let offered = Offered::new(MEMORY);
    fs::remove_file(offered.publisher.path("bundles/kernel.delta")).unwrap();
    let (ended, asked) = offered.update(MEMORY);
    assert_eq!(asked, ["/bundles/kernel.delta", "/bundles/small.delta"]);
    says(&ended, "the update goes on without this delta");
    says(&ended, "a delta of 200 kB (instead of");

    let offered = Offered::new(MEMORY);
    for name in ["kernel", "small"] {
        fs::remove_file(offered.publisher.path(&format!("bundles/{name}.delta"))).unwrap();
    }
    let (ended, asked) = offered.update(MEMORY);
    assert_eq!(asked, ["/bundles/kernel.delta", "/bundles/small.delta"]);
    says(&ended, "6.30 MB to fetch, 8.19 kB from the running slot");
}

#[test]
fn a_delta_whose_header_asks_for_more_than_the_channel_says_is_left_for_the_next() {
    let (ended, asked) = Offered::new(MEMORY + 1).update(MEMORY);
    assert_eq!(asked, ["/bundles/kernel.delta", "/bundles/small.delta"]);
    says(&ended, "it takes 801 MiB of memory, and 800 MiB are allowed");
    says(&ended, "a delta of 200 kB (instead of");
}
