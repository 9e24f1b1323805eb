//! How byte-level vocabularies cut a text before merging, by the name that GGUF files give (`tokenizer.ggml.pre`).
//!
//! The rules are those of the models' own `tokenizer.json`; llama.cpp holds the same in `llama_vocab::impl::load`
//! (`src/llama-vocab.cpp`).

use serde_json::{Value as Json, json};

use crate::convert::gguf::Gguf;
use crate::error::Result;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a name stands for.
pub(super) struct SplittingRules {
    pub(super) normalizer: Json,
    pub(super) pre_tokenizer: Json,
    /// Whether a whole piece that is a token is taken as it is, without merging.
    pub(super) ignore_merges: bool,
}

pub(super) fn splitting_rules(gguf: &Gguf) -> Result<SplittingRules> {
    let level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let digits = |individual: bool| json!({"type": "Digits", "individual_digits": individual});
    let rules = |parts: Vec<Json>, ignore_merges| SplittingRules {
        normalizer: Json::Null,
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": parts}),
        ignore_merges,
    };
    Ok(match gguf.text("tokenizer.ggml.pre").unwrap_or("missing") {
        "gpt-2" => SplittingRules { pre_tokenizer: level(true), ..rules(Vec::new(), false) },
        "smollm" | "refact" | "starcoder" => rules(vec![digits(true), level(true)], false),
        "qwen2" | "deepseek-r1-qwen" => SplittingRules {
            normalizer: json!({"type": "NFC"}),
            ..rules(vec![split(QWEN2), level(false)], false)
        },
        "llama-bpe" | "smaug-bpe" | "falcon3" => rules(vec![split(LLAMA3), level(false)], true),
        "gpt-4o" => rules(vec![split(GPT4O), level(false)], false),
        "tekken" => rules(vec![split(TEKKEN), level(false)], true),
        "falcon" => {
            let punctuation = json!({"type": "Punctuation", "behavior": "Contiguous"});
            rules(vec![punctuation, level(true), digits(false), split("[0-9][0-9][0-9]")], false)
        }
        other => {
            let known = "gpt-2, smollm, refact, starcoder, qwen2, deepseek-r1-qwen, llama-bpe, smaug-bpe, falcon, \
                         falcon3, gpt-4o, and tekken";
            return Err(gguf.unsupported(format!(
                "splitting rule `{other}` (tokenizer.ggml.pre) is not known; {known} are"
            )));
        }
    })
}
