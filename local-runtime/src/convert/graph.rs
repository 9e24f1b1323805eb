//! Building an ONNX graph: names, nodes, constants.

use std::collections::HashMap;

use super::architecture::Activation;
use super::blocks::GROUP;
use super::onnx_proto::{
    AttributeProto, DimensionProto, EXTERNAL, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    attribute_type, data_type,
};
use super::weights::{DATA_FILE, Matrix, OFFSET_BLOCK, Offsets, Quantised, Stored};
use crate::operators::DOMAIN;

/// Domain of ONNX Runtime's contributed operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";
/// Domain of standard operators.
pub(crate) const STANDARD: &str = "";
/// Version of the standard operator set used; old enough for every supported library.
const OPSET: i64 = 21;
const IR_VERSION: i64 = 10;
/// `MatMulNBits` quantises its input to 8 bits a block and multiplies integers. The exact level has no fast kernel.
const ACCURACY_LEVEL: i64 = 4;

/// An attribute's value.
#[derive(Debug, Clone)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
}

/// A dimension of an input or output.
#[derive(Debug, Clone)]
pub(crate) enum Dimension {
    Fixed(usize),
    Named(&'static str),
}

/// A graph under construction.
#[derive(Debug, Default)]
pub(crate) struct GraphBuilder {
    graph: GraphProto,
    names: usize,
    block_sums: HashMap<String, String>,
}

impl GraphBuilder {
    /// Adds a node with one output and returns the output's name. Empty input names stand for inputs left out.
    pub(crate) fn node(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        let mut outputs = self.node_outputs(domain, op, inputs, 1, attributes);
        outputs.pop().expect("one output was asked for")
    }

    /// Adds a node with several outputs.
    pub(crate) fn node_outputs(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: &[(&str, Attribute)],
    ) -> Vec<String> {
        self.names += 1;
        let name = format!("{op}_{}", self.names);
        let outputs: Vec<String> = (0..outputs).map(|i| format!("{name}.{i}")).collect();
        self.named_node(domain, op, inputs, &outputs, attributes);
        outputs
    }

    /// Adds a node whose outputs have given names; an empty name leaves an output out.
    pub(crate) fn named_node(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[String],
        attributes: &[(&str, Attribute)],
    ) {
        let attribute = attributes.iter().map(|(name, value)| {
            let name = (*name).to_owned();
            match value {
                Attribute::Int(i) => {
                    AttributeProto { name, i: Some(*i), r#type: attribute_type::INT, ..Default::default() }
                }
                Attribute::Float(f) => {
                    AttributeProto { name, f: Some(*f), r#type: attribute_type::FLOAT, ..Default::default() }
                }
                Attribute::Text(text) => {
                    let s = Some(text.clone().into_bytes());
                    AttributeProto { name, s, r#type: attribute_type::STRING, ..Default::default() }
                }
            }
        });
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: outputs.to_vec(),
            name: format!("{op}/{}", self.graph.node.len()),
            op_type: op.to_owned(),
            attribute: attribute.collect(),
            domain: domain.to_owned(),
        });
    }

    /// A small constant of floats.
    pub(crate) fn floats(&mut self, name: &str, values: &[f32], dims: &[usize]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw(name, data_type::FLOAT, raw, dims)
    }

    /// A small constant of integers.
    pub(crate) fn integers(&mut self, values: &[i64], dims: &[usize]) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw(&name, data_type::INT64, raw, dims)
    }

    fn raw(&mut self, name: &str, data_type: i32, raw: Vec<u8>, dims: &[usize]) -> String {
        let dims = dims.iter().map(|&d| d as i64).collect();
        let name = name.to_owned();
        self.graph.initializer.push(TensorProto {
            dims,
            data_type,
            name: name.clone(),
            raw_data: Some(raw),
            ..Default::default()
        });
        name
    }

    /// A constant in the external data file. The same bytes may be named more than once, with different shapes.
    pub(crate) fn external(&mut self, name: &str, stored: &Stored, dims: Option<&[usize]>) -> String {
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        self.graph.initializer.push(TensorProto {
            dims: dims.map_or_else(|| stored.dims.clone(), |dims| dims.iter().map(|&d| d as i64).collect()),
            data_type: stored.data_type,
            name: name.to_owned(),
            raw_data: None,
            external_data: vec![
                entry("location", DATA_FILE.to_owned()),
                entry("offset", stored.offset.to_string()),
                entry("length", stored.bytes.to_string()),
            ],
            data_location: EXTERNAL,
        });
        name.to_owned()
    }

    /// Declares an input.
    pub(crate) fn input(&mut self, name: &str, data_type: i32, dims: &[Dimension]) {
        self.graph.input.push(value_info(name, data_type, dims));
    }

    /// Declares an output.
    pub(crate) fn output(&mut self, name: &str, data_type: i32, dims: &[Dimension]) {
        self.graph.output.push(value_info(name, data_type, dims));
    }

    /// `x @ matrix^T (+ bias)`, `[batch, sequence, columns]` to `[batch, sequence, rows]`.
    pub(crate) fn linear(&mut self, name: &str, x: &str, matrix: &Matrix, bias: Option<&str>) -> String {
        match matrix {
            Matrix::Dense { values } => {
                let weight = self.external(name, values, None);
                let product =
                    self.node(MICROSOFT, "FusedMatMul", &[x, &weight], &[("transB", Attribute::Int(1))]);
                match bias {
                    Some(bias) => self.node(STANDARD, "Add", &[&product, bias], &[]),
                    None => product,
                }
            }
            Matrix::Quantised(matrix) => self.linear_quantised(name, x, matrix, bias),
        }
    }

    fn linear_quantised(&mut self, name: &str, x: &str, matrix: &Quantised, bias: Option<&str>) -> String {
        let quants = self.external(&format!("{name}.quants"), &matrix.quants, None);
        let scales = self.external(&format!("{name}.scales"), &matrix.scales, None);
        let shape = [matrix.rows, matrix.columns, matrix.bits, matrix.block];
        let product = self.matmul_n_bits(x, [&quants, &scales], shape, bias);
        let Some(offsets) = &matrix.offsets else { return product };
        let sums = self.block_sums_of(x, matrix.columns);
        let correction = match offsets {
            Offsets::Exact(offsets) => {
                let offsets = self.external(&format!("{name}.offsets"), offsets, None);
                self.node(MICROSOFT, "FusedMatMul", &[&sums, &offsets], &[("transB", Attribute::Int(1))])
            }
            Offsets::Rounded { count, quants, scales } => {
                let quants = self.external(&format!("{name}.offset_quants"), quants, None);
                let scales = self.external(&format!("{name}.offset_scales"), scales, None);
                self.matmul_n_bits(&sums, [&quants, &scales], [matrix.rows, *count, 8, GROUP], None)
            }
        };
        self.node(STANDARD, "Add", &[&product, &correction], &[])
    }

    /// A product with quantised weights of `[rows, columns, bits, block]`.
    fn matmul_n_bits(
        &mut self,
        x: &str,
        weights: [&str; 2],
        shape: [usize; 4],
        bias: Option<&str>,
    ) -> String {
        let [n, k, bits, block_size] = shape.map(|number| Attribute::Int(number as i64));
        let level = Attribute::Int(ACCURACY_LEVEL);
        let attributes =
            [("K", k), ("N", n), ("bits", bits), ("block_size", block_size), ("accuracy_level", level)];
        let mut inputs = vec![x, weights[0], weights[1]];
        if let Some(bias) = bias {
            inputs.extend(["", "", bias]);
        }
        self.node(MICROSOFT, "MatMulNBits", &inputs, &attributes)
    }

    /// Sums of each 32 neighbours of the last dimension, computed once for each `x`.
    fn block_sums_of(&mut self, x: &str, columns: usize) -> String {
        if let Some(sums) = self.block_sums.get(x) {
            return sums.clone();
        }
        let shape = self.integers(&[0, 0, (columns / OFFSET_BLOCK) as i64, OFFSET_BLOCK as i64], &[4]);
        let blocks = self.node(STANDARD, "Reshape", &[x, &shape], &[]);
        let axis = self.integers(&[-1], &[1]);
        let sums = self.node(STANDARD, "ReduceSum", &[&blocks, &axis], &[("keepdims", Attribute::Int(0))]);
        self.block_sums.insert(x.to_owned(), sums.clone());
        sums
    }

    /// Rows of a matrix by id: `[batch, sequence]` to `[batch, sequence, columns]`.
    pub(crate) fn embedding(&mut self, ids: &str, matrix: &Matrix) -> String {
        let name = "embedding";
        let matrix = match matrix {
            Matrix::Dense { values } => {
                let table = self.external(name, values, None);
                return self.node(STANDARD, "Gather", &[&table, ids], &[]);
            }
            Matrix::Quantised(matrix) => matrix,
        };
        let packed = [matrix.rows, matrix.columns * matrix.bits / 8];
        let quants = self.external(&format!("{name}.quants"), &matrix.quants, Some(&packed));
        let scales = self.external(&format!("{name}.scales"), &matrix.scales, None);
        let attributes = [
            ("gather_axis", Attribute::Int(0)),
            ("quantize_axis", Attribute::Int(1)),
            ("block_size", Attribute::Int(matrix.block as i64)),
            ("bits", Attribute::Int(matrix.bits as i64)),
        ];
        let rows = self.node(MICROSOFT, "GatherBlockQuantized", &[&quants, ids, &scales], &attributes);
        let offsets = match &matrix.offsets {
            None => return rows,
            Some(Offsets::Exact(offsets)) => self.external(&format!("{name}.offsets"), offsets, None),
            Some(Offsets::Rounded { .. }) => unreachable!("tables keep their offsets exactly"),
        };
        let offsets = self.node(STANDARD, "Gather", &[&offsets, ids], &[]);
        let (blocks, last) = ((matrix.columns / OFFSET_BLOCK) as i64, OFFSET_BLOCK as i64);
        let [split, single, joined] =
            [vec![0, 0, blocks, last], vec![0, 0, blocks, 1], vec![0, 0, matrix.columns as i64]]
                .map(|shape| self.integers(&shape, &[shape.len()]));
        let rows = self.node(STANDARD, "Reshape", &[&rows, &split], &[]);
        let offsets = self.node(STANDARD, "Reshape", &[&offsets, &single], &[]);
        let sum = self.node(STANDARD, "Add", &[&rows, &offsets], &[]);
        self.node(STANDARD, "Reshape", &[&sum, &joined], &[])
    }

    /// `x * factor`.
    pub(crate) fn scaled(&mut self, x: &str, factor: f32) -> String {
        if factor == 1.0 {
            return x.to_owned();
        }
        let name = format!("factor_{}", self.graph.initializer.len());
        let factor = self.floats(&name, &[factor], &[]);
        self.node(STANDARD, "Mul", &[x, &factor], &[])
    }

    /// What is between the two products of a feed-forward part; `halves` are gate and up, or up alone.
    pub(crate) fn activation(&mut self, activation: Activation, halves: &[&str]) -> String {
        let gate = match activation {
            // SiLU(x) = x * sigmoid(x) is QuickGelu with alpha 1.
            Activation::SiluGate => {
                self.node(MICROSOFT, "QuickGelu", &halves[..1], &[("alpha", Attribute::Float(1.0))])
            }
            Activation::GeluTanhGate => self.node(MICROSOFT, "FastGelu", &halves[..1], &[]),
            Activation::Gelu => return self.node(STANDARD, "Gelu", &halves[..1], &[]),
        };
        self.node(STANDARD, "Mul", &[&gate, halves[1]], &[])
    }

    /// The finished model.
    pub(crate) fn finish(self, name: &str) -> ModelProto {
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "sluicegate".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(GraphProto { name: name.to_owned(), ..self.graph }),
            opset_import: vec![opset(STANDARD, OPSET), opset(MICROSOFT, 1), opset(DOMAIN, 1)],
        }
    }
}

fn value_info(name: &str, elem_type: i32, dims: &[Dimension]) -> ValueInfoProto {
    let dim = dims.iter().map(|dimension| match dimension {
        Dimension::Fixed(value) => DimensionProto { dim_value: Some(*value as i64), dim_param: None },
        Dimension::Named(name) => DimensionProto { dim_value: None, dim_param: Some((*name).to_owned()) },
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape }) }),
    }
}
