//! Execution: a plan becomes an answer, by trying its targets in order.
//!
//! Each attempt clears the request for its own target. A failure goes on to the next target only before the
//! first byte was sent; a weak local answer goes on only if the plan says so; neither can reach a target that
//! the label does not admit, because the plan holds none.

mod answer;
mod local;
mod remote;

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use policies::{Location, Plan, Target, Verdict, review};

pub use answer::{Answer, Item, SettledBody, StreamSource, Whole};

use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::settlement::Account;

/// What an attempt needs besides the plan.
#[derive(Debug)]
pub struct Call<'a> {
    /// The request.
    pub request: &'a ChatRequest,
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
pub async fn execute(
    gateway: &Gateway,
    call: &Call<'_>,
    plan: &Plan,
    account: &mut Account,
) -> Result<(Answer, Arc<Target>), Error> {
    let mut weak: Option<(Answer, Arc<Target>)> = None;
    let mut targets = plan.targets().iter().peekable();
    while let Some(target) = targets.next() {
        account.attempt(target);
        let is_last = targets.peek().is_none() && weak.is_none();
        let outcome = match target.location {
            Location::Local => local::answer(gateway, call, plan, target, &account.id()).await,
            Location::OnPrem | Location::Cloud => remote::answer(gateway, call, plan, target, is_last).await,
        };
        match outcome {
            Ok(answer) => match (&answer, answer.confidence()) {
                (Answer::Whole(_), Some(confidence)) if escalates(plan, confidence) => {
                    let text = format!("; local confidence {confidence:.2} was too low");
                    account.row().reason.push_str(&text);
                    weak = Some((answer, target.clone()));
                }
                _ => return Ok((answer, target.clone())),
            },
            Err(error) if error.falls_back() && !is_last => {
                tracing::info!(target = %target.id, kind = error.kind(), %error, "attempt failed, trying the next target");
                if targets.peek().is_some() {
                    let text = format!("; fell back after {}: {error}", target.id);
                    account.row().reason.push_str(&text);
                    if target.location == Location::Cloud {
                        account.row().degraded = true;
                    }
                } else if let Some((answer, target)) = weak {
                    account.attempt(&target);
                    return Ok((answer, target));
                }
            }
            Err(error) => return Err(error),
        }
    }
    match weak {
        Some((answer, target)) => {
            account.attempt(&target);
            Ok((answer, target))
        }
        None => Err(Error::Draining),
    }
}

fn escalates(plan: &Plan, confidence: f32) -> bool {
    matches!(review(plan, confidence), Verdict::Escalate(_))
}
