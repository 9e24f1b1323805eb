//! The chain: how records are hashed, sealed and walked.
//!
//! A record is one line of canonical JSON (RFC 8785: sorted keys, no spaces; there are no fractions in it). Its *digest* is
//! SHA-256 of that line; its *hash* is SHA-256 of the 32 bytes of the hash before it followed by the 32 bytes of the digest, or
//! HMAC-SHA-256 of the same where a key is set. So a record can be withheld from an export, its digest standing in, and the
//! chain still be walked. The first record follows 32 zero bytes.
//!
//! SHA-256 (FIPS 180-4) and HMAC (RFC 2104) rather than a faster hash, because an auditor has them at hand in every language
//! and may be bound to approved ones; a record costs about two microseconds so.

use std::fmt;

use ring::hmac;
use sha2::{Digest as _, Sha256};

/// Shortest key that seals a chain, in bytes. Shorter ones could be guessed from a record and its hash.
pub const KEY_BYTES_MIN: usize = 32;
/// What a chain without a key names as its seal.
const UNKEYED: &str = "sha256";

/// A hash of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(Self(bytes))
    }

    /// The first 52 bits as a number, which a metric can carry exactly: enough to notice another head, too few to prove one.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0[..7].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) >> 4
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The last record of a chain; number 0 and zeros while there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Number of the record.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

/// A key that cannot seal a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key has {0} bytes; at least {KEY_BYTES_MIN} are needed, drawn at random")]
pub struct SealError(usize);

/// How hashes are made: with a key or without.
#[derive(Clone)]
pub struct Seal {
    key: Option<hmac::Key>,
    name: String,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Default for Seal {
    fn default() -> Self {
        Self { key: None, name: UNKEYED.to_owned() }
    }
}

impl Seal {
    /// A seal that only holders of the key can make.
    ///
    /// # Errors
    /// [`SealError`] when the key is short.
    pub fn keyed(key: &[u8]) -> Result<Self, SealError> {
        if key.len() < KEY_BYTES_MIN {
            return Err(SealError(key.len()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let id = hmac::sign(&key, b"sluicegate audit key id");
        let id: String = id.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key: Some(key), name: format!("hmac-sha256:{id}") })
    }

    /// `sha256`, or `hmac-sha256:` with eight digits that tell keys apart.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Is a key needed to make it?
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// The hash of a record after another.
    #[must_use]
    pub fn link(&self, previous: &Hash, digest: &Hash) -> Hash {
        let mut both = [0; 64];
        both[..32].copy_from_slice(&previous.0);
        both[32..].copy_from_slice(&digest.0);
        let mut hash = Hash::default();
        match &self.key {
            Some(key) => hash.0.copy_from_slice(hmac::sign(key, &both).as_ref()),
            None => hash.0 = Sha256::digest(both).into(),
        }
        hash
    }
}

/// The digest of a record's line.
#[must_use]
pub fn digest(line: &str) -> Hash {
    Hash(Sha256::digest(line.as_bytes()).into())
}

/// What is known of one record when a chain is walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Its line.
    Line(String),
    /// Its digest, in an export that withholds it.
    Withheld(Hash),
}

/// One record as it is stored or exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, as it stands beside the line.
    pub sequence: u64,
    /// The record.
    pub body: Body,
    /// Its hash.
    pub hash: Hash,
}

/// Where and how a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The next number is another one.
    #[error("record {expected} is missing: record {found} follows record {}", .expected - 1)]
    Gap {
        /// Number that should follow.
        expected: u64,
        /// Number that follows.
        found: u64,
    },
    /// A number stands where a higher one should.
    #[error("record {found} stands where record {expected} should: records are out of order or doubled")]
    Order {
        /// Number that should follow.
        expected: u64,
        /// Number that follows.
        found: u64,
    },
    /// The hash is not that of the record after the one before it.
    #[error("record {0} does not match its hash: the record, its hash or the one before it was changed")]
    Hash(u64),
    /// The line is none of a record.
    #[error("record {0} cannot be read: {1}")]
    Unreadable(u64, String),
    /// A column beside the line says something else than the line.
    #[error("record {sequence}: the column `{column}` says something else than the record")]
    Column {
        /// The record.
        sequence: u64,
        /// The column.
        column: &'static str,
    },
    /// It is sealed with a key that is not at hand.
    #[error("record {sequence} is sealed with {seal}, and that key was not given")]
    UnknownKey {
        /// The record.
        sequence: u64,
        /// Its seal.
        seal: String,
    },
    /// It has no key's seal although one before it has, or although the chain must end with one.
    #[error(
        "record {0} is not sealed with a key although the chain was or should be: it may have been written by anybody"
    )]
    Unsealed(u64),
    /// A head that was noted earlier is not in the chain.
    #[error("the noted head {0} is not in the chain: its end was cut off, or it was rewritten")]
    HeadMissing(String),
}

/// What a line tells of its own place in the chain.
#[derive(serde::Deserialize)]
struct Placed {
    sequence: u64,
    seal: String,
}

/// A walk over a chain, record by record. It stops at the first fault: what follows hangs on what is broken.
#[derive(Debug)]
pub struct Walk<'s> {
    seals: &'s [Seal],
    head: Head,
    /// Keyed so far?
    keyed: bool,
    seal: String,
    records: u64,
    withheld: u64,
}

impl<'s> Walk<'s> {
    /// A walk that begins behind a head, with every key that is at hand.
    #[must_use]
    pub fn after(head: Head, seals: &'s [Seal]) -> Self {
        Self { seals, head, keyed: false, seal: UNKEYED.to_owned(), records: 0, withheld: 0 }
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn step(&mut self, link: &Link) -> Result<(), Broken> {
        let (found, expected) = (link.sequence, self.head.sequence + 1);
        if found > expected {
            return Err(Broken::Gap { expected, found });
        }
        if found < expected {
            return Err(Broken::Order { expected, found });
        }
        let digest = match &link.body {
            Body::Line(line) => {
                self.place(found, line)?;
                digest(line)
            }
            Body::Withheld(digest) => *digest,
        };
        if !self.matches(link, &digest)? {
            return Err(Broken::Hash(found));
        }
        self.withheld += u64::from(matches!(link.body, Body::Withheld(_)));
        self.records += 1;
        self.head = Head { sequence: found, hash: link.hash };
        Ok(())
    }

    /// Reads what a line says of its number and its seal.
    fn place(&mut self, sequence: u64, line: &str) -> Result<(), Broken> {
        let placed: Placed =
            serde_json::from_str(line).map_err(|error| Broken::Unreadable(sequence, error.to_string()))?;
        if placed.sequence != sequence {
            return Err(Broken::Column { sequence, column: "sequence" });
        }
        let keyed = placed.seal != UNKEYED;
        if self.keyed && !keyed {
            return Err(Broken::Unsealed(sequence));
        }
        (self.keyed, self.seal) = (keyed, placed.seal);
        Ok(())
    }

    /// Does the hash follow? A withheld record does not say how it is sealed, so every seal that may follow is tried.
    fn matches(&mut self, link: &Link, digest: &Hash) -> Result<bool, Broken> {
        let plain = Seal::default();
        let fits = |seal: &Seal| seal.link(&self.head.hash, digest) == link.hash;
        if let Body::Withheld(_) = link.body {
            let unkeyed = (!self.keyed).then_some(&plain);
            let found = self.seals.iter().chain(unkeyed).find(|seal| fits(seal));
            if let Some(seal) = found {
                (self.keyed, self.seal) = (seal.is_keyed(), seal.name.clone());
            }
            return Ok(found.is_some());
        }
        if self.seal == UNKEYED {
            return Ok(fits(&plain));
        }
        let seal = self.seals.iter().find(|seal| seal.name == self.seal);
        let unknown = || Broken::UnknownKey { sequence: link.sequence, seal: self.seal.clone() };
        seal.map(fits).ok_or_else(unknown)
    }

    /// Ends the walk. With a key at hand the chain has to end under a key's seal: whoever has none could otherwise write a
    /// chain of their own.
    ///
    /// # Errors
    /// [`Broken::Unsealed`].
    pub fn end(self) -> Result<Walked, Broken> {
        if self.records > 0 && !self.keyed && self.seals.iter().any(Seal::is_keyed) {
            return Err(Broken::Unsealed(self.head.sequence));
        }
        Ok(Walked { head: self.head, seal: self.seal, records: self.records, withheld: self.withheld })
    }
}

/// A chain that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Its last record.
    pub head: Head,
    /// How that one is sealed.
    pub seal: String,
    /// Records walked over.
    pub records: u64,
    /// Those of them of which only the digest was there.
    pub withheld: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(seal: &Seal, length: u64, head: &mut Head) -> Vec<Link> {
        (0..length)
            .map(|_| {
                let sequence = head.sequence + 1;
                let line = format!(r#"{{"seal":"{}","sequence":{sequence},"team":"a"}}"#, seal.name());
                let hash = seal.link(&head.hash, &digest(&line));
                *head = Head { sequence, hash };
                Link { sequence, body: Body::Line(line), hash }
            })
            .collect()
    }

    fn walk(links: &[Link], seals: &[Seal]) -> Result<Walked, Broken> {
        let mut walk = Walk::after(Head::default(), seals);
        links.iter().try_for_each(|link| walk.step(link))?;
        walk.end()
    }

    fn key(byte: u8) -> Seal {
        Seal::keyed(&[byte; 32]).unwrap()
    }

    #[test]
    fn the_hash_is_what_the_documentation_says() {
        // printf 'x' | sha256sum; then the same of 32 zero bytes and that digest.
        let of_x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!(digest("x").to_string(), of_x);
        let mut both = vec![0; 32];
        both.extend(Hash::parse(of_x).unwrap().0);
        let want: [u8; 32] = Sha256::digest(&both).into();
        assert_eq!(Seal::default().link(&Hash::default(), &digest("x")), Hash(want));
        assert_eq!(Hash::parse(&of_x[1..]), None);
        assert_eq!(Hash::parse(&of_x.replace('2', "g")), None);
        assert_eq!(Hash::parse(of_x).unwrap().fingerprint(), 0x0002_d711_642b_726b);
    }

    #[test]
    fn a_whole_chain_holds_and_every_harm_is_seen() {
        let links = chain(&Seal::default(), 5, &mut Head::default());
        assert_eq!(walk(&links, &[]).unwrap().head.sequence, 5);
        let without = |index: usize| {
            let mut harmed = links.clone();
            harmed.remove(index);
            walk(&harmed, &[]).unwrap_err()
        };
        assert_eq!(without(2), Broken::Gap { expected: 3, found: 4 });
        assert_eq!(without(0), Broken::Gap { expected: 1, found: 2 });
        let mut swapped = links.clone();
        swapped.swap(1, 2);
        assert_eq!(walk(&swapped, &[]).unwrap_err(), Broken::Gap { expected: 2, found: 3 });
        let mut renumbered = swapped;
        (renumbered[1].sequence, renumbered[2].sequence) = (2, 3);
        assert_eq!(walk(&renumbered, &[]).unwrap_err(), Broken::Column { sequence: 2, column: "sequence" });
        let mut doubled = links.clone();
        doubled.insert(2, links[1].clone());
        assert_eq!(walk(&doubled, &[]).unwrap_err(), Broken::Order { expected: 3, found: 2 });
        let mut changed = links.clone();
        changed[3].body = Body::Line(String::from(r#"{"seal":"sha256","sequence":4,"team":"b"}"#));
        assert_eq!(walk(&changed, &[]).unwrap_err(), Broken::Hash(4));
        let mut rehashed = changed;
        let Body::Line(line) = rehashed[3].body.clone() else { panic!("a line") };
        rehashed[3].hash = Seal::default().link(&rehashed[2].hash, &digest(&line));
        assert_eq!(walk(&rehashed, &[]).unwrap_err(), Broken::Hash(5), "the next one hangs on it");
    }

    #[test]
    fn withheld_records_keep_the_chain_together() {
        let mut links = chain(&key(1), 4, &mut Head::default());
        let Body::Line(line) = links[1].body.clone() else { panic!("a line") };
        links[1].body = Body::Withheld(digest(&line));
        let walked = walk(&links, &[key(1)]).unwrap();
        assert_eq!((walked.records, walked.withheld), (4, 1));
        links[1].body = Body::Withheld(digest("another"));
        assert_eq!(walk(&links, &[key(1)]).unwrap_err(), Broken::Hash(2));
    }

    #[test]
    fn a_key_seals_what_follows_and_cannot_be_done_without() {
        let mut head = Head::default();
        let mut links = chain(&Seal::default(), 2, &mut head);
        assert_eq!(
            walk(&links, &[key(1)]).unwrap_err(),
            Broken::Unsealed(2),
            "somebody without the key wrote it"
        );
        links.extend(chain(&key(1), 2, &mut head));
        links.extend(chain(&key(2), 1, &mut head));
        assert_eq!(walk(&links, &[key(1), key(2)]).unwrap().records, 5, "keys may be changed");
        let unknown = Broken::UnknownKey { sequence: 5, seal: key(2).name().to_owned() };
        assert_eq!(walk(&links, &[key(1)]).unwrap_err(), unknown);
        links.extend(chain(&Seal::default(), 1, &mut head));
        assert_eq!(walk(&links, &[key(1), key(2)]).unwrap_err(), Broken::Unsealed(6));
        let mut forged = chain(&key(1), 2, &mut Head::default());
        forged[1].hash = Seal::default().link(&forged[0].hash, &digest("x"));
        assert_eq!(walk(&forged, &[key(1)]).unwrap_err(), Broken::Hash(2));
        assert!(Seal::keyed(b"too short").unwrap_err().to_string().contains("9 bytes"));
    }
}
