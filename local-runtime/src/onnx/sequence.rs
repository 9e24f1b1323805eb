//! The state of one sequence, and computing its next tokens.
//!
//! Where the description allows (`past_present_share_buffer`) each layer's keys and values lie in one buffer, bound as
//! input *and* output, which `GroupQueryAttention` recognises and appends to in place: no copy per token, and memory that
//! does not move. Otherwise the outputs of one step become the inputs of the next.

use half::f16;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{DynValue, Tensor, TensorElementType};

use super::config::NetworkConfig;
use super::interface::{CacheTensor, Integers, Interface};
use crate::backend::Chunk;
use crate::error::{Error, Result};

/// Buffers grow in steps of this many tokens.
pub(super) const CAPACITY_STEP: usize = 512;

/// One sequence's keys and values, and how far it has come.
#[derive(Debug)]
pub(super) struct Sequence {
    cache: Cache,
    /// Tokens that the buffers can take.
    pub(super) capacity: usize,
    /// Tokens computed so far.
    length: usize,
    /// The number of the first token's position.
    first_position: usize,
}

/// Where the keys and values of past tokens are.
#[derive(Debug)]
enum Cache {
    /// In buffers bound to the session.
    Shared(Box<IoBinding>),
    /// In the outputs of the last step, in the order of [`Interface::cache`].
    Growing(Vec<DynValue>),
}

impl Sequence {
    /// How many tokens the buffers of a sequence take that may grow to `capacity`.
    pub(super) fn rounded(config: &NetworkConfig, capacity: usize) -> usize {
        capacity.next_multiple_of(CAPACITY_STEP).min(config.context_tokens).max(capacity)
    }

    /// An empty sequence that may grow to `capacity` tokens.
    pub(super) fn open(
        session: &Session,
        interface: &Interface,
        config: &NetworkConfig,
        capacity: usize,
    ) -> Result<Self> {
        let rounded = Self::rounded(config, capacity);
        let cache = match config.share_buffer {
            true => Cache::Shared(Box::new(bind_buffers(session, interface, rounded)?)),
            false => Cache::Growing(empty_caches(interface)?),
        };
        // Networks with two sets of rotary frequencies choose by the highest position of a step, for keys that are in the
        // cache already, too. Since rotations are relative, a sequence may begin at any number, and
        // beginning past the threshold makes all of its steps choose the same.
        let first_position = config.long_rope_from.filter(|&most| capacity > most).unwrap_or(0);
        Ok(Self { cache, capacity: rounded, length: 0, first_position })
    }

    /// Appends a chunk's tokens, and to `logits` what follows the last of them.
    pub(super) fn step(
        &mut self,
        session: &mut Session,
        interface: &Interface,
        chunk: &Chunk<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let (action, tokens) = ("compute a step", chunk.tokens);
        let mut inputs = self.step_inputs(interface, chunk)?;
        match &mut self.cache {
            Cache::Shared(binding) => {
                for (name, value) in &inputs {
                    binding.bind_input(*name, value).map_err(Error::onnx(action))?;
                }
                if !interface.last_logits_only {
                    // Its length changes with each step, and a bound output keeps its first allocation.
                    let rows = if interface.logits_to_keep.is_some() { kept(chunk) } else { tokens.len() };
                    bind_logits(binding, interface, rows)?;
                }
                let outputs = session.run_binding(binding).map_err(Error::onnx(action))?;
                copy_last(outputs.get(&interface.logits), interface, chunk.outputs, logits)?;
            }
            Cache::Growing(values) => {
                inputs
                    .extend(interface.cache.iter().map(|tensor| tensor.past.as_str()).zip(values.drain(..)));
                let mut outputs = session.run(inputs).map_err(Error::onnx(action))?;
                copy_last(outputs.get(&interface.logits), interface, chunk.outputs, logits)?;
                for tensor in &interface.cache {
                    values.push(outputs.remove(&tensor.present).ok_or_else(|| missing(&tensor.present))?);
                }
            }
        }
        self.length += tokens.len();
        Ok(())
    }

    /// The inputs other than the cache.
    fn step_inputs<'a>(
        &self,
        interface: &'a Interface,
        chunk: &Chunk<'_>,
    ) -> Result<Vec<(&'a str, DynValue)>> {
        let tokens = chunk.tokens;
        let (count, total) = (tokens.len(), self.length + tokens.len());
        let ids = tokens.iter().map(|&id| i64::from(id)).collect();
        let mut inputs = vec![(interface.ids.name.as_str(), integers(&interface.ids, count, ids)?)];
        if let Some(mask) = &interface.mask {
            inputs.push((&mask.name, integers(mask, total, vec![1; total])?));
        }
        if let Some(positions) = &interface.positions {
            let first = (self.first_position + self.length) as i64;
            let values = (first..first + count as i64).collect();
            inputs.push((&positions.name, integers(positions, count, values)?));
        }
        if let Some(keep) = &interface.logits_to_keep {
            inputs.push((&keep.name, integers(keep, 1, vec![kept(chunk) as i64])?));
        }
        if let Some(name) = &interface.cache_branch {
            let value = Tensor::from_array(([1], vec![self.length > 0]));
            inputs.push((name, value.map_err(Error::onnx(INPUTS))?.into_dyn()));
        }
        Ok(inputs)
    }
}

/// How many rows of logits to ask for; none would mean all.
fn kept(chunk: &Chunk<'_>) -> usize {
    chunk.outputs.max(1)
}

const INPUTS: &str = "make the inputs of a step";
const ALLOCATE: &str = "allocate the key-value cache";

/// Integers as the network takes them: `[1, count]`, `[count]`, or a scalar.
fn integers(input: &Integers, count: usize, values: Vec<i64>) -> Result<DynValue> {
    let shape = match input.dimensions {
        0 => vec![],
        1 => vec![count],
        _ => vec![1, count],
    };
    let value = match input.element {
        TensorElementType::Int32 => {
            let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
            Tensor::from_array((shape, values)).map(Tensor::into_dyn)
        }
        _ => Tensor::from_array((shape, values)).map(Tensor::into_dyn),
    };
    value.map_err(Error::onnx(INPUTS))
}

/// A tensor of floats with contents that do not matter.
fn floats(element: TensorElementType, shape: &[usize]) -> Result<DynValue> {
    let allocator = Allocator::default();
    let value = match element {
        TensorElementType::Float16 => Tensor::<f16>::new(&allocator, shape).map(Tensor::into_dyn),
        _ => Tensor::<f32>::new(&allocator, shape).map(Tensor::into_dyn),
    };
    value.map_err(Error::onnx(ALLOCATE))
}

fn cache_buffer(tensor: &CacheTensor, length: usize) -> Result<DynValue> {
    floats(tensor.element, &[1, tensor.heads, length, tensor.head_size])
}

fn empty_caches(interface: &Interface) -> Result<Vec<DynValue>> {
    interface.cache.iter().map(|tensor| cache_buffer(tensor, 0)).collect()
}

/// Buffers for that many tokens, bound as past and as present.
fn bind_buffers(session: &Session, interface: &Interface, capacity: usize) -> Result<IoBinding> {
    let mut binding = session.create_binding().map_err(Error::onnx(ALLOCATE))?;
    for tensor in &interface.cache {
        let buffer = cache_buffer(tensor, capacity)?;
        binding.bind_input(tensor.past.as_str(), &buffer).map_err(Error::onnx(ALLOCATE))?;
        binding.bind_output(tensor.present.as_str(), buffer).map_err(Error::onnx(ALLOCATE))?;
    }
    if interface.last_logits_only {
        bind_logits(&mut binding, interface, 1)?;
    }
    Ok(binding)
}

fn bind_logits(binding: &mut IoBinding, interface: &Interface, rows: usize) -> Result<()> {
    let output = floats(interface.logits_element, &[1, rows, interface.vocabulary])?;
    binding.bind_output(interface.logits.as_str(), output).map_err(Error::onnx("compute a step"))
}

fn missing(name: &str) -> Error {
    let source = ort::Error::new(format!("the output `{name}` is missing or too short"));
    Error::Onnx { action: "compute a step", source }
}

/// Appends the logits of the last positions.
fn copy_last(
    value: Option<&DynValue>,
    interface: &Interface,
    count: usize,
    logits: &mut Vec<f32>,
) -> Result<()> {
    let action = "read the logits";
    let value = value.ok_or_else(|| missing(&interface.logits))?;
    let last = |length: usize| {
        length.checked_sub(count * interface.vocabulary).ok_or_else(|| missing(&interface.logits))
    };
    match interface.logits_element {
        TensorElementType::Float16 => {
            let (_, values) = value.try_extract_tensor::<f16>().map_err(Error::onnx(action))?;
            logits.extend(values[last(values.len())?..].iter().map(|value| value.to_f32()));
        }
        _ => {
            let (_, values) = value.try_extract_tensor::<f32>().map_err(Error::onnx(action))?;
            logits.extend_from_slice(&values[last(values.len())?..]);
        }
    }
    Ok(())
}
