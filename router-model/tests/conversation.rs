//! Complexity of conversations, shape of requests, and what classification does when something is cut off.

use std::borrow::Cow;

use policies::{Doubt, EntityKind};
use router_model::{Classifier, ClassifierConfig, Prompt, Role, Segment};

const HARD: &str = "Design a consensus protocol that tolerates Byzantine faults with dynamic membership, prove its \
    safety and liveness, and implement the core in Rust with property tests.";

fn classifier() -> Classifier {
    Classifier::new(ClassifierConfig::default()).expect("builds")
}

fn segment(role: Role, text: &str) -> Segment<'_> {
    Segment { role, path: Cow::Borrowed("messages"), text: Cow::Borrowed(text) }
}

fn talk<'a>(texts: &[(Role, &'a str)]) -> Prompt<'a> {
    let turns = texts.iter().filter(|(role, _)| *role == Role::User).count();
    Prompt {
        segments: texts.iter().map(|&(role, text)| segment(role, text)).collect(),
        turns: u32::try_from(turns).expect("few"),
        ..Prompt::default()
    }
}

#[test]
fn a_follow_up_inherits() {
    let classifier = classifier();
    let complexity = |texts: &[(Role, &str)]| classifier.classify(&talk(texts)).complexity;
    let alone = complexity(&[(Role::User, "ok, continue")]);
    let first = complexity(&[(Role::User, HARD)]);
    let inherited =
        complexity(&[(Role::User, HARD), (Role::Assistant, "First part."), (Role::User, "ok, continue")]);
    assert!(first > 0.5 && alone < 0.5, "{first} {alone}");
    assert!(inherited > 0.85 * first, "{inherited} of {first}");
    let thanks = complexity(&[(Role::User, HARD), (Role::Assistant, "Done."), (Role::User, "thanks!")]);
    assert!(thanks < 0.4, "{thanks}");
}

#[test]
fn inheritance_fades_with_age() {
    let classifier = classifier();
    let mut texts = vec![(Role::User, HARD)];
    let mut before = f32::INFINITY;
    for _ in 0..3 {
        texts.extend([(Role::Assistant, "Yes."), (Role::User, "and then")]);
        let now = classifier.classify(&Prompt { turns: 1, ..talk(&texts) }).complexity;
        assert!(now <= before, "{now} after {before}");
        before = now;
    }
}

#[test]
fn shape_raises_the_score() {
    let classifier = classifier();
    let plain = Prompt::from_text("Book a table for two tonight.");
    let base = classifier.classify(&plain).complexity;
    let tools = classifier.classify(&Prompt { tools: 12, wants_schema: true, ..plain.clone() }).complexity;
    assert!(tools > base);
    assert!(tools - base < 0.3, "shape alone must not make a request hard: {base} {tools}");
}

#[test]
fn parts_of_one_turn_belong_together() {
    let classifier = classifier();
    let parts = talk(&[(Role::User, HARD), (Role::User, "Answer in English.")]);
    assert!(classifier.classify(&parts).complexity > 0.5);
}

#[test]
fn nothing_to_read_is_unknown() {
    let profile = classifier().classify(&Prompt::default());
    assert!((profile.complexity - 0.5).abs() < f32::EPSILON);
    assert!(profile.confidence.abs() < f32::EPSILON);
    assert_eq!(profile.language, "und");
}

#[test]
fn a_text_that_is_too_long_leaves_a_doubt() {
    let classifier =
        Classifier::new(ClassifierConfig { text_bytes_max: 1024, ..ClassifierConfig::default() })
            .expect("builds");
    let mail = "write to jo@example.org ";
    let long = format!("{mail}{}", "ä".repeat(2000));
    let profile = classifier.classify(&Prompt::from_text(&long));
    assert_eq!(profile.sensitivity.doubt, [Doubt::TextTooLong]);
    assert!(!profile.sensitivity.findings.is_empty(), "the part that fits is scanned");
}

#[test]
fn the_callers_doubts_stay_and_every_segment_is_scanned() {
    let mut prompt = talk(&[
        (Role::System, "Be brief."),
        (Role::Tool, "contact: jo@example.org, since the first order of the year"),
    ]);
    prompt.doubt = vec![Doubt::UnreadImage, Doubt::UnreadImage];
    for _ in 0..2 {
        let profile = classifier().classify(&prompt);
        assert_eq!(profile.sensitivity.doubt, [Doubt::UnreadImage]);
        assert!(profile.sensitivity.findings.iter().any(|finding| finding.segment == 1));
    }
}

#[test]
fn settings_are_checked() {
    assert!(Classifier::new(ClassifierConfig { text_bytes_max: 10, ..ClassifierConfig::default() }).is_err());
}

#[test]
fn a_value_that_is_cut_into_parts_is_found_in_each_of_them() {
    use EntityKind::{CreditCard, Email, UsSsn};
    let found = |parts: &[&str]| {
        let part = |(place, text): (usize, &&str)| Segment {
            role: Role::User,
            path: format!("messages[0].content[{place}].text").into(),
            text: (*text).to_owned().into(),
        };
        let segments = parts.iter().enumerate().map(part).collect();
        let prompt = Prompt { segments, turns: 1, ..Prompt::default() };
        let findings = classifier().classify(&prompt).sensitivity.findings;
        findings.iter().map(|one| (one.kind, one.segment, one.start, one.end)).collect::<Vec<_>>()
    };
    let ssn = found(&["my social security number is 536-9", "0-4399, thanks"]);
    assert_eq!(ssn, [(UsSsn, 0, 29, 34), (UsSsn, 1, 0, 6)]);
    let card = found(&["my card number is 4111", "1111", "11", "111111"]);
    for part in [(CreditCard, 0, 18, 22), (CreditCard, 1, 0, 4), (CreditCard, 2, 0, 2), (CreditCard, 3, 0, 6)]
    {
        assert!(card.contains(&part), "{part:?} of {card:?}");
    }
    let email = found(&["write to jane.d", "oe@example.com"]);
    assert!(email.contains(&(Email, 0, 9, 15)) && email.contains(&(Email, 1, 0, 14)), "{email:?}");
    assert!(found(&["The boiling point of water", "is 100 degrees."]).is_empty());
}
