//! From a GGUF file's tokenizer metadata to `tokenizer.json`, the end-of-turn ids, and the chat template.
//!
//! Byte-level BPE (`tokenizer.ggml.model` = `gpt2`) with the rules of [`splitting`], and SentencePiece's BPE (`llama`), see
//! [`sentencepiece`]. Anything else is refused, because guessing would tokenise wrongly without anybody noticing.

mod sentencepiece;
mod splitting;

use serde_json::{Map, Value as Json, json};

use super::gguf::{Gguf, Value};
use crate::error::Result;
use splitting::{SplittingRules, splitting_rules};

/// What [`read`] finds.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    pub(crate) tokenizer_json: Json,
    pub(crate) eos_ids: Vec<u32>,
    pub(crate) bos: Option<(u32, String)>,
    pub(crate) eos: Option<(u32, String)>,
    pub(crate) pad_id: Option<u32>,
    pub(crate) chat_template: Option<String>,
}

/// Token types of the format (`llama_token_type`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Writes `tokenizer.json` from the file, its tokens, and their types.
type Writer = fn(&Gguf, &[String], &[i64]) -> Result<Json>;

/// Tokens that end a turn in the known families; llama.cpp's `special_eog_ids` has them too.
const END_OF_TURN: [&str; 7] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
];

pub(crate) fn read(gguf: &Gguf, rows: usize) -> Result<Vocabulary> {
    let write: Writer = match gguf.text("tokenizer.ggml.model").unwrap_or("missing") {
        "gpt2" => byte_level,
        "llama" => sentencepiece::tokenizer_json,
        model => {
            let known = "`gpt2` (byte-level BPE) and `llama` (SentencePiece's BPE)";
            return Err(gguf.unsupported(format!("tokenizer model `{model}` is not known; {known} are")));
        }
    };
    let tokens = gguf
        .texts("tokenizer.ggml.tokens")
        .ok_or_else(|| gguf.malformed("it has no tokenizer.ggml.tokens"))?;
    if tokens.is_empty() || tokens.len() > rows {
        return Err(gguf.malformed(format!("{} tokens for {rows} embedding rows", tokens.len())));
    }
    let types = match gguf.value("tokenizer.ggml.token_type") {
        Some(Value::Integers(types)) if types.len() == tokens.len() => types.clone(),
        None => vec![1; tokens.len()],
        Some(_) => return Err(gguf.malformed("tokenizer.ggml.token_type does not fit the tokens")),
    };
    let id = |key: &str| {
        let id = gguf.unsigned(&format!("tokenizer.ggml.{key}")).filter(|&id| id < tokens.len() as u64);
        id.map(|id| id as u32)
    };
    let with_text = |id: Option<u32>| id.map(|id| (id, tokens[id as usize].clone()));
    let mut eos_ids: Vec<u32> =
        ["eos_token_id", "eot_token_id", "eom_token_id"].into_iter().filter_map(id).collect();
    let ends = tokens.iter().zip(&types).enumerate();
    let ends = ends.filter(|(_, (token, kind))| {
        matches!(**kind, CONTROL | USER_DEFINED) && END_OF_TURN.contains(&token.as_str())
    });
    eos_ids.extend(ends.map(|(id, _)| id as u32));
    eos_ids.sort_unstable();
    eos_ids.dedup();
    if eos_ids.is_empty() {
        return Err(gguf.malformed("no token ends a turn"));
    }
    Ok(Vocabulary {
        tokenizer_json: write(gguf, tokens, &types)?,
        eos_ids,
        bos: with_text(id("bos_token_id")),
        eos: with_text(id("eos_token_id")),
        pad_id: id("padding_token_id"),
        chat_template: gguf.text("tokenizer.chat_template").map(str::to_owned),
    })
}

/// The ids of all tokens.
fn vocabulary(gguf: &Gguf, tokens: &[String]) -> Result<Map<String, Json>> {
    let vocabulary: Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    match vocabulary.len() == tokens.len() {
        true => Ok(vocabulary),
        false => Err(gguf.malformed("a token comes twice")),
    }
}

/// Tokens that are found in a text before anything else.
fn added_tokens(tokens: &[String], types: &[i64]) -> Vec<Json> {
    let added = tokens.iter().zip(types).enumerate();
    let added = added.filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED));
    let written = added.map(|(id, (token, kind))| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": *kind == CONTROL,
        })
    });
    written.collect()
}

fn byte_level(gguf: &Gguf, tokens: &[String], types: &[i64]) -> Result<Json> {
    let merges = gguf
        .texts("tokenizer.ggml.merges")
        .ok_or_else(|| gguf.malformed("it has no tokenizer.ggml.merges"))?;
    let pairs: Option<Vec<Json>> =
        merges.iter().map(|merge| merge.split_once(' ').map(|(a, b)| json!([a, b]))).collect();
    let pairs = pairs.ok_or_else(|| gguf.malformed("a merge is not two tokens"))?;
    let vocabulary = vocabulary(gguf, tokens)?;
    let known = merges.iter().filter_map(|merge| merge.split_once(' '));
    if let Some((a, b)) = known.into_iter().find(|(a, b)| !vocabulary.contains_key(&format!("{a}{b}"))) {
        return Err(gguf.malformed(format!("the merge of `{a}` and `{b}` gives no token")));
    }
    let added = added_tokens(tokens, types);
    let rules: SplittingRules = splitting_rules(gguf)?;
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": rules.normalizer, "pre_tokenizer": rules.pre_tokenizer, "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": rules.ignore_merges, "vocab": vocabulary, "merges": pairs,
        },
    }))
}
