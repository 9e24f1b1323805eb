//! How a rule uses the local model: decide once, try it first, or watch it beside the other.
//!
//! A mode never widens where a request may go: escalation takes the plan's own targets, and a shadow is one more
//! target that is cleared for the request's label. What the modes do while an answer is generated is the gateway's
//! business; here they are numbers with ranges.

use std::fmt;

use serde::Serialize;

/// Confidence below which a local answer escalates unless the rule says otherwise.
pub const DEFAULT_ESCALATE_BELOW: f32 = 0.6;
/// Tokens that are held back before an early decision unless the rule says otherwise.
pub const DEFAULT_HOLD_TOKENS: u32 = 24;
/// Tokens that may be held back at most: beyond that the answer is nearly complete, and `cascade` judges better.
pub const HOLD_TOKENS_MAX: u32 = 256;
/// Share of requests that get a shadow unless the rule says otherwise.
pub const DEFAULT_SHADOW_RATE: f32 = 0.05;
/// Extra samples for self-consistency at most: each costs as much as the answer.
pub const SELF_CONSISTENCY_MAX: u32 = 8;

/// How a rule uses the local model.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Mode {
    /// Decide before generating, and stay with it.
    #[default]
    Route,
    /// The local model answers first; its finished answer is judged before anybody sees it.
    Cascade {
        /// Confidence in `[0, 1]` below which another target answers instead.
        escalate_below: f32,
        /// Further answers that are sampled to see whether the model agrees with itself; 0 for none.
        self_consistency: u32,
    },
    /// The local model answers first; its beginning is held back and judged, then the rest flows.
    Prefix {
        /// Confidence in `[0, 1]` below which another target answers instead.
        escalate_below: f32,
        /// Tokens that are held back.
        hold_tokens: u32,
    },
    /// Serve as decided, and ask the other side too for some requests; that answer is judged and never shown.
    Shadow {
        /// Share of requests in `(0, 1]`.
        rate: f32,
    },
}

impl Mode {
    /// The words of policies.
    pub const WORDS: &'static [&'static str] = &["route", "cascade", "prefix", "shadow"];

    /// The word used in policies, metrics and the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Cascade { .. } => "cascade",
            Self::Prefix { .. } => "prefix",
            Self::Shadow { .. } => "shadow",
        }
    }

    /// Confidence below which a local answer is replaced, in the modes that replace one.
    #[must_use]
    pub const fn escalate_below(self) -> Option<f32> {
        match self {
            Self::Cascade { escalate_below, .. } | Self::Prefix { escalate_below, .. } => {
                Some(escalate_below)
            }
            Self::Route | Self::Shadow { .. } => None,
        }
    }

    /// The same mode with its threshold raised by `amount`, within `[0, 1]`. Never lowers it: a negative amount, or
    /// one that is no number, changes nothing.
    #[must_use]
    pub fn tightened(self, amount: f32) -> Self {
        let raise = |threshold: f32| if amount > 0.0 { (threshold + amount).min(1.0) } else { threshold };
        match self {
            Self::Cascade { escalate_below, self_consistency } => {
                Self::Cascade { escalate_below: raise(escalate_below), self_consistency }
            }
            Self::Prefix { escalate_below, hold_tokens } => {
                Self::Prefix { escalate_below: raise(escalate_below), hold_tokens }
            }
            Self::Route | Self::Shadow { .. } => self,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Cascade { escalate_below, self_consistency: 0 } => {
                write!(f, "cascade, escalates below {escalate_below}")
            }
            Self::Cascade { escalate_below, self_consistency } => {
                write!(f, "cascade, escalates below {escalate_below}, {self_consistency} further samples")
            }
            Self::Prefix { escalate_below, hold_tokens } => {
                write!(f, "prefix of {hold_tokens} tokens, escalates below {escalate_below}")
            }
            Self::Shadow { rate } => write!(f, "shadow of a share of {rate}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tightening_raises_thresholds_and_nothing_else() {
        let cascade = Mode::Cascade { escalate_below: 0.6, self_consistency: 2 };
        for (amount, expected) in [(0.1, 0.7), (0.9, 1.0), (0.0, 0.6), (-0.3, 0.6), (f32::NAN, 0.6)] {
            let tightened = cascade.tightened(amount).escalate_below().unwrap_or_default();
            assert!((tightened - expected).abs() < 1e-6, "{amount}: {tightened}");
        }
        assert_eq!(Mode::Route.tightened(0.5), Mode::Route);
        assert_eq!(Mode::Shadow { rate: 0.1 }.tightened(0.5), Mode::Shadow { rate: 0.1 });
    }
}
