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
    /// State shared by several replicas.
    pub shared: Option<RawShared>,
    /// The embedded model.
    #[serde(default)]
    pub local: RawLocal,
    /// The rules.
    #[serde(default)]
    pub policy: RawPolicySource,
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
    /// Let the model's threads spin between operators: faster on a calm machine, slower on a busy one. Default true.
    pub spinning: bool,
    /// Requests that may wait for the model. Default 16; more are answered elsewhere or with 503 and retry-after.
    pub max_queue: usize,
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
        Self { url: String::from("sqlite://sluicegate.db") }
    }
}

impl Default for RawLocal {
    fn default() -> Self {
        Self {
            enabled: true,
            model: String::from(local_runtime::DEFAULT_MODEL),
            threads: None,
            spinning: true,
            max_queue: 16,
            context_tokens: 8192,
            max_output_tokens: 512,
            clearance: String::from("restricted"),
            strength: 0.0,
            watts_per_core: 8.0,
            onnxruntime: None,
            cache_dir: None,
            offline: false,
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
const fn yes() -> bool {
    true
}
