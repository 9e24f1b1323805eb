//! How good a router is, and which thresholds are safe: statistics over graded rows.
//!
//! Everything here is a pure function of its arguments: no clock, no I/O, and randomness only from a seed that
//! the caller names, so that every figure can be repeated. Left out: where the rows come from, and what is done
//! with the figures.

mod bootstrap;
pub mod bounds;
mod calibration;
mod curve;
mod rng;
mod router;
mod row;
mod thresholds;

pub use bootstrap::{Estimate, RISK as INTERVAL_RISK, quantile, resample};
pub use calibration::{BINS, Bin, auroc, brier, ece, reliability};
pub use curve::{Curve, Pair, Ranking};
pub use rng::Rng;
pub use router::{CurvePoint, Evaluation, Figures, GOOD_FROM, Sampling, Scored, evaluate};
pub use row::{GoodSource, GradedRow, RowError, share};
pub use thresholds::{Candidate, Case, Family, Judged, Target, Tuning, judge, tune};
