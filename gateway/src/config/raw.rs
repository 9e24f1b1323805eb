//! The configuration file as it is written: every key with its unit, range, default and consequence.
//!
//! `docs/configuration.md` is made from the doc comments of this file; keep them in the operator's words.

use serde::Deserialize;

/// The whole file. Every section may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    /// The data plane.
    #[serde(default)]
    pub server: RawServer,
    /// The admin plane.
    #[serde(default)]
    pub admin: RawAdmin,
    /// Who may ask.
    #[serde(default)]
    pub identity: RawIdentity,
    /// Where requests are accounted.
    #[serde(default)]
    pub ledger: RawLedger,
    /// The audit chain.
    #[serde(default)]
    pub audit: RawAudit,
    /// State shared by several replicas.
    pub shared: Option<RawShared>,
    /// The embedded model.
    #[serde(default)]
    pub local: RawLocal,
    /// Further embedded models.
    #[serde(default)]
    pub local_model: Vec<RawLocalModel>,
    /// The rules.
    #[serde(default)]
    pub policy: RawPolicySource,
    /// Finding sensitive data.
    #[serde(default)]
    pub detection: RawDetection,
    /// The router model.
    #[serde(default)]
    pub router: RawRouter,
    /// Savings.
    #[serde(default)]
    pub accounting: RawAccounting,
    /// Prices.
    #[serde(default)]
    pub prices: RawPrices,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: RawTelemetry,
    /// Teams with a budget or a tier.
    #[serde(default)]
    pub team: Vec<RawTeam>,
    /// Places that requests can be forwarded to.
    #[serde(default)]
    pub upstream: Vec<RawUpstream>,
}

/// `[server]`: the data plane.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    /// Address and port to listen on. Default `127.0.0.1:8080`; port 0 takes a free one.
    pub listen: String,
    /// Largest request body, in bytes. Default 16777216 (16 MiB); a larger one is answered with 413.
    pub body_bytes_max: usize,
    /// Connections served at once. Default 4096; more wait in the system's queue.
    pub connections_max: usize,
    /// Seconds to wait for a request's headers. Default 15.
    pub header_timeout_s: u64,
    /// Seconds for a whole request, its streamed answer included. Default 900.
    pub request_timeout_s: u64,
    /// Seconds to let running requests finish at shutdown. Default 30.
    pub drain_timeout_s: u64,
    /// Certificate chain and key (PEM files). Default: plain HTTP.
    pub tls: Option<RawTls>,
}

/// `tls = { cert = "...", key = "..." }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// PEM file with the certificate chain.
    pub cert: String,
    /// PEM file with the private key.
    pub key: String,
}

/// `[admin]`: metrics and administration, on a listener of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    /// Address and port. Default `127.0.0.1:8081`.
    pub listen: String,
    /// Bearer token (`env:NAME` or `file:PATH`); required when `listen` is not a loopback address.
    pub token: Option<String>,
}

/// `[identity]`: who may ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdentity {
    /// `auto` (required unless the data plane listens on loopback), `always` or `never`. Default `auto`.
    pub require_key: String,
}

/// `[ledger]`: where requests are accounted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLedger {
    /// `sqlite://PATH`. Default `sqlite://sluicegate.db` in the working directory.
    pub url: String,
    /// Keep the features that complexity is computed from beside each chat request: about a hundred counts and shares
    /// of the last turn (lengths, digits, question marks, words of a kind), never a word of it. `sluicegate export` then
    /// writes rows that the router model can be trained on. Default false; about 500 bytes a request.
    pub features: bool,
}

/// `[audit]`: the chain of audit records, which lies in the ledger and is always written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAudit {
    /// Key that seals the chain (`env:NAME` or `file:PATH`), at least 32 bytes drawn at random (`openssl rand -hex 32`). With
    /// it nobody who can write to the ledger, but does not know the key, can make a chain that verifies. Default: no key; the
    /// chain then shows changes only to those who noted its head. A chain that was sealed is not continued without a key.
    pub key: Option<String>,
}

/// `[shared]`: state shared by several replicas.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShared {
    /// `redis://...`.
    #[expect(dead_code, reason = "read so that the fault can say what is missing")]
    pub url: String,
}

/// `[local]`: the embedded model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLocal {
    /// Run an embedded model. Default true.
    pub enabled: bool,
    /// A name from `sluicegate models list`, or a directory with a model: a converted one, or one in the layout of Hugging
    /// Face (`config.json`, `onnx/model.onnx`) or of onnxruntime-genai (`genai_config.json`), with its `tokenizer.json` and
    /// chat template. Default `qwen2.5-coder-1.5b-instruct`.
    pub model: String,
    /// Threads of the model, 1 to 256. Default: the machine's cores as the system counts them, at most 16.
    pub threads: Option<usize>,
    /// Let the model's threads spin between operators: faster on a calm machine, slower on a busy one. Default: for models
    /// that were converted here, measured when the model is loaded, and the number of threads with it, which takes a few
    /// seconds; false for others.
    pub spinning: Option<bool>,
    /// Requests that are computed together, 1 to 256. Default 8: more of them make the whole faster and each one slower.
    pub max_concurrency: usize,
    /// What the model computes on: `cpu`, `cuda`, `cuda:1`, `coreml`, `directml`, `directml:1`, `openvino` or
    /// `openvino:GPU`. Default `cpu`. The others need an ONNX Runtime library that was built with them (`onnxruntime`);
    /// one that was not is refused at start, by name. Only `cpu` is tested.
    pub accelerator: String,
    /// Requests that may wait for the model. Default 16; more are answered elsewhere or with 503 and retry-after.
    pub max_queue: usize,
    /// Memory for keys and values of past tokens, in MiB, 16 to 1048576. Default 1024, which is some 37,000 tokens of the
    /// default model. It is taken as it is needed; requests whose tokens would not fit wait.
    pub cache_mib: u32,
    /// Memory that weights and cache may take together, in MiB. Default: no limit. A model that may need more is not loaded.
    pub memory_mib: Option<u32>,
    /// Seconds without a request after which the model is unloaded; the next request loads it again and waits for that.
    /// Default 0: never.
    pub unload_after_s: u64,
    /// Longest input and output together, in tokens. Default 8192, or the model's own limit if that is smaller.
    pub context_tokens: u32,
    /// Output tokens of one answer when the request sets no limit. Default 512.
    pub max_output_tokens: u32,
    /// Highest label that the embedded model may see. Default `restricted`: nothing leaves this process.
    pub clearance: String,
    /// How close the model comes to a strong one, 0 to 1. Default 0.
    pub strength: f32,
    /// Watts of one busy core, for the energy column. Default 8 (a modelled figure, not a measured one).
    pub watts_per_core: f64,
    /// Path of the ONNX Runtime library. Default: `ORT_DYLIB_PATH`, the cache, beside the executable, or fetched.
    pub onnxruntime: Option<String>,
    /// Where models and the library are kept. Default: `SLUICEGATE_CACHE`, or the user's cache directory.
    pub cache_dir: Option<String>,
    /// Never download. Default false; also `--offline` and `SLUICEGATE_OFFLINE=1`.
    pub offline: bool,
    /// The embedded model for `/v1/embeddings`, see `[local.embedding]`. Default: none.
    pub embedding: Option<RawEmbedding>,
}

/// `[local.embedding]`: the embedded model for embeddings, besides the one that answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEmbedding {
    /// Directory with an encoder in the Hugging Face layout (`onnx/model.onnx`, `config.json`, `tokenizer.json`), or the
    /// name of one in the cache's `models`. Clients call it `local/<last part of the path>`, `local/default` or
    /// `auto`. No default. A request for an upstream's model is never answered by it: vectors of different models
    /// cannot be compared.
    pub model: String,
    /// The graph's path inside the directory. Default: the first of `model.onnx`, `onnx/model.onnx` and
    /// `onnx/model_quantized.onnx` that is there.
    pub file: Option<String>,
    /// How the vectors of tokens become one: `mean`, `cls`, `last-token` or `max`. Default: as the model's
    /// `1_Pooling/config.json` says; without that it has to be written here, as the model's card has it.
    pub pooling: Option<String>,
    /// Give every vector length one, as OpenAI's have. Default true.
    #[serde(default = "yes")]
    pub normalize: bool,
    /// Name of a prompt of the model's `config_sentence_transformers.json` to put before each text. Default: its own
    /// default, mostly none.
    pub prompt: Option<String>,
    /// Longest text in tokens; longer ones are refused and never cut. Default: what the model was made for, at most 2048.
    pub max_tokens: Option<u32>,
    /// Tokens computed at once, padding included, 16 to 1048576. Default 4096; more takes more memory.
    #[serde(default = "default_batch_tokens")]
    pub batch_tokens: u32,
    /// Threads, 1 to 256. Default: half of the machine's cores, at most 8, so that chat goes on beside it.
    pub threads: Option<usize>,
    /// Requests that may wait, 0 to 4096. Default 64; more are answered with 503 and retry-after.
    #[serde(default = "default_embedding_queue")]
    pub max_queue: usize,
    /// Highest label that it may see. Default: as `local.clearance`.
    pub clearance: Option<String>,
    /// What it computes on. Default: as `local.accelerator`.
    pub accelerator: Option<String>,
}

/// `[[local_model]]`: a further embedded model that answers, besides the one of `[local]`. What is left out is as there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLocalModel {
    /// A name from `sluicegate models list`, or a directory with a converted model. No default.
    pub model: String,
    /// Highest label that it may see. Default: as `local.clearance`.
    pub clearance: Option<String>,
    /// How close it comes to a strong model, 0 to 1. Default: as `local.strength`.
    pub strength: Option<f32>,
    /// Threads, 1 to 256. Default: the machine's cores, shared equally among the embedded models.
    pub threads: Option<usize>,
    /// Requests that are computed together, 1 to 256. Default: as `local.max_concurrency`.
    pub max_concurrency: Option<usize>,
    /// Requests that may wait for it. Default: as `local.max_queue`.
    pub max_queue: Option<usize>,
    /// Memory for keys and values of past tokens, in MiB. Default: as `local.cache_mib`.
    pub cache_mib: Option<u32>,
    /// Memory that weights and cache may take together, in MiB. Default: as `local.memory_mib`.
    pub memory_mib: Option<u32>,
    /// Seconds without a request after which it is unloaded, 0 for never. Default: as `local.unload_after_s`.
    pub unload_after_s: Option<u64>,
    /// Longest input and output together, in tokens. Default: as `local.context_tokens`.
    pub context_tokens: Option<u32>,
    /// Output tokens of one answer when the request sets no limit. Default: as `local.max_output_tokens`.
    pub max_output_tokens: Option<u32>,
}

/// `[policy]`: the rules.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPolicySource {
    /// Name of a preset. Default `balanced`.
    pub preset: Option<String>,
    /// Path of a policy file, instead of a preset.
    pub file: Option<String>,
}

/// `[detection]`: finding sensitive data.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDetection {
    /// Milliseconds that the search for patterns of sensitive data in one request may take, 1 to 600000. Default 5000: the built-in
    /// detectors read some megabytes a second. What is not read by then is doubt (`detector_timeout`), and the request gets
    /// the policy's `on_doubt` label.
    pub deadline_ms: u64,
    /// What finds names of persons, places and organisations, addresses and their like in free text: `required` (the
    /// default) uses the built-in model, and a request that it cannot read, or not in time, is in doubt;
    /// `when-available` leaves names out, without a doubt, while the model is not loaded; `off` leaves them out always.
    pub names: String,
    /// Folder with a trained names model, as training writes it. Default: the built-in one.
    pub names_artifact: Option<String>,
    /// Milliseconds that finding names in new text may take, 1 to 120000. Default 5000; a request that takes longer is in
    /// doubt. Text that was read before takes none.
    pub names_deadline_ms: u64,
    /// Threads of the names model, 1 to 64. Default 1.
    pub names_threads: usize,
}

/// `[router]`: the model that says how hard a request is, and the watch over whether traffic is still what it was set for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRouter {
    /// Folder with a trained router model, as training writes it. Default: the built-in one. SIGHUP reads this section's
    /// folder again: one that loads whole takes over for new requests, a damaged one leaves the old one serving.
    pub artifact: Option<String>,
    /// Ask the encoder where the features alone are not decisive. Default true.
    pub encoder: bool,
    /// Milliseconds that the encoder may take, 1 to 10000. Default 50; when it is late, the features' verdict stands.
    pub encoder_deadline_ms: u64,
    /// Threads of the encoder, 1 to 64. Default 1.
    pub encoder_threads: usize,
    /// Requests, and local answers, whose histograms are compared with the reference, 100 to 1000000. Default 2000: fewer
    /// notice a change sooner, more notice a smaller one. Each takes 8 bytes.
    pub drift_window: usize,
    /// Population stability index from which a dimension counts as drifted, 0.01 to 10. Default 0.25, as is usual; from 0.1
    /// on it is reported as moved.
    pub drift_psi_alert: f64,
    /// JSON file with the histograms to compare with: the field `reference` of what `GET /admin/v1/drift` shows. Default: this
    /// gateway's own first full window, kept beside the ledger as `<name>.drift.json`; `POST
    /// /admin/v1/drift/reference` takes the traffic of now instead.
    pub drift_reference: Option<String>,
    /// Make thresholds stricter while complexity or confidence have drifted, or while rated local answers are worse than
    /// the policy's `quality_min`. Default false: it is only reported.
    pub tighten: bool,
    /// Most that is added to a request's complexity, and to the confidence that a local answer must reach, 0 to 1.
    /// Default 0.15.
    pub tighten_max: f32,
}

/// `[accounting]`: savings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAccounting {
    /// Model that a request for `auto` would have used, for the savings column. Default `gpt-4o`.
    pub baseline_model: String,
}

/// `[prices]`: prices.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPrices {
    /// Price table to use instead of the built-in catalogue.
    pub file: Option<String>,
}

/// `[telemetry]`: logs and traces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTelemetry {
    /// Log filter, as `RUST_LOG`. Default `info`.
    pub log: String,
    /// `text` or `json`. Default `text`.
    pub log_format: String,
    /// OTLP/HTTP endpoint of a trace collector. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`, else no traces.
    pub otlp_endpoint: Option<String>,
}

/// `[[team]]`: a team with a budget or a tier.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTeam {
    /// Name.
    pub name: String,
    /// Dollars a calendar month (UTC). A request whose estimated worst case does not fit is answered at no cost or
    /// refused. The estimate takes the request's own output limit, or 4096 tokens without one. Default: no limit.
    pub monthly_budget_usd: Option<f64>,
    /// Tier that rules can read as `caller.tier`. Default `standard`.
    pub tier: Option<String>,
    /// Whose requests an embedded model starts first when several wait, -100 to 100, the highest first. Default 0. Teams
    /// of one priority get equal shares.
    #[serde(default)]
    pub local_priority: i8,
}

/// `[[upstream]]`: a place that requests can be forwarded to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    /// Unique name; `<name>/<model>` forces it.
    pub name: String,
    /// `openai` (also for vLLM, Ollama, LM Studio and other compatible servers).
    pub protocol: String,
    /// Base URL, up to and including `/v1`.
    pub base_url: String,
    /// `env:NAME` or `file:PATH`. Default: no key is sent.
    pub api_key: Option<String>,
    /// Highest label that it may see: `public`, `internal`, `confidential` or `restricted`. No default: somebody
    /// has to write it down.
    pub clearance: String,
    /// `cloud` or `on-prem`. Default `cloud`.
    #[serde(default = "default_location")]
    pub location: String,
    /// Region, for people and reports.
    pub region: Option<String>,
    /// PEM file with a certificate authority of its own, besides the public ones.
    pub ca_file: Option<String>,
    /// Seconds to open a connection. Default 5.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_s: u64,
    /// Seconds to wait for the response's headers. Default 120.
    #[serde(default = "default_response_timeout")]
    pub response_timeout_s: u64,
    /// Seconds without a byte after which a response is given up. Default 60.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout_s: u64,
    /// Models to use for `auto`, in order of preference.
    #[serde(default)]
    pub models: Vec<RawModel>,
}

/// `[[upstream.models]]`: one model of an upstream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    /// Name as the upstream knows it.
    pub name: String,
    /// How close it comes to the strongest models, 0 to 1. Default 1.
    #[serde(default = "default_strength")]
    pub strength: f32,
    /// It can call tools. Default true.
    #[serde(default = "yes")]
    pub tools: bool,
    /// It can follow a JSON schema. Default true.
    #[serde(default = "yes")]
    pub schema: bool,
    /// It reads images. Default true.
    #[serde(default = "yes")]
    pub vision: bool,
    /// Longest input and output together, in tokens. Default 128000.
    #[serde(default = "default_context")]
    pub context_tokens: u32,
    /// Dollars per million tokens, instead of the price table's.
    pub price: Option<policies::RawPrice>,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            listen: String::from("127.0.0.1:8080"),
            body_bytes_max: 16 << 20,
            connections_max: 4096,
            header_timeout_s: 15,
            request_timeout_s: 900,
            drain_timeout_s: 30,
            tls: None,
        }
    }
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self { listen: String::from("127.0.0.1:8081"), token: None }
    }
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self { require_key: String::from("auto") }
    }
}

impl Default for RawLedger {
    fn default() -> Self {
        Self { url: String::from("sqlite://sluicegate.db"), features: false }
    }
}

impl Default for RawLocal {
    fn default() -> Self {
        Self {
            enabled: true,
            model: String::from(local_runtime::DEFAULT_MODEL),
            threads: None,
            spinning: None,
            max_concurrency: local_runtime::DEFAULT_MAX_CONCURRENCY,
            accelerator: String::from("cpu"),
            max_queue: 16,
            cache_mib: local_runtime::DEFAULT_CACHE_MIB,
            memory_mib: None,
            unload_after_s: 0,
            context_tokens: 8192,
            max_output_tokens: 512,
            clearance: String::from("restricted"),
            strength: 0.0,
            watts_per_core: 8.0,
            onnxruntime: None,
            cache_dir: None,
            offline: false,
            embedding: None,
        }
    }
}

impl Default for RawDetection {
    fn default() -> Self {
        Self {
            deadline_ms: 5_000,
            names: String::from("required"),
            names_artifact: None,
            names_deadline_ms: 5_000,
            names_threads: 1,
        }
    }
}

impl Default for RawRouter {
    fn default() -> Self {
        Self {
            artifact: None,
            encoder: true,
            encoder_deadline_ms: 50,
            encoder_threads: 1,
            drift_window: 2_000,
            drift_psi_alert: 0.25,
            drift_reference: None,
            tighten: false,
            tighten_max: 0.15,
        }
    }
}

impl Default for RawAccounting {
    fn default() -> Self {
        Self { baseline_model: String::from("gpt-4o") }
    }
}

impl Default for RawTelemetry {
    fn default() -> Self {
        Self { log: String::from("info"), log_format: String::from("text"), otlp_endpoint: None }
    }
}

fn default_location() -> String {
    String::from("cloud")
}
const fn default_connect_timeout() -> u64 {
    5
}
const fn default_response_timeout() -> u64 {
    120
}
const fn default_idle_timeout() -> u64 {
    60
}
const fn default_strength() -> f32 {
    1.0
}
const fn default_context() -> u32 {
    128_000
}
const fn default_batch_tokens() -> u32 {
    local_runtime::DEFAULT_BATCH_TOKENS
}
const fn default_embedding_queue() -> usize {
    local_runtime::DEFAULT_ENCODER_MAX_QUEUE
}
const fn yes() -> bool {
    true
}
