//! Networks of our own conversion on ONNX Runtime: any number of sequences in one run.
//!
//! A step's chunks become the rows of one matrix. Where a row belongs is told to the attention operators through the
//! [`PagePool`]'s plan, not through tensors. Admission is by reservation: a sequence is opened only if the pages that it
//! may grow to are there, so that nothing that runs ever has to be thrown out. Pages that only hold
//! remembered prefixes make room when they are needed.

mod prefix;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ort::session::Session;
use ort::value::Tensor;

use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::config::RuntimeConfig;
use crate::convert::ROWS_INPUT;
use crate::error::{Error, Result};
use crate::onnx::{NetworkConfig, session_builder};
use crate::operators;
use crate::operators::pages::{PAGE_TOKENS, PageId, PagePool, Shape, Span};
use prefix::Prefixes;

/// A session, its pages, and its sequences.
pub(crate) struct PagedBackend {
    session: Session,
    pool: Arc<PagePool>,
    vocabulary: usize,
    context_tokens: usize,
    /// Beyond this many tokens the frequencies for long sequences are used.
    trained_tokens: usize,
    sequences: HashMap<SequenceId, Sequence>,
    prefixes: Prefixes,
    /// Pages that sequences and prefixes may hold together.
    pages_max: usize,
    /// Pages that open sequences have or may still need.
    reserved: usize,
}

#[derive(Debug)]
struct Sequence {
    tokens: Vec<u32>,
    pages: Vec<PageId>,
    reserved: usize,
    scope: Option<Arc<str>>,
    long: bool,
}

impl PagedBackend {
    /// Whether the network at `path` is one of ours.
    pub(crate) fn recognises(session: &Session) -> bool {
        session.inputs().iter().any(|input| input.name() == ROWS_INPUT)
    }

    pub(crate) fn load(library: &Path, config: &RuntimeConfig, network: &NetworkConfig) -> Result<Self> {
        let path = network.file.clone();
        let corrupt = |reason: String| Error::CorruptModel { path: path.clone(), reason };
        let [layers, heads, size] =
            network.cache_shape().ok_or_else(|| corrupt("its description lacks sizes".to_owned()))?;
        let pool = Arc::new(PagePool::new(Shape { heads, size }, layers));
        let action = "set up a session";
        // The library has to be loaded before the operators are made.
        let builder =
            session_builder(library, config.effective_threads(), config.spinning, &config.accelerator)?;
        let operators = operators::domain(&pool, config.effective_threads()).map_err(Error::onnx(action))?;
        let session = builder
            .with_operators(operators)
            .map_err(Error::onnx(action))?
            .commit_from_file(&path)
            .map_err(|error| corrupt(format!("ONNX Runtime refuses it: {error}")))?;
        if !Self::recognises(&session) {
            return Err(corrupt("it has no input `rows`; genai_config.json does not fit it".to_owned()));
        }
        let pages_max = (config.cache_bytes() / pool.page_bytes()).max(1);
        Ok(Self {
            session,
            pool,
            vocabulary: network.vocabulary,
            context_tokens: network.context_tokens,
            trained_tokens: network.long_rope_from.unwrap_or(usize::MAX),
            sequences: HashMap::new(),
            prefixes: Prefixes::default(),
            pages_max,
            reserved: 0,
        })
    }

    /// Makes room for one more page and takes it.
    fn take_page(&mut self) -> PageId {
        while self.pool.pages_held() >= self.pages_max && self.prefixes.evict(&self.pool) {}
        self.pool.take()
    }

    /// Gives a sequence the pages for `tokens` more tokens.
    fn grow(&mut self, id: SequenceId, tokens: usize) -> Result<()> {
        let sequence = self.sequences.get(&id).ok_or_else(unknown_sequence)?;
        let needed = (sequence.tokens.len() + tokens).div_ceil(PAGE_TOKENS);
        for _ in sequence.pages.len()..needed {
            let page = self.take_page();
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.pages.push(page);
            }
        }
        Ok(())
    }
}

fn unknown_sequence() -> Error {
    Error::Onnx { action: "compute a step", source: ort::Error::new("a sequence is not open") }
}

impl Backend for PagedBackend {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn open(&mut self, id: SequenceId, opening: &Opening<'_>) -> Result<Opened> {
        let needed = opening.capacity.div_ceil(PAGE_TOKENS);
        if needed > self.pages_max || opening.capacity > self.context_tokens {
            let limit = self.tokens_max();
            return Err(Error::ContextExceeded { prompt_tokens: opening.prompt.len(), limit });
        }
        if self.reserved + needed > self.pages_max {
            return Ok(Opened::NoRoom);
        }
        let long = opening.capacity > self.trained_tokens;
        // Keys that were rotated by the other frequencies would be wrong.
        let scope = opening.scope.clone().map(|scope| match long {
            true => Arc::from(format!("{scope}\0long")),
            false => scope,
        });
        let pages = match &scope {
            // The last token is always computed, for its logits.
            Some(scope) => self.prefixes.find(scope, &opening.prompt[..opening.prompt.len() - 1], &self.pool),
            None => Vec::new(),
        };
        let reused = pages.len() * PAGE_TOKENS;
        let sequence =
            Sequence { tokens: opening.prompt[..reused].to_vec(), pages, reserved: needed, scope, long };
        self.reserved += needed;
        self.sequences.insert(id, sequence);
        Ok(Opened::Ready { reused })
    }

    fn step(&mut self, chunks: &[Chunk<'_>], logits: &mut Vec<f32>) -> Result<()> {
        let action = "compute a step";
        let (mut ids, mut rows, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in chunks {
            self.grow(chunk.sequence, chunk.tokens.len())?;
            let sequence = self.sequences.get_mut(&chunk.sequence).ok_or_else(unknown_sequence)?;
            let (row, count) = (ids.len(), chunk.tokens.len());
            let pages = sequence.pages.clone();
            spans.push(Span { row, count, position: sequence.tokens.len(), long: sequence.long, pages });
            sequence.tokens.extend_from_slice(chunk.tokens);
            ids.extend(chunk.tokens.iter().map(|&id| i64::from(id)));
            rows.extend((row + count - chunk.outputs..row + count).map(|row| row as i64));
        }
        let outputs = rows.len();
        self.pool.plan(spans);
        let ids = Tensor::from_array(([ids.len()], ids)).map_err(Error::onnx(action))?;
        let rows = Tensor::from_array(([outputs], rows)).map_err(Error::onnx(action))?;
        let inputs = ort::inputs!["input_ids" => ids, ROWS_INPUT => rows];
        let results = self.session.run(inputs).map_err(Error::onnx(action))?;
        let missing =
            || Error::Onnx { action, source: ort::Error::new("the logits are missing or too short") };
        let (_, values) = results
            .get("logits")
            .ok_or_else(missing)?
            .try_extract_tensor::<f32>()
            .map_err(Error::onnx(action))?;
        if values.len() != outputs * self.vocabulary {
            return Err(missing());
        }
        logits.clear();
        logits.extend_from_slice(values);
        Ok(())
    }

    fn can_truncate(&self) -> bool {
        true
    }

    fn truncate(&mut self, id: SequenceId, length: usize) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.tokens.truncate(length);
            for page in sequence.pages.drain(length.div_ceil(PAGE_TOKENS)..) {
                self.pool.release(page);
            }
        }
    }

    fn tokens_max(&self) -> usize {
        (self.pages_max * PAGE_TOKENS).min(self.context_tokens)
    }

    fn close(&mut self, id: SequenceId, in_doubt: bool) {
        let Some(sequence) = self.sequences.remove(&id) else { return };
        self.reserved -= sequence.reserved;
        if let (Some(scope), false) = (&sequence.scope, in_doubt) {
            self.prefixes.keep(scope, &sequence.tokens, &sequence.pages, &self.pool);
        }
        for page in sequence.pages {
            self.pool.release(page);
        }
    }

    fn cache_bytes(&self) -> (usize, usize) {
        let page = self.pool.page_bytes();
        (self.pool.pages_with_memory() * page, self.pages_max * page)
    }
}
