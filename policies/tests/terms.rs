//! Terms of a policy: what may be written, what is refused, and what a finding of one means.
#![allow(clippy::unwrap_used, reason = "a test")]

use policies::{
    CallerFacts, EntityKind, Faults, Finding, FindingSource, Label, PolicySet, Sensitivity, term::Matches,
};

fn found(name: &str, source: FindingSource, score: f32) -> Sensitivity {
    let finding = Finding {
        segment: 0,
        start: 0,
        end: 5,
        kind: EntityKind::OtherId,
        subtype: Some(name.to_owned().into()),
        score,
        source,
    };
    Sensitivity { findings: vec![finding], ..Sensitivity::default() }
}

#[test]
fn terms_are_read_with_their_defaults() {
    let text = "name = 'x'\n[[term]]\nname = 'codenames'\nany = ['Project Orion', ' Blue Heron ']\nlabel = 'restricted'\n\
        [[term]]\nname = 'case'\npattern = 'CASE-\\d{6}'\nkind = 'MEDICAL_ID'\nignore_case = false\nwhole_word = false\n\
        [[term]]\nname = 'customers'\nfile = 'customers.txt'\n";
    let read = |name: &str| {
        assert_eq!(name, "customers.txt");
        Ok(String::from("\u{feff}# names\n\nAcme GmbH\n  Globex  \n"))
    };
    let policy = PolicySet::parse_with("p.toml", text, &read).unwrap();
    let [codenames, case, customers] = policy.terms() else { panic!("three terms") };
    assert_eq!((codenames.kind, codenames.label), (EntityKind::OtherId, Some(Label::Restricted)));
    assert!(codenames.ignore_case && codenames.whole_word);
    let Matches::Any(literals) = &codenames.matches else { panic!("literals") };
    assert_eq!(literals.iter().map(|l| &**l).collect::<Vec<_>>(), ["Project Orion", "Blue Heron"]);
    assert!(case.kind == EntityKind::MedicalId && !case.ignore_case && !case.whole_word);
    assert!(
        matches!(&case.matches, Matches::Pattern(p) if p.is_match("CASE-123456") && !p.is_match("case-123456"))
    );
    assert_eq!(customers.literals(), 2);
    // What a file holds is part of the policy, so it is part of the revision.
    let other = PolicySet::parse_with("p.toml", text, &|_| Ok(String::from("Initech\n"))).unwrap();
    assert_ne!(policy.revision(), other.revision());
}

#[test]
fn every_fault_of_a_term_has_its_key_and_line() {
    let cases = [
        ("any = ['a']\npattern = 'a'", 2, "term.0", "exactly one"),
        ("label = 'internal'", 2, "term.0", "exactly one"),
        ("any = []", 4, "term.0.any", "matches nothing"),
        ("any = ['ok', ' ']", 4, "term.0.any.1", "empty literal"),
        ("pattern = '('", 4, "term.0.pattern", "not a pattern"),
        ("pattern = 'a*'", 4, "term.0.pattern", "empty text"),
        ("pattern = '(a{1000}){1000}'", 4, "term.0.pattern", "size limit"),
        ("pattern = 'a(?=b)'", 4, "term.0.pattern", "not a pattern"),
        ("any = ['a']\nkind = 'EMIAL'", 5, "term.0.kind", "did you mean `EMAIL`"),
        ("any = ['a']\nignorecase = true", 5, "term.0.ignorecase", "did you mean `ignore_case`"),
        ("file = 'gone.txt'", 4, "term.0.file", "could not be read"),
    ];
    for (term, line, key, message) in cases {
        let text = format!("name = 'x'\n[[term]]\nname = 't'\n{term}\n");
        let Faults(faults) =
            PolicySet::parse_with("p.toml", &text, &|_| Err(String::from("no such file"))).unwrap_err();
        let fault = &faults[0];
        assert_eq!((fault.line, fault.key.as_str()), (line, key), "{term}: {faults:?}");
        assert!(fault.message.contains(message), "{term}: {}", fault.message);
    }
}

#[test]
fn a_fault_in_a_list_names_the_list_and_its_line() {
    let text = "name = 'x'\n[[term]]\nname = 't'\nfile = 'list.txt'\n";
    let long = format!("fine\n{}\n", "x".repeat(300));
    let Faults(faults) = PolicySet::parse_with("p.toml", text, &|_| Ok(long.clone())).unwrap_err();
    assert_eq!((faults[0].file.as_str(), faults[0].line), ("list.txt", 2), "{faults:?}");
    let Faults(faults) =
        PolicySet::parse_with("p.toml", text, &|_| Ok(String::from("# none\n"))).unwrap_err();
    assert!(faults[0].message.contains("holds no term"), "{faults:?}");
    let many = (0..=policies::term::LITERALS_MAX).map(|i| format!("w{i}\n")).collect::<String>();
    let Faults(faults) = PolicySet::parse_with("p.toml", text, &|_| Ok(many.clone())).unwrap_err();
    assert!(faults[0].message.contains("at most"), "{faults:?}");
}

#[test]
fn a_term_raises_to_its_label_by_name_and_source() {
    let text = "name = 'x'\n[[term]]\nname = 'codenames'\nany = ['Orion']\nlabel = 'restricted'\n";
    let policy = PolicySet::parse("p", text).unwrap();
    let label = |sensitivity: &Sensitivity| policy.label(sensitivity, &CallerFacts::default());
    let labelled = label(&found("codenames", FindingSource::User, 1.0));
    assert_eq!(labelled.label, Label::Restricted);
    assert_eq!(labelled.because, "term codenames found");
    assert_eq!(label(&found("codenames", FindingSource::Pattern, 1.0)).label, Label::Public);
    assert_eq!(label(&found("others", FindingSource::User, 1.0)).label, Label::Public);
    // A replay against another policy takes that policy's word for the same name.
    let other = PolicySet::parse("p", &text.replace("restricted", "internal")).unwrap();
    let again = other.label(&found("codenames", FindingSource::User, 1.0), &CallerFacts::default());
    assert_eq!(again.label, Label::Internal);
}
