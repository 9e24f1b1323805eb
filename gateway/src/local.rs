//! The embedded model's place in the gateway: loading, ready, or failed, and always honest about which.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use local_runtime::{Runtime, RuntimeConfig, Store};
use policies::{Availability, Capabilities, Location, Price, Target};

use crate::config::{Config, Local};
use crate::provision::{HttpFetcher, ProgressBars};

/// State of the embedded model.
#[derive(Debug, Clone)]
enum State {
    Loading,
    Ready(Runtime),
    Failed(Arc<str>),
    /// Not loaded here, but installed: for explaining what a gateway would do.
    Installed,
}

/// The embedded model, once and while it is there.
#[derive(Debug)]
pub struct LocalModel {
    config: Local,
    state: RwLock<(State, Arc<Target>)>,
}

impl LocalModel {
    /// A model that is still to be loaded.
    #[must_use]
    pub fn new(config: Local) -> Self {
        let state = State::Loading;
        let target = target(&config, &state);
        Self { config, state: RwLock::new((state, target)) }
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &Local {
        &self.config
    }

    /// The target, as available as it is now.
    #[must_use]
    pub fn target(&self) -> Arc<Target> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &state.0 {
            State::Ready(runtime) if !runtime.is_healthy() => {
                let availability = Availability::Unavailable("the local model's worker has stopped".into());
                Arc::new(Target { availability, ..(*state.1).clone() })
            }
            _ => state.1.clone(),
        }
    }

    /// The loaded model.
    #[must_use]
    pub fn runtime(&self) -> Option<Runtime> {
        match &self.state.read().unwrap_or_else(PoisonError::into_inner).0 {
            State::Ready(runtime) if runtime.is_healthy() => Some(runtime.clone()),
            _ => None,
        }
    }

    /// Why it cannot be used, if it cannot.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<str>> {
        match &self.state.read().unwrap_or_else(PoisonError::into_inner).0 {
            State::Loading => Some(Arc::from("the local model is still loading")),
            State::Failed(why) => Some(why.clone()),
            State::Ready(runtime) if !runtime.is_healthy() => {
                Some(Arc::from("the local model's worker has stopped"))
            }
            State::Ready(_) | State::Installed => None,
        }
    }

    /// Takes the model for usable without loading it, for explaining what a gateway would do.
    pub fn assume_installed(&self) {
        self.put(State::Installed);
    }

    /// Takes the model for missing, with a reason that may be shown.
    pub fn set_missing(&self, why: &str) {
        self.put(State::Failed(why.into()));
    }

    /// Sets the outcome of loading. Why it failed is for the operator's log: it names paths and commands, which are
    /// not every caller's business.
    pub fn set(&self, loaded: Result<Runtime, String>) {
        let state = match loaded {
            Ok(runtime) => State::Ready(runtime),
            Err(_) => State::Failed("the local model cannot be used; the gateway's log says why".into()),
        };
        self.put(state);
    }

    fn put(&self, state: State) {
        let target = target(&self.config, &state);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = (state, target);
    }
}

fn target(config: &Local, state: &State) -> Arc<Target> {
    let (name, context_tokens, tools) = match state {
        State::Ready(runtime) => {
            let info = runtime.info();
            (info.name.clone(), info.context_tokens, info.tool_format.is_some())
        }
        _ => (model_name(&config.model), config.context_tokens, false),
    };
    let availability = match state {
        State::Ready(_) | State::Installed => Availability::Ready,
        State::Loading => Availability::Unavailable("the local model is still loading".into()),
        State::Failed(why) => Availability::Unavailable(why.clone()),
    };
    Arc::new(Target {
        id: format!("local/{name}").into(),
        location: Location::Local,
        upstream: "local".into(),
        model: name.into(),
        clearance: config.clearance,
        capabilities: Capabilities { tools, schema: true, vision: false, choices: true, context_tokens },
        price: Some(Price::FREE),
        strength: config.strength,
        availability,
    })
}

/// A model's name from what the configuration says: a directory is named by its last part.
fn model_name(model: &str) -> String {
    Path::new(model).file_name().map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The store of models and libraries of a configuration.
#[must_use]
pub fn store(config: &Config) -> Store {
    Store::open(config.store.cache_dir.clone().unwrap_or_else(Store::default_root))
}

/// Obtains what is missing and loads the model. Blocks for as long as that takes; shows progress on a terminal.
///
/// # Errors
/// A sentence that says what is missing and which command mends it.
pub fn load(config: &Config, local: &Local) -> Result<Runtime, String> {
    let explain = |error: local_runtime::Error| explain(&error);
    let store = store(config);
    let (fetcher, progress) = (HttpFetcher::default(), ProgressBars::default());
    let offline = config.store.offline;
    let library = store
        .ensure_onnx_runtime(config.store.onnxruntime.as_deref(), &fetcher, &progress, offline)
        .map_err(explain)?;
    let model = store.ensure_model(&local.model, &fetcher, &progress, offline).map_err(explain)?;
    let mut settings = RuntimeConfig::new(model.path);
    settings.threads = local.threads;
    settings.spinning = local.spinning;
    settings.accelerator = local.accelerator.clone();
    settings.max_queue = local.max_queue;
    settings.context_tokens = Some(local.context_tokens);
    // The gateway passes each request's own limit; this is the ceiling.
    settings.max_output_tokens = local.context_tokens;
    // One tenant must not learn from timing what another one's prompt began with.
    settings.prefix_reuse = false;
    let runtime = Runtime::load(&library, settings).map_err(explain)?;
    if !runtime.info().has_chat_template {
        runtime.shutdown();
        return Err(format!("{} has no chat template, so it cannot answer conversations", local.model));
    }
    Ok(runtime)
}

/// Stops a model's thread when a command ends, however it ends: the process must not exit under a running step.
#[derive(Debug)]
pub struct StopOnDrop(pub Runtime);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// An error with its sources, in one line.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
