//! What a network takes and gives, read from the network itself.
//!
//! Inputs are found by name, never by order, and each must be one that is known: an input left out, or filled by a guess,
//! would compute nonsense without anybody noticing. Element types and sizes come from here too, so that a description beside the
//! network that does not fit it is found out when loading.
//!
//! Refused by name: caches that are not keys and values (convolution, state space, linear attention), inputs of vectors,
//! images, or sound, encoder-decoders, and exports for one fixed length.

use std::collections::BTreeMap;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::config::NetworkConfig;

/// The most heads, and the largest head, that are taken for sound.
const SIZE_MAX: usize = 4096;

/// Why a network cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// It and its description do not fit each other.
    Corrupt(String),
    /// It is of a kind that is not supported.
    Unsupported(String),
}

/// One layer's keys or values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheTensor {
    pub(super) past: String,
    pub(super) present: String,
    /// Floats of 16 or 32 bits.
    pub(super) element: TensorElementType,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

/// An input of integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Integers {
    pub(super) name: String,
    pub(super) element: TensorElementType,
    pub(super) dimensions: usize,
}

/// What a network takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) ids: Integers,
    pub(super) mask: Option<Integers>,
    pub(super) positions: Option<Integers>,
    /// How many of the last positions to give logits for.
    pub(super) logits_to_keep: Option<Integers>,
    /// Optimum's merged decoders have a branch for the first step, chosen by this input.
    pub(super) cache_branch: Option<String>,
    pub(super) cache: Vec<CacheTensor>,
    pub(super) logits: String,
    pub(super) logits_element: TensorElementType,
    pub(super) vocabulary: usize,
    /// Whether the graph gives logits of the last position only, always.
    pub(super) last_logits_only: bool,
}

impl Interface {
    pub(super) fn read(session: &Session, config: &NetworkConfig) -> Result<Self, Fault> {
        let mut inputs = tensors(session.inputs())?;
        let outputs = tensors(session.outputs())?;
        refuse_other_kinds(&inputs)?;
        let names = &config.names;
        let ids = required(integers(&mut inputs, &names.input_ids, 2)?, &names.input_ids)?;
        let cache = caches(&mut inputs, &outputs, config)?;
        let logits = outputs.get(names.logits.as_str()).ok_or_else(|| no_output(&names.logits))?;
        let interface = Self {
            ids,
            mask: integers(&mut inputs, &names.attention_mask, 2)?,
            positions: integers(&mut inputs, &names.position_ids, 2)?,
            logits_to_keep: integers(&mut inputs, "num_logits_to_keep", 1)?,
            cache_branch: inputs.remove("use_cache_branch").map(|_| "use_cache_branch".to_owned()),
            cache,
            logits: names.logits.clone(),
            logits_element: float(&names.logits, logits)?,
            vocabulary: vocabulary(logits, config)?,
            last_logits_only: logits.shape.get(1) == Some(&1),
        };
        match inputs.keys().next() {
            Some(name) => {
                Err(Fault::Unsupported(format!("it asks for an input `{name}`, which is not known")))
            }
            None => Ok(interface),
        }
    }
}

impl Interface {
    /// Memory of a cache for that many tokens.
    pub(super) fn cache_bytes(&self, tokens: usize) -> usize {
        let width = |element| if element == TensorElementType::Float16 { 2 } else { 4 };
        let token = self.cache.iter().map(|tensor| tensor.heads * tensor.head_size * width(tensor.element));
        token.sum::<usize>() * tokens
    }
}

/// A tensor that goes in or out; dimensions that vary are -1.
struct Described<'a> {
    element: TensorElementType,
    shape: &'a [i64],
}

fn tensors(outlets: &[Outlet]) -> Result<BTreeMap<&str, Described<'_>>, Fault> {
    let described = outlets.iter().map(|outlet| match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            Ok((outlet.name(), Described { element: *ty, shape: &shape[..] }))
        }
        _ => Err(Fault::Unsupported(format!("`{}` is not a tensor", outlet.name()))),
    });
    described.collect()
}

/// Says what a network is when its inputs show that it is not a plain decoder.
fn refuse_other_kinds(inputs: &BTreeMap<&str, Described<'_>>) -> Result<(), Fault> {
    const KINDS: [(&str, &str); 12] = [
        ("past_conv", "a hybrid whose layers keep convolution states"),
        ("past_ssm", "a state-space model or a hybrid with one"),
        ("past_recurrent", "a hybrid with linear attention"),
        ("inputs_embeds", "a part of a multimodal model that takes vectors instead of token ids"),
        ("per_layer_inputs", "a part of a multimodal model that takes vectors for each layer"),
        ("pixel_values", "a model of images"),
        ("image", "a model of images"),
        ("input_features", "a model of sound"),
        ("audio", "a model of sound"),
        ("encoder_", "the decoder of an encoder-decoder"),
        ("decoder_input_ids", "an encoder-decoder"),
        ("token_type_ids", "an encoder"),
    ];
    let kind = |name: &str| {
        let known = KINDS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, kind)| *kind);
        known.or_else(|| name.contains(".encoder.").then_some("an encoder-decoder"))
    };
    match inputs.keys().find_map(|name| Some((name, kind(name)?))) {
        Some((name, kind)) => {
            let reason = format!("its input `{name}` says that it is {kind}; plain decoders are supported");
            Err(Fault::Unsupported(reason))
        }
        None => Ok(()),
    }
}

/// Takes an input of integers of at most that many dimensions, if the network has it.
fn integers(
    inputs: &mut BTreeMap<&str, Described<'_>>,
    name: &str,
    dimensions_max: usize,
) -> Result<Option<Integers>, Fault> {
    let Some(input) = inputs.remove(name) else { return Ok(None) };
    let (element, dimensions) = (input.element, input.shape.len());
    if !matches!(element, TensorElementType::Int64 | TensorElementType::Int32) {
        return Err(Fault::Unsupported(format!("its input `{name}` is of {element:?}, not of integers")));
    }
    let fits = match dimensions_max {
        2 => dimensions == 2 && matches!(input.shape[0], -1 | 1) && input.shape[1] == -1,
        _ => dimensions <= 1,
    };
    if !fits {
        let shape = input.shape;
        return Err(Fault::Unsupported(format!(
            "its input `{name}` has the shape {shape:?}; [batch, sequence] of any length is supported"
        )));
    }
    Ok(Some(Integers { name: name.to_owned(), element, dimensions }))
}

fn required<T>(input: Option<T>, name: &str) -> Result<T, Fault> {
    input.ok_or_else(|| Fault::Corrupt(format!("the network has no input `{name}`")))
}

fn no_output(name: &str) -> Fault {
    Fault::Corrupt(format!("the network has no output `{name}`; its description does not fit it"))
}

fn float(name: &str, tensor: &Described<'_>) -> Result<TensorElementType, Fault> {
    match tensor.element {
        element @ (TensorElementType::Float32 | TensorElementType::Float16) => Ok(element),
        other => Err(Fault::Unsupported(format!(
            "`{name}` is of {other:?}; floats of 16 or 32 bits are supported"
        ))),
    }
}

/// Takes the inputs of every layer's cache and pairs them with outputs.
fn caches(
    inputs: &mut BTreeMap<&str, Described<'_>>,
    outputs: &BTreeMap<&str, Described<'_>>,
    config: &NetworkConfig,
) -> Result<Vec<CacheTensor>, Fault> {
    let mut cache = Vec::new();
    for layer in 0..config.layers.unwrap_or(usize::MAX) {
        let pairs = config.names.cache(layer);
        if config.layers.is_none() && !inputs.contains_key(pairs[0].0.as_str()) {
            break;
        }
        for (past, present) in pairs {
            let Some(input) = inputs.remove(past.as_str()) else {
                let reason = format!("the network has no input `{past}`; its description does not fit it");
                return Err(Fault::Corrupt(reason));
            };
            let output = outputs.get(present.as_str()).ok_or_else(|| no_output(&present))?;
            cache.push(cache_tensor(past, present, &input, output, config)?);
        }
    }
    if cache.is_empty() {
        let reason = "it has no inputs for the keys and values of past tokens; export it with its cache";
        return Err(Fault::Unsupported(reason.to_owned()));
    }
    Ok(cache)
}

fn cache_tensor(
    past: String,
    present: String,
    input: &Described<'_>,
    output: &Described<'_>,
    config: &NetworkConfig,
) -> Result<CacheTensor, Fault> {
    let element = float(&past, input)?;
    if output.element != element {
        let reason = format!("`{past}` is of {element:?} and `{present}` of {:?}", output.element);
        return Err(Fault::Corrupt(reason));
    }
    let [batch, heads, length, head_size] = *input.shape else {
        let reason = format!("its input `{past}` has {} dimensions, not 4", input.shape.len());
        return Err(Fault::Unsupported(reason));
    };
    if !matches!(batch, -1 | 1) || length != -1 {
        let reason = format!("its input `{past}` has the fixed shape {:?}", input.shape);
        return Err(Fault::Unsupported(reason));
    }
    let size = |fixed: i64, stated: Option<usize>, what: &str| match usize::try_from(fixed) {
        Ok(fixed @ 1..=SIZE_MAX) => Ok(fixed),
        Ok(fixed) => {
            Err(Fault::Corrupt(format!("its input `{past}` has {fixed} as its {what}, not 1 to {SIZE_MAX}")))
        }
        Err(_) => stated.ok_or_else(|| Fault::Corrupt(format!("nothing states the {what} of `{past}`"))),
    };
    let heads = size(heads, config.kv_heads, "number of heads")?;
    let head_size = size(head_size, config.head_size, "head size")?;
    Ok(CacheTensor { past, present, element, heads, head_size })
}

/// The number of logits: what the network states, which must be what its description says.
fn vocabulary(logits: &Described<'_>, config: &NetworkConfig) -> Result<usize, Fault> {
    match logits.shape {
        [_, _, -1] => Ok(config.vocabulary),
        [_, _, columns] if *columns == config.vocabulary as i64 => Ok(config.vocabulary),
        [_, _, columns] => Err(Fault::Corrupt(format!(
            "the network gives {columns} logits and its description says {}",
            config.vocabulary
        ))),
        shape => Err(Fault::Corrupt(format!("the logits have the shape {shape:?}, not three dimensions"))),
    }
}
