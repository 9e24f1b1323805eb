//! Credentials: what announces itself (`prefixes`), what has a structure (`structured`), what is assigned to a
//! telling name (`assign`) or handed to a telling call (`calls`), what stands beside a service's name (`service`), what a
//! kind of file holds (`files`), numbers and words that are secret because someone says so (`codes`), and opaque tokens
//! with a form (`groups`).
//!
//! Look-alikes are the problem here, not candidates: hashes, UUIDs, integrity values, placeholders and references
//! to a secret store are told apart in `strength`. Entropy alone never makes a finding.

mod assign;
mod calls;
mod codes;
mod files;
mod groups;
mod operator;
mod prefixes;
mod service;
mod strength;
mod structured;
mod vendors;

use super::DetectorError;
use super::doc::{Doc, Sink};

/// The secret recognisers with their automata.
#[derive(Debug)]
pub(crate) struct Secrets {
    prefixes: prefixes::Prefixes,
    structured: structured::Structured,
    service: service::Services,
}

impl Secrets {
    pub(crate) fn new() -> Result<Self, DetectorError> {
        Ok(Self {
            prefixes: prefixes::Prefixes::new()?,
            structured: structured::Structured::new()?,
            service: service::Services::new()?,
        })
    }

    pub(crate) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        self.prefixes.find(doc, out);
        self.structured.find(doc, out);
        assign::find(doc, out);
        self.service.find(doc, out);
        calls::find(doc, out);
        codes::find(doc, out);
        files::find(doc, out);
        groups::find(doc, out);
    }
}
