//! What a network is, as data: sizes, norms, windows, multipliers, and which of a few ways each part is built.
//!
//! Read from a GGUF file's metadata and checked here; how it becomes a graph is [`super::network`]'s business. Each family is
//! a row of [`FAMILIES`], from its paper or reference implementation in transformers, with the tensor names and
//! conventions of llama.cpp's converter. Anything that a file says beyond that, and that would change results, is refused.

use super::gguf::{Gguf, TensorInfo, Value};
use super::rotary::Rotary;
use super::weights::RowOrder;
use crate::error::Result;

/// The tensor that turns ids into vectors, without `.weight`.
pub(crate) const EMBEDDING: &str = "token_embd";
/// The tensor that turns vectors into logits; without it, the embedding does.
pub(crate) const OUTPUT: &str = "output";
/// Longer contexts than this are cut to it, so that tables stay small.
const CONTEXT_MAX: usize = 131_072;

/// How values are normed before a part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norm {
    /// By the root of the mean square (Zhang and Sennrich 2019).
    Rms,
    /// By mean and variance, with a bias (Ba et al. 2016).
    Layer,
}

/// What is between the two products of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `silu(gate) * up` (Shazeer 2020).
    SiluGate,
    /// `gelu(gate) * up`, with the approximation by tanh.
    GeluTanhGate,
    /// `gelu(up)`, exactly.
    Gelu,
}

/// How a layer's parts and the residual stream are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Each part reads the normed stream and adds to it.
    PreNorm,
    /// The same, and what a part adds is normed too.
    Sandwich,
    /// Both parts read the same stream; one sum adds both.
    Parallel,
}

/// What all models of a family have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    /// `general.architecture`.
    pub(crate) name: &'static str,
    /// Whether the file's query and key rows have each head's rotary halves interleaved.
    pub(crate) interleaved: bool,
    /// Whether each head of query and key is normed.
    pub(crate) head_norms: bool,
    pub(crate) norm: Norm,
    pub(crate) activation: Activation,
    pub(crate) joining: Joining,
}

const LLAMA: Family = Family {
    name: "llama",
    interleaved: true,
    head_norms: false,
    norm: Norm::Rms,
    activation: Activation::SiluGate,
    joining: Joining::PreNorm,
};

/// The families whose graphs are known. `llama` is also what Mistral, SmolLM2 and Falcon 3 call themselves.
const FAMILIES: [Family; 8] = [
    LLAMA,
    Family { name: "qwen2", interleaved: false, ..LLAMA },
    Family { name: "qwen3", interleaved: false, head_norms: true, ..LLAMA },
    Family { name: "phi3", interleaved: false, ..LLAMA },
    Family {
        name: "gemma3",
        interleaved: false,
        head_norms: true,
        activation: Activation::GeluTanhGate,
        joining: Joining::Sandwich,
        ..LLAMA
    },
    Family { name: "granite", ..LLAMA },
    Family { name: "smollm3", ..LLAMA },
    Family {
        name: "falcon",
        interleaved: false,
        norm: Norm::Layer,
        activation: Activation::Gelu,
        joining: Joining::Parallel,
        ..LLAMA
    },
];

/// Architectures that are known well enough to say why they are refused, by what their names contain.
const REFUSED: [(&str, &str); 12] = [
    ("moe", "a mixture of experts"),
    ("mixtral", "a mixture of experts"),
    ("dbrx", "a mixture of experts"),
    ("hybrid", "a hybrid of attention and state-space layers"),
    ("falcon-h1", "a hybrid of attention and state-space layers"),
    ("jamba", "a hybrid of attention and state-space layers"),
    ("qwen3next", "a hybrid of attention and linear attention"),
    ("mamba", "a state-space model"),
    ("rwkv", "a recurrent model"),
    ("lfm2", "a hybrid of attention and convolutions"),
    ("bert", "an encoder"),
    ("t5", "an encoder-decoder"),
];

/// Gemma 3's layers attend to a window, but every sixth to everything (Gemma 3 Technical Report 2025, section 2).
const GEMMA3_PERIOD: usize = 6;
/// SmolLM3 leaves out positions in every fourth layer (SmolLM3 model card; Yang et al. 2025, "RoPE to NoPE and Back Again").
const SMOLLM3_PERIOD: usize = 4;
/// Layers of the one Gemma 3, 27B, whose queries are scaled by the width of a head as if heads filled the hidden size.
const GEMMA3_27B_LAYERS: usize = 62;

/// The numbers that define a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Architecture {
    pub(crate) family: Family,
    pub(crate) layers: Vec<Layer>,
    pub(crate) hidden: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    /// What attention scores are multiplied by.
    pub(crate) attention_scale: f32,
    /// What embeddings are multiplied by.
    pub(crate) embedding_scale: f32,
    /// What each part is multiplied by before it is added to the residual stream.
    pub(crate) residual_scale: f32,
    /// What logits are multiplied by.
    pub(crate) logit_scale: f32,
    /// The kinds of rotary positions that layers choose from.
    pub(crate) rotary: Vec<Rotary>,
}

/// How one layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    /// How many tokens are seen, its own included; `None` for all.
    pub(crate) window: Option<usize>,
    /// Which of [`Architecture::rotary`] it uses, if any.
    pub(crate) rotary: Option<usize>,
}

/// A family's metadata: keys begin with its name.
struct Metadata<'a> {
    gguf: &'a Gguf,
    name: &'static str,
}

impl Metadata<'_> {
    /// A whole number within limits, if it is there.
    fn optional(&self, key: &str, least: u64, most: u64) -> Result<Option<usize>> {
        let key = format!("{}.{key}", self.name);
        match self.gguf.value(&key) {
            None => Ok(None),
            Some(value) => match self.gguf.unsigned(&key) {
                Some(number) if (least..=most).contains(&number) => Ok(Some(number as usize)),
                _ => Err(self.gguf.unsupported(format!("{key} is {value:?}, not from {least} to {most}"))),
            },
        }
    }

    fn number(&self, key: &str, most: u64) -> Result<usize> {
        let missing = || self.gguf.malformed(format!("it has no {}.{key}", self.name));
        self.optional(key, 1, most)?.ok_or_else(missing)
    }

    /// A positive number, or `default` if it is not there.
    fn positive(&self, key: &str, default: f32) -> Result<f32> {
        let key = format!("{}.{key}", self.name);
        let value = self.gguf.float(&key).map_or(default, |value| value as f32);
        match value.is_finite() && value > 0.0 {
            true => Ok(value),
            false => Err(self.gguf.malformed(format!("{key} is {value}"))),
        }
    }
}

impl Family {
    /// The family of a file, or why it is none.
    fn of(gguf: &Gguf) -> Result<Self> {
        let name = gguf
            .text("general.architecture")
            .ok_or_else(|| gguf.malformed("it has no general.architecture"))?;
        if let Some(family) = FAMILIES.iter().find(|family| family.name == name) {
            return Ok(*family);
        }
        let known = FAMILIES.map(|family| family.name).join(", ");
        let refused = REFUSED.iter().find(|(part, _)| name.contains(part));
        Err(gguf.unsupported(match refused {
            Some((_, kind)) => {
                format!("architecture `{name}` is {kind}; plain decoders are supported: {known}")
            }
            None => format!("architecture `{name}` is not known; {known} are"),
        }))
    }
}

impl Architecture {
    pub(crate) fn read(gguf: &Gguf) -> Result<Self> {
        let family = Family::of(gguf)?;
        let metadata = Metadata { gguf, name: family.name };
        if metadata.optional("expert_count", 0, 1 << 16)?.is_some_and(|experts| experts > 0) {
            return Err(gguf.unsupported("it is a mixture of experts; plain decoders are supported"));
        }
        let heads = metadata.number("attention.head_count", 1024)?;
        let hidden = metadata.number("embedding_length", 1 << 16)?;
        let embedding = tensor(gguf, &format!("{EMBEDDING}.weight"))?;
        let head_size = metadata.optional("attention.key_length", 1, 1024)?.unwrap_or(hidden / heads);
        let layers = metadata.number("block_count", 512)?;
        let context = metadata.number("context_length", 1 << 24)?.min(CONTEXT_MAX);
        let epsilon = match family.norm {
            Norm::Rms => "attention.layer_norm_rms_epsilon",
            Norm::Layer => "attention.layer_norm_epsilon",
        };
        let gemma = family.name == "gemma3";
        let usual_scale = match gemma && layers == GEMMA3_27B_LAYERS {
            true => hidden as f32 / heads as f32,
            false => head_size as f32,
        };
        let architecture = Self {
            family,
            layers: read_layers(&metadata, layers, context)?,
            hidden,
            feed_forward: metadata.number("feed_forward_length", 1 << 20)?,
            heads,
            kv_heads: metadata.optional("attention.head_count_kv", 1, 1024)?.unwrap_or(heads),
            head_size,
            vocabulary: embedding.rows,
            context,
            epsilon: metadata.positive(epsilon, 1e-5)?,
            attention_scale: metadata.positive("attention.scale", usual_scale.powf(-0.5))?,
            embedding_scale: metadata
                .positive("embedding_scale", if gemma { (hidden as f32).sqrt() } else { 1.0 })?,
            residual_scale: metadata.positive("residual_scale", 1.0)?,
            logit_scale: metadata.positive("logit_scale", 1.0)?.recip(),
            rotary: Rotary::read(gguf, family.name, head_size, context)?,
        };
        architecture.check(&metadata)?;
        Ok(architecture)
    }

    fn check(&self, metadata: &Metadata<'_>) -> Result<()> {
        let gguf = metadata.gguf;
        if !self.head_size.is_multiple_of(8) {
            return Err(gguf.unsupported(format!("heads of {}", self.head_size)));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(gguf.malformed(format!("{} heads and {} key-value heads", self.heads, self.kv_heads)));
        }
        if metadata.optional("attention.value_length", 1, 1024)?.is_some_and(|size| size != self.head_size) {
            return Err(gguf.unsupported("its keys and values are of different sizes"));
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if gguf.float(&format!("{}.{key}", metadata.name)).is_some_and(|cap| cap != 0.0) {
                return Err(gguf.unsupported(format!("{}.{key} is set", metadata.name)));
            }
        }
        Ok(())
    }

    /// The longest sequence that uses the first set of rotary frequencies throughout.
    pub(crate) fn portable_context(&self) -> usize {
        self.long_rope_from().map_or(self.context, |beyond| beyond.min(self.context))
    }

    /// Where a second set of rotary frequencies begins to be used, if there is one.
    pub(crate) fn long_rope_from(&self) -> Option<usize> {
        self.rotary.iter().find_map(|rotary| Some(rotary.long.as_ref()?.beyond))
    }

    /// The tensors of a layer's query, key, and value, in this order; one tensor if the file joins them.
    pub(crate) fn attention_sources(&self, gguf: &Gguf, layer: usize) -> Vec<Source> {
        let (queries, keys) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        let source =
            |part: &str, order, rows| Source { name: format!("blk.{layer}.attn_{part}"), order, rows };
        let joined = source("qkv", RowOrder::Kept, queries + 2 * keys);
        if gguf.tensor(&joined.weight()).is_some() {
            return vec![joined];
        }
        let order = match self.family.interleaved {
            true => RowOrder::Interleaved(self.head_size),
            false => RowOrder::Kept,
        };
        vec![source("q", order, queries), source("k", order, keys), source("v", RowOrder::Kept, keys)]
    }

    /// The tensors of a layer's gate, if the family has one, and up; one tensor if the file joins them.
    pub(crate) fn feed_forward_sources(&self, gguf: &Gguf, layer: usize) -> Vec<Source> {
        let rows = self.feed_forward;
        let source = |part: &str, rows| Source {
            name: format!("blk.{layer}.ffn_{part}"),
            order: RowOrder::Kept,
            rows,
        };
        let gate = source("gate", rows);
        match self.family.activation {
            Activation::Gelu => vec![source("up", rows)],
            _ if gguf.tensor(&gate.weight()).is_none() => vec![source("up", 2 * rows)],
            _ => vec![gate, source("up", rows)],
        }
    }

    /// The norm before a parallel layer's attention. Falcon's larger models have one for each part, and then the
    /// other one's name stands for the feed-forward part's.
    pub(crate) fn parallel_norms(gguf: &Gguf, layer: usize) -> [String; 2] {
        let own = format!("blk.{layer}.attn_norm_2");
        let shared = format!("blk.{layer}.attn_norm");
        match gguf.tensor(&format!("{own}.weight")) {
            Some(_) => [own, shared],
            None => [shared.clone(), shared],
        }
    }
}

/// Rows of a product's weights and bias: a tensor, or a part of what is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The tensor's name without `.weight` or `.bias`.
    pub(crate) name: String,
    pub(crate) order: RowOrder,
    pub(crate) rows: usize,
}

impl Source {
    /// A whole tensor, rows as they are.
    pub(crate) fn plain(name: impl Into<String>, rows: usize) -> Self {
        Self { name: name.into(), order: RowOrder::Kept, rows }
    }

    pub(crate) fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// The biases of some sources one after the other, if the file has them.
    pub(crate) fn biases(gguf: &Gguf, sources: &[Self]) -> Result<Option<Vec<f32>>> {
        let mut all = Vec::new();
        for source in sources {
            if let Some(tensor) = gguf.tensor(&format!("{}.bias", source.name)) {
                let values = vector(gguf, tensor, source.rows)?;
                all.extend((0..source.rows).map(|row| values[source.order.stored(row)]));
            }
        }
        let rows: usize = sources.iter().map(|source| source.rows).sum();
        match all.len() {
            0 => Ok(None),
            length if length == rows => Ok(Some(all)),
            _ => {
                Err(gguf
                    .malformed(format!("`{}` and its neighbours do not all have a bias", sources[0].name)))
            }
        }
    }

    /// The tensor, after checking that it has the shape that the architecture asks for.
    pub(crate) fn tensor<'g>(&self, gguf: &'g Gguf, columns: usize) -> Result<&'g TensorInfo> {
        let name = self.weight();
        let tensor = tensor(gguf, &name)?;
        let (rows, found) = (self.rows, (tensor.rows, tensor.columns));
        match found == (rows, columns) {
            true => Ok(tensor),
            false => Err(gguf.malformed(format!(
                "the tensor `{name}` is {} x {} where {rows} x {columns} is needed",
                found.0, found.1
            ))),
        }
    }
}

/// A tensor that must be there.
pub(crate) fn tensor<'g>(gguf: &'g Gguf, name: &str) -> Result<&'g TensorInfo> {
    gguf.tensor(name).ok_or_else(|| gguf.malformed(format!("it has no tensor `{name}`")))
}

fn read_layers(metadata: &Metadata<'_>, count: usize, context: usize) -> Result<Vec<Layer>> {
    let window = metadata.optional("attention.sliding_window", 0, 1 << 24)?;
    // A window as long as the context hides nothing.
    let window = window.filter(|window| (1..context).contains(window));
    let layers = (0..count).map(|layer| (layer, (layer + 1) % SMOLLM3_PERIOD != 0));
    Ok(match metadata.name {
        "gemma3" => {
            let near = near_layers(metadata, count)?;
            let layer = |near| Layer { window: window.filter(|_| near), rotary: Some(usize::from(near)) };
            near.into_iter().map(layer).collect()
        }
        "smollm3" => layers.map(|(_, rotary)| Layer { window, rotary: rotary.then_some(0) }).collect(),
        _ => layers.map(|_| Layer { window, rotary: Some(0) }).collect(),
    })
}

/// Which of Gemma 3's layers attend to a window: all but every last one of a period, or as the file lists them.
fn near_layers(metadata: &Metadata<'_>, count: usize) -> Result<Vec<bool>> {
    let key = format!("{}.attention.sliding_window_pattern", metadata.name);
    let every = |period: usize| (1..=count).map(|layer| !layer.is_multiple_of(period)).collect();
    match metadata.gguf.value(&key) {
        None => Ok(every(GEMMA3_PERIOD)),
        Some(Value::Integer(period @ 1..=512)) => Ok(every(*period as usize)),
        Some(Value::Integers(near)) if near.len() == count => {
            Ok(near.iter().map(|&near| near != 0).collect())
        }
        Some(_) => Err(metadata.gguf.malformed(format!("{key} does not fit its {count} layers"))),
    }
}

/// A one-dimensional tensor of known length as floats.
pub(crate) fn vector(gguf: &Gguf, tensor: &TensorInfo, length: usize) -> Result<Vec<f32>> {
    if tensor.columns != length || tensor.rows != 1 || !tensor.kind.is_float() {
        let (name, columns, rows) = (&tensor.name, tensor.columns, tensor.rows);
        return Err(gguf.malformed(format!("the tensor `{name}` is {rows} x {columns}, not {length} floats")));
    }
    let mut bytes = Vec::new();
    gguf.read_rows(tensor, 0, 1, &mut bytes)?;
    Ok(tensor.kind.floats(&bytes))
}
