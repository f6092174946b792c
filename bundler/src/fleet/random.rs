//! Random numbers that are the same for the same seed.
//!
//! The simulator decides what they are for. Each device has a stream of its own.

use crate::fleet::share::Share;

/// SplitMix64. A stream takes eight bytes, and every device has its own stream.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// Returns stream `number` of `seed`.
    #[must_use]
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed);
        random.0 = random.draw() ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd);
        random.0 = random.draw();
        random
    }

    /// Returns the next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.draw() % (to.saturating_sub(from) + 1)
    }

    /// Returns true in that share of the cases.
    pub fn happens(&mut self, share: Share) -> bool {
        // A double holds 53 bits, so only the upper 53 bits are used.
        ((self.draw() >> 11) as f64) < share.fraction() * (1_u64 << 53) as f64
    }
}
