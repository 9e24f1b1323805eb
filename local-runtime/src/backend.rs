//! What the scheduler needs of a loaded network.
//!
//! A seam: networks of our own conversion keep caches in pages and compute many sequences in one run ([`crate::paged`]); networks
//! that come as ONNX keep a cache for each sequence ([`crate::onnx`]); tests of the scheduler need no network at all.

use std::sync::Arc;

use crate::error::Result;

/// Names a sequence for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// What a sequence is going to need.
#[derive(Debug, Clone)]
pub(crate) struct Opening<'a> {
    /// The prompt, of which a part may be known from before.
    pub(crate) prompt: &'a [u32],
    /// The most tokens that the sequence grows to.
    pub(crate) capacity: usize,
    /// Whose computed prefixes may be used, and who may use this one's; `None` for nobody.
    pub(crate) scope: Option<Arc<str>>,
}

/// Whether a sequence could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Yes; that many of the prompt's first tokens need no computing. At least the last one does.
    Ready { reused: usize },
    /// Not while the sequences that are open stay so.
    NoRoom,
}

/// Tokens that a step appends to one sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) sequence: SequenceId,
    /// At least one.
    pub(crate) tokens: &'a [u32],
    /// How many of the last of them are followed by logits.
    pub(crate) outputs: usize,
}

/// One network and the state of many sequences in it.
pub(crate) trait Backend: Send {
    /// Number of logits.
    fn vocabulary(&self) -> usize;

    /// Starts a sequence.
    ///
    /// # Errors
    /// [`crate::Error::ContextExceeded`] if it could not be opened in an empty backend either.
    fn open(&mut self, sequence: SequenceId, opening: &Opening<'_>) -> Result<Opened>;

    /// Appends tokens to sequences, each at most once, and fills `logits` `[outputs, vocabulary]`, in the chunks' order. After
    /// an error the state of these sequences is unknown.
    fn step(&mut self, chunks: &[Chunk<'_>], logits: &mut Vec<f32>) -> Result<()>;

    /// Whether [`Backend::truncate`] works. Tokens may only be guessed where it does.
    fn can_truncate(&self) -> bool;

    /// Forgets the tokens of a sequence from `length` on.
    fn truncate(&mut self, sequence: SequenceId, length: usize);

    /// The longest sequence that the cache has room for, in tokens.
    fn tokens_max(&self) -> usize;

    /// Ends a sequence. What it computed may be kept for its scope, unless it is in doubt.
    fn close(&mut self, sequence: SequenceId, in_doubt: bool);

    /// Memory of the cache, held and at most, in bytes.
    fn cache_bytes(&self) -> (usize, usize);
}
