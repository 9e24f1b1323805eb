//! Decisions that are written to a ledger, read back and made again.

use std::path::Path;
use std::sync::Arc;

use policies::{
    Availability, CallerFacts, Declassifier, Doubt, EntityKind, Finding, FindingSource, Label, Location,
    Money, Outcome, Plan, PolicySet, Profile, RequestFacts, Rung, Sensitivity, Situation, Target, Task,
    Topic, Usage, UsageSource, Verdict, Wants, review,
};
use router_model::measure::Rng;

use super::again::{Again, Bench, Change, Leak};
use super::summary::{Summary, Tally};
use crate::config::{Config, Overrides};
use crate::drift::{self, Drift};
use crate::ledger::{Asked, Finish, LedgerError, Period, Row, Store};
use crate::portfolio::Portfolio;
use crate::settlement::route;

const CONFIG: &str = "
[[upstream]]
name = \"house\"
protocol = \"openai\"
base_url = \"http://127.0.0.1:1\"
location = \"on-prem\"
clearance = \"confidential\"
[[upstream.models]]
name = \"medium\"
strength = 0.6
price = { input = 0.1, output = 0.2 }
[[upstream]]
name = \"openai\"
protocol = \"openai\"
base_url = \"http://127.0.0.1:1\"
clearance = \"internal\"
[[upstream.models]]
name = \"gpt-4o\"
";

fn config() -> Config {
    Config::parse("test", CONFIG, &Overrides::default()).unwrap()
}

fn bench(policy: PolicySet) -> Bench {
    Bench { policy: Arc::new(policy), portfolio: Portfolio::new(&config()).unwrap(), routers: None }
}

fn policy(text: &str) -> PolicySet {
    PolicySet::parse("p", &format!("name = \"p\"\n{text}")).unwrap()
}

fn pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.below(items.len())]
}

fn chance(rng: &mut Rng, share: f64) -> bool {
    rng.unit() < share
}

fn unit(rng: &mut Rng) -> f32 {
    rng.unit() as f32
}

fn any_profile(rng: &mut Rng) -> Profile {
    let mut sensitivity = Sensitivity::default();
    for _ in 0..*pick(rng, &[0, 0, 0, 0, 0, 0, 1, 2, 400]) {
        let (kind, start, score) = (*pick(rng, EntityKind::ALL), rng.below(50), unit(rng));
        let source = *pick(rng, FindingSource::ALL);
        sensitivity.findings.push(Finding {
            segment: 0,
            start,
            end: start + 4,
            kind,
            subtype: None,
            score,
            source,
        });
    }
    if chance(rng, 0.2) {
        sensitivity.topics.insert(*pick(rng, Topic::ALL), unit(rng));
    }
    if chance(rng, 0.03) {
        sensitivity.doubt.push(*pick(rng, Doubt::ALL));
    }
    Profile {
        sensitivity,
        complexity: unit(rng),
        confidence: unit(rng),
        task: *pick(rng, Task::ALL),
        language: String::from(*pick(rng, &["en", "de", "und"])).into(),
        input_tokens: *pick(rng, &[3, 900, 9_000, 500_000]),
        output_tokens: *pick(rng, &[0, 20, 2_000]),
        rung: *pick(rng, Rung::ALL),
    }
}

/// A target as it may have been then: the embedded model loading or with tools, an upstream down.
fn as_was(rng: &mut Rng, target: &Target) -> Arc<Target> {
    let mut target = target.clone();
    target.capabilities.tools |= chance(rng, 0.5);
    target.availability =
        if chance(rng, 0.8) { Availability::Ready } else { Availability::Unavailable("circuit open".into()) };
    Arc::new(target)
}

fn any_request(rng: &mut Rng, model: &str, wants: Wants) -> RequestFacts {
    RequestFacts {
        model: model.to_owned(),
        wants,
        stream: chance(rng, 0.5),
        tools: chance(rng, 0.2),
        schema: chance(rng, 0.1),
        images: chance(rng, 0.05),
        choices: chance(rng, 0.05),
        output_tokens_max: chance(rng, 0.5).then_some(64),
        turns: 1,
    }
}

fn any_caller(rng: &mut Rng) -> CallerFacts {
    CallerFacts {
        team: String::from(*pick(rng, &["a", "hr"])),
        tier: String::from(*pick(rng, &["standard", "premium"])),
        tags: vec![String::from("x"), String::from("y")],
        label: chance(rng, 0.1).then_some(Label::Confidential),
        session_label: chance(rng, 0.1).then_some(Label::Internal),
        ..CallerFacts::default()
    }
}

/// A request as the gateway would have written it: decided, served where it was meant to go, and settled.
fn served(rng: &mut Rng, id: usize, bench: &Bench) -> Row {
    let profile = any_profile(rng);
    let model =
        *pick(rng, &["auto", "auto", "gpt-4o", "openai/gpt-4o", "house/medium", "local/none", "other"]);
    let (wants, targets) = bench.portfolio.targets(model);
    let targets: Vec<_> = targets.iter().map(|target| as_was(rng, target)).collect();
    let (request, caller) = (any_request(rng, model, wants), any_caller(rng));
    let situation = Situation { request: &request, caller: &caller, targets: &targets };
    // Now and then drift had moved the thresholds.
    let tightening = if chance(rng, 0.2) { unit(rng) / 4.0 } else { 0.0 };
    let tightened = Drift::tightened(&profile, tightening);
    let mut decision = bench.policy.decide(&tightened, &situation);
    // What may be masked clears here, as a replay takes it to.
    if let Some(masked) = bench.policy.presume_masked(&decision, &tightened, &situation) {
        decision = masked;
    }
    // A target that is not cleared hides that it could not be used then either, so a replay takes it for usable: where that
    // alone kept a request from being masked, it would not be the same again.
    let ready: Vec<Arc<Target>> = targets
        .iter()
        .map(|target| Arc::new(Target { availability: Availability::Ready, ..Target::clone(target) }))
        .collect();
    let usable = Situation { request: &request, caller: &caller, targets: &ready };
    let offered = bench.policy.decide(&tightened, &usable);
    let is_masked = matches!(&decision.outcome, Outcome::Serve(plan)
        if plan.declassified.is_some_and(|declassified| declassified.by == Declassifier::Mask));
    if !is_masked && bench.policy.presume_masked(&offered, &tightened, &usable).is_some() {
        return served(rng, id, bench);
    }
    drift::tighten(&mut decision, tightening);
    let mut row = Row {
        team: caller.team.clone(),
        tags: caller.tags.join(","),
        requested_model: model.to_owned(),
        label: decision.labelled.label,
        complexity: profile.complexity,
        policy: decision.policy_revision.clone(),
        alternatives: serde_json::to_string(&decision.alternatives).unwrap(),
        outcome: Finish::Refused,
        cost: Some(Money::ZERO),
        ..Row::new(format!("r{id:04}").into(), id as i64)
    };
    if let Outcome::Serve(plan) = &decision.outcome {
        settle(rng, &mut row, plan);
    }
    let (tier, label, session_label) = (caller.tier, caller.label, caller.session_label);
    let operation = "chat".into();
    let asked = Asked { operation, request, tier, label, session_label, router: None, tightening };
    row.situation = Some(Arc::new(asked));
    row.profile = Some(Arc::new(profile));
    row
}

fn settle(rng: &mut Rng, row: &mut Row, plan: &Plan) {
    let mut target = plan.target().clone();
    row.attempts = 1;
    if target.location == Location::Local {
        let confidence = unit(rng);
        row.confidence = Some(confidence);
        if let Verdict::Escalate(next) = review(plan, plan.target(), confidence) {
            row.attempts = 2;
            target = next;
        }
    }
    row.declassified = plan.declassified.is_some();
    (row.route, row.served_model) = (route(&target), target.model.to_string());
    row.usage = Usage { input_tokens: 1_000, output_tokens: 100, ..Usage::default() };
    row.usage_source = Some(UsageSource::Provider);
    row.cost = target.price.map(|price| price.cost(&row.usage));
    row.outcome = Finish::Completed;
}

fn ledger(directory: &Path, seed: u64, requests: usize, bench: &Bench) -> Store {
    let mut rng = Rng::new(seed);
    let mut store = Store::open(&directory.join(format!("{seed}.db"))).unwrap();
    let rows: Vec<_> = (0..requests).map(|id| (served(&mut rng, id, bench), true)).collect();
    store.write(&rows).unwrap();
    store
}

fn replay(store: &Store, bench: &Bench) -> (Vec<Change>, Summary) {
    let (mut changes, mut tally) = (Vec::new(), Tally::default());
    let period = Period { from_ms: 0, to_ms: i64::MAX, team: None };
    let read = store.recorded::<LedgerError>(&period, false, |row| {
        let again = bench.again(&row);
        tally.add(&row.id, &again);
        if let Again::Decided(change) = again {
            changes.push(*change);
        }
        Ok(())
    });
    read.unwrap();
    (changes, tally.summary(bench.policy.revision(), None))
}

fn cascade() -> PolicySet {
    policy(
        "quality_min = 0.7\nnamed_models_locally = true\n[labels]\nEMAIL = \"internal\"\nCREDIT_CARD = \"restricted\"\n[teams]\nhr = \"confidential\"\n\
         [actions]\nrestricted = \"refuse\"\n[[rule]]\nname = \"premium\"\nwhen = \"caller.tier == 'premium' && request.tools\"\n\
         route = \"cloud\"\n[[rule]]\nname = \"easy\"\nwhen = \"profile.complexity < 0.5 && 'x' in caller.tags\"\nroute = \"local\"\n\
         escalate_below = 0.9\n[[rule]]\nname = \"rest\"\nroute = \"cheapest\"\n",
    )
}

#[test]
fn the_policy_that_decided_decides_the_same_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut all: Vec<(String, PolicySet, PolicySet)> = PolicySet::presets()
        .map(|name| (name.to_owned(), PolicySet::preset(name).unwrap(), PolicySet::preset(name).unwrap()))
        .collect();
    all.push((String::from("cascade"), cascade(), cascade()));
    let (mut served_somewhere, mut escalated) = (0, 0);
    for (seed, (name, one, same)) in all.into_iter().enumerate() {
        let store = ledger(directory.path(), seed as u64, 400, &bench(one));
        let (changes, summary) = replay(&store, &bench(same));
        assert_eq!(changes.len(), 400);
        for change in &changes {
            assert!(!change.moved && change.before == change.after, "{name}: {change:?}");
            assert_eq!(change.leak, Leak::None, "{name}: {change:?}");
        }
        assert_eq!((summary.cost_before, summary.moves.len()), (summary.cost_after, 0));
        assert_eq!(summary.leaks.would.requests + summary.leaks.could.requests, 0);
        served_somewhere += changes.iter().filter(|change| !change.before.is_refused).count();
        escalated += summary.escalations.before.requests;
    }
    assert!(
        served_somewhere > 500 && escalated > 10,
        "the sample says something: {served_somewhere} {escalated}"
    );
}

#[test]
fn what_would_leak_is_found_and_only_that() {
    let directory = tempfile::tempdir().unwrap();
    let (strict, lax) = (cascade(), policy("[[rule]]\nname = \"all\"\nroute = \"cloud\"\n"));
    let store = ledger(directory.path(), 77, 600, &bench(strict));
    let (changes, summary) = replay(&store, &bench(lax));
    let wrong = changes.iter().filter(|change| {
        // To the cloud, which is cleared for internal data, with a label that today's policy puts higher.
        change.after.route.starts_with("cloud") && change.before.label > Label::Internal
    });
    let would: Vec<_> = changes.iter().filter(|change| change.leak == Leak::Would).collect();
    assert!(would.len() > 20, "{}", would.len());
    assert_eq!(would.len() as u64, summary.leaks.would.requests);
    assert!(wrong.clone().all(|change| change.leak == Leak::Would));
    let cloud = would.iter().filter(|change| change.after.route.starts_with("cloud")).count();
    assert_eq!(cloud, wrong.count());
    assert!(summary.labels.iter().any(|step| step.to == "public"), "labels fell: {:?}", summary.labels);
    let total: u64 = summary.routes.values().map(|sums| sums.requests_after).sum();
    assert_eq!((total, summary.routes.values().map(|sums| sums.requests_before).sum::<u64>()), (600, 600));
    let costs: Money = summary.routes.values().map(|sums| sums.cost_after).sum();
    assert_eq!(costs, summary.cost_after);
}

#[test]
fn costs_use_real_tokens_and_a_known_confidence_escalates() {
    let directory = tempfile::tempdir().unwrap();
    let local = policy("named_models_locally = true\n[[rule]]\nname = \"all\"\nroute = \"local\"\n");
    let judged = policy(
        "named_models_locally = true\n[[rule]]\nname = \"all\"\nroute = \"local\"\nescalate_below = 1.0\n",
    );
    let here = bench(local);
    let store = ledger(directory.path(), 5, 500, &here);
    let (changes, summary) = replay(&store, &bench(judged));
    let gone: Vec<_> = changes.iter().filter(|change| change.after.escalates).collect();
    assert!(gone.len() > 30, "{}", gone.len());
    assert_eq!(gone.len() as u64, summary.escalations.after.requests);
    assert_eq!(summary.escalations.before.requests, 0);
    // 1,000 tokens in and 100 out: 2.50 and 10 dollars a million for gpt-4o, 0.10 and 0.20 in the house; other names
    // have no price.
    for price in [Some(3_500_000), Some(120_000), None] {
        assert!(gone.iter().any(|change| change.after.cost.map(Money::nanos) == price), "{price:?}");
    }
    for change in &gone {
        let cost = change.after.cost.map(Money::nanos);
        assert!([Some(3_500_000), Some(120_000), None].contains(&cost), "{change:?}");
        assert_eq!(change.before.cost, Some(Money::ZERO));
    }
    assert_eq!(
        summary.coverage.unpriced,
        changes.iter().filter(|change| change.after.cost.is_none()).count() as u64
    );
    assert_eq!(summary.cost_after, changes.iter().filter_map(|c| c.before.cost.and(c.after.cost)).sum());
}

#[test]
fn what_cannot_be_replayed_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let here = bench(cascade());
    let mut store = ledger(directory.path(), 3, 5, &here);
    let old = Row { policy: "p-1".into(), ..Row::new("old".into(), 9) };
    let faulty = Row { outcome: Finish::Invalid, ..Row::new("faulty".into(), 9) };
    store.write(&[(old, true), (faulty, true)]).unwrap();
    let coverage = replay(&store, &here).1.coverage;
    assert_eq!((coverage.rows, coverage.replayed, coverage.unstored, coverage.undecided), (7, 5, 1, 1));
}
