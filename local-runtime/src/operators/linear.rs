//! The operators `Linear` and `Rows`: products with packed weights, and rows of a packed table.

use std::sync::Mutex;

use ort::operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::activations::{Block, Prologue, round_row};
use super::dot::{Activations, products};
use super::layout::{BLOCK, Format, ROWS, unpack_row};
use super::{fault, floats, input};

/// Tiles that one task multiplies: as many as stay in a second-level cache of a megabyte together with some tokens' activations.
const TASK_TILES_MAX: usize = 8;
/// Tasks for each thread, so that threads that finish early find work.
const TASKS_PER_THREAD: usize = 4;
/// The most rows and columns of a matrix.
const DIMENSION_MAX: usize = 1 << 24;
/// Rows of activations that one task rounds.
const ROUNDING_ROWS: usize = 8;

/// A part of a `Linear`'s packed weights: some output columns in one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) format: Format,
    pub(crate) rows: usize,
}

impl Part {
    /// `format:rows`, joined by commas.
    pub(crate) fn write(parts: &[Self]) -> String {
        let one = |part: &Self| format!("{}:{}", part.format.name(), part.rows);
        parts.iter().map(one).collect::<Vec<_>>().join(",")
    }

    fn read(text: &str) -> Option<Vec<Self>> {
        let one = |part: &str| {
            let (format, rows) = part.split_once(':')?;
            Some(Self { format: Format::named(format)?, rows: rows.parse().ok()? })
        };
        text.split(',').map(one).collect()
    }

    fn bytes(self, columns: usize) -> usize {
        self.format.matrix_bytes(self.rows, columns)
    }
}

/// `y = x W^T + b`: inputs `x` `[tokens, columns]` (twice that for a gated prologue), packed weights `[bytes]`, and an
/// optional bias `[rows]`. Attributes: `columns`, `parts`, `prologue`.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) threads: usize,
}

impl Operator for Linear {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        "Linear"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::required(TensorElementType::Uint8),
            OperatorInput::optional(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let columns =
            context.get::<i64>("columns").filter(|&n| n > 0).ok_or_else(|| fault("Linear: columns"))?
                as usize;
        let parts = context.get::<String>("parts").and_then(|text| Part::read(&text));
        let parts = parts.ok_or_else(|| fault("Linear: parts"))?;
        let prologue = context.get::<String>("prologue").and_then(|name| Prologue::named(&name));
        let prologue = prologue.ok_or_else(|| fault("Linear: prologue"))?;
        // Sizes beyond these are no network's, and would overflow.
        if columns > DIMENSION_MAX || parts.len() > 64 || parts.iter().any(|part| part.rows > DIMENSION_MAX) {
            return Err(fault("Linear: too large"));
        }
        if parts.iter().any(|part| part.rows == 0 || !columns.is_multiple_of(part.format.unit_columns())) {
            return Err(fault("Linear: columns do not fit the format"));
        }
        let mut kernel = LinearKernel { columns, parts, prologue, threads: self.threads, blocks: Vec::new() };
        Ok(Box::new(move |context: &ComputeContext| kernel.compute(context)))
    }
}

struct LinearKernel {
    columns: usize,
    parts: Vec<Part>,
    prologue: Prologue,
    threads: usize,
    /// Rounded activations, kept for its memory.
    blocks: Vec<Block>,
}

/// A task: tiles, and where their results go in each token's row.
struct Task<'w, 'y> {
    format: Format,
    tiles: &'w [u8],
    columns: Vec<&'y mut [f32]>,
}

impl LinearKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (x, weights) = (input(context, 0)?, input(context, 1)?);
        let (_, x) = x.try_extract_tensor::<f32>()?;
        let (_, weights) = weights.try_extract_tensor::<u8>()?;
        let bias = context.input(2)?;
        let bias =
            bias.as_ref().map(|bias| bias.try_extract_tensor::<f32>()).transpose()?.map(|(_, bias)| bias);
        let rows: usize = self.parts.iter().map(|part| part.rows).sum();
        let expected: usize = self.parts.iter().map(|part| part.bytes(self.columns)).sum();
        let tokens = x.len() / (self.columns * self.prologue.arity());
        if weights.len() != expected
            || bias.is_some_and(|bias| bias.len() != rows)
            || x.len() != tokens * self.columns * self.prologue.arity()
        {
            return Err(fault("Linear: the inputs' sizes do not fit the attributes"));
        }
        let mut y =
            context.output(0, [tokens as i64, rows as i64])?.ok_or_else(|| fault("Linear: no output"))?;
        let (_, y) = y.try_extract_tensor_mut::<f32>()?;
        if tokens == 0 {
            return Ok(());
        }
        self.round(context, x, tokens)?;
        let per_token = self.columns / BLOCK;
        let activations = Activations { blocks: &self.blocks[..tokens * per_token], per_token };
        let tasks: Vec<Mutex<Task<'_, '_>>> =
            self.tasks(weights, y, rows).into_iter().map(Mutex::new).collect();
        context.par_for(tasks.len(), tasks.len(), |index| {
            if let Ok(mut task) = tasks[index].lock() {
                let task = &mut *task;
                products(task.format, task.tiles, activations, &mut task.columns);
            }
        })?;
        drop(tasks);
        if let Some(bias) = bias {
            for row in y.chunks_exact_mut(rows) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        Ok(())
    }

    fn round(&mut self, context: &ComputeContext, x: &[f32], tokens: usize) -> ort::Result<()> {
        let per_token = self.columns / BLOCK;
        let (in_row, prologue) = (self.columns * self.prologue.arity(), self.prologue);
        self.blocks.resize(tokens * per_token, Block::default());
        if tokens < 2 * ROUNDING_ROWS {
            for (row, blocks) in x.chunks_exact(in_row).zip(self.blocks.chunks_exact_mut(per_token)) {
                round_row(prologue, row, blocks);
            }
            return Ok(());
        }
        let groups: Vec<_> = x
            .chunks(ROUNDING_ROWS * in_row)
            .zip(self.blocks.chunks_mut(ROUNDING_ROWS * per_token))
            .map(Mutex::new)
            .collect();
        context.par_for(groups.len(), groups.len(), |index| {
            if let Ok(mut group) = groups[index].lock() {
                let (x, blocks) = &mut *group;
                for (row, blocks) in x.chunks_exact(in_row).zip(blocks.chunks_exact_mut(per_token)) {
                    round_row(prologue, row, blocks);
                }
            }
        })
    }

    /// Splits the output columns, so that every task has its own part of every token's row.
    fn tasks<'w, 'y>(&self, weights: &'w [u8], y: &'y mut [f32], rows: usize) -> Vec<Task<'w, 'y>> {
        let tiles: usize = self.parts.iter().map(|part| part.rows.div_ceil(ROWS)).sum();
        let per_task = tiles.div_ceil(self.threads * TASKS_PER_THREAD).clamp(1, TASK_TILES_MAX);
        let (mut tasks, mut widths, mut weights) = (Vec::new(), Vec::new(), weights);
        for part in &self.parts {
            let (own, rest) = weights.split_at(part.bytes(self.columns));
            weights = rest;
            let mut left = part.rows;
            for tiles in own.chunks(per_task * part.format.tile_bytes(self.columns)) {
                let width = left.min(per_task * ROWS);
                left -= width;
                widths.push(width);
                tasks.push(Task { format: part.format, tiles, columns: Vec::with_capacity(y.len() / rows) });
            }
        }
        for mut row in y.chunks_exact_mut(rows) {
            for (task, &width) in tasks.iter_mut().zip(&widths) {
                let (own, rest) = row.split_at_mut(width);
                task.columns.push(own);
                row = rest;
            }
        }
        tasks
    }
}

/// Rows of a packed table by id: inputs `ids` `[tokens]` and packed weights `[bytes]`, output `[tokens, columns]`. Attributes: `columns`,
/// `parts` (one), `factor`.
#[derive(Debug)]
pub(super) struct Rows;

impl Operator for Rows {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        "Rows"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Int64), OperatorInput::required(TensorElementType::Uint8)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let columns =
            context.get::<i64>("columns").filter(|&n| n > 0).ok_or_else(|| fault("Rows: columns"))? as usize;
        let parts = context.get::<String>("parts").and_then(|text| Part::read(&text)).unwrap_or_default();
        let [part] = parts[..] else { return Err(fault("Rows: parts")) };
        if columns > DIMENSION_MAX || part.rows > DIMENSION_MAX {
            return Err(fault("Rows: too large"));
        }
        let mut row = Vec::new();
        Ok(Box::new(move |context: &ComputeContext| {
            let (ids, weights) = (input(context, 0)?, input(context, 1)?);
            let (_, ids) = ids.try_extract_tensor::<i64>()?;
            let (_, weights) = weights.try_extract_tensor::<u8>()?;
            if weights.len() != part.bytes(columns) {
                return Err(fault("Rows: the weights' size does not fit the attributes"));
            }
            let mut y = context
                .output(0, [ids.len() as i64, columns as i64])?
                .ok_or_else(|| fault("Rows: no output"))?;
            let y = floats(&mut y)?;
            let tile_bytes = part.format.tile_bytes(columns);
            for (&id, target) in ids.iter().zip(y.chunks_exact_mut(columns)) {
                let id = usize::try_from(id)
                    .ok()
                    .filter(|&id| id < part.rows)
                    .ok_or_else(|| fault("Rows: an id"))?;
                row.clear();
                unpack_row(
                    part.format,
                    &weights[id / ROWS * tile_bytes..][..tile_bytes],
                    id % ROWS,
                    &mut row,
                );
                target.copy_from_slice(&row);
            }
            Ok(())
        }))
    }
}
