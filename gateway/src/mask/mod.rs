//! Masking: sensitive values leave as words that stand for them, and come back as values.
//!
//! Where a policy's action is `mask` and the rules would send a request further than its label lets it, what was found is
//! replaced (`replace`) by words of the conversation (`vault`, `words`, `surrogate`), the masked body is classified again
//! as if it had just arrived, and the policy decides anew about that (`policies::masked`). Answers to it pass through
//! `answer` on their way to the client, which puts values back (`passage`).
//!
//! Invariants: only the masked request can be sent under the plan that was made for it, by type; what the second look still
//! finds counts, except the words themselves; a request that cannot be masked, or that masking does not clear, stays where it
//! would have stayed without. A value goes back only to the conversation that it came from.
//!
//! Left out: embeddings, whose vectors would mean something else; log-probabilities, which stay those of the words.

pub mod answer;
pub mod passage;
pub mod replace;
mod surrogate;
pub mod vault;
pub mod words;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::Bytes;
use hyper::HeaderMap;
use policies::{Decision, EntityKind, Finding, MaskOffer, MaskSettings, Masked, Profile, Situation, Subject};
use router_model::Prompt;
use tracing::Instrument as _;

pub use answer::Unmasking;
pub use replace::Unmaskable;
pub use vault::Vaults;

use crate::ask::Ask;
use crate::classification::{apart, classify};
use crate::drift::{self, Drift};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::inbound::{Inbound, is_media};
use crate::http::texts::{located, texts};
use crate::identity::Identity;
use replace::{Points, Replaced, Wanted, replace};
use vault::Conversation;

/// How often values are replaced: what the second look finds in the masked text gets one more turn.
const ROUNDS: usize = 2;

/// A request that is ready to go where its decision says: as it came, or masked.
#[derive(Debug)]
pub struct Settled<R> {
    /// The request to send.
    pub request: Subject<R>,
    /// Headers that travel.
    pub headers: HeaderMap,
    /// The client opted in to the trailing usage chunk.
    pub trailer: bool,
    /// Where to.
    pub decision: Decision,
    /// What puts values back into the answer, where they were taken out.
    pub unmasking: Option<Unmasking>,
}

/// A masked request that clears.
struct Applied<R> {
    request: Masked<R>,
    decision: Decision,
    unmasking: Option<Unmasking>,
}

/// Masks a request where its decision offers that and it helps; else leaves both as they are, and the reason says why.
///
/// Must be called for every request of a session, so that its floor is known: what a mask cannot lower in an earlier turn it
/// cannot lower in this one.
///
/// # Cancel safety
/// Dropping the future loses the request, and keeps what the conversation has learned.
pub async fn settle<R: Ask>(
    gateway: &Arc<Gateway>,
    inbound: Inbound<R>,
    profile: &Profile,
    mut decision: Decision,
    identity: &Identity,
) -> Settled<R> {
    let facts = &identity.facts;
    let floor = gateway.policy.floor(&profile.sensitivity, facts);
    let floor = gateway.vaults.floor(identity, floor, facts.session_label);
    let mut masked = None;
    if let Some(offer) = decision.mask.take().map(|offer| offer.not_below(floor)) {
        decision.mask = Some(offer.clone());
        let applying = apply(gateway, &inbound, profile, &decision, identity, &offer);
        match applying.instrument(tracing::debug_span!("masking")).await {
            Ok(applied) => {
                gateway.metrics.masked("masked");
                masked = Some(applied);
            }
            Err(why) => {
                gateway.metrics.masked(why.kind());
                decision.reason.text = format!("{}; not masked: {why}", decision.reason.text);
            }
        }
    }
    let Inbound { request, headers, trailer } = inbound;
    match masked {
        Some(Applied { request, decision, unmasking }) => {
            Settled { request: Subject::Masked(request), headers, trailer, decision, unmasking }
        }
        None => Settled { request: Subject::Whole(request), headers, trailer, decision, unmasking: None },
    }
}

/// A fault on the way of masking keeps the request where it would stay without.
fn fault(error: &Error) -> Unmaskable {
    tracing::warn!(kind = error.kind(), %error, "a request could not be masked");
    Unmaskable::Unreadable
}

/// The first message, by which a conversation without a session is known.
async fn first_message<R: Ask>(inbound: &Inbound<R>) -> Result<String, Error> {
    let body = inbound.request.body().clone();
    apart(body.len(), move || {
        let texts = texts(&body).unwrap_or_default();
        let first = texts.into_iter().find(|text| text.path.starts_with("messages["));
        Ok(first.map(|text| text.text.into_owned()).unwrap_or_default())
    })
    .await
}

async fn apply<R: Ask>(
    gateway: &Arc<Gateway>,
    inbound: &Inbound<R>,
    profile: &Profile,
    decision: &Decision,
    identity: &Identity,
    offer: &MaskOffer,
) -> Result<Applied<R>, Unmaskable> {
    if !R::MASKABLE {
        return Err(Unmaskable::Operation);
    }
    let first = first_message(inbound).await.map_err(|error| fault(&error))?;
    let conversation = gateway.vaults.conversation(identity, &first);
    let mut body = inbound.request.body().clone();
    let mut findings = profile.sensitivity.findings.clone();
    let mut counts: BTreeMap<EntityKind, u32> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let replaced = masked_body(gateway, body, findings, offer.clone(), conversation.clone()).await?;
        for (kind, count) in replaced.counts {
            *counts.entry(kind).or_insert(0) += count;
        }
        body = Bytes::from(replaced.body);
        gateway.vaults.weigh(&conversation);
        let (request, found) = look_again(gateway, inbound, body.clone(), &conversation).await?;
        findings = found.sensitivity.findings.clone();
        // How hard the request is was judged by what it says, be it words or values.
        let Profile { sensitivity, input_tokens, .. } = found;
        let judged = Profile { sensitivity, input_tokens, ..profile.clone() };
        let amount = if R::ROUTED { gateway.drift.tightening() } else { 0.0 };
        let judged = Drift::tightened(&judged, amount).into_owned();
        let (wants, targets) = request.targets(&gateway.portfolio);
        let facts = request.facts(wants);
        let situation = Situation { request: &facts, caller: &identity.facts, targets: &targets };
        let masked = offer.accept(request, judged, counts.clone());
        if let Some(mut decided) = gateway.policy.decide_masked(decision, &masked, &situation) {
            drift::tighten(&mut decided, amount);
            let unmasking = unmasking(gateway, &conversation, facts.schema);
            return Ok(Applied { request: masked, decision: decided, unmasking });
        }
        if !findings.iter().any(|finding| offer.replaces(finding)) {
            break;
        }
    }
    Err(Unmaskable::NotCleared)
}

/// The masked body as a request, and what classification finds in it besides the words.
async fn look_again<R: Ask>(
    gateway: &Arc<Gateway>,
    inbound: &Inbound<R>,
    body: Bytes,
    conversation: &Arc<Mutex<Conversation>>,
) -> Result<(R, Profile), Unmaskable> {
    let request = R::parse(body).map_err(|error| fault(&error))?;
    let again = Inbound { request, headers: inbound.headers.clone(), trailer: inbound.trailer };
    let looked = classify(gateway, again).await.map_err(|error| fault(&error))?;
    let (inbound, mut profile) = (looked.inbound, looked.profile);
    let (bytes, conversation) = (inbound.request.body().len(), conversation.clone());
    let discounted = apart(bytes, move || {
        let prompt = inbound.prompt()?;
        discount(&mut profile.sensitivity.findings, &prompt, &conversation);
        drop(prompt);
        Ok((inbound.request, profile))
    });
    discounted.await.map_err(|error| fault(&error))
}

fn unmasking(gateway: &Gateway, conversation: &Mutex<Conversation>, is_json: bool) -> Option<Unmasking> {
    let words = || conversation.lock().unwrap_or_else(PoisonError::into_inner).words();
    gateway.policy.mask().restore.then(|| Unmasking::new(Arc::new(words()), is_json))
}

async fn masked_body(
    gateway: &Gateway,
    body: Bytes,
    findings: Vec<Finding>,
    offer: MaskOffer,
    conversation: Arc<Mutex<Conversation>>,
) -> Result<Replaced, Unmaskable> {
    let settings: MaskSettings = gateway.policy.mask().clone();
    let replaced = apart(body.len(), move || {
        let Ok(mut texts) = located(&body) else { return Ok(Err(Unmaskable::Unreadable)) };
        // As classification left them out.
        texts.retain(|(text, _)| !is_media(text));
        let wanted = Wanted { findings: &findings, offer: &offer, settings: &settings };
        let mut conversation = conversation.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(replace(&body, &texts, wanted, &mut conversation))
    });
    replaced.await.map_err(|error| fault(&error))?
}

/// Leaves out what was found in the words themselves: a surrogate is as much of an e-mail address as any, but nobody's.
///
/// Only what lies in words and in what separates them is left out; a finding that takes in a letter of the text beside them
/// counts.
fn discount(findings: &mut Vec<Finding>, prompt: &Prompt<'_>, conversation: &Mutex<Conversation>) {
    if findings.is_empty() {
        return;
    }
    let words = conversation.lock().unwrap_or_else(PoisonError::into_inner).all_words();
    let Ok(searcher) = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(words) else {
        return;
    };
    let (mut points, mut covered, mut of) = (Points::default(), Vec::new(), None);
    findings.retain(|finding| {
        let Some(segment) = prompt.segments.get(finding.segment) else { return true };
        let text = &*segment.text;
        if of != Some(finding.segment) {
            of = Some(finding.segment);
            covered = searcher.find_iter(text).map(|found| found.range()).collect();
        }
        let mut rest = points.bytes(text, finding);
        let first = covered.partition_point(|word: &Range<usize>| word.end <= rest.start);
        let end = rest.end;
        for word in covered[first..].iter().take_while(|word| word.start < end) {
            if text[rest.start..word.start.max(rest.start)].contains(char::is_alphanumeric) {
                return true;
            }
            rest.start = word.end.min(end);
        }
        text[rest].contains(char::is_alphanumeric)
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]
mod tests;
