//! What a row keeps of its decision, so that it can be made again; and rows as they are read back.
//!
//! A profile is findings by kind and position, scores and counts; features are counts and shares. Neither holds
//! a word of the request, and both are written as they are but for one bound: of a kind that was found very
//! often only the strongest findings are kept, which label a request just like all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use policies::{Cost, EntityKind, Label, Location, Money, Profile, Usage};
use rusqlite::types::ValueRef;
use rusqlite::{Row as SqlRow, params};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::row::Asked;
use super::store::{LedgerError, Store};

/// Findings that are stored whole; above, those of each kind are bounded.
const FINDINGS_MAX: usize = 256;
/// Findings of one kind that are stored where there are more than [`FINDINGS_MAX`] in all.
const FINDINGS_OF_A_KIND_MAX: usize = 16;

pub(super) fn profile_json(profile: &Profile) -> Option<String> {
    serde_json::to_string(&*bounded(profile)).ok()
}

pub(super) fn situation_json(asked: &Asked) -> Option<String> {
    serde_json::to_string(asked).ok()
}

/// Little-endian 32-bit floats, one after the other.
pub(super) fn features_blob(features: &[f32]) -> Vec<u8> {
    features.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The profile with a bounded number of findings. The strongest of every kind stays, so every score threshold
/// and every combination finds what it found before.
fn bounded(profile: &Profile) -> Cow<'_, Profile> {
    let findings = &profile.sensitivity.findings;
    if findings.len() <= FINDINGS_MAX {
        return Cow::Borrowed(profile);
    }
    let mut by_kind: BTreeMap<EntityKind, Vec<usize>> = BTreeMap::new();
    for (index, finding) in findings.iter().enumerate() {
        by_kind.entry(finding.kind).or_default().push(index);
    }
    let mut kept: Vec<usize> = Vec::new();
    for mut indices in by_kind.into_values() {
        indices.sort_by(|&a, &b| findings[b].score.total_cmp(&findings[a].score));
        kept.extend(indices.into_iter().take(FINDINGS_OF_A_KIND_MAX));
    }
    kept.sort_unstable();
    let mut bounded = profile.clone();
    bounded.sensitivity.findings = kept.into_iter().map(|index| findings[index].clone()).collect();
    Cow::Owned(bounded)
}

/// Which rows to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// From this time on, Unix milliseconds.
    pub from_ms: i64,
    /// Before this time.
    pub to_ms: i64,
    /// Of this team only.
    pub team: Option<String>,
}

/// A target as a decision saw it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Considered {
    /// Target id.
    pub target: String,
    /// Where it runs.
    pub location: Location,
    /// Chosen, or why not.
    pub standing: Stood,
    /// What the request was expected to cost there.
    pub estimate: Cost,
}

/// [`policies::Standing`] as it is read back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stood {
    /// First choice.
    Chosen,
    /// To be tried later, from 1.
    Fallback(u32),
    /// Good for it, and not to be tried.
    Eligible,
    /// May not see the label.
    NotCleared,
    /// Lacks this.
    Incapable(String),
    /// Could not be used then.
    Unavailable(String),
    /// Another one was named.
    NotAsked,
}

/// A settled row as it is read back: a client's own request, with what was said about its answer.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Request id.
    pub id: String,
    /// When it arrived, Unix milliseconds.
    pub time_ms: i64,
    /// Team.
    pub team: String,
    /// Key, empty without one.
    pub key: String,
    /// End user.
    pub user: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Model that was asked for.
    pub requested_model: String,
    /// Model that answered.
    pub served_model: String,
    /// Where it went; empty when nowhere.
    pub route: String,
    /// Label.
    pub label: Label,
    /// Complexity.
    pub complexity: f32,
    /// Confidence of the local answer, if there was one.
    pub confidence: Option<f32>,
    /// The same of an answer that the embedded model gave unseen.
    pub shadow_confidence: Option<f32>,
    /// Was it answered in full?
    pub is_completed: bool,
    /// Task.
    pub task: String,
    /// Language.
    pub language: String,
    /// Was it decided about? Faulty requests were not.
    pub is_decided: bool,
    /// Targets that were considered; empty where they cannot be read.
    pub alternatives: Vec<Considered>,
    /// Calls made to targets.
    pub attempts: u32,
    /// Tokens.
    pub usage: Usage,
    /// Are they known? Not where nothing was served.
    pub is_used: bool,
    /// Cost; `None` is unpriced.
    pub cost: Option<Money>,
    /// The policy let data pass above its label.
    pub declassified: bool,
    /// What classification found; `None` in rows of the first schema.
    pub profile: Option<Profile>,
    /// The rest of what the decision was made of.
    pub situation: Option<Asked>,
    /// Features of the complexity model.
    pub features: Option<Vec<f32>>,
    /// Mean of the feedback, -1 to 1.
    pub feedback: Option<f64>,
    /// Mean of the judgements, 0 to 1.
    pub agreement: Option<f64>,
}

impl Store {
    /// Reads the settled requests of a period, oldest first; `graded` ones only if so wished. Shadows are left out.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`], or what `each` returns.
    pub fn recorded<E: From<LedgerError>>(
        &self,
        period: &Period,
        graded: bool,
        mut each: impl FnMut(Recorded) -> Result<(), E>,
    ) -> Result<(), E> {
        let fail = |source| E::from(self.fail(source));
        let only = if graded {
            "AND id IN (SELECT request_id FROM feedback UNION SELECT request_id FROM judgements)"
        } else {
            ""
        };
        let sql = format!(
            "SELECT requests.*, \
             (SELECT AVG(score) FROM feedback WHERE request_id = requests.id) AS mean_score, \
             (SELECT AVG(agreement) FROM judgements WHERE request_id = requests.id AND judge = 'shadow') \
             AS mean_agreement, \
             (SELECT s.confidence FROM requests s WHERE s.shadow_of = requests.id AND s.state = 'settled' \
              AND s.upstream = 'local' LIMIT 1) AS shadow_confidence \
             FROM requests WHERE state = 'settled' AND shadow_of = '' AND time_ms >= ?1 AND time_ms < ?2 \
             AND (?3 IS NULL OR team = ?3) {only} ORDER BY time_ms, id"
        );
        let mut statement = self.connection.prepare(&sql).map_err(fail)?;
        let mut rows = statement.query(params![period.from_ms, period.to_ms, period.team]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            each(read(row).map_err(fail)?)?;
        }
        Ok(())
    }
}

impl Store {
    /// Reads the settled rows of a period as they are stored, shadows included and features left out, oldest first:
    /// one value a column, JSON where the column holds JSON.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`], or what `each` returns.
    pub fn settled<E: From<LedgerError>>(
        &self,
        period: &Period,
        mut each: impl FnMut(Map<String, Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        let fail = |source| E::from(self.fail(source));
        let sql = "SELECT * FROM requests WHERE state = 'settled' AND time_ms >= ?1 AND time_ms < ?2 \
                   AND (?3 IS NULL OR team = ?3) ORDER BY time_ms, id";
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query(params![period.from_ms, period.to_ms, period.team]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let mut whole = Map::new();
            for name in names.iter().filter(|name| !["state", "features"].contains(&name.as_str())) {
                whole.insert(name.clone(), value(name, row.get_ref(name.as_str()).map_err(fail)?));
            }
            each(whole)?;
        }
        Ok(())
    }
}

fn value(column: &str, stored: ValueRef<'_>) -> Value {
    match stored {
        ValueRef::Integer(number) => Value::from(number),
        ValueRef::Real(number) => Value::from(number),
        ValueRef::Text(text) if ["alternatives", "profile", "situation"].contains(&column) => {
            serde_json::from_slice(text).unwrap_or(Value::Null)
        }
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
    }
}

fn read(row: &SqlRow<'_>) -> rusqlite::Result<Recorded> {
    let json = |column: &str| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    let tokens = |column: &str| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
    let policy: String = row.get("policy")?;
    let tags: String = row.get("tags")?;
    let features: Option<Vec<u8>> = row.get("features")?;
    Ok(Recorded {
        id: row.get("id")?,
        time_ms: row.get("time_ms")?,
        team: row.get("team")?,
        key: row.get("key")?,
        user: row.get("user")?,
        tags: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        requested_model: row.get("requested_model")?,
        served_model: row.get("served_model")?,
        route: row.get("route")?,
        label: row.get::<_, String>("label")?.parse().unwrap_or(Label::Restricted),
        complexity: row.get("complexity")?,
        confidence: row.get("confidence")?,
        shadow_confidence: row.get("shadow_confidence")?,
        is_completed: row.get::<_, String>("outcome")? == "completed",
        task: row.get("task")?,
        language: row.get("language")?,
        is_decided: !policy.is_empty(),
        alternatives: serde_json::from_str(&json("alternatives")?).unwrap_or_default(),
        attempts: row.get("attempts")?,
        usage: Usage {
            input_tokens: tokens("input_tokens")?,
            cached_tokens: tokens("cached_tokens")?,
            cache_write_tokens: tokens("cache_write_tokens")?,
            output_tokens: tokens("output_tokens")?,
            reasoning_tokens: tokens("reasoning_tokens")?,
        },
        is_used: row.get::<_, Option<String>>("usage_source")?.is_some(),
        cost: row.get::<_, Option<i64>>("cost_nanos")?.map(Money::from_nanos),
        declassified: row.get("declassified")?,
        profile: serde_json::from_str(&json("profile")?).ok(),
        situation: serde_json::from_str(&json("situation")?).ok(),
        features: features.as_deref().and_then(floats),
        feedback: row.get("mean_score")?,
        agreement: row.get("mean_agreement")?,
    })
}

fn floats(bytes: &[u8]) -> Option<Vec<f32>> {
    let (whole, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| whole.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policies::{Finding, FindingSource, RequestFacts, Sensitivity, Task};

    use super::*;
    use crate::ledger::{Feedback, Row};

    const ALWAYS: Period = Period { from_ms: 0, to_ms: i64::MAX, team: None };

    fn profile(findings: Vec<Finding>) -> Profile {
        Profile {
            sensitivity: Sensitivity { findings, ..Sensitivity::default() },
            complexity: 0.123_456_79,
            confidence: 0.1,
            task: Task::OpenQa,
            language: "de".into(),
            input_tokens: 7,
            output_tokens: 80,
            rung: policies::Rung::Features,
        }
    }

    fn finding(kind: EntityKind, start: usize, score: f32) -> Finding {
        Finding {
            segment: 0,
            start,
            end: start + 1,
            kind,
            subtype: None,
            score,
            source: FindingSource::Pattern,
        }
    }

    fn all(store: &Store, period: &Period, graded: bool) -> Vec<Recorded> {
        let mut rows = Vec::new();
        let read = store.recorded(period, graded, |row| {
            rows.push(row);
            Ok::<_, LedgerError>(())
        });
        read.unwrap();
        rows
    }

    #[test]
    fn a_row_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("l.db")).unwrap();
        let profile = profile(vec![finding(EntityKind::Email, 3, 0.9)]);
        let situation = Asked {
            operation: "chat".into(),
            request: RequestFacts { model: String::from("auto"), tools: true, ..RequestFacts::default() },
            tier: String::from("premium"),
            label: None,
            session_label: Some(Label::Internal),
            router: Some(String::from("0a1b")),
            tightening: 0.25,
        };
        let row = Row {
            team: String::from("a"),
            tags: String::from("x,y"),
            profile: Some(Arc::new(profile.clone())),
            situation: Some(Arc::new(situation.clone())),
            features: Some(Arc::from([0.1_f32, -2.5, f32::MIN_POSITIVE])),
            policy: "p-1".into(),
            ..Row::new("req_1".into(), 50)
        };
        let shadow = Row { shadow_of: String::from("req_1"), ..Row::new("req_2".into(), 51) };
        let bare = Row::new("req_3".into(), 52);
        store.write(&[(row, true), (shadow, true), (bare, true), (Row::new("o".into(), 53), false)]).unwrap();
        let rows = all(&store, &ALWAYS, false);
        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["req_1", "req_3"]);
        assert_eq!((&rows[0].profile, &rows[0].situation), (&Some(profile), &Some(situation)));
        assert_eq!(rows[0].features.as_deref(), Some([0.1_f32, -2.5, f32::MIN_POSITIVE].as_slice()));
        assert_eq!((rows[0].tags.len(), rows[0].is_decided, rows[1].is_decided), (2, true, false));
        assert!(rows[1].profile.is_none() && rows[1].situation.is_none() && rows[1].features.is_none());
        assert_eq!(all(&store, &Period { from_ms: 51, ..ALWAYS }, false).len(), 1);
        assert_eq!(all(&store, &Period { team: Some("a".into()), ..ALWAYS }, false).len(), 1);
        assert!(all(&store, &ALWAYS, true).is_empty());
    }

    #[test]
    fn a_key_has_one_opinion_and_teams_rate_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("l.db")).unwrap();
        let row = |id: &str, team: &str| (Row { team: team.into(), ..Row::new(id.into(), 1) }, true);
        let shadow = Row { team: "a".into(), shadow_of: "r1".into(), ..Row::new("s1".into(), 1) };
        store.write(&[row("r1", "a"), row("r2", "a"), (shadow, true)]).unwrap();
        let rate = |request: &str, key: &str, team: &str, score: f64| {
            let (request_id, key, team) = (request.into(), key.into(), team.into());
            store.rate(&Feedback { request_id, key, team, time_ms: 2, score, label: None }).unwrap()
        };
        assert!(rate("r1", "k1", "a", -1.0) && rate("r1", "k1", "a", 1.0) && rate("r1", "k2", "a", 0.0));
        assert!(!rate("r1", "k3", "b", -1.0) && !rate("gone", "k1", "a", 1.0) && !rate("s1", "k1", "a", 1.0));
        assert!(
            store.judge("r2", "shadow", 0.25, 3).unwrap() && store.judge("r2", "shadow", 0.75, 4).unwrap()
        );
        assert!(!store.judge("gone", "shadow", 0.5, 3).unwrap());
        let graded = all(&store, &ALWAYS, true);
        let said: Vec<_> = graded.iter().map(|row| (row.feedback, row.agreement)).collect();
        assert_eq!(said, [(Some(0.5), None), (None, Some(0.75))]);
    }

    #[test]
    fn what_is_found_very_often_is_bounded_and_labels_the_same() {
        let mut findings: Vec<_> = (0..5_000_u16)
            .map(|i| finding(EntityKind::Email, usize::from(i), f32::from(i) / 5_000.0))
            .collect();
        findings.push(finding(EntityKind::Person, 9, 0.3));
        let long = profile(findings);
        let json = profile_json(&long).unwrap();
        assert!(json.len() < 4_000, "{}", json.len());
        let kept: Profile = serde_json::from_str(&json).unwrap();
        let strongest = |profile: &Profile, kind| {
            let of_kind = profile.sensitivity.findings.iter().filter(|found| found.kind == kind);
            of_kind.map(|found| found.score).fold(0.0, f32::max)
        };
        for kind in [EntityKind::Email, EntityKind::Person] {
            assert_eq!(strongest(&kept, kind).to_bits(), strongest(&long, kind).to_bits());
        }
    }
}
