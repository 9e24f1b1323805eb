//! Credentials that announce themselves: the prefix, the alphabet and the length that a vendor documents or that
//! its public clients check. The longest prefix wins, and what follows must be as long as the vendor makes it.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::strength::{entropy, repeated};
use super::vendors::RULES;
use crate::sensitivity::Raw;
use crate::sensitivity::doc::{Doc, Sink};

#[derive(Debug)]
pub(super) struct Prefixes {
    automaton: AhoCorasick,
}

impl Prefixes {
    pub(super) fn new() -> Result<Self, BuildError> {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(RULES.iter().map(|r| r.0))?;
        Ok(Self { automaton })
    }

    pub(super) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        for m in self.automaton.find_overlapping_iter(doc.b) {
            let (prefix, name, set, min, max) = RULES[m.pattern().as_usize()];
            let (s, from) = (m.start(), m.end());
            let left = doc.prev(s);
            // A short prefix is also a beginning of other words.
            let short =
                prefix.len() < 4 || matches!(prefix, "API-" | "api-" | "mob-" | "cflt" | "dose" | "dkea");
            if left.is_ascii_alphanumeric() || short && b"_-./+".contains(&left) {
                continue;
            }
            let len = doc.b[from..].iter().take(max + 1).take_while(|c| set.has(**c)).count();
            // A longer run than the vendor makes is something else, unless the alphabet only happens to go on.
            let next = doc.at(from + len);
            let closed = !(next.is_ascii_alphanumeric() || short && b"_-/+".contains(&next));
            if len < min || len > max || !closed {
                continue;
            }
            let body = doc.t[from..from + len].trim_end_matches(['.', '-', '_']);
            if body.len() < min
                || repeated(body)
                || entropy(body) < if body.len() < 20 { 2.0 } else { 2.8 }
                || short && prefix != "A3T" && !mixed(body)
            {
                continue;
            }
            let public =
                name == "stripe_key" && prefix.starts_with("pk_") || prefix == "pk.eyJ" || prefix == "6L";
            out.push(Raw::secret(s, from + body.len(), name, if public { 0.6 } else { 0.97 }));
        }
    }
}

/// Digits among letters, or letters of both cases in no order: no word, no identifier.
fn mixed(body: &str) -> bool {
    let count = |of: fn(&u8) -> bool| body.bytes().filter(of).count();
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let random = upper >= 6 && lower >= 6 && entropy(body) > 4.0 && !body.contains(['_', '-']);
    count(u8::is_ascii_digit) >= 3 && upper + lower > 0 || random
}
