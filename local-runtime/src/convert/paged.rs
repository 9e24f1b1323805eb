//! The same networks as [`super::network`], for our own operators.
//!
//! A step's tokens are the rows of one matrix, whatever sequences they belong to: there is no batch dimension, no mask, and
//! no cache among the inputs, because [`crate::operators`] keeps those. Weights stay in the layout of their GGUF format.
//! Inputs: `input_ids` `[tokens]` and `rows` `[outputs]`, the rows whose logits are wanted. Output: `logits` `[outputs, vocabulary]`.

use super::gguf::{Gguf, TensorInfo};
use super::graph::{Attribute, Dimension, GraphBuilder, MICROSOFT, STANDARD};
use super::network::{Architecture, EMBEDDING, Family, vector};
use super::onnx_proto::{ModelProto, data_type};
use super::weights::{DataWriter, RowOrder};
use crate::error::Result;
use crate::operators::DOMAIN;
use crate::operators::activations::Prologue;
use crate::operators::layout::Format;
use crate::operators::linear::Part;

/// Name of the input that only these networks have.
pub(crate) const ROWS_INPUT: &str = "rows";

/// A weight matrix's tensor, its order of rows, and its expected number of rows.
type Source<'s> = (&'s str, RowOrder, usize);

/// Builds the graph while streaming the weights.
pub(crate) struct PagedBuilder<'a, 'p> {
    gguf: &'a Gguf,
    architecture: &'a Architecture,
    data: &'a mut DataWriter<'p>,
    graph: GraphBuilder,
    frequencies: String,
}

impl<'a, 'p> PagedBuilder<'a, 'p> {
    pub(crate) fn new(gguf: &'a Gguf, architecture: &'a Architecture, data: &'a mut DataWriter<'p>) -> Self {
        Self { gguf, architecture, data, graph: GraphBuilder::default(), frequencies: String::new() }
    }

    pub(crate) fn build(mut self) -> Result<ModelProto> {
        let a = self.architecture;
        self.graph.input("input_ids", data_type::INT64, &[Dimension::Named("tokens")]);
        self.graph.input(ROWS_INPUT, data_type::INT64, &[Dimension::Named("outputs")]);
        let frequencies: Vec<f32> = a.rotary_frequencies(self.gguf)?.iter().map(|&f| f as f32).collect();
        self.frequencies = self.graph.floats("rotary_frequencies", &frequencies, &[frequencies.len()]);
        let table = self.table()?;
        let mut residual = self.embedding(&table)?;
        let mut normed = self.norm(&residual, "blk.0.attn_norm.weight")?;
        for layer in 0..a.layers {
            let attended = self.attention(layer, &normed)?;
            (normed, residual) =
                self.skip_norm(&residual, &attended, &format!("blk.{layer}.ffn_norm.weight"))?;
            let fed = self.feed_forward(layer, &normed)?;
            let next = match layer + 1 == a.layers {
                true => "output_norm.weight".to_owned(),
                false => format!("blk.{}.attn_norm.weight", layer + 1),
            };
            (normed, residual) = self.skip_norm(&residual, &fed, &next)?;
        }
        self.head(&normed, &table)?;
        Ok(self.graph.finish(a.family.name()))
    }

    /// The table of embeddings, which may be the output's weights too.
    fn table(&mut self) -> Result<Weights> {
        let a = self.architecture;
        self.weights("embedding", &[(EMBEDDING, RowOrder::Kept, a.vocabulary)], a.hidden)
    }

    fn embedding(&mut self, table: &Weights) -> Result<String> {
        Ok(match table {
            Weights::Floats(tables) => self.graph.node(STANDARD, "Gather", &[&tables[0], "input_ids"], &[]),
            Weights::Packed { name, parts } => {
                let columns = Attribute::Int(self.architecture.hidden as i64);
                let attributes = [("columns", columns), ("parts", Attribute::Text(Part::write(parts)))];
                self.graph.node(DOMAIN, "Rows", &["input_ids", name], &attributes)
            }
        })
    }

    fn attention(&mut self, layer: usize, x: &str) -> Result<String> {
        let a = self.architecture;
        let (queries, keys) = (a.heads * a.head_size, a.kv_heads * a.head_size);
        let order = match a.family {
            Family::Llama => RowOrder::Interleaved(a.head_size),
            Family::Qwen2 | Family::Qwen3 => RowOrder::Kept,
        };
        let names = ["q", "k", "v"].map(|part| format!("blk.{layer}.attn_{part}.weight"));
        let sources = [
            (names[0].as_str(), order, queries),
            (names[1].as_str(), order, keys),
            (names[2].as_str(), RowOrder::Kept, keys),
        ];
        let projected =
            self.linear(&format!("blk.{layer}.attn_qkv"), x, &sources, a.hidden, Prologue::Plain)?;
        let norms = match a.family {
            Family::Qwen3 => [
                self.vector(&format!("blk.{layer}.attn_q_norm.weight"), a.head_size)?,
                self.vector(&format!("blk.{layer}.attn_k_norm.weight"), a.head_size)?,
            ],
            Family::Llama | Family::Qwen2 => [String::new(), String::new()],
        };
        let attributes = [
            ("layer", Attribute::Int(layer as i64)),
            ("heads", Attribute::Int(a.heads as i64)),
            ("window", Attribute::Int(0)),
            ("table", Attribute::Int(0)),
            ("scale", Attribute::Float(1.0 / (a.head_size as f32).sqrt())),
            ("epsilon", Attribute::Float(a.epsilon)),
            ("magnitude", Attribute::Float(1.0)),
            ("long_magnitude", Attribute::Float(1.0)),
        ];
        let inputs = [&projected, &self.frequencies, "", &norms[0], &norms[1]];
        let attended = self.graph.node(DOMAIN, "PagedAttention", &inputs, &attributes);
        let name = format!("blk.{layer}.attn_output.weight");
        self.linear(
            &format!("blk.{layer}.attn_output"),
            &attended,
            &[(&name, RowOrder::Kept, a.hidden)],
            queries,
            Prologue::Plain,
        )
    }

    fn feed_forward(&mut self, layer: usize, x: &str) -> Result<String> {
        let a = self.architecture;
        let name = |part: &str| format!("blk.{layer}.ffn_{part}.weight");
        let names = [name("gate"), name("up"), name("down")];
        let halves = [
            (names[0].as_str(), RowOrder::Kept, a.feed_forward),
            (&names[1], RowOrder::Kept, a.feed_forward),
        ];
        let both = self.linear(&format!("blk.{layer}.ffn_gate_up"), x, &halves, a.hidden, Prologue::Plain)?;
        let down = [(names[2].as_str(), RowOrder::Kept, a.hidden)];
        self.linear(&format!("blk.{layer}.ffn_down"), &both, &down, a.feed_forward, Prologue::SiluGate)
    }

    fn head(&mut self, x: &str, table: &Weights) -> Result<()> {
        let a = self.architecture;
        let x = self.graph.node(STANDARD, "Gather", &[x, ROWS_INPUT], &[("axis", Attribute::Int(0))]);
        let logits = match self.gguf.tensor("output.weight") {
            Some(_) => {
                let sources = [("output.weight", RowOrder::Kept, a.vocabulary)];
                self.linear("output", &x, &sources, a.hidden, Prologue::Plain)?
            }
            None => self.product(&x, table, a.hidden, "", Prologue::Plain),
        };
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
        sources: &[Source<'_>],
        columns: usize,
        prologue: Prologue,
    ) -> Result<String> {
        let bias = self.biases(name, sources)?;
        let weights = self.weights(name, sources, columns)?;
        Ok(self.product(x, &weights, columns, &bias, prologue))
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
        // SiLU(x) = x * sigmoid(x) is QuickGelu with alpha 1.
        let gate = match prologue {
            Prologue::GeluGate => self.graph.node(MICROSOFT, "FastGelu", &[&halves[0]], &[]),
            _ => {
                let alpha = [("alpha", Attribute::Float(1.0))];
                self.graph.node(MICROSOFT, "QuickGelu", &[&halves[0]], &alpha)
            }
        };
        self.graph.node(STANDARD, "Mul", &[&gate, &halves[1]], &[])
    }

    /// Writes tensors, after checking that each has the shape that the architecture asks for.
    fn weights(&mut self, name: &str, sources: &[Source<'_>], columns: usize) -> Result<Weights> {
        let mut tensors = Vec::new();
        for &(name, order, rows) in sources {
            let tensor = self.tensor(name)?;
            if (tensor.rows, tensor.columns) != (rows, columns) {
                let (r, c) = (tensor.rows, tensor.columns);
                return Err(self.gguf.malformed(format!(
                    "the tensor `{name}` is {r} x {c} where {rows} x {columns} is needed"
                )));
            }
            tensors.push((tensor, order));
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

    /// The biases of some tensors joined; empty if the file has none.
    fn biases(&mut self, name: &str, sources: &[Source<'_>]) -> Result<String> {
        let (mut all, mut rows_expected) = (Vec::new(), 0);
        for &(weight, order, rows) in sources {
            rows_expected += rows;
            if let Some(tensor) = self.gguf.tensor(&weight.replace(".weight", ".bias")) {
                let values = vector(self.gguf, tensor, rows)?;
                all.extend((0..rows).map(|row| values[order.stored(row)]));
            }
        }
        match all.len() {
            0 => Ok(String::new()),
            length if length == rows_expected => {
                Ok(self.graph.floats(&format!("{name}.bias"), &all, &[length]))
            }
            _ => Err(self.gguf.malformed(format!("the parts of `{name}` do not all have a bias"))),
        }
    }

    fn norm(&mut self, x: &str, weight: &str) -> Result<String> {
        let gamma = self.vector(weight, self.architecture.hidden)?;
        let attributes =
            [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.architecture.epsilon))];
        Ok(self.graph.node(STANDARD, "SimplifiedLayerNormalization", &[x, &gamma], &attributes))
    }

    /// Adds to the residual stream and norms the sum; returns both.
    fn skip_norm(&mut self, residual: &str, x: &str, weight: &str) -> Result<(String, String)> {
        let gamma = self.vector(weight, self.architecture.hidden)?;
        let attributes = [("epsilon", Attribute::Float(self.architecture.epsilon))];
        let (normed, sum) = (format!("{x}.normed"), format!("{x}.sum"));
        let outputs = [normed.clone(), String::new(), String::new(), sum.clone()];
        self.graph.named_node(
            MICROSOFT,
            "SkipSimplifiedLayerNormalization",
            &[residual, x, &gamma],
            &outputs,
            &attributes,
        );
        Ok((normed, sum))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<String> {
        let values = vector(self.gguf, self.tensor(name)?, length)?;
        Ok(self.graph.floats(name, &values, &[length]))
    }

    fn tensor(&self, name: &str) -> Result<&'a TensorInfo> {
        self.gguf.tensor(name).ok_or_else(|| self.gguf.malformed(format!("it has no tensor `{name}`")))
    }
}

/// Weights in the data file, by their names in the graph.
enum Weights {
    /// In our layout.
    Packed { name: String, parts: Vec<Part> },
    /// 32-bit floats `[rows, columns]`, a matrix for each tensor.
    Floats(Vec<String>),
}
