//! The one error type of this crate.
//!
//! Each message says what is wrong and how to mend it, since most of these reach an operator's
//! terminal at start-up. No message holds prompt or completion text. Which HTTP status an error
//! becomes is the gateway's business and is not known here.

use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with a local model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {}: check that the disk has room and that the permissions allow it", path.display())]
    Io {
        /// What was tried, as an infinitive: `read`, `write`, `rename`.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },

    /// No ONNX Runtime library was found.
    #[error(
        "no ONNX Runtime library found (looked in {searched}); get one with `{command}`, or set `local.onnxruntime` or \
         ORT_DYLIB_PATH to a libonnxruntime of version 1.24 or newer"
    )]
    LibraryMissing {
        /// The places that were searched, joined for reading.
        searched: String,
        /// The command that fetches the library.
        command: String,
    },

    /// The ONNX Runtime library exists but cannot be used.
    #[error("cannot use the ONNX Runtime library {}: {reason}; version 1.24 or newer is needed", path.display())]
    LibraryUnusable {
        /// The library file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },

    /// A different ONNX Runtime library is already loaded in this process.
    #[error("the ONNX Runtime library {} is already loaded in this process; {} cannot be loaded beside it", loaded.display(), asked.display())]
    LibraryAlreadyLoaded {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },

    /// The configured accelerator cannot be used with this library.
    #[error(
        "cannot compute on `{accelerator}`: {reason}. The ONNX Runtime library {} offers {available}; set `local.onnxruntime` \
         to a build that has it, or `local.accelerator` to one of these", library.display()
    )]
    AcceleratorUnavailable {
        /// The accelerator, as configured.
        accelerator: String,
        /// The library.
        library: PathBuf,
        /// What is missing or failed.
        reason: String,
        /// The accelerators that the library has, joined for reading.
        available: String,
    },

    /// The model is not installed and is not in the catalogue.
    #[error("unknown model `{name}`; known models: {known}. A path to a model directory works too")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The catalogue's names, joined for reading.
        known: String,
    },

    /// Something has to be fetched and the caller said that the network must not be used.
    #[error("{} is missing and this process is offline; on a machine with network access run `{command}`", path.display())]
    Offline {
        /// The file that is missing.
        path: PathBuf,
        /// The command that gets it.
        command: String,
    },

    /// Fetching failed.
    #[error("cannot fetch {what}: {reason}; the command was `{command}`")]
    Fetch {
        /// The distribution or address.
        what: String,
        /// What went wrong.
        reason: String,
        /// The command that was run or that does the same by hand.
        command: String,
    },

    /// Python is not there to run pip.
    #[error("cannot run `{command}`: is Python 3 with pip installed?")]
    PythonMissing {
        /// The command that failed to start.
        command: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },

    /// This platform has no pinned ONNX Runtime.
    #[error(
        "no pinned ONNX Runtime for {os} on {arch}; set `local.onnxruntime` or ORT_DYLIB_PATH to a libonnxruntime"
    )]
    UnsupportedPlatform {
        /// Operating system.
        os: &'static str,
        /// Processor architecture.
        arch: &'static str,
    },

    /// Bytes are not the ones that were pinned.
    #[error(
        "{what} has SHA-256 {actual} but {expected} is pinned: the download is corrupt or was replaced; it was discarded, try again"
    )]
    HashMismatch {
        /// The file, distribution or address.
        what: String,
        /// The pinned digest, lower-case hexadecimal.
        expected: String,
        /// The digest found.
        actual: String,
    },

    /// A zip archive (a wheel) cannot be read.
    #[error("cannot read the archive {}: delete it and try again", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: zip::result::ZipError,
    },

    /// A GGUF file is malformed.
    #[error("{} is not a valid GGUF file: {reason}; fetch it again", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is malformed.
        reason: String,
    },

    /// A model file is valid but holds something that cannot be converted or run.
    #[error("{} is not supported: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported, naming the tensor and type or the key and value.
        reason: String,
    },

    /// A model directory is incomplete or malformed.
    #[error("the model in {} cannot be used: {reason}; get it again, by `sluicegate models pull` or `convert` if it came from there", path.display())]
    CorruptModel {
        /// The model directory or the file in it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// A directory holds no encoder that can be used, or not for what it is asked.
    #[error("the encoder in {} cannot be used: {reason}", path.display())]
    UnusableEncoder {
        /// The directory or the file in it.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },

    /// ONNX Runtime refused or failed.
    #[error("ONNX Runtime could not {action}")]
    Onnx {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// What ONNX Runtime said.
        #[source]
        source: ort::Error,
    },

    /// The network's prediction has no finite number in it.
    #[error(
        "the model predicted nothing but infinities or no numbers; its weights are corrupt: install it anew"
    )]
    NothingFinite,

    /// The tokenizer failed.
    #[error("the tokenizer could not {action}: {reason}")]
    Tokenizer {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// What the tokenizer said.
        reason: String,
    },

    /// The chat template refused the conversation, or is itself faulty or hostile.
    #[error("the model's chat template failed: {reason}")]
    Template {
        /// What the template or the engine said.
        reason: String,
    },

    /// A request's parameters are out of range.
    #[error("invalid request: {reason}")]
    InvalidRequest {
        /// Which parameter, and its range.
        reason: String,
    },

    /// A grammar that the answer must follow cannot be satisfied, is not supported, or is too large.
    #[error("the answer's format cannot be enforced: {reason}")]
    InvalidConstraint {
        /// What about it, never a part of a prompt.
        reason: String,
    },

    /// A configuration value is out of range.
    #[error("invalid configuration: `{field}` {reason}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// The range that it left.
        reason: String,
    },

    /// The bounded queue is full.
    #[error("the local model is busy: {queued} requests are waiting; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// Requests waiting, this one not included.
        queued: usize,
        /// When a place is likely to be free, from the mean time of recent requests.
        retry_after: Duration,
    },

    /// The prompt does not fit.
    #[error(
        "the prompt has {prompt_tokens} tokens, the local model takes at most {limit}; shorten it or raise `local.context_tokens`"
    )]
    ContextExceeded {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// The most that a prompt may have, so that one token can still be generated.
        limit: usize,
    },

    /// One text of a request is longer than the encoder reads.
    #[error("input {index} has {tokens} tokens, the model takes at most {limit}; split or shorten it")]
    InputTooLong {
        /// Which text, from 0.
        index: usize,
        /// Its tokens, markers included.
        tokens: usize,
        /// The most that a text may have, markers included.
        limit: usize,
    },

    /// All texts of a request together are more than an encoder takes at once.
    #[error(
        "the inputs have {tokens} tokens together, at most {limit} are taken in one request; send several"
    )]
    RequestTooLong {
        /// Tokens of all texts.
        tokens: usize,
        /// The most that a request may have.
        limit: usize,
    },

    /// The inference thread is gone: it panicked, or the runtime was shut down.
    #[error("the local model's worker has stopped; restart the gateway and report the panic in its log")]
    WorkerGone,
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on ONNX Runtime calls; builder errors are not `Send`, hence the rebuild.
    pub(crate) fn onnx<R>(action: &'static str) -> impl FnOnce(ort::Error<R>) -> Self {
        move |source| Self::Onnx {
            action,
            source: ort::Error::new_with_code(source.code(), source.message()),
        }
    }

    /// A short static name of the kind of error, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::LibraryMissing { .. } => "library_missing",
            Self::LibraryUnusable { .. } => "library_unusable",
            Self::LibraryAlreadyLoaded { .. } => "library_already_loaded",
            Self::AcceleratorUnavailable { .. } => "accelerator_unavailable",
            Self::UnknownModel { .. } => "unknown_model",
            Self::Offline { .. } => "offline",
            Self::Fetch { .. } => "fetch",
            Self::PythonMissing { .. } => "python_missing",
            Self::UnsupportedPlatform { .. } => "unsupported_platform",
            Self::HashMismatch { .. } => "hash_mismatch",
            Self::Archive { .. } => "archive",
            Self::Gguf { .. } => "gguf",
            Self::Unsupported { .. } => "unsupported",
            Self::CorruptModel { .. } => "corrupt_model",
            Self::UnusableEncoder { .. } => "unusable_encoder",
            Self::Onnx { .. } => "onnx",
            Self::NothingFinite => "nothing_finite",
            Self::Tokenizer { .. } => "tokenizer",
            Self::Template { .. } => "template",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::InvalidConstraint { .. } => "invalid_constraint",
            Self::InvalidConfig { .. } => "invalid_config",
            Self::Busy { .. } => "busy",
            Self::ContextExceeded { .. } => "context_exceeded",
            Self::InputTooLong { .. } => "input_too_long",
            Self::RequestTooLong { .. } => "request_too_long",
            Self::WorkerGone => "worker_gone",
        }
    }
}

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
