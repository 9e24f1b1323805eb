//! Packing weights for ONNX Runtime and streaming them into the external data file.
//!
//! Quantised weights stay quantised. `MatMulNBits` (com.microsoft) computes `x @ (scale * (q - zero_point))` with 4 or 8 bits and
//! a fast path only for the implied zero points 8 and 128, so formats with a minimum are split in two:
//! `scale * q + offset` = the fast product plus `block_sums(x) @ offsets`. Small matrices keep their offsets exactly, large
//! ones round them to 8 bits, and Q6_K gets coarser scales: see [`ROUNDED_OFFSETS_COLUMNS`] and [`join_scales`]. Memory stays bounded:
//! quants go straight to the file, and only scales and offsets of one matrix are held.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::blocks::{BlockType, GROUP, Group};
use super::gguf::{Gguf, TensorInfo};
use crate::artifact::Progress;
use crate::error::{Error, Result};
use crate::operators::layout::{Format, ROWS, pack_tile};

/// Name of the external data file, as onnxruntime-genai calls it.
pub(crate) const DATA_FILE: &str = "model.onnx.data";
/// Weights that share an offset.
pub(crate) const OFFSET_BLOCK: usize = 32;
/// Rows are read and packed in pieces of about this many stored bytes.
const CHUNK_BYTES: usize = 1 << 22;
/// Large tensors begin on a page, so that they can be mapped.
const PAGE: u64 = 4096;

/// A tensor in the external data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) data_type: i32,
    pub(crate) dims: Vec<i64>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A weight matrix `[rows, columns]` as ONNX Runtime takes it.
#[derive(Debug, Clone)]
pub(crate) enum Matrix {
    /// 32-bit floats `[rows, columns]`.
    Dense { values: Stored },
    /// Integers with a scale for each block of a row.
    Quantised(Quantised),
}

/// The quantised kind of [`Matrix`].
#[derive(Debug, Clone)]
pub(crate) struct Quantised {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bits: usize,
    pub(crate) block: usize,
    /// `[rows, columns / block, block * bits / 8]` bytes, the low nibble first.
    pub(crate) quants: Stored,
    /// `[rows, columns / block]` floats.
    pub(crate) scales: Stored,
    /// What is added to each block of 32, for formats that have a minimum.
    pub(crate) offsets: Option<Offsets>,
}

/// Offsets of a matrix's blocks.
#[derive(Debug, Clone)]
pub(crate) enum Offsets {
    /// `[rows, columns / 32]` floats.
    Exact(Stored),
    /// The same, as 8-bit integers with a scale for each [`GROUP`] of them, the last group padded.
    Rounded { count: usize, quants: Stored, scales: Stored },
}

/// Matrices with at least this many columns store offsets in 8 bits; below, the rounded product's own cost outweighs the
/// reading that it saves. On Qwen2.5-Coder 1.5B this takes 1470 MB instead of 1565 MB, for a mean divergence from the
/// floating-point reference of 0.0016 instead of 0.0012 (163 positions, see `onnx/tests.rs`).
const ROUNDED_OFFSETS_COLUMNS: usize = 1024;

/// How rows of the file map to rows of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As they are.
    Kept,
    /// llama.cpp stores the query and key rows of architecture `llama` with each head's two rotary halves
    /// interleaved (`permute` in `convert_hf_to_gguf.py`); this undoes it for heads of that many rows.
    Interleaved(usize),
}

impl RowOrder {
    /// The stored row that becomes row `row`.
    pub(crate) fn stored(self, row: usize) -> usize {
        match self {
            Self::Kept => row,
            Self::Interleaved(head) => {
                let (first, within) = (row / head * head, row % head);
                first + within % (head / 2) * 2 + within / (head / 2)
            }
        }
    }
}

/// What a matrix is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Multiplying.
    Product,
    /// Looking rows up, and perhaps multiplying too.
    Table,
}

/// What decides whether matrices can be joined into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    bits: usize,
    block: usize,
    has_offsets: bool,
}

impl Layout {
    /// The layout for a stored format; `None` for plain floats.
    pub(crate) fn of(kind: BlockType) -> Option<Self> {
        let layout = |bits, block, has_offsets| Some(Self { bits, block, has_offsets });
        match kind {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => None,
            BlockType::Q4_0 => layout(4, 32, false),
            BlockType::Q4_1 | BlockType::Q4_K => layout(4, 32, true),
            BlockType::Q5_1 | BlockType::Q5_K => layout(8, 32, true),
            BlockType::Q5_0 | BlockType::Q8_0 => layout(8, 32, false),
            // Its scales for 16 weights are joined, see `join_scales`.
            BlockType::Q6_K => layout(8, 32, false),
        }
    }
}

/// Writes tensors one after the other into the external data file.
pub(crate) struct DataWriter<'a> {
    path: PathBuf,
    file: BufWriter<File>,
    position: u64,
    progress: &'a dyn Progress,
}

impl<'a> DataWriter<'a> {
    pub(crate) fn create(directory: &Path, progress: &'a dyn Progress) -> Result<Self> {
        let path = directory.join(DATA_FILE);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 20, file), position: 0, progress })
    }

    pub(crate) fn finish(mut self) -> Result<u64> {
        self.file.flush().map_err(Error::io("write", &self.path))?;
        self.file.get_ref().sync_all().map_err(Error::io("write", &self.path))?;
        Ok(self.position)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    fn align(&mut self) -> Result<u64> {
        let padding = self.position.next_multiple_of(PAGE) - self.position;
        self.write(&vec![0; padding as usize])?;
        Ok(self.position)
    }

    /// Stores floats.
    pub(crate) fn floats(&mut self, values: &[f32], dims: &[usize]) -> Result<Stored> {
        let offset = self.align()?;
        for piece in values.chunks(1 << 16) {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.write(&bytes)?;
        }
        Ok(self.stored(super::onnx_proto::data_type::FLOAT, offset, dims))
    }

    fn stored(&self, data_type: i32, offset: u64, dims: &[usize]) -> Stored {
        Stored {
            data_type,
            dims: dims.iter().map(|&d| d as i64).collect(),
            offset,
            bytes: self.position - offset,
        }
    }

    /// Packs tensors with equal columns and equal [`Layout`] into one matrix, rows one after the other.
    pub(crate) fn matrix(
        &mut self,
        gguf: &Gguf,
        parts: &[(&TensorInfo, RowOrder)],
        use_as: Use,
    ) -> Result<Matrix> {
        let first = parts[0].0;
        let (columns, rows) = (first.columns, parts.iter().map(|(tensor, _)| tensor.rows).sum::<usize>());
        let Some(layout) = Layout::of(first.kind) else {
            return Ok(Matrix::Dense { values: self.dense(gguf, parts, rows, columns)? });
        };
        assert!(
            parts
                .iter()
                .all(|(tensor, _)| Layout::of(tensor.kind) == Some(layout) && tensor.columns == columns)
        );
        let quants_at = self.align()?;
        let (mut scales, mut offsets) = (Vec::new(), Vec::new());
        let (mut groups, mut packed) = (Vec::new(), Vec::new());
        for &(tensor, order) in parts {
            for_each_chunk(gguf, tensor, order, 1, |bytes| {
                tensor.kind.decode(bytes, &mut groups);
                packed.clear();
                pack(layout, &groups, &mut packed, &mut scales, &mut offsets);
                self.write(&packed)?;
                self.progress.advance(bytes.len() as u64);
                Ok(())
            })?;
        }
        let (bits, block) = (layout.bits, layout.block);
        let blob = block * bits / 8;
        let quants =
            self.stored(super::onnx_proto::data_type::UINT8, quants_at, &[rows, columns / block, blob]);
        let scales = self.floats(&scales, &[rows, columns / block])?;
        let offsets = match layout.has_offsets {
            true if use_as == Use::Product && columns >= ROUNDED_OFFSETS_COLUMNS => {
                Some(self.rounded(&offsets, columns)?)
            }
            true => Some(Offsets::Exact(self.floats(&offsets, &[rows, columns / OFFSET_BLOCK])?)),
            false => None,
        };
        Ok(Matrix::Quantised(Quantised { rows, columns, bits, block, quants, scales, offsets }))
    }

    /// Packs tensors with equal columns for our own operators, one after the other: `[bytes]`.
    ///
    /// # Panics
    /// If a tensor is of plain floats.
    pub(crate) fn packed(&mut self, gguf: &Gguf, parts: &[(&TensorInfo, RowOrder)]) -> Result<Stored> {
        let offset = self.align()?;
        let mut bytes = 0;
        let mut tiles = Vec::new();
        for &(tensor, order) in parts {
            let format = Format::of(tensor.kind).expect("plain floats are not packed");
            let row_bytes = tensor.kind.bytes(tensor.columns);
            for_each_chunk(gguf, tensor, order, ROWS, |chunk| {
                let rows: Vec<&[u8]> = chunk.chunks_exact(row_bytes).collect();
                tiles.clear();
                for sixteen in rows.chunks(ROWS) {
                    pack_tile(tensor.kind, format, sixteen, &mut tiles);
                }
                bytes += tiles.len();
                self.write(&tiles)?;
                self.progress.advance(chunk.len() as u64);
                Ok(())
            })?;
        }
        Ok(self.stored(super::onnx_proto::data_type::UINT8, offset, &[bytes]))
    }

    /// Rounds offsets `[rows, columns / 32]` to 8 bits.
    fn rounded(&mut self, offsets: &[f32], columns: usize) -> Result<Offsets> {
        let count = columns / OFFSET_BLOCK;
        let (rows, groups) = (offsets.len() / count, count.div_ceil(GROUP));
        let (mut packed, mut scales) =
            (Vec::with_capacity(rows * groups * GROUP), Vec::with_capacity(rows * groups));
        for row in offsets.chunks_exact(count) {
            for group in row.chunks(GROUP) {
                let largest = group.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
                scales.push(scale);
                packed.extend(group.iter().map(|value| ((value / scale).round() + 128.0) as u8));
                packed.resize(packed.len().next_multiple_of(GROUP), 128);
            }
        }
        let quants_at = self.align()?;
        self.write(&packed)?;
        let quants = self.stored(super::onnx_proto::data_type::UINT8, quants_at, &[rows, groups, GROUP]);
        let scales = self.floats(&scales, &[rows, groups])?;
        Ok(Offsets::Rounded { count, quants, scales })
    }

    /// Writes tensors as 32-bit floats, whatever they are stored as.
    pub(crate) fn dense(
        &mut self,
        gguf: &Gguf,
        parts: &[(&TensorInfo, RowOrder)],
        rows: usize,
        columns: usize,
    ) -> Result<Stored> {
        let offset = self.align()?;
        for &(tensor, order) in parts {
            for_each_chunk(gguf, tensor, order, 1, |bytes| {
                let floats = tensor.kind.floats(bytes);
                self.write(&floats.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
                self.progress.advance(bytes.len() as u64);
                Ok(())
            })?;
        }
        Ok(self.stored(super::onnx_proto::data_type::FLOAT, offset, &[rows, columns]))
    }
}

fn for_each_chunk(
    gguf: &Gguf,
    tensor: &TensorInfo,
    order: RowOrder,
    multiple: usize,
    mut work: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let row_bytes = tensor.kind.bytes(tensor.columns).max(1);
    // A chunk holds whole heads, so that rows change places only inside it.
    let multiple = multiple * if let RowOrder::Interleaved(head) = order { head } else { 1 };
    let chunk_rows = (CHUNK_BYTES / row_bytes).max(1).next_multiple_of(multiple);
    let (mut bytes, mut ordered) = (Vec::new(), Vec::new());
    for first in (0..tensor.rows).step_by(chunk_rows) {
        let count = chunk_rows.min(tensor.rows - first);
        gguf.read_rows(tensor, first, count, &mut bytes)?;
        if order == RowOrder::Kept {
            work(&bytes)?;
            continue;
        }
        ordered.clear();
        for row in 0..count {
            let stored = order.stored(row);
            ordered.extend_from_slice(&bytes[stored * row_bytes..][..row_bytes]);
        }
        work(&ordered)?;
    }
    Ok(())
}

fn pack(
    layout: Layout,
    groups: &[Group],
    packed: &mut Vec<u8>,
    scales: &mut Vec<f32>,
    offsets: &mut Vec<f32>,
) {
    for pair in groups.chunks_exact(OFFSET_BLOCK / GROUP) {
        let mut pair = [pair[0], pair[1]];
        if layout.block == OFFSET_BLOCK && pair[0].scale != pair[1].scale {
            join_scales(&mut pair);
        }
        scales.push(pair[0].scale);
        if layout.block == GROUP {
            scales.push(pair[1].scale);
        }
        if layout.has_offsets {
            offsets.push(pair[0].offset);
        }
        for group in pair {
            if layout.bits == 8 {
                packed.extend(group.q.iter().map(|&q| (i16::from(q) + 128) as u8));
            } else {
                packed.extend(group.q.chunks_exact(2).map(|two| ((two[0] + 8) | (two[1] + 8) << 4) as u8));
            }
        }
    }
}

/// Gives two groups the finest scale that holds both in 8 bits, for Q6_K, which has 6 bits and a scale for every 16.
/// Keeping blocks of 16 would be exact, but costs a twentieth more memory and reading: on Qwen2.5-Coder 1.5B, 1470 MB
/// against 1416 MB, for a mean divergence of 0.00163 against 0.00166 (163 positions, see `onnx/tests.rs`).
fn join_scales(pair: &mut [Group; 2]) {
    let weights = pair.map(|group| group.q.map(|q| f32::from(q) * group.scale));
    let largest = weights.iter().flatten().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    for (group, weights) in pair.iter_mut().zip(weights) {
        *group =
            Group { q: weights.map(|weight| (weight / scale).round() as i8), scale, offset: group.offset };
    }
}
