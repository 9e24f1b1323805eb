//! Tables and properties of decisions.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

use std::sync::Arc;

use policies::*;
use proptest::prelude::*;

fn target(id: &str, location: Location, clearance: Label, strength: f32, usd_out: f64) -> Arc<Target> {
    let (upstream, model) = id.split_once('/').unwrap();
    Arc::new(Target {
        id: id.into(),
        location,
        upstream: upstream.into(),
        model: model.into(),
        clearance: Clearance(clearance),
        capabilities: Capabilities { tools: location != Location::Local, ..Capabilities::ALL },
        price: RawPrice { input: usd_out / 4.0, output: usd_out, cached: None, cache_write: None }.check(),
        strength,
        availability: Availability::Ready,
    })
}

fn portfolio() -> Vec<Arc<Target>> {
    vec![
        target("local/slm", Location::Local, Label::Restricted, 0.0, 0.0),
        target("onprem/medium", Location::OnPrem, Label::Confidential, 0.5, 0.1),
        target("cloud/cheap", Location::Cloud, Label::Internal, 0.6, 0.6),
        target("cloud/frontier", Location::Cloud, Label::Internal, 1.0, 10.0),
    ]
}

fn profile(complexity: f32) -> Profile {
    Profile {
        sensitivity: Sensitivity::default(),
        complexity,
        confidence: 1.0,
        task: Task::OpenQa,
        language: "en".into(),
        input_tokens: 100,
        output_tokens: 0,
        rung: policies::Rung::Features,
    }
}

fn finding(kind: EntityKind, score: f32) -> Finding {
    Finding { segment: 0, start: 0, end: 1, kind, subtype: None, score, source: FindingSource::Pattern }
}

fn with(mut profile: Profile, kinds: &[EntityKind]) -> Profile {
    profile.sensitivity.findings = kinds.iter().map(|kind| finding(*kind, 1.0)).collect();
    profile
}

fn decide(policy: &str, profile: &Profile, request: &RequestFacts, targets: &[Arc<Target>]) -> Decision {
    let caller = CallerFacts::default();
    PolicySet::preset(policy).unwrap().decide(profile, &Situation { request, caller: &caller, targets })
}

fn served(decision: &Decision) -> &str {
    match &decision.outcome {
        Outcome::Serve(plan) => &plan.target().id,
        Outcome::Refuse(refusal) => match refusal {
            Refusal::Policy => "refused: policy",
            Refusal::Incapable(_) => "refused: incapable",
            Refusal::Unavailable(_) => "refused: unavailable",
            Refusal::UnknownModel => "refused: unknown model",
        },
    }
}

#[test]
fn presets_decide_as_their_comments_say() {
    use EntityKind::{CreditCard, Email, Person};
    let any = RequestFacts::default();
    let tools = RequestFacts { tools: true, ..RequestFacts::default() };
    let cases: &[(&str, Profile, &RequestFacts, &str)] = &[
        ("balanced", profile(0.1), &any, "local/slm"),
        ("balanced", profile(0.9), &any, "cloud/frontier"),
        ("balanced", profile(0.6), &any, "cloud/cheap"),
        ("balanced", with(profile(0.9), &[CreditCard]), &any, "local/slm"),
        ("balanced", with(profile(0.9), &[Email]), &any, "onprem/medium"),
        ("balanced", with(profile(0.1), &[Email]), &any, "local/slm"),
        ("balanced", with(profile(0.9), &[Person]), &any, "cloud/frontier"),
        ("balanced", profile(0.1), &tools, "onprem/medium"),
        ("balanced", with(profile(0.1), &[CreditCard]), &tools, "refused: policy"),
        ("cost-saver", profile(0.5), &any, "local/slm"),
        ("cost-saver", profile(0.6), &any, "onprem/medium"),
        ("strict-privacy", profile(0.95), &any, "cloud/frontier"),
        ("strict-privacy", with(profile(0.9), &[Person]), &any, "onprem/medium"),
        ("observe", profile(0.1), &any, "cloud/cheap"),
        ("observe", with(profile(0.1), &[CreditCard]), &any, "cloud/cheap"),
    ];
    for (policy, profile, request, expected) in cases {
        let targets = portfolio();
        let decision = decide(policy, profile, request, &targets);
        assert_eq!(served(&decision), *expected, "{policy}: {}", decision.reason.text);
    }
}

#[test]
fn observing_records_what_it_let_pass() {
    let decision = decide(
        "observe",
        &with(profile(0.1), &[EntityKind::CreditCard]),
        &RequestFacts::default(),
        &portfolio(),
    );
    assert_eq!(decision.labelled.label, Label::Restricted);
    let Outcome::Serve(plan) = &decision.outcome else { panic!("observers serve") };
    let (from, to, by) = (Label::Restricted, Label::Public, Declassifier::Observer);
    assert_eq!(plan.declassified, Some(Declassified { from, to, by }));
}

#[test]
fn an_unreachable_cloud_degrades_or_refuses_as_the_policy_says() {
    let mut targets = portfolio();
    targets.remove(1);
    for target in &mut targets {
        if target.location == Location::Cloud {
            Arc::make_mut(target).availability = Availability::Unavailable("no key".into());
        }
    }
    let request = RequestFacts::default();
    let decision = decide("balanced", &profile(0.9), &request, &targets);
    let Outcome::Serve(plan) = &decision.outcome else { panic!("{:?}", decision.reason) };
    assert!(plan.degraded);
    assert_eq!(&*plan.target().id, "local/slm");
    assert!(decision.reason.text.contains("no key"), "{}", decision.reason.text);

    let text = PolicySet::preset_text("balanced")
        .unwrap()
        .replace("cloud_unavailable = \"serve-local\"", "cloud_unavailable = \"refuse\"");
    let caller = CallerFacts::default();
    let strict = PolicySet::parse("p", &text).unwrap();
    let situation = Situation { request: &request, caller: &caller, targets: &targets };
    assert_eq!(served(&strict.decide(&profile(0.9), &situation)), "refused: unavailable");
    // A sensitive request is not "degraded" by staying: it was never to leave.
    let kept = strict.decide(&with(profile(0.9), &[EntityKind::CreditCard]), &situation);
    assert_eq!(served(&kept), "local/slm");
}

#[test]
fn doubt_raises_the_label_and_says_why() {
    let mut doubtful = profile(0.9);
    doubtful.sensitivity.doubt = vec![Doubt::UnreadImage];
    let decision = decide("balanced", &doubtful, &RequestFacts::default(), &portfolio());
    assert_eq!((served(&decision), decision.labelled.label), ("local/slm", Label::Restricted));
    assert!(decision.reason.text.contains("unread_image"), "{}", decision.reason.text);
}

#[test]
fn a_combination_means_more_than_its_parts() {
    let mut employee = with(profile(0.9), &[EntityKind::Person]);
    employee.sensitivity.topics.insert(Topic::Hr, 0.9);
    let decision = decide("balanced", &employee, &RequestFacts::default(), &portfolio());
    assert_eq!(decision.labelled.label, Label::Confidential);
    assert_eq!(decision.labelled.because, "PERSON and hr together");
}

#[test]
fn callers_may_raise_and_never_lower() {
    let policy = PolicySet::preset("balanced").unwrap();
    let found = with(profile(0.1), &[EntityKind::Email]).sensitivity;
    for asked in Label::ALL {
        let caller = CallerFacts { label: Some(asked), ..CallerFacts::default() };
        assert_eq!(policy.label(&found, &caller).label, asked.join(Label::Confidential));
    }
}

#[test]
fn names_force_a_route_within_the_clearance() {
    let forced =
        |id: &str| RequestFacts { wants: Wants::Forced(id.into()), model: id.into(), ..Default::default() };
    let targets = portfolio();
    let plain = profile(0.1);
    assert_eq!(served(&decide("balanced", &plain, &forced("cloud/frontier"), &targets)), "cloud/frontier");
    let card = with(profile(0.1), &[EntityKind::CreditCard]);
    assert_eq!(served(&decide("balanced", &card, &forced("cloud/frontier"), &targets)), "refused: policy");
    assert_eq!(
        served(&decide("balanced", &plain, &forced("cloud/nope"), &targets)),
        "refused: unknown model"
    );
}

#[test]
fn a_weak_local_answer_escalates_only_where_the_label_lets_it() {
    let text = PolicySet::preset_text("balanced").unwrap().replacen(
        "route = \"local\"",
        "route = \"local\"\nescalate_below = 0.5",
        1,
    );
    let policy = PolicySet::parse("p", &text).unwrap();
    let (request, caller, targets) = (RequestFacts::default(), CallerFacts::default(), portfolio());
    let situation = Situation { request: &request, caller: &caller, targets: &targets };
    let escalation = |profile: &Profile, confidence: f32| match policy.decide(profile, &situation).outcome {
        Outcome::Serve(plan) => match review(&plan, plan.target(), confidence) {
            Verdict::Serve => None,
            Verdict::Escalate(target) => Some(target.id.to_string()),
        },
        Outcome::Refuse(_) => panic!("served"),
    };
    assert_eq!(escalation(&profile(0.1), 0.9), None);
    assert!(escalation(&profile(0.1), 0.2).is_some());
    assert_eq!(escalation(&with(profile(0.1), &[EntityKind::CreditCard]), 0.2), None);
    assert_eq!(escalation(&profile(0.1), f32::NAN).as_deref(), escalation(&profile(0.1), 0.0).as_deref());
}

fn with_rule(rule: &str) -> Result<PolicySet, Faults> {
    PolicySet::parse("p.toml", &format!("name = 'x'\n[[rule]]\nname = 'r'\n{rule}\n"))
}

#[test]
fn modes_are_read_with_their_numbers() {
    let request = RequestFacts::default();
    let (caller, targets) = (CallerFacts::default(), portfolio());
    let cases: &[(&str, Mode)] = &[
        ("route = 'local'", Mode::Route),
        ("route = 'local'\nmode = 'route'", Mode::Route),
        ("route = 'local'\nescalate_below = 0.3", Mode::Cascade { escalate_below: 0.3, self_consistency: 0 }),
        ("route = 'local'\nmode = 'cascade'", Mode::Cascade { escalate_below: 0.6, self_consistency: 0 }),
        (
            "route = 'cheapest'\nmode = 'cascade'\nself_consistency = 3",
            Mode::Cascade { escalate_below: 0.6, self_consistency: 3 },
        ),
        ("route = 'local'\nmode = 'prefix'", Mode::Prefix { escalate_below: 0.6, hold_tokens: 24 }),
        (
            "route = 'local'\nmode = 'prefix'\nhold_tokens = 8\nescalate_below = 0.2",
            Mode::Prefix { escalate_below: 0.2, hold_tokens: 8 },
        ),
        ("route = 'cloud'\nmode = 'shadow'\nshadow_rate = 0.5", Mode::Shadow { rate: 0.5 }),
    ];
    for (rule, mode) in cases {
        let policy = with_rule(rule).unwrap();
        let situation = Situation { request: &request, caller: &caller, targets: &targets };
        let Outcome::Serve(plan) = policy.decide(&profile(0.1), &situation).outcome else { panic!("{rule}") };
        assert_eq!(plan.mode, *mode, "{rule}");
    }
}

#[test]
fn faulty_modes_are_told_with_field_and_line() {
    let cases: &[(&str, usize, &str, &str)] = &[
        ("route = 'local'\nmode = 'cascad'", 5, "rule.0.mode", "did you mean `cascade`?"),
        (
            "route = 'local'\nmode = 'cascade'\nescalate_below = 1.5",
            6,
            "rule.0.escalate_below",
            "between 0 and 1",
        ),
        (
            "route = 'local'\nmode = 'cascade'\nescalate_below = nan",
            6,
            "rule.0.escalate_below",
            "between 0 and 1",
        ),
        ("route = 'local'\nmode = 'prefix'\nhold_tokens = 0", 6, "rule.0.hold_tokens", "between 1 and 256"),
        ("route = 'local'\nmode = 'cascade'\nhold_tokens = 9", 6, "rule.0.hold_tokens", "only with prefix"),
        (
            "route = 'local'\nmode = 'prefix'\nself_consistency = 2",
            6,
            "rule.0.self_consistency",
            "only with cascade",
        ),
        (
            "route = 'local'\nmode = 'cascade'\nself_consistency = 9",
            6,
            "rule.0.self_consistency",
            "between 0 and 8",
        ),
        ("route = 'local'\nshadow_rate = 0.1", 5, "rule.0.shadow_rate", "only with shadow"),
        ("route = 'local'\nmode = 'shadow'\nshadow_rate = 0.0", 6, "rule.0.shadow_rate", "shadows nothing"),
        (
            "route = 'local'\nmode = 'shadow'\nescalate_below = 0.5",
            6,
            "rule.0.escalate_below",
            "has no meaning",
        ),
        ("route = 'cloud'\nmode = 'cascade'", 5, "rule.0.mode", "begins with the local model"),
    ];
    for (rule, line, key, message) in cases {
        let Faults(faults) = with_rule(rule).unwrap_err();
        assert_eq!(faults.len(), 1, "{rule}: {faults:?}");
        assert_eq!((faults[0].line, faults[0].key.as_str()), (*line, *key), "{rule}");
        assert!(faults[0].message.contains(message), "{rule}: {}", faults[0].message);
    }
    let text = "name = 'x'\nfall_back = false\n[[rule]]\nname = 'r'\nroute = 'local'\nmode = 'cascade'\n";
    let Faults(faults) = PolicySet::parse("p.toml", text).unwrap_err();
    assert!(faults[0].message.contains("`fall_back = false` leaves none"), "{faults:?}");
}

#[test]
fn a_shadow_is_the_other_side_where_the_label_admits_it() {
    let (caller, targets) = (CallerFacts::default(), portfolio());
    let shadow = |rule: &str, profile: &Profile, request: &RequestFacts| {
        let text =
            format!("name = 'x'\n[labels]\nCREDIT_CARD = 'restricted'\nEMAIL = 'confidential'\n{rule}");
        let policy = PolicySet::parse("p", &text).unwrap();
        let situation = Situation { request, caller: &caller, targets: &targets };
        match policy.decide(profile, &situation).outcome {
            Outcome::Serve(plan) => plan.shadow().map(|target| target.id.to_string()),
            Outcome::Refuse(_) => panic!("served"),
        }
    };
    let cloud = "[[rule]]\nname = 'r'\nroute = 'cloud'\nmode = 'shadow'\n";
    let local = "[[rule]]\nname = 'r'\nroute = 'local'\nmode = 'shadow'\n";
    let any = RequestFacts::default();
    let named = RequestFacts { wants: Wants::Named, ..RequestFacts::default() };
    let forced = RequestFacts { wants: Wants::Forced("cloud/frontier".into()), ..RequestFacts::default() };
    let tools = RequestFacts { tools: true, ..RequestFacts::default() };
    let card = with(profile(0.1), &[EntityKind::CreditCard]);
    assert_eq!(shadow(cloud, &profile(0.1), &any).as_deref(), Some("local/slm"));
    assert_eq!(shadow(cloud, &profile(0.1), &named).as_deref(), Some("local/slm"), "it is not shown");
    assert_eq!(shadow(cloud, &profile(0.1), &tools), None, "the local model knows no tools");
    assert_eq!(shadow(cloud, &profile(0.1), &forced), None);
    assert_eq!(shadow(local, &profile(0.1), &any).as_deref(), Some("onprem/medium"));
    assert_eq!(shadow(local, &card, &any), None, "nothing else may see it");
    let text = format!("name = 'x'\nobserve = true\n[labels]\nCREDIT_CARD = 'restricted'\n{local}");
    let policy = PolicySet::parse("p", &text).unwrap();
    let situation = Situation { request: &any, caller: &caller, targets: &targets };
    let Outcome::Serve(plan) = policy.decide(&card, &situation).outcome else { panic!("observers serve") };
    assert!(plan.shadow().is_none(), "an observer lets requests pass, not copies");
}

#[test]
fn every_fault_of_a_policy_has_its_line() {
    let text = "name = 'x'\nscore_min = 3.0\n[labels]\nEMIAL = 'internal'\n[[rule]]\nname = 'r'\n\
                when = 'profile.complexty < 1.0'\nroute = 'local'\n";
    let Faults(faults) = PolicySet::parse("p.toml", text).unwrap_err();
    let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 4, 7], "{faults:?}");
    assert!(faults[1].message.contains("did you mean `EMAIL`?"), "{}", faults[1].message);
    let Faults(faults) = PolicySet::preset("balancd").unwrap_err();
    assert!(faults[0].message.contains("did you mean `balanced`?"));
}

#[test]
fn a_file_of_ten_faults_is_told_in_one_go() {
    let text = "name = 'x'\n\
        on_doubt = 'secret'\n\
        fall_back = 'yes'\n\
        score_minn = 0.5\n\
        quality_min = 2.0\n\
        [labels]\n\
        EMIAL = 'internal'\n\
        PHONE = 'confidental'\n\
        [topics]\n\
        health = { at = 0.5 }\n\
        [[combination]]\n\
        all = ['PERSON>=0', 'topic:helth']\n\
        label = 'restricted'\n\
        [[rule]]\n\
        name = 'r'\n\
        when = 'profile.complexty < 1.0 || profile.task > 3'\n\
        [[rule]]\n\
        name = 'r'\n\
        route = 'local'\n\
        mode = 'cascad'\n";
    let Faults(faults) = PolicySet::parse("p.toml", text).unwrap_err();
    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let expected = [
        "p.toml:2: on_doubt: unknown word `secret`",
        "p.toml:3: fall_back: invalid type",
        "p.toml:4: score_minn: unknown key `score_minn`; did you mean `score_min`?",
        "p.toml:5: quality_min: 2 is not between 0 and 1",
        "p.toml:7: labels.EMIAL: unknown name `EMIAL`; did you mean `EMAIL`?",
        "p.toml:8: labels.PHONE: unknown word `confidental`; did you mean `confidential`?",
        "p.toml:10: topics.health.label: is missing",
        "p.toml:12: combination.0.all.0: the count of `PERSON>=0` is not a whole number from 1",
        "p.toml:12: combination.0.all.1: no topic is called `helth`; did you mean `health`?",
        "p.toml:14: rule.0.route: is missing",
        "p.toml:16: rule.0.when: unknown field `profile.complexty`; did you mean `profile.complexity`?",
        "p.toml:16: rule.0.when: a task cannot be compared with a whole number",
        "p.toml:18: rule.1.name: a rule before this one is called `r` too",
        "p.toml:20: rule.1.mode: `cascad` is not a mode",
    ];
    assert_eq!(shown.len(), expected.len(), "{}", shown.join("\n"));
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "{shown}\n{expected}");
    }
}

#[test]
fn what_is_encoded_means_what_it_means_in_the_open() {
    let mut hidden = profile(0.1);
    hidden.sensitivity.findings =
        vec![Finding { subtype: Some("PERSON+CREDIT_CARD".into()), ..finding(EntityKind::Encoded, 1.0) }];
    let labelled = decide("balanced", &hidden, &RequestFacts::default(), &portfolio()).labelled;
    assert_eq!((labelled.label, labelled.because.as_str()), (Label::Restricted, "1 CREDIT_CARD found"));
    assert_eq!(
        labelled.kinds.keys().copied().collect::<Vec<_>>(),
        [EntityKind::Person, EntityKind::CreditCard, EntityKind::Encoded]
    );
    let mut other = hidden.clone();
    other.sensitivity.findings[0].kind = EntityKind::Username;
    assert_eq!(
        decide("balanced", &other, &RequestFacts::default(), &portfolio()).labelled.label,
        Label::Internal
    );
}

#[test]
fn combinations_count_findings_over_the_whole_request() {
    let policy = |member: &str| {
        let text = format!(
            "name = 'x'\n[labels]\nPERSON = 'internal'\n[topics]\nhealth = {{ label = 'internal' }}\n\
             [[combination]]\nall = [{member}]\nlabel = 'restricted'\n"
        );
        PolicySet::parse("p", &text)
    };
    let persons = |count: usize| with(profile(0.1), &vec![EntityKind::Person; count]).sensitivity;
    let label =
        |member: &str, found: &Sensitivity| policy(member).unwrap().label(found, &CallerFacts::default());
    for (member, count, expected) in [
        ("'PERSON>=5'", 4, Label::Internal),
        ("'PERSON>=5'", 5, Label::Restricted),
        ("'EMAIL>=2 | PERSON >= 3'", 3, Label::Restricted),
        ("'PERSON>=1', 'PERSON>=3'", 2, Label::Internal),
        ("'PERSON', 'EMAIL'", 9, Label::Internal),
    ] {
        assert_eq!(label(member, &persons(count)).label, expected, "{member} with {count}");
    }
    let mut hinted = persons(1);
    hinted.topics.insert(Topic::Health, 0.45);
    assert_eq!(
        label("'PERSON', 'topic:health'", &hinted).label,
        Label::Internal,
        "below the topic's own threshold"
    );
    assert_eq!(label("'PERSON', 'topic:health>=0.4'", &hinted).label, Label::Restricted);
    let bulk = label("'PERSON>=5'", &persons(7));
    assert_eq!(bulk.because, "5 or more PERSON");
    let mut weak = persons(7);
    weak.findings.iter_mut().for_each(|found| found.score = 0.4);
    assert_eq!(label("'PERSON>=5'", &weak).label, Label::Public, "what is too weak is not counted");
    for (member, key, message) in [
        ("'PERSON'", "combination.0.all", "or one with a count"),
        ("", "combination.0.all", "or one with a count"),
        ("'PERSON>=1'", "combination.0.all", "or one with a count"),
        ("'PERSON>=5|topic:health'", "combination.0.all", "or one with a count"),
        ("'PERSON>=x', 'EMAIL'", "combination.0.all.0", "not a whole number from 1 to"),
        ("'EMAIL', 'PERSON>=-1'", "combination.0.all.1", "not a whole number from 1 to"),
        ("'EMAIL', 'topic:health>=2'", "combination.0.all.1", "not a number above 0, up to 1"),
        ("'EMAIL', 'topic:health>=0'", "combination.0.all.1", "not a number above 0, up to 1"),
        ("'EMAIL', 'topic:health>=nan'", "combination.0.all.1", "not a number above 0, up to 1"),
        ("'EMAIL', 'PRESON'", "combination.0.all.1", "did you mean `PERSON`?"),
    ] {
        let Faults(faults) = policy(member).unwrap_err();
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, key), "{member}: {faults:?}");
        assert!(faults[0].message.contains(message), "{member}: {}", faults[0].message);
        assert_eq!(faults[0].line, 7, "{member}");
    }
}

#[test]
fn presets_compile() {
    for name in PolicySet::presets() {
        PolicySet::preset(name).unwrap();
    }
}

fn any_label() -> impl Strategy<Value = Label> {
    prop::sample::select(Label::ALL.to_vec())
}

fn any_target(index: usize) -> impl Strategy<Value = Arc<Target>> {
    (
        prop::sample::select(vec![Location::Local, Location::OnPrem, Location::Cloud]),
        any_label(),
        0.0f32..=1.0,
        0.0f64..20.0,
        any::<[bool; 4]>(),
        prop::bool::weighted(0.8),
    )
        .prop_map(
            move |(location, clearance, strength, usd, [tools, schema, vision, choices], ready)| {
                let mut made = target(&format!("u/{index}"), location, clearance, strength, usd);
                let inner = Arc::make_mut(&mut made);
                inner.capabilities = Capabilities { tools, schema, vision, choices, context_tokens: 4_096 };
                if !ready {
                    inner.availability = Availability::Unavailable("down".into());
                }
                made
            },
        )
}

fn any_targets() -> impl Strategy<Value = Vec<Arc<Target>>> {
    (0usize..7).prop_flat_map(|n| (0..n).map(any_target).collect::<Vec<_>>())
}

fn any_profile() -> impl Strategy<Value = Profile> {
    (
        0.0f32..=1.0,
        prop::collection::vec((prop::sample::select(EntityKind::ALL.to_vec()), 0.0f32..=1.0), 0..4),
        prop::collection::btree_map(prop::sample::select(Topic::ALL.to_vec()), 0.0f32..=1.0, 0..3),
        prop::collection::vec(prop::sample::select(Doubt::ALL.to_vec()), 0..2),
        0u32..6_000,
    )
        .prop_map(|(complexity, kinds, topics, doubt, input_tokens)| Profile {
            sensitivity: Sensitivity {
                findings: kinds.into_iter().map(|(kind, score)| finding(kind, score)).collect(),
                topics,
                doubt,
            },
            input_tokens,
            ..profile(complexity)
        })
}

fn any_request() -> impl Strategy<Value = RequestFacts> {
    (any::<[bool; 4]>(), prop::option::of(0u32..3_000), 0u8..3).prop_map(
        |([tools, schema, images, choices], output_tokens_max, wants)| RequestFacts {
            tools,
            schema,
            images,
            choices,
            output_tokens_max,
            wants: match wants {
                0 => Wants::Any,
                1 => Wants::Named,
                _ => Wants::Forced("u/1".into()),
            },
            ..RequestFacts::default()
        },
    )
}

fn any_rule() -> impl Strategy<Value = String> {
    let modes = prop::sample::select(vec![
        "mode = 'cascade'\nescalate_below = 1.0\nself_consistency = 1",
        "mode = 'prefix'\nescalate_below = 1.0\nhold_tokens = 1",
        "escalate_below = 0.7",
        "mode = 'shadow'\nshadow_rate = 1.0",
        "mode = 'route'",
    ]);
    (modes, prop::sample::select(vec!["local", "cheapest"]))
        .prop_map(|(mode, route)| format!("[[rule]]\nname = 'r'\nroute = '{route}'\n{mode}\n"))
}

fn any_policy() -> impl Strategy<Value = PolicySet> {
    let labels =
        prop::collection::btree_map(prop::sample::select(EntityKind::ALL.to_vec()), any_label(), 0..20);
    let caps = prop::collection::btree_map(
        prop::sample::select(vec!["local", "on-prem", "cloud"]),
        any_label(),
        0..3,
    );
    (labels, caps, any_label(), any_label(), any_rule(), any::<bool>()).prop_map(
        |(labels, caps, on_doubt, default_label, rule, observe)| {
            let labels: String = labels.iter().map(|(kind, label)| format!("{kind} = '{label}'\n")).collect();
            let caps: String = caps.iter().map(|(place, label)| format!("{place} = '{label}'\n")).collect();
            let text = format!(
                "name = 'x'\nobserve = {observe}\non_doubt = '{on_doubt}'\ndefault_label = '{default_label}'\n\
                 [labels]\n{labels}[clearance]\n{caps}{rule}"
            );
            PolicySet::parse("p", &text).unwrap()
        },
    )
}

fn enforcing_policy() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["balanced", "cost-saver", "strict-privacy", "hipaa", "pci", "gdpr"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nothing above clearance is ever offered to a destination, on any place of the order.
    #[test]
    fn every_planned_target_is_cleared(
        policy in enforcing_policy(), profile in any_profile(), request in any_request(), targets in any_targets(),
    ) {
        let decision = decide(policy, &profile, &request, &targets);
        if let Outcome::Serve(plan) = &decision.outcome {
            prop_assert!(!plan.targets().is_empty());
            prop_assert_eq!(plan.label(), decision.labelled.label);
            for target in plan.targets() {
                prop_assert!(target.clearance.admits(decision.labelled.label));
                prop_assert!(target.is_ready());
            }
            for target in &targets {
                prop_assert_eq!(plan.clear((), target).is_ok(), target.clearance.admits(plan.label()));
            }
        }
    }

    /// What a gateway does while traffic has drifted: a request that counts as harder keeps its label, and goes to a
    /// model that is at least as strong.
    #[test]
    fn raising_complexity_never_weakens_the_model_nor_changes_the_label(
        policy in enforcing_policy(), profile in any_profile(), request in any_request(), more in 0.0..=1.0_f32,
    ) {
        let raised = Profile { complexity: (profile.complexity + more).min(1.0), ..profile.clone() };
        let targets = portfolio();
        let (before, after) =
            (decide(policy, &profile, &request, &targets), decide(policy, &raised, &request, &targets));
        prop_assert_eq!(&before.labelled, &after.labelled);
        match (&before.outcome, &after.outcome) {
            (Outcome::Serve(before), Outcome::Serve(after)) => {
                prop_assert!(
                    after.target().strength >= before.target().strength,
                    "{} {}", before.target().id, after.target().id
                );
            }
            (Outcome::Refuse(before), Outcome::Refuse(after)) => prop_assert_eq!(before, after),
            _ => prop_assert!(false, "how hard it is decides where it goes, not whether it is served"),
        }
    }

    /// Raising sensitivity never moves a request to a less cleared place that is further out: what moves, moves
    /// inwards or to somebody who may see more.
    #[test]
    fn raising_sensitivity_never_moves_outwards(
        policy in enforcing_policy(), profile in any_profile(), request in any_request(), targets in any_targets(),
        more in prop::collection::vec(prop::sample::select(EntityKind::ALL.to_vec()), 1..3),
        raised in any_label(),
    ) {
        let mut higher = profile.clone();
        higher.sensitivity.findings.extend(more.into_iter().map(|kind| finding(kind, 1.0)));
        let policy = PolicySet::preset(policy).unwrap();
        let low = CallerFacts::default();
        let high = CallerFacts { label: Some(raised), ..CallerFacts::default() };
        let before = policy.decide(&profile, &Situation { request: &request, caller: &low, targets: &targets });
        let after = policy.decide(&higher, &Situation { request: &request, caller: &high, targets: &targets });
        prop_assert!(after.labelled.label >= before.labelled.label);
        match (&before.outcome, &after.outcome) {
            (Outcome::Serve(before), Outcome::Serve(after)) => {
                let (from, to) = (before.target(), after.target());
                prop_assert!(to.clearance.admits(after.label()), "{} is not cleared", to.id);
                prop_assert!(
                    to.location <= from.location || to.clearance >= from.clearance,
                    "from {} out to {}", from.id, to.id
                );
            }
            (Outcome::Refuse(_), Outcome::Serve(_)) => {
                prop_assert!(false, "a request that was refused is served once it is more sensitive");
            }
            _ => {}
        }
    }

    /// Whatever the policy and its mode, a weak answer escalates to nobody who may not see the label, and a copy
    /// goes to nobody who may not see it either, observed or not.
    #[test]
    fn no_mode_reaches_beyond_clearance(
        policy in any_policy(), profile in any_profile(), request in any_request(), targets in any_targets(),
        confidence in 0.0f32..=1.0,
    ) {
        let caller = CallerFacts::default();
        let decision = policy.decide(&profile, &Situation { request: &request, caller: &caller, targets: &targets });
        if let Outcome::Serve(plan) = &decision.outcome {
            for from in plan.targets() {
                if let Verdict::Escalate(to) = review(plan, from, confidence) {
                    prop_assert!(to.clearance.admits(plan.label()));
                    prop_assert!(plan.clear((), &to).is_ok());
                    prop_assert!(plan.targets().iter().any(|target| target.id == to.id));
                    prop_assert!(from.location == Location::Local && to.id != from.id);
                    prop_assert!(confidence < plan.mode.escalate_below().unwrap());
                }
            }
            if let Some(shadow) = plan.shadow() {
                prop_assert!(shadow.clearance.admits(decision.labelled.label));
                prop_assert!(shadow.is_ready() && shadow.id != plan.target().id);
                let alone = plan.of_shadow().unwrap();
                prop_assert!(alone.targets().len() == 1 && alone.clear((), shadow).is_ok());
            }
        }
    }

    /// A decision accounts for every target, and the same input gives the same decision.
    #[test]
    fn decisions_are_total_and_deterministic(
        policy in enforcing_policy(), profile in any_profile(), request in any_request(), targets in any_targets(),
    ) {
        let decision = decide(policy, &profile, &request, &targets);
        prop_assert_eq!(decision.alternatives.len(), targets.len());
        let again = decide(policy, &profile, &request, &targets);
        prop_assert_eq!(served(&decision), served(&again));
        prop_assert!(!decision.reason.text.is_empty());
    }
}

/// Names are looked for only where a finding could mean something.
#[test]
fn what_a_policy_would_not_heed_is_not_looked_for() {
    let nothing = Sensitivity::default();
    let secret = Sensitivity { findings: vec![finding(EntityKind::Secret, 1.0)], ..Sensitivity::default() };
    let heeds = |policy: &str, found: &Sensitivity, kinds: &[EntityKind]| {
        PolicySet::parse("p.toml", policy).unwrap().would_heed(found, kinds)
    };
    let labels = "name = 'x'\n[labels]\nPERSON = 'internal'\nSECRET = 'restricted'\n";
    assert!(heeds(labels, &nothing, &[EntityKind::Person]));
    assert!(!heeds(labels, &nothing, &[EntityKind::Org]));
    assert!(!heeds(labels, &secret, &[EntityKind::Person]), "it is as high as it can be");
    let many = "name = 'x'\n[[combination]]\nall = ['ORG>=500000']\nlabel = 'internal'\n";
    assert!(heeds(many, &nothing, &[EntityKind::Org]));
    assert!(!heeds(many, &nothing, &[EntityKind::Person]));
    let masks = format!("{labels}[actions]\nrestricted = 'mask'\n");
    assert!(heeds(&masks, &secret, &[EntityKind::Person]), "what is masked is looked for");
}

const MASKING: &str = "name = 'm'\non_doubt = 'restricted'\n[labels]\nEMAIL = 'confidential'\nCREDIT_CARD = 'confidential'\n\
    SECRET = 'restricted'\n[topics]\nhealth = { label = 'confidential', at = 0.6 }\n[teams]\nlaw = 'confidential'\n\
    [actions]\nconfidential = 'mask'\n[[rule]]\nname = 'out'\nwhen = 'profile.complexity > 0.5'\nroute = 'cloud'\n\
    [[rule]]\nname = 'in'\nroute = 'local'\n";

fn masked_to(
    policy: &PolicySet,
    profile: &Profile,
    caller: &CallerFacts,
    rest: &Profile,
) -> Option<(Label, Label)> {
    let (request, targets) = (RequestFacts::default(), portfolio());
    let targets: Vec<_> = targets.into_iter().filter(|target| target.location != Location::OnPrem).collect();
    let situation = Situation { request: &request, caller, targets: &targets };
    let decision = policy.decide(profile, &situation);
    let masked = decision.mask.as_ref()?.accept("masked", rest.clone(), [(EntityKind::Email, 1)].into());
    let after = policy.decide_masked(&decision, &masked, &situation)?;
    assert_eq!(after.labelled, decision.labelled, "what was found stays told");
    assert!(after.reason.text.starts_with("masked 1 EMAIL: confidential to "), "{}", after.reason.text);
    let Outcome::Serve(plan) = after.outcome else { return None };
    let declassified = plan.declassified.unwrap();
    assert_eq!((declassified.by, declassified.to), (Declassifier::Mask, plan.label()));
    Some((declassified.from, declassified.to))
}

#[test]
fn a_mask_lowers_what_was_found_and_nothing_else() {
    use EntityKind::{Email, Secret};
    let policy = PolicySet::parse("p", MASKING).unwrap();
    let (anyone, hard) = (CallerFacts::default(), profile(0.9));
    let mail = with(hard.clone(), &[Email]);
    let lowered = Some((Label::Confidential, Label::Public));
    assert_eq!(masked_to(&policy, &mail, &anyone, &hard), lowered);
    let session = CallerFacts { session_label: Some(Label::Confidential), ..CallerFacts::default() };
    assert_eq!(masked_to(&policy, &mail, &session, &hard), lowered, "the masked body is whole");
    let kept: Vec<(&str, Profile, CallerFacts, Profile)> = vec![
        (
            "nothing was found",
            hard.clone(),
            CallerFacts { label: Some(Label::Confidential), ..anyone.clone() },
            hard.clone(),
        ),
        (
            "the caller says so",
            mail.clone(),
            CallerFacts { label: Some(Label::Confidential), ..anyone.clone() },
            hard.clone(),
        ),
        (
            "the team's default",
            mail.clone(),
            CallerFacts { team: "law".into(), ..anyone.clone() },
            hard.clone(),
        ),
        ("something is left", mail.clone(), anyone.clone(), mail.clone()),
        ("another action", with(hard.clone(), &[Email, Secret]), anyone.clone(), hard.clone()),
        ("it would stay anyway", with(profile(0.1), &[Email]), anyone.clone(), profile(0.1)),
        ("a topic is left", mail.clone(), anyone.clone(), {
            let mut ill = hard.clone();
            ill.sensitivity.topics.insert(Topic::Health, 0.9);
            ill
        }),
        ("a doubt arose", mail.clone(), anyone.clone(), {
            let mut doubtful = hard.clone();
            doubtful.sensitivity.doubt.push(Doubt::DetectorTimeout);
            doubtful
        }),
    ];
    for (why, before, caller, after) in kept {
        assert_eq!(masked_to(&policy, &before, &caller, &after), None, "{why}");
    }
    let kinds =
        PolicySet::parse("p", &MASKING.replacen("[[rule]]", "[mask]\nkinds = ['CREDIT_CARD']\n[[rule]]", 1))
            .unwrap();
    assert_eq!(masked_to(&kinds, &mail, &anyone, &hard), None, "the policy masks cards only");
}

#[test]
fn faulty_masks_are_told_with_field_and_line() {
    for (mask, key, message) in [
        ("style = 'stars'", "mask.style", "`stars` is not a style"),
        ("kinds = ['EMIAL']", "mask.kinds.0", "did you mean `EMAIL`?"),
    ] {
        let Faults(faults) =
            PolicySet::parse("p.toml", &format!("name = 'x'\n[mask]\n{mask}\n")).unwrap_err();
        assert_eq!((faults[0].line, faults[0].key.as_str()), (3, key));
        assert!(faults[0].message.contains(message), "{faults:?}");
    }
    let Faults(faults) =
        PolicySet::parse("p.toml", "name = 'x'\n[actions]\nconfidential = 'hide'\n").unwrap_err();
    assert!(faults[0].message.contains("keep-local, mask, refuse"), "{faults:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No plan for a masked request reaches a place that may not see the masked label, by whichever way; and under it goes
    /// what was made of the masked request, and nothing else.
    #[test]
    fn masked_plans_reach_no_further_than_the_masked_label(
        profile in any_profile(), left in any::<[bool; 4]>(), request in any_request(), targets in any_targets(),
        labels in prop::collection::btree_map(prop::sample::select(EntityKind::ALL.to_vec()), any_label(), 0..20),
        caps in prop::collection::btree_map(prop::sample::select(vec!["local", "on-prem", "cloud"]), any_label(), 0..3),
        asked in any_label(), rule in any_rule(),
    ) {
        let labels: String = labels.iter().map(|(kind, label)| format!("{kind} = '{label}'\n")).collect();
        let caps: String = caps.iter().map(|(place, label)| format!("{place} = '{label}'\n")).collect();
        let actions: String = Label::ALL.iter().map(|label| format!("{label} = 'mask'\n")).collect();
        let text = format!("name = 'x'\n[labels]\n{labels}[clearance]\n{caps}[actions]\n{actions}{rule}");
        let policy = PolicySet::parse("p", &text).unwrap();
        let caller = CallerFacts { label: Some(asked), session_label: Some(Label::Restricted), ..CallerFacts::default() };
        let caller = if profile.sensitivity.doubt.is_empty() { CallerFacts { session_label: None, ..caller } } else { caller };
        let situation = Situation { request: &request, caller: &caller, targets: &targets };
        let decision = policy.decide(&profile, &situation);
        let mut rest = profile.clone();
        let mut keep = left.into_iter();
        rest.sensitivity.findings.retain(|_| keep.next().unwrap_or(true));
        if let Some(offer) = &decision.mask {
            let masked = Subject::Masked(offer.accept("masked", rest.clone(), Default::default()));
            let other = Subject::Masked(offer.accept("other", rest, Default::default()));
            let Subject::Masked(inner) = &masked else { unreachable!() };
            if let Some(Decision { outcome: Outcome::Serve(plan), .. }) =
                policy.decide_masked(&decision, inner, &situation)
            {
                let declassified = plan.declassified.unwrap();
                prop_assert_eq!((declassified.from, declassified.to), (decision.labelled.label, plan.label()));
                prop_assert!(plan.label() >= asked && plan.label() >= offer.floor() && plan.label() < offer.from());
                for target in plan.targets().iter().chain(plan.shadow()) {
                    prop_assert!(target.clearance.admits(plan.label()));
                    prop_assert!(masked.clear(&plan, |text| *text, target).is_ok());
                    let refused = |cleared: Result<Cleared<&str>, ClearanceError>| {
                        matches!(cleared, Err(ClearanceError::OtherRequest { .. }))
                    };
                    prop_assert!(refused(other.clear(&plan, |text| *text, target)));
                    prop_assert!(refused(Subject::Whole("whole").clear(&plan, |text| *text, target)));
                    prop_assert!(refused(plan.clear("anything", target)));
                    if let Outcome::Serve(before) = &decision.outcome {
                        prop_assert!(refused(masked.clear(before, |text| *text, target)));
                    }
                }
            }
        }
    }
}
