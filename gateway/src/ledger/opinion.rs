//! What is said about answers: feedback of those who asked, and judgements of shadow answers.
//!
//! A key has one opinion of a request, and a judge one: a later one replaces the former, so that sending it again
//! changes nothing. Only requests of the ledger can be rated, and by the team that asked; a shadow cannot.

use rusqlite::params;

use super::store::{LedgerError, Store};

/// One opinion of a caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// The request that was answered.
    pub request_id: String,
    /// Key that says so, empty without one.
    pub key: String,
    /// Its team.
    pub team: String,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// From -1 (useless) to 1 (just right).
    pub score: f64,
    /// One word of the caller's own.
    pub label: Option<String>,
}

impl Store {
    /// Stores feedback. Returns whether this team has such a request.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn rate(&self, feedback: &Feedback) -> Result<bool, LedgerError> {
        let Feedback { request_id, key, team, time_ms, score, label } = feedback;
        self.connection
            .prepare_cached(
                "INSERT INTO feedback (request_id, key, team, time_ms, score, label) \
                 SELECT id, ?2, team, ?4, ?5, ?6 FROM requests WHERE id = ?1 AND team = ?3 AND shadow_of = '' \
                 ON CONFLICT (request_id, key) DO UPDATE SET \
                 time_ms = excluded.time_ms, score = excluded.score, label = excluded.label",
            )
            .and_then(|mut statement| statement.execute(params![request_id, key, team, time_ms, score, label]))
            .map(|changed| changed > 0)
            .map_err(|source| self.fail(source))
    }

    /// Stores how far two answers to a request agree, from 0 to 1. Returns whether there is such a request.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn judge(
        &self,
        request_id: &str,
        judge: &str,
        agreement: f64,
        time_ms: i64,
    ) -> Result<bool, LedgerError> {
        self.connection
            .prepare_cached(
                "INSERT INTO judgements (request_id, judge, agreement, time_ms) \
                 SELECT id, ?2, ?3, ?4 FROM requests WHERE id = ?1 \
                 ON CONFLICT (request_id, judge) DO UPDATE SET \
                 agreement = excluded.agreement, time_ms = excluded.time_ms",
            )
            .and_then(|mut statement| statement.execute(params![request_id, judge, agreement, time_ms]))
            .map(|changed| changed > 0)
            .map_err(|source| self.fail(source))
    }
}
