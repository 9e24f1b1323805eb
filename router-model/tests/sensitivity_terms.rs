//! The policy's own terms: what matches, what does not, and that nothing hides one.
#![allow(clippy::expect_used, reason = "a test")]

use policies::{EntityKind, FindingSource, Term};
use router_model::sensitivity::{Detector, DetectorConfig, LocalFinding};

fn detector(terms: Vec<Term>) -> Detector {
    Detector::new(DetectorConfig { terms, ..DetectorConfig::default() }).expect("the terms are valid")
}

fn any(name: &str, literals: &[&str]) -> Term {
    Term::any(name, EntityKind::OtherId, literals.iter().copied()).expect("valid literals")
}

/// What the policy's terms cover, as text.
fn covered(detector: &Detector, text: &str) -> Vec<(String, String)> {
    let chars: Vec<char> = text.chars().collect();
    let cover = |f: &LocalFinding| chars[f.start..f.end].iter().collect::<String>();
    let of_user = |f: &&LocalFinding| f.source == FindingSource::User;
    let named = |f: &LocalFinding| f.subtype.as_deref().unwrap_or_default().to_owned();
    detector.scan(text).findings.iter().filter(of_user).map(|f| (named(f), cover(f))).collect()
}

#[test]
fn literals_are_whole_words_in_any_case_and_spacing() {
    let d = detector(vec![any("codename", &["Project Orion", "Ökostrom AG", "проект Сокол", "計画"])]);
    for (text, expected) in [
        ("about project orion and Project Orions", vec!["project orion"]),
        ("PROJECT\n  ORION!", vec!["PROJECT\n  ORION"]),
        ("bei der ÖKOSTROM AG.", vec!["ÖKOSTROM AG"]),
        ("это ПРОЕКТ СОКОЛ", vec!["ПРОЕКТ СОКОЛ"]),
        ("秘密計画です", vec!["計画"]),
        ("project_orion is not written so", vec![]),
    ] {
        let found: Vec<String> = covered(&d, text).into_iter().map(|(_, cover)| cover).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn case_and_words_matter_where_the_term_says_so() {
    let exact = Term { ignore_case: false, ..any("exact", &["ACME"]) };
    let inside = Term { whole_word: false, ..any("inside", &["orion"]) };
    let d = detector(vec![exact, inside]);
    assert_eq!(covered(&d, "Acme, acme, ACME").len(), 1);
    assert_eq!(covered(&d, "superorionic").len(), 1);
}

#[test]
fn patterns_match_wherever_they_stand() {
    let case = Term::pattern("case", EntityKind::MedicalId, r"CASE-\d{6}", true).expect("compiles");
    let d = detector(vec![case]);
    assert_eq!(covered(&d, "see case-123456, not CASE-1234567")[0].1, "case-123456");
    assert_eq!(covered(&d, "see case-123456, not CASE-1234567").len(), 1);
    // At every place around the window's edge.
    for pad in (6_900..8_300).step_by(7) {
        let text = format!("{} CASE-654321 end", "x".repeat(pad));
        assert_eq!(covered(&d, &text).len(), 1, "{pad}");
    }
    let many = "CASE-111111 ".repeat(5_000);
    assert_eq!(covered(&d, &many).len(), 5_000);
}

#[test]
fn overlapping_terms_and_other_findings_all_stand() {
    let mail = Term::any("partner", EntityKind::Email, ["ceo@acme.example"]).expect("valid");
    let d = detector(vec![any("a", &["Project Orion"]), any("b", &["Orion Phase 2", "Orion"]), mail]);
    let names: Vec<String> =
        covered(&d, "on Project Orion Phase 2 today").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b"]);
    let scan = d.scan("write to ceo@acme.example");
    let sources: Vec<_> =
        scan.findings.iter().filter(|f| f.kind == EntityKind::Email).map(|f| f.source).collect();
    assert!(
        sources.contains(&FindingSource::User) && sources.contains(&FindingSource::Pattern),
        "{sources:?}"
    );
}

#[test]
fn nothing_hides_a_term() {
    let case = Term::pattern("case", EntityKind::OtherId, r"CASE-\d{6}", true).expect("compiles");
    let d = detector(vec![any("codename", &["Blue Heron"]), case]);
    for text in [
        "Ｂｌｕｅ Ｈｅｒｏｎ",
        "Bl\u{200b}ue He\u{ad}ron",
        "Вlue Неron",
        "Blue\u{a0}Heron",
        "Blue%20Heron",
        "Blue&#32;Heron",
        "\\u0042lue Heron",
        "𝐁𝐥𝐮𝐞 𝐇𝐞𝐫𝐨𝐧",
        "{\"a\":\"Qmx1ZSBIZXJvbiBpcyB0aGUgbmFtZQ==\"}",
        "426c7565204865726f6e206973206f7572206e616d65",
        "ＣＡＳＥ－１２３４５６",
    ] {
        assert_eq!(covered(&d, text).len(), 1, "{text}");
    }
}
