//! Execution: a plan becomes an answer, by trying its targets in order.
//!
//! Each attempt clears the request for its own target. A failure goes on to the next target only before the
//! first byte was sent; a weak local answer goes on only if the plan says so; neither can reach a target that
//! the label does not admit, because the plan holds none. A weak answer is kept until another one is there, and served
//! if none comes.

mod answer;
mod embed;
mod local;
mod remote;
mod shadow;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use policies::decision::expected_output_tokens;
use policies::{Location, Plan, Profile, Subject, Target, Usage, Verdict, review};
use router_model::AnswerModel;

pub use answer::{Answer, Attempt, Item, SettledBody, StreamSource, Whole};
pub(crate) use embed::embed_locally;
pub(crate) use local::answer as chat_locally;
pub use shadow::{Shadow, Shadows};

use crate::ask::Ask;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::settlement::{Account, Tally};
use crate::telemetry::Escalated;

/// What an attempt needs besides the plan.
#[derive(Debug)]
pub struct Call<'a, R = ChatRequest> {
    /// The request, as it may be sent.
    pub request: &'a Subject<R>,
    /// What classification said of it.
    pub profile: Arc<Profile>,
    /// What judges a local answer: of the router model that classified the request.
    pub answers: Arc<AnswerModel>,
    /// The team that asks.
    pub team: &'a str,
    /// Client headers that may travel.
    pub headers: HeaderMap,
    /// Trace context.
    pub traceparent: Option<HeaderValue>,
    /// Estimated input tokens, for answers that report none.
    pub input_tokens: u32,
    /// Unix seconds, for answers made here.
    pub created: i64,
    /// When the request's time is up.
    pub until: Instant,
    /// Nobody waits for the answer.
    pub is_shadow: bool,
}

/// A local answer that was not good enough.
enum Weak {
    /// Finished and kept, in case nothing better comes.
    Kept(Box<Answer>, Arc<Target>),
    /// Given up after its beginning, so that the model is free.
    GivenUp(Arc<Target>),
}

impl Weak {
    const fn target(&self) -> &Arc<Target> {
        match self {
            Self::Kept(_, target) | Self::GivenUp(target) => target,
        }
    }
}

/// Tries the targets of a plan until one answers well enough. Returns the answer with its target.
///
/// # Errors
/// The last target's failure, if there is no weak local answer to serve instead.
///
/// # Cancel safety
/// Dropping the future cancels the running attempt; the account then settles as aborted.
pub async fn execute<R: Ask>(
    gateway: &Gateway,
    call: &Call<'_, R>,
    plan: &Plan,
    account: &mut Account,
) -> Result<(Answer, Arc<Target>), Error> {
    let mut weak: Option<Weak> = None;
    let mut targets = plan.targets().iter().peekable();
    let mut failure = Error::Draining;
    while let Some(target) = targets.next() {
        if weak.as_ref().is_some_and(|weak| !target.is_beyond(weak.target())) {
            continue;
        }
        account.attempt(target);
        let is_last = targets.peek().is_none() && weak.is_none();
        match attempt(gateway, call, plan, target, account, is_last, weak.as_ref()).await {
            Ok(Attempt::GivenUp(mut tally)) => {
                account.arrived("given_up");
                account.flagged(&std::mem::take(&mut tally.flags));
                note_weakness(account, plan, target, "the beginning of the local answer", tally);
                weak = Some(Weak::GivenUp(target.clone()));
            }
            Ok(Attempt::Answer(mut answer)) => {
                account.arrived(if answer.is_error() { "error" } else { "answered" });
                account.flagged(&answer.take_flags());
                if answer.is_error() {
                    account.failed_attempt(false);
                    // An upstream's error answer is not better than a weak local one.
                    if weak.is_some() {
                        account.note(&format!("the escalation to {} failed", target.id));
                        continue;
                    }
                }
                if is_weak(plan, target, &answer) {
                    let tally = answer.tally().expect("an answer with a confidence was tallied");
                    note_weakness(account, plan, target, "the local answer", tally);
                    weak = Some(Weak::Kept(Box::new(answer), target.clone()));
                    continue;
                }
                if weak.is_some() {
                    gateway.metrics.escalated(plan.mode, Escalated::Answered);
                } else if let (Some(confidence), Some(_)) = (answer.confidence(), plan.escalation(target)) {
                    gateway.metrics.escalated(plan.mode, Escalated::NotNeeded);
                    account.note(&format!("the local answer's confidence {confidence:.2} was enough"));
                }
                return Ok((answer, target.clone()));
            }
            Err(error) => {
                account.arrived(error.kind());
                account.failed_attempt(error.may_be_billed());
                if is_last || !(error.falls_back() || weak.is_some()) {
                    return Err(error);
                }
                tracing::info!(target = %target.id, kind = error.kind(), %error, "attempt failed");
                if weak.is_some() {
                    account.note(&format!("the escalation to {} failed: {error}", target.id));
                } else if let Some(next) = targets.peek() {
                    account.note(&format!("fell back after {}: {error}", target.id));
                    account.row().degraded |= next.location < target.location;
                }
                failure = error;
            }
        }
    }
    let weak = weak.ok_or(failure)?;
    gateway.metrics.escalated(plan.mode, Escalated::Failed);
    serve_weak(gateway, call, plan, account, weak).await
}

/// One attempt at one target.
async fn attempt<R: Ask>(
    gateway: &Gateway,
    call: &Call<'_, R>,
    plan: &Plan,
    target: &Arc<Target>,
    account: &mut Account,
    is_last: bool,
    weak: Option<&Weak>,
) -> Result<Attempt, Error> {
    account.depart(target, plan.label()).await?;
    match target.location {
        Location::Local => R::answer_locally(gateway, call, plan, target, &account.id()).await,
        Location::OnPrem | Location::Cloud => {
            account.sent(call.estimate());
            let asked = remote::answer(gateway, call, plan, target, is_last);
            let Some(weak) = weak else { return asked.await.map(Attempt::from) };
            // There is an answer to serve already, so there must be time left to serve it.
            let limit = gateway.config.server.request_timeout;
            let margin = match weak {
                Weak::Kept(..) => (limit / 10).min(ESCALATION_MARGIN),
                // It has to be generated again.
                Weak::GivenUp(_) => limit / 3,
            };
            let until = call.until - margin;
            let asked = tokio::time::timeout_at(until.into(), asked).await;
            asked.map_err(|_| Error::Deadline(limit))?.map(Attempt::from)
        }
    }
}

/// Time that an escalation leaves for serving the weak answer after all, at most.
const ESCALATION_MARGIN: Duration = Duration::from_secs(2);

/// Is this a local answer that another target is to replace?
fn is_weak(plan: &Plan, target: &Target, answer: &Answer) -> bool {
    let verdict = answer.confidence().map(|confidence| review(plan, target, confidence));
    matches!(verdict, Some(Verdict::Escalate(_)))
}

/// Tells why an answer is not served, and takes what it took for wasted.
fn note_weakness(account: &mut Account, plan: &Plan, target: &Target, what: &str, tally: Tally) {
    let confidence = tally.confidence.unwrap_or(0.0);
    let next = plan.escalation(target).map_or("none", |next| &*next.id);
    account.note(&format!("{what} had a confidence of {confidence:.2}: escalated to {next}"));
    account.wasted(tally);
}

/// Serves a weak local answer, since nothing better was to be had. One that was given up is generated again.
async fn serve_weak<R: Ask>(
    gateway: &Gateway,
    call: &Call<'_, R>,
    plan: &Plan,
    account: &mut Account,
    weak: Weak,
) -> Result<(Answer, Arc<Target>), Error> {
    account.row().degraded = true;
    account.note("the weak local answer is served");
    match weak {
        Weak::Kept(answer, target) => {
            account.kept();
            account.destined(&target);
            Ok((*answer, target))
        }
        Weak::GivenUp(target) => {
            account.attempt(&target);
            account.depart(&target, plan.label()).await?;
            let plan = plan.without_judgement();
            let answered = R::answer_locally(gateway, call, &plan, &target, &account.id()).await;
            account.arrived(answered.as_ref().map_or_else(Error::kind, |_| "answered"));
            match answered? {
                Attempt::Answer(mut answer) => {
                    account.flagged(&answer.take_flags());
                    Ok((answer, target))
                }
                Attempt::GivenUp(_) => Err(Error::Draining),
            }
        }
    }
}

impl<R: Ask> Call<'_, R> {
    /// What the call may use, where it is sent and nothing more is heard of it.
    fn estimate(&self) -> Usage {
        let expected = expected_output_tokens(&self.profile, self.request.output_tokens_max());
        Usage {
            input_tokens: u64::from(self.input_tokens),
            output_tokens: expected * self.request.choices(),
            ..Usage::default()
        }
    }
}
