//! The layout of Hugging Face: `config.json` and `generation_config.json` with the network in `onnx/` or beside them, as optimum
//! writes it and transformers.js reads it.
//!
//! Networks of one model in several precisions often lie side by side. The order of [`NETWORKS`] decides; to
//! choose another, leave only that one in the directory.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::config::{Names, NetworkConfig, OneOrMany, read_json};
use crate::error::{Error, Result};

pub(super) const FILE: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// The usual names of a decoder's file, the most exact first. Those of 16 bits come late, because
/// processors compute them by way of 32.
const NETWORKS: [&str; 11] = [
    "model.onnx",
    "decoder_model_merged.onnx",
    "model_quantized.onnx",
    "model_int8.onnx",
    "model_uint8.onnx",
    "model_q4.onnx",
    "model_bnb4.onnx",
    "model_fp16.onnx",
    "model_q4f16.onnx",
    "decoder_model_merged_quantized.onnx",
    "decoder_with_past_model.onnx",
];

/// Falcon's configurations leave out the length that the models were made for (Falcon model cards).
const FALCON_CONTEXT: usize = 2048;

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    is_encoder_decoder: bool,
    /// Multimodal models describe their language part here.
    text_config: Option<RawText>,
    #[serde(flatten)]
    text: RawText,
}

#[derive(Deserialize, Default)]
struct RawText {
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    eos_token_id: Option<OneOrMany>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    hidden_size: Option<usize>,
    head_dim: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    rope_parameters: Option<RawRope>,
    /// What transformers before version 5 calls `rope_parameters`.
    rope_scaling: Option<RawRope>,
}

#[derive(Deserialize)]
struct RawRope {
    rope_type: Option<String>,
    r#type: Option<String>,
    original_max_position_embeddings: Option<usize>,
}

#[derive(Deserialize)]
struct RawGeneration {
    eos_token_id: Option<OneOrMany>,
}

pub(super) fn load(directory: &Path) -> Result<NetworkConfig> {
    let path = directory.join(FILE);
    let raw: Raw = read_json(&path)?;
    if raw.is_encoder_decoder {
        let reason = "it is an encoder with a decoder; decoders alone are supported".to_owned();
        return Err(Error::Unsupported { path, reason });
    }
    let missing = |field: &str| {
        let reason = format!("it has no `{field}`");
        Error::CorruptModel { path: path.clone(), reason }
    };
    let outer_eos = raw.text.eos_token_id.clone();
    let text = raw.text_config.unwrap_or(raw.text);
    let default_context = (raw.model_type == "falcon").then_some(FALCON_CONTEXT);
    let generation = directory.join(GENERATION);
    let generation: Option<RawGeneration> =
        if generation.is_file() { Some(read_json(&generation)?) } else { None };
    let eos = [generation.and_then(|generation| generation.eos_token_id), outer_eos, text.eos_token_id];
    let mut eos_ids: Vec<u32> = eos.iter().flatten().flat_map(|ids| ids.ids()).copied().collect();
    eos_ids.sort_unstable();
    eos_ids.dedup();
    let per_head = || Some(text.hidden_size? / text.num_attention_heads?.max(1));
    let (long_rope, original) = match text.rope_parameters.or(text.rope_scaling) {
        Some(rope) => {
            let kind = rope.rope_type.or(rope.r#type).unwrap_or_default();
            (matches!(kind.as_str(), "longrope" | "su"), rope.original_max_position_embeddings)
        }
        None => (false, None),
    };
    let original = original.or(text.original_max_position_embeddings);
    Ok(NetworkConfig {
        file: network_file(directory)?,
        family: raw.model_type,
        vocabulary: text.vocab_size.ok_or_else(|| missing("vocab_size"))?,
        context_tokens: text
            .max_position_embeddings
            .or(default_context)
            .ok_or_else(|| missing("max_position_embeddings"))?,
        eos_ids,
        layers: None,
        kv_heads: text.num_key_value_heads.or(text.num_attention_heads),
        head_size: text.head_dim.or_else(per_head),
        share_buffer: false,
        long_rope_from: original.filter(|_| long_rope),
        names: Names::default(),
    })
}

/// The network in a model directory.
pub(super) fn network_file(directory: &Path) -> Result<PathBuf> {
    let mut others = Vec::new();
    for folder in [directory.join("onnx"), directory.to_path_buf()] {
        let found = NETWORKS.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        if let Some(found) = found {
            return Ok(found);
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| entry.ok());
        let paths = entries.map(|entry| entry.path());
        others.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")));
    }
    let reason = match others.len() {
        1 => return Ok(others.remove(0)),
        0 => "it has no network: no .onnx file in it or in its folder `onnx`".to_owned(),
        count => format!("none of its {count} .onnx files has a usual name, such as {}", NETWORKS[0]),
    };
    Err(Error::CorruptModel { path: directory.to_path_buf(), reason })
}
