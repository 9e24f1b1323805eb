//! Targets: every model that a request can go to, with what it can do, may see, and costs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::label::Clearance;
use crate::price::Price;

/// Where a target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// The embedded model, in this process.
    Local,
    /// A server of the same organisation.
    OnPrem,
    /// Somebody else's servers.
    Cloud,
}

impl Location {
    /// The word used in policies and the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::OnPrem => "on-prem",
            Self::Cloud => "cloud",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a model can do beyond plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Tool (function) calls.
    pub tools: bool,
    /// JSON mode and JSON schema output.
    pub schema: bool,
    /// Images in the input.
    pub vision: bool,
    /// Several choices per request (`n > 1`).
    pub choices: bool,
    /// Longest input and output together, in tokens.
    pub context_tokens: u32,
}

impl Capabilities {
    /// Everything, with a large context: what a frontier model offers.
    pub const ALL: Self =
        Self { tools: true, schema: true, vision: true, choices: true, context_tokens: 128_000 };
}

/// Whether a target can be used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Yes.
    Ready,
    /// No, with a reason for people (`OPENAI_API_KEY is not set`, `circuit open`).
    Unavailable(Arc<str>),
}

/// One model that a request can go to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// Unique name, `<upstream>/<model>` or `local/<model>`.
    pub id: Arc<str>,
    /// Where it runs.
    pub location: Location,
    /// Name of the upstream, `local` for the embedded model.
    pub upstream: Arc<str>,
    /// Model name as the upstream knows it.
    pub model: Arc<str>,
    /// Highest label that it may see.
    pub clearance: Clearance,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Price, if it is known.
    pub price: Option<Price>,
    /// How close it comes to a strong model, in `[0, 1]`; see [`Target::expected_quality`].
    pub strength: f32,
    /// Can it be used now?
    pub availability: Availability,
}

impl Target {
    /// Expected chance that the answer is good enough for a prompt of this complexity.
    ///
    /// Complexity is P(a strong model is needed), so by definition a weak model (strength 0) is good enough
    /// with probability `1 - complexity` and a strong one (strength 1) always; between them the line
    /// `1 - complexity * (1 - strength)` interpolates.
    #[must_use]
    pub fn expected_quality(&self, complexity: f32) -> f32 {
        1.0 - complexity.clamp(0.0, 1.0) * (1.0 - self.strength.clamp(0.0, 1.0))
    }

    /// Is it stronger than another target, or further out? Only such a one is worth asking after a weak answer.
    #[must_use]
    pub fn is_beyond(&self, other: &Self) -> bool {
        self.strength > other.strength || self.location > other.location
    }

    /// Can it be used now?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.availability == Availability::Ready
    }
}
