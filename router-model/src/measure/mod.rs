//! How good a router is, and which thresholds are safe: statistics over graded rows.
//!
//! Everything here is a pure function of its arguments: no clock, no I/O, and randomness only from a seed that
//! the caller names, so that every figure can be repeated. Left out: where the rows come from, and what is done
//! with the figures.

mod row;

pub use row::{GoodSource, GradedRow, RowError, share};
