//! What the worker needs of a loaded network.
//!
//! A seam for tests: the worker's behaviour (cancelling, stopping, surviving panics) is tested without a network.

use crate::error::Result;

/// One network and the state of one sequence in it.
pub(crate) trait Backend: Send {
    /// Number of logits.
    fn vocabulary(&self) -> usize;

    /// Starts a sequence that may grow to `capacity` tokens, keeping the state of the first `keep` tokens of the
    /// sequence before if it can. Returns how many were kept.
    fn begin(&mut self, capacity: usize, keep: usize) -> Result<usize>;

    /// Appends tokens (at least one) and fills `logits` `[vocabulary]` for what follows the last.
    fn step(&mut self, tokens: &[u32], logits: &mut Vec<f32>) -> Result<()>;
}
