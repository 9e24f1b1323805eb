//! What an operator can set about the local model.
//!
//! A plain struct: the gateway owns the file format and its raw twin. [`RuntimeConfig::validate`]
//! is called by [`crate::Runtime::load`] and reports every fault at once.

use std::path::PathBuf;

use crate::accelerator::Accelerator;
use crate::error::{Error, Result};

/// Default of [`RuntimeConfig::max_queue`], in requests.
pub const DEFAULT_MAX_QUEUE: usize = 32;
/// Default of [`RuntimeConfig::context_tokens`] where the model allows it. The key-value cache of
/// a 1.5-billion-parameter model takes 56 KiB a token, so this bounds it to 448 MiB.
pub const DEFAULT_CONTEXT_TOKENS: u32 = 8192;
/// Default of [`RuntimeConfig::max_concurrency`], in requests.
pub const DEFAULT_MAX_CONCURRENCY: usize = 8;
/// Default of [`RuntimeConfig::cache_mib`]: some 37,000 tokens of a 1.5-billion-parameter model.
pub const DEFAULT_CACHE_MIB: u32 = 1024;
/// Default of [`RuntimeConfig::max_output_tokens`].
pub const DEFAULT_MAX_OUTPUT_TOKENS: u32 = 2048;
/// Default of [`RuntimeConfig::prefill_chunk_tokens`].
pub const DEFAULT_PREFILL_CHUNK_TOKENS: u32 = 512;

/// Settings of one loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Directory in the layout of onnxruntime-genai (`genai_config.json`) or Hugging Face (`config.json`, `onnx/`), with
    /// `tokenizer.json`. No default.
    pub model_dir: PathBuf,
    /// Threads that compute one step, 1 to 256. Default: the processor's cores, at most 16. More than the
    /// physical cores makes decoding slower.
    pub threads: Option<usize>,
    /// Whether idle compute threads spin between operators. Default `false`. Spinning decodes 1.4 to
    /// 1.6 times faster on a calm machine, costs whole cores while generating, and is slower than
    /// blocking on a machine that does other work.
    pub spinning: bool,
    /// Whether thread count (if not set) and spinning are chosen by measuring when the model is loaded, which takes some seconds.
    /// Default `false`.
    pub tune: bool,
    /// Requests that are computed together, 1 to 256; the others wait. Default 8. More of them make the whole faster and each one
    /// slower.
    pub max_concurrency: usize,
    /// Memory for keys and values of past tokens, in MiB, 16 to 1048576. Default 1024. Taken as it is needed; a
    /// request is started only when what it may grow to fits.
    pub cache_mib: u32,
    /// What the model computes on. Default: the CPU.
    pub accelerator: Accelerator,
    /// Requests that may wait for the model, 0 to 4096; the next one is refused as busy. Default 32.
    pub max_queue: usize,
    /// Prompt and answer together, in tokens, 16 or more. Default: 8192, or less where the model takes less. Memory
    /// for the key-value cache grows with the longest request seen, up to this.
    pub context_tokens: Option<u32>,
    /// The most tokens that one answer may have, whatever the request asks for. 1 or more, default 2048.
    pub max_output_tokens: u32,
    /// Prompt tokens computed between two looks at whether the caller has left, 16 to 4096. Default
    /// 512. While answers are being generated, prompts are read in smaller pieces, so that answers do not stall.
    pub prefill_chunk_tokens: u32,
    /// Whether computed prompts are remembered, so that a request that begins like an earlier one of the same tenant
    /// ([`crate::GenerateRequest::tenant`]) computes only what is new. Default `true`. Requests without a tenant share nothing.
    pub prefix_reuse: bool,
    /// Whether tokens that the text has already shown are guessed and checked several at a time, when few answers are being generated.
    /// Default `true`. Answers are the same either way; those that copy from their prompt come faster.
    pub guessing: bool,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::new(),
            threads: None,
            spinning: false,
            tune: false,
            max_concurrency: DEFAULT_MAX_CONCURRENCY,
            cache_mib: DEFAULT_CACHE_MIB,
            accelerator: Accelerator::Cpu,
            max_queue: DEFAULT_MAX_QUEUE,
            context_tokens: None,
            max_output_tokens: DEFAULT_MAX_OUTPUT_TOKENS,
            prefill_chunk_tokens: DEFAULT_PREFILL_CHUNK_TOKENS,
            prefix_reuse: true,
            guessing: true,
        }
    }
}

impl RuntimeConfig {
    /// The defaults for a model directory.
    #[must_use]
    pub fn new(model_dir: impl Into<PathBuf>) -> Self {
        Self { model_dir: model_dir.into(), ..Self::default() }
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
        if !(1..=256).contains(&self.max_concurrency) {
            return fault("max_concurrency", "must be from 1 to 256");
        }
        if !(16..=1_048_576).contains(&self.cache_mib) {
            return fault("cache_mib", "must be from 16 to 1048576");
        }
        if self.max_queue > 4096 {
            return fault("max_queue", "must be at most 4096");
        }
        if self.context_tokens.is_some_and(|tokens| tokens < 16) {
            return fault("context_tokens", "must be at least 16");
        }
        if self.max_output_tokens == 0 {
            return fault("max_output_tokens", "must be at least 1");
        }
        if !(16..=4096).contains(&self.prefill_chunk_tokens) {
            return fault("prefill_chunk_tokens", "must be from 16 to 4096");
        }
        Ok(())
    }

    /// [`RuntimeConfig::cache_mib`] in bytes.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.cache_mib as usize * (1 << 20)
    }

    /// The thread count in force.
    pub(crate) fn effective_threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(16)))
    }
}
