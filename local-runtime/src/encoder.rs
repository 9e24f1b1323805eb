//! Networks that read: texts to vectors, to labels, or to a label for every token.
//!
//! ```text
//! fit       whether the parts fit together, and what they make
//! layout    what the files of a Hugging Face directory say
//! tokens    texts -> ids, markers around them
//! network   ids -> matrix, on ONNX Runtime
//! batch     which texts are computed together
//! pool      the vectors of tokens -> one vector
//! window    long texts -> overlapping windows -> one answer a token
//! queue     bounded waiting, skipping callers who left
//! worker    the one thread that computes
//! ```
//!
//! One [`Encoder`] serves embeddings, classification and tagging over the same batched forward pass; which of them a model is
//! made for is read from its graph. Invariants: a text's result does not depend on what is computed beside it (beyond
//! rounding; graphs that quantise by the batch are computed text by text); a text is read whole or refused, never cut
//! silently. Left out: pairs of texts, sparse and multi-vector embeddings, and layers after pooling.

mod batch;
mod config;
mod fit;
mod layout;
mod network;
mod pending;
mod pool;
mod queue;
mod tokens;
mod window;
mod worker;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use config::{
    DEFAULT_BATCH_TOKENS, DEFAULT_ENCODER_MAX_QUEUE, DEFAULT_ENCODER_MAX_TOKENS, DEFAULT_REQUEST_TOKENS,
    EncoderConfig, Pooling,
};
pub use pending::Pending;

use self::layout::Layout;
use self::network::Network;
use self::queue::{Answer, Job, Queue};
use self::tokens::EncoderTokenizer;
use self::worker::{Reading, Worker};
use crate::error::{Error, Result};

/// What a model is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderTask {
    /// One vector a text: [`Encoder::embed`].
    Embed,
    /// Scores of labels for a text: [`Encoder::classify`].
    Classify,
    /// Scores of labels for every token: [`Encoder::tag`].
    Tag,
}

/// What a loaded encoder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderInfo {
    /// The directory's name.
    pub name: String,
    /// Architecture family (`bert`, `xlm-roberta`, ...); empty when not stated.
    pub family: String,
    /// What it is made for.
    pub task: EncoderTask,
    /// The longest text in tokens, markers included.
    pub max_tokens: usize,
    /// Values of a vector; `None` for models that label.
    pub dimensions: Option<usize>,
    /// What the logits stand for, in order; empty for models that embed.
    pub labels: Arc<[String]>,
}

/// A loaded encoder: a cheap handle that can be cloned and shared between threads.
///
/// Its thread ends when the last handle is gone, after the batch at hand.
#[derive(Debug, Clone)]
pub struct Encoder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: EncoderInfo,
    directory: PathBuf,
    tokenizer: EncoderTokenizer,
    prompt: Option<String>,
    pools_prompt: bool,
    normalizes: bool,
    request_tokens: usize,
    queue: Arc<Queue>,
    healthy: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What may be asked of an embedding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// Keep the first so many values only, as models trained for it (Matryoshka representations, Kusupati et al. 2022,
    /// arXiv 2205.13147) allow; the shorter vector is normalised again. Default: all.
    pub dimensions: Option<usize>,
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One vector a text, in the texts' order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, markers and prompt included.
    pub tokens: u32,
    /// Time that was spent computing.
    pub busy: Duration,
}

/// Scores of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// One logit a label, in the order of [`EncoderInfo::labels`].
    pub logits: Vec<f32>,
}

/// A text with scores for each of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagging {
    /// The tokens in order; together they cover the text but for what the tokenizer drops, such as spaces.
    pub tokens: Vec<TaggedToken>,
    /// In how many windows the text was read.
    pub windows: usize,
}

/// A token with its scores.
#[derive(Debug, Clone, PartialEq)]
pub struct TaggedToken {
    /// Where it begins, in code points of the text.
    pub start: usize,
    /// Where it ends, in code points of the text.
    pub end: usize,
    /// One logit a label, in the order of [`EncoderInfo::labels`].
    pub logits: Vec<f32>,
}

impl Encoder {
    /// Loads a model and starts its thread. Blocks for seconds; do not call it on an asynchronous executor's thread.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], [`Error::LibraryUnusable`], [`Error::AcceleratorUnavailable`], or
    /// [`Error::UnusableEncoder`].
    pub fn load(library: &Path, config: EncoderConfig) -> Result<Self> {
        config.validate()?;
        let layout = Layout::read(&config.model_dir, config.file.as_deref())?;
        let tokenizer = EncoderTokenizer::load(&config.model_dir)?;
        let mut network = Network::load(library, &config, &layout, config.pooling.is_some())?;
        let (task, pooling) = fit::task(&layout, &network, config.pooling)?;
        fit::prove(&layout, &tokenizer, &mut network)?;
        let max_tokens = fit::limit(&layout, &config, &tokenizer)?;
        let info = fit::info(&layout, &network, task, max_tokens)?;
        let prompt = if task == EncoderTask::Embed { layout.prompt(config.prompt.as_deref())? } else { None };
        let (queue, healthy) = (Arc::new(Queue::new(config.max_queue)), Arc::new(AtomicBool::new(true)));
        let worker = Worker {
            reading: Reading {
                kind: network.kind,
                pooling,
                markers: tokenizer.markers(),
                batch_tokens: config.batch_tokens as usize,
                alone: network.alone,
            },
            network,
            queue: Arc::clone(&queue),
            healthy: Arc::clone(&healthy),
        };
        let thread = std::thread::Builder::new().name("local-encoder".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(Error::io("start a thread for", &config.model_dir))?;
        let inner = Inner {
            info,
            tokenizer,
            prompt,
            pools_prompt: layout.pools_prompt,
            normalizes: config.normalize.or(layout.normalizes).unwrap_or(true),
            directory: layout.directory,
            request_tokens: config.request_tokens as usize,
            queue,
            healthy,
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is loaded.
    #[must_use]
    pub fn info(&self) -> &EncoderInfo {
        &self.inner.info
    }

    /// Queues texts for embedding; tokenises them on the calling thread and never waits.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for dimensions that the model has not, [`Error::InputTooLong`] and [`Error::RequestTooLong`],
    /// [`Error::Busy`] when the queue is full, [`Error::UnusableEncoder`] when the model does not embed, and
    /// [`Error::WorkerGone`]. Errors while computing come through the result.
    pub fn embed<T: AsRef<str>>(&self, texts: &[T], options: &EmbedOptions) -> Result<Pending<Embeddings>> {
        let inner = &self.inner;
        inner.expect(EncoderTask::Embed)?;
        let kept = inner.kept(options.dimensions)?;
        let prompt = inner.prompt.as_deref();
        let skip = match prompt.filter(|_| !inner.pools_prompt) {
            Some(prompt) => inner.tokenizer.encode(prompt)?.ids.len() + inner.tokenizer.markers().0,
            None => 0,
        };
        let texts = inner.encode(texts, prompt)?;
        let tokens = u32::try_from(texts.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
        let normalizes = inner.normalizes;
        inner.submit(texts, skip, move |answer| {
            let mut vectors = answer.rows;
            for vector in &mut vectors {
                vector.truncate(kept.unwrap_or(usize::MAX));
                if normalizes {
                    pool::normalize(vector);
                }
            }
            Embeddings { vectors, tokens, busy: answer.busy }
        })
    }

    /// Queues texts for classification; tokenises them on the calling thread and never waits.
    ///
    /// # Errors
    /// As [`Encoder::embed`], but for dimensions.
    pub fn classify<T: AsRef<str>>(&self, texts: &[T]) -> Result<Pending<Vec<Classification>>> {
        self.inner.expect(EncoderTask::Classify)?;
        let texts = self.inner.encode(texts, None)?;
        self.inner.submit(texts, 0, |answer| {
            answer.rows.into_iter().map(|logits| Classification { logits }).collect()
        })
    }

    /// Queues texts for tagging; tokenises them on the calling thread and never waits. A text longer than the model reads
    /// is read in overlapping windows, see the module `window` for how their answers are merged.
    ///
    /// # Errors
    /// As [`Encoder::embed`], but for dimensions and [`Error::InputTooLong`].
    pub fn tag<T: AsRef<str>>(&self, texts: &[T]) -> Result<Pending<Vec<Tagging>>> {
        let inner = &self.inner;
        inner.expect(EncoderTask::Tag)?;
        let (before, after) = inner.tokenizer.markers();
        let (mut plans, mut rows) = (Vec::with_capacity(texts.len()), Vec::new());
        for text in texts {
            let tokens = inner.tokenizer.encode_with_offsets(text.as_ref())?;
            let windows = window::windows(tokens.ids.len(), inner.info.max_tokens - before - after);
            rows.extend(windows.iter().map(|window| inner.tokenizer.marked(&tokens.ids[window.clone()])));
            plans.push((tokens.offsets, windows));
        }
        inner.check_total(&rows)?;
        let labels = inner.info.labels.len();
        inner.submit(rows, 0, move |answer| {
            let mut rows = answer.rows.as_slice();
            let each = |(offsets, windows): &(Vec<_>, Vec<Range<usize>>)| {
                let (own, rest) = rows.split_at(windows.len());
                rows = rest;
                merge(offsets, windows, labels, own)
            };
            plans.iter().map(each).collect()
        })
    }

    /// Requests waiting or at work.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.inner.queue.depth()
    }

    /// Whether the encoder's thread lives. Once false it stays false.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inner.healthy.load(Ordering::Acquire)
    }

    /// Refuses new work, fails what waits after the batch at hand, and waits for the thread. Call it before the process exits,
    /// since the library must not be unloaded under a running batch. Blocks.
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
    fn expect(&self, task: EncoderTask) -> Result<()> {
        if self.info.task == task {
            return Ok(());
        }
        let word = |task| match task {
            EncoderTask::Embed => "embeds texts",
            EncoderTask::Classify => "labels whole texts",
            EncoderTask::Tag => "labels tokens",
        };
        let reason = format!("it {}, and a model that {} is asked for", word(self.info.task), word(task));
        Err(Error::UnusableEncoder { path: self.directory.clone(), reason })
    }

    /// How many values to keep.
    fn kept(&self, dimensions: Option<usize>) -> Result<Option<usize>> {
        let Some(asked) = dimensions else { return Ok(None) };
        let most = self.info.dimensions.unwrap_or(usize::MAX);
        if (1..=most).contains(&asked) {
            return Ok(Some(asked));
        }
        let reason =
            format!("`dimensions` must be from 1 to {most}, the size of the model's vectors, not {asked}");
        Err(Error::InvalidRequest { reason })
    }

    fn encode<T: AsRef<str>>(&self, texts: &[T], prompt: Option<&str>) -> Result<Vec<Vec<u32>>> {
        let limit = self.info.max_tokens;
        let mut all = Vec::with_capacity(texts.len());
        let mut total = 0;
        for (index, text) in texts.iter().enumerate() {
            let text = text.as_ref();
            let ids = match prompt {
                Some(prompt) => self.tokenizer.encode(&format!("{prompt}{text}"))?.ids,
                None => self.tokenizer.encode(text)?.ids,
            };
            let ids = self.tokenizer.marked(&ids);
            if ids.len() > limit {
                return Err(Error::InputTooLong { index, tokens: ids.len(), limit });
            }
            if ids.is_empty() {
                // Only a tokenizer without markers can come to this; a network has no answer for nothing.
                let reason = format!("input {index} has no tokens");
                return Err(Error::InvalidRequest { reason });
            }
            total += ids.len();
            all.push(ids);
            if total > self.request_tokens {
                return self.check_total(&all).map(|()| all);
            }
        }
        Ok(all)
    }

    fn check_total(&self, texts: &[Vec<u32>]) -> Result<()> {
        let (tokens, limit) = (texts.iter().map(Vec::len).sum(), self.request_tokens);
        if tokens > limit { Err(Error::RequestTooLong { tokens, limit }) } else { Ok(()) }
    }

    fn submit<T>(
        &self,
        texts: Vec<Vec<u32>>,
        skip: usize,
        finish: impl FnOnce(Answer) -> T + Send + 'static,
    ) -> Result<Pending<T>> {
        let (sink, receiver) = oneshot::channel();
        self.queue.push(Job { texts, skip, sink })?;
        Ok(Pending { receiver, finish: Some(Box::new(finish)) })
    }

    fn close(&self) {
        for job in self.queue.close() {
            job.fail(Error::WorkerGone);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// One answer a token out of those of the windows.
fn merge(offsets: &[(usize, usize)], windows: &[Range<usize>], labels: usize, rows: &[Vec<f32>]) -> Tagging {
    let owners = window::owners(windows, offsets.len());
    let token = |(index, &(start, end)): (usize, &(usize, usize))| {
        let window = owners[index];
        let at = (index - windows[window].start) * labels;
        TaggedToken { start, end, logits: rows[window][at..at + labels].to_vec() }
    };
    let tokens = offsets.iter().enumerate().map(token).collect();
    Tagging { tokens, windows: windows.len() }
}
