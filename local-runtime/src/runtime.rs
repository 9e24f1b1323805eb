//! The public handle: load, render, generate.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::artifact::ModelDir;
use crate::backend::Backend;
use crate::config::{DEFAULT_CONTEXT_TOKENS, RuntimeConfig};
use crate::error::{Error, Result};
use crate::generate::sequence::Vocabulary;
use crate::generate::{ChatMessage, GenerateRequest, TokenStream, channel};
use crate::onnx::{GenaiConfig, OnnxBackend};
use crate::paged::PagedBackend;
use crate::queue::{Job, Load, Queue};
use crate::tokenizer::TextCodec;
use crate::worker::{Limits, Worker};

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
    /// Whether the model can take conversations.
    pub has_chat_template: bool,
    /// Bytes of weights that are read for each generated token, if known.
    pub weight_bytes: Option<u64>,
}

/// A loaded model: a cheap handle that can be cloned and shared between threads.
///
/// The inference thread ends when the last handle and the running generation are gone.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: ModelInfo,
    codec: Arc<TextCodec>,
    limits: Arc<Limits>,
    threads: usize,
    queue: Arc<Queue>,
    healthy: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Runtime {
    /// Loads a model and starts its thread. Blocks for seconds; do not call it on an asynchronous executor's thread.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], [`Error::LibraryUnusable`], or [`Error::CorruptModel`].
    pub fn load(library: &Path, config: RuntimeConfig) -> Result<Self> {
        config.validate()?;
        let codec = TextCodec::load(&config.model_dir)?;
        let genai = GenaiConfig::load(&config.model_dir)?;
        let model = ModelDir {
            path: config.model_dir.clone(),
            manifest: ModelDir::open(&config.model_dir).and_then(|model| model.manifest),
        };
        if model.manifest.as_ref().is_some_and(|manifest| manifest.own_operators) {
            let backend = PagedBackend::load(library, &config, &genai)?;
            return Self::start(backend, model, codec, &genai, &config);
        }
        let backend = OnnxBackend::load(library, &config)?;
        Self::start(backend, model, codec, &genai, &config)
    }

    fn start<B: Backend + 'static>(
        backend: B,
        model: ModelDir,
        codec: TextCodec,
        genai: &GenaiConfig,
        config: &RuntimeConfig,
    ) -> Result<Self> {
        let directory = &config.model_dir;
        if codec.vocabulary() > backend.vocabulary() {
            let reason = format!(
                "the tokenizer has {} ids and the network {}",
                codec.vocabulary(),
                backend.vocabulary()
            );
            return Err(Error::CorruptModel { path: directory.clone(), reason });
        }
        let asked = config.context_tokens.unwrap_or(DEFAULT_CONTEXT_TOKENS) as usize;
        let context_tokens = asked.min(genai.context_tokens);
        let info = ModelInfo {
            name: model.name(),
            family: genai.family.clone(),
            parameters: model.manifest.as_ref().map(|manifest| manifest.parameters),
            context_tokens: context_tokens as u32,
            vocabulary: backend.vocabulary(),
            weight_bytes: model.manifest.as_ref().map(|manifest| manifest.weight_bytes),
            licence: model.manifest.and_then(|manifest| manifest.licence),
            has_chat_template: codec.has_template(),
        };
        let limits = Arc::new(Limits {
            context_tokens,
            max_output_tokens: config.max_output_tokens as usize,
            prefill_chunk_tokens: config.prefill_chunk_tokens as usize,
            max_concurrency: config.max_concurrency,
            prefix_reuse: config.prefix_reuse,
            guessing: config.guessing,
        });
        let (codec, queue) =
            (Arc::new(codec), Arc::new(Queue::new(config.max_queue, config.max_concurrency)));
        let healthy = Arc::new(AtomicBool::new(true));
        let vocabulary = Vocabulary { codec: Arc::clone(&codec), eos_ids: genai.eos_ids.clone() };
        let worker = Worker::new(
            backend,
            Arc::new(vocabulary),
            Arc::clone(&limits),
            Arc::clone(&queue),
            Arc::clone(&healthy),
        );
        let threads = config.effective_threads();
        let thread = std::thread::Builder::new().name("local-model".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(Error::io("start a thread for", directory))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { inner: Arc::new(Inner { info, codec, limits, threads, queue, healthy, thread }) })
    }

    /// What is loaded.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Number of tokens of a text, all of it plain. Runs on the calling thread, at some millions of bytes a second.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.inner.codec.count(text)
    }

    /// The ids of a text; nothing in it becomes a control token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.inner.codec.encode(text)
    }

    /// The text of some ids; control tokens have none, bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn detokenize(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.inner.codec.piece(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The prompt for a conversation, by the model's chat template, ending where the assistant begins. Contents are
    /// encoded as plain text: a control token typed by a user is just characters.
    ///
    /// # Errors
    /// [`Error::Template`] when the model has no template, or the template refuses the conversation, fails, or runs too long.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<Vec<u32>> {
        self.inner.codec.render(messages)
    }

    /// Requests that are computed together at most.
    #[must_use]
    pub fn max_concurrency(&self) -> usize {
        self.inner.limits.max_concurrency
    }

    /// Threads that compute a step.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.threads
    }

    /// How busy the model is.
    #[must_use]
    pub fn load_now(&self) -> Load {
        self.inner.queue.load()
    }

    /// Whether the inference thread lives. Once false it stays false.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inner.healthy.load(Ordering::Acquire)
    }

    /// Queues a generation; never blocks.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::ContextExceeded`], [`Error::Busy`] when the queue is full, and
    /// [`Error::WorkerGone`]. Errors while computing come through the stream.
    pub fn generate(&self, request: GenerateRequest) -> Result<TokenStream> {
        request.validate(self.inner.info.vocabulary)?;
        let limit = self.inner.limits.context_tokens - 1;
        if request.input.len() > limit {
            return Err(Error::ContextExceeded { prompt_tokens: request.input.len(), limit });
        }
        let (sink, stream) = channel();
        self.inner.queue.push(Job { request, sink, submitted: Instant::now() })?;
        Ok(stream)
    }

    /// Refuses new work, ends the running generation at its next step, fails those that wait, and waits for the thread. Call it
    /// before the process exits, since the library must not be unloaded under a running step. Blocks.
    pub fn shutdown(&self) {
        self.inner.close();
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The worker catches panics, so there is nothing to learn from the outcome.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn close(&self) {
        for job in self.queue.close() {
            job.sink.send(Err(Error::WorkerGone));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
