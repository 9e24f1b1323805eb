//! Configuration: a raw section for each key that people write, and a checked one for the code.
//!
//! Only [`Config`] reaches the rest of the gateway. [`Config::parse`] reports every fault with file, line,
//! key and, for an unknown key, the nearest valid one.

mod docs;
mod policy;
mod raw;
mod secret;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use local_runtime::{Accelerator, Pooling};
use policies::{Capabilities, Clearance, Faults, Label, Location, Money, PolicySet, Price, PriceTable};
use router_model::ClassifierConfig;
use router_model::names::NamesMode;
use router_model::sensitivity::DetectorConfig;

use crate::audit::Seal;
use crate::drift::Reference;

pub use docs::reference;
pub use policy::parse as parse_policy;
pub use secret::{Secret, SecretError, SecretRef};

/// A commented configuration with every section, as `sluicegate init` writes it.
pub const TEMPLATE: &str = include_str!("../../../examples/sluicegate.toml");

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Data plane.
    pub server: Server,
    /// Admin plane.
    pub admin: Admin,
    /// Must every request carry a key?
    pub require_key: bool,
    /// SQLite file of the ledger.
    pub ledger: PathBuf,
    /// Keep the complexity model's features in it?
    pub ledger_features: bool,
    /// How the audit chain in it is sealed.
    pub audit: Seal,
    /// Embedded models that answer, the default one first; empty if none is to run.
    pub locals: Vec<Local>,
    /// Embedded encoder, if one is to run.
    pub embedding: Option<Embedding>,
    /// Where models and libraries are kept.
    pub store: Store,
    /// The rules.
    pub policy: Arc<PolicySet>,
    /// Finding sensitive data.
    pub detection: Detection,
    /// The router model and the watch over it.
    pub router: Router,
    /// Prices, with the configuration's own on top.
    pub prices: Arc<PriceTable>,
    /// Model that `auto` is compared with.
    pub baseline_model: String,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// Teams with settings.
    pub teams: Vec<Team>,
    /// Upstreams in the operator's order.
    pub upstreams: Vec<Upstream>,
}

/// Data plane.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address.
    pub listen: SocketAddr,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// For a request's headers.
    pub header_timeout: Duration,
    /// For a whole request.
    pub request_timeout: Duration,
    /// For running requests at shutdown.
    pub drain_timeout: Duration,
    /// Certificate chain and key.
    pub tls: Option<Tls>,
}

/// Files of a server certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// Admin plane.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address.
    pub listen: SocketAddr,
    /// Bearer token.
    pub token: Option<Secret>,
}

/// Embedded model.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    /// Catalogue name or directory.
    pub model: String,
    /// Threads.
    pub threads: Option<usize>,
    /// Spin between operators; measured when absent.
    pub spinning: Option<bool>,
    /// Requests that are computed together.
    pub max_concurrency: usize,
    /// What it computes on.
    pub accelerator: Accelerator,
    /// Waiting requests.
    pub max_queue: usize,
    /// Memory for keys and values of past tokens, in MiB.
    pub cache_mib: u32,
    /// Memory that weights and cache may take together, in MiB.
    pub memory_mib: Option<u32>,
    /// Idle time after which the model is unloaded.
    pub unload_after: Option<Duration>,
    /// Context limit.
    pub context_tokens: u32,
    /// Default output limit.
    pub max_output_tokens: u32,
    /// Highest label that it may see.
    pub clearance: Clearance,
    /// Closeness to a strong model.
    pub strength: f32,
    /// Watts of a busy core.
    pub watts_per_core: f64,
}

/// Embedded encoder.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// Directory, or the name of an installed one.
    pub model: String,
    /// Graph inside the directory.
    pub file: Option<String>,
    /// Pooling, if not the model's own.
    pub pooling: Option<Pooling>,
    /// Vectors get length one.
    pub normalize: bool,
    /// Prompt before each text.
    pub prompt: Option<String>,
    /// Longest text.
    pub max_tokens: Option<u32>,
    /// Tokens computed at once.
    pub batch_tokens: u32,
    /// Threads.
    pub threads: Option<usize>,
    /// Waiting requests.
    pub max_queue: usize,
    /// Highest label that it may see.
    pub clearance: Clearance,
    /// What it computes on.
    pub accelerator: Accelerator,
}

/// Where models and libraries are kept.
#[derive(Debug, Clone)]
pub struct Store {
    /// Cache directory; the platform's when absent.
    pub cache_dir: Option<PathBuf>,
    /// ONNX Runtime library.
    pub onnxruntime: Option<PathBuf>,
    /// Never download.
    pub offline: bool,
}

/// Finding sensitive data.
#[derive(Debug, Clone)]
pub struct Detection {
    /// What patterns may take.
    pub deadline: Duration,
    /// What it means when the names model cannot be used.
    pub names: NamesMode,
    /// Folder of a trained one; the built-in one when absent.
    pub names_artifact: Option<PathBuf>,
    /// What finding names in new text may take.
    pub names_deadline: Duration,
    /// Threads of the names model.
    pub names_threads: usize,
}

/// The router model and the watch over it.
#[derive(Debug, Clone)]
pub struct Router {
    /// Folder of a trained one; the built-in one when absent.
    pub artifact: Option<PathBuf>,
    /// Ask the encoder where features are not decisive.
    pub encoder: bool,
    /// What the encoder may take.
    pub encoder_deadline: Duration,
    /// Threads of the encoder.
    pub encoder_threads: usize,
    /// Requests that are compared with the reference.
    pub drift_window: usize,
    /// Index from which a dimension has drifted.
    pub drift_psi_alert: f64,
    /// Histograms to compare with, instead of the gateway's own.
    pub drift_reference: Option<Reference>,
    /// Most that is added to thresholds while traffic has drifted; 0 where they stay.
    pub tighten_max: f32,
}

impl Config {
    /// Settings of the classifier.
    #[must_use]
    pub fn classifier(&self) -> ClassifierConfig {
        let detector = DetectorConfig { terms: self.policy.terms().to_vec(), ..DetectorConfig::default() };
        ClassifierConfig {
            artifact: self.router.artifact.clone(),
            detector,
            detection_deadline: self.detection.deadline,
            names: self.detection.names,
            names_artifact: self.detection.names_artifact.clone(),
            ..ClassifierConfig::default()
        }
    }
}

/// Logs and traces.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Filter.
    pub log: String,
    /// JSON lines instead of text.
    pub json: bool,
    /// Trace collector.
    pub otlp_endpoint: Option<String>,
}

/// A team with settings.
#[derive(Debug, Clone)]
pub struct Team {
    /// Name.
    pub name: String,
    /// Money a calendar month.
    pub monthly_budget: Option<Money>,
    /// Tier.
    pub tier: String,
    /// Whose requests the embedded models start first.
    pub local_priority: i8,
}

/// A place that requests can be forwarded to.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Unique name.
    pub name: Arc<str>,
    /// Base URL without a trailing slash.
    pub base_url: String,
    /// Key, or why there is none.
    pub api_key: Result<Option<Secret>, SecretError>,
    /// Highest label that it may see.
    pub clearance: Clearance,
    /// Cloud or on-premises.
    pub location: Location,
    /// Region.
    pub region: Option<String>,
    /// Its own certificate authority.
    pub ca_file: Option<PathBuf>,
    /// To open a connection.
    pub connect_timeout: Duration,
    /// For the response's headers.
    pub response_timeout: Duration,
    /// Without a byte.
    pub idle_timeout: Duration,
    /// Models for `auto`.
    pub models: Vec<Model>,
}

/// One model of an upstream.
#[derive(Debug, Clone)]
pub struct Model {
    /// Name.
    pub name: Arc<str>,
    /// Closeness to the strongest.
    pub strength: f32,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Price of its own.
    pub price: Option<Price>,
}

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has faults.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Settings that the command line lays over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Use the preset `observe`.
    pub observe: bool,
    /// Never download.
    pub offline: bool,
    /// Another local model.
    pub model: Option<String>,
    /// Another policy: a file, or the name of a preset.
    pub policy: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &std::path::Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text, overrides)
    }

    /// The configuration that holds when there is no file: the template's.
    ///
    /// # Errors
    /// None in practice: a test reads the template.
    pub fn built_in(overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::parse("built-in configuration", TEMPLATE, overrides)
    }

    /// Checks a text. Relative paths are taken from the working directory.
    ///
    /// # Errors
    /// [`ConfigError::Faults`] with every fault.
    pub fn parse(file: &str, text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        validate::config(file, text, overrides)
    }

    /// The embedded model that answers by default.
    #[must_use]
    pub fn local(&self) -> Option<&Local> {
        self.locals.first()
    }

    /// The settings of a team, by name.
    #[must_use]
    pub fn team(&self, name: &str) -> Option<&Team> {
        self.teams.iter().find(|team| team.name == name)
    }
}

impl Local {
    /// Clearance as a label, for messages.
    #[must_use]
    pub const fn label_max(&self) -> Label {
        self.clearance.0
    }
}
