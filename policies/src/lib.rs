//! The rules of Sluicegate: labels, clearances, targets, decisions and prices.
//!
//! Everything here is a pure function over plain data: no clock, no I/O, no async runtime, no HTTP. What a
//! policy decides can therefore be tabulated, property-tested and replayed.

pub mod cleared;
pub mod condition;
pub mod config;
pub mod decision;
pub mod fault;
pub mod label;
pub mod masked;
pub mod mode;
pub mod price;
pub mod profile;
pub mod rules;
pub mod target;
pub mod term;

pub use cleared::{ClearanceError, Cleared};
pub use decision::{
    Alternative, CallerFacts, Decision, Labelled, Outcome, Plan, Reason, Refusal, RequestFacts, Situation,
    Standing, Verdict, Wants, review,
};
pub use fault::{Document, Fault, Faults};
pub use label::{Clearance, Label};
pub use masked::{Declassified, Declassifier, MaskOffer, MaskSettings, MaskStyle, Masked, Subject};
pub use mode::Mode;
pub use price::{Cost, Money, Price, PriceTable, RawPrice, Usage, UsageSource};
pub use profile::{Doubt, EntityKind, Finding, FindingSource, Profile, Rung, Sensitivity, Task, Topic};
pub use rules::{Action, PolicySet, Route, WhenCloudFails};
pub use target::{Availability, Capabilities, Location, Target};
pub use term::{Term, TermError};
