//! The portfolio: every model that requests can go to, and what a model name means.

use std::sync::Arc;
use std::time::Instant;

use policies::{Capabilities, Location, Price, PriceTable, Target, Wants};

use crate::config::Config;
use crate::encoder::LocalEncoder;
use crate::local::LocalModel;
use crate::upstream::{SetupError, UpstreamClient};

/// Every model that requests can go to.
#[derive(Debug)]
pub struct Portfolio {
    /// The embedded models that answer, the default one first; empty if none is configured.
    pub locals: Vec<Arc<LocalModel>>,
    /// The embedded encoder, if one is configured.
    pub encoder: Option<LocalEncoder>,
    /// Upstreams in the operator's order.
    pub upstreams: Vec<UpstreamClient>,
    prices: Arc<PriceTable>,
    baseline_model: String,
}

impl Portfolio {
    /// The portfolio of a configuration. Loads no model and opens no connection.
    ///
    /// # Errors
    /// [`SetupError`] when an upstream cannot be set up.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let client = |upstream: &crate::config::Upstream| {
            UpstreamClient::new(upstream.clone(), &config.prices, &config.baseline_model)
        };
        Ok(Self {
            locals: config
                .locals
                .iter()
                .map(|local| Arc::new(LocalModel::new(local.clone(), config.store.clone())))
                .collect(),
            encoder: config.embedding.clone().map(LocalEncoder::new),
            upstreams: config.upstreams.iter().map(client).collect::<Result<_, _>>()?,
            prices: config.prices.clone(),
            baseline_model: config.baseline_model.clone(),
        })
    }

    /// The embedded model that answers by default.
    #[must_use]
    pub fn local(&self) -> Option<&Arc<LocalModel>> {
        self.locals.first()
    }

    /// The embedded model of a target.
    #[must_use]
    pub fn local_of(&self, target: &Target) -> Option<&Arc<LocalModel>> {
        self.locals.iter().find(|local| local.answers_for(&target.id))
    }

    /// The upstream of a target.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&UpstreamClient> {
        self.upstreams.iter().find(|upstream| *upstream.config.name == *name)
    }

    /// What a model name means, and every target that a request with it could go to.
    #[must_use]
    pub fn targets(&self, model: &str) -> (Wants, Vec<Arc<Target>>) {
        let now = Instant::now();
        let mut targets: Vec<Arc<Target>> = self.locals.iter().map(|local| local.target()).collect();
        if model == "auto" {
            targets.extend(self.upstreams.iter().flat_map(|upstream| upstream.targets(now)));
            return (Wants::Any, targets);
        }
        if let Some((place, name)) = model.split_once('/') {
            if place == "local" {
                let id = self.local().filter(|_| name == "default").map(|local| local.target().id.clone());
                return (Wants::Forced(id.unwrap_or_else(|| model.into())), targets);
            }
            if let Some(upstream) = self.upstream(place) {
                let target = upstream.named_target(name, &self.prices, now);
                let id = target.id.clone();
                targets.push(target);
                return (Wants::Forced(id), targets);
            }
        }
        let mut listing: Vec<_> = self.upstreams.iter().filter(|upstream| upstream.lists(model)).collect();
        if listing.is_empty() {
            listing.extend(self.upstreams.first());
        }
        targets.extend(listing.into_iter().map(|upstream| upstream.named_target(model, &self.prices, now)));
        (Wants::Named, targets)
    }

    /// What a model name means for embeddings, and every target that a request with it could go to.
    ///
    /// Only ever one model: `auto` and `local/default` are the embedded encoder, and several targets are the same
    /// name at several upstreams. Without an encoder `auto` has no target.
    #[must_use]
    pub fn embedding_targets(&self, model: &str) -> (Wants, Vec<Arc<Target>>) {
        let now = Instant::now();
        let own = self.encoder.as_ref().map(LocalEncoder::target);
        let forced = |target: Arc<Target>| (Wants::Forced(target.id.clone()), vec![unbounded(&target)]);
        if let Some(own) = own
            && (["auto", "local/default", &*own.id].contains(&model))
        {
            return forced(own);
        }
        let place = model.split_once('/').and_then(|(place, name)| Some((self.upstream(place)?, name)));
        if let Some((upstream, name)) = place {
            return forced(upstream.named_target(name, &self.prices, now));
        }
        if model == "auto" || model.starts_with("local/") {
            return (Wants::Forced(model.into()), Vec::new());
        }
        let mut named: Vec<_> = self.upstreams.iter().filter(|upstream| upstream.lists(model)).collect();
        if named.is_empty() {
            named.extend(self.upstreams.first());
        }
        if let [upstream] = named.as_slice() {
            return forced(upstream.named_target(model, &self.prices, now));
        }
        let targets =
            named.into_iter().map(|upstream| unbounded(&upstream.named_target(model, &self.prices, now)));
        (Wants::Named, targets.collect())
    }

    /// Price of what a request would have used without the gateway: the model that it names, or the configured
    /// baseline for `auto` and for forced routes.
    #[must_use]
    pub fn baseline_price(&self, requested: &str) -> Option<Price> {
        let own = |upstream: &UpstreamClient, model: &str| {
            upstream.config.models.iter().find(|m| &*m.name == model).and_then(|m| m.price)
        };
        let named = |model: &str| {
            self.upstreams
                .iter()
                .find_map(|upstream| own(upstream, model))
                .or_else(|| self.prices.price(model))
        };
        match requested.split_once('/') {
            _ if requested == "auto" => named(&self.baseline_model),
            Some(("local", _)) => named(&self.baseline_model),
            Some((place, model)) if self.upstream(place).is_some() => named(model),
            _ => named(requested),
        }
    }

    /// Is at least one target of this kind usable?
    #[must_use]
    pub fn reaches(&self, location: Location) -> bool {
        let now = Instant::now();
        let mut all = self.upstreams.iter().flat_map(|upstream| upstream.targets(now));
        all.any(|target| target.is_ready() && target.location == location)
    }
}

/// The target without a limit on its context: the texts of an embedding request are read one by one, so their sum says
/// nothing, and the target itself refuses one that is too long.
fn unbounded(target: &Target) -> Arc<Target> {
    let capabilities = Capabilities { context_tokens: u32::MAX, ..target.capabilities };
    Arc::new(Target { capabilities, ..target.clone() })
}
