//! Every family in every layout against what transformers computes with the same weights
//! (`fixtures/make_family_fixtures.py`).
//!
//! Measured when the tolerances were set: largest differences of 1e-6 to 1e-5 in 32 bits, 0.009 in 16, of logits with a spread of
//! 0.4 to 1.7.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{backend, fixture, load_onnx, run_pieces};
use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::onnx::NetworkConfig;

const TOLERANCE: f32 = 1e-4;
const TOLERANCE_HALF: f32 = 0.05;

/// Token ids that every family reads, and what its network answers.
pub(crate) struct Reference {
    pub(crate) prompt: Vec<u32>,
    pub(crate) decode: Vec<u32>,
    /// For each token.
    pub(crate) logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Index {
    vocabulary: usize,
    prompt: Vec<u32>,
    decode: Vec<u32>,
}

pub(crate) fn family(name: &str) -> PathBuf {
    fixture("families").join(name)
}

pub(crate) fn reference(name: &str) -> Reference {
    let index = std::fs::read(family("index.json")).expect("the index is committed");
    let index: Index = serde_json::from_slice(&index).expect("the index is JSON");
    let bytes = std::fs::read(family(name).join("logits.bin")).expect("the reference is committed");
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let logits: Vec<_> = values.chunks_exact(index.vocabulary).map(<[f32]>::to_vec).collect();
    assert_eq!(logits.len(), index.prompt.len() + index.decode.len());
    Reference { prompt: index.prompt, decode: index.decode, logits }
}

fn difference(expected: &[f32], actual: &[f32]) -> f32 {
    assert_eq!(expected.len(), actual.len());
    expected.iter().zip(actual).map(|(e, a)| (e - a).abs()).fold(0.0, f32::max)
}

/// The largest difference from the reference when the prompt is read in pieces of `chunk`, then token by token.
pub(crate) fn largest_difference(backend: &mut dyn Backend, reference: &Reference, chunk: usize) -> f32 {
    let pieces: Vec<&[u32]> = reference.prompt.chunks(chunk).chain(reference.decode.chunks(1)).collect();
    let mut done = 0;
    let differences = run_pieces(backend, &pieces).into_iter().zip(&pieces).map(|(logits, piece)| {
        done += piece.len();
        difference(&reference.logits[done - 1], &logits)
    });
    differences.fold(0.0, f32::max)
}

fn check(name: &str, directory: &Path, tolerance: f32) {
    let reference = reference(name);
    let mut backend = backend(directory);
    for chunk in [reference.prompt.len(), 7, 1] {
        let difference = largest_difference(&mut *backend, &reference, chunk);
        println!("{name}, {}, prompt by {chunk}: {difference:.1e}", directory.display());
        assert!(difference < tolerance, "{name} in {} by {chunk}: {difference}", directory.display());
    }
}

#[test]
fn the_hugging_face_layout_matches_transformers() {
    let exact = [
        "llama3",
        "qwen2",
        "qwen3",
        "phi3",
        "phi3-short",
        "phi3-long",
        "phi4-mini",
        "gemma3",
        "mistral",
        "granite",
        "smollm3",
        "falcon",
    ];
    for name in exact {
        check(name, &family(name).join("hf"), TOLERANCE);
    }
    check("smollm2", &family("smollm2").join("hf"), TOLERANCE_HALF);
}

#[test]
fn the_genai_layout_matches_transformers() {
    for name in ["llama3", "smollm2", "qwen2", "qwen3", "phi3", "mistral", "granite"] {
        check(name, &family(name).join("genai"), TOLERANCE);
    }
}

#[test]
fn long_rope_bounds_the_context() {
    let config = NetworkConfig::load(&family("phi3-long").join("hf")).expect("loads");
    assert_eq!((config.long_rope_from, config.context_tokens), (Some(16), 64));
    let limited = |has_positions| {
        let mut config = config.clone();
        config.limit_long_rope(has_positions);
        config.context_tokens
    };
    assert_eq!(limited(true), 48, "positions begin at 16 and end at 64");
    assert_eq!(limited(false), 16, "nothing tells the network which frequencies to use");
}

/// A directory of onnxruntime-genai's layout around a network that a torch export made, as for families that its builder cannot
/// make, or around one of its own with another cache.
fn genai_directory(name: &str, network: &Path, share: bool) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::copy(network, directory.path().join("decoder.onnx")).expect("copied");
    let config = serde_json::json!({
        "model": {
            "type": name, "vocab_size": 320, "context_length": 64, "eos_token_id": [2],
            "decoder": {
                "filename": "decoder.onnx", "head_size": 16, "num_hidden_layers": 2, "num_key_value_heads": 2,
                "inputs": {"past_key_names": "past_key_values.%d.key"},
            },
        },
        "search": {"past_present_share_buffer": share},
    });
    std::fs::write(directory.path().join("genai_config.json"), config.to_string()).expect("written");
    directory
}

#[test]
fn a_torch_export_in_the_genai_layout_matches_transformers() {
    for name in ["gemma3", "falcon"] {
        let directory = genai_directory(name, &family(name).join("hf/onnx/model.onnx"), false);
        check(name, directory.path(), TOLERANCE);
    }
}

#[test]
fn a_cache_of_genai_that_grows_matches_transformers() {
    let directory = genai_directory("smollm2", &family("smollm2").join("genai/model.onnx"), false);
    check("smollm2", directory.path(), TOLERANCE);
}

#[test]
fn sequences_do_not_disturb_each_other() {
    for name in ["phi3/hf", "phi3/genai", "smollm2/hf", "qwen3/hf"] {
        let mut backend = load_onnx(&family(name)).expect("loads");
        let reference = reference("phi3");
        let ids = [reference.prompt, reference.decode].concat();
        let alone = run_pieces(&mut backend, &ids.chunks(1).collect::<Vec<_>>());
        // Three of different lengths take turns; the second reads the same ids.
        let sequences = [8, ids.len(), 16].map(|capacity| {
            let (id, prompt) = (SequenceId(100 + capacity as u64), &ids[..capacity]);
            let opening = Opening { prompt, capacity, scope: None };
            assert_eq!(backend.open(id, &opening).expect("opens"), Opened::Ready { reused: 0 });
            id
        });
        let mut logits = Vec::new();
        for (turn, &id) in ids.iter().enumerate() {
            let tokens = [[id ^ 1], [id], [id ^ 2]];
            let mut chunks: Vec<Chunk<'_>> = sequences
                .iter()
                .zip(&tokens)
                .map(|(&sequence, tokens)| Chunk { sequence, tokens, outputs: 1 })
                .collect();
            // The third comes when the first has left.
            chunks.remove(if turn < 8 { 2 } else { 0 });
            let place = if turn < 8 { 1 } else { 0 };
            backend.step(&chunks, &mut logits).expect("computes");
            assert_eq!(logits.len(), 2 * reference.logits[0].len());
            let own = &logits[place * reference.logits[0].len()..][..reference.logits[0].len()];
            assert!(difference(&alone[turn], own) < 1e-6, "{name}, turn {turn}");
        }
        let (held, _) = backend.cache_bytes();
        sequences.into_iter().for_each(|id| backend.close(id, false));
        assert!(held > 0 && backend.cache_bytes().0 == 0);
    }
}
