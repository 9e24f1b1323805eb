//! What an encoder's directory says about it.
//!
//! Reads the files that Hugging Face's transformers and sentence-transformers leave beside a graph. Everything in them
//! is checked before it is believed; what would silently change the vectors (a pooling that is not known, a
//! dense layer after it) is refused by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::Pooling;
use crate::error::{Error, Result};

/// Graphs, in the order in which they are looked for.
const GRAPHS: &[&str] = &["model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx"];
/// A configuration file larger than this is not one.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Families that count positions from one past the padding id, as fairseq did.
const SHIFTED_FAMILIES: &[&str] =
    &["roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text", "longformer"];
/// Labels beyond this are taken for corruption.
const LABELS_MAX: usize = 100_000;

/// A checked directory.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) directory: PathBuf,
    pub(super) graph: PathBuf,
    /// `bert`, `xlm-roberta`, ...; empty when not stated.
    pub(super) family: String,
    /// Tokens for which the network has positions, if it numbers them.
    pub(super) positions: Option<usize>,
    /// The first position's number.
    pub(super) first_position: i64,
    pub(super) padding: i64,
    /// Number of ids that the network knows, where it is stated.
    pub(super) vocabulary: Option<usize>,
    /// Names of the logits, in order; empty when not stated.
    pub(super) labels: Vec<String>,
    /// The length that it was made for.
    pub(super) made_for: Option<usize>,
    /// How its token vectors become one.
    pub(super) pooling: Option<Pooling>,
    /// Whether its vectors get length one.
    pub(super) normalizes: Option<bool>,
    /// Why its pooling cannot be reproduced here.
    pub(super) unsupported: Option<String>,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
    /// Whether the prompt's tokens count when vectors are pooled.
    pub(super) pools_prompt: bool,
}

#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    max_position_embeddings: Option<u64>,
    pad_token_id: Option<i64>,
    vocab_size: Option<usize>,
    id2label: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct RawTokenizerConfig {
    model_max_length: Option<f64>,
}

#[derive(Default, Deserialize)]
struct RawSentence {
    max_seq_length: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPrompts {
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

#[derive(Deserialize)]
struct RawModule {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Layout {
    /// Reads a directory; `file` is the graph's path in it, if somebody chose one.
    pub(super) fn read(directory: &Path, file: Option<&str>) -> Result<Self> {
        let unusable = |reason: String| Error::UnusableEncoder { path: directory.to_path_buf(), reason };
        let graph = graph(directory, file).map_err(unusable)?;
        let config: RawConfig =
            read(directory, "config.json")?.ok_or_else(|| unusable("config.json is missing".to_owned()))?;
        let tokenizer: RawTokenizerConfig = read(directory, "tokenizer_config.json")?.unwrap_or_default();
        let sentence: RawSentence = read(directory, "sentence_bert_config.json")?.unwrap_or_default();
        let prompts: RawPrompts = read(directory, "config_sentence_transformers.json")?.unwrap_or_default();
        let family = config.model_type.unwrap_or_default();
        let padding = config.pad_token_id.unwrap_or(0);
        let first_position =
            if SHIFTED_FAMILIES.contains(&family.as_str()) { padding.saturating_add(1) } else { 0 };
        let positions = config.max_position_embeddings.map(|all| {
            usize::try_from(all.saturating_sub(first_position.unsigned_abs())).unwrap_or(usize::MAX)
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        let tokenizer_limit =
            tokenizer.model_max_length.filter(|n| (1.0..=1e6).contains(n)).map(|n| n as usize);
        let made_for = sentence.max_seq_length.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let mut layout = Self {
            directory: directory.to_path_buf(),
            graph,
            labels: labels(config.id2label.unwrap_or_default()).map_err(unusable)?,
            family,
            positions,
            first_position,
            padding,
            vocabulary: config.vocab_size,
            made_for: made_for.or(tokenizer_limit),
            pooling: None,
            normalizes: None,
            unsupported: None,
            prompts: prompts.prompts,
            default_prompt: prompts.default_prompt_name,
            pools_prompt: true,
        };
        layout.read_modules()?;
        Ok(layout)
    }

    /// The steps after the network, as sentence-transformers lists them.
    fn read_modules(&mut self) -> Result<()> {
        let Some(modules) = read::<Vec<RawModule>>(&self.directory, "modules.json")? else {
            if let Some(pooling) = read(&self.directory, "1_Pooling/config.json")? {
                self.read_pooling(&pooling);
            }
            return Ok(());
        };
        self.normalizes = Some(false);
        for module in modules {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Normalize" => self.normalizes = Some(true),
                "Pooling" => {
                    if let Some(folder) = plain(&module.path)
                        && let Some(pooling) = read(&self.directory, &format!("{folder}/config.json"))?
                    {
                        self.read_pooling(&pooling);
                    }
                }
                other => {
                    self.unsupported =
                        Some(format!("modules.json has a `{other}` layer, which is not supported"));
                }
            }
        }
        Ok(())
    }

    fn read_pooling(&mut self, raw: &serde_json::Map<String, serde_json::Value>) {
        let set = |(key, value): (&String, &serde_json::Value)| {
            let mode = key.strip_prefix("pooling_mode_")?;
            (value == true).then(|| mode.to_owned())
        };
        let mut modes: Vec<String> = raw.iter().filter_map(set).collect();
        // Newer versions write one word, or a list of words.
        match raw.get("pooling_mode") {
            Some(serde_json::Value::String(word)) => modes.push(word.clone()),
            Some(serde_json::Value::Array(words)) => {
                modes.extend(words.iter().filter_map(|word| word.as_str().map(str::to_owned)));
            }
            _ => {}
        }
        self.pools_prompt = raw.get("include_prompt") != Some(&serde_json::Value::Bool(false));
        let words: Vec<&str> = modes.iter().map(String::as_str).collect();
        self.pooling = match words.as_slice() {
            ["mean_tokens" | "mean"] => Some(Pooling::Mean),
            ["cls_token" | "cls"] => Some(Pooling::Cls),
            ["max_tokens" | "max"] => Some(Pooling::Max),
            ["lasttoken"] => Some(Pooling::LastToken),
            [] => None,
            others => {
                self.unsupported = Some(format!("pooling by {} is not supported", others.join(" and ")));
                None
            }
        };
    }

    /// The text that is put before each input, for the name that was configured or the model's own default.
    pub(super) fn prompt(&self, name: Option<&str>) -> Result<Option<String>> {
        let Some(name) = name.or(self.default_prompt.as_deref()) else { return Ok(None) };
        let known = || self.prompts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.prompts.get(name) {
            Some(prompt) => Ok(Some(prompt.clone()).filter(|prompt| !prompt.is_empty())),
            None => {
                let reason = format!("`{name}` is none of the model's prompts ({})", known());
                Err(Error::InvalidConfig { field: "prompt", reason })
            }
        }
    }
}

fn graph(directory: &Path, file: Option<&str>) -> Result<PathBuf, String> {
    if !directory.is_dir() {
        return Err("there is no such directory".to_owned());
    }
    if let Some(file) = file {
        let inside = plain(file).ok_or_else(|| format!("`{file}` is not a path inside it"))?;
        let path = directory.join(inside);
        return path.is_file().then_some(path).ok_or_else(|| format!("it has no {file}"));
    }
    let found = GRAPHS.iter().map(|name| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("it has none of {}", GRAPHS.join(", ")))
}

/// A relative path that stays where it is put.
fn plain(path: &str) -> Option<&str> {
    let inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (inside && !path.is_empty()).then_some(path)
}

/// Labels by their numbers, which must be 0, 1, 2 and so on.
fn labels(raw: BTreeMap<String, String>) -> Result<Vec<String>, String> {
    if raw.len() > LABELS_MAX {
        return Err(format!("config.json names {} labels", raw.len()));
    }
    let mut labels = vec![None; raw.len()];
    for (number, label) in raw {
        let place = number.parse::<usize>().ok().and_then(|number| labels.get_mut(number));
        *place.ok_or_else(|| format!("config.json numbers its labels with gaps (`{number}`)"))? = Some(label);
    }
    labels.into_iter().collect::<Option<_>>().ok_or_else(|| "config.json numbers a label twice".to_owned())
}

/// A JSON file of the directory; `None` when it is not there.
fn read<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<Option<T>> {
    let path = directory.join(name);
    let Ok(metadata) = std::fs::metadata(&path) else { return Ok(None) };
    let unusable = |reason: String| Error::UnusableEncoder { path: path.clone(), reason };
    if metadata.len() > CONFIG_BYTES_MAX {
        return Err(unusable(format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| unusable(error.to_string()))
}
