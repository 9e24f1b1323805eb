//! `genai_config.json`: what onnxruntime-genai writes beside a network, as far as it is needed here.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The checked contents.
#[derive(Debug, Clone)]
pub(crate) struct GenaiConfig {
    pub(crate) filename: String,
    pub(crate) family: String,
    pub(crate) vocabulary: usize,
    pub(crate) context_tokens: usize,
    pub(crate) eos_ids: Vec<u32>,
    pub(crate) head_size: usize,
    pub(crate) kv_heads: usize,
    pub(crate) share_buffer: bool,
    /// Whether the network gives logits of the last position only. Ours do.
    pub(crate) last_logits_only: bool,
    pub(crate) input_ids: String,
    pub(crate) attention_mask: String,
    pub(crate) position_ids: String,
    pub(crate) logits: String,
    layers: usize,
    past: [String; 2],
    present: [String; 2],
}

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

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
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

impl GenaiConfig {
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("genai_config.json");
        let corrupt = |reason: String| Error::CorruptModel { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|error| corrupt(error.to_string()))?;
        let raw: Raw = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        let config = Self::from_raw(raw);
        config.check().map_err(corrupt)?;
        Ok(config)
    }

    fn from_raw(raw: Raw) -> Self {
        let RawModel { r#type, vocab_size, context_length, eos_token_id, decoder } = raw.model;
        let or = |name: Option<String>, default: &str| name.unwrap_or_else(|| default.to_owned());
        let (inputs, outputs) = (decoder.inputs, decoder.outputs);
        Self {
            filename: decoder.filename,
            family: r#type,
            vocabulary: vocab_size,
            context_tokens: context_length,
            eos_ids: match eos_token_id {
                OneOrMany::One(id) => vec![id],
                OneOrMany::Many(ids) => ids,
            },
            head_size: decoder.head_size,
            kv_heads: decoder.num_key_value_heads,
            share_buffer: raw.search.past_present_share_buffer,
            last_logits_only: false,
            input_ids: or(inputs.input_ids, "input_ids"),
            attention_mask: or(inputs.attention_mask, "attention_mask"),
            position_ids: or(inputs.position_ids, "position_ids"),
            logits: or(outputs.logits, "logits"),
            layers: decoder.num_hidden_layers,
            past: [
                or(inputs.past_key_names, "past_key_values.%d.key"),
                or(inputs.past_value_names, "past_key_values.%d.value"),
            ],
            present: [
                or(outputs.present_key_names, "present.%d.key"),
                or(outputs.present_value_names, "present.%d.value"),
            ],
        }
    }

    fn check(&self) -> Result<(), String> {
        let numbers = [
            ("vocab_size", self.vocabulary, 1 << 22),
            ("context_length", self.context_tokens, 1 << 24),
            ("head_size", self.head_size, 4096),
            ("num_hidden_layers", self.layers, 1024),
            ("num_key_value_heads", self.kv_heads, 4096),
        ];
        if let Some((name, value, most)) =
            numbers.into_iter().find(|(_, value, most)| !(1..=*most).contains(value))
        {
            return Err(format!("{name} is {value}, not from 1 to {most}"));
        }
        // The file name must stay inside the directory.
        if self.filename.is_empty() || self.filename.contains(['/', '\\']) {
            return Err(format!("the network's file name is `{}`", self.filename));
        }
        Ok(())
    }

    /// Layers with a cache.
    pub(crate) fn layers(&self) -> usize {
        self.layers
    }

    /// Names of each cache input and the output that continues it.
    pub(crate) fn cache_names(&self) -> Vec<(String, String)> {
        let name = |pattern: &str, layer: usize| pattern.replace("%d", &layer.to_string());
        let pairs = (0..self.layers).flat_map(|layer| [0, 1].map(|part| (layer, part)));
        pairs.map(|(layer, part)| (name(&self.past[part], layer), name(&self.present[part], layer))).collect()
    }
}
