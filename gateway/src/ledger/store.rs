//! The ledger's SQLite file: writes and queries.
//!
//! A request that can cost money has an *open* row, holding the reservation, and then a *settled* one. For a team
//! with a budget the open row is committed before a byte leaves; for others it is within the writer's next
//! batch (5 ms). A row that is still open at start-up was running when the process died; it is settled as `lost`
//! at its reservation, or unpriced. The file is in WAL mode with `synchronous = NORMAL`: it survives a crash of the
//! process whole, and a power cut but for the last moments.

use std::cmp::Ordering;
use std::path::Path;

use policies::Money;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, named_params, params};

use super::row::Row;
use super::{history, schema};

/// Errors of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite refused.
    #[error("the ledger {path} cannot be used: {source}")]
    Sqlite {
        /// File.
        path: String,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer is gone.
    #[error("the ledger's writer has stopped")]
    Stopped,
    /// The file belongs to an older version, and is only to be read.
    #[error(
        "the ledger {path} is of schema {found}, this version reads {known}: `sluicegate serve` brings it there"
    )]
    Older {
        /// File.
        path: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The audit chain goes on only under a key.
    #[error(
        "the audit chain of {path} is sealed with a key ({seal}): set audit.key, or begin another ledger"
    )]
    AuditKey {
        /// File.
        path: String,
        /// Seal of its last record.
        seal: String,
    },
    /// A stored value is none that this version writes.
    #[error("the ledger {path} holds {what} that cannot be read")]
    Damaged {
        /// File.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The file belongs to a newer version.
    #[error("the ledger {path} was written by a newer version (schema {found}, this one knows {known})")]
    Newer {
        /// File.
        path: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
}

const UPSERT: &str = "
INSERT INTO requests (
  id, time_ms, state, team, key, user, tags, session, requested_model, served_model, route, upstream,
  label, kinds, doubt, complexity, confidence, task, language, policy, rule, reason, alternatives,
  attempts, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, usage_source,
  price_source, price_version, cost_nanos, reserved_nanos, baseline_nanos, energy_joules, energy_method,
  first_token_ms, total_ms, outcome, status, degraded, declassified, error,
  profile, situation, features, wasted_output_tokens, wasted_joules, shadow_of, mode)
VALUES (
  :id, :time_ms, :state, :team, :key, :user, :tags, :session, :requested_model, :served_model, :route, :upstream,
  :label, :kinds, :doubt, :complexity, :confidence, :task, :language, :policy, :rule, :reason, :alternatives,
  :attempts, :input_tokens, :cached_tokens, :cache_write_tokens, :output_tokens, :reasoning_tokens, :usage_source,
  :price_source, :price_version, :cost_nanos, :reserved_nanos, :baseline_nanos, :energy_joules, :energy_method,
  :first_token_ms, :total_ms, :outcome, :status, :degraded, :declassified, :error,
  :profile, :situation, :features, :wasted_output_tokens, :wasted_joules, :shadow_of, :mode)
ON CONFLICT (id) DO UPDATE SET
  state = excluded.state, served_model = excluded.served_model, route = excluded.route,
  upstream = excluded.upstream, confidence = excluded.confidence, reason = excluded.reason,
  attempts = excluded.attempts, input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens,
  cache_write_tokens = excluded.cache_write_tokens, output_tokens = excluded.output_tokens,
  reasoning_tokens = excluded.reasoning_tokens, usage_source = excluded.usage_source,
  price_source = excluded.price_source, price_version = excluded.price_version, cost_nanos = excluded.cost_nanos,
  reserved_nanos = excluded.reserved_nanos, baseline_nanos = excluded.baseline_nanos,
  energy_joules = excluded.energy_joules, energy_method = excluded.energy_method,
  first_token_ms = excluded.first_token_ms, total_ms = excluded.total_ms, outcome = excluded.outcome,
  status = excluded.status, degraded = excluded.degraded, error = excluded.error,
  wasted_output_tokens = excluded.wasted_output_tokens, wasted_joules = excluded.wasted_joules
WHERE requests.state = 'open'";

/// An open ledger file.
#[derive(Debug)]
pub struct Store {
    pub(super) path: String,
    pub(super) connection: Connection,
}

/// A virtual key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Key {
    /// Identifier (`key_...`).
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Team that pays.
    pub team: String,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds; `None` while it is valid.
    pub revoked_ms: Option<i64>,
}

impl Store {
    /// Opens or creates a ledger.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let shown = path.display().to_string();
        let fail = |source| LedgerError::Sqlite { path: shown.clone(), source };
        let mut connection = Connection::open(path).map_err(fail)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(fail)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
        let found = schema::migrate(&mut connection).map_err(fail)?;
        if found > schema::VERSION {
            return Err(LedgerError::Newer { path: shown, found, known: schema::VERSION });
        }
        Ok(Self { path: shown, connection })
    }

    /// Wraps an SQLite error with the file's name.
    pub(super) fn fail(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::Sqlite { path: self.path.clone(), source }
    }

    /// Opens a ledger to read it, and changes nothing: neither its schema nor its journal.
    ///
    /// # Errors
    /// [`LedgerError`], also for a file of another version.
    pub fn open_reading(path: &Path) -> Result<Self, LedgerError> {
        let shown = path.display().to_string();
        let fail = |source| LedgerError::Sqlite { path: shown.clone(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(fail)?;
        let found = schema::version(&connection).map_err(fail)?;
        match found.cmp(&schema::VERSION) {
            Ordering::Less => Err(LedgerError::Older { path: shown, found, known: schema::VERSION }),
            Ordering::Greater => Err(LedgerError::Newer { path: shown, found, known: schema::VERSION }),
            Ordering::Equal => Ok(Self { path: shown, connection }),
        }
    }

    /// Writes rows in one transaction: `true` beside a row settles it, `false` opens it. A settled row is never
    /// changed again.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`]; then none of them was written.
    pub fn write(&mut self, rows: &[(Row, bool)]) -> Result<(), LedgerError> {
        let fail = |source| LedgerError::Sqlite { path: self.path.clone(), source };
        let transaction = self.connection.transaction().map_err(fail)?;
        write_rows(&transaction, rows).map_err(fail)?;
        transaction.commit().map_err(fail)
    }

    /// Writes nothing, but fails as a write would: for `/readyz`.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn probe(&mut self) -> Result<(), LedgerError> {
        let fail = |source| LedgerError::Sqlite { path: self.path.clone(), source };
        let transaction = self.connection.transaction().map_err(fail)?;
        // What is there: another process may have brought the file to a later schema.
        let version = schema::version(&transaction).map_err(fail)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {version}")).map_err(fail)?;
        transaction.commit().map_err(fail)
    }

    /// What a team has spent since a time, settled costs and open reservations together.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn spent_since(&self, team: &str, time_ms: i64) -> Result<Money, LedgerError> {
        self.connection
            .query_row(
                "SELECT COALESCE(SUM(CASE state WHEN 'open' THEN reserved_nanos ELSE COALESCE(cost_nanos, 0) END), 0) \
                 FROM requests WHERE team = ?1 AND time_ms >= ?2",
                params![team, time_ms],
                |row| row.get(0).map(Money::from_nanos),
            )
            .map_err(|source| self.fail(source))
    }

    /// Stores a key by the hash of its secret.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn insert_key(&self, key: &Key, hash: &[u8; 32]) -> Result<(), LedgerError> {
        self.connection
            .execute(
                "INSERT INTO keys (id, hash, name, team, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![key.id, hash, key.name, key.team, key.created_ms],
            )
            .map(drop)
            .map_err(|source| self.fail(source))
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn keys(&self) -> Result<Vec<Key>, LedgerError> {
        let fail = |source| self.fail(source);
        let mut statement = self
            .connection
            .prepare("SELECT id, name, team, created_ms, revoked_ms FROM keys ORDER BY created_ms")
            .map_err(fail)?;
        let rows = statement.query_map([], read_key).map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }

    /// The key with this hash, revoked or not.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Key>, LedgerError> {
        self.connection
            .prepare_cached("SELECT id, name, team, created_ms, revoked_ms FROM keys WHERE hash = ?1")
            .and_then(|mut statement| statement.query_row(params![hash], read_key).optional())
            .map_err(|source| self.fail(source))
    }

    /// Revokes a key. Returns whether there was a valid one of that id.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn revoke_key(&self, id: &str, time_ms: i64) -> Result<bool, LedgerError> {
        self.connection
            .execute(
                "UPDATE keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL",
                params![id, time_ms],
            )
            .map(|changed| changed > 0)
            .map_err(|source| self.fail(source))
    }
}

fn read_key(row: &rusqlite::Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key {
        id: row.get(0)?,
        name: row.get(1)?,
        team: row.get(2)?,
        created_ms: row.get(3)?,
        revoked_ms: row.get(4)?,
    })
}

/// Writes rows within a transaction; see [`Store::write`].
pub(super) fn write_rows(transaction: &Transaction<'_>, rows: &[(Row, bool)]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(UPSERT)?;
    for (row, settled) in rows {
        let usage = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        statement.execute(named_params! {
            ":id": &*row.id, ":time_ms": row.time_ms,
            ":state": if *settled { "settled" } else { "open" },
            ":team": row.team, ":key": row.key, ":user": row.user, ":tags": row.tags,
            ":session": row.session, ":requested_model": row.requested_model,
            ":served_model": row.served_model, ":route": row.route, ":upstream": row.upstream,
            ":label": row.label.as_str(), ":kinds": row.kinds, ":doubt": row.doubt,
            ":complexity": f64::from(row.complexity), ":confidence": row.confidence.map(f64::from),
            ":task": row.task, ":language": row.language, ":policy": &*row.policy,
            ":rule": &*row.rule, ":reason": row.reason, ":alternatives": row.alternatives,
            ":attempts": row.attempts,
            ":input_tokens": usage(row.usage.input_tokens),
            ":cached_tokens": usage(row.usage.cached_tokens),
            ":cache_write_tokens": usage(row.usage.cache_write_tokens),
            ":output_tokens": usage(row.usage.output_tokens),
            ":reasoning_tokens": usage(row.usage.reasoning_tokens),
            ":usage_source": row.usage_source.map(|s| s.as_str()),
            ":price_source": row.price_source, ":price_version": row.price_version,
            ":cost_nanos": row.cost.map(Money::nanos), ":reserved_nanos": row.reserved.nanos(),
            ":baseline_nanos": row.baseline.map(Money::nanos),
            ":energy_joules": row.energy_joules, ":energy_method": row.energy_method,
            ":first_token_ms": row.first_token_ms, ":total_ms": row.total_ms,
            ":outcome": row.outcome.as_str(), ":status": row.status, ":degraded": row.degraded,
            ":declassified": row.declassified, ":error": row.error,
            ":profile": row.profile.as_deref().and_then(history::profile_json),
            ":situation": row.situation.as_deref().and_then(history::situation_json),
            ":features": row.features.as_deref().map(history::features_blob),
            ":wasted_output_tokens": usage(row.wasted_output_tokens),
            ":wasted_joules": row.wasted_joules, ":shadow_of": row.shadow_of, ":mode": row.mode,
        })?;
    }
    Ok(())
}
