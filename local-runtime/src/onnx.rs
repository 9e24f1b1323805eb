//! The network on ONNX Runtime.
//!
//! Inputs and outputs are bound by the names that `genai_config.json` gives, in whatever order the graph lists them. Where
//! the graph allows (`past_present_share_buffer`) each layer's key-value cache is one buffer, bound as input
//! *and* output, which `GroupQueryAttention` recognises and appends to in place: no copy per token, and memory that does
//! not move. Otherwise the outputs of one step become the inputs of the next.
//!
//! Left out: caches and logits in half precision, hybrid caches (convolution, state space), and inputs other than ids,
//! mask, and positions. They are refused when loading.

mod genai;
mod library;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};

use crate::accelerator::Accelerator;
use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::config::RuntimeConfig;
use crate::error::{Error, Result};
pub(crate) use genai::GenaiConfig;
pub(crate) use library::environment;

/// The cache grows in steps of this many tokens.
const CAPACITY_STEP: usize = 512;

/// A session, and a key-value cache for each sequence.
#[derive(Debug)]
pub(crate) struct OnnxBackend {
    session: Session,
    config: GenaiConfig,
    has_positions: bool,
    sequences: HashMap<SequenceId, State>,
    cache_bytes_max: usize,
}

/// One sequence's state.
#[derive(Debug)]
struct State {
    cache: Cache,
    capacity: usize,
    position: usize,
}

/// Where the keys and values of past tokens are.
#[derive(Debug)]
enum Cache {
    /// In buffers bound to the session.
    Shared(Box<IoBinding>),
    /// In the outputs of the last step, as (input name, value).
    Growing(Vec<(String, DynValue)>),
}

impl OnnxBackend {
    pub(crate) fn load(library: &std::path::Path, config: &RuntimeConfig) -> Result<Self> {
        let mut genai = GenaiConfig::load(&config.model_dir)?;
        let path = config.model_dir.join(&genai.filename);
        let corrupt = |reason: String| Error::CorruptModel { path: path.clone(), reason };
        if !path.is_file() {
            return Err(corrupt("the network's file is missing".to_owned()));
        }
        let session =
            session_builder(library, config.effective_threads(), config.spinning, &config.accelerator)?
                .commit_from_file(&path)
                .map_err(|error| corrupt(format!("ONNX Runtime refuses it: {error}")))?;
        let has_positions = check_interface(&session, &genai).map_err(corrupt)?;
        genai.last_logits_only = gives_last_logits_only(&session, &genai.logits);
        let (sequences, cache_bytes_max) = (HashMap::new(), config.cache_bytes());
        Ok(Self { session, config: genai, has_positions, sequences, cache_bytes_max })
    }

    fn cache_shape(&self, length: usize) -> [usize; 4] {
        [1, self.config.kv_heads, length, self.config.head_size]
    }

    /// Bytes of a cache for that many tokens.
    fn bytes_of(&self, capacity: usize) -> usize {
        let shape: usize = self.cache_shape(capacity).iter().product();
        shape * size_of::<f32>() * self.config.cache_names().len()
    }

    fn bytes_held(&self) -> usize {
        self.sequences.values().map(|state| self.bytes_of(state.capacity)).sum()
    }

    /// Buffers of some capacity, bound as past and as present.
    fn bind_buffers(&self, capacity: usize) -> Result<IoBinding> {
        let action = "allocate the key-value cache";
        let allocator = Allocator::default();
        let mut binding = self.session.create_binding().map_err(Error::onnx(action))?;
        for (past, present) in self.config.cache_names() {
            let buffer =
                Tensor::<f32>::new(&allocator, self.cache_shape(capacity)).map_err(Error::onnx(action))?;
            binding.bind_input(past, &buffer).map_err(Error::onnx(action))?;
            binding.bind_output(present, buffer).map_err(Error::onnx(action))?;
        }
        let logits =
            Tensor::<f32>::new(&allocator, [1, 1, self.config.vocabulary]).map_err(Error::onnx(action))?;
        if self.config.last_logits_only {
            binding.bind_output(self.config.logits.as_str(), logits).map_err(Error::onnx(action))?;
        }
        Ok(binding)
    }

    /// The inputs that every step has: name and value.
    fn step_inputs(&self, position: usize, tokens: &[u32]) -> Result<Vec<(String, DynValue)>> {
        let action = "make the inputs of a step";
        let total = position + tokens.len();
        let tensor = |shape: [usize; 2], values: Vec<i64>| {
            Tensor::from_array((shape, values)).map(Tensor::into_dyn).map_err(Error::onnx(action))
        };
        let ids = tokens.iter().map(|&id| i64::from(id)).collect();
        let mut inputs = vec![
            (self.config.input_ids.clone(), tensor([1, tokens.len()], ids)?),
            (self.config.attention_mask.clone(), tensor([1, total], vec![1; total])?),
        ];
        if self.has_positions {
            let positions = (position as i64..total as i64).collect();
            inputs.push((self.config.position_ids.clone(), tensor([1, tokens.len()], positions)?));
        }
        Ok(inputs)
    }
}

impl Backend for OnnxBackend {
    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn open(&mut self, sequence: SequenceId, opening: &Opening<'_>) -> Result<Opened> {
        let limit = self.config.context_tokens;
        let capacity = opening.capacity.next_multiple_of(CAPACITY_STEP).min(limit).max(opening.capacity);
        if !self.sequences.is_empty() && self.bytes_held() + self.bytes_of(capacity) > self.cache_bytes_max {
            return Ok(Opened::NoRoom);
        }
        let cache = if self.config.share_buffer {
            Cache::Shared(Box::new(self.bind_buffers(capacity)?))
        } else {
            Cache::Growing(Vec::new())
        };
        self.sequences.insert(sequence, State { cache, capacity, position: 0 });
        Ok(Opened::Ready { reused: 0 })
    }

    fn step(&mut self, chunks: &[Chunk<'_>], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        for chunk in chunks {
            let mut state = self.sequences.remove(&chunk.sequence).ok_or_else(|| Error::Onnx {
                action: "compute a step",
                source: ort::Error::new("a sequence is not open"),
            })?;
            let outcome = self.append(&mut state, chunk, logits);
            self.sequences.insert(chunk.sequence, state);
            outcome?;
        }
        Ok(())
    }

    fn truncate(&mut self, _: SequenceId, _: usize) -> bool {
        false
    }

    fn close(&mut self, sequence: SequenceId, _: bool) {
        self.sequences.remove(&sequence);
    }

    fn cache_bytes(&self) -> (usize, usize) {
        (self.bytes_held(), self.cache_bytes_max)
    }
}

impl OnnxBackend {
    fn append(&mut self, state: &mut State, chunk: &Chunk<'_>, logits: &mut Vec<f32>) -> Result<()> {
        let action = "compute a step";
        let tokens = chunk.tokens;
        let mut inputs = self.step_inputs(state.position, tokens)?;
        match &mut state.cache {
            Cache::Shared(binding) => {
                for (name, value) in &inputs {
                    binding.bind_input(name.as_str(), value).map_err(Error::onnx(action))?;
                }
                if !self.config.last_logits_only {
                    // Its length changes with each step, and a bound output keeps its first allocation.
                    let shape = [1, tokens.len(), self.config.vocabulary];
                    let output =
                        Tensor::<f32>::new(&Allocator::default(), shape).map_err(Error::onnx(action))?;
                    binding.bind_output(self.config.logits.as_str(), output).map_err(Error::onnx(action))?;
                }
                let outputs = self.session.run_binding(binding).map_err(Error::onnx(action))?;
                copy_last(outputs.get(&self.config.logits), self.config.vocabulary, chunk.outputs, logits)?;
            }
            Cache::Growing(values) => {
                let names = self.config.cache_names();
                if values.is_empty() {
                    let shape = [1, self.config.kv_heads, 0, self.config.head_size];
                    for (past, _) in &names {
                        let empty =
                            Tensor::<f32>::new(&Allocator::default(), shape).map_err(Error::onnx(action))?;
                        values.push((past.clone(), empty.into_dyn()));
                    }
                }
                inputs.append(values);
                let mut outputs = self.session.run(inputs).map_err(Error::onnx(action))?;
                copy_last(outputs.get(&self.config.logits), self.config.vocabulary, chunk.outputs, logits)?;
                for (past, present) in names {
                    let missing =
                        || Error::Onnx { action, source: ort::Error::new(format!("no output `{present}`")) };
                    values.push((past, outputs.remove(&present).ok_or_else(missing)?));
                }
            }
        }
        state.position += tokens.len();
        Ok(())
    }
}

/// What all sessions have in common.
pub(crate) fn session_builder(
    library: &std::path::Path,
    threads: usize,
    spinning: bool,
    accelerator: &Accelerator,
) -> Result<SessionBuilder> {
    let action = "set up a session";
    let builder = Session::builder(environment(library)?)
        .map_err(Error::onnx(action))?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(Error::onnx(action))?
        .with_intra_threads(threads)
        .map_err(Error::onnx(action))?
        .with_inter_threads(1)
        .map_err(Error::onnx(action))?
        .with_intra_op_spinning(spinning)
        .map_err(Error::onnx(action))?;
    accelerator.apply(builder, library)
}

/// Appends the logits of the last positions.
fn copy_last(value: Option<&DynValue>, vocabulary: usize, count: usize, logits: &mut Vec<f32>) -> Result<()> {
    let action = "read the logits";
    let missing = || Error::Onnx { action, source: ort::Error::new("the output is missing or too short") };
    let (_, values) = value.ok_or_else(missing)?.try_extract_tensor::<f32>().map_err(Error::onnx(action))?;
    let start = values.len().checked_sub(count * vocabulary).ok_or_else(missing)?;
    logits.extend_from_slice(&values[start..]);
    Ok(())
}

/// Checks that the graph takes and gives what [`OnnxBackend`] can; returns whether it takes positions.
fn check_interface(session: &Session, config: &GenaiConfig) -> Result<bool, String> {
    let element = |value: &ValueType| match value {
        ValueType::Tensor { ty, .. } => Some(*ty),
        _ => None,
    };
    let mut expected: BTreeSet<String> = config.cache_names().into_iter().map(|(past, _)| past).collect();
    expected.extend([config.input_ids.clone(), config.attention_mask.clone()]);
    let mut has_positions = false;
    for input in session.inputs() {
        let ty = element(input.dtype());
        if input.name() == config.position_ids {
            has_positions = true;
        } else if !expected.remove(input.name()) {
            return Err(format!("the network asks for an input `{}` that is not known", input.name()));
        }
        let wanted =
            if input.name().contains("past") { TensorElementType::Float32 } else { TensorElementType::Int64 };
        if ty != Some(wanted) {
            return Err(format!("the network's input `{}` is {ty:?}; {wanted:?} is supported", input.name()));
        }
    }
    if let Some(missing) = expected.first() {
        return Err(format!("the network has no input `{missing}`; genai_config.json does not fit it"));
    }
    let outputs: Vec<&str> = session.outputs().iter().map(|output| output.name()).collect();
    let presents = config.cache_names().into_iter().map(|(_, present)| present);
    match presents.chain([config.logits.clone()]).find(|name| !outputs.contains(&name.as_str())) {
        Some(missing) => {
            Err(format!("the network has no output `{missing}`; genai_config.json does not fit it"))
        }
        None => Ok(has_positions),
    }
}

/// Whether the logits' second dimension is fixed at one.
fn gives_last_logits_only(session: &Session, logits: &str) -> bool {
    let output = session.outputs().iter().find(|output| output.name() == logits);
    matches!(output.map(|output| output.dtype()), Some(ValueType::Tensor { shape, .. }) if shape.get(1) == Some(&1))
}
