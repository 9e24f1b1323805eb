//! Texts to the ids that an encoder reads.
//!
//! Markers (`[CLS]`, `</s>`) are put around a text here and nowhere else. A marker that is spelled out in a text stays
//! text: spellings of special tokens are not looked for, and where a vocabulary would still find one as a piece (Unigram
//! does), it becomes the unknown token. Truncation and padding that a `tokenizer.json` asks for are switched
//! off: a text is read whole or refused.

use std::collections::BTreeSet;
use std::path::Path;

use tokenizers::{Encoding, Tokenizer};

use crate::error::{Error, Result};

/// A tokenizer file larger than this is not one.
const TOKENIZER_BYTES_MAX: u64 = 256 << 20;
/// A text that tells the markers before a text from those after it.
pub(super) const PROBE: &str = "a";

/// A text's ids, without markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Where each stands in the text, in code points; empty when not asked for.
    pub(super) offsets: Vec<(usize, usize)>,
}

/// An encoder's tokenizer. Thread-safe.
#[derive(Debug)]
pub(super) struct EncoderTokenizer {
    tokenizer: Tokenizer,
    before: Vec<u32>,
    after: Vec<u32>,
    special: BTreeSet<u32>,
    unknown: Option<u32>,
}

impl EncoderTokenizer {
    pub(super) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("tokenizer.json");
        let unusable = |reason: String| Error::UnusableEncoder { path: path.clone(), reason };
        let bytes_max = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        if bytes_max > TOKENIZER_BYTES_MAX {
            return Err(unusable(format!("it is larger than {TOKENIZER_BYTES_MAX} bytes")));
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| unusable(error.to_string()))?;
        tokenizer.with_truncation(None).map_err(|error| unusable(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let probe = tokenizer.encode(PROBE, true).map_err(|error| unusable(error.to_string()))?;
        let mask = probe.get_special_tokens_mask();
        let first = mask.iter().position(|special| *special == 0);
        let last = mask.iter().rposition(|special| *special == 0);
        let (Some(first), Some(last)) = (first, last) else {
            return Err(unusable(format!("it has no token for `{PROBE}`")));
        };
        let added = tokenizer.get_added_tokens_decoder();
        let unknown = ["[UNK]", "<unk>"].iter().find_map(|name| tokenizer.token_to_id(name));
        Ok(Self {
            before: probe.get_ids()[..first].to_vec(),
            after: probe.get_ids()[last + 1..].to_vec(),
            special: added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect(),
            unknown,
            tokenizer,
        })
    }

    /// One more than the highest id that it gives.
    pub(super) fn vocabulary(&self) -> usize {
        let highest = self.tokenizer.get_vocab(true).values().copied().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// Markers before and after a text.
    pub(super) fn markers(&self) -> (usize, usize) {
        (self.before.len(), self.after.len())
    }

    /// The ids of a text.
    pub(super) fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self.tokenizer.encode_fast(text, false);
        Ok(self.plain(&encoding.map_err(failed)?, false))
    }

    /// The ids of a text with their places.
    pub(super) fn encode_with_offsets(&self, text: &str) -> Result<Tokens> {
        let encoding = self.tokenizer.encode_char_offsets(text, false);
        Ok(self.plain(&encoding.map_err(failed)?, true))
    }

    /// Ids with the markers around them.
    pub(super) fn marked(&self, ids: &[u32]) -> Vec<u32> {
        [&self.before, ids, &self.after].concat()
    }

    fn plain(&self, encoding: &Encoding, with_offsets: bool) -> Tokens {
        let mut tokens = Tokens { ids: Vec::with_capacity(encoding.len()), offsets: Vec::new() };
        for (index, &id) in encoding.get_ids().iter().enumerate() {
            let kept = if self.special.contains(&id) { self.unknown } else { Some(id) };
            let Some(id) = kept else { continue };
            tokens.ids.push(id);
            if with_offsets {
                tokens.offsets.push(encoding.get_offsets()[index]);
            }
        }
        tokens
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: tokenizers::Error) -> Error {
    Error::Tokenizer { action: "encode a text", reason: error.to_string() }
}
