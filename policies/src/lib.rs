//! The rules of Sluicegate: labels, clearances, targets, decisions and prices.
//!
//! Everything here is a pure function over plain data: no clock, no I/O, no async runtime, no HTTP. What a
//! policy decides can therefore be tabulated, property-tested and replayed.

pub mod label;
pub mod price;
pub mod profile;

pub use label::{Clearance, Label};
pub use price::{Cost, Money, Price, PriceTable, Usage, UsageSource};
pub use profile::{Doubt, EntityKind, Finding, FindingSource, Profile, Sensitivity, Task, Topic};
