//! The decoder networks of the families `llama`, `qwen2`, and `qwen3`, from a GGUF file's metadata and tensors.
//!
//! All three are pre-norm decoders with rotary positions, grouped-query attention, and a SiLU-gated feed-forward
//! part; qwen2 adds biases to the query, key, and value, and qwen3 a norm on each query and key head (Qwen3 Technical
//! Report 2025, section 2). Inputs and outputs have onnxruntime-genai's names. Logits are those of the last position only.

use super::gguf::{Gguf, TensorInfo};
use super::graph::{Attribute, Dimension, GraphBuilder, MICROSOFT, STANDARD};
use super::onnx_proto::{ModelProto, data_type};
use super::weights::{DataWriter, Layout, Matrix, RowOrder, Use};
use crate::error::Result;

/// The tensor that turns ids into vectors.
pub(crate) const EMBEDDING: &str = "token_embd.weight";

/// A family whose graph is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Qwen2,
    Qwen3,
}

/// The numbers that define a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Architecture {
    pub(crate) family: Family,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    rope_base: f64,
    rope_factor: f64,
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

impl Architecture {
    pub(crate) fn read(gguf: &Gguf) -> Result<Self> {
        let name = gguf
            .text("general.architecture")
            .ok_or_else(|| gguf.malformed("it has no general.architecture"))?;
        let family = match name {
            "llama" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            _ => {
                return Err(gguf.unsupported(format!(
                    "architecture `{name}` is not known; llama, qwen2, and qwen3 are"
                )));
            }
        };
        let optional = |key: &str, least: u64, most: u64| -> Result<Option<usize>> {
            let key = format!("{name}.{key}");
            match gguf.value(&key) {
                None => Ok(None),
                Some(value) => match gguf.unsigned(&key) {
                    Some(number) if (least..=most).contains(&number) => Ok(Some(number as usize)),
                    _ => Err(gguf.unsupported(format!("{key} is {value:?}, not from {least} to {most}"))),
                },
            }
        };
        let number = |key: &str, most| {
            optional(key, 1, most)?.ok_or_else(|| gguf.malformed(format!("it has no {name}.{key}")))
        };
        let heads = number("attention.head_count", 1024)?;
        let hidden = number("embedding_length", 1 << 16)?;
        let embedding =
            gguf.tensor(EMBEDDING).ok_or_else(|| gguf.malformed("it has no token_embd.weight"))?;
        let architecture = Self {
            family,
            layers: number("block_count", 512)?,
            hidden,
            feed_forward: number("feed_forward_length", 1 << 20)?,
            heads,
            kv_heads: optional("attention.head_count_kv", 1, 1024)?.unwrap_or(heads),
            head_size: optional("attention.key_length", 1, 1024)?.unwrap_or(hidden / heads),
            vocabulary: embedding.rows,
            context: number("context_length", 1 << 24)?.min(CONTEXT_MAX),
            epsilon: gguf.float(&format!("{name}.attention.layer_norm_rms_epsilon")).unwrap_or(1e-5) as f32,
            rope_base: gguf.float(&format!("{name}.rope.freq_base")).unwrap_or(10_000.0),
            rope_factor: rope_factor(gguf, name)?,
        };
        architecture.check(gguf, name)?;
        Ok(architecture)
    }

    fn check(&self, gguf: &Gguf, name: &str) -> Result<()> {
        let rotary = gguf.unsigned(&format!("{name}.rope.dimension_count")).unwrap_or(self.head_size as u64);
        if rotary != self.head_size as u64 || !self.head_size.is_multiple_of(8) {
            return Err(
                gguf.unsupported(format!("heads of {} with {rotary} rotary dimensions", self.head_size))
            );
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(gguf.malformed(format!("{} heads and {} key-value heads", self.heads, self.kv_heads)));
        }
        let sound = self.epsilon.is_finite()
            && self.epsilon > 0.0
            && self.rope_base.is_finite()
            && self.rope_base >= 1.0;
        if !sound {
            return Err(gguf.malformed("its norm epsilon or rotary base is out of range"));
        }
        if gguf.unsigned(&format!("{name}.expert_count")).is_some_and(|experts| experts > 0) {
            return Err(gguf.unsupported("it is a mixture of experts"));
        }
        Ok(())
    }

    /// Angle by position `[head_size / 2]` (Su et al. 2021, RoFormer), with llama 3's frequency factors if the file has them
    /// (tensor `rope_freqs.weight`).
    pub(crate) fn rotary_frequencies(&self, gguf: &Gguf) -> Result<Vec<f64>> {
        let half = self.head_size / 2;
        let factors = match gguf.tensor("rope_freqs.weight") {
            Some(tensor) => vector(gguf, tensor, half)?,
            None => vec![1.0; half],
        };
        let frequency = |i: usize| {
            let exponent = -(2.0 * i as f64) / self.head_size as f64;
            self.rope_base.powf(exponent) / f64::from(factors[i]) / self.rope_factor
        };
        Ok((0..half).map(frequency).collect())
    }

    /// Cosines and sines `[context, head_size / 2]`.
    fn rotary_tables(&self, gguf: &Gguf) -> Result<(Vec<f32>, Vec<f32>)> {
        let frequencies = self.rotary_frequencies(gguf)?;
        let angles =
            (0..self.context).flat_map(|position| frequencies.iter().map(move |f| position as f64 * f));
        Ok(angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip())
    }
}

/// Rotary tables beyond this many positions are not made.
const CONTEXT_MAX: usize = 131_072;

fn rope_factor(gguf: &Gguf, name: &str) -> Result<f64> {
    let kind = gguf.text(&format!("{name}.rope.scaling.type")).unwrap_or("none");
    let factor = gguf.float(&format!("{name}.rope.scaling.factor")).unwrap_or(1.0);
    match kind {
        "none" => Ok(1.0),
        "linear" if factor.is_finite() && factor >= 1.0 => Ok(factor),
        _ => Err(gguf.unsupported(format!("rotary scaling `{kind}` by {factor}"))),
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

/// Builds the graph while streaming the weights.
pub(crate) struct NetworkBuilder<'a, 'p> {
    gguf: &'a Gguf,
    architecture: &'a Architecture,
    data: &'a mut DataWriter<'p>,
    graph: GraphBuilder,
}

/// Names of values that every layer reads.
struct Shared {
    last_position: String,
    total_length: String,
    cosines: String,
    sines: String,
}

impl<'a, 'p> NetworkBuilder<'a, 'p> {
    pub(crate) fn new(gguf: &'a Gguf, architecture: &'a Architecture, data: &'a mut DataWriter<'p>) -> Self {
        Self { gguf, architecture, data, graph: GraphBuilder::default() }
    }

    pub(crate) fn build(mut self) -> Result<ModelProto> {
        let architecture = self.architecture;
        let shared = self.shared()?;
        let embedding =
            self.matrix(&[(EMBEDDING, RowOrder::Kept)], &[architecture.vocabulary], architecture.hidden)?;
        let mut residual = self.graph.embedding("input_ids", &embedding);
        let gamma = self.norm_weight("blk.0.attn_norm.weight", architecture.hidden)?;
        let mut normed = self.norm(&residual, &gamma);
        for layer in 0..architecture.layers {
            let attended = self.attention(layer, &normed, &shared)?;
            let gamma = self.norm_weight(&format!("blk.{layer}.ffn_norm.weight"), architecture.hidden)?;
            (normed, residual) = self.skip_norm(&residual, &attended, &gamma);
            let fed = self.feed_forward(layer, &normed)?;
            let next = match layer + 1 == architecture.layers {
                true => "output_norm.weight".to_owned(),
                false => format!("blk.{}.attn_norm.weight", layer + 1),
            };
            let gamma = self.norm_weight(&next, architecture.hidden)?;
            (normed, residual) = self.skip_norm(&residual, &fed, &gamma);
        }
        self.head(&normed, embedding)?;
        Ok(self.graph.finish(architecture.family.name()))
    }

    /// Declares inputs and computes lengths from the mask, as onnxruntime-genai's own exports do.
    fn shared(&mut self) -> Result<Shared> {
        let (graph, a) = (&mut self.graph, self.architecture);
        let batch = || Dimension::Named("batch_size");
        graph.input("input_ids", data_type::INT64, &[batch(), Dimension::Named("sequence_length")]);
        graph.input(
            "attention_mask",
            data_type::INT64,
            &[batch(), Dimension::Named("total_sequence_length")],
        );
        for layer in 0..a.layers {
            for part in ["key", "value"] {
                let dims = |length| {
                    [
                        batch(),
                        Dimension::Fixed(a.kv_heads),
                        Dimension::Named(length),
                        Dimension::Fixed(a.head_size),
                    ]
                };
                graph.input(
                    &format!("past_key_values.{layer}.{part}"),
                    data_type::FLOAT,
                    &dims("past_sequence_length"),
                );
                graph.output(
                    &format!("present.{layer}.{part}"),
                    data_type::FLOAT,
                    &dims("total_sequence_length"),
                );
            }
        }
        let to_int32 = [("to", Attribute::Int(i64::from(data_type::INT32)))];
        let (one, axis) = (graph.integers(&[1], &[1]), graph.integers(&[1], &[1]));
        let length =
            graph.node(STANDARD, "ReduceSum", &["attention_mask", &axis], &[("keepdims", Attribute::Int(0))]);
        let last = graph.node(STANDARD, "Sub", &[&length, &one], &[]);
        let last_position = graph.node(STANDARD, "Cast", &[&last], &to_int32);
        let shape = graph.node(STANDARD, "Shape", &["attention_mask"], &[]);
        let index = graph.integers(&[1], &[]);
        let total = graph.node(STANDARD, "Gather", &[&shape, &index], &[("axis", Attribute::Int(0))]);
        let total_length = graph.node(STANDARD, "Cast", &[&total], &to_int32);
        let (cosines, sines) = a.rotary_tables(self.gguf)?;
        let dims = [a.context, a.head_size / 2];
        let stored = [self.data.floats(&cosines, &dims)?, self.data.floats(&sines, &dims)?];
        let cosines = self.graph.external("cos_cache", &stored[0], None);
        let sines = self.graph.external("sin_cache", &stored[1], None);
        Ok(Shared { last_position, total_length, cosines, sines })
    }

    fn attention(&mut self, layer: usize, x: &str, shared: &Shared) -> Result<String> {
        let a = self.architecture;
        let (queries, keys) = (a.heads * a.head_size, a.kv_heads * a.head_size);
        let order = match a.family {
            Family::Llama => RowOrder::Interleaved(a.head_size),
            Family::Qwen2 | Family::Qwen3 => RowOrder::Kept,
        };
        let names = ["q", "k", "v"].map(|part| format!("blk.{layer}.attn_{part}"));
        let weights = names.each_ref().map(|name| format!("{name}.weight"));
        let parts: [(&str, RowOrder, usize); 3] =
            [(&weights[0], order, queries), (&weights[1], order, keys), (&weights[2], RowOrder::Kept, keys)];
        // One product for all three where the formats allow it, since small products are bound by their number.
        let joined = a.family != Family::Qwen3 && self.same_layout(&weights)?;
        let [query, key, value] = if joined {
            let bias = self.biases(&names, &parts)?;
            let matrix = self.matrix(
                &parts.map(|(name, order, _)| (name, order)),
                &parts.map(|(.., rows)| rows),
                a.hidden,
            )?;
            let all = self.graph.linear(&format!("blk.{layer}.attn_qkv"), x, &matrix, bias.as_deref());
            [all, String::new(), String::new()]
        } else {
            let mut values = [String::new(), String::new(), String::new()];
            for (i, part) in parts.iter().enumerate() {
                let bias = self.biases(&names[i..=i], &parts[i..=i])?;
                let matrix = self.matrix(&[(part.0, part.1)], &[part.2], a.hidden)?;
                values[i] = self.graph.linear(&names[i], x, &matrix, bias.as_deref());
            }
            values
        };
        let (query, key) = match a.family {
            Family::Qwen3 => {
                (self.head_norm(layer, "q", &query, a.heads)?, self.head_norm(layer, "k", &key, a.kv_heads)?)
            }
            Family::Llama | Family::Qwen2 => (query, key),
        };
        let past = ["key", "value"].map(|part| format!("past_key_values.{layer}.{part}"));
        let present = ["key", "value"].map(|part| format!("present.{layer}.{part}"));
        let inputs = [
            &query,
            &key,
            &value,
            &past[0],
            &past[1],
            &shared.last_position,
            &shared.total_length,
            &shared.cosines,
            &shared.sines,
        ];
        let attended = format!("blk.{layer}.attended");
        let [present_key, present_value] = present;
        let attributes = [
            ("num_heads", Attribute::Int(a.heads as i64)),
            ("kv_num_heads", Attribute::Int(a.kv_heads as i64)),
            ("do_rotary", Attribute::Int(1)),
            ("rotary_interleaved", Attribute::Int(0)),
        ];
        let outputs = [attended.clone(), present_key, present_value];
        self.graph.named_node(
            MICROSOFT,
            "GroupQueryAttention",
            &inputs.map(String::as_str),
            &outputs,
            &attributes,
        );
        self.linear(&format!("blk.{layer}.attn_output.weight"), &attended, a.hidden, queries)
    }

    /// Qwen3's norm over each head of the query or key.
    fn head_norm(&mut self, layer: usize, part: &str, x: &str, heads: usize) -> Result<String> {
        let size = self.architecture.head_size;
        let gamma = self.norm_weight(&format!("blk.{layer}.attn_{part}_norm.weight"), size)?;
        let split = self.graph.integers(&[0, 0, heads as i64, size as i64], &[4]);
        let joined = self.graph.integers(&[0, 0, (heads * size) as i64], &[3]);
        let x = self.graph.node(STANDARD, "Reshape", &[x, &split], &[]);
        let x = self.norm(&x, &gamma);
        Ok(self.graph.node(STANDARD, "Reshape", &[&x, &joined], &[]))
    }

    fn feed_forward(&mut self, layer: usize, x: &str) -> Result<String> {
        let a = self.architecture;
        let name = |part: &str| format!("blk.{layer}.ffn_{part}.weight");
        let weights = [name("gate"), name("up")];
        let (gate, up) = if self.same_layout(&weights)? {
            let parts = weights.each_ref().map(|name| (name.as_str(), RowOrder::Kept));
            let matrix = self.matrix(&parts, &[a.feed_forward; 2], a.hidden)?;
            let both = self.graph.linear(&format!("blk.{layer}.ffn_gate_up"), x, &matrix, None);
            let axis = [("axis", Attribute::Int(-1)), ("num_outputs", Attribute::Int(2))];
            let mut halves = self.graph.node_outputs(STANDARD, "Split", &[&both], 2, &axis);
            let up = halves.pop().expect("two outputs were asked for");
            (halves.pop().expect("two outputs were asked for"), up)
        } else {
            (
                self.linear(&weights[0], x, a.feed_forward, a.hidden)?,
                self.linear(&weights[1], x, a.feed_forward, a.hidden)?,
            )
        };
        // SiLU(x) = x * sigmoid(x) is QuickGelu with alpha 1.
        let gate = self.graph.node(MICROSOFT, "QuickGelu", &[&gate], &[("alpha", Attribute::Float(1.0))]);
        let product = self.graph.node(STANDARD, "Mul", &[&gate, &up], &[]);
        self.linear(&name("down"), &product, a.hidden, a.feed_forward)
    }

    fn head(&mut self, x: &str, embedding: Matrix) -> Result<()> {
        let a = self.architecture;
        let last = self.graph.integers(&[-1], &[1]);
        let x = self.graph.node(STANDARD, "Gather", &[x, &last], &[("axis", Attribute::Int(1))]);
        let output = match self.gguf.tensor("output.weight") {
            Some(_) => self.matrix(&[("output.weight", RowOrder::Kept)], &[a.vocabulary], a.hidden)?,
            None => embedding,
        };
        let logits = self.graph.linear("lm_head", &x, &output, None);
        self.graph.named_node(STANDARD, "Identity", &[&logits], &["logits".to_owned()], &[]);
        let dims = [Dimension::Named("batch_size"), Dimension::Fixed(1), Dimension::Fixed(a.vocabulary)];
        self.graph.output("logits", data_type::FLOAT, &dims);
        Ok(())
    }

    fn linear(&mut self, weight: &str, x: &str, rows: usize, columns: usize) -> Result<String> {
        let matrix = self.matrix(&[(weight, RowOrder::Kept)], &[rows], columns)?;
        Ok(self.graph.linear(weight.trim_end_matches(".weight"), x, &matrix, None))
    }

    fn norm(&mut self, x: &str, gamma: &str) -> String {
        let attributes =
            [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.architecture.epsilon))];
        self.graph.node(STANDARD, "SimplifiedLayerNormalization", &[x, gamma], &attributes)
    }

    /// Adds to the residual stream and norms the sum; returns both.
    fn skip_norm(&mut self, residual: &str, x: &str, gamma: &str) -> (String, String) {
        let attributes = [("epsilon", Attribute::Float(self.architecture.epsilon))];
        let (normed, sum) = (format!("{x}.normed"), format!("{x}.sum"));
        let outputs = [normed.clone(), String::new(), String::new(), sum.clone()];
        self.graph.named_node(
            MICROSOFT,
            "SkipSimplifiedLayerNormalization",
            &[residual, x, gamma],
            &outputs,
            &attributes,
        );
        (normed, sum)
    }

    fn norm_weight(&mut self, name: &str, length: usize) -> Result<String> {
        let values = vector(self.gguf, self.tensor(name)?, length)?;
        Ok(self.graph.floats(name, &values, &[length]))
    }

    /// The biases of some projections joined, if the file has them.
    fn biases(&mut self, names: &[String], parts: &[(&str, RowOrder, usize)]) -> Result<Option<String>> {
        let mut all = Vec::new();
        for (name, &(_, order, rows)) in names.iter().zip(parts) {
            if let Some(tensor) = self.gguf.tensor(&format!("{name}.bias")) {
                let values = vector(self.gguf, tensor, rows)?;
                all.extend((0..rows).map(|row| values[order.stored(row)]));
            }
        }
        let rows: usize = parts.iter().map(|(.., rows)| rows).sum();
        match all.len() {
            0 => Ok(None),
            length if length == rows => {
                Ok(Some(self.graph.floats(&format!("{}.bias", names[0]), &all, &[rows])))
            }
            _ => {
                Err(self.gguf.malformed(format!("`{}` and its neighbours do not all have a bias", names[0])))
            }
        }
    }

    fn tensor(&self, name: &str) -> Result<&'a TensorInfo> {
        self.gguf.tensor(name).ok_or_else(|| self.gguf.malformed(format!("it has no tensor `{name}`")))
    }

    fn same_layout(&self, names: &[String]) -> Result<bool> {
        let mut layouts = Vec::new();
        for name in names {
            layouts.push(Layout::of(self.tensor(name)?.kind));
        }
        Ok(layouts.windows(2).all(|pair| pair[0] == pair[1]))
    }

    /// Packs tensors, after checking that each has the shape that the architecture asks for.
    fn matrix(&mut self, parts: &[(&str, RowOrder)], rows: &[usize], columns: usize) -> Result<Matrix> {
        let mut tensors = Vec::new();
        for (&(name, order), &rows) in parts.iter().zip(rows) {
            let tensor = self.tensor(name)?;
            if (tensor.rows, tensor.columns) != (rows, columns) {
                let (r, c) = (tensor.rows, tensor.columns);
                return Err(self.gguf.malformed(format!(
                    "the tensor `{name}` is {r} x {c} where {rows} x {columns} is needed"
                )));
            }
            tensors.push((tensor, order));
        }
        let is_table = parts.iter().any(|&(name, _)| name == EMBEDDING);
        self.data.matrix(self.gguf, &tensors, if is_table { Use::Table } else { Use::Product })
    }
}
