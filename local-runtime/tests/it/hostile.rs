//! Files that are malformed on purpose or by accident are refused with a reason, and never crash the process.

use std::path::{Path, PathBuf};

use local_runtime::{Error, NoProgress, Operators, Runtime, RuntimeConfig, Store};

fn fixture(family: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/tiny-{family}.gguf"));
    std::fs::read(path).expect("the fixture is committed")
}

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn convert(&self, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.directory.path().join("input.gguf");
        std::fs::write(&path, bytes).expect("written");
        Store::open(self.directory.path())
            .convert(&path, "input", Operators::Fastest, &NoProgress)
            .map(|model| model.path)
    }

    fn refuse(&self, bytes: &[u8]) -> String {
        match self.convert(bytes) {
            Err(error @ (Error::Gguf { .. } | Error::Unsupported { .. })) => error.to_string(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was converted"),
        }
    }
}

/// Replaces the first occurrence of some bytes by others of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is in there");
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to);
    out
}

/// Sets the bytes that follow the first occurrence of a key.
fn patched(bytes: &[u8], key: &str, skip: usize, with: &[u8]) -> Vec<u8> {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).expect("it is in there")
        + key.len()
        + skip;
    let mut out = bytes.to_vec();
    out[at..at + with.len()].copy_from_slice(with);
    out
}

#[test]
fn every_truncation_is_refused() {
    let (bench, whole) = (Bench::new(), fixture("llama"));
    let every = (0..400).chain((400..whole.len()).step_by(997)).chain([whole.len() - 1]);
    for length in every {
        bench.refuse(&whole[..length]);
    }
    bench.convert(&whole).expect("the whole file is fine");
}

#[test]
fn flipped_bytes_never_crash() {
    let (bench, whole) = (Bench::new(), fixture("llama"));
    // The header and a sample of metadata and tensor descriptions, each byte set to its complement.
    for at in (0..600).step_by(7).chain((600..12_000).step_by(131)) {
        let mut bytes = whole.clone();
        bytes[at] = !bytes[at];
        // Some flips only change a name or a number and convert; none may panic or allocate without bound.
        let _ = bench.convert(&bytes);
    }
}

#[test]
fn absurd_lengths_are_refused_before_anything_is_allocated() {
    let (bench, whole) = (Bench::new(), fixture("llama"));
    let huge = u64::MAX.to_le_bytes();
    let mut tensors = whole.clone();
    tensors[8..16].copy_from_slice(&huge);
    bench.refuse(&tensors);
    let mut values = whole.clone();
    values[16..24].copy_from_slice(&huge);
    bench.refuse(&values);
    let mut key = whole.clone();
    key[24..32].copy_from_slice(&huge);
    bench.refuse(&key);
    // After the key: type (4), element type (4), count (8).
    bench.refuse(&patched(&whole, "tokenizer.ggml.tokens", 8, &huge));
    bench.refuse(&patched(&whole, "tokenizer.ggml.tokens", 8, &(1_u64 << 40).to_le_bytes()));
    // After the name: dimension count (4), dimensions.
    bench.refuse(&patched(&whole, "token_embd.weight", 4, &huge));
    bench.refuse(&patched(&whole, "token_embd.weight", 4, &0_u64.to_le_bytes()));
    // After the name: count (4), two dimensions (16), type (4), offset.
    bench.refuse(&patched(&whole, "token_embd.weight", 24, &(u64::MAX - 64).to_le_bytes()));
    for key in ["block_count", "attention.head_count_kv", "embedding_length", "feed_forward_length"] {
        // After the key: type (4), a 32-bit number.
        bench.refuse(&patched(&whole, &format!("llama.{key}"), 4, &u32::MAX.to_le_bytes()));
        bench.refuse(&patched(&whole, &format!("llama.{key}"), 4, &0_u32.to_le_bytes()));
    }
}

#[test]
fn what_is_not_known_is_named() {
    let (bench, whole) = (Bench::new(), fixture("llama"));
    assert!(bench.refuse(b"not a model at all, but long enough").contains("does not begin with"));
    let version = [&whole[..4], &[9, 0, 0, 0], &whole[8..]].concat();
    assert!(bench.refuse(&version).contains("version is 9"));
    // Value: type (4), length (8), text.
    let other = patched(&whole, "general.architecture", 12, b"mamba");
    assert!(bench.refuse(&other).contains("mamba"));
    let block_type = patched(&whole, "blk.0.attn_q.weight", 20, &10_u32.to_le_bytes());
    let message = bench.refuse(&block_type);
    assert!(message.contains("blk.0.attn_q.weight") && message.contains("Q2_K"), "{message}");
    let tokenizer = patched(&whole, "tokenizer.ggml.pre", 12, b"zmolly"[..6].as_ref());
    assert!(bench.refuse(&tokenizer).contains("tokenizer.ggml.pre"));
    let missing = replaced(&whole, b"output_norm.weight", b"output_morn.weight");
    assert!(bench.refuse(&missing).contains("output_norm.weight"));
}

#[test]
fn damaged_model_directories_are_refused() {
    let library = crate::library();
    let bench = Bench::new();
    let path = bench.convert(&fixture("llama")).expect("converts");
    let load = || Runtime::load(&library, RuntimeConfig { threads: Some(1), ..RuntimeConfig::new(&path) });
    load().expect("it is fine").shutdown();
    let cases: [(&str, &[u8]); 5] = [
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff\xfe"),
        ("genai_config.json", b"{\"model\": {}}"),
        ("model.onnx", b"not a network"),
        ("chat_template.jinja", b"{% for x in y %}"),
    ];
    for (file, bytes) in cases {
        let file = path.join(file);
        let good = std::fs::read(&file).expect("readable");
        std::fs::write(&file, bytes).expect("written");
        let error = load().map(|_| ()).expect_err("it is damaged");
        assert!(
            matches!(error, Error::CorruptModel { .. } | Error::Template { .. }),
            "{}: {error:?}",
            file.display()
        );
        std::fs::write(&file, good).expect("written");
    }
    // Another network's configuration.
    let config = path.join("genai_config.json");
    let good = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, good.replace("\"num_hidden_layers\":2", "\"num_hidden_layers\":1"))
        .expect("written");
    let error = load().map(|_| ()).expect_err("the network has a layer more");
    assert!(matches!(error, Error::CorruptModel { .. }), "{error:?}");
    std::fs::write(&config, good.replace("\"filename\":\"model.onnx\"", "\"filename\":\"../model.onnx\""))
        .expect("written");
    load().map(|_| ()).expect_err("it names a file outside the directory");
    std::fs::write(&config, good).expect("written");
    // Weights cut short.
    let data = std::fs::OpenOptions::new().write(true).open(path.join("model.onnx.data")).expect("opens");
    data.set_len(1000).expect("truncates");
    let error = load().map(|_| ()).expect_err("the weights are truncated");
    assert!(matches!(error, Error::CorruptModel { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let bench = Bench::new();
    let path = bench.convert(&fixture("llama")).expect("converts");
    let fake = bench.directory.path().join("libonnxruntime.so");
    std::fs::write(&fake, b"no library").expect("written");
    let error = Runtime::load(&fake, RuntimeConfig::new(&path)).map(|_| ()).expect_err("it is no library");
    assert!(matches!(error, Error::LibraryUnusable { .. } | Error::LibraryAlreadyLoaded { .. }), "{error:?}");
}

/// A file that holds only an architecture and, after that name, a number.
fn architecture(name: &str, number: Option<(&str, u32)>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let entries = 1 + u64::from(number.is_some());
    let mut bytes =
        [&b"GGUF"[..], &3_u32.to_le_bytes(), &0_u64.to_le_bytes(), &entries.to_le_bytes()].concat();
    bytes.extend([&text("general.architecture")[..], &8_u32.to_le_bytes(), &text(name)].concat());
    if let Some((key, value)) = number {
        let key = text(&format!("{name}.{key}"));
        bytes.extend([&key[..], &4_u32.to_le_bytes(), &value.to_le_bytes()].concat());
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

#[test]
fn other_architectures_are_refused_by_what_they_are() {
    let bench = Bench::new();
    let cases = [
        ("granitehybrid", "state-space layers"),
        ("granitemoe", "mixture of experts"),
        ("qwen3moe", "mixture of experts"),
        ("falcon-h1", "state-space layers"),
        ("mamba2", "state-space model"),
        ("lfm2", "convolutions"),
        ("nomic-bert", "encoder"),
        ("gemma4", "`gemma4` is not known; llama, qwen2"),
    ];
    for (name, reason) in cases {
        let message = bench.refuse(&architecture(name, None));
        assert!(message.contains(reason) && message.contains(name), "{message}");
    }
    // Mixtral calls itself llama.
    let message = bench.refuse(&architecture("llama", Some(("expert_count", 8))));
    assert!(message.contains("mixture of experts"), "{message}");
    assert!(bench.refuse(&architecture("llama", None)).contains("llama.attention.head_count"));
}
