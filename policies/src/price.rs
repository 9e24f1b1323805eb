//! Money, usage and what usage costs.
//!
//! Money is integral: one unit is a nano-dollar (1e-9 US dollar), so a price of 0.15 dollars per million
//! tokens is exactly 150 a token. Costs are computed in 128 bits and rounded half up once, per row. An
//! unknown price is [`Cost::Unpriced`], never zero.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// An amount in nano-dollars (1e-9 USD); may be negative as a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// Nano-dollars in a dollar.
    pub const NANOS_PER_USD: i64 = 1_000_000_000;

    /// From nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// In nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// From dollars as configuration writes them; rounded to the nearest nano-dollar.
    ///
    /// Returns `None` when the number is not finite, negative, or above nine billion dollars.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "range is checked first")]
    pub fn from_usd(usd: f64) -> Option<Self> {
        let nanos = (usd * 1e9).round();
        (nanos.is_finite() && (0.0..9e18).contains(&nanos)).then_some(Self(nanos as i64))
    }

    /// Sum that stays at the ends of the range instead of wrapping.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Money {
    /// Dollars with all nine places, without trailing zeros beyond the sixth: `0.001250`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let digits = format!("{rest:09}");
        let kept = digits.trim_end_matches('0').len().max(6);
        write!(f, "{sign}{whole}.{}", &digits[..kept])
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Tokens of one request, as providers bill them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens, cached ones included (OpenAI's `prompt_tokens`).
    pub input_tokens: u64,
    /// Input tokens read from the provider's prompt cache (part of `input_tokens`).
    pub cached_tokens: u64,
    /// Input tokens written to the provider's prompt cache (part of `input_tokens`).
    pub cache_write_tokens: u64,
    /// All output tokens, reasoning included (OpenAI's `completion_tokens`).
    pub output_tokens: u64,
    /// Reasoning tokens (part of `output_tokens`, billed as output).
    pub reasoning_tokens: u64,
}

/// Where a usage came from, from most to least trustworthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageSource {
    /// The provider said so.
    Provider,
    /// Counted here with the model's own tokenizer.
    Counted,
    /// Estimated here.
    Estimated,
}

impl UsageSource {
    /// The word that the ledger stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Counted => "counted",
            Self::Estimated => "estimated",
        }
    }
}

/// Price of one model, in nano-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Input tokens that are neither read from nor written to a cache.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Cached input tokens; `None` means that they cost as much as input.
    pub cached: Option<u64>,
    /// Cache-write tokens; `None` means that they cost as much as input.
    pub cache_write: Option<u64>,
}

impl Price {
    /// The price of something that costs no money.
    pub const FREE: Self = Self { input: 0, output: 0, cached: None, cache_write: None };

    /// What a usage costs, rounded half up to a nano-dollar.
    ///
    /// Cached and cache-write tokens that exceed the input are counted as given: a provider's odd report must
    /// not make a cost negative.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Money {
        let fresh = usage
            .input_tokens
            .saturating_sub(usage.cached_tokens)
            .saturating_sub(usage.cache_write_tokens);
        let line = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let total = line(fresh, self.input)
            + line(usage.cached_tokens, self.cached.unwrap_or(self.input))
            + line(usage.cache_write_tokens, self.cache_write.unwrap_or(self.input))
            + line(usage.output_tokens, self.output);
        Money(i64::try_from((total + 500_000) / 1_000_000).unwrap_or(i64::MAX))
    }
}

/// A cost, or the fact that no price is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Known.
    Priced(Money),
    /// No price is known for the model: an alarm, never zero.
    Unpriced,
}

impl Cost {
    /// The amount, if it is known.
    #[must_use]
    pub const fn money(self) -> Option<Money> {
        match self {
            Self::Priced(money) => Some(money),
            Self::Unpriced => None,
        }
    }
}

/// Prices by model name, with where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    /// Where the prices come from (`catalogue`, a file name).
    pub source: String,
    /// Version, a date.
    pub version: String,
    models: BTreeMap<String, Price>,
}
