//! The request's path: inbound, identity, classification, decision, execution, settlement.
//!
//! Plain functions in this order, each taking what the one before it gave, so that none can be skipped.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Request, Response};
use policies::{
    Cost, Decision, Money, Outcome, Plan, PolicySet, Profile, RequestFacts, Situation, Target, Usage,
};
use router_model::Prompt;
use tracing::Instrument as _;

use crate::ask::Ask;
use crate::classification::{Classified, apart, classify};
use crate::drift::{self, Drift};
use crate::error::Error;
use crate::execute::{self, Answer, Call, SettledBody};
use crate::gateway::Gateway;
use crate::http::body::ResponseBody;
use crate::http::inbound::{Inbound, read_body};
use crate::http::respond::{self, header, header_text};
use crate::identity::Identity;
use crate::ledger::{Asked, Finish, Row, month_start_ms};
use crate::mask::{self, Settled, Unmasking};
use crate::portfolio::Portfolio;
use crate::refine;
use crate::settlement::Account;
use crate::telemetry::names;

/// Output tokens reserved for a request that sets no limit.
const RESERVED_OUTPUT_TOKENS: u64 = 4_096;

/// Serves a request that goes to a model.
pub async fn answer<R: Ask>(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    id: Arc<str>,
) -> Response<ResponseBody> {
    let span = tracing::debug_span!(
        "request",
        otel.name = R::OPERATION,
        otel.kind = "server",
        request = %id,
        { names::OPERATION } = R::OPERATION,
        { names::REQUEST_MODEL } = tracing::field::Empty,
        { names::RESPONSE_MODEL } = tracing::field::Empty,
        { names::PROVIDER } = tracing::field::Empty,
        { names::INPUT_TOKENS } = tracing::field::Empty,
        { names::OUTPUT_TOKENS } = tracing::field::Empty,
    );
    crate::trace_context::adopt(&span, request.headers());
    let mut account = Some(Account::open(gateway.clone(), id.clone()));
    let outcome = serve::<R>(&gateway, request, &mut account).instrument(span).await;
    match outcome {
        Ok(response) => response,
        Err(error) => {
            let mut response = respond::error_response(&error, &id);
            let account = match (account, &error) {
                (Some(account), Error::Unauthorized(_)) => {
                    account.forget(error.kind());
                    None
                }
                (account, _) => account,
            };
            if let Some(mut account) = account {
                describe(response.headers_mut(), &mut account);
                account.finish(finish_of(&error), response.status().as_u16(), error.kind());
            }
            response
        }
    }
}

/// The stages in order. The account stays with the caller when one of them fails.
async fn serve<R: Ask>(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    account: &mut Option<Account>,
) -> Result<Response<ResponseBody>, Error> {
    let (head, body) = request.into_parts();
    let open = account.as_mut().expect("opened by the caller");
    let identity = gateway
        .callers
        .identify(&head.headers, &gateway.config, &gateway.ledger)
        .instrument(tracing::debug_span!("identity"))
        .await?;
    refuse_browsers(&head.headers)?;
    note_identity(gateway, open, &identity);
    let body = read_body(gateway, body).await?;
    let started = Instant::now();
    let inbound = read::<R>(gateway, body, head.headers).await?;
    let mut classified = classify(gateway, inbound).await?;
    let identity = known(gateway, identity, &classified.inbound.request);
    ask_encoder(gateway, &mut classified, &identity).await;
    let answers = classified.classifier.answers().clone();
    let Judged { inbound, profile, decision, situation, features } = judge(gateway, classified, &identity);
    gateway.callers.raise_session(&identity, decision.labelled.label);
    inbound.request.model().clone_into(&mut open.row().requested_model);
    inbound.request.user().clone_into(&mut open.row().user);
    open.compared(inbound.request.has_baseline());
    let Settled { request, headers, trailer, decision, unmasking } =
        mask::settle(gateway, inbound, &profile, decision, &identity).await;
    gateway.metrics.decided(started.elapsed().as_secs_f64());
    open.decided(&profile, &decision);
    let row = open.row();
    (row.profile, row.situation, row.features) = (Some(profile.clone()), Some(situation), features);
    let plan = match &decision.outcome {
        Outcome::Serve(plan) => plan,
        Outcome::Refuse(refusal) => {
            return Err(Error::Refused { refusal: refusal.clone(), text: decision.reason.text.clone() });
        }
    };
    let plan = &reserve(gateway, open, &*request, &profile, plan).await?;
    let limit = gateway.config.server.request_timeout;
    let until = open.started() + limit;
    let call = Call {
        request: &request,
        profile: profile.clone(),
        answers,
        team: &identity.facts.team,
        headers,
        traceparent: crate::trace_context::current(),
        input_tokens: profile.input_tokens,
        created: gateway.now_ms() / 1000,
        until,
        is_shadow: false,
    };
    if let Some(shadow) = execute::Shadow::of(&call, plan, &open.id()) {
        open.shadowed(Box::new(shadow));
    }
    let executed = execute::execute(gateway, &call, plan, open)
        .instrument(tracing::debug_span!("execution", target = %plan.target().id));
    let (answer, target) =
        tokio::time::timeout_at(until.into(), executed).await.map_err(|_| Error::Deadline(limit))??;
    let span = tracing::Span::current();
    span.record(names::REQUEST_MODEL, request.model());
    span.record(names::RESPONSE_MODEL, &*target.model);
    span.record(names::PROVIDER, &*target.upstream);
    if let Answer::Whole(whole) = &answer
        && let Some(tally) = &whole.tally
    {
        span.record(names::INPUT_TOKENS, tally.usage.input_tokens);
        span.record(names::OUTPUT_TOKENS, tally.usage.output_tokens);
    }
    let account = account.take().expect("taken once");
    Ok(tracing::debug_span!("settlement")
        .in_scope(|| respond_with(gateway, answer, account, trailer, unmasking)))
}

/// A web page may send a plain-text POST to any address without asking; it may not send JSON that way. So a request
/// that names the page it comes from must be JSON.
///
/// # Errors
/// [`Error::Invalid`].
pub fn refuse_browsers(headers: &HeaderMap) -> Result<(), Error> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if headers.contains_key(ORIGIN) && !json {
        let message = "a request from a web page must have the content type application/json";
        return Err(Error::invalid("content-type", message));
    }
    Ok(())
}

/// A request with what was found out and decided about it.
struct Judged<R> {
    inbound: Inbound<R>,
    profile: Arc<Profile>,
    decision: Decision,
    /// What the ledger keeps so that the decision can be made again.
    situation: Arc<Asked>,
    features: Option<Arc<[f32]>>,
}

/// The body as a checked request.
async fn read<R: Ask>(gateway: &Arc<Gateway>, body: Bytes, headers: HeaderMap) -> Result<Inbound<R>, Error> {
    let gateway = gateway.clone();
    let parsed = apart(body.len(), move || {
        let inbound = Inbound::<R>::parse(body, &headers)?;
        inbound.request.check(&gateway.portfolio)?;
        Ok(inbound)
    });
    parsed.instrument(tracing::debug_span!("inbound")).await
}

/// The caller with what only the body tells, and the label that the session has reached by now.
fn known<R: Ask>(gateway: &Gateway, mut identity: Identity, request: &R) -> Identity {
    request.user().clone_into(&mut identity.facts.user);
    identity.facts.session_label = gateway.callers.session_label(&identity);
    identity
}

/// The second rung, where its answer could change the decision.
async fn ask_encoder<R: Ask>(gateway: &Gateway, classified: &mut Classified<R>, identity: &Identity) {
    let Classified { inbound, profile, view, classifier, .. } = classified;
    if !R::ROUTED {
        return;
    }
    let amount = gateway.drift.tightening();
    let (wants, targets) = inbound.request.targets(&gateway.portfolio);
    let request = inbound.request.facts(wants);
    let situation = Situation { request: &request, caller: &identity.facts, targets: &targets };
    let decides = |profile: &Profile| {
        let profile = Drift::tightened(profile, amount);
        let decision = gateway.policy.decide(&profile, &situation);
        gateway.policy.presume_masked(&decision, &profile, &situation).unwrap_or(decision)
    };
    if classifier.can_ask(view) && !refine::is_decisive(profile, classifier.encoder_reach(), decides) {
        let deadline = gateway.config.router.encoder_deadline;
        refine::refine(classifier, profile, view, deadline, &gateway.metrics)
            .instrument(tracing::debug_span!("encoder"))
            .await;
    }
    gateway.metrics.rung(profile.rung);
}

/// The decision: pure computing.
fn judge<R: Ask>(gateway: &Gateway, classified: Classified<R>, identity: &Identity) -> Judged<R> {
    let Classified { inbound, profile, features, classifier, .. } = classified;
    let amount = if R::ROUTED { gateway.drift.tightening() } else { 0.0 };
    let (request, mut decision) = tracing::debug_span!("decision").in_scope(|| {
        let profile = Drift::tightened(&profile, amount);
        decide(&gateway.policy, &gateway.portfolio, &inbound.request, &profile, identity)
    });
    drift::tighten(&mut decision, amount);
    if R::ROUTED {
        gateway.drift.observe(&profile, decision.labelled.label);
    }
    let facts = &identity.facts;
    let situation = Asked {
        operation: R::OPERATION.into(),
        request,
        tier: facts.tier.clone(),
        label: facts.label,
        session_label: facts.session_label,
        router: Some(classifier.revision().to_owned()),
        tightening: amount,
    };
    Judged { inbound, profile: Arc::new(profile), decision, situation: Arc::new(situation), features }
}

/// Decides about a checked request; what was asked for comes with the decision. Also what `explain` does, without
/// sending anything.
pub fn decide<R: Ask>(
    policy: &PolicySet,
    portfolio: &Portfolio,
    request: &R,
    profile: &Profile,
    identity: &Identity,
) -> (RequestFacts, Decision) {
    let (wants, targets) = request.targets(portfolio);
    let facts = request.facts(wants);
    let situation = Situation { request: &facts, caller: &identity.facts, targets: &targets };
    let decision = policy.decide(profile, &situation);
    (facts, decision)
}

/// What a client says beside its request is stored only where nothing sensitive is found in it.
fn storable(gateway: &Gateway, text: &str) -> String {
    let found = || gateway.classifier().classify(&Prompt::from_text(text)).sensitivity;
    let is_plain = text.is_empty() || {
        let found = found();
        found.findings.is_empty() && found.doubt.is_empty()
    };
    if is_plain { text.to_owned() } else { String::from("(withheld)") }
}

fn note_identity(gateway: &Gateway, account: &mut Account, identity: &Identity) {
    let row = account.row();
    row.team.clone_from(&identity.facts.team);
    row.key.clone_from(&identity.facts.key);
    row.tags = storable(gateway, &identity.facts.tags.join(","));
    row.session = storable(gateway, &identity.session);
}

/// Reserves the worst case over the plan's targets, and opens the row before a byte can cost money.
///
/// Returns the plan to execute: where the team's money does not suffice, only what costs none.
async fn reserve<R: Ask>(
    gateway: &Gateway,
    account: &mut Account,
    request: &R,
    profile: &Profile,
    plan: &Plan,
) -> Result<Plan, Error> {
    let usage = reserved_usage(request, profile);
    let worst = worst_case(plan.targets(), &usage);
    let team = account.row().team.clone();
    let limited = gateway.budgets.limits(&team);
    let mut plan = plan.clone();
    account.destined(plan.target());
    if limited {
        let month = month_start_ms(gateway.now_ms());
        let unpriced = plan.targets().iter().find(|target| target.price.is_none());
        let model = unpriced.unwrap_or(plan.target()).model.clone();
        let (amount, held) = match gateway.budgets.reserve(&team, &model, worst.money(), month) {
            Ok(held) => (worst.money().unwrap_or_default(), held),
            Err(error) => {
                plan = plan.free_of_charge().ok_or(error)?;
                account.destined(plan.target());
                (Money::ZERO, None)
            }
        };
        account.reserve(amount, held);
        gateway.ledger.open_now(account.snapshot()).await.map_err(Error::Unaccountable)?;
    } else if worst != Cost::Priced(Money::ZERO) {
        account.reserve(worst.money().unwrap_or_default(), None);
        gateway.ledger.open_row(account.snapshot());
    }
    Ok(plan)
}

/// The most that a request is expected to use.
pub(crate) fn reserved_usage<R: Ask>(request: &R, profile: &Profile) -> Usage {
    Usage {
        input_tokens: u64::from(profile.input_tokens),
        output_tokens: request.output_tokens_max().map_or(RESERVED_OUTPUT_TOKENS, u64::from)
            * request.choices(),
        ..Usage::default()
    }
}

/// The dearest of several targets; unpriced if any of them is.
fn worst_case(targets: &[Arc<Target>], usage: &Usage) -> Cost {
    let mut worst = Money::ZERO;
    for target in targets {
        match target.price {
            Some(price) => worst = worst.max(price.cost(usage)),
            None => return Cost::Unpriced,
        }
    }
    Cost::Priced(worst)
}

/// Puts an answer into a response; whole answers settle here, streams when they end.
fn respond_with(
    gateway: &Gateway,
    answer: Answer,
    mut account: Account,
    trailer: bool,
    mut unmasking: Option<Unmasking>,
) -> Response<ResponseBody> {
    match answer {
        Answer::Whole(mut whole) => {
            account.first_byte();
            account.hear_whole(&whole.body);
            if let Some(unmasking) = unmasking.as_mut().filter(|_| whole.status.is_success()) {
                whole.body = unmasking.whole(whole.body);
            }
            account.unmasked(unmasking.as_ref());
            if let Some(tally) = &whole.tally {
                account.used(tally);
            }
            let mut response = Response::new(ResponseBody::full(whole.body));
            *response.status_mut() = whole.status;
            *response.headers_mut() = whole.headers;
            describe(response.headers_mut(), &mut account);
            let cost = match &whole.tally {
                Some(tally) => account.cost(&tally.usage),
                None => Cost::Priced(Money::ZERO),
            };
            let shown = cost.money().map_or_else(|| String::from("unpriced"), |money| money.to_string());
            response.headers_mut().insert(header::COST, header_text(&shown));
            let (outcome, error) = if whole.status.is_success() {
                (Finish::Completed, "")
            } else {
                (Finish::Failed, "upstream_status")
            };
            account.finish(outcome, whole.status.as_u16(), error);
            response
        }
        Answer::Stream(source) => {
            let mut headers = source.headers();
            headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            describe(&mut headers, &mut account);
            let limit = gateway.config.server.request_timeout;
            let body = SettledBody::new(source, account, trailer, limit).unmasked(unmasking);
            let mut response = Response::new(ResponseBody::stream(body));
            *response.headers_mut() = headers;
            response
        }
    }
}

/// The headers that explain a response.
fn describe(headers: &mut HeaderMap, account: &mut Account) {
    let row = account.row();
    headers.insert(header::REQUEST_ID, header_text(&row.id));
    if row.policy.is_empty() {
        return;
    }
    headers.insert(header::LABEL, HeaderValue::from_static(row.label.as_str()));
    headers.insert(header::REASON, header_text(&reason(row)));
    if !row.route.is_empty() {
        headers.insert(header::ROUTE, header_text(&row.route));
        headers.insert(header::MODEL, header_text(&row.served_model));
    }
}

/// The decision's reason, with every doubt: a request may be served as it would have been anyway, and still nobody must think
/// that all of it was read.
fn reason(row: &Row) -> Cow<'_, str> {
    if row.doubt.is_empty() {
        return Cow::Borrowed(&row.reason);
    }
    Cow::Owned(format!("{}; doubt: {}", row.reason, row.doubt.replace(',', ", ")))
}

fn finish_of(error: &Error) -> Finish {
    use crate::error::Origin;
    match error.origin() {
        Origin::Downstream => Finish::Invalid,
        Origin::Policy => Finish::Refused,
        Origin::Upstream | Origin::Local | Origin::Internal => Finish::Failed,
    }
}
