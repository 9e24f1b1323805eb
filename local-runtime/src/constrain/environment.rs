//! The vocabulary as the grammar engine sees it: the bytes of each token, and which tokens end a turn.
//!
//! Control tokens have no bytes, so no grammar can ask for one, and neither can a text. Tokens that can be part of no text
//! (the byte 0xFF, which the engine uses as a mark) or that are longer than its tree is deep are left out as well: they
//! are never chosen under a constraint, which costs nothing, since shorter ones spell the same.

use std::sync::Arc;

use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::tokenizer::TextCodec;

/// Bytes; the engine's tree takes 1024.
const TOKEN_BYTES_MAX: usize = 512;

struct Environment {
    trie: TokTrie,
}

/// `None` for a model without an end-of-turn token, whose answers a grammar could not end.
pub(super) fn environment(codec: &TextCodec, eos_ids: &[u32]) -> Option<TokEnv> {
    let size = codec.vocabulary();
    let eos_ids: Vec<u32> = eos_ids.iter().copied().filter(|&id| (id as usize) < size).collect();
    let words: Vec<Vec<u8>> = (0..size as u32).map(|id| word(codec, id, &eos_ids)).collect();
    let info = TokRxInfo::new(size as u32, *eos_ids.first()?);
    let trie = TokTrie::from(&info, &words).with_eos_tokens(&eos_ids);
    Some(Arc::new(Environment { trie }))
}

fn word(codec: &TextCodec, id: u32, eos_ids: &[u32]) -> Vec<u8> {
    let piece = codec.piece(id);
    let is_text = piece.len() <= TOKEN_BYTES_MAX && !piece.contains(&TokTrie::SPECIAL_TOKEN_MARKER);
    if is_text && !eos_ids.contains(&id) { piece.to_vec() } else { Vec::new() }
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }

    /// Where the grammar leaves one text only, the model still chooses how to spell it: its own tokens for a mark such as
    /// `<tool_call>` are found that way, while tokenising that mark as plain text would miss them.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
