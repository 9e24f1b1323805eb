//! Prefixes that were computed before: system prompts, and conversations that come back one turn longer.
//!
//! A tree for each scope; an edge is one page of tokens, compared token by token, never by a hash alone. Scopes do not see each
//! other's prefixes, and no answer depends on what is remembered. Memory is shared: where it is short, a busy tenant's prefixes push
//! out another's, who can notice that from its own time to first token. Pages are let go least recently used first, from the leaves.

use std::collections::HashMap;
use std::sync::Arc;

use crate::operators::pages::{PAGE_TOKENS, PageId, PagePool};

/// Where an edge begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum From {
    Root(Arc<str>),
    Node(u64),
}

/// The tokens of a page.
type Tokens = [u32; PAGE_TOKENS];

#[derive(Debug)]
struct Node {
    id: u64,
    page: PageId,
    children: usize,
    last_used: u64,
}

/// Remembered prefixes of one network.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    nodes: HashMap<(From, Tokens), Node>,
    ids: u64,
    clock: u64,
}

impl Prefixes {
    /// Pages that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The pages of the longest remembered prefix of `tokens`, held once more for the caller.
    pub(super) fn find(&mut self, scope: &Arc<str>, tokens: &[u32], pool: &PagePool) -> Vec<PageId> {
        self.clock += 1;
        let (mut from, mut pages) = (From::Root(Arc::clone(scope)), Vec::new());
        for tokens in tokens.as_chunks::<PAGE_TOKENS>().0 {
            let Some(node) = self.nodes.get_mut(&(from, *tokens)) else { break };
            node.last_used = self.clock;
            pool.hold(node.page);
            pages.push(node.page);
            from = From::Node(node.id);
        }
        pages
    }

    /// Remembers the whole pages of a sequence.
    pub(super) fn keep(&mut self, scope: &Arc<str>, tokens: &[u32], pages: &[PageId], pool: &PagePool) {
        self.clock += 1;
        let mut from = From::Root(Arc::clone(scope));
        let mut parent: Option<(From, Tokens)> = None;
        for (tokens, &page) in tokens.as_chunks::<PAGE_TOKENS>().0.iter().zip(pages) {
            let key = (from, *tokens);
            if let Some(node) = self.nodes.get_mut(&key) {
                node.last_used = self.clock;
                from = From::Node(node.id);
            } else {
                self.ids += 1;
                pool.hold(page);
                let node = Node { id: self.ids, page, children: 0, last_used: self.clock };
                self.nodes.insert(key.clone(), node);
                if let Some(parent) = parent.and_then(|key| self.nodes.get_mut(&key)) {
                    parent.children += 1;
                }
                from = From::Node(self.ids);
            }
            parent = Some(key);
        }
    }

    /// Lets go of the leaf that was not used for longest. Returns whether there was one.
    pub(super) fn evict(&mut self, pool: &PagePool) -> bool {
        // Pages that a sequence still has would free nothing.
        let is_loose = |node: &Node| node.children == 0 && pool.is_held_once(node.page);
        let leaves = self.nodes.iter().filter(|(_, node)| is_loose(node));
        let Some((key, _)) = leaves.min_by_key(|(_, node)| node.last_used) else { return false };
        let key = key.clone();
        if let Some(node) = self.nodes.remove(&key) {
            pool.release(node.page);
        }
        if let From::Node(id) = key.0
            && let Some(parent) = self.nodes.values_mut().find(|node| node.id == id)
        {
            parent.children -= 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::pages::Shape;

    fn pool() -> PagePool {
        PagePool::new(Shape { heads: 1, size: 8 }, 1)
    }

    /// Computes a sequence that nobody knows yet, and closes it.
    fn keep(prefixes: &mut Prefixes, pool: &PagePool, scope: &Arc<str>, tokens: &[u32]) {
        let pages: Vec<PageId> = (0..tokens.len().div_ceil(PAGE_TOKENS)).map(|_| pool.take()).collect();
        prefixes.keep(scope, tokens, &pages, pool);
        pages.into_iter().for_each(|page| pool.release(page));
    }

    #[test]
    fn only_whole_equal_pages_of_the_same_scope_are_found() {
        let (pool, mut prefixes) = (pool(), Prefixes::default());
        let (ours, theirs): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let tokens: Vec<u32> = (0..100).collect();
        keep(&mut prefixes, &pool, &ours, &tokens);
        assert_eq!(prefixes.find(&ours, &tokens, &pool).len(), 3);
        assert_eq!(prefixes.find(&ours, &tokens[..70], &pool).len(), 2);
        assert!(prefixes.find(&theirs, &tokens, &pool).is_empty());
        let mut other = tokens.clone();
        other[40] = 7;
        assert_eq!(prefixes.find(&ours, &other, &pool).len(), 1);
        other[0] = 7;
        assert!(prefixes.find(&ours, &other, &pool).is_empty());
    }

    #[test]
    fn the_oldest_leaf_goes_first_and_pages_come_back() {
        let (pool, mut prefixes) = (pool(), Prefixes::default());
        let scope: Arc<str> = "a".into();
        let long: Vec<u32> = (0..96).collect();
        let branch: Vec<u32> = (0..32).chain(200..232).collect();
        keep(&mut prefixes, &pool, &scope, &long);
        keep(&mut prefixes, &pool, &scope, &branch);
        assert_eq!((prefixes.len(), pool.pages_held()), (4, 4));
        assert!(prefixes.evict(&pool));
        assert_eq!(prefixes.find(&scope, &long, &pool).len(), 2, "the long one's end was the oldest leaf");
        while prefixes.evict(&pool) {}
        assert_eq!((prefixes.len(), pool.pages_held()), (2, 2), "what a caller holds stays remembered");
    }
}
