//! SentencePiece's BPE (Kudo and Richardson 2018) as `tokenizer.json`: Phi-3, Mistral, Gemma.
//!
//! SentencePiece joins the two neighbours whose piece has the best score. With merges listed by their piece's score, BPE does
//! the same, so every way to cut a piece into two others becomes a merge; transformers converts the same way
//! (`generate_merges`). Spaces are written `▁`, and what has no piece is spelled in bytes (`<0xNN>`).

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::{USER_DEFINED, added_tokens, vocabulary};
use crate::convert::gguf::{Gguf, Value};
use crate::error::Result;

/// Token types of the format (`llama_token_type`).
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
/// Pieces longer than this are not cut; SentencePiece itself makes none longer than 16 characters by default.
const PIECE_BYTES_MAX: usize = 512;

pub(super) fn tokenizer_json(gguf: &Gguf, tokens: &[String], types: &[i64]) -> Result<Json> {
    let scores = match gguf.value("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) if scores.len() == tokens.len() => scores,
        _ => return Err(gguf.malformed("tokenizer.ggml.scores does not fit the tokens")),
    };
    let unknown = types.iter().position(|&kind| kind == UNKNOWN).map(|id| tokens[id].as_str());
    let prefix = !matches!(gguf.value("tokenizer.ggml.add_space_prefix"), Some(Value::Bool(false)));
    let replace =
        |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(" ", "\u{2581}")];
    let mut decoders =
        vec![replace("\u{2581}", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "\u{2581}"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(tokens, types),
        "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": null,
        "post_processor": null, "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary(gguf, tokens)?, "merges": merges(tokens, types, scores),
        },
    }))
}

/// Every way to make a piece of two others, the best piece first.
fn merges(tokens: &[String], types: &[i64], scores: &[f32]) -> Vec<[String; 2]> {
    // Runs of spaces and line ends are user-defined in some vocabularies and made by merging there too. What looks like a
    // control token must never come about by merging.
    let is_plain =
        |id: usize| types[id] == NORMAL || (types[id] == USER_DEFINED && !tokens[id].starts_with(['<', '[']));
    let ids: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| is_plain(*id))
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut found = Vec::new();
    for (id, token) in
        tokens.iter().enumerate().filter(|(id, token)| is_plain(*id) && token.len() <= PIECE_BYTES_MAX)
    {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let pairs = cuts.filter_map(|(left, right)| Some((id, *ids.get(left)?, *ids.get(right)?)));
        found.extend(pairs);
    }
    found.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then_with(|| a.cmp(b)));
    found.into_iter().map(|(_, left, right)| [tokens[left].clone(), tokens[right].clone()]).collect()
}
