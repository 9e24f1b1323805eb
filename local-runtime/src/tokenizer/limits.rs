//! Tokenizer files that ask for too much are refused.
//!
//! Sizes are checked on the parsed JSON, before tables are built from it. Splitting patterns are arbitrary regular
//! expressions run by a backtracking engine, so a tokenizer is also tried on short awkward texts, each
//! twice as long as the one before, and refused if its time explodes.

use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokenizers::Tokenizer;

/// Gemma's file, the largest of the supported families, has 33 MB.
pub(super) const TOKENIZER_BYTES_MAX: u64 = 96 << 20;
/// Token ids; Gemma has 262,144.
pub(super) const VOCABULARY_MAX: u32 = 1 << 20;
/// Merge rules; Gemma has some 515,000.
const MERGES_MAX: usize = 2 << 20;
const ADDED_TOKENS_MAX: usize = 1 << 16;
const ADDED_TOKEN_BYTES_MAX: usize = 256;
/// All splitting and normalising steps together; GPT-4o's pattern, a long one, has 400 bytes.
const STEP_BYTES_MAX: usize = 16 << 10;
/// A precompiled character map of a SentencePiece normaliser has some 320 KB.
const NORMALIZER_BYTES_MAX: usize = 2 << 20;
/// For some kilobytes of text, which take far below a millisecond.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
const PROBE_CHARACTERS_MAX: usize = 4096;

pub(super) fn check(json: &Json) -> Result<(), String> {
    let within = |what: &str, count: usize, limit: usize| {
        if count > limit { Err(format!("{what}: {count}; {limit} are allowed")) } else { Ok(()) }
    };
    let model = json.get("model").ok_or("it has no model")?;
    if let Some(merges) = model.get("merges").and_then(Json::as_array) {
        within("merges", merges.len(), MERGES_MAX)?;
    }
    match model.get("vocab") {
        Some(Json::Object(vocabulary)) => {
            within("tokens", vocabulary.len(), VOCABULARY_MAX as usize)?;
            vocabulary.values().try_for_each(check_id)?;
        }
        Some(Json::Array(vocabulary)) => within("tokens", vocabulary.len(), VOCABULARY_MAX as usize)?,
        _ => return Err("its model has no vocab".to_owned()),
    }
    let added = json.get("added_tokens").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    within("added tokens", added.len(), ADDED_TOKENS_MAX)?;
    for token in added {
        check_id(token.get("id").unwrap_or(&Json::Null))?;
        let content = token.get("content").and_then(Json::as_str).unwrap_or_default();
        within("bytes of an added token", content.len(), ADDED_TOKEN_BYTES_MAX)?;
    }
    let bytes = |key: &str| json.get(key).map_or(0, |step| step.to_string().len());
    within("bytes of the pre_tokenizer", bytes("pre_tokenizer"), STEP_BYTES_MAX)?;
    within("bytes of the decoder", bytes("decoder"), STEP_BYTES_MAX)?;
    within("bytes of the normalizer", bytes("normalizer"), NORMALIZER_BYTES_MAX)
}

fn check_id(id: &Json) -> Result<(), String> {
    match id.as_u64() {
        Some(id) if id < u64::from(VOCABULARY_MAX) => Ok(()),
        _ => Err(format!("token id {id} is not a whole number below {VOCABULARY_MAX}")),
    }
}

/// Encodes awkward texts, doubling their length while the time is far from the limit.
pub(super) fn probe(tokenizer: &Tokenizer) -> Result<(), String> {
    for unit in ["a", " ", "1", "!", "\n", "aA1 ", "é", " a\n"] {
        let mut characters = 16;
        while characters <= PROBE_CHARACTERS_MAX {
            let text: String = unit.chars().cycle().take(characters).chain(['\u{1}']).collect();
            let started = Instant::now();
            tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
            let elapsed = started.elapsed();
            // Twice the length may take four times as long without anything being wrong.
            if elapsed > PROBE_TIME_MAX / 8 && characters < PROBE_CHARACTERS_MAX || elapsed > PROBE_TIME_MAX {
                return Err(format!("its splitting rules need {elapsed:?} for {characters} characters"));
            }
            characters *= 2;
        }
    }
    Ok(())
}
