//! `sluicegate serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use policies::Location;
use tokio::net::TcpListener;

use super::{CliError, Common, Outcome, runtime, say, system_clock};
use crate::config::{Config, Overrides};
use crate::gateway::{Gateway, Parts};
use crate::local::{LocalModel, Report};
use crate::router::Exchanged;
use crate::{encoder, server, telemetry};

/// How long a stopping gateway waits for a model that is still being loaded.
const LOADING_ENDS: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Forward everything as asked and only record what a policy would do (preset `observe`).
    #[arg(long)]
    observe: bool,
    /// Local model to use instead of the configured one.
    #[arg(long, value_name = "NAME_OR_DIR")]
    model: Option<String>,
}

impl Options {
    fn load(&self) -> Result<Config, CliError> {
        let overrides =
            Overrides { observe: self.observe, model: self.model.clone(), ..Overrides::default() };
        self.common.load(overrides)
    }
}

pub(super) fn run(options: &Options) -> Outcome {
    let config = options.load()?;
    say(&format!("sluicegate {}: {}", env!("CARGO_PKG_VERSION"), options.common.source()));
    // Outside the asynchronous runtime: the trace exporter has a thread and a blocking client of its own.
    let telemetry = telemetry::start(&config.telemetry).map_err(CliError::Fault)?;
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, options));
    drop(runtime);
    drop(telemetry);
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config, options: &Options) -> Result<(), CliError> {
    let bind = |address| async move {
        TcpListener::bind(address)
            .await
            .map_err(|error| CliError::Fault(format!("{address} cannot be listened on: {error}")))
    };
    let parts = Parts {
        data: bind(config.server.listen).await?,
        admin: bind(config.admin.listen).await?,
        clock: system_clock(),
    };
    let data = parts.data.local_addr()?;
    let admin = parts.admin.local_addr()?;
    let gateway = Gateway::build(config, parts.clock.clone()).map_err(|error| CliError::fault(&error))?;
    announce(&gateway);
    // Before anybody is told that it listens: a signal that nobody waits for ends the process.
    #[cfg(unix)]
    reload_on_hangup(&gateway, options);
    let stop = stop_signal();
    let scheme = if gateway.config.server.tls.is_some() { "https" } else { "http" };
    say(&format!("listening: {scheme}://{data}/v1 (clients), http://{admin}/metrics (admin)"));
    load_models(&gateway);
    watch_models(&gateway);
    let loading =
        [load_encoder(gateway.clone()), load_router_encoder(gateway.clone()), load_names(gateway.clone())];
    let ledger = gateway.ledger.clone();
    server::serve(gateway, parts, stop).await.map_err(|error| CliError::fault(&error))?;
    ended(&loading.into_iter().flatten().collect::<Vec<_>>()).await;
    say(&format!("audit head: {}", ledger.audit_head()));
    say("stopped: every request is settled");
    Ok(())
}

/// Waits for threads that load a model: the process must not end under them, since the library that they are in is
/// unloaded then. One that is still downloading is not waited for longer than [`LOADING_ENDS`].
async fn ended(loading: &[JoinHandle<()>]) {
    let until = Instant::now() + LOADING_ENDS;
    while loading.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Says what the gateway will do, before it does it.
fn announce(gateway: &Gateway) {
    let config = &gateway.config;
    say(&format!("policy: {} ({})", gateway.policy.name(), gateway.policy.revision()));
    if gateway.policy.observes() {
        say("observing: NOTHING IS KEPT BACK; labels are recorded, and requests go where the client asks");
    }
    say(&format!("router model: {}", gateway.router.revision()));
    say(&format!(
        "ledger: {}; prices: {} {}",
        config.ledger.display(),
        config.prices.source,
        config.prices.version
    ));
    let required = if gateway.policy.requires_audit() { "; nothing leaves without its record" } else { "" };
    say(&format!("audit head: {} ({}{required})", gateway.ledger.audit_head(), config.audit.name()));
    for upstream in &gateway.portfolio.upstreams {
        let upstream = &upstream.config;
        let key = match &upstream.api_key {
            Ok(Some(_)) => String::from("key set"),
            Ok(None) => String::from("no key needed"),
            Err(error) => format!("NOT AVAILABLE: {error}"),
        };
        say(&format!(
            "upstream: {} ({}, {}), cleared for {}, {key}",
            upstream.name, upstream.location, upstream.base_url, upstream.clearance
        ));
    }
    if !gateway.portfolio.reaches(Location::Cloud) {
        say(
            "no cloud is configured: hard requests are answered locally and marked as degraded, or refused, as the policy says",
        );
    }
}

/// How often idle models are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// Obtains and loads the embedded models beside the running server; until then requests see them as unavailable.
fn load_models(gateway: &Gateway) {
    if gateway.portfolio.locals.is_empty() {
        say("no local model is configured");
    }
    for model in &gateway.portfolio.locals {
        let settings = model.config();
        say(&format!(
            "local model: {} (obtained at first start; this may take a few minutes)",
            settings.model
        ));
        model.load_beside(settings, |report| say_loaded("ready", report));
    }
}

fn say_loaded(what: &str, (loaded, took): Report<'_>) {
    match loaded {
        Ok(runtime) => {
            let info = runtime.info();
            say(&format!(
                "{what}: {} ({}, {} tokens of context, {} threads) loaded in {:.1} s",
                info.name,
                info.licence.as_deref().unwrap_or("licence not stated"),
                info.context_tokens,
                runtime.threads(),
                took.as_secs_f64()
            ));
        }
        Err(why) => say(&format!("the local model cannot be used: {why}")),
    }
}

/// Unloads models that nobody uses, and loads those again whose worker died.
fn watch_models(gateway: &Arc<Gateway>) {
    let (models, tasks) = (gateway.portfolio.locals.clone(), gateway.tasks.clone());
    gateway.tasks.spawn("idle-models", async move {
        let stopping = tasks.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(IDLE_CHECK) => {}
            }
            for model in models.iter().filter(|model| model.sleep_if_idle()) {
                tracing::info!(model = %model.target().id, "unloaded: nobody used it");
            }
            for model in &models {
                if model.mend(|report| say_loaded("mended", report)) {
                    tracing::warn!(model = %model.target().id, "its worker died; it is loaded again");
                }
            }
        }
    });
}

/// At SIGHUP reads the configuration again and exchanges the embedded models whose settings changed, and the router model,
/// without dropping a request. Everything else needs a restart.
#[cfg(unix)]
fn reload_on_hangup(gateway: &Arc<Gateway>, options: &Options) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let (reloaded, tasks, options) = (gateway.clone(), gateway.tasks.clone(), options.clone());
    gateway.tasks.spawn("reload", async move {
        let stopping = tasks.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                signal = hangup.recv() => if signal.is_none() { return },
            }
            let (gateway, options) = (reloaded.clone(), options.clone());
            let read = tokio::task::spawn_blocking(move || exchange(&gateway, &options)).await;
            if read.is_err() {
                tracing::error!(
                    "reading the configuration again failed with a bug of ours; nothing else changed"
                );
            }
        }
    });
}

#[cfg(unix)]
fn exchange(gateway: &Gateway, options: &Options) {
    let config = match options.load() {
        Ok(config) => config,
        Err(error) => {
            gateway.metrics.router_reloaded("failed");
            return say(&format!("the configuration was not read again: {error}"));
        }
    };
    say(match gateway.exchange_router(&config.router) {
        Ok(Exchanged::To(_)) => "another router model is in service",
        Ok(Exchanged::Unchanged) => "the router model is the same as before",
        Err(_) => "the router model was not exchanged",
    });
    exchange_models(&gateway.portfolio.locals, config);
}

#[cfg(unix)]
fn exchange_models(models: &[Arc<LocalModel>], config: Config) {
    if config.locals.len() != models.len() {
        return say("the number of embedded models changed; that needs a restart");
    }
    say("the configuration was read again for the embedded models that answer; other changes need a restart");
    for (model, settings) in models.iter().zip(config.locals) {
        if *model.config() == settings && model.is_sound() {
            continue;
        }
        say(&format!("exchanging {} for {}", model.target().id, settings.model));
        model.load_beside(Arc::new(settings), |report| say_loaded("exchanged", report));
    }
}

fn spawn_loading(name: &str, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.inspect_err(|error| say(&format!("{name}: there is no thread for it: {error}"))).ok()
}

/// Loads the embedded encoder, if one is configured, in the same way.
fn load_encoder(gateway: Arc<Gateway>) -> Option<JoinHandle<()>> {
    let settings = gateway.portfolio.encoder.as_ref().map(|encoder| encoder.config().clone())?;
    say(&format!("local embedding model: {}", settings.model));
    let work = move || {
        let attempt = std::panic::AssertUnwindSafe(|| encoder::load(&gateway.config, &settings));
        let loaded = std::panic::catch_unwind(attempt)
            .unwrap_or_else(|_| Err(String::from("loading it failed with a bug of ours")));
        match &loaded {
            Ok(encoder) => {
                let info = encoder.info();
                say(&format!(
                    "ready: {} ({}, {} values a vector, texts of at most {} tokens)",
                    info.name,
                    info.family,
                    info.dimensions.unwrap_or_default(),
                    info.max_tokens
                ));
            }
            Err(why) => say(&format!("the local embedding model cannot be used: {why}")),
        }
        if let Some(encoder) = &gateway.portfolio.encoder {
            encoder.set(loaded);
        }
    };
    spawn_loading("load-encoder", work)
}

/// Loads the router model's encoder in the background; until it is there, and if it cannot be had, the features decide alone.
fn load_router_encoder(gateway: Arc<Gateway>) -> Option<JoinHandle<()>> {
    let work = move || {
        let loaded = match crate::router::encoder_source(&gateway.config) {
            Ok(None) => return,
            Ok(Some(source)) => {
                gateway.router.load_encoder(source).map_err(|error| crate::local::explain(&error))
            }
            Err(why) => Err(why),
        };
        match loaded {
            Ok(()) => say("ready: the router model's encoder"),
            Err(why) => {
                say(&format!("the router model decides by features alone, without its encoder: {why}"))
            }
        }
    };
    spawn_loading("load-router", work)
}

/// Loads the model that finds names in the background. Until it is there, requests are in doubt where it is required.
fn load_names(gateway: Arc<Gateway>) -> Option<JoinHandle<()>> {
    let work = move || {
        let loaded = match crate::router::names_source(&gateway.config) {
            Ok(None) => return,
            Ok(Some(source)) => {
                gateway.router.load_names(&source).map_err(|error| crate::local::explain(&error))
            }
            Err(why) => Err(why),
        };
        match loaded {
            Ok(()) => say("ready: the names model"),
            Err(why) if gateway.classifier().lacks_names() => {
                say(&format!("the names model is missing, so every request is in doubt: {why}"));
            }
            Err(why) => say(&format!("names are not looked for: {why}")),
        }
    };
    spawn_loading("load-names", work)
}

/// Completes at SIGINT or SIGTERM. Waits for SIGTERM from the call on, not only from the first poll.
fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    async move {
        #[cfg(unix)]
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            say("stopping: running requests may finish");
            return;
        }
        let _ = tokio::signal::ctrl_c().await;
        say("stopping: running requests may finish");
    }
}
