//! Keys and values of past tokens, in pages that sequences own or share.
//!
//! A page holds 32 tokens of one sequence for all layers (Kwon et al. 2023, "Efficient Memory Management for Large Language
//! Model Serving with PagedAttention"). Pages are counted: a prefix that several sequences begin with is computed
//! and stored once. Numbers are kept in half precision. Keys lie transposed, `[head, size, token]`, because scores are computed for
//! a page's 32 tokens at once; values lie `[head, token, size]`.
//!
//! Memory is taken when a page is first used and given back when the last sequence that holds it lets go, except for
//! a few spare pages.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// Tokens in a page.
pub(crate) const PAGE_TOKENS: usize = 32;
/// Free pages whose memory is kept for the next sequence.
const SPARE_PAGES: usize = 16;

/// A page's number.
pub(crate) type PageId = u32;

/// What a layer stores for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Key-value heads.
    pub(crate) heads: usize,
    /// Numbers in a head's key, and in its value.
    pub(crate) size: usize,
}

impl Shape {
    /// Numbers in a page's keys, and in its values.
    fn half(self) -> usize {
        self.heads * self.size * PAGE_TOKENS
    }
}

/// One layer's part of a page: keys, then values.
#[derive(Debug)]
pub(super) struct LayerPage(Box<[u16]>);

impl LayerPage {
    /// A head's keys, `[size, 32]`.
    pub(super) fn keys(&self, shape: Shape, head: usize) -> &[u16] {
        let length = shape.size * PAGE_TOKENS;
        &self.0[head * length..][..length]
    }

    /// A head's values, `[32, size]`.
    pub(super) fn values(&self, shape: Shape, head: usize) -> &[u16] {
        let length = shape.size * PAGE_TOKENS;
        &self.0[shape.half() + head * length..][..length]
    }

    pub(super) fn keys_mut(&mut self, shape: Shape, head: usize) -> &mut [u16] {
        let length = shape.size * PAGE_TOKENS;
        &mut self.0[head * length..][..length]
    }

    pub(super) fn values_mut(&mut self, shape: Shape, head: usize) -> &mut [u16] {
        let length = shape.size * PAGE_TOKENS;
        &mut self.0[shape.half() + head * length..][..length]
    }
}

/// One layer's pages by number; numbers without memory are `None`.
pub(super) type LayerPages = Vec<Option<LayerPage>>;

/// The part of a step that belongs to one sequence: consecutive rows of the step's tensors.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// First row.
    pub(crate) row: usize,
    /// Number of rows.
    pub(crate) count: usize,
    /// Tokens of the sequence before them.
    pub(crate) position: usize,
    /// Whether positions beyond the length that the network was trained on are to be expected.
    pub(crate) long: bool,
    /// Pages of the sequence in order, enough for the rows.
    pub(crate) pages: Vec<PageId>,
}

/// What one step computes; set before the network runs, read by every attention operator.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) spans: Vec<Span>,
    /// Tells steps apart, for what operators keep from layer to layer.
    pub(super) number: u64,
}

/// The pages of one network, shared by its attention operators.
#[derive(Debug)]
pub(crate) struct PagePool {
    shape: Shape,
    layers: Vec<Mutex<LayerPages>>,
    plan: RwLock<Plan>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Sequences and cached prefixes that hold each page.
    held: Vec<u32>,
    free: Vec<PageId>,
    /// Free pages that still have memory.
    spare: Vec<PageId>,
}

impl PagePool {
    pub(crate) fn new(shape: Shape, layers: usize) -> Self {
        Self {
            shape,
            layers: (0..layers).map(|_| Mutex::default()).collect(),
            plan: RwLock::default(),
            counts: Mutex::default(),
        }
    }

    /// Bytes of one page, all layers together.
    pub(crate) fn page_bytes(&self) -> usize {
        2 * self.shape.half() * size_of::<u16>() * self.layers.len()
    }

    /// Pages that take memory.
    pub(crate) fn pages_with_memory(&self) -> usize {
        let counts = self.counts();
        counts.held.len() - counts.free.len()
    }

    /// Pages that are held, each counted once.
    pub(crate) fn pages_held(&self) -> usize {
        let counts = self.counts();
        counts.held.len() - counts.free.len() - counts.spare.len()
    }

    /// Whether letting go of a page once would free it.
    pub(crate) fn is_held_once(&self, page: PageId) -> bool {
        self.counts().held[page as usize] == 1
    }

    /// A fresh page, held once.
    pub(crate) fn take(&self) -> PageId {
        let mut counts = self.counts();
        if let Some(page) = counts.spare.pop() {
            counts.held[page as usize] = 1;
            return page;
        }
        let page = counts.free.pop().unwrap_or_else(|| {
            counts.held.push(0);
            (counts.held.len() - 1) as PageId
        });
        counts.held[page as usize] = 1;
        drop(counts);
        for layer in 0..self.layers.len() {
            let mut pages = self.layer(layer);
            if pages.len() <= page as usize {
                pages.resize_with(page as usize + 1, || None);
            }
            pages[page as usize] = Some(LayerPage(vec![0; 2 * self.shape.half()].into()));
        }
        page
    }

    /// Holds a page once more.
    pub(crate) fn hold(&self, page: PageId) {
        self.counts().held[page as usize] += 1;
    }

    /// Lets go of a page.
    pub(crate) fn release(&self, page: PageId) {
        let mut counts = self.counts();
        let held = &mut counts.held[page as usize];
        *held -= 1;
        if *held > 0 {
            return;
        }
        if counts.spare.len() < SPARE_PAGES {
            counts.spare.push(page);
            return;
        }
        counts.free.push(page);
        drop(counts);
        for layer in 0..self.layers.len() {
            self.layer(layer)[page as usize] = None;
        }
    }

    /// Says what the next step computes.
    pub(crate) fn plan(&self, spans: Vec<Span>) {
        let mut plan = self.plan.write().unwrap_or_else(PoisonError::into_inner);
        plan.spans = spans;
        plan.number += 1;
    }

    pub(super) fn current_plan(&self) -> RwLockReadGuard<'_, Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn layer(&self, layer: usize) -> MutexGuard<'_, LayerPages> {
        // Pages are plain numbers, so a panic elsewhere leaves them usable.
        self.layers[layer].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_shared_and_come_back() {
        let pool = PagePool::new(Shape { heads: 2, size: 8 }, 3);
        assert_eq!(pool.page_bytes(), 2 * 2 * 8 * 32 * 2 * 3);
        let (a, b) = (pool.take(), pool.take());
        assert_ne!(a, b);
        pool.hold(a);
        pool.release(a);
        assert_eq!(pool.pages_held(), 2);
        pool.release(a);
        pool.release(b);
        assert_eq!(pool.pages_held(), 0);
        let again = [pool.take(), pool.take()];
        assert!(again.contains(&a) && again.contains(&b), "freed pages are used first");
    }

    #[test]
    fn memory_beyond_the_spare_pages_is_given_back() {
        let pool = PagePool::new(Shape { heads: 1, size: 8 }, 1);
        let pages: Vec<PageId> = (0..SPARE_PAGES + 5).map(|_| pool.take()).collect();
        for page in pages {
            pool.release(page);
        }
        assert_eq!(pool.layer(0).iter().flatten().count(), SPARE_PAGES);
    }
}
