//! The audit chain: what was decided about each request and where its data went, in records that nobody can change
//! unnoticed.
//!
//! Invariants: a record holds kinds, counts, labels, rules and places, never a value, a text or a session's name; records
//! are only ever added; each one carries a hash over itself and the one before it ([`chain`]), so that a record that was
//! changed, removed, swapped or slipped in breaks every hash from there on. A record about data that is about to leave the
//! machine is handed over before its first byte is sent, and where the policy demands it ([`policies::PolicySet::requires_audit`])
//! it is on disk by then.
//!
//! Left out: deleting (nothing here does), and proof against somebody who rewrites the whole chain: for that the head has to
//! be known elsewhere, or the chain sealed with a key (`[audit] key`). `docs/audit.md` has the whole picture.

pub mod chain;
mod record;
mod trail;

pub use chain::{Broken, Hash, Head, Link, Seal, SealError, Walk};
pub(crate) use record::written;
pub use record::{Action, Declassified, Destination, Entry, Event};
pub use trail::Trail;
