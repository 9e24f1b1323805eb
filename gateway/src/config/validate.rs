//! From the raw sections to the checked ones, collecting every fault on the way.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use local_runtime::{Accelerator, Pooling};
use policies::fault::{self, Document, Fault, Faults};
use policies::{Capabilities, Clearance, Label, Location, Money, PolicySet, PriceTable};
use router_model::names::NamesMode;

use super::raw::{
    RawAdmin, RawConfig, RawDetection, RawLocal, RawLocalModel, RawModel, RawPolicySource, RawRouter,
    RawServer, RawTeam, RawTelemetry, RawUpstream,
};
use super::{
    Admin, Config, ConfigError, Detection, Embedding, Local, Model, Overrides, Router, SecretRef, Server,
    Store, Team, Telemetry, Tls, Upstream,
};
use crate::audit::Seal;
use crate::drift::Reference;
use crate::local::model_name;

/// Checks a configuration text.
pub(super) fn config(file: &str, text: &str, overrides: &Overrides) -> Result<Config, ConfigError> {
    let document = Document { file, text };
    let (raw, faults) = fault::read_all::<RawConfig>(document);
    let Some(raw) = raw else { return Err(ConfigError::Faults(Faults(faults))) };
    let mut check = Check { document, faults };
    let checked = check.config(raw, overrides);
    match checked {
        Some(config) if check.faults.is_empty() => Ok(config),
        _ => Err(ConfigError::Faults(Faults(check.faults))),
    }
}

/// What is wrong with a value, without the name that the crate below has for its field.
fn reason(error: local_runtime::Error) -> String {
    match error {
        local_runtime::Error::InvalidConfig { reason, .. } => reason,
        other => other.to_string(),
    }
}

struct Check<'a> {
    document: Document<'a>,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(self.document.fault(key, message));
    }

    fn config(&mut self, raw: RawConfig, overrides: &Overrides) -> Option<Config> {
        if raw.shared.is_some() {
            self.fault(
                "shared",
                "this version keeps budgets and sessions in one process; remove the section",
            );
        }
        let server = self.server(&raw.server);
        let admin = self.admin(&raw.admin);
        let loopback = server.listen.ip().is_loopback();
        let require_key = match raw.identity.require_key.as_str() {
            "auto" => !loopback,
            "always" => true,
            "never" => false,
            other => {
                self.fault("identity.require_key", format!("`{other}` is not auto, always or never"));
                true
            }
        };
        let prices = self.prices(raw.prices.file.as_deref());
        let upstreams = self.upstreams(raw.upstream);
        let policy = match &overrides.policy {
            Some(given) => self.given_policy(given),
            None => self.policy(&raw.policy, overrides.observe),
        };
        if let Some(policy) = &policy {
            self.routed_names(policy, &upstreams);
        }
        let ledger = self.ledger(&raw.ledger.url);
        let audit = self.seal(raw.audit.key.as_deref());
        let store = Store {
            cache_dir: raw.local.cache_dir.as_deref().map(PathBuf::from),
            onnxruntime: raw.local.onnxruntime.as_deref().map(PathBuf::from),
            offline: raw.local.offline || overrides.offline,
        };
        let embedding = self.embedding(&raw.local);
        let locals = self.locals(raw.local, raw.local_model, overrides);
        let detection = self.detection(raw.detection);
        let router = self.router(raw.router);
        let telemetry = self.telemetry(raw.telemetry);
        let teams = raw.team.into_iter().enumerate().map(|(i, team)| self.team(i, team)).collect();
        // Only now: a policy with faults must not hide those of the sections after it.
        Some(Config {
            require_key,
            ledger,
            ledger_features: raw.ledger.features,
            audit,
            embedding,
            locals,
            store,
            policy: Arc::new(policy?),
            detection,
            router,
            prices: Arc::new(prices?),
            baseline_model: raw.accounting.baseline_model,
            telemetry,
            teams,
            upstreams,
            server,
            admin,
        })
    }

    fn server(&mut self, raw: &RawServer) -> Server {
        if raw.body_bytes_max == 0 {
            self.fault("server.body_bytes_max", "must be at least 1 byte");
        }
        if raw.connections_max == 0 {
            self.fault("server.connections_max", "must be at least 1");
        }
        for (key, seconds) in [
            ("server.header_timeout_s", raw.header_timeout_s),
            ("server.request_timeout_s", raw.request_timeout_s),
        ] {
            if seconds == 0 {
                self.fault(key, "must be at least 1 second");
            }
        }
        let tls = raw.tls.as_ref().map(|tls| Tls { cert: (&tls.cert).into(), key: (&tls.key).into() });
        for (key, path) in
            tls.iter().flat_map(|tls| [("server.tls.cert", &tls.cert), ("server.tls.key", &tls.key)])
        {
            if !path.is_file() {
                self.fault(key, format!("{} is not a file", path.display()));
            }
        }
        Server {
            listen: self.address("server.listen", &raw.listen),
            body_bytes_max: raw.body_bytes_max,
            connections_max: raw.connections_max,
            header_timeout: Duration::from_secs(raw.header_timeout_s),
            request_timeout: Duration::from_secs(raw.request_timeout_s),
            drain_timeout: Duration::from_secs(raw.drain_timeout_s),
            tls,
        }
    }

    fn address(&mut self, key: &str, text: &str) -> SocketAddr {
        let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
        found.unwrap_or_else(|| {
            self.fault(key, format!("`{text}` is not an address and port such as 127.0.0.1:8080"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn admin(&mut self, raw: &RawAdmin) -> Admin {
        let listen = self.address("admin.listen", &raw.listen);
        let token = raw.token.as_deref().and_then(|text| {
            match SecretRef::parse(text).and_then(|reference| reference.resolve()) {
                Ok(secret) => Some(secret),
                Err(error) => {
                    self.fault("admin.token", error.to_string());
                    None
                }
            }
        });
        if !listen.ip().is_loopback() && raw.token.is_none() {
            self.fault("admin.listen", "off loopback the admin plane needs admin.token = \"env:NAME\"");
        }
        Admin { listen, token }
    }

    fn seal(&mut self, key: Option<&str>) -> Seal {
        let Some(key) = key else { return Seal::default() };
        let secret = SecretRef::parse(key).and_then(|reference| reference.resolve());
        let seal = match secret {
            Ok(secret) => Seal::keyed(secret.expose().as_bytes()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        seal.unwrap_or_else(|message| {
            self.fault("audit.key", message);
            Seal::default()
        })
    }

    fn ledger(&mut self, url: &str) -> PathBuf {
        if let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
            return PathBuf::from(path);
        }
        let message = if url.starts_with("postgres") {
            String::from("this version keeps the ledger in SQLite; write sqlite://PATH")
        } else {
            format!("`{url}` is not of the form sqlite://PATH")
        };
        self.fault("ledger.url", message);
        PathBuf::new()
    }

    fn label(&mut self, key: &str, word: &str) -> Label {
        Label::from_str(word).unwrap_or_else(|error| {
            self.fault(key, error.to_string());
            Label::Public
        })
    }

    fn unit(&mut self, key: &str, value: f32) -> f32 {
        if !(0.0..=1.0).contains(&value) {
            self.fault(key, format!("{value} is not between 0 and 1"));
        }
        value
    }

    /// The embedded models that answer: the one of `[local]`, then the further ones.
    fn locals(&mut self, raw: RawLocal, further: Vec<RawLocalModel>, overrides: &Overrides) -> Vec<Local> {
        if !raw.watts_per_core.is_finite() || raw.watts_per_core < 0.0 {
            self.fault("local.watts_per_core", "must be a number of watts, not negative");
        }
        let enabled = raw.enabled;
        let first = Local {
            model: overrides.model.clone().unwrap_or(raw.model),
            threads: raw.threads,
            spinning: raw.spinning,
            max_concurrency: raw.max_concurrency,
            accelerator: self.accelerator("local.accelerator", &raw.accelerator),
            max_queue: raw.max_queue,
            cache_mib: raw.cache_mib,
            memory_mib: raw.memory_mib,
            unload_after: patience(raw.unload_after_s),
            context_tokens: raw.context_tokens,
            max_output_tokens: raw.max_output_tokens,
            clearance: Clearance(self.label("local.clearance", &raw.clearance)),
            strength: self.unit("local.strength", raw.strength),
            watts_per_core: raw.watts_per_core,
        };
        self.local_ranges("local", &first);
        if !enabled {
            if !further.is_empty() {
                self.fault("local_model", "further embedded models need local.enabled");
            }
            return Vec::new();
        }
        let mut locals = vec![first];
        for (index, raw) in further.into_iter().enumerate() {
            let local = self.further_local(index, raw, &locals[0]);
            let name = model_name(&local.model);
            if locals.iter().any(|other| model_name(&other.model) == name) {
                self.fault(
                    &format!("local_model.{index}.model"),
                    format!("another embedded model is called `{name}` too"),
                );
            }
            locals.push(local);
        }
        // Models that compute at the same time share the machine's cores.
        let share = std::thread::available_parallelism().map_or(1, |n| n.get().min(16)) / locals.len();
        if locals.len() > 1 {
            for local in &mut locals {
                local.threads.get_or_insert(share.max(1));
            }
        }
        locals
    }

    fn further_local(&mut self, index: usize, raw: RawLocalModel, first: &Local) -> Local {
        let key = |field: &str| format!("local_model.{index}.{field}");
        let clearance = match &raw.clearance {
            Some(label) => Clearance(self.label(&key("clearance"), label)),
            None => first.clearance,
        };
        let local = Local {
            model: raw.model,
            threads: raw.threads,
            spinning: first.spinning,
            accelerator: first.accelerator.clone(),
            max_concurrency: raw.max_concurrency.unwrap_or(first.max_concurrency),
            max_queue: raw.max_queue.unwrap_or(first.max_queue),
            cache_mib: raw.cache_mib.unwrap_or(first.cache_mib),
            memory_mib: raw.memory_mib.or(first.memory_mib),
            unload_after: raw.unload_after_s.map_or(first.unload_after, patience),
            context_tokens: raw.context_tokens.unwrap_or(first.context_tokens),
            max_output_tokens: raw.max_output_tokens.unwrap_or(first.max_output_tokens),
            clearance,
            strength: raw.strength.map_or(first.strength, |strength| self.unit(&key("strength"), strength)),
            watts_per_core: first.watts_per_core,
        };
        self.local_ranges(&format!("local_model.{index}"), &local);
        local
    }

    fn local_ranges(&mut self, section: &str, local: &Local) {
        for (key, value, low, high) in [
            ("max_output_tokens", u64::from(local.max_output_tokens), 1, u64::from(u32::MAX)),
            ("context_tokens", u64::from(local.context_tokens), 16, u64::from(u32::MAX)),
            ("threads", local.threads.map_or(1, |n| n as u64), 1, 256),
            ("max_concurrency", local.max_concurrency as u64, 1, 256),
            ("max_queue", local.max_queue as u64, 0, 4096),
            ("cache_mib", u64::from(local.cache_mib), 16, 1 << 20),
        ] {
            if !(low..=high).contains(&value) {
                self.fault(&format!("{section}.{key}"), format!("must be from {low} to {high}"));
            }
        }
    }

    fn accelerator(&mut self, key: &str, text: &str) -> Accelerator {
        Accelerator::from_str(text).unwrap_or_else(|error| {
            self.fault(key, reason(error));
            Accelerator::Cpu
        })
    }

    fn embedding(&mut self, local: &RawLocal) -> Option<Embedding> {
        let raw = local.embedding.as_ref()?;
        if raw.model.is_empty() {
            self.fault("local.embedding.model", "give a directory with an encoder");
        }
        for (key, value, low, high) in [
            ("local.embedding.max_tokens", u64::from(raw.max_tokens.unwrap_or(4)), 4, 1 << 20),
            ("local.embedding.batch_tokens", u64::from(raw.batch_tokens), 16, 1 << 20),
            ("local.embedding.threads", raw.threads.map_or(1, |n| n as u64), 1, 256),
            ("local.embedding.max_queue", raw.max_queue as u64, 0, 4096),
        ] {
            if !(low..=high).contains(&value) {
                self.fault(key, format!("must be from {low} to {high}"));
            }
        }
        let pooling =
            raw.pooling.as_deref().map(Pooling::from_str).and_then(|read| {
                read.map_err(|error| self.fault("local.embedding.pooling", reason(error))).ok()
            });
        let clearance = match &raw.clearance {
            Some(word) => self.label("local.embedding.clearance", word),
            // Its faults are told where it stands.
            None => Label::from_str(&local.clearance).unwrap_or(Label::Public),
        };
        let accelerator = match &raw.accelerator {
            Some(text) => self.accelerator("local.embedding.accelerator", text),
            None => Accelerator::from_str(&local.accelerator).unwrap_or_default(),
        };
        Some(Embedding {
            model: raw.model.clone(),
            file: raw.file.clone(),
            pooling,
            normalize: raw.normalize,
            prompt: raw.prompt.clone(),
            max_tokens: raw.max_tokens,
            batch_tokens: raw.batch_tokens,
            threads: raw.threads,
            max_queue: raw.max_queue,
            clearance: Clearance(clearance),
            accelerator,
        })
    }

    /// A policy that the command line names.
    fn given_policy(&mut self, given: &str) -> Option<PolicySet> {
        let read = match std::fs::read_to_string(given) {
            Ok(text) => super::policy::parse(given, &text),
            Err(_) if PolicySet::preset_text(given).is_some() => PolicySet::preset(given),
            Err(error) => {
                let presets: Vec<_> = PolicySet::presets().collect();
                let message = format!(
                    "{given} could not be read ({error}), and no preset is called so ({})",
                    presets.join(", ")
                );
                self.fault("policy", message);
                return None;
            }
        };
        read.map_err(|Faults(faults)| self.faults.extend(faults)).ok()
    }

    fn policy(&mut self, raw: &RawPolicySource, observe: bool) -> Option<PolicySet> {
        if raw.preset.is_some() && raw.file.is_some() {
            self.fault("policy", "give either preset or file, not both");
        }
        let read = if observe {
            PolicySet::preset("observe")
        } else if let Some(path) = &raw.file {
            match std::fs::read_to_string(path) {
                Ok(text) => super::policy::parse(path, &text),
                Err(error) => {
                    self.fault("policy.file", format!("{path} could not be read: {error}"));
                    return None;
                }
            }
        } else {
            let name = raw.preset.as_deref().unwrap_or("balanced");
            PolicySet::preset(name).map_err(|Faults(faults)| {
                let place = |fault: Fault| self.document.fault("policy.preset", fault.message);
                Faults(faults.into_iter().map(place).collect())
            })
        };
        read.map_err(|Faults(faults)| self.faults.extend(faults)).ok()
    }

    fn detection(&mut self, raw: RawDetection) -> Detection {
        for (key, value, high) in [
            ("detection.deadline_ms", raw.deadline_ms, 600_000),
            ("detection.names_deadline_ms", raw.names_deadline_ms, 120_000),
            ("detection.names_threads", raw.names_threads as u64, 64),
        ] {
            if !(1..=high).contains(&value) {
                self.fault(key, format!("must be from 1 to {high}"));
            }
        }
        if let Some(path) = raw.names_artifact.as_deref().filter(|path| !std::path::Path::new(path).is_dir())
        {
            self.fault("detection.names_artifact", format!("{path} is not a folder"));
        }
        let names = match raw.names.as_str() {
            "required" => NamesMode::Required,
            "when-available" => NamesMode::WhenAvailable,
            "off" => NamesMode::Off,
            other => {
                let message = format!("`{other}` is none of required, when-available and off");
                self.fault("detection.names", message);
                NamesMode::Required
            }
        };
        Detection {
            names,
            names_artifact: raw.names_artifact.map(PathBuf::from),
            deadline: Duration::from_millis(raw.deadline_ms),
            names_deadline: Duration::from_millis(raw.names_deadline_ms),
            names_threads: raw.names_threads,
        }
    }

    fn router(&mut self, raw: RawRouter) -> Router {
        for (key, value, low, high) in [
            ("router.encoder_deadline_ms", raw.encoder_deadline_ms, 1, 10_000),
            ("router.encoder_threads", raw.encoder_threads as u64, 1, 64),
            ("router.drift_window", raw.drift_window as u64, 100, 1_000_000),
        ] {
            if !(low..=high).contains(&value) {
                self.fault(key, format!("must be from {low} to {high}"));
            }
        }
        if !(0.01..=10.0).contains(&raw.drift_psi_alert) {
            self.fault("router.drift_psi_alert", "must be from 0.01 to 10");
        }
        if let Some(path) = raw.artifact.as_deref().filter(|path| !std::path::Path::new(path).is_dir()) {
            self.fault("router.artifact", format!("{path} is not a folder"));
        }
        let read = raw.drift_reference.as_deref().and_then(|path| {
            let read = Reference::read(path.as_ref());
            read.map_err(|error| self.fault("router.drift_reference", format!("{path} {error}"))).ok()
        });
        let tighten_max = self.unit("router.tighten_max", raw.tighten_max);
        Router {
            artifact: raw.artifact.map(PathBuf::from),
            encoder: raw.encoder,
            encoder_deadline: Duration::from_millis(raw.encoder_deadline_ms),
            encoder_threads: raw.encoder_threads,
            drift_window: raw.drift_window,
            drift_psi_alert: raw.drift_psi_alert,
            drift_reference: read,
            tighten_max: if raw.tighten { tighten_max } else { 0.0 },
        }
    }

    fn prices(&mut self, file: Option<&str>) -> Option<PriceTable> {
        let Some(path) = file else { return Some(PriceTable::catalogue()) };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                PriceTable::parse(path, &text).map_err(|Faults(faults)| self.faults.extend(faults)).ok()
            }
            Err(error) => {
                self.fault("prices.file", format!("{path} could not be read: {error}"));
                None
            }
        }
    }

    fn telemetry(&mut self, raw: RawTelemetry) -> Telemetry {
        if !["text", "json"].contains(&raw.log_format.as_str()) {
            self.fault("telemetry.log_format", format!("`{}` is neither text nor json", raw.log_format));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&raw.log) {
            self.fault("telemetry.log", error.to_string());
        }
        Telemetry { log: raw.log, json: raw.log_format == "json", otlp_endpoint: raw.otlp_endpoint }
    }

    fn team(&mut self, index: usize, raw: RawTeam) -> Team {
        let key = format!("team.{index}.monthly_budget_usd");
        let monthly_budget = raw.monthly_budget_usd.and_then(|usd| {
            let money = Money::from_usd(usd);
            if money.is_none() {
                self.fault(&key, "must be a number of dollars, not negative");
            }
            money
        });
        if !(-100..=100).contains(&raw.local_priority) {
            self.fault(&format!("team.{index}.local_priority"), "must be from -100 to 100");
        }
        let tier = raw.tier.unwrap_or_else(|| "standard".into());
        Team { name: raw.name, monthly_budget, tier, local_priority: raw.local_priority }
    }

    fn upstreams(&mut self, raw: Vec<RawUpstream>) -> Vec<Upstream> {
        let mut checked: Vec<Upstream> = Vec::with_capacity(raw.len());
        for (index, raw) in raw.into_iter().enumerate() {
            let upstream = self.upstream(index, raw);
            if checked.iter().any(|other| other.name == upstream.name) {
                let message = format!("another upstream is called `{}` too", upstream.name);
                self.fault(&format!("upstream.{index}.name"), message);
            }
            checked.push(upstream);
        }
        checked
    }

    fn upstream(&mut self, index: usize, raw: RawUpstream) -> Upstream {
        let key = |field: &str| format!("upstream.{index}.{field}");
        if raw.name.is_empty() || raw.name.contains('/') || ["local", "auto"].contains(&raw.name.as_str()) {
            self.fault(&key("name"), "a name has no slash and is neither `local` nor `auto`");
        }
        if raw.protocol != "openai" {
            let message = format!("`{}` is not a protocol of this version (openai)", raw.protocol);
            self.fault(&key("protocol"), message);
        }
        let url = raw.base_url.parse::<hyper::Uri>().ok().filter(|url| {
            url.host().is_some()
                && matches!(url.scheme_str(), Some("http" | "https"))
                && url.query().is_none()
        });
        if url.is_none() {
            self.fault(&key("base_url"), format!("`{}` is not an http or https URL", raw.base_url));
        }
        let location = match raw.location.as_str() {
            "cloud" => Location::Cloud,
            "on-prem" => Location::OnPrem,
            other => {
                self.fault(&key("location"), format!("`{other}` is neither cloud nor on-prem"));
                Location::Cloud
            }
        };
        let api_key = match raw.api_key.as_deref().map(SecretRef::parse) {
            None => Ok(None),
            Some(Ok(reference)) => reference.resolve().map(Some),
            Some(Err(error)) => {
                self.fault(&key("api_key"), error.to_string());
                Ok(None)
            }
        };
        if let Some(path) = raw.ca_file.as_deref().filter(|path| !std::path::Path::new(path).is_file()) {
            self.fault(&key("ca_file"), format!("{path} is not a file"));
        }
        let models =
            raw.models.into_iter().enumerate().map(|(i, m)| self.model(&key(&format!("models.{i}")), m));
        Upstream {
            models: models.collect(),
            clearance: Clearance(self.label(&key("clearance"), &raw.clearance)),
            name: Arc::from(raw.name),
            base_url: raw.base_url.trim_end_matches('/').to_owned(),
            api_key,
            location,
            region: raw.region,
            ca_file: raw.ca_file.map(PathBuf::from),
            connect_timeout: Duration::from_secs(raw.connect_timeout_s.max(1)),
            response_timeout: Duration::from_secs(raw.response_timeout_s.max(1)),
            idle_timeout: Duration::from_secs(raw.idle_timeout_s.max(1)),
        }
    }

    fn model(&mut self, key: &str, raw: RawModel) -> Model {
        let price = raw.price.and_then(|price| {
            let checked = price.check();
            if checked.is_none() {
                self.fault(
                    &format!("{key}.price"),
                    "prices are dollars per million tokens, finite and not negative",
                );
            }
            checked
        });
        Model {
            name: Arc::from(raw.name),
            strength: self.unit(&format!("{key}.strength"), raw.strength),
            capabilities: Capabilities {
                tools: raw.tools,
                schema: raw.schema,
                vision: raw.vision,
                choices: true,
                context_tokens: raw.context_tokens,
            },
            price,
        }
    }

    /// Rules that route to a name must route to one that exists.
    fn routed_names(&mut self, policy: &PolicySet, upstreams: &[Upstream]) {
        let known = |name: &str| {
            name.starts_with("local/")
                || upstreams.iter().any(|upstream| {
                    *upstream.name == *name
                        || upstream.models.iter().any(|m| format!("{}/{}", upstream.name, m.name) == name)
                })
        };
        let unknown: Vec<String> = policy
            .routed_names()
            .filter(|(_, name)| !known(name))
            .map(|(rule, name)| {
                let near = fault::nearest(name, upstreams.iter().map(|u| &*u.name))
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                format!("rule `{rule}` routes to `{name}`, which is no upstream and no target{near}")
            })
            .collect();
        for message in unknown {
            self.fault("policy", message);
        }
    }
}

/// Zero seconds stand for never.
fn patience(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        match Config::parse("test.toml", text, &Overrides::default()) {
            Err(error) => error.to_string(),
            Ok(config) => panic!("accepted: {config:?}"),
        }
    }

    #[test]
    fn faults_of_the_embedding_section_are_all_told_by_their_keys() {
        let text = "[local]\naccelerator = \"gpu\"\n[local.embedding]\nmodel = \"\"\npooling = \"sum\"\nthreads = 0\n\
                    batch_tokens = 1\nmax_tokens = 1\nmax_queue = 5000\nclearance = \"secret\"\naccelerator = \"cuda:x\"\n";
        let found = faults(text);
        for key in [
            "model",
            "pooling",
            "threads",
            "batch_tokens",
            "max_tokens",
            "max_queue",
            "clearance",
            "accelerator",
        ] {
            assert!(found.contains(&format!("local.embedding.{key}")), "{key}: {found}");
        }
        assert!(found.contains("local.accelerator"), "{found}");
        assert!(found.contains("cpu, cuda, coreml, directml, openvino"), "{found}");
    }

    #[test]
    fn faults_of_the_router_section_are_all_told_by_their_keys() {
        let text = "[router]\nartifact = \"/nowhere\"\nencoder_deadline_ms = 0\nencoder_threads = 65\ndrift_window = 99\n\
                    drift_psi_alert = 0.0\ndrift_reference = \"/nowhere.json\"\ntighten_max = 1.5\n";
        let found = faults(text);
        for key in [
            "artifact",
            "encoder_deadline_ms",
            "encoder_threads",
            "drift_window",
            "drift_psi_alert",
            "drift_reference",
            "tighten_max",
        ] {
            assert!(found.contains(&format!("router.{key}")), "{key}: {found}");
        }
        assert!(faults("[router]\ndrift_psi_alert = nan\n").contains("router.drift_psi_alert"));
        assert!(faults("[router]\ntighten_maximum = 0.1\n").contains("tighten_max"));
    }

    #[test]
    fn faults_of_the_detection_section_are_all_told_by_their_keys() {
        let text = "[detection]\nnames = \"maybe\"\nnames_artifact = \"/nowhere\"\nnames_deadline_ms = 0\n\
                    names_threads = 65\ndeadline_ms = 0\n";
        let found = faults(text);
        for key in ["names", "names_artifact", "names_deadline_ms", "names_threads", "deadline_ms"] {
            assert!(found.contains(&format!("detection.{key}:")), "{key}: {found}");
        }
    }

    #[test]
    fn nothing_is_tightened_unless_somebody_wrote_it_down() {
        let bound = |text: &str| {
            let config = Config::parse("test.toml", text, &Overrides::default()).expect("it is sound");
            config.router.tighten_max
        };
        assert!(
            bound("").abs() < f32::EPSILON && bound("[router]\ntighten_max = 0.3\n").abs() < f32::EPSILON
        );
        assert!((bound("[router]\ntighten = true\n") - 0.15).abs() < f32::EPSILON);
    }

    #[test]
    fn an_encoder_inherits_clearance_and_accelerator() {
        let text = "[local]\nenabled = false\nclearance = \"internal\"\naccelerator = \"cuda:1\"\n[local.embedding]\n\
                    model = \"/models/e\"\npooling = \"cls\"\n";
        let config = Config::parse("test.toml", text, &Overrides::default()).expect("it is sound");
        let embedding = config.embedding.expect("it is set");
        assert!(config.locals.is_empty());
        assert_eq!(embedding.clearance, Clearance(Label::Internal));
        assert_eq!(embedding.accelerator, Accelerator::Cuda { device: 1 });
        assert_eq!((embedding.pooling, embedding.normalize), (Some(Pooling::Cls), true));
    }
}
