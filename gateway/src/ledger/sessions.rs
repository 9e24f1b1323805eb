//! The labels that sessions have reached, so that a restart does not forget them.
//!
//! A session is stored as a keyed hash of team and name. The key lies in the same file: it keeps names out of what is made
//! from the file (audit exports), not from somebody who holds the file itself.

use policies::Label;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::store::{LedgerError, Store};

/// How long a label is stored after it was last written. Longer than the day for which a session is remembered, because the
/// time of its last request is written once an hour only.
pub const STORED_MS: i64 = 25 * 3600 * 1000;

/// A session with the label that it has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLabel {
    /// Keyed hash of team and name.
    pub session: [u8; 32],
    /// Team.
    pub team: String,
    /// The highest label so far.
    pub label: Label,
    /// Its last request, Unix milliseconds.
    pub seen_ms: i64,
}

impl Store {
    /// The key that sessions are hashed with.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn session_key(&self) -> Result<[u8; 32], LedgerError> {
        let read = "SELECT secret FROM secrets WHERE name = 'sessions'";
        let damaged = |_| LedgerError::Damaged { path: self.path.clone(), what: "a session key" };
        let key: Vec<u8> =
            self.connection.query_row(read, [], |row| row.get(0)).map_err(|source| self.fail(source))?;
        key.try_into().map_err(damaged)
    }

    /// Sessions that were seen since a time, the latest first, at most so many.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn session_labels(&self, since_ms: i64, max: usize) -> Result<Vec<SessionLabel>, LedgerError> {
        let fail = |source| self.fail(source);
        let read = "SELECT session, team, label, seen_ms FROM session_labels WHERE seen_ms >= ?1 \
             ORDER BY seen_ms DESC LIMIT ?2";
        let mut statement = self.connection.prepare(read).map_err(fail)?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![since_ms, max], read_label).map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }

    /// One session, if it was seen since a time.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn session_label(
        &self,
        session: &[u8; 32],
        since_ms: i64,
    ) -> Result<Option<SessionLabel>, LedgerError> {
        let read =
            "SELECT session, team, label, seen_ms FROM session_labels WHERE session = ?1 AND seen_ms >= ?2";
        self.connection
            .prepare_cached(read)
            .and_then(|mut statement| statement.query_row(params![session, since_ms], read_label).optional())
            .map_err(|source| self.fail(source))
    }
}

fn read_label(row: &rusqlite::Row<'_>) -> rusqlite::Result<SessionLabel> {
    let rank = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX);
    Ok(SessionLabel {
        session: row.get(0)?,
        team: row.get(1)?,
        // What no version of ours has written is taken for the worst.
        label: Label::ALL.get(rank).copied().unwrap_or(Label::Restricted),
        seen_ms: row.get(3)?,
    })
}

/// Raises stored labels, and forgets sessions that nobody came back to.
pub(super) fn write(transaction: &Transaction<'_>, labels: &[SessionLabel]) -> rusqlite::Result<()> {
    let Some(now_ms) = labels.iter().map(|label| label.seen_ms).max() else { return Ok(()) };
    let upsert = "INSERT INTO session_labels (session, team, label, seen_ms) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (session) DO UPDATE SET label = MAX(label, excluded.label), seen_ms = MAX(seen_ms, excluded.seen_ms)";
    let mut statement = transaction.prepare_cached(upsert)?;
    for label in labels {
        let rank = Label::ALL.iter().take_while(|lower| **lower < label.label).count();
        let rank = i64::try_from(rank).unwrap_or(i64::MAX);
        statement.execute(params![label.session, label.team, rank, label.seen_ms])?;
    }
    let forget = "DELETE FROM session_labels WHERE seen_ms < ?1";
    transaction.prepare_cached(forget)?.execute(params![now_ms.saturating_sub(STORED_MS)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::audited::Batch;
    use super::*;
    use crate::audit::Seal;

    fn label(session: u8, label: Label, seen_ms: i64) -> SessionLabel {
        SessionLabel { session: [session; 32], team: String::from("a"), label, seen_ms }
    }

    fn put(store: &mut Store, sessions: &[SessionLabel]) {
        store.write_batch(&Batch { sessions, ..Batch::default() }, &Seal::default()).unwrap();
    }

    #[test]
    fn a_stored_label_only_rises_and_is_forgotten_after_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let mut store = Store::open(&path).unwrap();
        put(&mut store, &[label(1, Label::Confidential, 10), label(2, Label::Restricted, 20)]);
        put(&mut store, &[label(1, Label::Internal, 30)]);
        assert_eq!(
            store.session_labels(0, 9).unwrap(),
            [label(1, Label::Confidential, 30), label(2, Label::Restricted, 20)]
        );
        assert_eq!(store.session_labels(0, 1).unwrap(), [label(1, Label::Confidential, 30)]);
        assert_eq!(store.session_label(&[2; 32], 21).unwrap(), None);
        assert_eq!(store.session_label(&[2; 32], 20).unwrap(), Some(label(2, Label::Restricted, 20)));
        put(&mut store, &[label(3, Label::Internal, 21 + STORED_MS)]);
        let left: Vec<u8> = store.session_labels(0, 9).unwrap().iter().map(|one| one.session[0]).collect();
        assert_eq!(left, [3, 1]);
        let key = store.session_key().unwrap();
        drop(store);
        assert_eq!(Store::open(&path).unwrap().session_key().unwrap(), key, "drawn once");
    }
}
