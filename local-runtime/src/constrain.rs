//! Answers that must have a form: JSON, JSON of a schema, a regular expression, a grammar.
//!
//! A [`Grammar`] is compiled once, off the inference thread, into a [`Constraint`]; each answer then walks its own
//! copy and lets only those tokens be drawn that some valid answer begins with (llguidance, <https://docs.rs/llguidance>).
//!
//! Invariants: what ends with [`crate::FinishReason::Stop`] and no stop sequence is in the grammar's language; the
//! end-of-turn token can be drawn only where the grammar may stop; grammars come from outside, so their size, nesting,
//! compile time and memory have bounds, and what is not supported is refused instead of ignored. An answer
//! that ends for its length is a beginning of a valid answer and usually not valid itself.
//!
//! Left out: leap days and leap seconds, which the `date` and `time` formats allow everywhere; forcing tokens without asking the network where the grammar allows one text only; and finding out whether a
//! `Regex` or `Lark` grammar has any finite answer (for schemas it is found out).

mod environment;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::tokenizer::TextCodec;

/// Longest source of a grammar, in bytes.
pub const GRAMMAR_BYTES_MAX: usize = 128 * 1024;
/// Compiled grammars that are kept for the next request.
const CACHED: usize = 32;
/// The compiler recurses with nesting and with chains of references, whose length [`schema`] bounds.
const COMPILER_STACK_BYTES: usize = 256 << 20;
/// States of the lexical automaton, of 1 to 2 kB each: what one answer's memory may grow to.
const LEXER_STATES_MAX: usize = 20_000;
/// Longest explanation passed on from the engine, in characters.
const REASON_CHARACTERS_MAX: usize = 300;

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that is valid against a JSON Schema (draft 2020-12 where it does not say).
    JsonSchema(Json),
    /// A text that a regular expression matches from beginning to end, in the syntax of the `regex` crate without
    /// look-around, anchors and back-references.
    Regex(String),
    /// A text in a context-free language, in llguidance's variant of Lark, where `%json {...}` is a JSON schema.
    Lark(String),
}

/// A compiled [`Grammar`], for one model's vocabulary. Cheap to clone and to use again.
#[derive(Clone)]
pub struct Constraint {
    compiled: Arc<Compiled>,
}

struct Compiled {
    key: [u8; 32],
    codec: Arc<TextCodec>,
    /// As it is before the first token; answers walk deep copies, so that none leaves memory behind here.
    matcher: Mutex<Matcher>,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.compiled.key == other.compiled.key && Arc::ptr_eq(&self.compiled.codec, &other.compiled.codec)
    }
}

impl Constraint {
    /// Whether it was compiled for this vocabulary.
    pub(crate) fn is_for(&self, codec: &Arc<TextCodec>) -> bool {
        Arc::ptr_eq(&self.compiled.codec, codec)
    }

    /// Begins an answer.
    pub(crate) fn start(&self) -> Guide {
        let matcher = self.compiled.matcher.lock().unwrap_or_else(PoisonError::into_inner);
        Guide { matcher: matcher.deep_clone() }
    }
}

/// Where one answer stands in its grammar.
pub(crate) struct Guide {
    matcher: Matcher,
}

impl fmt::Debug for Guide {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guide").finish_non_exhaustive()
    }
}

impl Guide {
    /// Makes all logits impossible but those of tokens that may follow.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        let mask = self.matcher.compute_mask().map_err(|error| dead_end(&error.to_string()))?;
        let words = mask.as_slice();
        for (at, logits) in logits.chunks_mut(32).enumerate() {
            match words.get(at).copied().unwrap_or(0) {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the token that was drawn; true if nothing but the end may follow.
    pub(crate) fn advance(&mut self, id: u32) -> Result<bool> {
        self.matcher.consume_token(id).map_err(|error| dead_end(&error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }
}

/// The grammar turned out too complex, or without a way on.
fn dead_end(message: &str) -> Error {
    Error::InvalidConstraint { reason: format!("the answer cannot go on within it: {}", shortened(message)) }
}

/// Compiles grammars for one vocabulary, and remembers some.
pub(crate) struct GrammarCompiler {
    codec: Arc<TextCodec>,
    eos_ids: Vec<u32>,
    /// Made when first needed: it takes tens of megabytes and a fraction of a second.
    factory: OnceLock<Result<Arc<ParserFactory>, String>>,
    /// The most recently used first.
    cache: Mutex<VecDeque<Constraint>>,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    pub(crate) fn new(codec: Arc<TextCodec>, eos_ids: Vec<u32>) -> Self {
        Self { codec, eos_ids, factory: OnceLock::new(), cache: Mutex::default() }
    }

    /// Compiles a grammar, or refuses it. Blocks for milliseconds, the first time for longer.
    pub(crate) fn compile(&self, grammar: &Grammar) -> Result<Constraint> {
        check(grammar)?;
        let key = key(grammar);
        if let Some(found) = self.cached(&key) {
            return Ok(found);
        }
        let matcher = self.matcher_on_own_stack(grammar)?;
        let codec = Arc::clone(&self.codec);
        let constraint =
            Constraint { compiled: Arc::new(Compiled { key, codec, matcher: Mutex::new(matcher) }) };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.push_front(constraint.clone());
        cache.truncate(CACHED);
        Ok(constraint)
    }

    fn cached(&self, key: &[u8; 32]) -> Option<Constraint> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let at = cache.iter().position(|constraint| constraint.compiled.key == *key)?;
        let found = cache.remove(at)?;
        cache.push_front(found.clone());
        Some(found)
    }

    fn matcher_on_own_stack(&self, grammar: &Grammar) -> Result<Matcher> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("grammar".to_owned())
                .stack_size(COMPILER_STACK_BYTES)
                .spawn_scoped(scope, || self.matcher(grammar))
                .map_err(Error::io("start a thread for", "a grammar"))?;
            thread.join().unwrap_or_else(|_| Err(refused("the grammar's compiler failed on it")))
        })
    }

    fn matcher(&self, grammar: &Grammar) -> Result<Matcher> {
        let factory = self.factory.get_or_init(|| self.factory());
        let factory = factory.as_ref().map_err(|reason| refused(reason))?;
        let parser = factory.create_parser(top_level(grammar));
        let mut matcher = Matcher::new(Ok(parser.map_err(|error| refused(&shortened(&error.to_string())))?));
        // A language without a first token has no text at all.
        if matcher.compute_mask().is_err() {
            return Err(refused("no answer can satisfy it"));
        }
        Ok(matcher)
    }

    fn factory(&self) -> Result<Arc<ParserFactory>, String> {
        let environment = environment::environment(&self.codec, &self.eos_ids)
            .ok_or("the model has no end-of-turn token, so its answers cannot be constrained")?;
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| error.to_string())?;
        factory.quiet();
        *factory.limits_mut() =
            ParserLimits { max_lexer_states: LEXER_STATES_MAX, verbose_errors: false, ..Default::default() };
        Ok(Arc::new(factory))
    }
}

fn refused(reason: &str) -> Error {
    Error::InvalidConstraint { reason: reason.to_owned() }
}

/// The first line of an engine's message; the others are its state.
fn shortened(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.starts_with("panic") {
        return "the grammar's compiler failed on it".to_owned();
    }
    line.chars().take(REASON_CHARACTERS_MAX).collect()
}

fn check(grammar: &Grammar) -> Result<()> {
    match grammar {
        Grammar::JsonObject => Ok(()),
        Grammar::JsonSchema(schema) => schema::check(schema),
        Grammar::Regex(source) | Grammar::Lark(source) => {
            if source.len() > GRAMMAR_BYTES_MAX {
                return Err(refused(&format!("it is longer than {GRAMMAR_BYTES_MAX} bytes")));
            }
            if let Grammar::Lark(source) = grammar { schema::check_embedded(source) } else { Ok(()) }
        }
    }
}

fn key(grammar: &Grammar) -> [u8; 32] {
    let mut hash = Sha256::new();
    match grammar {
        Grammar::JsonObject => hash.update(b"object"),
        Grammar::JsonSchema(schema) => {
            hash.update(b"schema:");
            hash.update(schema.to_string());
        }
        Grammar::Regex(source) => {
            hash.update(b"regex:");
            hash.update(source);
        }
        Grammar::Lark(source) => {
            hash.update(b"lark:");
            hash.update(source);
        }
    }
    hash.finalize().into()
}

fn top_level(grammar: &Grammar) -> TopLevelGrammar {
    match grammar {
        Grammar::JsonObject => TopLevelGrammar::from_json_schema(schema::prepared(&Json::Null)),
        Grammar::JsonSchema(json) => TopLevelGrammar::from_json_schema(schema::prepared(json)),
        Grammar::Regex(source) => TopLevelGrammar::from_regex(source),
        Grammar::Lark(source) => TopLevelGrammar::from_lark(source.clone()),
    }
}
