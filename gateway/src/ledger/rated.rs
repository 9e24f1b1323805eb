//! Local answers that somebody rated, for the drift monitor.

use std::collections::HashSet;

use rusqlite::params;

use super::store::{LedgerError, Store};
use crate::drift::Rated;

/// A score runs from -1 to 1, a judgement from 0 to 1. Feedback comes first, because what a person says of an answer counts
/// more than how far another model's agrees.
const RATED: &str = "
SELECT r.confidence, o.good, r.id FROM (
  SELECT * FROM (SELECT 0 AS rank, request_id, time_ms, (score + 1.0) / 2.0 AS good
                 FROM feedback ORDER BY time_ms DESC LIMIT ?1)
  UNION ALL
  SELECT * FROM (SELECT 1 AS rank, request_id, time_ms, agreement AS good
                 FROM judgements WHERE judge = 'shadow' ORDER BY rowid DESC LIMIT ?1)
) o JOIN requests r ON r.id = o.request_id
WHERE r.upstream = 'local' AND r.confidence IS NOT NULL AND r.state = 'settled' AND r.time_ms >= ?2
  AND coalesce(json_extract(r.situation, '$.router'), ?3) = ?3
ORDER BY o.rank, o.time_ms DESC";

impl Store {
    /// Those of the `latest` pieces of feedback and of the `latest` judgements that are about served answers of local
    /// models that came since a time and were judged by this router model, at most `latest` in all. An answer counts once:
    /// by its last feedback, else by its last judgement.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn rated_answers(
        &self,
        latest: usize,
        since_ms: i64,
        router: &str,
    ) -> Result<Vec<Rated>, LedgerError> {
        let fail = |source| self.fail(source);
        let mut statement = self.connection.prepare_cached(RATED).map_err(fail)?;
        #[expect(clippy::cast_possible_truncation, reason = "a share needs no more digits")]
        let read = |row: &rusqlite::Row<'_>| {
            let (confidence, good): (f64, f64) = (row.get(0)?, row.get(1)?);
            let rated = Rated { confidence: confidence as f32, good: good.clamp(0.0, 1.0) as f32 };
            Ok((row.get::<_, String>(2)?, rated))
        };
        let rows = statement
            .query_map(params![i64::try_from(latest).unwrap_or(i64::MAX), since_ms, router], read)
            .map_err(fail)?;
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let mut seen = HashSet::new();
        let once = rows.into_iter().filter(|(id, _)| seen.insert(id.clone()));
        Ok(once.map(|(_, rated)| rated).take(latest).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Feedback, Row};
    use super::*;

    fn answer(id: &str, upstream: &str, confidence: Option<f32>) -> (Row, bool) {
        (Row { upstream: upstream.into(), team: "a".into(), confidence, ..Row::new(id.into(), 1) }, true)
    }

    #[test]
    fn an_answer_counts_once_and_feedback_before_judgements() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("l.db")).unwrap();
        let rows = [
            answer("both", "local", Some(0.5)),
            answer("judged", "local", Some(0.25)),
            answer("cloud", "openai", Some(0.75)),
            answer("unsure", "local", None),
        ];
        store.write(&rows).unwrap();
        let rate = |id: &str, key: &str, time_ms, score| {
            let (request_id, key) = (id.to_owned(), key.to_owned());
            let given = Feedback { request_id, key, team: "a".into(), time_ms, score, label: None };
            assert!(store.rate(&given).unwrap());
        };
        rate("both", "one", 5, -1.0);
        rate("both", "two", 6, 0.5);
        rate("cloud", "one", 7, 1.0);
        rate("unsure", "one", 8, 1.0);
        for id in ["both", "judged", "cloud"] {
            assert!(store.judge(id, "shadow", 0.125, 9).unwrap());
        }
        let found = store.rated_answers(10, 0, "r").unwrap();
        let expected = [Rated { confidence: 0.5, good: 0.75 }, Rated { confidence: 0.25, good: 0.125 }];
        assert_eq!(found, expected);
        assert_eq!(store.rated_answers(10, 2, "r").unwrap().len(), 0, "they came before");
        assert_eq!(
            store.rated_answers(1, 0, "r").unwrap().len(),
            0,
            "the latest feedback is about other answers"
        );
    }
}
