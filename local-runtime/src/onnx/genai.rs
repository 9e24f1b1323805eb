//! `genai_config.json`: what onnxruntime-genai writes beside a network, as far as it is needed here.
//!
//! Left out: its search settings, which are the caller's here, and execution providers, which the operator configures.

use std::path::Path;

use serde::Deserialize;

use super::config::{Names, NetworkConfig, OneOrMany, read_json};
use crate::error::{Error, Result};

pub(super) const FILE: &str = "genai_config.json";

/// Families whose exports hold two sets of rotary frequencies and choose by the length so far, which the configuration does not
/// say. The number is where all published ones switch (Phi-3.5 and Phi-4-mini model cards). Past it, keys that were
/// rotated before would be wrong, so sequences end there.
const LONG_ROPE: (&[&str], usize) = (&["phi3", "phi3small", "phimoe", "phi4mm"], 4096);

#[derive(Deserialize)]
struct Raw {
    model: RawModel,
    #[serde(default)]
    search: RawSearch,
}

#[derive(Deserialize)]
struct RawModel {
    #[serde(default)]
    r#type: String,
    vocab_size: usize,
    context_length: usize,
    eos_token_id: OneOrMany,
    decoder: RawDecoder,
}

#[derive(Deserialize, Default)]
struct RawSearch {
    #[serde(default)]
    past_present_share_buffer: bool,
}

#[derive(Deserialize)]
struct RawDecoder {
    filename: String,
    head_size: usize,
    num_hidden_layers: usize,
    num_key_value_heads: usize,
    /// Ours alone: where a second set of rotary frequencies begins to be used.
    original_context_length: Option<usize>,
    #[serde(default)]
    inputs: RawInputs,
    #[serde(default)]
    outputs: RawOutputs,
}

#[derive(Deserialize, Default)]
struct RawInputs {
    input_ids: Option<String>,
    attention_mask: Option<String>,
    position_ids: Option<String>,
    past_key_names: Option<String>,
    past_value_names: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawOutputs {
    logits: Option<String>,
    present_key_names: Option<String>,
    present_value_names: Option<String>,
}

pub(super) fn load(directory: &Path) -> Result<NetworkConfig> {
    let path = directory.join(FILE);
    let Raw { model, search } = read_json(&path)?;
    let decoder = model.decoder;
    // The file name must stay inside the directory.
    if decoder.filename.is_empty() || decoder.filename.contains(['/', '\\']) {
        let reason = format!("the network's file name is `{}`", decoder.filename);
        return Err(Error::CorruptModel { path, reason });
    }
    let switches = decoder.original_context_length.is_none() && LONG_ROPE.0.contains(&model.r#type.as_str());
    let context_tokens = match switches {
        true => model.context_length.min(LONG_ROPE.1),
        false => model.context_length,
    };
    Ok(NetworkConfig {
        file: directory.join(&decoder.filename),
        family: model.r#type,
        vocabulary: model.vocab_size,
        context_tokens,
        eos_ids: model.eos_token_id.ids().to_vec(),
        layers: Some(decoder.num_hidden_layers),
        kv_heads: Some(decoder.num_key_value_heads),
        head_size: Some(decoder.head_size),
        share_buffer: search.past_present_share_buffer,
        long_rope_from: decoder.original_context_length,
        names: names(decoder.inputs, decoder.outputs),
    })
}

fn names(inputs: RawInputs, outputs: RawOutputs) -> Names {
    let usual = Names::default();
    let [past_key, past_value] = usual.past;
    let [present_key, present_value] = usual.present;
    Names {
        input_ids: inputs.input_ids.unwrap_or(usual.input_ids),
        attention_mask: inputs.attention_mask.unwrap_or(usual.attention_mask),
        position_ids: inputs.position_ids.unwrap_or(usual.position_ids),
        logits: outputs.logits.unwrap_or(usual.logits),
        past: [inputs.past_key_names.unwrap_or(past_key), inputs.past_value_names.unwrap_or(past_value)],
        present: [
            outputs.present_key_names.unwrap_or(present_key),
            outputs.present_value_names.unwrap_or(present_value),
        ],
    }
}
