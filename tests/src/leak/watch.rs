//! Finding every form of every canary in any bytes, in one pass.

use aho_corasick::AhoCorasick;

use super::{Conversation, Planted};

/// A canary that was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// What was found.
    pub planted: &'a Planted,
    /// Place in the bytes.
    pub at: usize,
}

/// Knows all canaries of some conversations.
pub struct Watch<'a> {
    automaton: AhoCorasick,
    owners: Vec<&'a Planted>,
}

impl<'a> Watch<'a> {
    /// Learns the canaries.
    ///
    /// # Panics
    /// When there are more than an automaton holds.
    #[must_use]
    pub fn over(conversations: impl IntoIterator<Item = &'a Conversation>) -> Self {
        let (mut forms, mut owners) = (Vec::new(), Vec::new());
        for planted in conversations.into_iter().flat_map(|conversation| &conversation.planted) {
            for form in &planted.forms {
                forms.push(form.as_str());
                owners.push(planted);
            }
        }
        Self { automaton: AhoCorasick::new(forms).unwrap(), owners }
    }

    /// Every canary in some bytes, each once.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Vec<Found<'a>> {
        let mut seen = vec![false; self.owners.len()];
        let mut found: Vec<Found<'a>> = Vec::new();
        for hit in self.automaton.find_overlapping_iter(bytes) {
            let form = hit.pattern().as_usize();
            let planted = self.owners[form];
            if !std::mem::replace(&mut seen[form], true)
                && !found.iter().any(|other| std::ptr::eq(other.planted, planted))
            {
                found.push(Found { planted, at: hit.start() });
            }
        }
        found
    }
}
