//! The values that were replaced, for as long as their conversation may need them.
//!
//! A conversation belongs to one team, one key and one session, and nothing is shared between two of them: tag and keys are
//! derived, with a secret of this process, from all three. Values are overwritten in memory when they are dropped; what is
//! not to be put back is not kept at all, only a keyed hash of it, so that it gets the same word again.
//!
//! Without a session there is nothing to keep: chat clients send the whole history each time, and the words follow from it,
//! because they are numbered in the order in which values first appear and the tag follows from the first message.
//!
//! Left out: keeping conversations across a restart. The tag then changes, and the history that the client sends is masked
//! anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use policies::{EntityKind, Label, MaskSettings, MaskStyle};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::surrogate::surrogate;
use super::words::Words;
use crate::identity::Identity;

/// What a conversation without values is counted as.
const OVERHEAD_BYTES: usize = 4 << 10;
/// How long a conversation is remembered after its last request.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// Values of one conversation.
pub const VALUES_MAX: usize = 5_000;
/// Bytes of the values of one conversation.
const BYTES_MAX: usize = 1 << 20;
/// Bytes of all values that are remembered, about.
const ALL_BYTES_MAX: u64 = 256 << 20;
/// Tags that are tried for one request.
const ROUNDS_MAX: u32 = 48;
/// Tags after which longer ones are tried.
const ROUNDS_OF_A_LENGTH: u32 = 16;
/// URLs that are remembered for a value.
const URLS_MAX: usize = 8;
/// Surrogates that are tried before a placeholder is taken.
const TRIES: u32 = 8;

/// Everything that is remembered of masked conversations.
pub struct Vaults {
    secret: [u8; 32],
    conversations: Cache<[u8; 32], Arc<Mutex<Conversation>>>,
    floors: Cache<(String, String), Label>,
}

impl std::fmt::Debug for Vaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vaults")
            .field("conversations", &self.conversations.entry_count())
            .finish_non_exhaustive()
    }
}

impl Default for Vaults {
    fn default() -> Self {
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        // Two random identifiers have fixed bits; the hash spreads the 244 free ones.
        let secret = *blake3::hash(&secret).as_bytes();
        let lru = || EvictionPolicy::lru();
        Self {
            secret,
            conversations: Cache::builder()
                .max_capacity(ALL_BYTES_MAX)
                .weigher(|_, conversation: &Arc<Mutex<Conversation>>| weight(conversation))
                .eviction_policy(lru())
                .time_to_idle(IDLE)
                .build(),
            floors: Cache::builder()
                .max_capacity(200_000)
                .eviction_policy(lru())
                .time_to_idle(6 * IDLE)
                .build(),
        }
    }
}

impl Vaults {
    /// The conversation that a request belongs to. `first` is its first message, by which it is known without a session.
    #[must_use]
    pub fn conversation(&self, who: &Identity, first: &str) -> Arc<Mutex<Conversation>> {
        let named = !who.session.is_empty();
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in [who.facts.team.as_str(), &who.facts.key, if named { &who.session } else { first }] {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&[u8::from(named)]);
        let key = *hasher.finalize().as_bytes();
        let new = || Arc::new(Mutex::new(Conversation::new(key)));
        if named { self.conversations.get_with(key, new) } else { new() }
    }

    /// Counts a conversation anew after values were added; those that were idle longest give way where there are too many.
    pub fn weigh(&self, conversation: &Arc<Mutex<Conversation>>) {
        let key = conversation.lock().unwrap_or_else(PoisonError::into_inner).key;
        if self.conversations.contains_key(&key) {
            self.conversations.insert(key, conversation.clone());
        }
    }

    /// Notes what a mask cannot lower in a request of a session, and says what it cannot lower by now.
    ///
    /// `reached` is the label of the session before this request: where it is known and the floor is not (it was forgotten,
    /// or another process knew it), all of it counts.
    pub fn floor(&self, who: &Identity, floor: Label, reached: Option<Label>) -> Label {
        if who.session.is_empty() {
            return floor;
        }
        let key = (who.facts.team.clone(), who.session.clone());
        let before = |entry: Option<Label>| entry.or(reached).unwrap_or_default().join(floor);
        let entry =
            self.floors.entry(key).and_upsert_with(|entry| before(entry.map(moka::Entry::into_value)));
        entry.into_value()
    }
}

/// One value that was replaced.
#[derive(Clone)]
pub struct Entry {
    /// What it is.
    pub kind: EntityKind,
    /// The value; `None` for one that is not put back.
    value: Option<Zeroizing<String>>,
    /// What stands for it, where that is no placeholder.
    pub surrogate: Option<String>,
    /// It stood behind a backslash.
    pub after_backslash: bool,
    /// The URLs that it stood in, up to it.
    urls: Vec<String>,
}

impl std::fmt::Debug for Entry {
    /// Never the value, nor where it stood.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Entry {
    /// The value, if it is put back.
    #[must_use]
    pub fn restored(&self) -> Option<&str> {
        self.value.as_ref().map(|value| value.as_str())
    }

    /// Did it stand in this URL?
    #[must_use]
    pub fn was_in(&self, url: &str) -> bool {
        !url.is_empty() && self.urls.iter().any(|known| known == url)
    }
}

/// A conversation's values and their words.
#[derive(Debug)]
pub struct Conversation {
    key: [u8; 32],
    tag: String,
    round: u32,
    entries: Vec<Arc<Entry>>,
    known: HashMap<[u8; 32], usize>,
    /// Surrogates in lower case.
    taken: HashSet<String>,
    /// Bytes of all values.
    bytes: usize,
}

/// There are more values than one conversation may have.
#[derive(Debug)]
pub struct TooMany;

impl Conversation {
    fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            tag: tag(&key, 0),
            round: 0,
            entries: Vec::new(),
            known: HashMap::new(),
            taken: HashSet::new(),
            bytes: 0,
        }
    }

    fn hash(&self, class: &str, value: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(class.as_bytes()).update(&[0]).update(value.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// The entry of a value: the same for the same value, however it is written. `is_free` says whether a surrogate can be
    /// told from everything in the text.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn entry(
        &mut self,
        kind: EntityKind,
        value: &str,
        settings: &MaskSettings,
        is_free: impl Fn(&str) -> bool,
    ) -> Result<usize, TooMany> {
        let hash = self.hash("", &normal(kind, value));
        let secret = self.hash("secret", value);
        // What was a secret once is one wherever it stands.
        if let Some(index) = self.known.get(&secret) {
            return Ok(*index);
        }
        if let Some(index) = self.known.get(&hash).copied() {
            if kind == EntityKind::Secret {
                self.known.insert(secret, index);
                if !settings.restore_secrets {
                    Arc::make_mut(&mut self.entries[index]).value = None;
                }
            }
            return Ok(index);
        }
        self.bytes += value.len();
        if self.entries.len() >= VALUES_MAX || self.bytes > BYTES_MAX {
            return Err(TooMany);
        }
        let index = self.entries.len();
        let kept = settings.restore && (kind != EntityKind::Secret || settings.restore_secrets);
        let is_new = |word: &String| !self.taken.contains(&word.to_lowercase()) && is_free(word);
        let tries = || (0..TRIES).filter_map(|round| surrogate(kind, value, &hash, round)).find(is_new);
        let surrogate = (settings.style == MaskStyle::Surrogate).then(tries).flatten();
        self.taken.extend(surrogate.as_deref().map(str::to_lowercase));
        self.entries.push(Arc::new(Entry {
            kind,
            value: kept.then(|| Zeroizing::new(value.to_owned())),
            surrogate,
            after_backslash: false,
            urls: Vec::new(),
        }));
        self.known.insert(if kind == EntityKind::Secret { secret } else { hash }, index);
        Ok(index)
    }

    /// What stands for an entry: in brackets, unless it stands where only a name may.
    #[must_use]
    pub fn word(&self, index: usize, is_name: bool) -> String {
        let entry = &self.entries[index];
        match &entry.surrogate {
            Some(surrogate) => surrogate.clone(),
            None if is_name => format!("{}_{}_{}", entry.kind, self.tag, index + 1),
            None => format!("[{}_{}_{}]", entry.kind, self.tag, index + 1),
        }
    }

    /// An entry.
    #[must_use]
    pub fn get(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// Values that can be looked for, with their entries.
    pub fn values(&self) -> impl Iterator<Item = (usize, &str)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.restored()?)))
    }

    /// Notes where an entry's value stood.
    pub fn stood(&mut self, index: usize, after_backslash: bool, url: &str) {
        let entry = &self.entries[index];
        let is_new = !url.is_empty() && !entry.was_in(url) && entry.urls.len() < URLS_MAX;
        if is_new || after_backslash && !entry.after_backslash {
            let entry = Arc::make_mut(&mut self.entries[index]);
            entry.after_backslash |= after_backslash;
            if is_new {
                entry.urls.push(url.to_owned());
            }
        }
    }

    /// Takes another tag until none of the texts has it, except in words of this conversation; false if none is free.
    #[must_use]
    pub fn settle_tag<'t>(&mut self, texts: impl Iterator<Item = &'t str> + Clone) -> bool {
        for _ in 0..ROUNDS_MAX {
            if !texts.clone().any(|text| self.has_foreign_tag(text)) {
                return true;
            }
            self.round = self.round.wrapping_add(1);
            self.tag = tag(&self.key, self.round);
        }
        false
    }

    fn has_foreign_tag(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let tag = self.tag.as_bytes();
        let starts = (0..(bytes.len() + 1).saturating_sub(tag.len()))
            .filter(|at| bytes[*at..at + tag.len()].eq_ignore_ascii_case(tag));
        starts.into_iter().any(|at| !self.is_word_around(text, at))
    }

    fn is_word_around(&self, text: &str, at: usize) -> bool {
        let (Some(front), Some(back)) = (text.get(..at), text.get(at + self.tag.len()..)) else {
            return false;
        };
        let Some(back) = back.strip_prefix('_') else { return false };
        let digits = back.bytes().take_while(u8::is_ascii_digit).count();
        let index = back[..digits].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let entry = index.and_then(|index| self.entries.get(index)).filter(|entry| entry.surrogate.is_none());
        let front = front.strip_suffix('_');
        let tagged = text[at..at + self.tag.len()] == self.tag;
        tagged && entry.zip(front).is_some_and(|(entry, front)| front.ends_with(entry.kind.as_str()))
    }

    /// Every word as it stands in texts, brackets left out.
    #[must_use]
    pub fn all_words(&self) -> Vec<String> {
        (0..self.entries.len()).map(|index| self.word(index, true)).collect()
    }

    /// The words, for whoever is to recognise them.
    #[must_use]
    pub fn words(&self) -> Words {
        Words::new(&self.tag, self.entries.clone())
    }
}

fn weight(conversation: &Mutex<Conversation>) -> u32 {
    let conversation = conversation.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = conversation.bytes + OVERHEAD_BYTES + conversation.entries.len() * 256;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Letter, digit, letter, digit: no word of any language, and one or two tokens of most models.
fn tag(key: &[u8; 32], round: u32) -> String {
    const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz";
    const DIGITS: &[u8] = b"23456789";
    let hash = blake3::keyed_hash(key, &round.to_le_bytes());
    let bytes = hash.as_bytes();
    let pick = |at: usize, from: &[u8]| char::from(from[usize::from(bytes[at]) % from.len()]);
    let pairs = 2 + (round / ROUNDS_OF_A_LENGTH).min(4) as usize;
    (0..pairs).flat_map(|pair| [pick(2 * pair, LETTERS), pick(2 * pair + 1, DIGITS)]).collect()
}

/// What two ways of writing one value have in common: case, width, blanks; for numbers, whatever separates the digits.
fn normal(kind: EntityKind, value: &str) -> String {
    use EntityKind::{
        Address, BankAccount, CreditCard, DriverLicense, Email, Iban, Location, MacAddress, MedicalId,
        NationalId, Org, Passport, Person, Phone, RoutingNumber, SwiftBic, TaxId, UsSsn, VehicleId,
    };
    let folded = value.nfkc().flat_map(char::to_lowercase);
    let is_number = matches!(
        kind,
        BankAccount
            | CreditCard
            | DriverLicense
            | Iban
            | MacAddress
            | MedicalId
            | NationalId
            | Passport
            | Phone
            | RoutingNumber
            | SwiftBic
            | TaxId
            | UsSsn
            | VehicleId
    );
    // A secret is its exact bytes: another case is another secret. So it is with URLs, wallets and what else has no rule.
    if kind == EntityKind::Secret {
        return value.to_owned();
    }
    if is_number {
        return folded.filter(|c| c.is_alphanumeric()).collect();
    }
    let is_folded = matches!(kind, Address | Email | Location | Org | Person);
    let folded: String = if is_folded { folded.collect() } else { value.nfkc().collect() };
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use policies::CallerFacts;

    use super::*;

    fn who(team: &str, session: &str) -> Identity {
        let facts = CallerFacts { team: team.to_owned(), ..CallerFacts::default() };
        Identity { facts, session: session.to_owned() }
    }

    fn word(conversation: &Mutex<Conversation>, kind: EntityKind, value: &str) -> String {
        let mut conversation = conversation.lock().unwrap();
        let entry = conversation.entry(kind, value, &MaskSettings::default(), |_| true).unwrap();
        conversation.word(entry, false)
    }

    #[test]
    fn a_value_keeps_its_word_in_a_conversation_and_nowhere_else() {
        let vaults = Vaults::default();
        let one = vaults.conversation(&who("a", "s"), "hello");
        let first = word(&one, EntityKind::CreditCard, "4111 1111 1111 1111");
        assert_eq!(first, word(&one, EntityKind::CreditCard, "4111-1111-1111-1111"));
        assert_eq!(
            first,
            word(&vaults.conversation(&who("a", "s"), "bye"), EntityKind::CreditCard, "4111111111111111")
        );
        assert_eq!(
            word(&one, EntityKind::Email, "Ann@Example.com"),
            word(&one, EntityKind::Email, "ann@example.com")
        );
        assert_eq!(word(&one, EntityKind::Person, "Ann  Lee"), word(&one, EntityKind::Person, "ＡＮＮ lee"));
        assert_ne!(word(&one, EntityKind::Secret, "abc"), word(&one, EntityKind::Secret, "ABC"));
        for other in [who("b", "s"), who("a", "t"), who("a", "")] {
            assert_ne!(
                first,
                word(&vaults.conversation(&other, "hello"), EntityKind::CreditCard, "4111111111111111")
            );
        }
        let unnamed = || word(&vaults.conversation(&who("a", ""), "hello"), EntityKind::Email, "x@y.z");
        assert_eq!(unnamed(), unnamed());
        assert_ne!(
            unnamed(),
            word(&Vaults::default().conversation(&who("a", ""), "hello"), EntityKind::Email, "x@y.z")
        );
    }

    #[test]
    fn secrets_are_not_kept_unless_they_are_to_come_back() {
        let vaults = Vaults::default();
        let conversation = vaults.conversation(&who("a", "s"), "");
        let mut conversation = conversation.lock().unwrap();
        let entry =
            conversation.entry(EntityKind::Secret, "hunter2", &MaskSettings::default(), |_| true).unwrap();
        assert_eq!(conversation.get(entry).restored(), None);
        let settings = MaskSettings { restore_secrets: true, ..MaskSettings::default() };
        let entry = conversation.entry(EntityKind::Secret, "hunter3", &settings, |_| true).unwrap();
        assert_eq!(conversation.get(entry).restored(), Some("hunter3"));
    }

    #[test]
    fn a_tag_that_the_text_has_is_not_taken_except_in_known_words() {
        let vaults = Vaults::default();
        let conversation = vaults.conversation(&who("a", "s"), "");
        let mut conversation = conversation.lock().unwrap();
        let known =
            conversation.entry(EntityKind::Email, "x@y.z", &MaskSettings::default(), |_| true).unwrap();
        let word = conversation.word(known, false);
        assert!(conversation.settle_tag([word.as_str()].into_iter()));
        assert_eq!(conversation.word(known, false), word);
        for foreign in [word.replace("_1]", "_2]"), word.replace("EMAIL", "PERSON"), word.to_uppercase()] {
            let before = conversation.word(known, false);
            let _ = conversation.settle_tag([before.replace(&word, &foreign).as_str(), &foreign].into_iter());
            assert_ne!(conversation.word(known, false), word, "{foreign}");
            (conversation.round, conversation.tag) = (0, tag(&conversation.key, 0));
        }
    }

    #[test]
    fn the_floor_of_a_session_only_rises_and_is_not_lost() {
        use Label::{Confidential, Internal, Public, Restricted};
        let vaults = Vaults::default();
        assert_eq!(vaults.floor(&who("a", "s"), Public, None), Public);
        assert_eq!(vaults.floor(&who("a", "s"), Internal, Some(Restricted)), Internal);
        assert_eq!(vaults.floor(&who("a", "s"), Public, Some(Restricted)), Internal);
        assert_eq!(vaults.floor(&who("b", "s"), Public, Some(Confidential)), Confidential);
        assert_eq!(vaults.floor(&who("a", ""), Public, Some(Confidential)), Public);
    }
}
