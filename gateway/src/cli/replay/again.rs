//! One stored request, decided again.
//!
//! The profile, the request's needs and the caller come from the row. The targets, their prices and clearances come
//! from the configuration of today; whether they could be used, and what they could do for this very request, is
//! taken from the row where it tells: otherwise a cloud that was down for an hour, or a key that is not set where this
//! command runs, would look like the policy's doing. So the policy that decided then decides the same now.
//!
//! Left out: failures and budgets. Where old and new decision are the same, what really happened counts.

use std::sync::Arc;

use policies::decision::expected_output_tokens;
use policies::{
    Availability, CallerFacts, Capabilities, Cost, Decision, Declassifier, Label, Location, Money, Outcome,
    PolicySet, Profile, RequestFacts, Situation, Target, Usage, Verdict, review,
};
use router_model::Classifier;

use crate::drift::{self, Drift};
use crate::ledger::{Asked, Considered, Recorded, Stood};
use crate::portfolio::Portfolio;
use crate::settlement::route;

/// Route of what was or would be refused.
pub(super) const REFUSED: &str = "(refused)";
/// Route of what went nowhere for another reason.
const NOWHERE: &str = "(none)";

/// What decides.
pub(super) struct Bench {
    pub(super) policy: Arc<PolicySet>,
    pub(super) portfolio: Portfolio,
    pub(super) routers: Option<Routers>,
}

/// The router model of today and the one to try.
pub(super) struct Routers {
    pub(super) before: Classifier,
    pub(super) after: Classifier,
}

/// What came of a row.
pub(super) enum Again {
    /// It was never decided about: the request was faulty.
    Undecided,
    /// It does not say what it was decided from.
    Unstored,
    /// Decided again.
    Decided(Box<Change>),
}

/// Where data would go that today's policy had not cleared for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leak {
    None,
    /// To a target that is tried when others fail.
    Could,
    /// To a target that is tried first, or that an escalation asks.
    Would,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) route: String,
    pub(super) label: Label,
    /// Nano-dollars; `None` is unpriced.
    pub(super) cost: Option<Money>,
    pub(super) is_refused: bool,
    pub(super) escalates: bool,
    pub(super) is_declassified: bool,
}

/// A request before and after.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) before: Side,
    pub(super) after: Side,
    /// It would go elsewhere, or be refused, or not be any more.
    pub(super) moved: bool,
    pub(super) leak: Leak,
    /// It would be answered here first and judged, and no confidence is known.
    pub(super) is_unjudged: bool,
    /// Its tokens are not known: the cost after is estimated from the profile.
    pub(super) is_estimated: bool,
    /// Did the other router model have features to look at?
    pub(super) is_reassessed: bool,
}

/// What the new policy would do with a request.
struct Course {
    target: Option<Arc<Target>>,
    escalation: Option<Arc<Target>>,
    is_unjudged: bool,
}

impl Bench {
    pub(super) fn again(&self, row: &Recorded) -> Again {
        if !row.is_decided {
            return Again::Undecided;
        }
        let (Some(profile), Some(asked)) = (&row.profile, &row.situation) else { return Again::Unstored };
        let complexity = self.reassessed(row, profile);
        let decided = match complexity {
            Some(complexity) => self.decide(row, &Profile { complexity, ..profile.clone() }, asked),
            None => self.decide(row, profile, asked),
        };
        Again::Decided(Box::new(compare(row, profile, asked, &decided, complexity.is_some())))
    }

    fn reassessed(&self, row: &Recorded, profile: &Profile) -> Option<f32> {
        let (routers, features) = (self.routers.as_ref()?, row.features.as_ref()?);
        // What another model than today's has said cannot be carried over.
        row.situation.as_ref()?.router.as_deref().filter(|made| *made == routers.before.revision())?;
        routers.after.complexity_after(&routers.before, features, profile)
    }

    fn decide(&self, row: &Recorded, profile: &Profile, asked: &Asked) -> Decision {
        let (wants, targets) = if asked.operation == "embeddings" {
            self.portfolio.embedding_targets(&row.requested_model)
        } else {
            self.portfolio.targets(&row.requested_model)
        };
        let targets: Vec<_> = targets.iter().map(|target| as_then(target, considered(row, target))).collect();
        let request = RequestFacts { wants, ..asked.request.clone() };
        let caller = CallerFacts {
            team: row.team.clone(),
            key: row.key.clone(),
            tier: asked.tier.clone(),
            user: row.user.clone(),
            tags: row.tags.clone(),
            label: asked.label,
            session_label: asked.session_label,
        };
        let situation = Situation { request: &request, caller: &caller, targets: &targets };
        let profile = Drift::tightened(profile, asked.tightening);
        let mut decision = self.policy.decide(&profile, &situation);
        // There is no text to mask any more: what the policy would mask is taken to clear then.
        if let Some(masked) = self.policy.presume_masked(&decision, &profile, &situation) {
            decision = masked;
        }
        drift::tighten(&mut decision, asked.tightening);
        decision
    }
}

fn compare(
    row: &Recorded,
    profile: &Profile,
    asked: &Asked,
    decided: &Decision,
    is_reassessed: bool,
) -> Change {
    let course = course(&decided.outcome, row.confidence);
    let chosen = row.alternatives.iter().find(|considered| considered.standing == Stood::Chosen);
    let escalated = chosen.is_some_and(|chosen| has_escalated(row, chosen));
    let same_target = match (chosen, &course.target) {
        (Some(chosen), Some(target)) => *chosen.target == *target.id,
        (None, None) => true,
        _ => false,
    };
    let moved = !same_target || escalated != course.escalation.is_some();
    let before = side_before(row, chosen, escalated, moved);
    let usage = used(row, profile, &asked.request);
    let after = Side {
        label: decided.labelled.label,
        is_declassified: matches!(&decided.outcome, Outcome::Serve(plan) if plan.declassified.is_some()),
        ..side_after(&course, &before, moved, &usage)
    };
    Change {
        moved,
        leak: leak(row, &decided.outcome, &course),
        is_unjudged: course.is_unjudged,
        is_estimated: moved && !row.is_used && !after.is_refused,
        is_reassessed,
        before,
        after,
    }
}

/// What happened; of a request that would move, where it was meant to go.
fn side_before(row: &Recorded, chosen: Option<&Considered>, escalated: bool, moved: bool) -> Side {
    let happened = if row.route.is_empty() { NOWHERE.to_owned() } else { row.route.clone() };
    let meant = chosen.map(|chosen| match chosen.location {
        Location::Local => String::from("local"),
        place => format!("{place}:{}", chosen.target.split('/').next().unwrap_or_default()),
    });
    let route = match meant {
        None => REFUSED.to_owned(),
        Some(meant) if moved && !escalated => meant,
        Some(_) => happened,
    };
    Side {
        route,
        label: row.label,
        cost: row.cost,
        is_refused: chosen.is_none(),
        escalates: escalated,
        is_declassified: row.declassified,
    }
}

fn course(outcome: &Outcome, confidence: Option<f32>) -> Course {
    let Outcome::Serve(plan) = outcome else {
        return Course { target: None, escalation: None, is_unjudged: false };
    };
    let escalation = confidence.and_then(|confidence| match review(plan, plan.target(), confidence) {
        Verdict::Escalate(target) => Some(target),
        Verdict::Serve => None,
    });
    // The lowest confidence there is would escalate wherever the plan judges at all.
    let judges = matches!(review(plan, plan.target(), 0.0), Verdict::Escalate(_));
    Course { target: Some(plan.target().clone()), escalation, is_unjudged: judges && confidence.is_none() }
}

fn side_after(course: &Course, before: &Side, moved: bool, usage: &Usage) -> Side {
    if !moved {
        return before.clone();
    }
    let served = course.escalation.as_ref().or(course.target.as_ref());
    let cost = match served {
        None => Cost::Priced(Money::ZERO),
        Some(target) => target.price.map_or(Cost::Unpriced, |price| Cost::Priced(price.cost(usage))),
    };
    Side {
        route: served.map_or_else(|| REFUSED.to_owned(), |target| route(target)),
        cost: cost.money(),
        is_refused: served.is_none(),
        escalates: course.escalation.is_some(),
        ..before.clone()
    }
}

/// Real tokens; without any, what the profile and the request let expect.
fn used(row: &Recorded, profile: &Profile, request: &RequestFacts) -> Usage {
    if row.is_used {
        return row.usage;
    }
    Usage {
        input_tokens: u64::from(profile.input_tokens),
        output_tokens: expected_output_tokens(profile, request.output_tokens_max),
        ..Usage::default()
    }
}

/// Did a local answer turn out too weak? Then another target was asked after it, also where that one failed.
fn has_escalated(row: &Recorded, chosen: &Considered) -> bool {
    let asked_elsewhere = row.attempts > 1 || row.route != "local";
    chosen.location == Location::Local && row.confidence.is_some() && asked_elsewhere
}

fn leak(row: &Recorded, outcome: &Outcome, course: &Course) -> Leak {
    let Outcome::Serve(plan) = outcome else { return Leak::None };
    // A masked request is another one than today's policy had a word on; that it is let pass is counted apart.
    if plan.declassified.is_some_and(|declassified| declassified.by == Declassifier::Mask) {
        return Leak::None;
    }
    let uncleared = |target: &&Arc<Target>| !was_cleared(row, target);
    if course.target.iter().chain(&course.escalation).any(|target| uncleared(&target)) {
        Leak::Would
    } else if plan.targets().iter().any(|target| uncleared(&target)) {
        Leak::Could
    } else {
        Leak::None
    }
}

/// Was this target cleared for the request by the policy that decided then?
fn was_cleared(row: &Recorded, target: &Target) -> bool {
    match considered(row, target) {
        Some(then) => then.standing != Stood::NotCleared,
        None => row.declassified || target.clearance.admits(row.label),
    }
}

fn considered<'r>(row: &'r Recorded, target: &Target) -> Option<&'r Considered> {
    row.alternatives.iter().find(|considered| *considered.target == *target.id)
}

/// The target as it was when the request came, as far as the row tells; else ready.
fn as_then(target: &Arc<Target>, then: Option<&Considered>) -> Arc<Target> {
    let mut capabilities = target.capabilities;
    let mut availability = Availability::Ready;
    match then.map(|then| &then.standing) {
        Some(Stood::Chosen | Stood::Fallback(_) | Stood::Eligible) => {
            capabilities = Capabilities { context_tokens: u32::MAX, ..Capabilities::ALL };
        }
        Some(Stood::Unavailable(why)) => {
            capabilities = Capabilities { context_tokens: u32::MAX, ..Capabilities::ALL };
            availability = Availability::Unavailable(Arc::from(why.as_str()));
        }
        Some(Stood::Incapable(lacking)) => take_away(&mut capabilities, lacking),
        Some(Stood::NotCleared | Stood::NotAsked) | None => {}
    }
    Arc::new(Target { capabilities, availability, ..Target::clone(target) })
}

/// What `policies` calls a lack.
fn take_away(capabilities: &mut Capabilities, lacking: &str) {
    let all = Capabilities { context_tokens: u32::MAX, ..Capabilities::ALL };
    *capabilities = match lacking {
        "tools" => Capabilities { tools: false, ..all },
        "response_format" => Capabilities { schema: false, ..all },
        "vision" => Capabilities { vision: false, ..all },
        "n" => Capabilities { choices: false, ..all },
        "context length" => Capabilities { context_tokens: 0, ..all },
        _ => *capabilities,
    };
}
