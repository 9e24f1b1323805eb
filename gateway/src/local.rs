//! The embedded models' place in the gateway: loading, ready, asleep, or failed, and always honest about which.
//!
//! A model can be exchanged while requests run: the new one is loaded beside the old one and put in its place, and the old one
//! ends when the requests that it has are done. A model that nobody uses for as long as its settings say is
//! unloaded, and loaded again by the next request for it, which waits.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use local_runtime::{Runtime, RuntimeConfig, Store};
use policies::{Availability, Capabilities, Location, Price, Target};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::config::{Config, Local, Store as StoreSettings};
use crate::provision::{HttpFetcher, ProgressBars};

/// A step that runs for longer than this is stuck: the slowest takes seconds.
const STUCK: Duration = Duration::from_secs(120);

/// A model whose worker died is loaded again after this time.
const MEND_AFTER: Duration = Duration::from_secs(60);
/// Former ids of a target that are remembered.
const FORMER_IDS_MAX: usize = 8;

/// State of an embedded model.
#[derive(Debug, Clone)]
enum State {
    Loading,
    Ready(Runtime),
    /// Unloaded after nobody used it; the next request loads it.
    Asleep,
    Failed(Arc<str>),
    /// Not loaded here, but installed: for explaining what a gateway would do.
    Installed,
}

/// An embedded model, once and while it is there.
#[derive(Debug)]
pub struct LocalModel {
    store: StoreSettings,
    now: RwLock<Now>,
    /// Counts changes of state, for those who wait for one.
    changes: watch::Sender<u64>,
}

/// What can change while the gateway runs.
#[derive(Debug)]
struct Now {
    config: Arc<Local>,
    state: State,
    target: Arc<Target>,
    /// Ids that the target had before it was exchanged: requests may have been decided for them.
    former: Vec<Arc<str>>,
    used: Instant,
    /// Counts loads that were begun; only the newest may take effect.
    loads: u64,
    /// Thread count and spinning that were measured for these settings.
    measured: Option<(usize, bool)>,
    /// Models that were exchanged or put to sleep and may still have requests to finish.
    retired: Vec<Runtime>,
}

/// What loading a model came to, and how long it took.
pub type Report<'a> = (&'a Result<Runtime, String>, Duration);

impl LocalModel {
    /// A model that is still to be loaded.
    #[must_use]
    pub fn new(config: Local, store: StoreSettings) -> Self {
        let state = State::Loading;
        let target = target(&config, &state);
        let now = RwLock::new(Now {
            config: Arc::new(config),
            state,
            target,
            former: Vec::new(),
            used: Instant::now(),
            loads: 0,
            measured: None,
            retired: Vec::new(),
        });
        Self { store, now, changes: watch::Sender::new(0) }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> Arc<Local> {
        self.now().config.clone()
    }

    /// The target, as available as it is now.
    #[must_use]
    pub fn target(&self) -> Arc<Target> {
        let now = self.now();
        match &now.state {
            State::Ready(runtime) if !runtime.is_healthy() => {
                let availability = Availability::Unavailable("the local model's worker has stopped".into());
                Arc::new(Target { availability, ..(*now.target).clone() })
            }
            _ => now.target.clone(),
        }
    }

    /// Whether requests for a target are this model's: it is its target, or was until the model was exchanged.
    #[must_use]
    pub fn answers_for(&self, id: &str) -> bool {
        let now = self.now();
        &*now.target.id == id || now.former.iter().any(|former| &**former == id)
    }

    /// The loaded model, and those that were replaced and may still be busy.
    #[must_use]
    pub fn runtimes(&self) -> Vec<Runtime> {
        let now = self.now();
        let current = if let State::Ready(runtime) = &now.state { Some(runtime.clone()) } else { None };
        current.into_iter().chain(now.retired.iter().cloned()).collect()
    }

    /// Whether there is nothing to mend: it is loaded and lives, sleeps, or is being loaded.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match &self.now().state {
            State::Ready(runtime) => runtime.is_healthy(),
            State::Asleep | State::Loading | State::Installed => true,
            State::Failed(_) => false,
        }
    }

    /// The loaded model.
    #[must_use]
    pub fn runtime(&self) -> Option<Runtime> {
        match &self.now().state {
            State::Ready(runtime) if runtime.is_healthy() => Some(runtime.clone()),
            _ => None,
        }
    }

    /// The loaded model, for a request: one that sleeps is loaded first.
    ///
    /// # Cancel safety
    /// Cancel-safe; loading goes on.
    pub async fn awake(self: &Arc<Self>) -> Option<Runtime> {
        let mut changes = self.changes.subscribe();
        self.wake();
        loop {
            changes.borrow_and_update();
            if !matches!(self.now().state, State::Loading) {
                break;
            }
            changes.changed().await.ok()?;
        }
        self.now.write().unwrap_or_else(PoisonError::into_inner).used = Instant::now();
        self.runtime()
    }

    /// Begins to load the model if it sleeps.
    fn wake(self: &Arc<Self>) {
        if !matches!(self.now().state, State::Asleep) {
            return;
        }
        let sleeps = self.write(|now| {
            let sleeps = matches!(now.state, State::Asleep);
            if sleeps {
                now.state = State::Loading;
            }
            sleeps
        });
        if sleeps {
            self.begin(true, self.config(), |(loaded, took)| match loaded {
                Ok(runtime) => {
                    let seconds = took.as_secs_f64();
                    tracing::info!(model = runtime.info().name, seconds, "the local model was loaded again");
                }
                Err(why) => tracing::error!(%why, "the local model could not be loaded again"),
            });
        }
    }

    /// Loads the model, on a thread of its own because that blocks for seconds or, the first time, minutes; the thread ends
    /// with the process. If another model is in use or asleep, it stays so until the new one is ready, and for good if loading
    /// fails or a newer load was begun.
    pub fn load_beside(
        self: &Arc<Self>,
        config: Arc<Local>,
        report: impl FnOnce(Report<'_>) + Send + 'static,
    ) {
        self.begin(false, config, report);
    }

    fn begin(
        self: &Arc<Self>,
        wakes: bool,
        config: Arc<Local>,
        report: impl FnOnce(Report<'_>) + Send + 'static,
    ) {
        let (load, measured) = self.write(|now| {
            now.loads += 1;
            (now.loads, now.measured.filter(|_| now.config == config))
        });
        let model = self.clone();
        let work = move || {
            let started = Instant::now();
            let attempt = std::panic::AssertUnwindSafe(|| load_with(&model.store, &config, measured));
            let loaded = std::panic::catch_unwind(attempt)
                .unwrap_or_else(|_| Err(String::from("loading it failed with a bug of ours")));
            report((&loaded, started.elapsed()));
            model.write(|now| now.loaded(load, wakes, config, loaded));
        };
        if let Err(error) = std::thread::Builder::new().name(String::from("load-model")).spawn(work) {
            self.set(Err(error.to_string()));
        }
    }

    /// Unloads the model if it has been idle for as long as its settings allow. Returns whether it did.
    pub fn sleep_if_idle(&self) -> bool {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let State::Ready(runtime) = &now.state else { return false };
        let load = runtime.load_now();
        if load.running > 0 || load.waiting > 0 {
            now.used = Instant::now();
            return false;
        }
        let sleeps = now.config.unload_after.is_some_and(|patience| now.used.elapsed() >= patience);
        if sleeps {
            // The target stays as it is: requests may still be sent to it.
            now.retire(State::Asleep);
        }
        sleeps
    }

    /// Why it cannot be used, if it cannot.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<str>> {
        match &self.now().state {
            State::Loading => Some(Arc::from("the local model is still loading")),
            State::Failed(why) => Some(why.clone()),
            State::Ready(runtime) if !runtime.is_healthy() => {
                Some(Arc::from("the local model's worker has stopped"))
            }
            State::Ready(runtime) if runtime.load_now().step_running > STUCK => {
                Some(Arc::from("the local model is stuck"))
            }
            State::Ready(_) | State::Asleep | State::Installed => None,
        }
    }

    /// What an operator wants to know.
    #[must_use]
    pub fn describe(&self) -> Value {
        let now = self.now();
        let (state, runtime) = match &now.state {
            State::Loading => ("loading", None),
            State::Ready(runtime) => ("ready", Some(runtime)),
            State::Asleep => ("asleep", None),
            State::Failed(_) => ("failed", None),
            State::Installed => ("installed", None),
        };
        let mut model = json!({
            "id": &*now.target.id, "role": "chat", "state": state,
            "clearance": now.config.label_max().to_string(),
        });
        if let Some(runtime) = runtime {
            let (load, info) = (runtime.load_now(), runtime.info());
            model["healthy"] = json!(runtime.is_healthy());
            model["context_tokens"] = json!(info.context_tokens);
            model["threads"] = json!(runtime.threads());
            model["running"] = json!(load.running);
            model["waiting"] = json!(load.waiting);
            model["estimated_wait_s"] = json!(load.estimated_wait.as_secs_f64());
            model["cache_bytes"] = json!(load.cache_bytes);
            model["cache_bytes_max"] = json!(load.cache_bytes_max);
        }
        model
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

    /// Begins to load a model again whose worker has died, at most once a minute. Returns whether it did.
    pub fn mend(self: &Arc<Self>, report: impl FnOnce(Report<'_>) + Send + 'static) -> bool {
        let dead = self.write(|now| {
            let dead = matches!(&now.state, State::Ready(runtime) if !runtime.is_healthy());
            let mends = dead && now.used.elapsed() >= MEND_AFTER;
            if mends {
                now.used = Instant::now();
            }
            mends
        });
        if dead {
            self.begin(false, self.config(), report);
        }
        dead
    }

    fn put(&self, state: State) {
        self.write(|now| {
            now.target = target(&now.config, &state);
            now.state = state;
            now.used = Instant::now();
        });
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and tells those who wait for a change.
    fn write<T>(&self, change: impl FnOnce(&mut Now) -> T) -> T {
        let result = change(&mut self.now.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
        result
    }
}
impl Now {
    /// Takes the outcome of a load over, unless a newer one was begun.
    fn loaded(&mut self, load: u64, wakes: bool, config: Arc<Local>, loaded: Result<Runtime, String>) {
        if load != self.loads {
            return;
        }
        match loaded {
            Ok(runtime) => {
                let former = self.target.id.clone();
                self.measured = Some((runtime.threads(), runtime.spinning()));
                self.config = config;
                self.target = target(&self.config, &State::Ready(runtime.clone()));
                if former != self.target.id && !self.former.contains(&former) {
                    self.former.truncate(FORMER_IDS_MAX - 1);
                    self.former.insert(0, former);
                }
                self.retire(State::Ready(runtime));
            }
            // The next request tries again.
            Err(_) if wakes => self.state = State::Asleep,
            Err(_) if matches!(&self.state, State::Ready(_) | State::Asleep) => {}
            Err(_) => {
                let why = "the local model cannot be used; the gateway's log says why";
                self.state = State::Failed(why.into());
                self.target = target(&self.config, &self.state);
            }
        }
        self.used = Instant::now();
    }

    /// Puts another state in this one's place; a loaded model finishes what it has to do.
    fn retire(&mut self, state: State) {
        self.retired.retain(Runtime::is_healthy);
        if let State::Ready(runtime) = std::mem::replace(&mut self.state, state) {
            runtime.drain();
            self.retired.push(runtime);
        }
    }
}

fn target(config: &Local, state: &State) -> Arc<Target> {
    // The configuration's name, which is unique; two directories may hold models of one name.
    let name = model_name(&config.model);
    let (context_tokens, tools) = match state {
        State::Ready(runtime) => (runtime.info().context_tokens, runtime.info().tool_format.is_some()),
        _ => (config.context_tokens, false),
    };
    let availability = match state {
        State::Ready(_) | State::Asleep | State::Installed => Availability::Ready,
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
#[must_use]
pub fn model_name(model: &str) -> String {
    Path::new(model).file_name().map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The store of models and libraries of a configuration.
#[must_use]
pub fn store(config: &Config) -> Store {
    open_store(&config.store)
}

fn open_store(settings: &StoreSettings) -> Store {
    Store::open(settings.cache_dir.clone().unwrap_or_else(Store::default_root))
}

/// Obtains what is missing and loads the model. Blocks for as long as that takes; shows progress on a terminal.
///
/// # Errors
/// A sentence that says what is missing and which command mends it.
pub fn load(config: &Config, local: &Local) -> Result<Runtime, String> {
    load_with(&config.store, local, None)
}

fn load_with(
    settings: &StoreSettings,
    local: &Local,
    measured: Option<(usize, bool)>,
) -> Result<Runtime, String> {
    let explain = |error: local_runtime::Error| explain(&error);
    let store = open_store(settings);
    let (fetcher, progress) = (HttpFetcher::default(), ProgressBars::default());
    let offline = settings.offline;
    let library = store
        .ensure_onnx_runtime(settings.onnxruntime.as_deref(), &fetcher, &progress, offline)
        .map_err(explain)?;
    let model = store.ensure_model(&local.model, &fetcher, &progress, offline).map_err(explain)?;
    check_memory(local, &model.path)?;
    let runtime = Runtime::load(&library, runtime_config(local, measured, model.path)).map_err(explain)?;
    if !runtime.info().has_chat_template {
        runtime.shutdown();
        return Err(format!("{} has no chat template, so it cannot answer conversations", local.model));
    }
    Ok(runtime)
}

fn runtime_config(local: &Local, measured: Option<(usize, bool)>, directory: PathBuf) -> RuntimeConfig {
    let mut settings = RuntimeConfig::new(directory);
    settings.threads = local.threads;
    settings.spinning = local.spinning.unwrap_or_default();
    settings.tune = local.spinning.is_none();
    if let Some((threads, spinning)) = measured {
        (settings.threads, settings.spinning, settings.tune) = (Some(threads), spinning, false);
    }
    settings.accelerator = local.accelerator.clone();
    settings.max_concurrency = local.max_concurrency;
    settings.max_queue = local.max_queue;
    settings.cache_mib = local.cache_mib;
    settings.context_tokens = Some(local.context_tokens);
    // The gateway passes each request's own limit; this is the ceiling.
    settings.max_output_tokens = local.context_tokens;
    settings
}

/// Refuses a model whose files and cache together may take more memory than it is allowed.
fn check_memory(local: &Local, directory: &Path) -> Result<(), String> {
    let Some(most) = local.memory_mib else { return Ok(()) };
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let files = mebibytes(bytes_under(directory));
    let needed = files + u64::from(local.cache_mib);
    if needed > u64::from(most) {
        return Err(format!(
            "{} needs up to {needed} MiB ({files} MiB of weights and a cache of {} MiB), and local.memory_mib is {most}: \
             raise it, lower local.cache_mib, or choose a smaller model",
            local.model, local.cache_mib
        ));
    }
    Ok(())
}

/// Size of the files in a directory and one level below, which is as deep as model directories go.
fn bytes_under(directory: &Path) -> u64 {
    let entries = |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| {
        entry.metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 })
    };
    let below =
        entries(directory).filter(|entry| entry.path().is_dir()).flat_map(|entry| entries(&entry.path()));
    entries(directory).chain(below).map(size).sum()
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
