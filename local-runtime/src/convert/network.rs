//! The graph of a network for ONNX Runtime's own operators.
//!
//! What is built is said by [`Architecture`]; here is how. Inputs and outputs have onnxruntime-genai's names. Logits are those
//! of the last position only. Networks with a second set of rotary frequencies get the first one alone, because
//! `GroupQueryAttention` takes one table and a sequence must not change it midway: [`Architecture::portable_context`].

use super::architecture::{
    Activation, Architecture, EMBEDDING, Joining, Layer, Norm, OUTPUT, Source, tensor, vector,
};
use super::gguf::Gguf;
use super::graph::{Attribute, Dimension, GraphBuilder, MICROSOFT, STANDARD};
use super::onnx_proto::{ModelProto, data_type};
use super::weights::{DataWriter, Layout, Matrix, Use};
use crate::error::Result;

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
    /// Cosines and sines of each kind of rotary positions.
    tables: Vec<[String; 2]>,
}

impl<'a, 'p> NetworkBuilder<'a, 'p> {
    pub(crate) fn new(gguf: &'a Gguf, architecture: &'a Architecture, data: &'a mut DataWriter<'p>) -> Self {
        Self { gguf, architecture, data, graph: GraphBuilder::default() }
    }

    pub(crate) fn build(mut self) -> Result<ModelProto> {
        let a = self.architecture;
        self.check_rotary()?;
        let shared = self.shared()?;
        let embedding = self.matrix(&[Source::plain(EMBEDDING, a.vocabulary)], a.hidden)?;
        let rows = self.graph.embedding("input_ids", &embedding);
        let mut residual = self.graph.scaled(&rows, a.embedding_scale);
        let mut normed = self.norm(&residual, &first_norm(0))?;
        for (index, layer) in a.layers.iter().enumerate() {
            let next =
                if index + 1 == a.layers.len() { "output_norm".to_owned() } else { first_norm(index + 1) };
            if a.family.joining == Joining::Parallel {
                (normed, residual) = self.parallel(index, layer, &residual, &normed, &next, &shared)?;
                continue;
            }
            let attended = self.attention(index, layer, &normed, &shared)?;
            let attended = self.joined(&attended, &format!("blk.{index}.post_attention_norm"))?;
            (normed, residual) = self.skip_norm(&residual, &attended, &format!("blk.{index}.ffn_norm"))?;
            let fed = self.feed_forward(index, &normed)?;
            let fed = self.joined(&fed, &format!("blk.{index}.post_ffw_norm"))?;
            (normed, residual) = self.skip_norm(&residual, &fed, &next)?;
        }
        self.head(&normed, embedding)?;
        Ok(self.graph.finish(a.family.name))
    }

    /// `GroupQueryAttention` turns sixteen dimensions at a time.
    fn check_rotary(&self) -> Result<()> {
        let size = self.architecture.head_size;
        for rotary in &self.architecture.rotary {
            let half = rotary.frequencies.len();
            if !half.is_multiple_of(8) || half > size / 16 * 8 {
                let reason =
                    format!("heads of {size} with {} rotary dimensions, with portable operators", 2 * half);
                return Err(self.gguf.unsupported(reason));
            }
        }
        Ok(())
    }

    /// A layer whose two parts read the same stream. `normed` is the stream by the layer's first norm.
    fn parallel(
        &mut self,
        index: usize,
        layer: &Layer,
        residual: &str,
        normed: &str,
        next: &str,
        shared: &Shared,
    ) -> Result<(String, String)> {
        let [for_attention, for_feeding] = Architecture::parallel_norms(self.gguf, index);
        let own = (for_attention != for_feeding).then(|| self.norm(residual, &for_attention)).transpose()?;
        let attended = self.attention(index, layer, own.as_deref().unwrap_or(normed), shared)?;
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
        for layer in 0..a.layers.len() {
            for part in ["key", "value"] {
                let dims = |length| {
                    let (heads, size) = (Dimension::Fixed(a.kv_heads), Dimension::Fixed(a.head_size));
                    [batch(), heads, Dimension::Named(length), size]
                };
                let (past, present) = cache_names(layer, part);
                graph.input(&past, data_type::FLOAT, &dims("past_sequence_length"));
                graph.output(&present, data_type::FLOAT, &dims("total_sequence_length"));
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
        let mut tables = Vec::new();
        for (kind, rotary) in a.rotary.iter().enumerate() {
            let positions = a.portable_context();
            let (cosines, sines) = rotary.tables(positions);
            let dims = [positions, rotary.frequencies.len()];
            let stored = [self.data.floats(&cosines, &dims)?, self.data.floats(&sines, &dims)?];
            let [cosines, sines] = ["cos", "sin"].map(|part| format!("{part}_cache.{kind}"));
            tables.push([
                self.graph.external(&cosines, &stored[0], None),
                self.graph.external(&sines, &stored[1], None),
            ]);
        }
        Ok(Shared { last_position, total_length, tables })
    }

    fn attention(&mut self, index: usize, layer: &Layer, x: &str, shared: &Shared) -> Result<String> {
        let a = self.architecture;
        let [query, key, value] = self.query_key_value(index, x)?;
        let [(past_key, present_key), (past_value, present_value)] =
            ["key", "value"].map(|part| cache_names(index, part));
        let none = [String::new(), String::new()];
        let [cosines, sines] = layer.rotary.map_or(&none, |kind| &shared.tables[kind]);
        let inputs = [
            &query,
            &key,
            &value,
            &past_key,
            &past_value,
            &shared.last_position,
            &shared.total_length,
            cosines,
            sines,
        ];
        let attended = format!("blk.{index}.attended");
        let attributes = [
            ("num_heads", Attribute::Int(a.heads as i64)),
            ("kv_num_heads", Attribute::Int(a.kv_heads as i64)),
            ("scale", Attribute::Float(a.attention_scale)),
            ("local_window_size", Attribute::Int(layer.window.map_or(-1, |window| window as i64))),
            ("do_rotary", Attribute::Int(i64::from(layer.rotary.is_some()))),
            ("rotary_interleaved", Attribute::Int(0)),
        ];
        let outputs = [attended.clone(), present_key, present_value];
        let inputs = inputs.map(String::as_str);
        // A node must not end in inputs that are left out.
        let count = if layer.rotary.is_some() { inputs.len() } else { inputs.len() - 2 };
        self.graph.named_node(MICROSOFT, "GroupQueryAttention", &inputs[..count], &outputs, &attributes);
        let output = Source::plain(format!("blk.{index}.attn_output"), a.hidden);
        self.linear(&[output], &attended, a.heads * a.head_size)
    }

    /// The query, key, and value; joined in the first where the formats allow it, since small products are bound by their
    /// number, and where no norm comes between.
    fn query_key_value(&mut self, layer: usize, x: &str) -> Result<[String; 3]> {
        let a = self.architecture;
        let sources = a.attention_sources(self.gguf, layer);
        if self.same_layout(&sources, a.hidden)? {
            let all = self.linear(&sources, x, a.hidden)?;
            if !a.family.head_norms {
                return Ok([all, String::new(), String::new()]);
            }
            let (queries, keys) = (a.heads * a.head_size, a.kv_heads * a.head_size);
            let sizes = self.graph.integers(&[queries, keys, keys].map(|size| size as i64), &[3]);
            let axis = [("axis", Attribute::Int(-1))];
            let parts = self.graph.node_outputs(STANDARD, "Split", &[&all, &sizes], 3, &axis);
            return self.head_norms(layer, [&parts[0], &parts[1], &parts[2]]);
        }
        let mut parts = Vec::new();
        for source in &sources {
            parts.push(self.linear(std::slice::from_ref(source), x, a.hidden)?);
        }
        self.head_norms(layer, [&parts[0], &parts[1], &parts[2]])
    }

    /// Norms each head of the query and the key, in families that do.
    fn head_norms(&mut self, layer: usize, [query, key, value]: [&String; 3]) -> Result<[String; 3]> {
        let a = self.architecture;
        if !a.family.head_norms {
            return Ok([query.clone(), key.clone(), value.clone()]);
        }
        let query = self.head_norm(layer, "q", query, a.heads)?;
        let key = self.head_norm(layer, "k", key, a.kv_heads)?;
        Ok([query, key, value.clone()])
    }

    fn head_norm(&mut self, layer: usize, part: &str, x: &str, heads: usize) -> Result<String> {
        let size = self.architecture.head_size;
        let split = self.graph.integers(&[0, 0, heads as i64, size as i64], &[4]);
        let joined = self.graph.integers(&[0, 0, (heads * size) as i64], &[3]);
        let x = self.graph.node(STANDARD, "Reshape", &[x, &split], &[]);
        let gamma = self.vector(&format!("blk.{layer}.attn_{part}_norm.weight"), size)?;
        let x =
            self.graph.node(STANDARD, "SimplifiedLayerNormalization", &[&x, &gamma], &self.norm_attributes());
        Ok(self.graph.node(STANDARD, "Reshape", &[&x, &joined], &[]))
    }

    fn feed_forward(&mut self, layer: usize, x: &str) -> Result<String> {
        let a = self.architecture;
        let sources = a.feed_forward_sources(self.gguf, layer);
        let halves = if sources.len() == 2 && !self.same_layout(&sources, a.hidden)? {
            let gate = self.linear(&sources[..1], x, a.hidden)?;
            vec![gate, self.linear(&sources[1..], x, a.hidden)?]
        } else {
            let all = self.linear(&sources, x, a.hidden)?;
            let axis = [("axis", Attribute::Int(-1)), ("num_outputs", Attribute::Int(2))];
            match a.family.activation {
                Activation::Gelu => vec![all],
                _ => self.graph.node_outputs(STANDARD, "Split", &[&all], 2, &axis),
            }
        };
        let halves: Vec<&str> = halves.iter().map(String::as_str).collect();
        let activated = self.graph.activation(a.family.activation, &halves);
        self.linear(&[Source::plain(format!("blk.{layer}.ffn_down"), a.hidden)], &activated, a.feed_forward)
    }

    fn head(&mut self, x: &str, embedding: Matrix) -> Result<()> {
        let a = self.architecture;
        let last = self.graph.integers(&[-1], &[1]);
        let x = self.graph.node(STANDARD, "Gather", &[x, &last], &[("axis", Attribute::Int(1))]);
        let output = Source::plain(OUTPUT, a.vocabulary);
        let output = match self.gguf.tensor(&output.weight()) {
            Some(_) => self.matrix(&[output], a.hidden)?,
            None => embedding,
        };
        let logits = self.graph.linear("lm_head", &x, &output, None);
        let logits = self.graph.scaled(&logits, a.logit_scale);
        self.graph.named_node(STANDARD, "Identity", &[&logits], &["logits".to_owned()], &[]);
        let dims = [Dimension::Named("batch_size"), Dimension::Fixed(1), Dimension::Fixed(a.vocabulary)];
        self.graph.output("logits", data_type::FLOAT, &dims);
        Ok(())
    }

    /// A product with some tensors stacked, and their biases if the file has them.
    fn linear(&mut self, sources: &[Source], x: &str, columns: usize) -> Result<String> {
        let name = sources[0].name.clone();
        let bias = Source::biases(self.gguf, sources)?;
        let bias = bias.map(|bias| self.graph.floats(&format!("{name}.bias"), &bias, &[bias.len()]));
        let matrix = self.matrix(sources, columns)?;
        Ok(self.graph.linear(&name, x, &matrix, bias.as_deref()))
    }

    fn norm_attributes(&self) -> [(&'static str, Attribute); 2] {
        [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.architecture.epsilon))]
    }

    /// The family's norm by the weights of that name.
    fn norm(&mut self, x: &str, name: &str) -> Result<String> {
        let (gamma, beta) = self.norm_weights(name)?;
        let attributes = self.norm_attributes();
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

    fn same_layout(&self, sources: &[Source], columns: usize) -> Result<bool> {
        let mut layouts = Vec::new();
        for source in sources {
            layouts.push(Layout::of(source.tensor(self.gguf, columns)?.kind));
        }
        Ok(layouts.windows(2).all(|pair| pair[0] == pair[1]))
    }

    fn matrix(&mut self, sources: &[Source], columns: usize) -> Result<Matrix> {
        let mut tensors = Vec::new();
        for source in sources {
            tensors.push((source.tensor(self.gguf, columns)?, source.order));
        }
        let use_as = if sources[0].name == EMBEDDING { Use::Table } else { Use::Product };
        self.data.matrix(self.gguf, &tensors, use_as)
    }
}

/// The norm that a layer begins with.
fn first_norm(layer: usize) -> String {
    format!("blk.{layer}.attn_norm")
}

/// A cache input and the output that continues it.
fn cache_names(layer: usize, part: &str) -> (String, String) {
    (format!("past_key_values.{layer}.{part}"), format!("present.{layer}.{part}"))
}
