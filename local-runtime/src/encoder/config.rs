//! What can be set about an encoder.

use std::path::PathBuf;
use std::str::FromStr;

use crate::accelerator::Accelerator;
use crate::error::{Error, Result};

/// Default of [`EncoderConfig::max_queue`], in requests.
pub const DEFAULT_ENCODER_MAX_QUEUE: usize = 64;
/// Default ceiling of [`EncoderConfig::max_tokens`]: the attention of a text takes memory by the square of its length.
pub const DEFAULT_ENCODER_MAX_TOKENS: u32 = 2048;
/// Default of [`EncoderConfig::batch_tokens`]: sixteen texts of 256 tokens, where larger batches stop being faster on a CPU.
pub const DEFAULT_BATCH_TOKENS: u32 = 4096;
/// Default of [`EncoderConfig::request_tokens`], the limit that OpenAI's service has.
pub const DEFAULT_REQUEST_TOKENS: u32 = 300_000;

/// How the vectors of a text's tokens become one, as sentence-transformers defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over the tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    LastToken,
    /// The largest value of each dimension.
    Max,
}

impl Pooling {
    /// The words that [`Pooling::from_str`] knows.
    pub const NAMES: &'static [&'static str] = &["mean", "cls", "last-token", "max"];
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            "last-token" => Ok(Self::LastToken),
            "max" => Ok(Self::Max),
            _ => {
                let reason = format!("`{word}` is none of {}", Self::NAMES.join(", "));
                Err(Error::InvalidConfig { field: "pooling", reason })
            }
        }
    }
}

/// Settings of one encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Directory in the Hugging Face layout: a graph, `config.json` and `tokenizer.json`. No default.
    pub model_dir: PathBuf,
    /// The graph's path inside the directory. Default: the first of `model.onnx`, `onnx/model.onnx` and
    /// `onnx/model_quantized.onnx` that is there.
    pub file: Option<String>,
    /// Threads that compute one batch, 1 to 256. Default: half of the processor's cores, at most 8, so that a chat model
    /// beside it is slowed and not stopped.
    pub threads: Option<usize>,
    /// Whether idle compute threads spin between operators. Default `false`.
    pub spinning: bool,
    /// What the model computes on. Default: the CPU.
    pub accelerator: Accelerator,
    /// Requests that may wait beside those at work, 0 to 4096; the next one is refused as busy. Default 64.
    pub max_queue: usize,
    /// Longest text in tokens, markers included, 4 to 1048576; longer ones are refused, or tagged in windows. Default: what
    /// the model was made for, at most 2048. More than the model has positions is refused when loading.
    pub max_tokens: Option<u32>,
    /// Tokens computed at once, padding included, 16 to 1048576; a longer text is computed alone. Default 4096. More takes
    /// more memory and lets small requests wait longer.
    pub batch_tokens: u32,
    /// Tokens of all texts of one request, 16 to 16777216. Default 300000.
    pub request_tokens: u32,
    /// How token vectors become one. Default: as the model's sentence-transformers files say; a model that
    /// has none is refused for embeddings, since a wrong guess gives vectors that look right and are not.
    pub pooling: Option<Pooling>,
    /// Whether vectors get length one. Default: as the model's sentence-transformers files say, else yes.
    pub normalize: Option<bool>,
    /// Name of the prompt (of `config_sentence_transformers.json`) to put before each text. Default: the model's default.
    pub prompt: Option<String>,
}

impl EncoderConfig {
    /// The defaults for a model directory.
    #[must_use]
    pub fn new(model_dir: impl Into<PathBuf>) -> Self {
        Self {
            model_dir: model_dir.into(),
            file: None,
            threads: None,
            spinning: false,
            accelerator: Accelerator::Cpu,
            max_queue: DEFAULT_ENCODER_MAX_QUEUE,
            max_tokens: None,
            batch_tokens: DEFAULT_BATCH_TOKENS,
            request_tokens: DEFAULT_REQUEST_TOKENS,
            pooling: None,
            normalize: None,
            prompt: None,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fault = |field, reason: &str| Err(Error::InvalidConfig { field, reason: reason.to_owned() });
        if self.model_dir.as_os_str().is_empty() {
            return fault("model_dir", "is not set");
        }
        if self.threads.is_some_and(|threads| !(1..=256).contains(&threads)) {
            return fault("threads", "must be from 1 to 256");
        }
        if self.max_queue > 4096 {
            return fault("max_queue", "must be at most 4096");
        }
        if self.max_tokens.is_some_and(|tokens| !(4..=1 << 20).contains(&tokens)) {
            return fault("max_tokens", "must be from 4 to 1048576");
        }
        if !(16..=1 << 20).contains(&self.batch_tokens) {
            return fault("batch_tokens", "must be from 16 to 1048576");
        }
        if !(16..=1 << 24).contains(&self.request_tokens) {
            return fault("request_tokens", "must be from 16 to 16777216");
        }
        Ok(())
    }

    /// The thread count in force.
    #[must_use]
    pub fn effective_threads(&self) -> usize {
        let half = || std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8));
        self.threads.unwrap_or_else(half)
    }
}
