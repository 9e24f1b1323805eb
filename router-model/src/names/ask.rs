//! One request's texts: which of them are known, which the model is asked about, and what came of it.

use std::sync::Arc;

use local_runtime::{Error as RuntimeError, Pending, Tagging};
use policies::Doubt;

use super::Names;
use super::spans::Reader;
use crate::memo::{Key, Memo};
use crate::sensitivity::{LocalFinding, canonical, original};
use crate::{Error, Prompt, Role};

/// Texts with fewer letters than this have no name in them.
const LETTERS_MIN: usize = 2;

/// Whether a segment may hold a name. Identifiers of schemas and protocols (lower case, no spaces) do not, unless somebody
/// says them.
fn may_hold_names(role: Role, text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic()).take(LETTERS_MIN).count();
    let is_identifier = || !text.contains(|c: char| c.is_whitespace() || c.is_uppercase() || !c.is_ascii());
    letters == LETTERS_MIN && !(role == Role::Other && is_identifier())
}

/// Names that were found, by the segment that they stand in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundNames {
    pub(crate) segments: Vec<(usize, Arc<[LocalFinding]>)>,
    pub(crate) doubt: Vec<Doubt>,
}

impl FoundNames {
    /// Nothing was found out, for this reason.
    #[must_use]
    pub fn doubtful(doubt: Doubt) -> Self {
        Self { segments: Vec::new(), doubt: vec![doubt] }
    }

    /// Adds what another part of the request came to.
    pub fn join(&mut self, other: Self) {
        self.segments.extend(other.segments);
        self.doubt.extend(other.doubt);
    }
}

/// What is known of a request's names at once, and what is still being read.
#[derive(Debug)]
pub struct AskedNames {
    /// What earlier requests found in the same texts.
    pub known: FoundNames,
    /// The rest, if there is any.
    pub unread: Option<UnreadNames>,
}

impl AskedNames {
    /// Nothing is asked.
    #[must_use]
    pub fn nothing() -> Self {
        Self { known: FoundNames::default(), unread: None }
    }
}

/// Texts that the model is reading. Dropping it cancels that.
#[derive(Debug)]
pub struct UnreadNames {
    pending: Pending<Vec<Tagging>>,
    texts: Vec<Unread>,
    reader: Arc<Reader>,
    memo: Arc<Memo<[LocalFinding]>>,
}

#[derive(Debug)]
struct Unread {
    segment: usize,
    key: Key,
    text: String,
}

impl Names {
    /// Looks the texts of a prompt up and puts those that are new before the model, without waiting. Only the first
    /// `text_bytes_max` bytes of each are read; that the rest was not is for the caller to tell.
    pub(crate) fn ask(&self, prompt: &Prompt<'_>, text_bytes_max: usize) -> AskedNames {
        let mut known = FoundNames::default();
        let mut texts: Vec<Unread> = Vec::new();
        for (segment, each) in prompt.segments.iter().enumerate() {
            let text = crate::classifier::clip(&each.text, text_bytes_max);
            if !may_hold_names(each.role, text) {
                continue;
            }
            let key = self.memo.key(text);
            match self.memo.get(&key) {
                Some(findings) => known.segments.push((segment, findings)),
                None => texts.push(Unread { segment, key, text: text.to_owned() }),
            }
        }
        if texts.is_empty() {
            return AskedNames { known, unread: None };
        }
        let views: Vec<_> = texts.iter().map(|unread| canonical(&unread.text)).collect();
        match self.encoder.tag(&views) {
            Ok(pending) => {
                let (reader, memo) = (Arc::clone(&self.reader), Arc::clone(&self.memo));
                AskedNames { known, unread: Some(UnreadNames { pending, texts, reader, memo }) }
            }
            Err(error) => {
                known.doubt.push(doubt_of(&error));
                AskedNames { known, unread: None }
            }
        }
    }
}

/// What a refusal of the model means for the request.
fn doubt_of(error: &RuntimeError) -> Doubt {
    match error {
        RuntimeError::Busy { .. } => Doubt::DetectorTimeout,
        RuntimeError::RequestTooLong { .. } => Doubt::TextTooLong,
        _ => Doubt::DetectorError,
    }
}

impl UnreadNames {
    /// Waits for the model.
    ///
    /// # Errors
    /// [`Error::Encoder`] when it failed.
    pub async fn tagged(self) -> Result<TaggedNames, Error> {
        let Self { pending, texts, reader, memo } = self;
        let said = pending.await.map_err(Error::Encoder)?;
        Ok(TaggedNames { said, texts, reader, memo })
    }

    /// The same on this thread, and what it comes to.
    ///
    /// # Errors
    /// [`Error::Encoder`] when it failed.
    pub fn wait(self) -> Result<FoundNames, Error> {
        let Self { pending, texts, reader, memo } = self;
        let said = pending.wait().map_err(Error::Encoder)?;
        Ok(TaggedNames { said, texts, reader, memo }.found())
    }
}

/// Texts that the model has read.
#[derive(Debug)]
pub struct TaggedNames {
    said: Vec<Tagging>,
    texts: Vec<Unread>,
    reader: Arc<Reader>,
    memo: Arc<Memo<[LocalFinding]>>,
}

impl TaggedNames {
    /// What it comes to; remembered for the next request. Computing, in proportion to the texts.
    #[must_use]
    pub fn found(self) -> FoundNames {
        let mut found = FoundNames::default();
        for (Unread { segment, key, text }, tagging) in self.texts.into_iter().zip(&self.said) {
            let findings = self.reader.read(&canonical(&text), &tagging.tokens);
            let findings: Arc<[LocalFinding]> = original(&text, findings).into();
            self.memo.put(key, Arc::clone(&findings));
            found.segments.push((segment, findings));
        }
        found
    }
}
