//! Who asks: keys, teams, sessions.
//!
//! A virtual key is shown once and stored as its SHA-256 (it carries 244 random bits, so no salt is needed).
//! Where no key is required, the team comes from a header. The label that a session has reached only rises
//! ([`crate::sessions`]).

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use moka::sync::Cache;
use policies::{CallerFacts, Label};
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::error::Error;
use crate::ledger::{Key, Ledger, LedgerError};
use crate::sessions::{SessionHash, Sessions};

/// Start of every virtual key.
pub const KEY_PREFIX: &str = "sk-sluice-";
/// Team of requests that name none.
pub const DEFAULT_TEAM: &str = "default";
/// How long a looked-up key is believed; a revocation takes effect after this at the latest.
const KEY_BELIEVED: Duration = Duration::from_secs(5);
const HEADER_CHARS_MAX: usize = 256;

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Facts for the policy.
    pub facts: CallerFacts,
    /// Session, empty without one.
    pub session: String,
}

/// Looks callers up.
#[derive(Debug)]
pub struct Callers {
    require_key: bool,
    keys: Cache<[u8; 32], Option<Arc<Key>>>,
    sessions: Sessions,
}

impl Callers {
    /// With the settings of a configuration and the sessions of its ledger.
    #[must_use]
    pub fn new(config: &Config, sessions: Sessions) -> Self {
        Self {
            require_key: config.require_key,
            keys: Cache::builder().max_capacity(10_000).time_to_live(KEY_BELIEVED).build(),
            sessions,
        }
    }

    /// Identifies the caller of a request, and recalls the label of their session.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::Invalid`] for a faulty header, or [`Error::Ledger`].
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        config: &Config,
        ledger: &Ledger,
    ) -> Result<Identity, Error> {
        let key = match presented_key(headers) {
            Some(secret) if secret.starts_with(KEY_PREFIX) => Some(self.key(secret, ledger).await?),
            Some(_) if self.require_key => {
                return Err(Error::Unauthorized(
                    "this is not a Sluicegate key; create one with `sluicegate keys create`",
                ));
            }
            None if self.require_key => {
                return Err(Error::Unauthorized(
                    "a key is required: send it as `Authorization: Bearer sk-sluice-...`",
                ));
            }
            _ => None,
        };
        let team = match &key {
            Some(key) => key.team.clone(),
            None => text_header(headers, "x-sluicegate-team")?.unwrap_or_else(|| DEFAULT_TEAM.to_owned()),
        };
        let session = text_header(headers, "x-session-id")?.unwrap_or_default();
        let session_label = match &*session {
            "" => None,
            session => self.sessions.recall(&team, session).await.map_err(Error::Ledger)?,
        };
        let label = text_header(headers, "x-sluicegate-label")?
            .map(|word| {
                word.parse::<Label>().map_err(|error| Error::invalid("x-sluicegate-label", error.to_string()))
            })
            .transpose()?;
        let tags = text_header(headers, "x-sluicegate-tags")?.unwrap_or_default();

        let tier = config.team(&team).map_or("standard", |team| &team.tier).to_owned();
        Ok(Identity {
            facts: CallerFacts {
                key: key.map(|key| key.id.clone()).unwrap_or_default(),
                tags: tags.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
                user: String::new(),
                tier,
                label,
                session_label,
                team,
            },
            session,
        })
    }

    /// The label that a session has reached by now.
    #[must_use]
    pub fn session_label(&self, identity: &Identity) -> Option<Label> {
        if identity.session.is_empty() {
            return None;
        }
        let known = self.sessions.label(&identity.facts.team, &identity.session);
        known.max(identity.facts.session_label)
    }

    /// What the session of a team is known by, where it must not be named.
    #[must_use]
    pub fn session_hash(&self, team: &str, session: &str) -> SessionHash {
        self.sessions.hash(team, session)
    }

    /// Raises the label of a session.
    pub fn raise_session(&self, identity: &Identity, label: Label) {
        if !identity.session.is_empty() {
            self.sessions.raise(&identity.facts.team, &identity.session, label);
        }
    }

    async fn key(&self, secret: &str, ledger: &Ledger) -> Result<Arc<Key>, Error> {
        let hash = hash_key(secret);
        let known = match self.keys.get(&hash) {
            Some(known) => known,
            None => {
                let found =
                    ledger.query(move |store| store.key_by_hash(&hash)).await.map_err(Error::Ledger)?;
                let found = found.map(Arc::new);
                self.keys.insert(hash, found.clone());
                found
            }
        };
        known
            .filter(|key| key.revoked_ms.is_none())
            .ok_or(Error::Unauthorized("this key is not known or was revoked"))
    }
}

/// The key that a request presents, from either of the usual headers.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")))
        .map(str::trim);
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}

fn text_header(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text =
        value.to_str().map_err(|_| Error::invalid(name, format!("`{name}` must be printable ASCII")))?;
    if text.len() > HEADER_CHARS_MAX {
        return Err(Error::invalid(name, format!("`{name}` is longer than {HEADER_CHARS_MAX} characters")));
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// What is stored of a key.
#[must_use]
pub fn hash_key(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Makes a key: the record to store, its hash, and the secret to show once.
#[must_use]
pub fn new_key(name: &str, team: &str, created_ms: i64) -> (Key, [u8; 32], String) {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    let secret = format!("{KEY_PREFIX}{}{}", random(), random());
    let id = format!("key_{}", &random()[..12]);
    let key = Key { id, name: name.to_owned(), team: team.to_owned(), created_ms, revoked_ms: None };
    let hash = hash_key(&secret);
    (key, hash, secret)
}

/// Stores a new key and returns it with its secret.
///
/// # Errors
/// [`LedgerError`].
pub fn create_key(
    store: &crate::ledger::Store,
    name: &str,
    team: &str,
    now_ms: i64,
) -> Result<(Key, String), LedgerError> {
    let (key, hash, secret) = new_key(name, team, now_ms);
    store.insert_key(&key, &hash)?;
    Ok((key, secret))
}
