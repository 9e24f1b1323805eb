//! GGUF files of every family, converted to both kinds of operators, against what transformers computes with the same weights.
//!
//! Measured when the tolerances were set: largest differences of 1e-6 to 1e-5 with portable operators; 0.0002 to 0.009 with our
//! own, which keep keys and values in 16 bits; logits have a spread of 0.4 to 1.7. With weights of 8 bits, which
//! are not the reference's, 0.06 to 0.27.

use super::families::{family, largest_difference, reference};
use super::{backend, library};
use crate::artifact::{NoProgress, Store};
use crate::convert::Operators;

const FAMILIES: [&str; 14] = [
    "llama3",
    "smollm2",
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
    "falcon-40b",
];

fn check(name: &str, file: &str, operators: Operators, tolerance: f32) {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path());
    let model = store.convert(&family(name).join(file), name, operators, &NoProgress).expect("converts");
    let context = model.manifest.as_ref().expect("a manifest").context_tokens;
    if name == "phi3-long" && !model.manifest.as_ref().is_some_and(|manifest| manifest.own_operators) {
        assert_eq!(context, 16, "portable networks stay with the first set of frequencies");
        return;
    }
    let reference = reference(name);
    let mut backend = backend(&model.path);
    for chunk in [reference.prompt.len(), 7, 1] {
        let difference = largest_difference(&mut *backend, &reference, chunk);
        println!("{name} {operators:?}, prompt by {chunk}: {difference:.1e}");
        assert!(difference < tolerance, "{name} {operators:?} by {chunk}: {difference}");
    }
}

#[test]
fn portable_conversions_match_transformers() {
    library();
    FAMILIES.into_iter().for_each(|name| check(name, "model.gguf", Operators::Portable, 1e-4));
}

#[test]
fn paged_conversions_match_transformers() {
    library();
    FAMILIES.into_iter().for_each(|name| check(name, "model.gguf", Operators::Fastest, 0.02));
}

#[test]
fn quantised_conversions_are_near_transformers() {
    library();
    for name in ["phi3", "gemma3", "falcon"] {
        for operators in [Operators::Portable, Operators::Fastest] {
            check(name, "model-q8_0.gguf", operators, 0.5);
        }
    }
}
