//! The gateway: everything that is built once and shared by all requests.

use std::sync::Arc;

use policies::{PolicySet, PriceTable};
use router_model::Classifier;
use tokio::net::TcpListener;

use crate::audit::{Entry, Event};
use crate::config::Config;
use crate::drift::{Drift, Settings, Setup};
use crate::encoder::LocalEncoder;
use crate::execute::Shadows;
use crate::identity::Callers;
use crate::ledger::{Budgets, Ledger, LedgerError, month_start_ms};
use crate::mask::Vaults;
use crate::portfolio::Portfolio;
use crate::router::{Exchanged, LoadError, RouterModel};
use crate::sessions::Sessions;
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::upstream::SetupError;

/// Unix milliseconds, from wherever the caller takes them.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the outside world provides: tests hand in their own.
pub struct Parts {
    /// Listener of the data plane.
    pub data: TcpListener,
    /// Listener of the admin plane.
    pub admin: TcpListener,
    /// Time.
    pub clock: Clock,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("data", &self.data).field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// Why a gateway could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The classifier.
    #[error("the classifier cannot be set up")]
    Classifier(#[source] LoadError),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] SetupError),
}

/// Everything that is built once.
pub struct Gateway {
    /// The checked configuration.
    pub config: Config,
    /// The rules.
    pub policy: Arc<PolicySet>,
    /// Prices.
    pub prices: Arc<PriceTable>,
    /// Classification.
    pub router: RouterModel,
    /// Whether traffic is what it was.
    pub drift: Drift,
    /// Every model that requests can go to.
    pub portfolio: Portfolio,
    /// Accounting.
    pub ledger: Ledger,
    /// Budgets.
    pub budgets: Budgets,
    /// Callers.
    pub callers: Callers,
    /// Values that were masked.
    pub vaults: Vaults,
    /// Metrics.
    pub metrics: Metrics,
    /// Second answers that nobody is shown.
    pub shadows: Shadows,
    /// Background tasks.
    pub tasks: Tasks,
    clock: Clock,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Builds a gateway. Loads no model: see [`crate::local::load`].
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(config: Config, clock: Clock) -> Result<Arc<Self>, BuildError> {
        let router = RouterModel::load(config.classifier(), clock()).map_err(BuildError::Classifier)?;
        Self::build_with(config, clock, router)
    }

    /// The same around a router model that is there already.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build_with(config: Config, clock: Clock, router: RouterModel) -> Result<Arc<Self>, BuildError> {
        let ledger = Ledger::open(&config.ledger, config.audit.clone(), clock())?;
        let month = month_start_ms(clock());
        let reader = crate::ledger::Store::open(&config.ledger)?;
        let mut spent = std::collections::HashMap::new();
        for team in &config.teams {
            spent.insert(team.name.clone(), reader.spent_since(&team.name, month)?);
        }
        let budgets = Budgets::new(&config.teams, month, |team| spent.get(team).copied().unwrap_or_default());
        let drift = Drift::new(drift_setup(&config), &router.revision());
        let portfolio = Portfolio::new(&config)?;
        ledger.audit(Entry::of_gateway(Event::Started, clock(), config.policy.revision()));
        Ok(Arc::new(Self {
            policy: config.policy.clone(),
            prices: config.prices.clone(),
            router,
            drift,
            portfolio,
            budgets,
            callers: Callers::new(&config, Sessions::load(&reader, ledger.clone(), clock.clone())?),
            vaults: Vaults::default(),
            metrics: Metrics::default(),
            ledger,
            shadows: Shadows::default(),
            tasks: Tasks::default(),
            clock,
            config,
        }))
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// The classifier for one request. Take it once: another one may be put into service meanwhile.
    #[must_use]
    pub fn classifier(&self) -> Arc<Classifier> {
        self.router.classifier()
    }

    /// Puts the router model that a configuration names into service, if it loads whole. Blocks for the disk.
    ///
    /// # Errors
    /// [`LoadError`]; then the one before goes on serving.
    pub fn exchange_router(&self, settings: &crate::config::Router) -> Result<Exchanged, LoadError> {
        let exchanged = self.router.exchange(settings, self.now_ms());
        match &exchanged {
            Ok(Exchanged::To(revision)) => {
                self.drift.exchanged(revision);
                self.metrics.router_reloaded("exchanged");
                tracing::info!(revision, "another router model is in service");
            }
            Ok(Exchanged::Unchanged) => self.metrics.router_reloaded("unchanged"),
            Err(error) => {
                self.metrics.router_reloaded("failed");
                let revision = self.router.revision();
                let error = crate::local::explain(error);
                tracing::error!(
                    error,
                    revision,
                    "the router model was not exchanged: the one before goes on serving"
                );
            }
        }
        exchanged
    }

    /// Watts of a busy core, for the energy column.
    #[must_use]
    pub fn watts_per_core(&self) -> f64 {
        self.config.local().map_or(0.0, |local| local.watts_per_core)
    }

    /// What keeps the gateway from being ready; empty when it is.
    pub async fn readiness(&self) -> Vec<String> {
        let chat = self.portfolio.locals.iter().filter_map(|local| local.fault());
        let encoder = self.portfolio.encoder.iter().filter_map(LocalEncoder::fault);
        let mut faults: Vec<String> = chat.chain(encoder).map(|why| why.to_string()).collect();
        if self.classifier().lacks_names() {
            faults.push(String::from("the names model is not loaded: every request is in doubt"));
        }
        if !self.ledger.is_writable().await {
            faults.push(String::from("the ledger cannot be written"));
        }
        faults
    }
}

fn drift_setup(config: &Config) -> Setup {
    let router = &config.router;
    Setup {
        window: router.drift_window,
        settings: Settings {
            psi_alert: router.drift_psi_alert,
            max: router.tighten_max,
            target: f64::from(config.policy.quality_min()),
        },
        given: router.drift_reference.clone(),
        file: config.ledger.with_extension("drift.json"),
    }
}
