//! Language models in this process: text to tokens to tensors and back, on ONNX Runtime.
//!
//! ```text
//! artifact   models and the ONNX Runtime library on disk: catalogue, fetching, verifying
//! convert    GGUF file -> ONNX graph, external weights, tokenizer.json, chat template
//! tokenizer  text <-> token ids; conversations -> prompts
//! backend    what a loaded network must offer
//! paged      networks of our own conversion, many sequences in one run, on
//! operators  our own ONNX operators: quantised products, paged attention
//! onnx       networks in the layouts that others publish
//! queue      bounded waiting and whose turn it is
//! worker     the one thread that computes: continuous batching
//! chat       conversations, tools, tool calls in answers
//! generate   requests, events, sampling, stop sequences, signs of a bad answer
//! constrain  JSON schemas and grammars -> which tokens may follow
//! encoder    embeddings, classification, tagging, with a thread and a queue of their own
//! accelerator  what sessions compute on
//! ```
//!
//! Each family's networks are compared with what transformers computes (tiny ones with random weights, `fixtures/families`):
//!
//! | Family | Hugging Face | onnxruntime-genai | GGUF (`general.architecture`) |
//! | --- | --- | --- | --- |
//! | Llama 3, SmolLM2, Falcon 3 | yes | yes | `llama` |
//! | Mistral | yes | yes | `llama` |
//! | Qwen 2, 2.5 | yes | yes | `qwen2` |
//! | Qwen 3 | yes | yes | `qwen3` |
//! | Phi-3, 3.5, Phi-4-mini | yes, long-rope too | yes, to 4096 tokens | `phi3` |
//! | Gemma 3 (text) | yes | a torch export | `gemma3` |
//! | Granite 3 | yes | yes | `granite` |
//! | SmolLM3 | yes | not tried: the builder fails on layers without positions | `smollm3` |
//! | Falcon | yes | a torch export | `falcon` |
//!
//! Mixtures of experts, hybrids with state-space, convolution or linear-attention layers, encoder-decoders and parts of multimodal
//! models are refused with the input, architecture, or key that shows what they are.
//!
//! Invariants: one thread computes, so callers never block each other except in a bounded queue; text from
//! users never becomes a control token; nothing is loaded from disk that was not verified when it
//! was fetched or converted. Left out: HTTP, teams, policy, and price. See [`Runtime`] for generating,
//! [`Encoder`] for reading, and [`Store`] for getting models.

mod accelerator;
mod artifact;
mod backend;
mod bench;
mod chat;
mod config;
mod constrain;
mod convert;
mod encoder;
mod error;
mod exponential;
mod generate;
mod onnx;
mod operators;
mod paged;
mod queue;
mod runtime;
mod tokenizer;
mod worker;

pub use accelerator::Accelerator;
pub use artifact::{
    CACHE_VARIABLE, CatalogueEntry, DEFAULT_MODEL, FORMAT_VERSION, Fetcher, Manifest, ModelDir, NoProgress,
    ONNX_RUNTIME_VERSION, PipFetcher, Progress, Purpose, Source, Store, Wheel, WheelTags, catalogue, find,
};
pub use bench::{Aggregate, BenchReport, bench};
pub use chat::{
    AnswerPart, ChatMessage, ChatPrompt, Document, Role, TEMPLATE_VARIABLE_BYTES_MAX, TEMPLATE_VARIABLES_MAX,
    TOOL_CALLS_MAX, TOOLS_MAX, ToolCall, ToolCallParser, ToolFormat, ToolSpec,
};
pub use config::{
    DEFAULT_CACHE_MIB, DEFAULT_CONTEXT_TOKENS, DEFAULT_MAX_CONCURRENCY, DEFAULT_MAX_OUTPUT_TOKENS,
    DEFAULT_MAX_QUEUE, DEFAULT_PREFILL_CHUNK_TOKENS, RuntimeConfig,
};
pub use constrain::{Constraint, GRAMMAR_BYTES_MAX, Grammar};
pub use convert::Operators;
pub use encoder::{
    Classification, DEFAULT_BATCH_TOKENS, DEFAULT_ENCODER_MAX_QUEUE, DEFAULT_ENCODER_MAX_TOKENS,
    DEFAULT_REQUEST_TOKENS, EmbedOptions, Embeddings, Encoder, EncoderConfig, EncoderInfo, EncoderTask,
    Pending, Pooling, TaggedToken, Tagging,
};
pub use error::{Error, Result};
pub use generate::{
    Finish, FinishReason, GenerateRequest, LOGIT_BIAS_MAX, OPENING_TOKENS, OutputFlag, STOP_SEQUENCES_MAX,
    Sampling, TOP_LOGPROBS_MAX, Token, TokenEvent, TokenStream, TopToken,
};
pub use queue::Load;
pub use runtime::{ModelInfo, Runtime};
