//! The operator `PagedAttention`: rotary positions, causal grouped-query attention, and the key-value cache.
//!
//! A step's rows belong to any number of sequences ([`Span`]s). Keys and values of the rows are stored in their sequences'
//! pages first; then each row attends to its own sequence only, page by page with a running maximum (Milakov and Gimelshein
//! 2018, "Online normalizer calculation for softmax"; the order of Dao et al. 2022, FlashAttention). The order of additions
//! depends on a row's own position alone, so results do not depend on chunking or on neighbours.

mod rotary;
mod softmax;

use std::sync::{Arc, Mutex};

use half::slice::HalfFloatSliceExt;
use ort::operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::pages::{LayerPages, PAGE_TOKENS, PagePool, Plan, Shape, Span};
use super::{fault, floats, input};
use rotary::{Rotary, Tables};
use softmax::{Past, attend};

/// Tokens of one span that one task computes.
const TASK_TOKENS: usize = 16;

/// Attention of one layer. Inputs: `[tokens, (heads + 2 kv_heads) * head_size]` queries, keys and values; rotary frequencies
/// `[rotary / 2]`; optionally those for long sequences; optionally the weights `[head_size]` of norms on each query
/// and key head. Output `[tokens, heads * head_size]`. Attributes: `layer`, `heads`, `scale`, `window` (0 for none),
/// `epsilon`, `table` (layers with equal frequencies share one), `magnitude` and `long_magnitude` (factors of the rotary tables).
#[derive(Debug)]
pub(super) struct PagedAttention {
    pool: Arc<PagePool>,
    rotary: Arc<Rotary>,
}

impl PagedAttention {
    pub(super) fn new(pool: Arc<PagePool>) -> Self {
        Self { pool, rotary: Arc::default() }
    }
}

impl Operator for PagedAttention {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        "PagedAttention"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let (required, optional) = (
            || OperatorInput::required(TensorElementType::Float32),
            || OperatorInput::optional(TensorElementType::Float32),
        );
        [required(), required(), optional(), optional(), optional()]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let integer = |name| {
            let value = context.get::<i64>(name).and_then(|value| usize::try_from(value).ok());
            value.ok_or_else(|| fault("PagedAttention: an integer attribute"))
        };
        let float = |name| context.get::<f32>(name).ok_or_else(|| fault("PagedAttention: a float attribute"));
        let kernel = Kernel {
            layer: integer("layer")?,
            heads: integer("heads")?,
            window: integer("window")?,
            table: integer("table")?,
            scale: float("scale")?,
            epsilon: float("epsilon")?,
            magnitudes: [float("magnitude")?, float("long_magnitude")?],
            pool: Arc::clone(&self.pool),
            rotary: Arc::clone(&self.rotary),
        };
        let shape = kernel.pool.shape();
        if kernel.layer >= kernel.pool.layers()
            || !(1..=4096).contains(&kernel.heads)
            || !kernel.heads.is_multiple_of(shape.heads)
            || !shape.size.is_multiple_of(8)
        {
            return Err(fault("PagedAttention: the attributes do not fit the cache"));
        }
        Ok(Box::new(move |context: &ComputeContext| kernel.compute(context)))
    }
}

struct Kernel {
    layer: usize,
    heads: usize,
    window: usize,
    table: usize,
    scale: f32,
    epsilon: f32,
    magnitudes: [f32; 2],
    pool: Arc<PagePool>,
    rotary: Arc<Rotary>,
}

/// Weights of the norms on query and key heads.
#[derive(Clone, Copy)]
struct Norms<'a> {
    query: Option<&'a [f32]>,
    key: Option<&'a [f32]>,
    epsilon: f32,
}

/// A task: some tokens of a span, one key-value head.
struct Task<'s, 'y> {
    span: &'s Span,
    /// Tokens within the span.
    first: usize,
    head: usize,
    /// For each token the outputs of the query heads of the group, `[group * head_size]`.
    outputs: Vec<&'y mut [f32]>,
}

impl Kernel {
    fn compute(&self, context: &ComputeContext) -> ort::Result<()> {
        let shape = self.pool.shape();
        let x = input(context, 0)?;
        let (_, x) = x.try_extract_tensor::<f32>()?;
        let width = (self.heads + 2 * shape.heads) * shape.size;
        let tokens = x.len() / width;
        let plan = self.pool.current_plan();
        let mut pages = self.pool.layer(self.layer);
        self.check(&plan, &pages, x.len(), width)?;
        let optional = [2, 3, 4].map(|index| context.input(index));
        let [long, query, key] = optional;
        let (long, query, key) = (long?, query?, key?);
        let extract = |value: &Option<ort::value::ValueRef<'_>>| -> ort::Result<Option<Vec<f32>>> {
            value.as_ref().map(|value| Ok(value.try_extract_tensor::<f32>()?.1.to_vec())).transpose()
        };
        let (long, query, key) = (extract(&long)?, extract(&query)?, extract(&key)?);
        let frequencies = input(context, 1)?;
        let (_, frequencies) = frequencies.try_extract_tensor::<f32>()?;
        let all = [frequencies, long.as_deref().unwrap_or(frequencies)];
        let fits = |norm: &Option<Vec<f32>>| norm.as_ref().is_none_or(|norm| norm.len() == shape.size);
        if 2 * all[0].len() > shape.size || all[0].len() != all[1].len() || !fits(&query) || !fits(&key) {
            return Err(fault("PagedAttention: the inputs' sizes do not fit the attributes"));
        }
        let tables = self.rotary.tables(self.table, &plan, all, self.magnitudes);
        let norms = Norms { query: query.as_deref(), key: key.as_deref(), epsilon: self.epsilon };
        self.store(&plan, &mut pages, x, &tables, norms);
        let mut y = context
            .output(0, [tokens as i64, (self.heads * shape.size) as i64])?
            .ok_or_else(|| fault("PagedAttention: no output"))?;
        let tasks = self.tasks(&plan, floats(&mut y)?);
        let pages = &*pages;
        context.par_for(tasks.len(), tasks.len(), |index| {
            if let Ok(mut task) = tasks[index].lock() {
                self.run(&mut task, pages, x, &tables, norms);
            }
        })
    }

    /// Everything that indexing below relies on.
    fn check(&self, plan: &Plan, pages: &LayerPages, length: usize, width: usize) -> ort::Result<()> {
        let mut row = 0;
        for span in &plan.spans {
            let needed = (span.position + span.count).div_ceil(PAGE_TOKENS);
            let present = |&page: &u32| pages.get(page as usize).is_some_and(Option::is_some);
            if span.row != row || span.pages.len() < needed || !span.pages[..needed].iter().all(present) {
                return Err(fault("PagedAttention: the plan of the step is not consistent"));
            }
            row += span.count;
        }
        if row * width != length {
            return Err(fault("PagedAttention: the rows are not those of the plan"));
        }
        Ok(())
    }

    /// Stores the rows' keys and values in their pages.
    fn store(&self, plan: &Plan, pages: &mut LayerPages, x: &[f32], tables: &Tables, norms: Norms<'_>) {
        let shape = self.pool.shape();
        let Shape { heads, size } = shape;
        let width = (self.heads + 2 * heads) * size;
        let (mut key, mut halves) = (vec![0.0; size], vec![half::f16::ZERO; size]);
        for span in &plan.spans {
            for token in 0..span.count {
                let row = &x[(span.row + token) * width..][..width];
                let (keys, values) = row[self.heads * size..].split_at(heads * size);
                let position = span.position + token;
                let slot = position % PAGE_TOKENS;
                let Some(page) = &mut pages[span.pages[position / PAGE_TOKENS] as usize] else { continue };
                for head in 0..heads {
                    key.copy_from_slice(&keys[head * size..][..size]);
                    normalise(&mut key, norms.key, norms.epsilon);
                    tables.rotate(span.row + token, &mut key);
                    halves.convert_from_f32_slice(&key);
                    let places = page.keys_mut(shape, head).chunks_exact_mut(PAGE_TOKENS);
                    for (place, half) in places.zip(&halves) {
                        place[slot] = half.to_bits();
                    }
                    halves.convert_from_f32_slice(&values[head * size..][..size]);
                    let places = &mut page.values_mut(shape, head)[slot * size..][..size];
                    for (place, half) in places.iter_mut().zip(&halves) {
                        *place = half.to_bits();
                    }
                }
            }
        }
    }

    fn tasks<'s, 'y>(&self, plan: &'s Plan, y: &'y mut [f32]) -> Vec<Mutex<Task<'s, 'y>>> {
        let shape = self.pool.shape();
        let (group, row_size) = (self.heads / shape.heads * shape.size, self.heads * shape.size);
        let mut rows = y.chunks_exact_mut(row_size);
        let mut tasks = Vec::new();
        for span in &plan.spans {
            for first in (0..span.count).step_by(TASK_TOKENS) {
                let count = TASK_TOKENS.min(span.count - first);
                let task = |head| Task { span, first, head, outputs: Vec::with_capacity(count) };
                let mut heads: Vec<Task<'_, '_>> = (0..shape.heads).map(task).collect();
                for row in rows.by_ref().take(count) {
                    for (task, outputs) in heads.iter_mut().zip(row.chunks_exact_mut(group)) {
                        task.outputs.push(outputs);
                    }
                }
                tasks.extend(heads.into_iter().map(Mutex::new));
            }
        }
        tasks
    }

    fn run(&self, task: &mut Task<'_, '_>, pages: &LayerPages, x: &[f32], tables: &Tables, norms: Norms<'_>) {
        let shape = self.pool.shape();
        let (size, group) = (shape.size, self.heads / shape.heads);
        let width = (self.heads + 2 * shape.heads) * size;
        let mut queries = vec![0.0; task.outputs.len() * group * size];
        for (token, queries) in queries.chunks_exact_mut(group * size).enumerate() {
            let row = task.span.row + task.first + token;
            queries.copy_from_slice(&x[row * width + task.head * group * size..][..group * size]);
            for query in queries.chunks_exact_mut(size) {
                normalise(query, norms.query, norms.epsilon);
                tables.rotate(row, query);
                query.iter_mut().for_each(|q| *q *= self.scale);
            }
        }
        let first = task.span.position + task.first;
        let last = first + task.outputs.len();
        let oldest = if self.window == 0 { 0 } else { (first + 1).saturating_sub(self.window) };
        let past = (oldest / PAGE_TOKENS..last.div_ceil(PAGE_TOKENS)).filter_map(|index| {
            let page = pages[task.span.pages[index] as usize].as_ref()?;
            let (keys, values) = (page.keys(shape, task.head), page.values(shape, task.head));
            Some(Past { first: index * PAGE_TOKENS, keys, values })
        });
        let past: Vec<Past<'_>> = past.collect();
        attend(&queries, group, first, self.window, &past, &mut task.outputs);
    }
}

/// Root-mean-square norm of one head (Zhang and Sennrich 2019).
fn normalise(x: &mut [f32], weights: Option<&[f32]>, epsilon: f32) {
    let Some(weights) = weights else { return };
    let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    let factor = 1.0 / (mean + epsilon).sqrt();
    x.iter_mut().zip(weights).for_each(|(x, weight)| *x *= factor * weight);
}
