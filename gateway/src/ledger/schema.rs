//! The ledger's tables, as numbered steps.
//!
//! Step `n` leads from schema `n - 1` to schema `n`; a new file goes through all of them, so that a file looks the
//! same however old it is. All missing steps and the number run in one transaction: a file is of one schema or of
//! the next, never between. Steps that have shipped are never edited; a change is a new step at the end, which
//! may only add (columns with a default, tables), since a gateway of the version before may still have the file
//! open.

use rusqlite::{Connection, TransactionBehavior};

/// The schema that this version writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(super) const VERSION: i64 = STEPS.len() as i64;

const STEPS: &[&str] = &[ROWS_KEYS_FEEDBACK, REPLAY_AND_JUDGEMENTS, AUDIT_AND_SESSIONS];

/// The first one may find its tables: a process could die between making them and noting the number.
const ROWS_KEYS_FEEDBACK: &str = "
CREATE TABLE IF NOT EXISTS requests (
  id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, state TEXT NOT NULL,
  team TEXT NOT NULL, key TEXT NOT NULL, user TEXT NOT NULL, tags TEXT NOT NULL, session TEXT NOT NULL,
  requested_model TEXT NOT NULL, served_model TEXT NOT NULL, route TEXT NOT NULL, upstream TEXT NOT NULL,
  label TEXT NOT NULL, kinds TEXT NOT NULL, doubt TEXT NOT NULL, complexity REAL NOT NULL, confidence REAL,
  task TEXT NOT NULL, language TEXT NOT NULL, policy TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL,
  alternatives TEXT NOT NULL, attempts INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, usage_source TEXT,
  price_source TEXT NOT NULL, price_version TEXT NOT NULL,
  cost_nanos INTEGER, reserved_nanos INTEGER NOT NULL, baseline_nanos INTEGER,
  energy_joules REAL, energy_method TEXT NOT NULL,
  first_token_ms REAL, total_ms REAL NOT NULL, outcome TEXT NOT NULL, status INTEGER NOT NULL,
  degraded INTEGER NOT NULL, declassified INTEGER NOT NULL, error TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS requests_time ON requests (time_ms);
CREATE INDEX IF NOT EXISTS requests_open ON requests (state) WHERE state = 'open';
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, name TEXT NOT NULL, team TEXT NOT NULL,
  created_ms INTEGER NOT NULL, revoked_ms INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS feedback (
  request_id TEXT NOT NULL, time_ms INTEGER NOT NULL, score REAL NOT NULL, label TEXT
) STRICT;
";

/// `profile` and `situation` are what a decision was made of, for `sluicegate replay`; `features` is what the
/// complexity model saw, for training; `wasted_*` is what local answers took that were not served; a row with
/// `shadow_of` is a second answer to that request, which nobody was shown. Feedback of the first schema was anybody's
/// and could be given twice: the last one stays, as given by the team that asked.
const REPLAY_AND_JUDGEMENTS: &str = "
ALTER TABLE requests ADD COLUMN profile TEXT;
ALTER TABLE requests ADD COLUMN situation TEXT;
ALTER TABLE requests ADD COLUMN features BLOB;
ALTER TABLE requests ADD COLUMN wasted_output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN wasted_joules REAL;
ALTER TABLE requests ADD COLUMN shadow_of TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN mode TEXT NOT NULL DEFAULT '';
ALTER TABLE feedback RENAME TO feedback_before;
CREATE TABLE feedback (
  request_id TEXT NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL, time_ms INTEGER NOT NULL, score REAL NOT NULL,
  label TEXT, PRIMARY KEY (request_id, key)
) STRICT;
INSERT OR REPLACE INTO feedback (request_id, key, team, time_ms, score, label)
  SELECT f.request_id, r.key, r.team, f.time_ms, f.score, f.label
  FROM feedback_before f JOIN requests r ON r.id = f.request_id ORDER BY f.time_ms, f.rowid;
DROP TABLE feedback_before;
CREATE INDEX feedback_time ON feedback (time_ms);
CREATE TABLE judgements (
  request_id TEXT NOT NULL, judge TEXT NOT NULL, agreement REAL NOT NULL, time_ms INTEGER NOT NULL,
  PRIMARY KEY (request_id, judge)
) STRICT;
CREATE INDEX requests_shadow ON requests (shadow_of) WHERE shadow_of <> '';
";

/// The audit chain, whose records stand beside what they are looked up by; what happened is only ever added, one number after
/// the other, and the triggers refuse everything else (an `INSERT OR REPLACE` too, which fires no trigger for what it deletes).
/// `session_labels` is what sessions have reached: a keyed hash of the session, the label's rank. The key is drawn once.
const AUDIT_AND_SESSIONS: &str = "
CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, team TEXT NOT NULL, record TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_time ON audit (time_ms);
CREATE TRIGGER audit_is_added_to BEFORE INSERT ON audit
  WHEN NEW.sequence IS NOT (SELECT COALESCE(MAX(sequence), 0) + 1 FROM audit)
  BEGIN SELECT RAISE(ABORT, 'audit records follow one another'); END;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'audit records are not changed'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'audit records are not deleted'); END;
CREATE TABLE session_labels (
  session BLOB PRIMARY KEY, team TEXT NOT NULL, label INTEGER NOT NULL, seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_labels_seen ON session_labels (seen_ms);
CREATE TABLE secrets (name TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT;
INSERT INTO secrets VALUES ('sessions', randomblob(32));
";

/// Brings a file to this version's schema. Returns the schema that was found; one that is newer is left alone.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let found = version(connection)?;
    if found >= VERSION {
        return Ok(found);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited for the lock.
    let found = version(&transaction)?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    if found < VERSION {
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(found)
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Row, Store};

    fn old_file() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(ROWS_KEYS_FEEDBACK).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
    }

    fn columns(connection: &Connection) -> Vec<String> {
        let statement = connection.prepare("SELECT * FROM requests").unwrap();
        statement.column_names().map(str::to_owned).collect()
    }

    #[test]
    fn a_migrated_file_looks_like_a_new_one() {
        let (mut old, mut new) = (old_file(), Connection::open_in_memory().unwrap());
        assert_eq!((migrate(&mut old).unwrap(), migrate(&mut new).unwrap()), (1, 0));
        assert_eq!(columns(&old), columns(&new));
        let schema = |connection: &Connection| {
            let sql = "SELECT group_concat(name || sql, ';') FROM (SELECT * FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name)";
            connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
        };
        assert_eq!(schema(&old), schema(&new));
        assert_eq!((version(&old).unwrap(), migrate(&mut old).unwrap()), (VERSION, VERSION), "and only once");
    }

    #[test]
    fn rows_keys_and_the_last_feedback_survive_and_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(ROWS_KEYS_FEEDBACK).unwrap();
        old.execute_batch(
            "INSERT INTO requests VALUES ('req_1', 5, 'settled', 'a', 'key_1', '', '', '', 'auto', 'm', 'local', 'local',
               'public', '', '', 0.25, 0.5, 'open_qa', 'en', 'p-1', 'r', '', '[]', 1, 10, 0, 0, 20, 0, 'counted',
               'local', '0', 7, 0, 9, 1.5, 'modelled', 1.0, 2.0, 'completed', 200, 0, 0, '');
             INSERT INTO keys VALUES ('key_1', x'00', 'n', 'a', 1, NULL);
             INSERT INTO feedback VALUES ('req_1', 6, 1.0, NULL), ('req_1', 7, -1.0, NULL), ('gone', 8, 1.0, NULL);
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.spent_since("a", 0).unwrap().nanos(), 7);
        assert_eq!(store.keys().unwrap().len(), 1);
        let read = "SELECT request_id || key || team || time_ms || score FROM feedback";
        let feedback: String = store.connection.query_row(read, [], |row| row.get(0)).unwrap();
        assert_eq!(feedback, "req_1key_1a7-1.0", "the last one, of the request's team");
        store.write(&[(Row::new("req_2".into(), 9), true)]).unwrap();
        let kept = "SELECT count(*), sum(profile IS NULL), sum(shadow_of = '') FROM requests";
        let counts = store.connection.query_row(kept, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        assert_eq!(counts.unwrap(), (2, 2, 2));
        drop(store);
        assert_eq!(version(&Connection::open(&path).unwrap()).unwrap(), VERSION);
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let mut connection = old_file();
        connection.execute_batch("CREATE TABLE judgements (x)").unwrap();
        let before = columns(&connection);
        assert!(migrate(&mut connection).is_err());
        assert_eq!((columns(&connection), version(&connection).unwrap()), (before, 1));
    }

    #[test]
    fn a_file_of_a_later_version_is_left_alone() {
        let mut connection = old_file();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let before = columns(&connection);
        assert_eq!(migrate(&mut connection).unwrap(), VERSION + 1);
        assert_eq!(columns(&connection), before);
    }
}
