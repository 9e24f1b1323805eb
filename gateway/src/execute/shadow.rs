//! Shadows: a second answer to some requests, which is compared with the served one and shown to nobody.
//!
//! A shadow is begun when the served answer is complete, so it delays no client, and only a few run at a time: what finds no
//! place is left out, not queued. Its target is part of the plan and was cleared for the label; the request passes the same
//! gate again on the way. A shadow has a row of its own in the ledger, which the team pays for, within its budget. The
//! text of both answers lives until they are compared; only how far they agree is kept.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use hyper::HeaderMap;
use policies::{Location, Mode, Money, Plan, Price, Profile, Subject};
use router_model::AnswerModel;
use router_model::confidence::{agreement, compares_results};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Answer, Call, execute};
use crate::ask::Ask;
use crate::audit::Trail;
use crate::error::{Error, UpstreamFault};
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::ledger::{Finish, Reservation, Row, month_start_ms};
use crate::pipeline::reserved_usage;
use crate::settlement::Account;
use crate::telemetry::Shadowed;

/// Shadows at work at the same time.
const CONCURRENT: usize = 2;
/// Bytes of the served answer that are kept for the comparison.
const HEARD_BYTES_MAX: usize = 1 << 16;
/// The judge's name in the ledger, and the rule's in a shadow's row.
const NAME: &str = "shadow";
/// Judge of answers of which only the words were compared: that is told, and grades nothing.
const OVERLAP: &str = "overlap";

/// Places for shadows at work.
#[derive(Debug, Clone)]
pub struct Shadows(Arc<Semaphore>);

impl Default for Shadows {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONCURRENT)))
    }
}

/// A second answer that is to be made.
#[derive(Debug)]
pub struct Shadow {
    request: Subject<ChatRequest>,
    plan: Plan,
    profile: Arc<Profile>,
    answers: Arc<AnswerModel>,
    team: String,
    headers: HeaderMap,
    heard: String,
}

impl Shadow {
    /// The shadow of a request, if the plan has one and the draw falls on it. The draw is made by the request's id, so that
    /// it can be repeated.
    pub fn of<R: Ask>(call: &Call<'_, R>, plan: &Plan, id: &str) -> Option<Self> {
        let Mode::Shadow { rate } = plan.mode else { return None };
        if !is_drawn(id, rate) {
            return None;
        }
        Some(Self {
            request: call.request.derive(Ask::for_shadow)?,
            plan: plan.of_shadow()?,
            profile: call.profile.clone(),
            answers: call.answers.clone(),
            team: call.team.to_owned(),
            headers: call.headers.clone(),
            heard: String::new(),
        })
    }

    /// Hears an event of the served stream.
    pub fn hear_event(&mut self, event: &[u8]) {
        let data = std::str::from_utf8(event)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        for chunk in data.filter_map(|data| serde_json::from_str::<Value>(data).ok()) {
            if let Some(text) = chunk.pointer("/choices/0/delta/content").and_then(Value::as_str) {
                self.hear(text);
            }
        }
    }

    /// Hears the served answer.
    pub fn hear_whole(&mut self, body: &[u8]) {
        let text = text_of(body);
        self.hear(&text);
    }

    fn hear(&mut self, text: &str) {
        let room = HEARD_BYTES_MAX.saturating_sub(self.heard.len());
        self.heard.push_str(&text[..text.floor_char_boundary(room)]);
    }

    /// Begins, if there is a place and money for it. `served` is the row of the answer that was served.
    pub fn begin(self: Box<Self>, gateway: &Arc<Gateway>, served: &Row, trail: Option<&Trail>) {
        let target = self.plan.target();
        let is_local = target.location == Location::Local;
        // What was to be compared with it did not answer: it would be compared with itself.
        if is_local == (served.route == "local") || self.heard.is_empty() {
            return gateway.metrics.shadowed(Shadowed::Failed, None);
        }
        let Ok(place) = gateway.shadows.0.clone().try_acquire_owned() else {
            return gateway.metrics.shadowed(Shadowed::Busy, None);
        };
        if is_local && is_busy(gateway, &self.plan) {
            return gateway.metrics.shadowed(Shadowed::Busy, None);
        }
        let Ok((amount, held)) = self.reserve(gateway) else {
            return gateway.metrics.shadowed(Shadowed::Budget, None);
        };
        let mut account = Account::open(gateway.clone(), crate::http::request_id());
        account.compared(false);
        self.describe(account.row(), served);
        if let Some(trail) = trail {
            account.follow(trail.of_shadow());
        }
        account.destined(target);
        account.reserve(amount, held);
        let (gateway, parent) = (gateway.clone(), served.id.clone());
        gateway.clone().tasks.spawn(NAME, self.run(gateway, account, parent, place));
    }

    /// Reserves the worst case for a team with a budget.
    fn reserve(&self, gateway: &Gateway) -> Result<(Money, Option<Reservation>), crate::ledger::BudgetError> {
        let target = self.plan.target();
        let usage = reserved_usage(&*self.request, &self.profile);
        let worst = target.price.map(|price| price.cost(&usage));
        let month = month_start_ms(gateway.now_ms());
        let held = gateway.budgets.reserve(&self.team, &target.model, worst, month)?;
        Ok((worst.unwrap_or_default(), held))
    }

    /// A shadow's row: the request's own, as far as it says who asked and what was found.
    fn describe(&self, row: &mut Row, served: &Row) {
        let arrived = row.time_ms;
        let id = row.id.clone();
        *row = Row {
            team: served.team.clone(),
            key: served.key.clone(),
            user: served.user.clone(),
            tags: served.tags.clone(),
            session: served.session.clone(),
            requested_model: served.requested_model.clone(),
            label: served.label,
            kinds: served.kinds.clone(),
            doubt: served.doubt.clone(),
            complexity: served.complexity,
            task: served.task,
            language: served.language.clone(),
            policy: served.policy.clone(),
            rule: Arc::from(NAME),
            reason: format!("shadow of {}", served.id),
            profile: served.profile.clone(),
            shadow_of: served.id.to_string(),
            mode: served.mode,
            ..Row::new(id, arrived)
        };
    }

    async fn run(
        self: Box<Self>,
        gateway: Arc<Gateway>,
        mut account: Account,
        parent: Arc<str>,
        _place: OwnedSemaphorePermit,
    ) {
        if self.plan.target().price != Some(Price::FREE) {
            let opened = gateway.ledger.open_now(account.snapshot()).await;
            if let Err(error) = opened {
                tracing::warn!(%error, "a shadow was left out: it could not be accounted");
                account.finish(Finish::Failed, 503, "ledger_unavailable");
                return gateway.metrics.shadowed(Shadowed::Failed, None);
            }
        }
        let answered = tokio::select! {
            answered = self.ask(&gateway, &mut account) => answered,
            () = gateway.tasks.stopping() => Err(Error::Draining),
        };
        let (agreement, judge) = match answered {
            Ok(text) => {
                let agreement = agreement(&self.heard, &text, self.profile.task);
                let decides = compares_results(&self.heard, &text, self.profile.task);
                account.note(&format!("it agrees with the served answer by {agreement:.2}"));
                account.finish(Finish::Completed, 200, "");
                (agreement, if decides { NAME } else { OVERLAP })
            }
            Err(error) => {
                tracing::info!(kind = error.kind(), %error, "a shadow did not answer");
                account.finish(Finish::Failed, 502, error.kind());
                return gateway.metrics.shadowed(Shadowed::Failed, None);
            }
        };
        gateway.metrics.shadowed(Shadowed::Judged, Some(agreement));
        gateway.ledger.judge(&parent, judge, f64::from(agreement), gateway.now_ms());
    }

    /// Asks the shadow's target, and returns what it says.
    async fn ask(&self, gateway: &Arc<Gateway>, account: &mut Account) -> Result<String, Error> {
        let limit = gateway.config.server.request_timeout;
        let until = Instant::now() + limit;
        let call = Call {
            request: &self.request,
            profile: self.profile.clone(),
            answers: self.answers.clone(),
            team: &self.team,
            headers: self.headers.clone(),
            traceparent: None,
            input_tokens: self.profile.input_tokens,
            created: gateway.now_ms() / 1000,
            until,
            is_shadow: true,
        };
        // Boxed: execution begins shadows, and a shadow is an execution.
        let asked = Box::pin(execute(gateway, &call, &self.plan, account));
        let asked = tokio::time::timeout_at(until.into(), asked).await;
        let (answer, target) = asked.map_err(|_| Error::Deadline(limit))??;
        let fault = |fault| Error::Upstream { upstream: target.upstream.clone(), fault };
        let Answer::Whole(whole) = answer else { return Err(fault(UpstreamFault::BrokenOff)) };
        if !whole.status.is_success() {
            return Err(fault(UpstreamFault::Status(whole.status.as_u16())));
        }
        let Some(tally) = &whole.tally else { return Err(fault(UpstreamFault::BrokenOff)) };
        account.first_byte();
        account.used(tally);
        Ok(text_of(&whole.body))
    }
}

/// Does the draw fall on a request? `rate` is the share of ids on which it does.
fn is_drawn(id: &str, rate: f32) -> bool {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    #[expect(clippy::cast_precision_loss, reason = "a draw")]
    let draw = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
    draw < f64::from(rate)
}

/// Are clients waiting for the local model?
fn is_busy(gateway: &Gateway, plan: &Plan) -> bool {
    let runtime = gateway.portfolio.local_of(plan.target()).and_then(|local| local.runtime());
    runtime.is_some_and(|runtime| runtime.load_now().waiting > 0)
}

/// The text of a whole answer's first choice; empty when it has none.
fn text_of(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    answer.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_keeps_its_rate_and_its_word() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("req_{n}")).collect();
        for rate in [0.01_f32, 0.3, 1.0] {
            let drawn = ids.iter().filter(|id| is_drawn(id, rate)).count();
            let share = f64::from(u32::try_from(drawn).unwrap()) / 20_000.0;
            assert!((share - f64::from(rate)).abs() < 0.012, "{share} for {rate}");
            let first: Vec<&String> = ids.iter().filter(|id| is_drawn(id, rate)).take(5).collect();
            assert!(first.iter().all(|id| is_drawn(id, 1.0) && is_drawn(id, rate)));
        }
    }

    #[test]
    fn the_first_choice_is_heard_within_bounds() {
        assert_eq!(text_of(br#"{"choices":[{"message":{"content":"yes"}}]}"#), "yes");
        assert_eq!(text_of(b"no json"), "");
        assert_eq!(text_of(br#"{"choices":[{"message":{"content":null}}]}"#), "");
    }
}
