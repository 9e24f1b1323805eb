//! Logs, traces and metrics. No prompt or completion text reaches any of them.
//!
//! Names follow OpenTelemetry's GenAI conventions (`gen_ai.*`) where those have one, and are held here.

use std::sync::atomic::AtomicU64;

use local_runtime::OutputFlag;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use policies::{Doubt, Mode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use policies::Rung;

use crate::config::Telemetry;
use crate::drift::Figures;
use crate::ledger::{Ledger, Row};

/// Span and attribute names.
pub mod names {
    /// Operation.
    pub const OPERATION: &str = "gen_ai.operation.name";
    /// Model that was asked for.
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    /// Model that answered.
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    /// Provider.
    pub const PROVIDER: &str = "gen_ai.provider.name";
    /// Input tokens.
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// Output tokens.
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
}

/// Label set of a settled request. All values come from closed sets or from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    outcome: &'static str,
    label: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RungLabel {
    rung: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    route: String,
    gen_ai_token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DimensionLabel {
    dimension: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevisionLabel {
    revision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignLabel {
    sign: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EscalationLabels {
    mode: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    outcome: &'static str,
}

/// What became of a local answer that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escalated {
    /// It was good enough.
    NotNeeded,
    /// It was weak, and another target answered.
    Answered,
    /// It was weak, and nothing better was to be had.
    Failed,
}

/// What became of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadowed {
    /// Its answer was compared with the served one.
    Judged,
    /// It did not answer.
    Failed,
    /// Too many were at work, or the local model was busy.
    Busy,
    /// The team's budget did not admit it.
    Budget,
}

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabel, Histogram, fn() -> Histogram>,
    first_token: Family<RouteLabel, Histogram, fn() -> Histogram>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<RouteLabel, Counter<f64, AtomicU64>>,
    saving: Counter<f64, AtomicU64>,
    unpriced: Counter,
    doubt: Family<ReasonLabel, Counter>,
    findings: Family<KindLabel, Counter>,
    errors: Family<KindLabel, Counter>,
    masks: Family<OutcomeLabel, Counter>,
    unrestored: Counter,
    flags: Family<KindLabel, Counter>,
    feedback: Family<SignLabel, Counter>,
    confidence: Family<ModeLabel, Histogram, fn() -> Histogram>,
    escalations: Family<EscalationLabels, Counter>,
    shadows: Family<ShadowLabels, Counter>,
    agreement: Histogram,
    wasted_tokens: Counter,
    decision: Histogram,
    rungs: Family<RungLabel, Counter>,
    encoder: Histogram,
    names: Histogram,
    drift: DriftGauges,
    router_info: Family<RevisionLabel, Gauge>,
    router_reloads: Family<OutcomeLabel, Counter>,
    /// Requests in flight.
    pub in_flight: Gauge,
    /// Requests that wait for the embedded model.
    pub local_queue: Gauge,
    ledger_dropped: Gauge,
    ledger_broken: Gauge,
    audit: AuditGauges,
}

/// Where the audit chain stands, as it was when the metrics were asked for.
#[derive(Debug, Default)]
struct AuditGauges {
    sequence: Gauge,
    head: Gauge,
    lost: Gauge,
}

/// What is known about drift, as it was when the metrics were asked for.
#[derive(Debug, Default)]
struct DriftGauges {
    psi: Family<DimensionLabel, Gauge<f64, AtomicU64>>,
    verdict: Family<DimensionLabel, Gauge>,
    observations: Family<KindLabel, Gauge>,
    rated: Gauge,
    calibration_error: Gauge<f64, AtomicU64>,
    tightening: Gauge<f64, AtomicU64>,
}

impl DriftGauges {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "sluicegate_drift_psi",
            "Population stability index of the last requests against the reference, by dimension; 0 while nothing is compared",
            self.psi.clone(),
        );
        registry.register(
            "sluicegate_drift_verdict",
            "0 waiting for traffic, 1 stable, 2 moved, 3 drifted, by dimension",
            self.verdict.clone(),
        );
        registry.register(
            "sluicegate_drift_observations",
            "Requests and local answers in the windows that are compared",
            self.observations.clone(),
        );
        registry.register(
            "sluicegate_rated_answers",
            "Ratings of local answers that the calibration error is made of",
            self.rated.clone(),
        );
        registry.register(
            "sluicegate_calibration_error",
            "Expected calibration error of the confidence of local answers against ratings; 0 without ratings",
            self.calibration_error.clone(),
        );
        registry.register(
            "sluicegate_threshold_tightening",
            "What is added to complexity and to confidence thresholds because of drift",
            self.tightening.clone(),
        );
    }

    fn show(&self, figures: &Figures) {
        for (dimension, psi, verdict) in &figures.dimensions {
            let dimension = DimensionLabel { dimension: dimension.as_str() };
            self.psi.get_or_create(&dimension).set(*psi);
            self.verdict.get_or_create(&dimension).set(*verdict as i64);
        }
        for (kind, count) in [("requests", figures.requests), ("local answers", figures.answers)] {
            self.observations
                .get_or_create(&KindLabel { kind: kind.to_owned() })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let (rated, error) = figures.calibration.as_ref().map_or((0, 0.0), |found| (found.rated, found.ece));
        self.rated.set(i64::try_from(rated).unwrap_or(i64::MAX));
        self.calibration_error.set(error);
        self.tightening.set(f64::from(figures.tightening));
    }
}

fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    ])
}

fn tenths() -> Histogram {
    Histogram::new([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            duration: Family::new_with_constructor(seconds),
            first_token: Family::new_with_constructor(seconds),
            tokens: Family::default(),
            cost: Family::default(),
            saving: Counter::default(),
            unpriced: Counter::default(),
            doubt: Family::default(),
            findings: Family::default(),
            errors: Family::default(),
            masks: Family::default(),
            unrestored: Counter::default(),
            flags: Family::default(),
            feedback: Family::default(),
            confidence: Family::new_with_constructor(tenths),
            escalations: Family::default(),
            shadows: Family::default(),
            agreement: tenths(),
            wasted_tokens: Counter::default(),
            decision: Histogram::new([
                1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1,
            ]),
            rungs: Family::default(),
            encoder: Histogram::new([1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1.2e-2, 2e-2, 3e-2, 5e-2, 0.1, 0.25]),
            names: Histogram::new([1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0]),
            drift: DriftGauges::default(),
            router_info: Family::default(),
            router_reloads: Family::default(),
            in_flight: Gauge::default(),
            local_queue: Gauge::default(),
            ledger_dropped: Gauge::default(),
            ledger_broken: Gauge::default(),
            audit: AuditGauges::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("sluicegate_requests", "Settled requests", self.requests.clone());
        registry.register(
            "gen_ai_server_request_duration_seconds",
            "Time of a whole request",
            self.duration.clone(),
        );
        registry.register(
            "gen_ai_server_time_to_first_token_seconds",
            "Time to the first byte of the answer",
            self.first_token.clone(),
        );
        registry.register("gen_ai_client_token_usage", "Tokens used", self.tokens.clone());
        registry.register("sluicegate_cost_usd", "Cost of settled requests in dollars", self.cost.clone());
        registry.register(
            "sluicegate_saving_usd",
            "Baseline less cost where that is positive, in dollars, before what shadows cost",
            self.saving.clone(),
        );
        registry.register(
            "sluicegate_unpriced_requests",
            "Requests served by a model without a known price: an alarm",
            self.unpriced.clone(),
        );
        // From the start, so that an alert sees the first one as a rise.
        for doubt in Doubt::ALL {
            let _ = self.doubt.get_or_create(&ReasonLabel { reason: doubt.to_string() });
        }
        registry.register(
            "sluicegate_doubt",
            "Requests that classification was not sure of, by reason",
            self.doubt.clone(),
        );
        registry.register("sluicegate_findings", "Sensitive entities found, by kind", self.findings.clone());
        registry.register("sluicegate_errors", "Requests that did not succeed, by kind", self.errors.clone());
        registry.register(
            "sluicegate_masks",
            "Requests that the policy offered to mask: masked, or why they were kept",
            self.masks.clone(),
        );
        registry.register(
            "sluicegate_mask_unrestored",
            "Words for masked values in answers that could not be put back",
            self.unrestored.clone(),
        );
        registry.register(
            "sluicegate_local_answer_flags",
            "Local answers with signs of being bad, by sign",
            self.flags.clone(),
        );
        registry.register(
            "sluicegate_feedback",
            "Feedback that callers gave, by the sign of its score; what replaces earlier feedback counts again",
            self.feedback.clone(),
        );
        registry.register(
            "sluicegate_answer_confidence",
            "Confidence of local answers, by the mode of the rule that fired",
            self.confidence.clone(),
        );
        registry.register(
            "sluicegate_escalations",
            "Local answers that were judged: good enough (not_needed), replaced (answered), or weak and served all the \
             same (failed)",
            self.escalations.clone(),
        );
        registry.register(
            "sluicegate_shadows",
            "Second answers that nobody is shown, by what became of them",
            self.shadows.clone(),
        );
        registry.register(
            "sluicegate_shadow_agreement",
            "How far the shadow's answer said the same as the served one",
            self.agreement.clone(),
        );
        registry.register(
            "sluicegate_wasted_tokens",
            "Tokens that the local model generated and nobody was shown",
            self.wasted_tokens.clone(),
        );
        registry.register(
            "sluicegate_decision_seconds",
            "Time to parse, identify, classify and decide: the gateway's own time before execution",
            self.decision.clone(),
        );
        registry.register(
            "sluicegate_router_rung",
            "Requests by the rung of the router model that decided: late is the features, because the encoder was not there in time",
            self.rungs.clone(),
        );
        registry.register(
            "sluicegate_router_encoder_seconds",
            "Time that a request waited for the router model's encoder",
            self.encoder.clone(),
        );
        registry.register(
            "sluicegate_names_seconds",
            "Time that a request with new text waited for the names model",
            self.names.clone(),
        );
        self.drift.register(registry);
        registry.register(
            "sluicegate_router_info",
            "1 for the revision of the router model that is in service",
            self.router_info.clone(),
        );
        registry.register(
            "sluicegate_router_reloads",
            "Times that the router model was read again, by outcome (exchanged, unchanged, failed)",
            self.router_reloads.clone(),
        );
        registry.register("sluicegate_in_flight", "Requests in flight", self.in_flight.clone());
        registry.register(
            "sluicegate_local_queue",
            "Requests waiting for the embedded model",
            self.local_queue.clone(),
        );
        registry.register(
            "sluicegate_ledger_rows_dropped",
            "Ledger rows lost since the start: an alarm",
            self.ledger_dropped.clone(),
        );
        registry.register(
            "sluicegate_ledger_broken",
            "1 while the ledger cannot be written and what it is to hold waits in memory: an alarm",
            self.ledger_broken.clone(),
        );
        registry.register(
            "sluicegate_audit_sequence",
            "Number of the last audit record on disk",
            self.audit.sequence.clone(),
        );
        registry.register(
            "sluicegate_audit_head",
            "The first 52 bits of that record's hash, so that the chain can be compared with what was scraped",
            self.audit.head.clone(),
        );
        registry.register(
            "sluicegate_audit_lost",
            "Audit records lost since the start: an alarm",
            self.audit.lost.clone(),
        );
    }

    /// Shows the state of the ledger.
    pub fn kept(&self, ledger: &Ledger) {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let head = ledger.audit_head();
        self.ledger_dropped.set(whole(ledger.dropped()));
        self.ledger_broken.set(i64::from(ledger.is_broken()));
        self.audit.sequence.set(whole(head.sequence));
        self.audit.head.set(whole(head.hash.fingerprint()));
        self.audit.lost.set(whole(ledger.audit_lost()));
    }

    /// Counts a settled request.
    pub fn settled(&self, row: &Row) {
        let route = if row.route.is_empty() { String::from("none") } else { row.route.clone() };
        self.spent(row, &route);
        if row.shadow_of.is_empty() {
            self.answered(row, &route);
        }
    }

    /// Notes what became of an offer to mask: `masked`, or why not.
    pub fn masked(&self, outcome: &'static str) {
        self.masks.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Notes words in an answer that could not be put back.
    pub fn unrestored(&self, words: u64) {
        self.unrestored.inc_by(words);
    }

    /// What a row used and cost, be it a client's request or a shadow.
    fn spent(&self, row: &Row, route: &str) {
        self.wasted_tokens.inc_by(row.wasted_output_tokens);
        for (gen_ai_token_type, tokens) in
            [("input", row.usage.input_tokens), ("output", row.usage.output_tokens)]
        {
            if tokens > 0 {
                let labels = TokenLabels { route: route.to_owned(), gen_ai_token_type };
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        match row.cost {
            Some(cost) => {
                let by_route = RouteLabel { route: route.to_owned() };
                self.cost.get_or_create(&by_route).inc_by(usd(cost.nanos()));
                if let Some(baseline) = row.baseline.filter(|baseline| *baseline > cost) {
                    self.saving.inc_by(usd((baseline - cost).nanos()));
                }
            }
            None => {
                self.unpriced.inc();
            }
        }
    }

    /// How a client's request went.
    fn answered(&self, row: &Row, route: &str) {
        let by_route = RouteLabel { route: route.to_owned() };
        self.requests
            .get_or_create(&RequestLabels {
                route: route.to_owned(),
                outcome: row.outcome.as_str(),
                label: row.label.as_str(),
            })
            .inc();
        self.duration.get_or_create(&by_route).observe(row.total_ms / 1e3);
        if let Some(first) = row.first_token_ms {
            self.first_token.get_or_create(&by_route).observe(first / 1e3);
        }
        for doubt in row.doubt.split(',').filter(|d| !d.is_empty()) {
            self.doubt.get_or_create(&ReasonLabel { reason: doubt.to_owned() }).inc();
        }
        for kind in row.kinds.split(',').filter_map(|pair| pair.split_once('=')) {
            let count = kind.1.parse().unwrap_or(0);
            self.findings.get_or_create(&KindLabel { kind: kind.0.to_owned() }).inc_by(count);
        }
        if !row.error.is_empty() {
            self.errors.get_or_create(&KindLabel { kind: row.error.clone() }).inc();
        }
    }

    /// Observes the confidence of a local answer.
    pub fn judged(&self, mode: &'static str, confidence: f32) {
        self.confidence.get_or_create(&ModeLabel { mode }).observe(f64::from(confidence));
    }

    /// Counts a judged answer by what became of it.
    pub fn escalated(&self, mode: Mode, outcome: Escalated) {
        let outcome = match outcome {
            Escalated::NotNeeded => "not_needed",
            Escalated::Answered => "answered",
            Escalated::Failed => "failed",
        };
        self.escalations.get_or_create(&EscalationLabels { mode: mode.as_str(), outcome }).inc();
    }

    /// Counts a shadow by what became of it.
    pub fn shadowed(&self, outcome: Shadowed, agreement: Option<f32>) {
        let outcome = match outcome {
            Shadowed::Judged => "judged",
            Shadowed::Failed => "failed",
            Shadowed::Busy => "busy",
            Shadowed::Budget => "budget",
        };
        self.shadows.get_or_create(&ShadowLabels { outcome }).inc();
        if let Some(agreement) = agreement {
            self.agreement.observe(f64::from(agreement));
        }
    }

    /// Counts a request that was turned away before anything is known of it.
    pub fn refused(&self, error: &'static str) {
        self.errors.get_or_create(&KindLabel { kind: error.to_owned() }).inc();
    }

    /// Counts the signs of a bad local answer.
    pub fn flagged(&self, flags: &[OutputFlag]) {
        for flag in flags {
            self.flags.get_or_create(&KindLabel { kind: flag.as_str().to_owned() }).inc();
        }
    }

    /// Counts feedback.
    pub fn rated(&self, score: f64) {
        let sign = match score {
            score if score > 0.0 => "positive",
            score if score < 0.0 => "negative",
            _ => "neutral",
        };
        self.feedback.get_or_create(&SignLabel { sign }).inc();
    }

    /// Counts which rung of the router model decided.
    pub fn rung(&self, rung: Rung) {
        self.rungs.get_or_create(&RungLabel { rung: rung.as_str() }).inc();
    }

    /// Observes what a request waited for the encoder.
    pub fn encoded(&self, seconds: f64) {
        self.encoder.observe(seconds);
    }

    /// Observes what a request waited for the names model.
    pub fn named(&self, seconds: f64) {
        self.names.observe(seconds);
    }

    /// Counts an attempt to exchange the router model.
    pub fn router_reloaded(&self, outcome: &'static str) {
        self.router_reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Shows what is known about drift and which router model is in service.
    pub fn watched(&self, figures: &Figures, revision: String) {
        self.drift.show(figures);
        self.router_info.clear();
        self.router_info.get_or_create(&RevisionLabel { revision }).set(1);
    }

    /// Observes the gateway's own time before execution.
    pub fn decided(&self, seconds: f64) {
        self.decision.observe(seconds);
    }

    /// The exposition text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are approximate; the ledger is exact")]
fn usd(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// Keeps traces flowing; flushes them when it is dropped.
#[derive(Debug, Default)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            let _ = provider.shutdown();
        }
    }
}

/// Starts logs, and traces where an endpoint is configured. Logs go to standard error.
///
/// # Errors
/// A sentence, when the exporter cannot be built or logging runs already.
pub fn start(config: &Telemetry) -> Result<Guard, String> {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .or_else(|| EnvFilter::try_new(&config.log).ok())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let log = if config.json {
        log.json().with_current_span(false).with_span_list(false).boxed()
    } else {
        log.with_target(false).boxed()
    };
    let endpoint = config.otlp_endpoint.clone().or_else(|| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok());
    crate::provision::install_crypto_provider();
    let provider = endpoint.as_deref().map(tracer_provider).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("sluicegate"))
            .with_filter(EnvFilter::new("gateway=debug"))
    });
    if provider.is_some() {
        opentelemetry::global::set_text_map_propagator(
            opentelemetry_sdk::propagation::TraceContextPropagator::new(),
        );
    }
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(traces)
        .try_init()
        .map_err(|error| error.to_string())?;
    Ok(Guard { provider })
}

fn tracer_provider(endpoint: &str) -> Result<SdkTracerProvider, String> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(url)
        .build()
        .map_err(|error| format!("the trace exporter cannot be built: {error}"))?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("sluicegate").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
