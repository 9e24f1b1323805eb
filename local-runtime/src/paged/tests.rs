//! Sequences that are computed together give what each gives alone, bit for bit.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::PagedBackend;
use crate::artifact::{ModelDir, NoProgress, PipFetcher, Store};
use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::config::RuntimeConfig;
use crate::convert::Operators;
use crate::onnx::NetworkConfig;

/// The fixture converted for our operators, once.
fn model() -> &'static Path {
    static MODEL: OnceLock<(tempfile::TempDir, ModelDir)> = OnceLock::new();
    let convert = || {
        let directory = tempfile::tempdir().expect("a directory");
        let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-qwen2.gguf");
        let store = Store::open(directory.path());
        let model = store.convert(&gguf, "tiny", Operators::Fastest, &NoProgress).expect("converts");
        (directory, model)
    };
    &MODEL.get_or_init(convert).1.path
}

fn backend(cache_mib: u32) -> PagedBackend {
    let store = Store::open(Store::default_root());
    let library =
        store.ensure_onnx_runtime(None, &PipFetcher::default(), &NoProgress, false).expect("ONNX Runtime");
    let config = RuntimeConfig { threads: Some(2), cache_mib, ..RuntimeConfig::new(model()) };
    let genai = NetworkConfig::load(model()).expect("the description is sound");
    PagedBackend::load(&library, &config, &genai).expect("the model loads")
}

fn open(backend: &mut PagedBackend, id: u64, prompt: &[u32], scope: Option<&str>) -> usize {
    let opening = Opening { prompt, capacity: prompt.len(), scope: scope.map(Into::into) };
    match backend.open(SequenceId(id), &opening).expect("opens") {
        Opened::Ready { reused } => reused,
        Opened::NoRoom => panic!("there is room"),
    }
}

/// Logits after the last token of one sequence that is computed alone and at once.
fn alone(backend: &mut PagedBackend, tokens: &[u32]) -> Vec<f32> {
    open(backend, 0, tokens, None);
    let mut logits = Vec::new();
    backend.step(&[Chunk { sequence: SequenceId(0), tokens, outputs: 1 }], &mut logits).expect("a step");
    backend.close(SequenceId(0), false);
    logits
}

/// What of the tokens of some sequences was computed in one step: (sequence, count).
type Turn = Vec<(usize, usize)>;

fn sequences() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0_u32..300, 1..90), 1..6)
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec(prop::collection::vec((0_usize..6, 1_usize..40), 1..6), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_gives_what_each_sequence_gives_alone(sequences in sequences(), turns in turns()) {
        let mut backend = backend(64);
        let expected: Vec<Vec<f32>> = sequences.iter().map(|tokens| alone(&mut backend, tokens)).collect();
        for (id, tokens) in sequences.iter().enumerate() {
            open(&mut backend, id as u64, tokens, None);
        }
        let mut done = vec![0; sequences.len()];
        let mut found = vec![Vec::new(); sequences.len()];
        // Afterwards, whatever is left in one step.
        let rest: Turn = (0..sequences.len()).map(|index| (index, usize::MAX)).collect();
        for turn in turns.into_iter().chain([rest]) {
            let mut parts: Vec<(usize, usize, usize)> = Vec::new();
            for (index, count) in turn {
                let left = sequences.get(index).map_or(0, |tokens| tokens.len() - done[index]);
                if left > 0 && parts.iter().all(|part| part.0 != index) {
                    parts.push((index, done[index], done[index] + count.min(left)));
                }
            }
            let chunks: Vec<Chunk<'_>> = parts
                .iter()
                .map(|&(index, from, to)| Chunk {
                    sequence: SequenceId(index as u64),
                    tokens: &sequences[index][from..to],
                    outputs: usize::from(to == sequences[index].len()),
                })
                .collect();
            if chunks.is_empty() {
                continue;
            }
            let mut logits = Vec::new();
            backend.step(&chunks, &mut logits).expect("a step");
            let mut rows = logits.chunks_exact(backend.vocabulary());
            for &(index, _, to) in &parts {
                done[index] = to;
                if to == sequences[index].len() {
                    found[index] = rows.next().expect("logits").to_vec();
                    backend.close(SequenceId(index as u64), false);
                }
            }
        }
        prop_assert!(expected == found, "the logits differ");
    }
}

#[test]
fn a_remembered_prefix_changes_nothing_and_stays_with_its_scope() {
    let mut backend = backend(64);
    let prompt: Vec<u32> = (0..100).map(|i| i * 7 % 300).collect();
    let expected = alone(&mut backend, &prompt);
    for (scope, reused) in [(Some("a"), 0), (Some("b"), 0), (Some("a"), 96), (None, 0)] {
        assert_eq!(open(&mut backend, 1, &prompt, scope), reused, "{scope:?}");
        let chunk = Chunk { sequence: SequenceId(1), tokens: &prompt[reused..], outputs: 1 };
        let mut logits = Vec::new();
        backend.step(&[chunk], &mut logits).expect("a step");
        assert!(logits == expected, "{scope:?}");
        backend.close(SequenceId(1), false);
    }
    // A sequence whose state is in doubt is not remembered.
    open(&mut backend, 2, &[9; 64], Some("a"));
    let chunk = Chunk { sequence: SequenceId(2), tokens: &[9; 64], outputs: 0 };
    backend.step(&[chunk], &mut Vec::new()).expect("a step");
    backend.close(SequenceId(2), true);
    assert_eq!(open(&mut backend, 3, &[9; 64], Some("a")), 0);
}

#[test]
fn forgetting_tokens_is_as_if_they_never_came() {
    let mut backend = backend(64);
    let prompt: Vec<u32> = (0..40).collect();
    let expected = alone(&mut backend, &prompt);
    open(&mut backend, 1, &[0; 80], None);
    let mut logits = Vec::new();
    let tokens = [&prompt[..37], &[250; 30]].concat();
    backend
        .step(&[Chunk { sequence: SequenceId(1), tokens: &tokens, outputs: 3 }], &mut logits)
        .expect("a step");
    assert_eq!(logits.len(), 3 * backend.vocabulary());
    backend.truncate(SequenceId(1), 37);
    let chunk = Chunk { sequence: SequenceId(1), tokens: &prompt[37..], outputs: 1 };
    backend.step(&[chunk], &mut logits).expect("a step");
    assert!(logits == expected);
}

#[test]
fn memory_is_a_bound_and_prefixes_make_room() {
    let mut backend = backend(16);
    let (_, most) = backend.cache_bytes();
    assert!(most <= 16 << 20);
    let tokens_max = backend.pages_max * super::PAGE_TOKENS;
    assert!(tokens_max < 4_000_000);
    let half = (tokens_max / 2).min(backend.context_tokens);
    let opening = |capacity| Opening { prompt: &[1, 2, 3], capacity, scope: Some("a".into()) };
    let mut opened = 0;
    while backend.open(SequenceId(opened), &opening(half)).expect("fits an empty cache") != Opened::NoRoom {
        opened += 1;
    }
    assert_eq!(opened as usize, backend.pages_max / half.div_ceil(super::PAGE_TOKENS));
    backend.close(SequenceId(0), false);
    assert_eq!(backend.open(SequenceId(99), &opening(half)).expect("fits"), Opened::Ready { reused: 0 });
    let beyond = backend.context_tokens + 1;
    assert!(matches!(
        backend.open(SequenceId(100), &opening(beyond)),
        Err(crate::Error::ContextExceeded { .. })
    ));
}

/// A copy of the model with one file changed.
fn damaged(file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(model()).expect("readable") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("copied");
    }
    let path = directory.path().join(file);
    let bytes = std::fs::read(&path).expect("readable");
    std::fs::write(&path, change(bytes)).expect("written");
    directory
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn damaged_models_are_refused_when_they_are_loaded() {
    backend(64);
    let store = Store::open(Store::default_root());
    let library = store.find_onnx_runtime(None).expect("it is there");
    let config = |from: &'static str, to: &'static str| {
        damaged("genai_config.json", move |bytes| replaced(&bytes, from, to))
    };
    let cases = [
        ("truncated weights", damaged("model.onnx.data", |bytes| bytes[..bytes.len() / 2].to_vec())),
        ("no weights", damaged("model.onnx.data", |_| Vec::new())),
        ("truncated graph", damaged("model.onnx", |bytes| bytes[..bytes.len() / 2].to_vec())),
        ("a graph of zeros", damaged("model.onnx", |bytes| vec![0; bytes.len()])),
        ("too few key-value heads", config("\"num_key_value_heads\":2", "\"num_key_value_heads\":1")),
        ("too many key-value heads", config("\"num_key_value_heads\":2", "\"num_key_value_heads\":4")),
        ("heads of another size", config("\"head_size\":", "\"head_size\":1")),
        ("too few layers", config("\"num_hidden_layers\":2", "\"num_hidden_layers\":1")),
        ("a smaller vocabulary", config("\"vocab_size\":320", "\"vocab_size\":319")),
    ];
    for (what, directory) in cases {
        let config = RuntimeConfig { threads: Some(2), ..RuntimeConfig::new(directory.path()) };
        match crate::Runtime::load(&library, config) {
            Err(crate::Error::CorruptModel { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}
