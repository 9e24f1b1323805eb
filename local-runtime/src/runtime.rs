//! A loaded model.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::RuntimeConfig;
use crate::error::{Error, Result};
use crate::generate::{ChatMessage, GenerateRequest, TokenStream};

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The model's name.
    pub name: String,
    /// Architecture family.
    pub family: String,
    /// Number of weights, if known.
    pub parameters: Option<u64>,
    /// Prompt and answer together, in tokens, as configured.
    pub context_tokens: u32,
    /// Number of token ids.
    pub vocabulary: usize,
    /// The weights' licence, if known.
    pub licence: Option<String>,
    /// Whether the model has a chat template.
    pub has_chat_template: bool,
}

/// A loaded model: a cheap handle that can be cloned and shared.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}
#[derive(Debug)]
struct Inner {
    info: ModelInfo,
}

impl Runtime {
    /// Loads a model and starts its thread. Blocks for seconds; do not call it on an asynchronous executor's thread.
    ///
    /// # Errors
    /// Bad configuration, an unusable library, or a corrupt model directory.
    pub fn load(_library: &Path, config: RuntimeConfig) -> Result<Self> {
        config.validate()?;
        Err(Error::WorkerGone)
    }
    /// What is loaded.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }
    /// Number of tokens of a text.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        text.len()
    }
    /// The ids of a text; nothing in it becomes a control token.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn tokenize(&self, _text: &str) -> Result<Vec<u32>> {
        Err(Error::WorkerGone)
    }
    /// The prompt for a conversation, ready for [`Runtime::generate`].
    ///
    /// # Errors
    /// [`Error::Template`] when the template refuses the conversation.
    pub fn render(&self, _messages: &[ChatMessage]) -> Result<Vec<u32>> {
        Err(Error::WorkerGone)
    }
    /// Requests waiting, the running one not included.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        0
    }
    /// Whether the inference thread lives.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        false
    }
    /// Queues a generation.
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full, [`Error::ContextExceeded`] when the prompt does not fit.
    pub fn generate(&self, _request: GenerateRequest) -> Result<TokenStream> {
        Err(Error::WorkerGone)
    }
    /// Refuses new work, cancels the rest and waits for the thread to end.
    pub fn shutdown(&self) {}
}

/// Speed of a loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchReport {
    /// Prompt tokens a second.
    pub prefill_tokens_per_second: f64,
    /// Generated tokens a second.
    pub decode_tokens_per_second: f64,
    /// From the request to the first token.
    pub time_to_first_token: Duration,
    /// Peak resident memory of the process so far, in bytes, where the platform tells.
    pub peak_memory_bytes: Option<u64>,
}
/// Measures a loaded model.
///
/// # Errors
/// Whatever generating can fail with.
pub fn bench(_runtime: &Runtime) -> Result<BenchReport> {
    Err(Error::WorkerGone)
}
