//! The labels that sessions have reached: kept in memory, written through to the ledger, and only ever rising.
//!
//! A label is forgotten when nobody has come back to its session for a day, and for no other reason. It outlives a restart,
//! because it is in the ledger; and when more sessions are labelled than memory may hold, those that were left out are looked up
//! there. While the ledger cannot be written such a look-up fails, and with it the request: what could not be stored might be
//! missed. Sessions are known by a keyed hash only. A session that has never been above `public` is not kept at all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use policies::Label;

use crate::gateway::Clock;
use crate::ledger::{Ledger, LedgerError, STORED_MS, SessionLabel, Store};

/// How long a label is remembered after the last request of its session.
const IDLE_MS: i64 = 24 * 3600 * 1000;
/// How far the stored time of a session's last request may lag behind. Stored labels live longer by as much.
const LAG_MS: i64 = STORED_MS - IDLE_MS;
/// Sessions in memory at most.
const SESSIONS_MAX: usize = 200_000;

/// Keyed hash of a session.
pub type SessionHash = [u8; 32];

/// The labels of sessions.
pub struct Sessions {
    key: [u8; 32],
    max: usize,
    clock: Clock,
    ledger: Ledger,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<SessionHash, Known>,
    /// Some labels are in the ledger only.
    overflowed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    label: Label,
    seen_ms: i64,
    /// When it was last handed to the ledger; `None` when that failed.
    written_ms: Option<i64>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("max", &self.max).finish_non_exhaustive()
    }
}

impl Sessions {
    /// With the labels that the ledger holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn load(store: &Store, ledger: Ledger, clock: Clock) -> Result<Self, LedgerError> {
        Self::load_bounded(store, ledger, clock, SESSIONS_MAX)
    }

    fn load_bounded(store: &Store, ledger: Ledger, clock: Clock, max: usize) -> Result<Self, LedgerError> {
        let stored = store.session_labels(clock() - STORED_MS, max + 1)?;
        let overflowed = stored.len() > max;
        let known = stored.into_iter().take(max).map(|stored| (stored.session, Known::of(&stored))).collect();
        let table = Mutex::new(Table { known, overflowed });
        Ok(Self { key: store.session_key()?, max, clock, ledger, table })
    }

    /// What a session is known by.
    #[must_use]
    pub fn hash(&self, team: &str, session: &str) -> SessionHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(b"session").update(&(team.len() as u64).to_le_bytes());
        *hasher.update(team.as_bytes()).update(session.as_bytes()).finalize().as_bytes()
    }

    /// The label of a session that is in the ledger only, which is then in memory too; `None` where memory knows all there is
    /// to know.
    ///
    /// # Errors
    /// [`LedgerError`] when it may be in the ledger, and the ledger does not answer or has not been written.
    pub async fn recall(&self, team: &str, session: &str) -> Result<Option<Label>, LedgerError> {
        let hash = self.hash(team, session);
        let since_ms = (self.clock)() - STORED_MS;
        {
            let table = self.table();
            if !table.overflowed || table.known.contains_key(&hash) {
                return Ok(None);
            }
        }
        // The writer answers after it has tried to write what was handed to it before.
        let found = self.ledger.query(move |store| store.session_label(&hash, since_ms)).await?;
        if self.ledger.is_broken() {
            return Err(LedgerError::Stopped);
        }
        let Some(found) = found else { return Ok(None) };
        let mut table = self.table();
        let known = table.known.entry(hash).or_insert_with(|| Known::of(&found));
        known.label = known.label.join(found.label);
        let label = known.label;
        // It may find no room, so the label is handed out as well.
        self.bound(&mut table);
        Ok(Some(label))
    }

    /// The label that a session has reached by now; asking counts as coming back to it.
    #[must_use]
    pub fn label(&self, team: &str, session: &str) -> Option<Label> {
        let now_ms = (self.clock)();
        let hash = self.hash(team, session);
        let mut table = self.table();
        let known = table.known.get_mut(&hash)?;
        if known.seen_ms < now_ms - IDLE_MS - known.lag_ms() {
            table.known.remove(&hash);
            return None;
        }
        known.seen_ms = now_ms;
        if known.written_ms.is_none_or(|written_ms| written_ms < now_ms - LAG_MS) {
            self.store(hash, team, known);
        }
        Some(known.label)
    }

    /// Raises the label of a session.
    pub fn raise(&self, team: &str, session: &str, label: Label) {
        if label == Label::Public {
            return;
        }
        let now_ms = (self.clock)();
        let hash = self.hash(team, session);
        let mut table = self.table();
        let fresh = Known { label: Label::Public, seen_ms: now_ms, written_ms: None };
        let known = table.known.entry(hash).or_insert(fresh);
        known.seen_ms = now_ms;
        if known.label < label || known.written_ms.is_none() {
            known.label = known.label.join(label);
            self.store(hash, team, known);
        }
        self.bound(&mut table);
    }

    fn store(&self, session: SessionHash, team: &str, known: &mut Known) {
        let stored =
            SessionLabel { session, team: team.to_owned(), label: known.label, seen_ms: known.seen_ms };
        known.written_ms = self.ledger.label_session(stored).then_some(known.seen_ms);
    }

    /// Drops what has expired, and where that is not enough, the quarter of the stored sessions that was seen longest ago.
    fn bound(&self, table: &mut Table) {
        if table.known.len() <= self.max {
            return;
        }
        let expired_ms = (self.clock)() - STORED_MS;
        table.known.retain(|_, known| known.seen_ms >= expired_ms);
        if table.known.len() <= self.max {
            return;
        }
        let mut times: Vec<i64> = table.known.values().map(|known| known.seen_ms).collect();
        let quarter = times.len() / 4;
        let (_, cut_ms, _) = times.select_nth_unstable(quarter);
        let cut_ms = *cut_ms;
        table.overflowed = true;
        // Of sessions that were seen in the same moment, as many go as must.
        let mut room = self.max - quarter.min(self.max);
        table.known.retain(|_, known| {
            let stays = known.written_ms.is_none() || known.seen_ms > cut_ms || room > 0;
            room = room.saturating_sub(1);
            stays
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    const fn of(stored: &SessionLabel) -> Self {
        Self { label: stored.label, seen_ms: stored.seen_ms, written_ms: Some(stored.seen_ms) }
    }

    /// What was read from the ledger may have been seen later than was written.
    fn lag_ms(&self) -> i64 {
        if self.written_ms == Some(self.seen_ms) { LAG_MS } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::audit::Seal;

    const HOUR: i64 = 3600 * 1000;

    fn open(path: &Path, max: usize, now: &Arc<AtomicI64>) -> (Sessions, Ledger) {
        let now = now.clone();
        let clock: Clock = Arc::new(move || now.load(Ordering::Relaxed));
        let ledger = Ledger::open(path, Seal::default(), 0).unwrap();
        let store = Store::open(path).unwrap();
        (Sessions::load_bounded(&store, ledger.clone(), clock, max).unwrap(), ledger)
    }

    async fn recalled(sessions: &Sessions, session: &str) -> Option<Label> {
        let recalled = sessions.recall("a", session).await.unwrap();
        recalled.max(sessions.label("a", session))
    }

    #[tokio::test]
    async fn a_label_outlives_a_restart_and_only_rises() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let now = Arc::new(AtomicI64::new(1_000 * HOUR));
        let (sessions, ledger) = open(&path, 10, &now);
        sessions.raise("a", "s", Label::Restricted);
        sessions.raise("a", "s", Label::Internal);
        sessions.raise("a", "public", Label::Public);
        assert_eq!(sessions.label("a", "s"), Some(Label::Restricted));
        assert_eq!((sessions.label("b", "s"), sessions.label("a", "public")), (None, None));
        assert_ne!(sessions.hash("a", "bc"), sessions.hash("ab", "c"));
        ledger.stop(Duration::from_secs(10));
        let (sessions, ledger) = open(&path, 10, &now);
        assert_eq!(recalled(&sessions, "s").await, Some(Label::Restricted));
        assert_eq!(recalled(&sessions, "public").await, None);
        ledger.stop(Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_session_is_forgotten_a_day_after_its_last_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let now = Arc::new(AtomicI64::new(1_000 * HOUR));
        let (sessions, ledger) = open(&path, 10, &now);
        sessions.raise("a", "s", Label::Confidential);
        for _ in 0..3 {
            now.fetch_add(23 * HOUR, Ordering::Relaxed);
            assert_eq!(sessions.label("a", "s"), Some(Label::Confidential), "coming back keeps it");
        }
        ledger.stop(Duration::from_secs(10));
        let (sessions, ledger) = open(&path, 10, &now);
        now.fetch_add(23 * HOUR, Ordering::Relaxed);
        assert_eq!(recalled(&sessions, "s").await, Some(Label::Confidential), "also over a restart");
        now.fetch_add(24 * HOUR + LAG_MS + 1, Ordering::Relaxed);
        assert_eq!(recalled(&sessions, "s").await, None);
        ledger.stop(Duration::from_secs(10));
    }

    #[tokio::test]
    async fn what_finds_no_room_in_memory_keeps_its_label() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let now = Arc::new(AtomicI64::new(1_000 * HOUR));
        let (sessions, ledger) = open(&path, 8, &now);
        let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        for name in &names {
            sessions.raise("a", name, Label::Restricted);
        }
        assert!(sessions.table().known.len() <= 8 && sessions.table().overflowed);
        for name in &names {
            assert_eq!(recalled(&sessions, name).await, Some(Label::Restricted), "{name}");
            assert!(sessions.table().known.len() <= 8);
        }
        assert_eq!(recalled(&sessions, "another").await, None);
        ledger.stop(Duration::from_secs(10));
        let (sessions, ledger) = open(&path, 8, &now);
        for name in &names {
            assert_eq!(recalled(&sessions, name).await, Some(Label::Restricted), "{name} after a restart");
        }
        ledger.stop(Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_ledger_that_cannot_tell_refuses_rather_than_guesses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let now = Arc::new(AtomicI64::new(1_000 * HOUR));
        let (sessions, ledger) = open(&path, 1, &now);
        for name in ["x", "y", "z"] {
            sessions.raise("a", name, Label::Restricted);
        }
        ledger.stop(Duration::from_secs(10));
        let known = sessions.table().known.len();
        let mut refused = 0;
        for name in ["x", "y", "z"] {
            refused += usize::from(sessions.recall("a", name).await.is_err());
        }
        assert_eq!((known, refused), (1, 2));
    }
}
