//! Stable hashes of words and word pairs.
//!
//! FNV-1a over code points, finished by the mixer of SplitMix64. Stable across platforms and releases, because
//! trained weights are addressed by them. Not a defence against chosen collisions: a caller who crafts words
//! can move a score, as a caller who pads a prompt can.

/// Streaming hash of the letters of one word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds one letter; the caller has folded its case.
    #[inline]
    pub(super) fn push(&mut self, letter: char) {
        self.0 = (self.0 ^ u64::from(letter)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The hash of what was added so far.
    #[inline]
    pub(super) fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// Hash of two words in order.
#[inline]
pub(super) fn pair(first: u64, second: u64) -> u64 {
    mix(first.rotate_left(17) ^ second.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[inline]
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
