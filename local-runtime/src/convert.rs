//! GGUF to ONNX, without Python.
//!
//! One pass over the file: metadata, then each weight matrix read, repacked, and written, so that memory stays bounded
//! by one matrix's scales. Quantised weights stay quantised, exactly or nearly so (see [`weights`]); what else differs
//! from llama.cpp at run time is how activations are rounded. The result has the file layout of
//! onnxruntime-genai, so either runtime can load it, plus our own manifest. Families, block types,
//! and splitting rules that are not known are refused by name.

mod architecture;
mod blocks;
mod gguf;
mod graph;
mod network;
mod onnx_proto;
mod paged;
mod rotary;
#[cfg(test)]
mod tests;
mod vocabulary;
mod weights;

use std::path::Path;

use prost::Message;
use serde_json::{Value as Json, json};

use crate::artifact::{FORMAT_VERSION, Manifest, Progress, sha256_of};
use crate::error::{Error, Result};
use architecture::{Architecture, EMBEDDING, OUTPUT};
pub(crate) use blocks::{BlockType, GROUP, Group, scale_and_minimum};
use gguf::Gguf;
use network::NetworkBuilder;
use paged::PagedBuilder;
pub(crate) use paged::ROWS_INPUT;
use vocabulary::Vocabulary;
use weights::DataWriter;

/// Which operators a converted network uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operators {
    /// Ours where the processor has AVX2, else the portable ones.
    #[default]
    Fastest,
    /// ONNX Runtime's own, in onnxruntime-genai's layout: slower on the processor, but other runtimes and
    /// accelerators can load it.
    Portable,
}

impl Operators {
    /// Whether our own operators are to be used.
    fn own(self) -> bool {
        self == Self::Fastest && crate::operators::are_fast()
    }
}

/// What to convert and where to.
pub(crate) struct Request<'a> {
    /// The GGUF file.
    pub(crate) gguf: &'a Path,
    /// An existing, empty directory.
    pub(crate) out: &'a Path,
    /// The model's name.
    pub(crate) name: &'a str,
    /// The file's SHA-256 if it is already known.
    pub(crate) source_sha256: Option<&'a str>,
    /// The licence if it is known from elsewhere than the file.
    pub(crate) licence: Option<&'a str>,
    /// Which operators to use.
    pub(crate) operators: Operators,
}

/// Writes a model directory; `manifest.json` comes last.
pub(crate) fn convert(request: &Request<'_>, progress: &dyn Progress) -> Result<()> {
    let gguf = Gguf::open(request.gguf)?;
    let architecture = Architecture::read(&gguf)?;
    let vocabulary = vocabulary::read(&gguf, architecture.vocabulary)?;
    let stored: u64 =
        gguf.tensors().map(|tensor| (tensor.kind.bytes(tensor.columns) * tensor.rows) as u64).sum();
    progress.begin(&format!("converting {}", request.name), Some(stored));
    let written = write_network(&gguf, &architecture, request, progress);
    progress.end();
    let weight_bytes = written?;
    write_json(request.out, "tokenizer.json", &vocabulary.tokenizer_json)?;
    write_json(request.out, "tokenizer_config.json", &tokenizer_config(&vocabulary))?;
    write_json(
        request.out,
        "genai_config.json",
        &genai_config(&architecture, &vocabulary, request.operators),
    )?;
    if let Some(template) = &vocabulary.chat_template {
        write(request.out, "chat_template.jinja", template.as_bytes())?;
    }
    let source_sha256 =
        request.source_sha256.map_or_else(|| sha256_of(request.gguf), |known| Ok(known.to_owned()))?;
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        name: request.name.to_owned(),
        source_sha256,
        licence: request.licence.or(gguf.text("general.license")).map(str::to_owned),
        family: architecture.family.name.to_owned(),
        parameters: gguf.tensors().map(|tensor| (tensor.columns * tensor.rows) as u64).sum(),
        context_tokens: context(&architecture, request.operators) as u32,
        eos_ids: vocabulary.eos_ids,
        installed_bytes: directory_bytes(request.out)?,
        weight_bytes,
        own_operators: request.operators.own(),
    };
    manifest.write(request.out)
}

fn write_network(
    gguf: &Gguf,
    architecture: &Architecture,
    request: &Request<'_>,
    progress: &dyn Progress,
) -> Result<u64> {
    let mut data = DataWriter::create(request.out, progress)?;
    let model = if request.operators.own() {
        PagedBuilder::new(gguf, architecture, &mut data).build()?
    } else {
        NetworkBuilder::new(gguf, architecture, &mut data).build()?
    };
    let written = data.finish()?;
    write(request.out, "model.onnx", &model.encode_to_vec())?;
    // A table that is not the output's too is read a row at a time.
    let tensor = |name: &str| gguf.tensor(&format!("{name}.weight"));
    let table = tensor(EMBEDDING).filter(|_| tensor(OUTPUT).is_some());
    Ok(written - table.map_or(0, |table| (table.kind.bytes(table.columns) * table.rows) as u64))
}

fn tokenizer_config(vocabulary: &Vocabulary) -> Json {
    let text = |token: &Option<(u32, String)>| token.as_ref().map(|(_, text)| text.clone());
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": text(&vocabulary.bos),
        "eos_token": text(&vocabulary.eos),
        "chat_template": vocabulary.chat_template,
    })
}

/// The longest sequence that the network takes.
fn context(architecture: &Architecture, operators: Operators) -> usize {
    if operators.own() { architecture.context } else { architecture.portable_context() }
}

fn genai_config(architecture: &Architecture, vocabulary: &Vocabulary, operators: Operators) -> Json {
    let context = context(architecture, operators);
    let id = |token: &Option<(u32, String)>| token.as_ref().map(|(id, _)| *id);
    json!({
        "model": {
            "type": architecture.family.name,
            "bos_token_id": id(&vocabulary.bos),
            "eos_token_id": vocabulary.eos_ids,
            "pad_token_id": vocabulary.pad_id.unwrap_or(vocabulary.eos_ids[0]),
            "vocab_size": architecture.vocabulary,
            "context_length": context,
            "decoder": {
                "session_options": {"log_id": "sluicegate", "provider_options": []},
                "filename": "model.onnx",
                "original_context_length": architecture.long_rope_from(),
                "head_size": architecture.head_size,
                "hidden_size": architecture.hidden,
                "num_attention_heads": architecture.heads,
                "num_hidden_layers": architecture.layers.len(),
                "num_key_value_heads": architecture.kv_heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"max_length": context, "past_present_share_buffer": true, "do_sample": false},
    })
}

fn write_json(directory: &Path, name: &str, value: &Json) -> Result<()> {
    write(directory, name, &serde_json::to_vec(value).expect("JSON values serialise"))
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = directory.join(name);
    std::fs::write(&path, bytes).map_err(Error::io("write", path))
}

fn directory_bytes(directory: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(directory).map_err(Error::io("read", directory))?;
    Ok(entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum())
}
