//! Networks and descriptions that cannot be used are refused when loading, with a reason that names what is wrong.

use std::path::{Path, PathBuf};

use super::families::family;
use super::load_onnx;
use crate::error::Error;

/// A copy of a fixture that may be damaged.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(directory: &Path) -> Self {
        let copy = tempfile::tempdir().expect("a directory");
        copy_into(directory, copy.path());
        Self(copy)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).expect("readable")
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.path(file), bytes).expect("written");
    }

    /// Replaces a text by one of the same length wherever it is.
    fn rename(&self, file: &str, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let mut bytes = self.bytes(file);
        let mut found = 0;
        for at in 0..=bytes.len() - from.len() {
            if bytes[at..].starts_with(from.as_bytes()) {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
                found += 1;
            }
        }
        assert!(found > 0, "{file} does not hold {from}");
        self.write(file, &bytes);
    }

    fn refusal(&self) -> Error {
        load_onnx(self.0.path()).map(|_| ()).expect_err("it cannot be used")
    }

    fn corrupt(&self, what: &str) {
        let error = self.refusal();
        assert!(matches!(error, Error::CorruptModel { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "`{what}` is not in: {error}");
    }

    fn unsupported(&self, what: &str) {
        let error = self.refusal();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "`{what}` is not in: {error}");
    }
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("readable") {
        let (entry, to) = (entry.expect("readable").path(), to);
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            std::fs::create_dir(&target).expect("made");
            copy_into(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("copied");
        }
    }
}

fn hf(name: &str) -> Copy {
    Copy::of(&family(name).join("hf"))
}

const NETWORK: &str = "onnx/model.onnx";

#[test]
fn other_kinds_of_networks_are_refused_by_the_input_that_shows_it() {
    let cases = [
        ("past_key_values.1.key", "past_conv.1.of_layers", "convolution"),
        ("past_key_values.1.key", "past_ssm_states.1.abc", "state-space"),
        ("past_key_values.1.key", "past_recurrent.1.abcd", "linear attention"),
        ("past_key_values.1.key", "past_key_values.1.odd", "which is not known"),
        ("position_ids", "pixel_values", "images"),
        ("position_ids", "audio_values", "sound"),
        ("attention_mask", "inputs_embeds.", "multimodal"),
        ("attention_mask", "encoder_states", "encoder-decoder"),
        ("position_ids", "cache_offset", "`cache_offset`, which is not known"),
    ];
    for (from, to, reason) in cases {
        let copy = hf("phi3");
        copy.rename(NETWORK, from, to);
        let message = copy.refusal().to_string();
        assert!(message.contains(reason), "{to}: {message}");
        assert!(message.contains(to), "{to}: {message}");
    }
}

#[test]
fn networks_without_what_is_needed_are_refused() {
    let cases = [
        ("input_ids", "input_idx", "no input `input_ids`"),
        ("present.0.value", "present.0.valve", "no output `present.0.value`"),
        ("logits", "logots", "no output `logits`"),
    ];
    for (from, to, reason) in cases {
        let copy = hf("phi3");
        copy.rename(NETWORK, from, to);
        copy.corrupt(reason);
    }
    let encoder = hf("phi3");
    for layer in 0..2 {
        encoder.rename(
            NETWORK,
            &format!("past_key_values.{layer}.key"),
            &format!("cold_key_values.{layer}.key"),
        );
    }
    encoder.unsupported("export it with its cache");
}

#[test]
fn truncated_networks_are_refused() {
    let copy = hf("granite");
    let whole = copy.bytes(NETWORK);
    for length in [0, 1, 100, whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        copy.write(NETWORK, &whole[..length]);
        copy.corrupt("model.onnx");
    }
}

#[test]
fn external_data_must_be_there_and_whole() {
    for (directory, file) in [("qwen2/hf", "onnx/model.onnx_data"), ("llama3/genai", "model.onnx.data")] {
        let copy = Copy::of(&family(directory));
        let whole = copy.bytes(file);
        copy.write(file, &whole[..whole.len() / 2]);
        copy.corrupt("ONNX Runtime refuses it");
        copy.write(file, &[]);
        copy.corrupt("ONNX Runtime refuses it");
        std::fs::remove_file(copy.path(file)).expect("removed");
        copy.corrupt("ONNX Runtime refuses it");
    }
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    let cases: [(&str, &str, &str); 5] = [
        ("\"vocab_size\": 320", "\"vocab_size\": 319", "320 logits"),
        ("\"vocab_size\": 320", "\"vocab_size\": -32", "config.json"),
        ("\"vocab_size\"", "\"vocal_size\"", "no `vocab_size`"),
        ("\"max_position_embeddings\": 64", "\"max_position_embeddings\":  0", "context length is 0"),
        ("\"eos_token_id\": 2", "\"eos_token_id\": {", "config.json"),
    ];
    for (from, to, reason) in cases {
        let copy = hf("phi3");
        copy.rename("config.json", from, to);
        copy.corrupt(reason);
    }
    let copy = hf("phi3");
    copy.write("generation_config.json", b"{\"eos_token_id\": [320]}");
    copy.corrupt("eos_token_id 320");
    copy.write("generation_config.json", b"{}");
    copy.rename("config.json", "eos_token_id", "eox_token_id");
    copy.corrupt("eos_token_id is missing");
    copy.write("config.json", b"\xff");
    copy.corrupt("config.json");
    std::fs::remove_file(copy.path("config.json")).expect("removed");
    copy.corrupt("neither genai_config.json nor config.json");
}

#[test]
fn encoder_decoders_are_refused_by_their_description() {
    let copy = hf("phi3");
    copy.rename("config.json", "\"initializer_range\": 0.02", "\"is_encoder_decoder\":true");
    copy.unsupported("an encoder with a decoder");
}

#[test]
fn a_genai_description_must_fit_its_network() {
    let copy = Copy::of(&family("smollm2").join("genai"));
    copy.rename("genai_config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    copy.corrupt("past_key_values.2.key");
    copy.rename("genai_config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1");
    copy.unsupported("past_key_values.1");
}

#[test]
fn a_directory_without_a_network_says_so() {
    let copy = hf("phi3");
    std::fs::remove_file(copy.path(NETWORK)).expect("removed");
    copy.corrupt("no .onnx file");
    copy.write("onnx/one.onnx", b"");
    copy.write("onnx/two.onnx", b"");
    copy.corrupt("none of its 2 .onnx files");
}
