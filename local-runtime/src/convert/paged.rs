//! The same networks as [`super::network`], for our own operators.
//!
//! A step's tokens are the rows of one matrix, whatever sequences they belong to: there is no batch dimension, no mask, and
//! no cache among the inputs, because [`crate::operators`] keeps those. Weights stay in the layout of their GGUF format.
//! Inputs: `input_ids` `[tokens]` and `rows` `[outputs]`, the rows whose logits are wanted. Output: `logits` `[outputs, vocabulary]`.

use super::architecture::{
    Activation, Architecture, EMBEDDING, Joining, Layer, Norm, OUTPUT, Source, tensor, vector,
};
use super::gguf::{Gguf, TensorInfo};
use super::graph::{Attribute, Dimension, GraphBuilder, MICROSOFT, STANDARD};
use super::onnx_proto::{ModelProto, data_type};
use super::weights::DataWriter;
use crate::error::Result;
use crate::operators::DOMAIN;
use crate::operators::activations::Prologue;
use crate::operators::layout::Format;
use crate::operators::linear::Part;

/// Name of the input that only these networks have.
pub(crate) const ROWS_INPUT: &str = "rows";

/// Builds the graph while streaming the weights.
pub(crate) struct PagedBuilder<'a, 'p> {
    gguf: &'a Gguf,
    architecture: &'a Architecture,
    data: &'a mut DataWriter<'p>,
    graph: GraphBuilder,
    /// Names of the frequencies of each kind of rotary positions, and of those for long sequences or nothing.
    frequencies: Vec<[String; 2]>,
}

impl<'a, 'p> PagedBuilder<'a, 'p> {
    pub(crate) fn new(gguf: &'a Gguf, architecture: &'a Architecture, data: &'a mut DataWriter<'p>) -> Self {
        Self { gguf, architecture, data, graph: GraphBuilder::default(), frequencies: Vec::new() }
    }

    pub(crate) fn build(mut self) -> Result<ModelProto> {
        let a = self.architecture;
        self.graph.input("input_ids", data_type::INT64, &[Dimension::Named("tokens")]);
        self.graph.input(ROWS_INPUT, data_type::INT64, &[Dimension::Named("outputs")]);
        self.store_frequencies();
        let table = self.weights("embedding", &[Source::plain(EMBEDDING, a.vocabulary)], a.hidden)?;
        let rows = self.embedding(&table);
        let mut residual = self.graph.scaled(&rows, a.embedding_scale);
        let mut normed = self.norm(&residual, "blk.0.attn_norm")?;
        for (index, layer) in a.layers.iter().enumerate() {
            let next = match index + 1 == a.layers.len() {
                true => "output_norm".to_owned(),
                false => format!("blk.{}.attn_norm", index + 1),
            };
            if a.family.joining == Joining::Parallel {
                (normed, residual) = self.parallel(index, layer, &residual, &normed, &next)?;
                continue;
            }
            let attended = self.attention(index, layer, &normed)?;
            let attended = self.joined(&attended, &format!("blk.{index}.post_attention_norm"))?;
            (normed, residual) = self.skip_norm(&residual, &attended, &format!("blk.{index}.ffn_norm"))?;
            let fed = self.feed_forward(index, &normed)?;
            let fed = self.joined(&fed, &format!("blk.{index}.post_ffw_norm"))?;
            (normed, residual) = self.skip_norm(&residual, &fed, &next)?;
        }
        self.head(&normed, &table)?;
        Ok(self.graph.finish(a.family.name))
    }

    /// A layer whose two parts read the same stream. `normed` is the stream by the layer's first norm.
    fn parallel(
        &mut self,
        index: usize,
        layer: &Layer,
        residual: &str,
        normed: &str,
        next: &str,
    ) -> Result<(String, String)> {
        let [for_attention, for_feeding] = Architecture::parallel_norms(self.gguf, index);
        let own = (for_attention != for_feeding).then(|| self.norm(residual, &for_attention)).transpose()?;
        let attended = self.attention(index, layer, own.as_deref().unwrap_or(normed))?;
        let fed = self.feed_forward(index, normed)?;
        let both = self.graph.node(STANDARD, "Add", &[&attended, &fed], &[]);
        self.skip_norm(residual, &both, next)
    }

    /// What a part adds to the residual stream: normed if the family does, and scaled.
    fn joined(&mut self, x: &str, norm: &str) -> Result<String> {
        let a = self.architecture;
        let x = if a.family.joining == Joining::Sandwich { self.norm(x, norm)? } else { x.to_owned() };
        Ok(self.graph.scaled(&x, a.residual_scale))
    }

    /// Stores the frequencies of each kind of rotary positions, and none for layers without positions.
    fn store_frequencies(&mut self) {
        let graph = &mut self.graph;
        let mut store = |name: String, frequencies: &[f64]| {
            let frequencies: Vec<f32> = frequencies.iter().map(|&frequency| frequency as f32).collect();
            graph.floats(&name, &frequencies, &[frequencies.len()])
        };
        for (kind, rotary) in self.architecture.rotary.iter().enumerate() {
            let plain = store(format!("rotary_frequencies.{kind}"), &rotary.frequencies);
            let long =
                rotary.long.as_ref().map(|long| store(format!("long_frequencies.{kind}"), &long.frequencies));
            self.frequencies.push([plain, long.unwrap_or_default()]);
        }
        self.frequencies.push([store("no_frequencies".to_owned(), &[]), String::new()]);
    }

    fn embedding(&mut self, table: &Weights) -> String {
        match table {
            Weights::Floats(tables) => self.graph.node(STANDARD, "Gather", &[&tables[0], "input_ids"], &[]),
            Weights::Packed { name, parts } => {
                let columns = Attribute::Int(self.architecture.hidden as i64);
                let attributes = [("columns", columns), ("parts", Attribute::Text(Part::write(parts)))];
                self.graph.node(DOMAIN, "Rows", &["input_ids", name], &attributes)
            }
        }
    }

    fn attention(&mut self, index: usize, layer: &Layer, x: &str) -> Result<String> {
        let a = self.architecture;
        let sources = a.attention_sources(self.gguf, index);
        let projected =
            self.linear(&format!("blk.{index}.attn_qkv"), x, &sources, a.hidden, Prologue::Plain)?;
        let norms = match a.family.head_norms {
            true => [
                self.vector(&format!("blk.{index}.attn_q_norm.weight"), a.head_size)?,
                self.vector(&format!("blk.{index}.attn_k_norm.weight"), a.head_size)?,
            ],
            false => [String::new(), String::new()],
        };
        // The last table is the empty one.
        let table = layer.rotary.unwrap_or(a.rotary.len());
        let magnitude = layer.rotary.map_or(1.0, |kind| a.rotary[kind].magnitude);
        let attributes = [
            ("layer", Attribute::Int(index as i64)),
            ("heads", Attribute::Int(a.heads as i64)),
            ("window", Attribute::Int(layer.window.unwrap_or(0) as i64)),
            ("table", Attribute::Int(table as i64)),
            ("scale", Attribute::Float(a.attention_scale)),
            ("epsilon", Attribute::Float(a.epsilon)),
            ("magnitude", Attribute::Float(magnitude)),
            ("long_magnitude", Attribute::Float(magnitude)),
        ];
        let [plain, long] = self.frequencies[table].clone();
        let inputs: [&str; 5] = [&projected, &plain, &long, &norms[0], &norms[1]];
        let attended = self.graph.node(DOMAIN, "PagedAttention", &inputs, &attributes);
        let output = [Source::plain(format!("blk.{index}.attn_output"), a.hidden)];
        let name = output[0].name.clone();
        self.linear(&name, &attended, &output, a.heads * a.head_size, Prologue::Plain)
    }

    fn feed_forward(&mut self, layer: usize, x: &str) -> Result<String> {
        let a = self.architecture;
        let sources = a.feed_forward_sources(self.gguf, layer);
        let both =
            self.linear(&format!("blk.{layer}.ffn_gate_up"), x, &sources, a.hidden, Prologue::Plain)?;
        let (both, prologue) = match a.family.activation {
            Activation::SiluGate => (both, Prologue::SiluGate),
            Activation::GeluTanhGate => (both, Prologue::GeluGate),
            Activation::Gelu => (self.graph.activation(Activation::Gelu, &[&both]), Prologue::Plain),
        };
        let down = [Source::plain(format!("blk.{layer}.ffn_down"), a.hidden)];
        let name = down[0].name.clone();
        self.linear(&name, &both, &down, a.feed_forward, prologue)
    }

    fn head(&mut self, x: &str, table: &Weights) -> Result<()> {
        let a = self.architecture;
        let x = self.graph.node(STANDARD, "Gather", &[x, ROWS_INPUT], &[("axis", Attribute::Int(0))]);
        let output = [Source::plain(OUTPUT, a.vocabulary)];
        let logits = match self.gguf.tensor(&output[0].weight()) {
            Some(_) => self.linear(OUTPUT, &x, &output, a.hidden, Prologue::Plain)?,
            None => self.product(&x, table, a.hidden, "", Prologue::Plain),
        };
        let logits = self.graph.scaled(&logits, a.logit_scale);
        self.graph.named_node(STANDARD, "Identity", &[&logits], &["logits".to_owned()], &[]);
        let dims = [Dimension::Named("outputs"), Dimension::Fixed(a.vocabulary)];
        self.graph.output("logits", data_type::FLOAT, &dims);
        Ok(())
    }

    /// A product with some tensors stacked, and their biases if the file has them.
    fn linear(
        &mut self,
        name: &str,
        x: &str,
        sources: &[Source],
        columns: usize,
        prologue: Prologue,
    ) -> Result<String> {
        let bias = Source::biases(self.gguf, sources)?;
        let bias = bias.map(|bias| self.graph.floats(&format!("{name}.bias"), &bias, &[bias.len()]));
        let weights = self.weights(name, sources, columns)?;
        Ok(self.product(x, &weights, columns, bias.as_deref().unwrap_or_default(), prologue))
    }

    fn product(
        &mut self,
        x: &str,
        weights: &Weights,
        columns: usize,
        bias: &str,
        prologue: Prologue,
    ) -> String {
        match weights {
            Weights::Packed { name, parts } => {
                let attributes = [
                    ("columns", Attribute::Int(columns as i64)),
                    ("parts", Attribute::Text(Part::write(parts))),
                    ("prologue", Attribute::Text(prologue.name().to_owned())),
                ];
                self.graph.node(DOMAIN, "Linear", &[x, name, bias], &attributes)
            }
            Weights::Floats(names) => {
                let x = self.gated(x, prologue);
                let transposed = [("transB", Attribute::Int(1))];
                let products: Vec<String> = names
                    .iter()
                    .map(|name| self.graph.node(MICROSOFT, "FusedMatMul", &[&x, name], &transposed))
                    .collect();
                let products: Vec<&str> = products.iter().map(String::as_str).collect();
                let joined = self.graph.node(STANDARD, "Concat", &products, &[("axis", Attribute::Int(-1))]);
                if bias.is_empty() { joined } else { self.graph.node(STANDARD, "Add", &[&joined, bias], &[]) }
            }
        }
    }

    /// A prologue as nodes, for weights that are plain floats.
    fn gated(&mut self, x: &str, prologue: Prologue) -> String {
        if prologue == Prologue::Plain {
            return x.to_owned();
        }
        let axis = [("axis", Attribute::Int(-1)), ("num_outputs", Attribute::Int(2))];
        let halves = self.graph.node_outputs(STANDARD, "Split", &[x], 2, &axis);
        let activation = match prologue {
            Prologue::GeluGate => Activation::GeluTanhGate,
            _ => Activation::SiluGate,
        };
        self.graph.activation(activation, &[&halves[0], &halves[1]])
    }

    /// Writes tensors, after checking that each has the shape that the architecture asks for.
    fn weights(&mut self, name: &str, sources: &[Source], columns: usize) -> Result<Weights> {
        let mut tensors = Vec::new();
        for source in sources {
            tensors.push((source.tensor(self.gguf, columns)?, source.order));
        }
        let format = |tensor: &TensorInfo| {
            Format::of(tensor.kind).filter(|format| columns.is_multiple_of(format.unit_columns()))
        };
        let parts: Option<Vec<Part>> = tensors
            .iter()
            .map(|(tensor, _)| Some(Part { format: format(tensor)?, rows: tensor.rows }))
            .collect();
        let Some(parts) = parts else {
            let mut names = Vec::new();
            for (tensor, order) in tensors {
                let stored = self.data.dense(self.gguf, &[(tensor, order)], tensor.rows, columns)?;
                names.push(self.graph.external(&tensor.name, &stored, None));
            }
            return Ok(Weights::Floats(names));
        };
        let stored = self.data.packed(self.gguf, &tensors)?;
        Ok(Weights::Packed { name: self.graph.external(name, &stored, None), parts })
    }

    /// The family's norm by the weights of that name.
    fn norm(&mut self, x: &str, name: &str) -> Result<String> {
        let (gamma, beta) = self.norm_weights(name)?;
        let attributes =
            [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.architecture.epsilon))];
        Ok(match beta {
            None => self.graph.node(STANDARD, "SimplifiedLayerNormalization", &[x, &gamma], &attributes),
            Some(beta) => self.graph.node(STANDARD, "LayerNormalization", &[x, &gamma, &beta], &attributes),
        })
    }

    /// Adds to the residual stream and norms the sum; returns both.
    fn skip_norm(&mut self, residual: &str, x: &str, name: &str) -> Result<(String, String)> {
        let (gamma, beta) = self.norm_weights(name)?;
        let attributes = [("epsilon", Attribute::Float(self.architecture.epsilon))];
        let (normed, sum) = (format!("{x}.normed"), format!("{x}.sum"));
        let outputs = [normed.clone(), String::new(), String::new(), sum.clone()];
        let mut inputs = vec![residual, x, &gamma];
        inputs.extend(beta.as_deref());
        let operator =
            if beta.is_some() { "SkipLayerNormalization" } else { "SkipSimplifiedLayerNormalization" };
        self.graph.named_node(MICROSOFT, operator, &inputs, &outputs, &attributes);
        Ok((normed, sum))
    }

    /// Names of a norm's weights, and of its bias if the family's norms have one.
    fn norm_weights(&mut self, name: &str) -> Result<(String, Option<String>)> {
        let a = self.architecture;
        let gamma = self.vector(&format!("{name}.weight"), a.hidden)?;
        let beta = (a.family.norm == Norm::Layer).then(|| self.vector(&format!("{name}.bias"), a.hidden));
        Ok((gamma, beta.transpose()?))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<String> {
        let values = vector(self.gguf, tensor(self.gguf, name)?, length)?;
        Ok(self.graph.floats(name, &values, &[length]))
    }
}

/// Weights in the data file, by their names in the graph.
enum Weights {
    /// In our layout.
    Packed { name: String, parts: Vec<Part> },
    /// 32-bit floats `[rows, columns]`, a matrix for each tensor.
    Floats(Vec<String>),
}
