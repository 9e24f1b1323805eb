//! Execution: a plan becomes an answer, by trying its targets in order.
//!
//! Each attempt clears the request for its own target. A failure goes on to the next target only before the
//! first byte was sent; a weak local answer goes on only if the plan says so; neither can reach a target that
//! the label does not admit, because the plan holds none.

mod answer;
mod embed;
mod local;
mod remote;

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use policies::decision::EXPECTED_OUTPUT_TOKENS;
use policies::{Location, Plan, Target, Usage, Verdict, review};

pub use answer::{Answer, Item, SettledBody, StreamSource, Whole};
pub(crate) use embed::embed_locally;
pub(crate) use local::answer as chat_locally;

use crate::ask::Ask;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::settlement::Account;

/// What an attempt needs besides the plan.
#[derive(Debug)]
pub struct Call<'a, R = ChatRequest> {
    /// The request.
    pub request: &'a R,
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
}

/// Tries the targets of a plan until one answers. Returns the answer with its target.
///
/// # Errors
/// The last target's failure.
///
/// # Cancel safety
/// Dropping the future cancels the running attempt; the account then settles as aborted.
pub async fn execute<R: Ask>(
    gateway: &Gateway,
    call: &Call<'_, R>,
    plan: &Plan,
    account: &mut Account,
) -> Result<(Answer, Arc<Target>), Error> {
    let mut weak: Option<(Answer, Arc<Target>)> = None;
    let mut targets = plan.targets().iter().peekable();
    let mut failure = Error::Draining;
    while let Some(target) = targets.next() {
        account.attempt(target);
        let is_last = targets.peek().is_none() && weak.is_none();
        let outcome = match target.location {
            Location::Local => R::answer_locally(gateway, call, plan, target, &account.id()).await,
            Location::OnPrem | Location::Cloud => {
                account.sent(call.estimate());
                remote::answer(gateway, call, plan, target, is_last).await
            }
        };
        if let Ok(Answer::Whole(Whole { tally: Some(tally), .. })) = &outcome {
            account.flagged(&tally.flags);
        }
        match outcome {
            Ok(answer) if answer.confidence().is_some_and(|confidence| escalates(plan, confidence)) => {
                account.row().reason.push_str("; the local answer's confidence was too low");
                if let Answer::Whole(Whole { tally: Some(tally), .. }) = &answer {
                    account.used(tally);
                }
                weak = Some((answer, target.clone()));
            }
            // An upstream's error answer is not better than a weak local one.
            Ok(answer) if weak.is_some() && answer.is_error() => account.failed_attempt(false),
            Ok(answer) => {
                if answer.is_error() {
                    account.failed_attempt(false);
                }
                return Ok((answer, target.clone()));
            }
            Err(error) => {
                account.failed_attempt(error.may_be_billed());
                if is_last || !(error.falls_back() || weak.is_some()) {
                    return Err(error);
                }
                tracing::info!(target = %target.id, kind = error.kind(), %error, "attempt failed");
                if let Some(next) = targets.peek() {
                    let text = format!("; fell back after {}: {error}", target.id);
                    account.row().reason.push_str(&text);
                    account.row().degraded |= next.location < target.location;
                }
                failure = error;
            }
        }
    }
    let (answer, target) = weak.ok_or(failure)?;
    account.destined(&target);
    Ok((answer, target))
}

impl<R: Ask> Call<'_, R> {
    /// What the call may use, where it is sent and nothing more is heard of it.
    fn estimate(&self) -> Usage {
        let limit = self.request.output_tokens_max().map_or(EXPECTED_OUTPUT_TOKENS, u64::from);
        Usage {
            input_tokens: u64::from(self.input_tokens),
            output_tokens: limit.min(EXPECTED_OUTPUT_TOKENS) * self.request.choices(),
            ..Usage::default()
        }
    }
}

fn escalates(plan: &Plan, confidence: f32) -> bool {
    matches!(review(plan, confidence), Verdict::Escalate(_))
}
