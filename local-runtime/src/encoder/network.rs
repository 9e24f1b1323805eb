//! The network on ONNX Runtime: a batch of ids in, one matrix out.
//!
//! Inputs are bound by their names (`input_ids`, `attention_mask`, `token_type_ids`, `position_ids`), and the output is
//! chosen by its name and rank; a graph that asks for or gives anything else is refused when it is loaded.
//!
//! Every session has threads of its own rather than a share of one process-wide pool, which `ort` would offer. The pool's
//! size and spinning would be fixed when the first model is loaded, and the chat model's thread count, which is
//! chosen by measurement, would be ignored; and a decoding step, which is many small loops, would wait behind the large
//! ones of a batch in the same queue. With threads of their own the operating system shares the cores between models by
//! the thread. The default of half of the cores, not spinning, leaves the chat model at least the other half.
//!
//! Left out: inputs other than these four, left padding, and graphs with a fixed batch size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::f16;
use ort::session::Session;
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};

use super::config::EncoderConfig;
use super::layout::Layout;
use crate::error::{Error, Result};
use crate::onnx::session_builder;

/// A batch of texts, each padded to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Ids of each text, markers included.
    pub(super) rows: Vec<Vec<u32>>,
    /// Tokens of the longest.
    pub(super) width: usize,
}

impl Batch {
    pub(super) fn of(rows: Vec<Vec<u32>>) -> Self {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        Self { rows, width }
    }
}

/// What a network gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// A vector for each token, `[batch, sequence, size]`.
    Tokens,
    /// A vector for each text, `[batch, size]`.
    Text,
}

/// What the worker needs of a network. A seam for tests.
pub(super) trait Forward: Send {
    /// Computes a batch. The result is `[batch, width, size]` or `[batch, size]`, row after row.
    fn forward(&mut self, batch: &Batch) -> Result<Vec<f32>>;
}

/// A loaded network.
#[derive(Debug)]
pub(super) struct Network {
    session: Session,
    inputs: Vec<(Input, bool)>,
    output: String,
    padding: i64,
    first_position: i64,
    /// What the output is named for.
    pub(super) role: Role,
    /// One result a token or a text.
    pub(super) kind: Output,
    /// Values of one result, once it is known.
    pub(super) size: Option<usize>,
    /// The network quantises what it computes by the largest value in the batch, so a text's result
    /// would depend on its neighbours: each is computed alone.
    pub(super) alone: bool,
}

/// An input that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Ids,
    Mask,
    Types,
    Positions,
}

impl Input {
    fn named(name: &str) -> Option<Self> {
        match name {
            "input_ids" => Some(Self::Ids),
            "attention_mask" => Some(Self::Mask),
            "token_type_ids" => Some(Self::Types),
            "position_ids" => Some(Self::Positions),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ids => "input_ids",
            Self::Mask => "attention_mask",
            Self::Types => "token_type_ids",
            Self::Positions => "position_ids",
        }
    }
}

/// What an output is for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `last_hidden_state` or `token_embeddings`.
    Hidden,
    /// `sentence_embedding`: pooled inside the graph.
    Sentence,
    /// `logits`.
    Logits,
}

impl Network {
    /// Loads the graph of a layout. With `pools`, vectors of tokens are preferred over vectors that the graph pooled itself.
    pub(super) fn load(library: &Path, config: &EncoderConfig, layout: &Layout, pools: bool) -> Result<Self> {
        let unusable = |reason: String| Error::UnusableEncoder { path: layout.graph.clone(), reason };
        let builder =
            session_builder(library, config.effective_threads(), config.spinning, &config.accelerator);
        let session = builder?
            .commit_from_file(&layout.graph)
            .map_err(|error| unusable(format!("ONNX Runtime refuses it: {error}")))?;
        let inputs = inputs(&session).map_err(unusable)?;
        let (output, role, kind) = output(&session, pools).map_err(unusable)?;
        Ok(Self {
            inputs,
            output,
            padding: layout.padding,
            first_position: layout.first_position,
            role,
            kind,
            size: None,
            alone: quantizes_by_batch(&layout.graph)?,
            session,
        })
    }

    /// Computes one text, which shows whether the graph works at all and warms it up; learns the size of a result.
    pub(super) fn probe(&mut self, text: Vec<u32>) -> Result<()> {
        let batch = Batch::of(vec![text]);
        let results = match self.kind {
            Output::Tokens => batch.width,
            Output::Text => 1,
        };
        let values = self.forward(&batch)?;
        self.size = Some(values.len() / results.max(1));
        Ok(())
    }

    fn tensor(&self, input: Input, wide: bool, batch: &Batch) -> Result<DynValue> {
        let shape = [batch.rows.len(), batch.width];
        let value = |row: &[u32], index: usize| {
            let inside = index < row.len();
            match input {
                Input::Ids => row.get(index).map_or(self.padding, |id| i64::from(*id)),
                Input::Mask => i64::from(inside),
                Input::Types => 0,
                Input::Positions if inside => self.first_position + index as i64,
                // The position of padding, in the families that give it one; others do not look.
                Input::Positions => (self.first_position - 1).max(0),
            }
        };
        let values = batch.rows.iter().flat_map(|row| (0..batch.width).map(move |index| value(row, index)));
        let made = if wide {
            Tensor::from_array((shape, values.collect::<Vec<i64>>())).map(Tensor::into_dyn)
        } else {
            let narrow = values.map(|value| i32::try_from(value).unwrap_or(i32::MAX));
            Tensor::from_array((shape, narrow.collect::<Vec<i32>>())).map(Tensor::into_dyn)
        };
        made.map_err(Error::onnx("make the inputs of a batch"))
    }
}

impl Forward for Network {
    fn forward(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let action = "compute a batch";
        let inputs =
            self.inputs.iter().map(|&(input, wide)| Ok((input.name(), self.tensor(input, wide, batch)?)));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let outputs = self.session.run(inputs).map_err(Error::onnx(action))?;
        let wrong = |what: &str| Error::Onnx { action, source: ort::Error::new(what) };
        let value = outputs.get(&self.output).ok_or_else(|| wrong("the output is missing"))?;
        let (shape, values) = if let Ok((shape, values)) = value.try_extract_tensor::<f16>() {
            (shape, values.iter().map(|value| value.to_f32()).collect())
        } else {
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(Error::onnx(action))?;
            (shape, values.to_vec())
        };
        let expected: &[usize] = match self.kind {
            Output::Tokens => &[batch.rows.len(), batch.width],
            Output::Text => &[batch.rows.len()],
        };
        let leading = shape.iter().take(expected.len()).map(|&n| usize::try_from(n).unwrap_or(0));
        if shape.len() != expected.len() + 1 || !leading.eq(expected.iter().copied()) {
            return Err(wrong("the output's shape does not fit the input's"));
        }
        Ok(values)
    }
}

/// The graph's inputs, each with whether it takes 64-bit numbers.
fn inputs(session: &Session) -> Result<Vec<(Input, bool)>, String> {
    let mut found = Vec::new();
    for outlet in session.inputs() {
        let name = outlet.name();
        let known = Input::named(name);
        let input = known.ok_or_else(|| format!("it asks for an input `{name}` that is not known"))?;
        let wide = match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Int64, .. } => true,
            ValueType::Tensor { ty: TensorElementType::Int32, .. } => false,
            other => return Err(format!("its input `{name}` is {other}; whole numbers are supported")),
        };
        found.push((input, wide));
    }
    match [Input::Ids, Input::Mask].iter().find(|needed| !found.iter().any(|(input, _)| input == *needed)) {
        Some(missing) => Err(format!("it has no input `{}`", missing.name())),
        None => Ok(found),
    }
}

/// The output to read: its name, what it is for, and whether it is one result a token or a text.
fn output(session: &Session, pools: bool) -> Result<(String, Role, Output), String> {
    let hidden = [("last_hidden_state", Role::Hidden), ("token_embeddings", Role::Hidden)];
    let sentence = [("sentence_embedding", Role::Sentence)];
    let logits = [("logits", Role::Logits)];
    let order = if pools {
        [logits.as_slice(), &hidden, &sentence].concat()
    } else {
        [logits.as_slice(), &sentence, &hidden].concat()
    };
    let outlets = session.outputs();
    let found = order.iter().find_map(|(name, role)| {
        outlets.iter().find(|outlet| outlet.name() == *name).map(|outlet| (outlet, *role))
    });
    let Some((outlet, role)) = found else {
        let names = outlets.iter().map(|outlet| outlet.name()).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "none of its outputs ({names}) is last_hidden_state, token_embeddings, sentence_embedding or logits"
        ));
    };
    let name = outlet.name();
    let ValueType::Tensor { ty: TensorElementType::Float32 | TensorElementType::Float16, shape, .. } =
        outlet.dtype()
    else {
        let ty = outlet.dtype();
        return Err(format!("its output `{name}` is {ty}; single and half precision are supported"));
    };
    let kind = match (shape.len(), role) {
        (3, Role::Hidden | Role::Logits) => Output::Tokens,
        (2, Role::Sentence | Role::Logits) => Output::Text,
        (rank, _) => return Err(format!("its output `{name}` has {rank} dimensions")),
    };
    Ok((name.to_owned(), role, kind))
}

/// Does a graph quantise by the largest value of a whole batch? Its operators are named in the file as they are.
fn quantizes_by_batch(path: &Path) -> Result<bool> {
    const NEEDLE: &[u8] = b"DynamicQuantize";
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut buffer = vec![0; 1 << 20];
    let finder = aho_corasick::AhoCorasick::new([NEEDLE]).expect("one short pattern");
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..]).map_err(Error::io("read", path))?;
        if count == 0 {
            return Ok(false);
        }
        let filled = kept + count;
        if finder.is_match(&buffer[..filled]) {
            return Ok(true);
        }
        // A name may lie across two reads.
        kept = filled.min(NEEDLE.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}
