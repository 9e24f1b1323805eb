//! Settlement: every request settles exactly once, however it ends.
//!
//! An [`Account`] is opened when a request arrives and travels with it, last of all inside the response body.
//! [`Account::finish`] settles it; dropping it unsettled settles it as aborted, with what is known by then.

use std::sync::Arc;
use std::time::Instant;

use local_runtime::OutputFlag;
use policies::{Cost, Decision, Label, Location, Money, Outcome, Price, Profile, Target, Usage, UsageSource};

use crate::audit::Trail;
use crate::error::Error;
use crate::execute::Shadow;
use crate::gateway::Gateway;
use crate::ledger::{Finish, Reservation, Row};
use crate::mask::Unmasking;

/// What was used, and how that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Tokens.
    pub usage: Usage,
    /// Where they come from.
    pub source: UsageSource,
    /// Confidence of a local answer.
    pub confidence: Option<f32>,
    /// Signs of a bad answer, for local answers.
    pub flags: Vec<OutputFlag>,
    /// Seconds of computing on this machine, all threads together.
    pub busy_core_seconds: f64,
    /// What was generated besides and shown to nobody.
    pub wasted: Wasted,
}

/// What the local model did for a request without a use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wasted {
    /// Tokens generated.
    pub output_tokens: u64,
    /// Seconds of computing, all threads together.
    pub core_seconds: f64,
}

impl Tally {
    /// Tokens that cost this machine nothing.
    #[must_use]
    pub const fn new(usage: Usage, source: UsageSource) -> Self {
        let wasted = Wasted { output_tokens: 0, core_seconds: 0.0 };
        Self { usage, source, confidence: None, flags: Vec::new(), busy_core_seconds: 0.0, wasted }
    }
}

/// One request on its way through the gateway.
pub struct Account {
    gateway: Arc<Gateway>,
    row: Box<Row>,
    started: Instant,
    reservation: Option<Reservation>,
    price: Option<Price>,
    /// Is there another model whose price tells what was saved?
    compared: bool,
    /// What the running call may be billed, once it was sent to a priced target and until it is known.
    pending: Option<Usage>,
    /// What calls may be billed that were sent and then given up.
    given_up: Money,
    /// The last local answer that was too weak. It is wasted unless it is served after all.
    weak: Option<Tally>,
    /// That answer is served after all, and its confidence is counted already.
    kept: bool,
    /// The second answer that nobody is shown, begun once the first one was served.
    shadow: Option<Box<Shadow>>,
    /// What the audit chain is told; `None` until something was decided.
    trail: Option<Box<Trail>>,
    settled: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.row.id).finish_non_exhaustive()
    }
}

impl Account {
    /// Opens an account for a request that has just arrived.
    pub fn open(gateway: Arc<Gateway>, id: Arc<str>) -> Self {
        let row = Box::new(Row::new(id, gateway.now_ms()));
        gateway.metrics.in_flight.inc();
        Self {
            gateway,
            row,
            started: Instant::now(),
            reservation: None,
            price: None,
            compared: true,
            pending: None,
            given_up: Money::ZERO,
            weak: None,
            kept: false,
            shadow: None,
            trail: None,
            settled: false,
        }
    }

    /// When the request arrived.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Forgets a request that did not identify itself: it is counted, and leaves no row.
    pub fn forget(mut self, error: &'static str) {
        self.settled = true;
        self.gateway.metrics.refused(error);
    }

    /// The row so far.
    pub fn row(&mut self) -> &mut Row {
        &mut self.row
    }

    /// Request id.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        self.row.id.clone()
    }

    /// Notes what classification and decision said.
    pub fn decided(&mut self, profile: &Profile, decision: &Decision) {
        self.follow(Trail::of(&self.gateway.policy, profile, decision));
        let row = &mut *self.row;
        row.label = decision.labelled.label;
        row.kinds = join(decision.labelled.kinds.iter().map(|(kind, count)| format!("{kind}={count}")));
        row.doubt = join(decision.labelled.doubt.iter().map(ToString::to_string));
        row.complexity = profile.complexity;
        row.task = profile.task.as_str();
        row.language = profile.language.to_string();
        row.policy = decision.policy_revision.clone();
        row.rule = decision.reason.rule.clone();
        row.reason = decision.reason.text.clone();
        row.alternatives = serde_json::to_string(&decision.alternatives).unwrap_or_default();
        if let Outcome::Serve(plan) = &decision.outcome {
            row.degraded = plan.degraded;
            row.declassified = plan.declassified.is_some();
            row.mode = plan.mode.as_str();
        }
    }

    /// Notes whether what was saved can be told from another model's price.
    pub fn compared(&mut self, compared: bool) {
        self.compared = compared;
    }

    /// Notes an attempt at a target: from here on the request is the target's.
    pub fn attempt(&mut self, target: &Target) {
        self.row.attempts += 1;
        self.destined(target);
    }

    /// Notes where the request is meant to go.
    pub fn destined(&mut self, target: &Target) {
        let row = &mut *self.row;
        row.served_model = target.model.to_string();
        row.upstream = target.upstream.to_string();
        row.route = route(target);
        self.price = target.price;
        let prices = &self.gateway.prices;
        if target.location == Location::Local {
            row.price_source = String::from("local");
            row.price_version = String::from("0");
        } else if target.price.is_some() {
            let catalogued = prices.price(&target.model) == target.price;
            row.price_source = if catalogued { prices.source.clone() } else { String::from("configuration") };
            row.price_version = if catalogued { prices.version.clone() } else { String::new() };
        } else {
            row.price_source.clear();
            row.price_version.clear();
        }
    }

    /// Notes that a call is being sent which may be billed, with what it may use.
    pub fn sent(&mut self, estimate: Usage) {
        self.pending = Some(estimate);
    }

    /// Notes that the running call failed: `billed` when the upstream may have done the work all the same.
    pub fn failed_attempt(&mut self, billed: bool) {
        if let (Some(estimate), true) = (self.pending.take(), billed) {
            self.given_up += self.cost(&estimate).money().unwrap_or_default();
            self.row.usage.input_tokens += estimate.input_tokens;
            self.row.usage.output_tokens += estimate.output_tokens;
            self.row.usage_source = Some(UsageSource::Estimated);
        }
    }

    /// Attaches money that was reserved for this request.
    pub fn reserve(&mut self, amount: Money, reservation: Option<Reservation>) {
        self.row.reserved = amount;
        self.reservation = reservation;
    }

    /// The row as it stands, for opening it in the ledger.
    #[must_use]
    pub fn snapshot(&self) -> Row {
        (*self.row).clone()
    }

    /// Notes the first byte of the answer.
    pub fn first_byte(&mut self) {
        if self.row.first_token_ms.is_none() {
            self.row.first_token_ms = Some(milliseconds(self.started));
        }
    }

    /// What a usage costs at the target of the last attempt.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Cost {
        self.price.map_or(Cost::Unpriced, |price| Cost::Priced(price.cost(usage)))
    }

    /// Takes up a trail for the audit chain.
    pub fn follow(&mut self, trail: Trail) {
        self.trail = Some(Box::new(trail));
    }

    /// Notes that a target is given the request. Before one that is not on this machine the audit chain is told, and where
    /// the policy says so, the record is waited for.
    ///
    /// # Errors
    /// [`Error::Unauditable`]; then nothing may be sent.
    pub async fn depart(&mut self, target: &Target, label: Label) -> Result<(), Error> {
        let session = self.session_hash();
        let (gateway, row) = (&self.gateway, &*self.row);
        let Some(trail) = &mut self.trail else { return Ok(()) };
        trail.goes_to(target, label);
        if target.location == Location::Local {
            return Ok(());
        }
        let entry = trail.sending(row, session, gateway.now_ms());
        if gateway.policy.requires_audit() {
            return gateway.ledger.audit_now(entry).await.map_err(Error::Unauditable);
        }
        gateway.ledger.audit(entry);
        Ok(())
    }

    /// Notes what became of the request at the last target.
    pub fn arrived(&mut self, result: &'static str) {
        if let Some(trail) = &mut self.trail {
            trail.came_to(result);
        }
    }

    /// The session as the audit chain names it; empty without one.
    fn session_hash(&self) -> String {
        if self.row.session.is_empty() {
            return String::new();
        }
        let hash = self.gateway.callers.session_hash(&self.row.team, &self.row.session);
        hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Notes what was used.
    pub fn used(&mut self, tally: &Tally) {
        let cost = self.cost(&tally.usage).money().map(|cost| cost + self.given_up);
        self.pending = None;
        let row = &mut *self.row;
        row.usage = tally.usage;
        row.usage_source = Some(tally.source);
        row.cost = cost;
        row.confidence = tally.confidence.or(row.confidence);
        if let Some(confidence) = tally.confidence.filter(|_| !self.kept) {
            self.gateway.metrics.judged(row.mode, confidence);
        }
        let baseline = self.gateway.portfolio.baseline_price(&row.requested_model);
        row.baseline = baseline.filter(|_| self.compared).map(|price| price.cost(&tally.usage));
        self.worked(tally.busy_core_seconds);
        self.discarded(tally.wasted);
    }

    /// Notes a local answer that was too weak and is to be replaced. Until then it is kept: see [`Account::kept`].
    pub fn wasted(&mut self, tally: Tally) {
        self.discard_weak();
        self.row.confidence = tally.confidence.or(self.row.confidence);
        if let Some(confidence) = tally.confidence {
            self.gateway.metrics.judged(self.row.mode, confidence);
        }
        self.weak = Some(tally);
    }

    /// Notes that the last weak answer is served after all: it is not wasted, and [`Account::used`] tells of it.
    pub fn kept(&mut self) {
        self.weak = None;
        self.kept = true;
    }

    fn discard_weak(&mut self) {
        let Some(tally) = self.weak.take() else { return };
        self.discarded(Wasted {
            output_tokens: tally.usage.output_tokens + tally.wasted.output_tokens,
            core_seconds: tally.busy_core_seconds + tally.wasted.core_seconds,
        });
    }

    /// Books what was generated for nothing: in the request's whole energy, and apart.
    fn discarded(&mut self, wasted: Wasted) {
        self.row.wasted_output_tokens += wasted.output_tokens;
        let joules = self.worked(wasted.core_seconds);
        if joules > 0.0 {
            self.row.wasted_joules = Some(self.row.wasted_joules.unwrap_or(0.0) + joules);
        }
    }

    /// Books the energy of computing on this machine, and returns it.
    fn worked(&mut self, core_seconds: f64) -> f64 {
        if core_seconds <= 0.0 {
            return 0.0;
        }
        let joules = core_seconds * self.gateway.watts_per_core();
        let row = &mut *self.row;
        row.energy_joules = Some(row.energy_joules.unwrap_or(0.0) + joules);
        row.energy_method = "modelled: seconds from queueing to the end x threads x configured watts";
        joules
    }

    /// Adds to the reason that the response and the ledger tell.
    pub fn note(&mut self, text: &str) {
        let reason = &mut self.row.reason;
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(text);
    }

    /// Attaches the second answer that is to be made once this one was served.
    pub fn shadowed(&mut self, shadow: Box<Shadow>) {
        self.shadow = Some(shadow);
    }

    /// Lets the shadow hear an event of the answer that is served.
    pub fn hear_event(&mut self, event: &[u8]) {
        if let Some(shadow) = &mut self.shadow {
            shadow.hear_event(event);
        }
    }

    /// Lets the shadow hear the whole answer that is served.
    pub fn hear_whole(&mut self, body: &[u8]) {
        if let Some(shadow) = &mut self.shadow {
            shadow.hear_whole(body);
        }
    }

    /// Notes the signs of a bad local answer. Once for each answer.
    pub fn flagged(&mut self, flags: &[OutputFlag]) {
        self.gateway.metrics.flagged(flags);
        // An answer that the request's own limit cut off is an ordinary one.
        let told = flags.iter().filter(|flag| **flag != OutputFlag::Truncated).map(|flag| flag.as_str());
        let told: Vec<_> = told.collect();
        if !told.is_empty() {
            self.note(&format!("the local answer was flagged: {}", told.join(", ")));
        }
    }

    /// Notes the words in the answer that could not be put back.
    pub fn unmasked(&mut self, unmasking: Option<&Unmasking>) {
        if let Some(words) = unmasking.map(Unmasking::unrestored).filter(|words| *words > 0) {
            self.gateway.metrics.unrestored(words);
        }
    }

    /// Settles the request.
    pub fn finish(mut self, outcome: Finish, status: u16, error: &str) {
        self.settle(outcome, status, error);
    }

    fn settle(&mut self, outcome: Finish, status: u16, error: &str) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        // A call that was sent and never answered may be billed in full: the upstream does not know that we left.
        self.failed_attempt(true);
        self.discard_weak();
        let session = self.session_hash();
        let row = &mut *self.row;
        row.outcome = outcome;
        row.status = status;
        row.error = error.to_owned();
        row.total_ms = milliseconds(self.started);
        if row.cost.is_none() && (row.usage_source.is_none() || self.given_up > Money::ZERO) {
            // Nothing was served: nothing is owed but for calls that were given up.
            row.cost = Some(self.given_up);
        }
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(row.cost.unwrap_or(row.reserved));
        }
        // Also that of an answer which was given up for want of it; a shadow's is of other traffic.
        if let Some(confidence) = row.confidence.filter(|_| row.shadow_of.is_empty()) {
            self.gateway.drift.answered(confidence);
        }
        self.gateway.metrics.settled(row);
        let trail = self.trail.take();
        let entry = trail.as_deref().map(|trail| trail.settled(row, session, self.gateway.now_ms()));
        self.gateway.ledger.settle(row.clone(), entry);
        if let Some(shadow) = self.shadow.take().filter(|_| outcome == Finish::Completed) {
            shadow.begin(&self.gateway, row, trail.as_deref());
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle(Finish::Aborted, 499, "client_left");
        self.gateway.metrics.in_flight.dec();
    }
}

/// The route of a target, as the header and the ledger write it.
#[must_use]
pub fn route(target: &Target) -> String {
    match target.location {
        Location::Local => String::from("local"),
        Location::OnPrem => format!("on-prem:{}", target.upstream),
        Location::Cloud => format!("cloud:{}", target.upstream),
    }
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// Milliseconds since a time.
#[must_use]
pub fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
