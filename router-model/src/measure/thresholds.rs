//! Thresholds with a guarantee: Learn-then-Test (Angelopoulos, Bates, Candès, Jordan and Lei, arXiv 2110.01052).
//!
//! Every candidate is a hypothesis, "what it serves is worse than the target on average". A valid p-value for each
//! and a procedure that errs on any of them with a chance of at most the risk δ certify a set of candidates, all at
//! once, so that any of them may be taken for any reason: here the cheapest.
//!
//! **The p-value** is exact (binomial) where all grades are 0 or 1, else Hoeffding's and Bentkus'.
//!
//! **The order** is fixed before a grade is seen: candidates form chains from the safest to the cheapest, and a chain
//! is tested in its order until the first failure (fixed-sequence testing). *Route* is one chain, complexity
//! thresholds 0.00, 0.01, ... 1.00; *cascade* is one chain, confidence thresholds 1.00, 0.99, ... 0.00; *pair* is ten
//! chains, one for each complexity threshold 0.1, 0.2, ... 1.0, each over the confidence thresholds as in a cascade
//! and each tested at δ/10 (Bonferroni over the chains).
//!
//! **What it rests on.** Rows are independent draws of what will be asked, graded without regard to what the grade
//! would be, with this local model, strong model and router. It speaks of the mean over all requests, not of a
//! group among them.
//!
//! Left out: a bound for the chosen candidate that is tighter than the target. The lower bounds that are given hold
//! for each candidate by itself.

use serde::Serialize;

use super::bounds::{binomial_p_value, hoeffding_bentkus_p_value, mean_at_least};

/// One graded request with what each answer costs, in any unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// P(a strong model is needed), in `[0, 1]`.
    pub complexity: f64,
    /// P(the local answer is good enough), in `[0, 1]`; a cascade escalates what has none.
    pub confidence: Option<f64>,
    /// How good the local answer is, in `[0, 1]`.
    pub good: f64,
    /// How good the strong model's answer is, in `[0, 1]`.
    pub strong: f64,
    /// Cost of the local answer.
    pub local_cost: f64,
    /// Cost of the strong model's answer.
    pub cloud_cost: f64,
}

/// Which thresholds are looked for. A threshold that is given stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Family {
    /// The complexity below which a request is tried locally.
    Route {
        /// The confidence from which a local answer is served; `None` serves all.
        confidence_from: Option<f64>,
    },
    /// The confidence below which a local answer is replaced.
    Cascade {
        /// The complexity below which a request is tried locally; `None` tries all.
        complexity_below: Option<f64>,
    },
    /// Both: below the one a local answer is tried, below the other it is replaced.
    Pair,
}

/// What is to be guaranteed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Target {
    /// Mean quality of what is served, in `(0, 1)`.
    pub quality: f64,
    /// Chance that the guarantee fails, in `(0, 1)`.
    pub risk: f64,
}

/// One choice of thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Candidate {
    /// A request is tried locally if its complexity is below this; `None` tries all.
    pub complexity_below: Option<f64>,
    /// A local answer is served if its confidence is at least this; `None` serves all.
    pub confidence_from: Option<f64>,
}

/// A candidate with what the rows say of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged {
    /// The thresholds.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Share of requests that the local model tries.
    pub tried_share: f64,
    /// Share of requests that the local model serves.
    pub local_share: f64,
    /// Mean quality of what is served.
    pub quality: f64,
    /// Lower bound of that quality, for this candidate by itself, at the whole risk.
    pub quality_at_least: f64,
    /// Mean cost of a request, in the unit of the cases.
    pub cost: f64,
    /// p-value of "the quality is below the target".
    pub p_value: f64,
    /// Whether the target is guaranteed with it, together with all others that are certified.
    pub certified: bool,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuning {
    /// What was to be guaranteed.
    pub target: Target,
    /// Rows.
    pub rows: usize,
    /// Whether all grades are 0 or 1, so that p-values are exact.
    pub binary: bool,
    /// The cheapest certified candidate; the safest of equally cheap ones.
    pub chosen: Option<Judged>,
    /// Every candidate, chain after chain, each from the safest to the cheapest.
    pub chains: Vec<Vec<Judged>>,
    /// Where nothing is certified: rows that would do if the safest candidate kept its quality; `None` if no number
    /// would, because that quality is not above the target.
    pub rows_needed: Option<u64>,
}

/// Steps between 0 and 1 in a chain.
const STEPS: u32 = 100;
/// Chains of [`Family::Pair`].
const PAIR_CHAINS: u32 = 10;
/// More rows than this are not asked for.
const ROWS_MAX: u64 = 1 << 40;

/// Finds the cheapest thresholds with which the target is guaranteed.
#[must_use]
pub fn tune(cases: &[Case], family: Family, target: Target) -> Tuning {
    let judge = Judge::new(cases, target);
    let chains = chains(family);
    let level = target.risk / real(chains.len());
    let chains: Vec<Vec<Judged>> = chains.into_iter().map(|chain| judge.test(&chain, level)).collect();
    let certified = chains.iter().flatten().filter(|judged| judged.certified);
    // `min_by` keeps the first, hence safest, of equals.
    let chosen = certified.min_by(|a, b| a.cost.total_cmp(&b.cost)).copied();
    let safest =
        chains.iter().filter_map(|chain| chain.first()).max_by(|a, b| a.quality.total_cmp(&b.quality));
    let rows_needed = match (&chosen, safest) {
        (None, Some(safest)) => judge.rows_needed(safest.quality, level),
        _ => None,
    };
    Tuning { target, rows: cases.len(), binary: judge.binary, chosen, chains, rows_needed }
}

/// What the rows say of one candidate that was named beforehand: its own p-value against the whole risk.
#[must_use]
pub fn judge(cases: &[Case], candidate: Candidate, target: Target) -> Judged {
    let judge = Judge::new(cases, target);
    let judged = judge.measure(candidate);
    Judged { certified: judged.p_value <= target.risk, ..judged }
}

/// The chains of candidates, each from the safest to the cheapest.
fn chains(family: Family) -> Vec<Vec<Candidate>> {
    let confidences = || (0..=STEPS).rev().map(|step| Some(f64::from(step) / f64::from(STEPS)));
    let chain = |complexity_below| {
        confidences().map(|confidence_from| Candidate { complexity_below, confidence_from }).collect()
    };
    match family {
        Family::Route { confidence_from } => {
            let thresholds = (0..=STEPS).map(|step| Some(f64::from(step) / f64::from(STEPS)));
            let candidate = |complexity_below| Candidate { complexity_below, confidence_from };
            vec![thresholds.map(candidate).collect()]
        }
        Family::Cascade { complexity_below } => vec![chain(complexity_below)],
        Family::Pair => {
            (1..=PAIR_CHAINS).map(|step| chain(Some(f64::from(step) / f64::from(PAIR_CHAINS)))).collect()
        }
    }
}

struct Judge<'a> {
    cases: &'a [Case],
    target: Target,
    binary: bool,
}

impl<'a> Judge<'a> {
    fn new(cases: &'a [Case], target: Target) -> Self {
        let whole = |grade: f64| grade <= 0.0 || grade >= 1.0;
        let binary = cases.iter().all(|case| whole(case.good) && whole(case.strong));
        Self { cases, target, binary }
    }

    /// Tests a chain in its order until the first failure.
    fn test(&self, chain: &[Candidate], level: f64) -> Vec<Judged> {
        let mut going = true;
        chain
            .iter()
            .map(|&candidate| {
                let judged = self.measure(candidate);
                going &= judged.p_value <= level;
                Judged { certified: going, ..judged }
            })
            .collect()
    }

    fn measure(&self, candidate: Candidate) -> Judged {
        let (mut tried, mut served, mut quality, mut cost) = (0.0, 0.0, 0.0, 0.0);
        for case in self.cases {
            let fate = candidate.fate(case);
            if fate.tried {
                tried += 1.0;
                cost += case.local_cost;
            }
            if fate.served {
                served += 1.0;
                quality += case.good;
            } else {
                quality += case.strong;
                cost += case.cloud_cost;
            }
        }
        let rows = real(self.cases.len()).max(1.0);
        let quality = quality / rows;
        Judged {
            candidate,
            tried_share: tried / rows,
            local_share: served / rows,
            quality,
            quality_at_least: mean_at_least(quality, self.rows(), self.binary, self.target.risk),
            cost: cost / rows,
            p_value: self.p_value(quality, self.rows()),
            certified: false,
        }
    }

    fn rows(&self) -> u64 {
        self.cases.len() as u64
    }

    /// p-value of "the mean quality is below the target", from this many rows with this mean.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and the number of rows"
    )]
    fn p_value(&self, quality: f64, rows: u64) -> f64 {
        let (loss, allowed) = (1.0 - quality, 1.0 - self.target.quality);
        if self.binary {
            binomial_p_value((loss * rows as f64 - 1e-6).ceil().max(0.0) as u64, rows, allowed)
        } else {
            hoeffding_bentkus_p_value(loss.max(0.0), rows, allowed)
        }
    }

    /// Rows with which a candidate of this quality would be certified.
    fn rows_needed(&self, quality: f64, level: f64) -> Option<u64> {
        if quality <= self.target.quality {
            return None;
        }
        let enough = |rows: u64| self.p_value(quality, rows) <= level;
        let mut high = 1;
        while !enough(high) {
            high *= 2;
            if high > ROWS_MAX {
                return None;
            }
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = u64::midpoint(low, high);
            if enough(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }
}

/// What happens to one request.
struct Fate {
    tried: bool,
    served: bool,
}

impl Candidate {
    fn fate(self, case: &Case) -> Fate {
        let tried = self.complexity_below.is_none_or(|threshold| case.complexity < threshold);
        let sure = |threshold| case.confidence.is_some_and(|confidence| confidence >= threshold);
        Fate { tried, served: tried && self.confidence_from.is_none_or(sure) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows and chains")]
const fn real(count: usize) -> f64 {
    count as f64
}
