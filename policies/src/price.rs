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

use crate::fault::{self, Document, Faults};

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
        let fresh =
            usage.input_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens);
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

/// The catalogue that ships with this version.
const CATALOGUE: &str = include_str!("../prices/catalogue.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    version: String,
    model: BTreeMap<String, RawPrice>,
}

/// Prices as people write them: US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPrice {
    /// Input.
    pub input: f64,
    /// Output.
    pub output: f64,
    /// Cached input; the input price when absent.
    pub cached: Option<f64>,
    /// Cache writes; the input price when absent.
    pub cache_write: Option<f64>,
}

impl RawPrice {
    /// Checked form, in nano-dollars per million tokens; `None` when a number is negative or not finite.
    #[must_use]
    pub fn check(&self) -> Option<Price> {
        let per_million = |usd: f64| Money::from_usd(usd).and_then(|money| u64::try_from(money.nanos()).ok());
        Some(Price {
            input: per_million(self.input)?,
            output: per_million(self.output)?,
            cached: self.cached.map(per_million).map_or(Some(None), |p| p.map(Some))?,
            cache_write: self.cache_write.map(per_million).map_or(Some(None), |p| p.map(Some))?,
        })
    }
}

impl PriceTable {
    /// The catalogue of public list prices that ships with this version.
    ///
    /// # Panics
    /// Never: a test reads the embedded catalogue.
    #[must_use]
    pub fn catalogue() -> Self {
        Self::parse("catalogue", CATALOGUE).expect("the embedded catalogue is tested")
    }

    /// Reads a price table.
    ///
    /// # Errors
    /// Faults with file, line and key.
    pub fn parse(source: &str, text: &str) -> Result<Self, Faults> {
        let document = Document { file: source, text };
        let raw: RawTable = fault::read(document)?;
        let mut models = BTreeMap::new();
        let mut faults = Vec::new();
        for (name, price) in raw.model {
            match price.check() {
                Some(price) => {
                    models.insert(name.to_ascii_lowercase(), price);
                }
                None => faults.push(document.fault(
                    &format!("model.{name}"),
                    "prices are dollars per million tokens, finite and not negative",
                )),
            }
        }
        if faults.is_empty() {
            Ok(Self { source: source.to_owned(), version: raw.version, models })
        } else {
            Err(Faults(faults))
        }
    }

    /// Adds or replaces the price of one model.
    pub fn set(&mut self, model: &str, price: Price) {
        self.models.insert(model.to_ascii_lowercase(), price);
    }

    /// The price of a model, by exact name, or by the name without a date or snapshot suffix
    /// (`gpt-4o-2024-08-06` is priced as `gpt-4o` when only that is listed).
    #[must_use]
    pub fn price(&self, model: &str) -> Option<Price> {
        let name = model.to_ascii_lowercase();
        if let Some(price) = self.models.get(&name) {
            return Some(*price);
        }
        let base = strip_snapshot(&name)?;
        self.models.get(base).copied()
    }

    /// What a usage of a model costs.
    #[must_use]
    pub fn cost(&self, model: &str, usage: &Usage) -> Cost {
        self.price(model).map_or(Cost::Unpriced, |price| Cost::Priced(price.cost(usage)))
    }

    /// Every model with its price, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Price)> {
        self.models.iter().map(|(name, price)| (name.as_str(), *price))
    }
}

/// `name-2024-08-06`, `name-20241022` and `name-latest` without their last part.
fn strip_snapshot(name: &str) -> Option<&str> {
    if let Some(base) = name.strip_suffix("-latest") {
        return Some(base);
    }
    let is_date = |text: &str| {
        (text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()))
            || (text.len() == 10
                && text
                    .bytes()
                    .enumerate()
                    .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() }))
    };
    [9, 11].into_iter().find_map(|tail| {
        let cut = name.len().checked_sub(tail)?;
        let suffix = name.get(cut..)?.strip_prefix('-')?;
        is_date(suffix).then(|| &name[..cut])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_and_split_by_kind_of_token() {
        let price =
            RawPrice { input: 2.5, output: 10.0, cached: Some(1.25), cache_write: None }.check().unwrap();
        let usage = Usage { input_tokens: 1_000, cached_tokens: 600, output_tokens: 100, ..Usage::default() };
        // 400 * 2500 + 600 * 1250 + 100 * 10000 nano-dollars
        assert_eq!(price.cost(&usage), Money::from_nanos(2_750_000));
        assert_eq!(price.cost(&usage).to_string(), "0.002750");
    }

    #[test]
    fn rounding_is_half_up_once() {
        let price = Price { input: 1, output: 0, cached: None, cache_write: None };
        let cost = |input_tokens| price.cost(&Usage { input_tokens, ..Usage::default() }).nanos();
        assert_eq!((cost(499_999), cost(500_000), cost(1_500_000)), (0, 1, 2));
    }

    #[test]
    fn an_unknown_model_is_unpriced_and_never_free() {
        let table = PriceTable::catalogue();
        let usage = Usage { input_tokens: 10, output_tokens: 10, ..Usage::default() };
        assert_eq!(table.cost("no-such-model", &usage), Cost::Unpriced);
    }

    #[test]
    fn snapshots_are_priced_as_their_model() {
        let table = PriceTable::catalogue();
        assert!(table.price("gpt-4o").is_some());
        assert_eq!(table.price("gpt-4o-2099-01-01"), table.price("gpt-4o"));
        assert_eq!(table.price("GPT-4o"), table.price("gpt-4o"));
        assert_eq!(table.price("gpt-4o-foo"), None);
    }

    #[test]
    fn a_price_below_zero_is_a_fault_with_its_line() {
        let text = "version = \"x\"\n[model]\n\"a\" = { input = -1.0, output = 1.0 }\n";
        let Faults(faults) = PriceTable::parse("p.toml", text).unwrap_err();
        assert_eq!(faults[0].line, 3);
    }

    #[test]
    fn money_shows_all_its_digits() {
        assert_eq!(Money::from_nanos(1).to_string(), "0.000000001");
        assert_eq!(Money::from_nanos(-1_500_000_000).to_string(), "-1.500000");
        assert_eq!(Money::from_usd(0.15), Some(Money::from_nanos(150_000_000)));
        assert_eq!(Money::from_usd(f64::NAN), None);
    }
}
