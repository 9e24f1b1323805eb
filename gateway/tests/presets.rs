//! The presets against texts that people send, read by the detector that ships: which label, and how far a hard request
//! gets.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use policies::{
    Availability, CallerFacts, Capabilities, Clearance, Doubt, Label, Location, Outcome, PolicySet, Price,
    RequestFacts, Situation, Target,
};
use router_model::{Classifier, ClassifierConfig, Prompt};

static CLASSIFIER: LazyLock<Classifier> =
    LazyLock::new(|| Classifier::new(ClassifierConfig::default()).unwrap());

fn target(id: &str, location: Location, clearance: Label, strength: f32) -> Arc<Target> {
    let (upstream, model) = id.split_once('/').unwrap();
    Arc::new(Target {
        id: id.into(),
        location,
        upstream: upstream.into(),
        model: model.into(),
        clearance: Clearance(clearance),
        capabilities: Capabilities::ALL,
        price: Some(Price::FREE),
        strength,
        availability: Availability::Ready,
    })
}

fn portfolio() -> [Arc<Target>; 3] {
    [
        target("local/slm", Location::Local, Label::Restricted, 0.0),
        target("house/medium", Location::OnPrem, Label::Restricted, 0.5),
        target("cloud/frontier", Location::Cloud, Label::Internal, 1.0),
    ]
}

const PRESETS: [&str; 7] = ["balanced", "cost-saver", "strict-privacy", "hipaa", "pci", "gdpr", "observe"];

/// How far a hard request of each label gets in the portfolio above, fallbacks included: `l`ocal, `h`ouse, `c`loud, or `-` where
/// it is refused. Labels ascend.
const PLACES: [(&str, [char; 4]); 7] = [
    ("balanced", ['c', 'c', 'h', 'h']),
    ("cost-saver", ['c', 'c', 'h', 'h']),
    ("strict-privacy", ['c', 'h', 'h', 'l']),
    ("hipaa", ['c', 'c', 'h', 'h']),
    ("pci", ['c', 'c', 'h', '-']),
    ("gdpr", ['c', 'h', 'h', 'h']),
    ("observe", ['c', 'c', 'c', 'c']),
];

/// A text, and the first letter of its label under each of [`PRESETS`].
const CASES: &[(&str, &str)] = &[
    ("What is the capital of France?", "ppppppp"),
    ("Prove that the square root of two is irrational, step by step.", "ppppppp"),
    ("What are the usual side effects of metformin?", "ppppppp"),
    ("Explain how HIPAA defines protected health information.", "ppppppp"),
    ("Explain the difference between PAN truncation and tokenization under PCI DSS.", "ppppppp"),
    ("Order 4539 was shipped, tracking number 1Z999AA10123456784.", "ppppppp"),
    ("My name is Robert Keller, can you write me a short bio?", "iiciiii"),
    ("Patient John Miller was diagnosed with type 2 diabetes and started on metformin.", "rrrrrrr"),
    ("MRN: 00482913, admitted 2024-03-02 with chest pain, discharged on aspirin.", "rrrrrrr"),
    ("Health plan member ID: XGH901234567, claim denied for the MRI of the knee.", "rrrrrrr"),
    ("Reply to jane.doe@example.com that the meeting moves to Tuesday.", "ccccccc"),
    ("Call me back at +1 415 555 2671 tomorrow.", "ccccccc"),
    ("Ship it to 1600 Pennsylvania Avenue NW, Washington, DC 20500.", "ccccccc"),
    ("My card number is 4111 1111 1111 1111, exp 04/29, please refund me.", "rrrrrrr"),
    ("Track 2: ;4111111111111111=29041010000012345678?", "rrrrrrr"),
    ("My SSN is 536-90-4399, am I eligible for a refund?", "rrrrcrr"),
    ("Bitte überweisen Sie auf DE89 3704 0044 0532 0130 00.", "rrrrccr"),
    ("Passport number: 963545637, expires 2031", "rrrrcrr"),
    ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENGbPxRfiCYzQ9aT4bKd8L", "rrrrrrr"),
    ("The server at 10.20.30.40 does not answer on port 443.", "iicciii"),
    ("VIN 1HGCM82633A004352 needs a new clutch.", "ccrcccc"),
    ("My colleague Ahmed is Muslim and asked for prayer breaks, how do I answer?", "rrrrcrr"),
    (
        "My son Leo is 9 years old and his teacher at the elementary school wrote that he was bullied.",
        "rrrccrr",
    ),
    ("CONFIDENTIAL - do not distribute. Project roadmap for the third quarter.", "ccrcccc"),
    ("Name: Ana Ruiz\nDOB: 12/03/1981\nPhone: 600 111 222", "rcrrccc"),
];

fn letter(label: Label) -> char {
    label.as_str().chars().next().unwrap()
}

fn furthest(outcome: &Outcome) -> char {
    let Outcome::Serve(plan) = outcome else { return '-' };
    let places = plan.targets().iter().chain(plan.shadow()).map(|target| target.location);
    match places.max().unwrap() {
        Location::Local => 'l',
        Location::OnPrem => 'h',
        Location::Cloud => 'c',
    }
}

/// What becomes of a text: its label, how far it may get, and why.
fn fate(preset: &str, text: &str, doubt: Option<Doubt>) -> (Label, char, String) {
    let mut profile = CLASSIFIER.classify(&Prompt::from_text(text));
    profile.complexity = 0.9;
    profile.sensitivity.doubt.extend(doubt);
    let (request, caller, targets) = (RequestFacts::default(), CallerFacts::default(), portfolio());
    let situation = Situation { request: &request, caller: &caller, targets: &targets };
    let decision = PolicySet::preset(preset).unwrap().decide(&profile, &situation);
    (decision.labelled.label, furthest(&decision.outcome), decision.labelled.because)
}

#[test]
fn every_preset_labels_and_places_what_people_send() {
    for (preset, places) in PLACES {
        let column = PRESETS.iter().position(|name| *name == preset).unwrap();
        for (text, labels) in CASES {
            let expected = labels.chars().nth(column).unwrap();
            let (label, place, because) = fate(preset, text, None);
            assert_eq!(letter(label), expected, "{preset}: {text} ({because})");
            assert_eq!(place, places[label as usize], "{preset}: {label} {text}");
        }
    }
}

#[test]
fn the_table_covers_every_preset_and_each_of_its_labels() {
    assert_eq!(PolicySet::presets().collect::<BTreeSet<_>>(), BTreeSet::from(PRESETS));
    for (column, preset) in PRESETS.iter().enumerate() {
        let seen: BTreeSet<_> = CASES.iter().map(|(_, labels)| labels.chars().nth(column).unwrap()).collect();
        let missing = if *preset == "strict-privacy" { vec!['i'] } else { vec![] };
        let all = ['p', 'i', 'c', 'r'].into_iter().filter(|label| !missing.contains(label)).collect();
        assert_eq!(seen, all, "{preset}");
    }
}

#[test]
fn a_name_is_less_than_a_name_with_a_diagnosis() {
    for preset in PRESETS {
        let (name, _, _) = fate(preset, "My name is Robert Keller.", None);
        let (both, place, _) =
            fate(preset, "My name is Robert Keller, I was diagnosed with leukemia and take imatinib.", None);
        assert!(name < both && both == Label::Restricted, "{preset}: {name}, {both}");
        assert!(preset == "observe" || place != 'c', "{preset}");
    }
}

#[test]
fn only_gdpr_lets_pseudonyms_out_and_never_for_what_is_restricted() {
    let (request, caller, targets) = (RequestFacts::default(), CallerFacts::default(), portfolio());
    let situation = Situation { request: &request, caller: &caller, targets: &targets };
    for preset in PRESETS {
        for (text, _) in CASES {
            let mut profile = CLASSIFIER.classify(&Prompt::from_text(text));
            profile.complexity = 0.9;
            let decision = PolicySet::preset(preset).unwrap().decide(&profile, &situation);
            let label = decision.labelled.label;
            let masked = preset == "gdpr"
                && matches!(label, Label::Internal | Label::Confidential)
                && !profile.sensitivity.findings.is_empty();
            assert_eq!(decision.mask.is_some(), masked, "{preset}: {label} {text}");
        }
    }
}

#[test]
fn a_list_of_people_is_more_than_one_of_them() {
    for preset in PRESETS {
        let addresses = (0..20).map(|n| format!("member{n}@example.org")).collect::<Vec<_>>().join("\n");
        let (label, _, because) = fate(preset, &addresses, None);
        assert_eq!(label, Label::Restricted, "{preset}: {because}");
        assert!(because.contains("or more EMAIL"), "{preset}: {because}");
    }
}

#[test]
fn doubt_never_reaches_a_cloud_unless_the_policy_only_observes() {
    for preset in PRESETS {
        for doubt in Doubt::ALL {
            let (label, place, because) = fate(preset, "What is in this picture?", Some(*doubt));
            assert_eq!(label, Label::Restricted, "{preset}");
            assert_eq!(because, format!("doubt: {doubt}"));
            assert_eq!(place == 'c', preset == "observe", "{preset}: {doubt}");
        }
    }
}
