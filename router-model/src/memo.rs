//! Memory of what each segment was found to contain.
//!
//! Chat clients send the whole history with every turn, so the same text is seen again and again. A scan is
//! kept under a keyed hash of its text. The key is drawn at random when the process starts and never leaves
//! it: somebody who sees the hashes cannot test guesses of the text against them. Only positions and kinds
//! are kept, never text, and the number of entries is bounded.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use moka::sync::Cache;

use crate::sensitivity::Scan;

/// Keyed hash of a text.
pub(crate) type Key = [u8; 32];

/// Bounded memory of what was found, keyed by the content of a segment.
pub(crate) struct Memo<T: ?Sized> {
    key: Key,
    known: Cache<Key, Arc<T>>,
}

impl<T: ?Sized> std::fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}

impl<T: ?Sized + Send + Sync + 'static> Memo<T> {
    pub(crate) fn new(entries: u64) -> Self {
        Self { key: random_key(), known: Cache::new(entries) }
    }

    /// What a text is remembered under.
    pub(crate) fn key(&self, text: &str) -> Key {
        *blake3::keyed_hash(&self.key, text.as_bytes()).as_bytes()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.known.get(key)
    }

    pub(crate) fn put(&self, key: Key, found: Arc<T>) {
        self.known.insert(key, found);
    }
}

impl Memo<Scan> {
    /// The scan of `text`, from memory or by `scan`. A scan that failed (`None`) is not remembered, so that the
    /// next request tries again. Two threads that ask at the same moment may both scan; the results are equal.
    pub(crate) fn get_or_scan(&self, text: &str, scan: impl FnOnce() -> Option<Scan>) -> Option<Arc<Scan>> {
        let key = self.key(text);
        if let Some(known) = self.get(&key) {
            return Some(known);
        }
        let fresh = Arc::new(scan()?);
        self.put(key, Arc::clone(&fresh));
        Some(fresh)
    }
}

/// 32 bytes from the operating system's randomness, by way of the seeds of the standard library's hasher.
///
/// Each `RandomState` starts from 128 random bits per thread and SipHash spreads them; blake3 condenses eight
/// such words into a key. Two tables of one thread share their random bits, so the key has 128 bits of entropy.
fn random_key() -> Key {
    let mut hasher = blake3::Hasher::new_derive_key("sluicegate router-model scan memo v1");
    for round in 0_u64..8 {
        hasher.update(&RandomState::new().hash_one(round).to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_between_memos() {
        assert_ne!(Memo::<Scan>::new(1).key, Memo::<Scan>::new(1).key);
    }

    #[test]
    fn second_lookup_does_not_scan() {
        let memo = Memo::new(8);
        let first = memo.get_or_scan("text", || Some(Scan::default())).expect("scanned");
        let second = memo.get_or_scan("text", || panic!("scanned twice")).expect("remembered");
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn failure_is_not_remembered() {
        let memo = Memo::new(8);
        assert!(memo.get_or_scan("text", || None).is_none());
        assert!(memo.get_or_scan("text", || Some(Scan::default())).is_some());
    }
}
