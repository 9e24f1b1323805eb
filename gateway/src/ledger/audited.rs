//! The audit chain's table: records are appended in the transaction of the rows that they belong to, and read in order.
//!
//! The head is read within the transaction that appends, so that two processes on one file continue each other's chain
//! instead of forking it.

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::row::Row;
use super::sessions::{self, SessionLabel};
use super::store::{LedgerError, Store, write_rows};
use crate::audit::chain::{Body, digest};
use crate::audit::{Broken, Entry, Event, Hash, Head, Link, Seal};

/// What the writer commits at once.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub(super) rows: &'a [(Row, bool)],
    /// Records that somebody waits for, before the others.
    pub(super) urgent: &'a [Entry],
    pub(super) entries: &'a [Entry],
    pub(super) sessions: &'a [SessionLabel],
}

/// Which records to read. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct Extract {
    /// The first, inclusive.
    pub from_ms: i64,
    /// The last, exclusive.
    pub to_ms: i64,
    /// Those of one team.
    pub team: Option<String>,
}

impl Extract {
    /// Does a record belong to it?
    fn holds(&self, time_ms: i64, team: &str) -> bool {
        (self.from_ms..self.to_ms).contains(&time_ms) && self.team.as_deref().is_none_or(|only| only == team)
    }
}

impl Store {
    /// Writes a batch in one transaction. Returns the chain's new head, if it has one.
    pub(super) fn write_batch(
        &mut self,
        batch: &Batch<'_>,
        seal: &Seal,
    ) -> Result<Option<Head>, LedgerError> {
        let path = self.path.clone();
        let fail = |source| LedgerError::Sqlite { path: path.clone(), source };
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        write_rows(&transaction, batch.rows).map_err(fail)?;
        sessions::write(&transaction, batch.sessions).map_err(fail)?;
        let appended = batch.urgent.iter().chain(batch.entries);
        let head = append(&transaction, appended, seal, &path)?;
        transaction.commit().map_err(fail)?;
        Ok(head)
    }

    /// Settles rows that were open when the process died, at their reservation, and notes each in the chain. Returns how many.
    pub(super) fn recover(&mut self, seal: &Seal, now_ms: i64) -> Result<usize, LedgerError> {
        let path = self.path.clone();
        let fail = |source| LedgerError::Sqlite { path: path.clone(), source };
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let entries = interrupted(&transaction, now_ms).map_err(fail)?;
        let settle = "UPDATE requests SET state = 'settled', outcome = 'lost', \
             cost_nanos = CASE price_source WHEN '' THEN NULL ELSE reserved_nanos END, \
             usage_source = 'estimated', error = 'process_died' WHERE state = 'open'";
        let settled = transaction.execute(settle, []).map_err(fail)?;
        append(&transaction, entries.iter(), seal, &path)?;
        transaction.commit().map_err(fail)?;
        Ok(settled)
    }

    /// The chain's last record. A chain that ends under a key goes on only under one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn audit_head(&self, seal: &Seal) -> Result<Head, LedgerError> {
        let read = "SELECT sequence, hash, record ->> 'seal' FROM audit ORDER BY sequence DESC LIMIT 1";
        let found: Option<(i64, String, Option<String>)> = self
            .connection
            .query_row(read, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
            .map_err(|source| self.fail(source))?;
        let Some((sequence, hash, sealed)) = found else { return Ok(Head::default()) };
        let sealed = sealed.unwrap_or_default();
        if sealed.starts_with("hmac") && !seal.is_keyed() {
            return Err(LedgerError::AuditKey { path: self.path.clone(), seal: sealed });
        }
        head(sequence, &hash).ok_or_else(|| damaged(&self.path))
    }

    /// Reads the chain from a number on, and checks what stands beside each record. `None` to `found` for a record that
    /// cannot be a link at all.
    ///
    /// # Errors
    /// What `found` returns, or [`LedgerError`].
    pub fn audit_links<E: From<LedgerError>>(
        &self,
        since: u64,
        mut found: impl FnMut(Result<Link, Broken>) -> Result<(), E>,
    ) -> Result<(), E> {
        let fail = |source| E::from(self.fail(source));
        let read =
            "SELECT sequence, time_ms, team, record, hash FROM audit WHERE sequence >= ?1 ORDER BY sequence";
        let mut statement = self.connection.prepare(read).map_err(fail)?;
        let mut rows = statement.query(params![clamped(since)]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let stored = Stored {
                sequence: row.get::<_, i64>(0).map_err(fail)?.unsigned_abs(),
                time_ms: row.get(1).map_err(fail)?,
                team: row.get(2).map_err(fail)?,
                line: row.get(3).map_err(fail)?,
                hash: row.get(4).map_err(fail)?,
            };
            found(stored.link())?;
        }
        Ok(())
    }

    /// The hash of one record.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn audit_hash(&self, sequence: u64) -> Result<Option<Hash>, LedgerError> {
        let read = "SELECT hash FROM audit WHERE sequence = ?1";
        let found: Option<String> = self
            .connection
            .query_row(read, params![clamped(sequence)], |row| row.get(0))
            .optional()
            .map_err(|source| self.fail(source))?;
        found.map(|text| Hash::parse(&text).ok_or_else(|| damaged(&self.path))).transpose()
    }

    /// The records of an extract, and the digests of those between them, in order.
    ///
    /// # Errors
    /// What `found` returns, or [`LedgerError`].
    pub fn audit_extract<E: From<LedgerError>>(
        &self,
        extract: &Extract,
        mut found: impl FnMut(&Link) -> Result<(), E>,
    ) -> Result<(), E> {
        let fail = |source| E::from(self.fail(source));
        let range = "SELECT MIN(sequence), MAX(sequence) FROM audit WHERE time_ms >= ?1 AND time_ms < ?2";
        let ends = self.connection.query_row(range, params![extract.from_ms, extract.to_ms], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        });
        let (Some(first), Some(last)) = ends.map_err(fail)? else { return Ok(()) };
        let read = "SELECT sequence, time_ms, team, record, hash FROM audit WHERE sequence BETWEEN ?1 AND ?2 ORDER BY sequence";
        let mut statement = self.connection.prepare(read).map_err(fail)?;
        let mut rows = statement.query(params![first, last]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let (time_ms, team): (i64, String) = (row.get(1).map_err(fail)?, row.get(2).map_err(fail)?);
            let (line, hash): (String, String) = (row.get(3).map_err(fail)?, row.get(4).map_err(fail)?);
            let body =
                if extract.holds(time_ms, &team) { Body::Line(line) } else { Body::Withheld(digest(&line)) };
            let hash = Hash::parse(&hash).ok_or_else(|| E::from(damaged(&self.path)))?;
            let sequence = row.get::<_, i64>(0).map_err(fail)?.unsigned_abs();
            found(&Link { sequence, body, hash })?;
        }
        Ok(())
    }
}

/// One stored record with what stands beside it.
struct Stored {
    sequence: u64,
    time_ms: i64,
    team: String,
    line: String,
    hash: String,
}

/// The part of a record that is repeated beside it.
#[derive(serde::Deserialize)]
struct Beside<'a> {
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    team: std::borrow::Cow<'a, str>,
}

impl Stored {
    /// The record as a link, if the columns beside it say the same as it does.
    fn link(self) -> Result<Link, Broken> {
        let sequence = self.sequence;
        let unreadable = |error: serde_json::Error| Broken::Unreadable(sequence, error.to_string());
        let beside: Beside<'_> = serde_json::from_str(&self.line).map_err(unreadable)?;
        for (column, same) in [
            ("time_ms", beside.time == crate::audit::written(self.time_ms)),
            ("team", beside.team == self.team),
        ] {
            if !same {
                return Err(Broken::Column { sequence, column });
            }
        }
        let hash = Hash::parse(&self.hash).ok_or(Broken::Hash(sequence))?;
        Ok(Link { sequence, body: Body::Line(self.line), hash })
    }
}

/// Appends entries to the chain. Returns the new head; `None` when there was nothing to append.
fn append<'e>(
    transaction: &Transaction<'_>,
    entries: impl Iterator<Item = &'e Entry>,
    seal: &Seal,
    path: &str,
) -> Result<Option<Head>, LedgerError> {
    let fail = |source| LedgerError::Sqlite { path: path.to_owned(), source };
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return Ok(None);
    }
    let read = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1";
    let last: Option<(i64, String)> = transaction
        .prepare_cached(read)
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(fail)?;
    let mut end = match last {
        Some((sequence, hash)) => head(sequence, &hash).ok_or_else(|| damaged(path))?,
        None => Head::default(),
    };
    let insert = "INSERT INTO audit (sequence, time_ms, team, record, hash) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = transaction.prepare_cached(insert).map_err(fail)?;
    for entry in entries {
        let sequence = end.sequence + 1;
        let line = entry.line(sequence, seal).map_err(|_| damaged(path))?;
        end = Head { sequence, hash: seal.link(&end.hash, &digest(&line)) };
        let values = params![clamped(sequence), entry.time_ms, entry.team, line, end.hash.to_string()];
        statement.execute(values).map_err(fail)?;
    }
    Ok(Some(end))
}

/// A record for each request that was under way when the process died.
fn interrupted(transaction: &Transaction<'_>, now_ms: i64) -> rusqlite::Result<Vec<Entry>> {
    let read =
        "SELECT id, team, key, label, policy, rule FROM requests WHERE state = 'open' ORDER BY time_ms, id";
    let mut statement = transaction.prepare(read)?;
    let rows = statement.query_map([], |row| {
        let label: String = row.get(3)?;
        Ok(Entry {
            request: row.get::<_, String>(0)?.into(),
            team: row.get(1)?,
            key: row.get(2)?,
            label: label.parse().ok(),
            policy: row.get::<_, String>(4)?.into(),
            rule: row.get::<_, String>(5)?.into(),
            ..Entry::new(Event::Interrupted, now_ms)
        })
    })?;
    rows.collect()
}

fn head(sequence: i64, hash: &str) -> Option<Head> {
    Some(Head { sequence: u64::try_from(sequence).ok()?, hash: Hash::parse(hash)? })
}

fn damaged(path: &str) -> LedgerError {
    LedgerError::Damaged { path: path.to_owned(), what: "an audit record" }
}

/// A number as SQLite keeps it.
fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::Walk;

    fn entries(count: i64) -> Vec<Entry> {
        (0..count)
            .map(|at| Entry {
                team: if at % 2 == 0 { String::from("a") } else { String::from("b") },
                request: format!("req_{at}").into(),
                kinds: [("EMAIL", 2)].into(),
                ..Entry::new(Event::Settled, 1_000 + at)
            })
            .collect()
    }

    fn filled(path: &Path, count: i64, seal: &Seal) -> Store {
        let mut store = Store::open(path).unwrap();
        let entries = entries(count);
        let batch = Batch { entries: &entries, ..Batch::default() };
        let head = store.write_batch(&batch, seal).unwrap().unwrap();
        assert_eq!(store.audit_head(seal).unwrap(), head);
        store
    }

    fn verified(store: &Store) -> Result<u64, Broken> {
        let mut walk = Walk::after(Head::default(), &[]);
        let mut broken = None;
        store
            .audit_links::<LedgerError>(0, |link| {
                let step = link.and_then(|link| walk.step(&link));
                broken = broken.take().or(step.err());
                Ok(())
            })
            .unwrap();
        match broken {
            Some(broken) => Err(broken),
            None => Ok(walk.end().unwrap().records),
        }
    }

    #[test]
    fn two_processes_on_one_file_continue_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let seal = Seal::default();
        let (mut one, mut two) = (filled(&path, 3, &seal), Store::open(&path).unwrap());
        let more = entries(2);
        for turn in 0..3 {
            let store = if turn % 2 == 0 { &mut two } else { &mut one };
            store.write_batch(&Batch { entries: &more, ..Batch::default() }, &seal).unwrap();
        }
        assert_eq!(verified(&one).unwrap(), 9);
    }

    #[test]
    fn the_table_refuses_to_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(&dir.path().join("l.db"), 3, &Seal::default());
        for (statement, why) in [
            ("UPDATE audit SET team = 'x' WHERE sequence = 2", "not changed"),
            ("DELETE FROM audit WHERE sequence = 3", "not deleted"),
            ("DELETE FROM audit", "not deleted"),
            ("INSERT OR REPLACE INTO audit VALUES (2, 0, '', '{}', '')", "follow one another"),
            ("INSERT INTO audit VALUES (7, 0, '', '{}', '')", "follow one another"),
            ("INSERT INTO audit VALUES (NULL, 0, '', '{}', '')", "follow one another"),
        ] {
            let error = store.connection.execute(statement, []).unwrap_err().to_string();
            assert!(error.contains(why), "{statement}: {error}");
        }
        assert_eq!(verified(&store).unwrap(), 3);
    }

    /// Everything that somebody with the file in hand can do to one record, triggers dropped.
    #[test]
    fn whatever_is_done_to_a_record_is_seen() {
        let drop = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; DROP TRIGGER audit_is_added_to;";
        let swap = "UPDATE audit SET sequence = 100 WHERE sequence = 3; UPDATE audit SET sequence = 3 WHERE sequence = 4;
            UPDATE audit SET sequence = 4 WHERE sequence = 100;";
        let column = |column| Broken::Column { sequence: 3, column };
        for (harm, seen) in [
            ("UPDATE audit SET team = 'x' WHERE sequence = 3", column("team")),
            ("UPDATE audit SET time_ms = 5 WHERE sequence = 3", column("time_ms")),
            ("UPDATE audit SET record = replace(record, ':2', ':1') WHERE sequence = 3", Broken::Hash(3)),
            (
                "UPDATE audit SET record = replace(record, 'req_2', 'req_9') WHERE sequence = 3",
                Broken::Hash(3),
            ),
            ("UPDATE audit SET record = record || ' ' WHERE sequence = 3", Broken::Hash(3)),
            (
                "UPDATE audit SET hash = replace(hash, substr(hash, 1, 1), '0') || 'x' WHERE sequence = 3",
                Broken::Hash(3),
            ),
            (
                "UPDATE audit SET hash = (SELECT hash FROM audit WHERE sequence = 2) WHERE sequence = 3",
                Broken::Hash(3),
            ),
            ("DELETE FROM audit WHERE sequence = 3", Broken::Gap { expected: 3, found: 4 }),
            ("DELETE FROM audit WHERE sequence < 3", Broken::Gap { expected: 1, found: 3 }),
            (swap, column("sequence")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = filled(&dir.path().join("l.db"), 6, &Seal::default());
            store.connection.execute_batch(drop).unwrap();
            assert_eq!(verified(&store).unwrap(), 6);
            store.connection.execute_batch(harm).unwrap();
            assert_eq!(verified(&store).unwrap_err(), seen, "{harm}");
        }
    }

    #[test]
    fn every_field_of_a_record_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(&dir.path().join("l.db"), 2, &Seal::default());
        let line: String =
            store.connection.query_row("SELECT record FROM audit LIMIT 1", [], |row| row.get(0)).unwrap();
        let drop = "DROP TRIGGER audit_is_not_changed";
        store.connection.execute_batch(drop).unwrap();
        let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        for field in record.keys() {
            let mut changed = record.clone();
            changed.remove(field);
            let changed = serde_json::Value::Object(changed).to_string();
            let put = "UPDATE audit SET record = ?1 WHERE sequence = 1";
            store.connection.execute(put, params![changed]).unwrap();
            assert!(verified(&store).is_err(), "{field}");
            store.connection.execute(put, params![line]).unwrap();
            assert_eq!(verified(&store).unwrap(), 2);
        }
    }

    #[test]
    fn an_extract_withholds_what_it_is_not_about() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(&dir.path().join("l.db"), 10, &Seal::default());
        let of_b = Extract { from_ms: 1_002, to_ms: 1_008, team: Some(String::from("b")) };
        let mut links = Vec::new();
        store
            .audit_extract::<LedgerError>(&of_b, |link| {
                links.push(link.clone());
                Ok(())
            })
            .unwrap();
        let told = |link: &&Link| matches!(link.body, Body::Line(_));
        assert_eq!((links.len(), links.iter().filter(told).count()), (6, 3));
        let before = Head { sequence: 2, hash: store.audit_hash(2).unwrap().unwrap() };
        let mut walk = Walk::after(before, &[]);
        links.iter().for_each(|link| walk.step(link).unwrap());
        assert_eq!(walk.end().unwrap().head.sequence, 8);
        let nothing = Extract { from_ms: 0, to_ms: 1, team: None };
        store.audit_extract::<LedgerError>(&nothing, |_| panic!("there is none")).unwrap();
    }

    #[test]
    fn a_sealed_chain_is_not_continued_without_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let seal = Seal::keyed(&[7; 32]).unwrap();
        let store = filled(&path, 2, &seal);
        let error = store.audit_head(&Seal::default()).unwrap_err().to_string();
        assert!(error.contains("audit.key") && error.contains(seal.name()), "{error}");
    }
}
