//! `sluicegate serve`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use policies::Location;
use tokio::net::TcpListener;

use super::{CliError, Common, Outcome, runtime, say, system_clock};
use crate::config::{Config, Overrides};
use crate::gateway::{Gateway, Parts};
use crate::{encoder, local, server, telemetry};

#[derive(Debug, Args)]
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

pub(super) fn run(options: &Options) -> Outcome {
    let overrides = Overrides { observe: options.observe, model: options.model.clone(), offline: false };
    let config = options.common.load(overrides)?;
    say(&format!("sluicegate {}: {}", env!("CARGO_PKG_VERSION"), options.common.source()));
    // Outside the asynchronous runtime: the trace exporter has a thread and a blocking client of its own.
    let telemetry = telemetry::start(&config.telemetry).map_err(CliError::Fault)?;
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config));
    drop(runtime);
    drop(telemetry);
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), CliError> {
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
    let scheme = if gateway.config.server.tls.is_some() { "https" } else { "http" };
    say(&format!("listening: {scheme}://{data}/v1 (clients), http://{admin}/metrics (admin)"));
    load_model(gateway.clone());
    load_encoder(gateway.clone());
    server::serve(gateway, parts, stop_signal()).await.map_err(|error| CliError::fault(&error))?;
    say("stopped: every request is settled");
    Ok(())
}

/// Says what the gateway will do, before it does it.
fn announce(gateway: &Gateway) {
    let config = &gateway.config;
    say(&format!("policy: {} ({})", gateway.policy.name(), gateway.policy.revision()));
    if gateway.policy.observes() {
        say("observing: NOTHING IS KEPT BACK; labels are recorded, and requests go where the client asks");
    }
    say(&format!(
        "ledger: {}; prices: {} {}",
        config.ledger.display(),
        config.prices.source,
        config.prices.version
    ));
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

/// Obtains and loads the embedded model beside the running server; until then requests see it as unavailable.
fn load_model(gateway: Arc<Gateway>) {
    let Some(settings) = gateway.portfolio.local.as_ref().map(|local| local.config().clone()) else {
        say("no local model is configured");
        return;
    };
    say(&format!("local model: {} (obtained at first start; this may take a few minutes)", settings.model));
    let started = std::time::Instant::now();
    let work = move || {
        let attempt = std::panic::AssertUnwindSafe(|| local::load(&gateway.config, &settings));
        let loaded = std::panic::catch_unwind(attempt)
            .unwrap_or_else(|_| Err(String::from("loading it failed with a bug of ours")));
        match &loaded {
            Ok(runtime) => {
                let info = runtime.info();
                say(&format!(
                    "ready: {} ({}, {} tokens of context) loaded in {:.1} s",
                    info.name,
                    info.licence.as_deref().unwrap_or("licence not stated"),
                    info.context_tokens,
                    started.elapsed().as_secs_f64()
                ));
            }
            Err(why) => say(&format!("the local model cannot be used: {why}")),
        }
        if let Some(local) = &gateway.portfolio.local {
            local.set(loaded);
        }
    };
    // A thread of its own: loading blocks for minutes, and ends with the process if that is stopped.
    if let Err(error) = std::thread::Builder::new().name(String::from("load-model")).spawn(work) {
        say(&format!("the local model cannot be loaded: {error}"));
    }
}

/// Loads the embedded encoder, if one is configured, in the same way.
fn load_encoder(gateway: Arc<Gateway>) {
    let Some(settings) = gateway.portfolio.encoder.as_ref().map(|encoder| encoder.config().clone()) else {
        return;
    };
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
    if let Err(error) = std::thread::Builder::new().name(String::from("load-encoder")).spawn(work) {
        say(&format!("the local embedding model cannot be loaded: {error}"));
    }
}

/// Completes at SIGINT or SIGTERM.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            say("stopping: running requests may finish");
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    say("stopping: running requests may finish");
}
