//! One request in the ledger.

use std::borrow::Cow;
use std::sync::Arc;

use policies::{Label, Money, Profile, RequestFacts, Usage, UsageSource};
use serde::{Deserialize, Serialize};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// Answered in full.
    Completed,
    /// The client left before the end.
    Aborted,
    /// An upstream or the local model failed, and nothing else could serve.
    Failed,
    /// The policy refused it.
    Refused,
    /// The request was faulty.
    Invalid,
    /// It was running when the process died; found at the next start.
    Lost,
}

impl Finish {
    /// The word stored in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Lost => "lost",
        }
    }
}

/// A row: everything about a request except its text. Times are Unix milliseconds, money nano-dollars.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Request id, as in `x-request-id`.
    pub id: Arc<str>,
    /// When it arrived, Unix milliseconds.
    pub time_ms: i64,
    /// Team that pays.
    pub team: String,
    /// Key id, empty without a key.
    pub key: String,
    /// End user, where the client names one.
    pub user: String,
    /// Tags, comma-separated.
    pub tags: String,
    /// Session, where the client names one.
    pub session: String,
    /// Model that was asked for.
    pub requested_model: String,
    /// Model that answered.
    pub served_model: String,
    /// `local`, `on-prem:<upstream>`, `cloud:<upstream>`; empty when none.
    pub route: String,
    /// Upstream, `local` for the embedded model; empty when none.
    pub upstream: String,
    /// Label.
    pub label: Label,
    /// Entity kinds with counts (`EMAIL=2,PERSON=1`), never the text.
    pub kinds: String,
    /// Doubts, comma-separated.
    pub doubt: String,
    /// Complexity.
    pub complexity: f32,
    /// Confidence of a local answer, in `[0, 1]`.
    pub confidence: Option<f32>,
    /// Task.
    pub task: &'static str,
    /// Language.
    pub language: String,
    /// Policy revision.
    pub policy: Arc<str>,
    /// Rule that fired.
    pub rule: Arc<str>,
    /// Reason, one sentence.
    pub reason: String,
    /// Targets considered, with price and standing, as JSON.
    pub alternatives: String,
    /// Calls made to targets.
    pub attempts: u32,
    /// Tokens.
    pub usage: Usage,
    /// Where the tokens come from; `None` when nothing was served.
    pub usage_source: Option<UsageSource>,
    /// Where the price comes from.
    pub price_source: String,
    /// Version of the price table.
    pub price_version: String,
    /// Cost; `None` is unpriced.
    pub cost: Option<Money>,
    /// Worst case reserved before the call.
    pub reserved: Money,
    /// What the request would have cost without the gateway; `None` when that price is unknown.
    pub baseline: Option<Money>,
    /// Energy of local inference, in joules.
    pub energy_joules: Option<f64>,
    /// How the energy was determined.
    pub energy_method: &'static str,
    /// Milliseconds to the first byte of the answer.
    pub first_token_ms: Option<f64>,
    /// Milliseconds in all.
    pub total_ms: f64,
    /// How it ended.
    pub outcome: Finish,
    /// Status of the response.
    pub status: u16,
    /// Served by another place than the policy preferred.
    pub degraded: bool,
    /// The policy let data pass above its label.
    pub declassified: bool,
    /// Short kind of the error, empty without one.
    pub error: String,
    /// What classification found; `None` when the request was never classified.
    pub profile: Option<Arc<Profile>>,
    /// The rest of what the decision was made of; `None` when none was made.
    pub situation: Option<Arc<Asked>>,
    /// Dense features of the complexity model, where the configuration asks for them.
    pub features: Option<Arc<[f32]>>,
    /// Tokens that the local model generated for this request and nobody was shown.
    pub wasted_output_tokens: u64,
    /// The part of `energy_joules` that they took.
    pub wasted_joules: Option<f64>,
    /// Id of the request that this row is a shadow of; empty for a client's own request.
    pub shadow_of: String,
    /// Mode of the rule that fired (`route`, `cascade`, ...); empty for requests that were never decided.
    pub mode: &'static str,
}

/// What a decision was made of besides the profile, the targets and what the row's own columns tell (team, key,
/// user, tags).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What was asked for: `chat`, `embeddings`.
    pub operation: Cow<'static, str>,
    /// What it needs.
    pub request: RequestFacts,
    /// Tier of the caller.
    pub tier: String,
    /// Label that the caller asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Label that the session had reached before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_label: Option<Label>,
    /// Revision of the router model that made the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// By how much thresholds were moved to the safe side.
    #[serde(default)]
    pub tightening: f32,
}

impl Row {
    /// A row of a request that has just arrived.
    #[must_use]
    pub fn new(id: Arc<str>, time_ms: i64) -> Self {
        Self {
            id,
            time_ms,
            team: String::new(),
            key: String::new(),
            user: String::new(),
            tags: String::new(),
            session: String::new(),
            requested_model: String::new(),
            served_model: String::new(),
            route: String::new(),
            upstream: String::new(),
            label: Label::Public,
            kinds: String::new(),
            doubt: String::new(),
            complexity: 0.0,
            confidence: None,
            task: "",
            language: String::new(),
            policy: Arc::from(""),
            rule: Arc::from(""),
            reason: String::new(),
            alternatives: String::new(),
            attempts: 0,
            usage: Usage::default(),
            usage_source: None,
            price_source: String::new(),
            price_version: String::new(),
            cost: None,
            reserved: Money::ZERO,
            baseline: None,
            energy_joules: None,
            energy_method: "",
            first_token_ms: None,
            total_ms: 0.0,
            outcome: Finish::Aborted,
            status: 0,
            degraded: false,
            declassified: false,
            error: String::new(),
            profile: None,
            situation: None,
            features: None,
            wasted_output_tokens: 0,
            wasted_joules: None,
            shadow_of: String::new(),
            mode: "",
        }
    }
}
