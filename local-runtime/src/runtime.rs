//! The public handle: load, render, generate.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::accelerator::Accelerator;
use crate::artifact::ModelDir;
use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::chat::{ChatPrompt, ToolFormat};
use crate::config::{DEFAULT_CONTEXT_TOKENS, RuntimeConfig};
use crate::constrain::{Constraint, Grammar};
use crate::error::{Error, Result};
use crate::generate::sequence::Vocabulary;
use crate::generate::{GenerateRequest, TokenStream, channel};
use crate::onnx::{NetworkConfig, OnnxBackend};
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
    /// How the model writes tool calls; `None` if it can take no tools.
    pub tool_format: Option<ToolFormat>,
}

/// A loaded model: a cheap handle that can be cloned and shared between threads.
///
/// The inference thread ends when the last handle is gone and all that was asked of it is done or no longer listened to.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: ModelInfo,
    vocabulary: Arc<Vocabulary>,
    limits: Arc<Limits>,
    threads: usize,
    spinning: bool,
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
        let network = NetworkConfig::load(&config.model_dir)?;
        let model = ModelDir {
            path: config.model_dir.clone(),
            manifest: ModelDir::open(&config.model_dir).and_then(|model| model.manifest),
        };
        if model.manifest.as_ref().is_some_and(|manifest| manifest.own_operators) {
            if config.accelerator != Accelerator::Cpu {
                let reason =
                    "the model was converted for the processor; convert it with `models convert --portable`";
                return Err(Error::InvalidConfig { field: "accelerator", reason: reason.to_owned() });
            }
            let config = if config.tune { tune(library, config, &network)? } else { config };
            let backend = PagedBackend::load(library, &config, &network)?;
            return Self::start(backend, model, codec, &network, &config);
        }
        let backend = OnnxBackend::load(library, &config, network)?;
        let network = backend.config().clone();
        Self::start(backend, model, codec, &network, &config)
    }

    fn start<B: Backend + 'static>(
        backend: B,
        model: ModelDir,
        codec: TextCodec,
        network: &NetworkConfig,
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
        let context_tokens = asked.min(backend.tokens_max()).min(network.context_tokens);
        let info = ModelInfo {
            name: model.name(),
            family: network.family.clone(),
            parameters: model.manifest.as_ref().map(|manifest| manifest.parameters),
            context_tokens: context_tokens as u32,
            vocabulary: backend.vocabulary(),
            weight_bytes: model.manifest.as_ref().map(|manifest| manifest.weight_bytes),
            licence: model.manifest.and_then(|manifest| manifest.licence),
            has_chat_template: codec.has_template(),
            tool_format: codec.tool_format(),
        };
        let mut backend = backend;
        warm_up(&mut backend).map_err(|error| {
            let reason = format!("it does not compute: {error}{}", cause(&error));
            Error::CorruptModel { path: directory.clone(), reason }
        })?;
        let limits = Arc::new(Limits {
            context_tokens,
            max_output_tokens: config.max_output_tokens as usize,
            prefill_chunk_tokens: config.prefill_chunk_tokens as usize,
            max_concurrency: config.max_concurrency,
            prefix_reuse: config.prefix_reuse,
            guessing: config.guessing,
        });
        let queue = Arc::new(Queue::new(config.max_queue, config.max_concurrency));
        let healthy = Arc::new(AtomicBool::new(true));
        let vocabulary = Arc::new(Vocabulary::new(Arc::new(codec), network.eos_ids.clone()));
        let worker = Worker::new(
            backend,
            Arc::clone(&vocabulary),
            Arc::clone(&limits),
            Arc::clone(&queue),
            Arc::clone(&healthy),
        );
        let (threads, spinning) = (config.effective_threads(), config.spinning);
        let thread = std::thread::Builder::new().name("local-model".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(Error::io("start a thread for", directory))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self {
            inner: Arc::new(Inner { info, vocabulary, limits, threads, spinning, queue, healthy, thread }),
        })
    }

    /// What is loaded.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Number of tokens of a text, all of it plain. Runs on the calling thread, at some millions of bytes a second.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.inner.vocabulary.codec.count(text)
    }

    /// The ids of a text; nothing in it becomes a control token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.inner.vocabulary.codec.encode(text)
    }

    /// The text of some ids; control tokens have none, bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn detokenize(&self, ids: &[u32]) -> String {
        self.inner.vocabulary.codec.decode(ids)
    }

    /// The prompt for a conversation, by the model's chat template, ending where the assistant begins or goes on. Every
    /// text in it is encoded as plain text: a control token typed by a user is just characters.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a prompt outside its documented bounds; [`Error::Template`] when the model has no template, or the template refuses the conversation, fails, or runs too long.
    pub fn render(&self, prompt: &ChatPrompt) -> Result<Vec<u32>> {
        self.inner.vocabulary.codec.render(prompt)
    }

    /// Compiles the form that answers must have, for [`GenerateRequest::constraint`]. The last few are remembered. Blocks for
    /// milliseconds, and the first time for as long as it takes to sort the vocabulary (some tenths of a second).
    ///
    /// # Errors
    /// [`Error::InvalidConstraint`] if it cannot be satisfied, is not supported, or is too large.
    pub fn constrain(&self, grammar: &Grammar) -> Result<Constraint> {
        self.inner.vocabulary.grammars.compile(grammar)
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

    /// Whether compute threads spin between operators.
    #[must_use]
    pub fn spinning(&self) -> bool {
        self.inner.spinning
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
    /// [`Error::InvalidRequest`], [`Error::InvalidConstraint`], [`Error::ContextExceeded`], [`Error::Busy`] when the queue is full, and
    /// [`Error::WorkerGone`]. Errors while computing come through the stream.
    pub fn generate(&self, request: GenerateRequest) -> Result<TokenStream> {
        request.validate(self.inner.info.vocabulary)?;
        let limit = self.inner.limits.context_tokens - 1;
        if request.input.len() > limit {
            return Err(Error::ContextExceeded { prompt_tokens: request.input.len(), limit });
        }
        if request.constraint.as_ref().is_some_and(|form| !form.is_for(&self.inner.vocabulary.codec)) {
            let reason = "it was compiled for another model".to_owned();
            return Err(Error::InvalidConstraint { reason });
        }
        let (sink, stream) = channel();
        self.inner.queue.push(Job { request, sink, submitted: Instant::now() })?;
        Ok(stream)
    }

    /// Refuses new work and lets what runs and waits come to its end, on its own time: the way to put another model in this one's
    /// place. Dropping the last handle does the same.
    pub fn drain(&self) {
        self.inner.queue.drain();
    }

    /// Refuses new work, ends what runs at its next step, fails those that wait, and waits for the thread. Call it
    /// before the process exits, since the library must not be unloaded under a running step. Blocks.
    pub fn shutdown(&self) {
        for job in self.inner.queue.close() {
            job.sink.send(Err(Error::WorkerGone));
        }
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The worker catches panics, so there is nothing to learn from the outcome.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.drain();
    }
}

/// An error's source, as the rest of a sentence.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(String::new, |source| format!(": {source}"))
}

/// Tokens of a warm-up's prompt, and steps after it.
const WARM_UP: (usize, usize) = (16, 2);
/// The same for a measurement.
const TUNING: (usize, usize) = (16, 8);

/// Computes a few tokens, so that the first request does not wait for weights to be read from the disk, and a network that cannot
/// compute is found now.
fn warm_up(backend: &mut dyn Backend) -> Result<()> {
    run(backend, WARM_UP).map(|_| ())
}

/// Reads a prompt and appends single tokens; the median time of those.
fn run(backend: &mut dyn Backend, (prompt, steps): (usize, usize)) -> Result<Duration> {
    let tokens: Vec<u32> = (0..prompt + steps).map(|i| (i % backend.vocabulary()) as u32).collect();
    let id = SequenceId(0);
    let opening = Opening { prompt: &tokens[..prompt], capacity: tokens.len(), scope: None };
    if backend.open(id, &opening)? == Opened::NoRoom {
        return Ok(Duration::ZERO);
    }
    let (mut logits, mut times) = (Vec::new(), Vec::new());
    let pieces = std::iter::once(&tokens[..prompt]).chain(tokens[prompt..].chunks(1));
    let outcome = pieces.into_iter().try_for_each(|tokens| {
        let started = Instant::now();
        backend.step(&[Chunk { sequence: id, tokens, outputs: 1 }], &mut logits)?;
        times.push(started.elapsed());
        Ok(())
    });
    backend.close(id, true);
    outcome?;
    let mut times = times.split_off(1);
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Tries thread counts and spinning, and keeps what decodes fastest now: on a machine that does other work, fewer threads that sleep
/// between operators are often faster than many that spin. What the configuration states stays.
fn tune(library: &Path, config: RuntimeConfig, network: &NetworkConfig) -> Result<RuntimeConfig> {
    let cores = config.effective_threads();
    let threads = match config.threads {
        Some(threads) => vec![threads],
        None if cores > 2 => vec![cores, cores.div_ceil(2)],
        None => vec![cores],
    };
    let mut best: Option<(Duration, RuntimeConfig)> = None;
    for threads in threads {
        for spinning in [false, true] {
            let candidate = RuntimeConfig { threads: Some(threads), spinning, ..config.clone() };
            let mut backend = PagedBackend::load(library, &candidate, network)?;
            run(&mut backend, WARM_UP)?;
            let took = run(&mut backend, TUNING)?;
            tracing::debug!(threads, spinning, milliseconds = took.as_secs_f64() * 1e3, "measured decoding");
            if best.as_ref().is_none_or(|(least, _)| took < *least) {
                best = Some((took, candidate));
            }
        }
    }
    Ok(best.map_or(config, |(_, candidate)| candidate))
}
