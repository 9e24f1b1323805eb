//! `sluicegate demo`: plays example traffic through a real gateway and prints each decision as it happens.
//!
//! The gateway, its embedded model, its policy and its ledger are the real ones, on free loopback ports and a
//! ledger of its own. Where no cloud key is set, a clearly labelled stand-in takes the cloud's place.

mod stand_in;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use policies::Location;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CliError, Common, Outcome, print, report, runtime, say, system_clock};
use crate::config::{Config, Overrides};
use crate::gateway::{Gateway, Parts};
use crate::ledger::Grouping;
use crate::{local, server};

/// The traffic that ships with this version, by scenario.
const TRAFFIC: &[(&str, &str)] = &[
    ("support", include_str!("../../../../examples/traffic/support.jsonl")),
    ("engineering", include_str!("../../../../examples/traffic/engineering.jsonl")),
    ("clinic", include_str!("../../../../examples/traffic/clinic.jsonl")),
];

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Play this file (one {"team", "note", "request"} a line) instead of the built-in traffic.
    #[arg(long, value_name = "FILE")]
    traffic: Option<PathBuf>,
    /// Local model to use instead of the configured one.
    #[arg(long, value_name = "NAME_OR_DIR")]
    model: Option<String>,
    /// Requests to play at most.
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Play {
    team: String,
    note: String,
    #[serde(default)]
    session: Option<String>,
    request: serde_json::Value,
}

pub(super) fn run(options: &Options) -> Outcome {
    let mut config =
        options.common.load(Overrides { model: options.model.clone(), ..Overrides::default() })?;
    let plays = read_traffic(options)?;
    let directory = std::env::temp_dir().join(format!("sluicegate-demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    config.ledger = directory.join("demo.db");
    for listen in [&mut config.server.listen, &mut config.admin.listen] {
        *listen = ([127, 0, 0, 1], 0).into();
    }
    config.server.tls = None;
    config.require_key = false;
    let outcome = runtime()?.block_on(play(config, &plays));
    std::fs::remove_dir_all(&directory)?;
    outcome
}

fn read_traffic(options: &Options) -> Result<Vec<Play>, CliError> {
    let texts: Vec<(String, String)> = match &options.traffic {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::Fault(format!("{} could not be read: {error}", path.display())))?;
            vec![(path.display().to_string(), text)]
        }
        None => TRAFFIC.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
    };
    let mut plays = Vec::new();
    for (name, text) in &texts {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let play = serde_json::from_str(line)
                .map_err(|error| CliError::Fault(format!("{name}:{}: {error}", index + 1)))?;
            plays.push(play);
        }
    }
    plays.truncate(options.limit.unwrap_or(usize::MAX));
    Ok(plays)
}

async fn play(mut config: Config, plays: &[Play]) -> Outcome {
    let stop = CancellationToken::new();
    let has_key = |upstream: &crate::config::Upstream| matches!(upstream.api_key, Ok(Some(_)));
    let stands_in = !config.upstreams.iter().any(|u| u.location == Location::Cloud && has_key(u));
    if stands_in {
        let address = stand_in::start(stop.clone()).await?;
        for upstream in config.upstreams.iter_mut().filter(|u| u.location == Location::Cloud) {
            upstream.base_url = format!("http://{address}/v1");
            upstream.api_key = Ok(None);
        }
        say(
            "no cloud key is set: STAND-IN answers take the cloud's place; their text is not an LLM's, their prices are the real list prices",
        );
    }
    let settings = config.locals.clone();
    for settings in &settings {
        say(&format!("local model: {} (obtained at first start)", settings.model));
    }
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let parts = Parts { data: bind().await?, admin: bind().await?, clock: system_clock() };
    let address = parts.data.local_addr()?;
    let gateway = Gateway::build(config, parts.clock.clone()).map_err(|error| CliError::fault(&error))?;
    for (model, settings) in gateway.portfolio.locals.iter().zip(settings) {
        let loader = gateway.clone();
        let loaded = tokio::task::spawn_blocking(move || local::load(&loader.config, &settings)).await;
        let loaded = loaded.unwrap_or_else(|_| Err(String::from("loading the local model panicked")));
        if let Err(why) = &loaded {
            say(&format!("the local model cannot be used: {why}"));
        }
        model.set(loaded);
    }
    let serving = gateway.tasks.clone();
    let (plane, until) = (gateway.clone(), stop.clone());
    let served = Arc::new(tokio::sync::Notify::new());
    let finished = served.clone();
    serving.spawn("demo-gateway", async move {
        let _ = server::serve_planes(plane, parts, until.cancelled_owned()).await;
        finished.notify_one();
    });
    say(&format!("gateway: http://{address}/v1, policy {}\n", gateway.policy.name()));
    print(HEADING)?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    for (index, play) in plays.iter().enumerate() {
        let line = one(&client, address, play).await?;
        print(format_args!("{:>2} {line}", index + 1))?;
    }
    let team = gateway.ledger.query(|store| store.report(Grouping::Team, 0, i64::MAX)).await;
    let route = gateway.ledger.query(|store| store.report(Grouping::Route, 0, i64::MAX)).await;
    for (by, read) in [(Grouping::Team, team), (Grouping::Route, route)] {
        let read = read.map_err(|error| CliError::fault(&error))?;
        print(format_args!("\n{}", report::as_table(by, &read)))?;
    }
    if stands_in {
        print("\nCloud answers and their token counts came from the stand-in; prices are list prices.")?;
    }
    stop.cancel();
    served.notified().await;
    server::finish(&gateway).await;
    Ok(ExitCode::SUCCESS)
}

const HEADING: &str = "   team         route           label         seconds      cost $  what, and why";

/// Plays one request and describes what became of it.
async fn one(
    client: &Client<HttpConnector, Full<Bytes>>,
    address: std::net::SocketAddr,
    play: &Play,
) -> Result<String, CliError> {
    let mut request = Request::new(Full::new(Bytes::from(play.request.to_string())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() =
        format!("http://{address}/v1/chat/completions").parse().map_err(|error| CliError::fault(&error))?;
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    };
    put("content-type", "application/json");
    put("x-sluicegate-team", &play.team);
    put("x-sluicegate-usage", "1");
    if let Some(session) = &play.session {
        put("x-session-id", session);
    }
    let started = Instant::now();
    let response = client.request(request).await.map_err(|error| CliError::fault(&error))?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("-").to_owned()
    };
    let (route, label, reason, cost) = (
        if response.status().is_success() { header("x-sluicegate-route") } else { refused(&response) },
        header("x-sluicegate-label"),
        header("x-sluicegate-reason"),
        header("x-sluicegate-cost-usd"),
    );
    let body = response.into_body().collect().await.map_err(|error| CliError::fault(&error))?.to_bytes();
    let seconds = started.elapsed().as_secs_f64();
    let cost = streamed_cost(&body).unwrap_or(cost);
    Ok(format!(
        "{:<12} {route:<15} {label:<13} {seconds:>6.1} {cost:>11}  {}\n   {:>58}  because {reason}\n   {:>58}  answer  {}",
        play.team,
        play.note,
        "",
        "",
        excerpt(&body)
    ))
}

fn refused<B>(response: &Response<B>) -> String {
    format!("refused {}", response.status().as_u16())
}

/// The cost that a stream tells in its last chunk.
fn streamed_cost(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut told = chunks.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
    told.find_map(|chunk| chunk["sluicegate"]["cost_usd"].as_str().map(str::to_owned))
}

/// The beginning of an answer, plain or streamed, in one line.
fn excerpt(body: &[u8]) -> String {
    const CHARS: usize = 90;
    let text = String::from_utf8_lossy(body);
    let content = |value: &serde_json::Value| {
        let choice = &value["choices"][0];
        let found = choice["message"]["content"].as_str().or_else(|| choice["delta"]["content"].as_str());
        found.map(str::to_owned).or_else(|| value["error"]["message"].as_str().map(str::to_owned))
    };
    let said = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(whole) => content(&whole).unwrap_or_default(),
        Err(_) => text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .filter_map(|chunk| content(&chunk))
            .collect(),
    };
    let line: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > CHARS { line.chars().take(CHARS).collect::<String>() + "..." } else { line }
}
