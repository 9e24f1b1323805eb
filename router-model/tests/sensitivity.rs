//! Properties that hold for every text.

use policies::EntityKind;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use router_model::sensitivity::{Detector, DetectorConfig, LocalFinding};
use std::sync::LazyLock;

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(DetectorConfig::default()).expect("built-in patterns compile"));

/// Enough to reach the rare paths in about a second with an optimised build.
const CASES: u32 = 500;

fn check(text: &str) {
    let scan = DETECTOR.scan(text);
    assert!(!scan.doubt.contains(&policies::Doubt::DetectorError), "a recogniser failed on {text:?}");
    let chars = text.chars().count();
    let mut last: Option<&LocalFinding> = None;
    for f in &scan.findings {
        assert!(f.start < f.end && f.end <= chars, "{f:?} out of range of {chars}");
        assert!((0.0..=1.0).contains(&f.score));
        assert!(last.is_none_or(|l| l.start <= f.start), "not sorted");
        last = Some(f);
    }
    for (i, a) in scan.findings.iter().enumerate() {
        for b in scan.findings[i + 1..].iter().take_while(|b| b.start < a.end) {
            assert_ne!(a.kind, b.kind, "{a:?} overlaps {b:?}");
        }
    }
}

/// Pieces that recognisers look for, so that random rows of them reach deep into the code.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("password=".to_owned()),
        Just("\"token\": \"".to_owned()),
        Just("Name: ".to_owned()),
        Just("né le ".to_owned()),
        Just("calle ".to_owned()),
        Just("rue de ".to_owned()),
        Just("ñ".to_owned()),
        Just("\u{200b}".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("😀".to_owned()),
        Just("@".to_owned()),
        Just("://".to_owned()),
        Just("www.".to_owned()),
        Just("%C3%A9".to_owned()),
        Just("&#x40;".to_owned()),
        Just("\\u00e9".to_owned()),
        Just("eyJ".to_owned()),
        Just("-----BEGIN PRIVATE KEY-----".to_owned()),
        Just(" años".to_owned()),
        Just("PO Box ".to_owned()),
        Just("NHC: ".to_owned()),
        Just("DNI ".to_owned()),
        Just("plate ".to_owned()),
        Just("BIC: ".to_owned()),
        Just("IBAN ".to_owned()),
        Just("user: ".to_owned()),
        Just("Dr. ".to_owned()),
        Just("Regards, ".to_owned()),
        Just("APO AE ".to_owned()),
        Just("ул. ".to_owned()),
        Just("é".to_owned()),
        Just("\n".to_owned()),
        Just(",".to_owned()),
        Just("name,ssn,phone\n".to_owned()),
        Just(" at ".to_owned()),
        Just(" dot ".to_owned()),
        Just(" | ".to_owned()),
        Just("４".to_owned()),
        Just("straße ".to_owned()),
        "[0-9]{1,20}",
        "[A-Z]{1,4}",
        "[a-z]{1,9}",
        "[ .:/()+-]{1,3}",
        "[A-Fa-f0-9:.-]{1,40}",
        "\\PC{1,4}",
        "[A-Za-z0-9+/]{20,60}={0,2}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_scanned(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_row_of_pieces_is_scanned(pieces in prop::collection::vec(piece(), 0..40)) {
        check(&pieces.concat());
    }

    #[test]
    fn any_long_line_is_scanned(pieces in prop::collection::vec(piece(), 1..12), pad in 0_usize..5) {
        let row = pieces.concat().replace('\n', " ");
        let times = 9000 / row.len().max(1);
        check(&format!("{}{}", "é".repeat(pad), row.repeat(times.min(400))));
    }

    #[test]
    fn every_valid_card_is_found(prefix in prop::sample::select(vec!["4", "51", "55", "2221", "6011", "3528"]), body in "[0-9]{15}", form in 0_usize..4, before in context(), after in context()) {
        let digits = with_luhn(&format!("{prefix}{body}")[..15]);
        prop_assume!(digits.bytes().any(|b| b != digits.as_bytes()[0]));
        found(&before, &group(&digits, form), &after, EntityKind::CreditCard)?;
    }

    #[test]
    fn every_valid_iban_is_found(country in prop::sample::select(vec![("DE", 22), ("GB", 22), ("FR", 27), ("NL", 18), ("NO", 15), ("PL", 28)]), body in "[0-9]{30}", form in 0_usize..3, before in context(), after in context()) {
        let iban = with_mod97(country.0, &body[..country.1 - 4]);
        found(&before, &group(&iban, form), &after, EntityKind::Iban)?;
    }

    #[test]
    fn every_valid_ssn_is_found(area in 1_u32..899, pair in 1_u32..100, serial in 1_u32..10_000, before in context(), after in context()) {
        prop_assume!(area != 666);
        found(&before, &format!("{area:03}-{pair:02}-{serial:04}"), &after, EntityKind::UsSsn)?;
    }
}

#[test]
fn what_layers_unfold_to_is_bounded() {
    let bounded = |decoded_bytes_max| {
        Detector::new(DetectorConfig { decoded_bytes_max, ..DetectorConfig::default() }).expect("valid")
    };
    let plain = "card 4111111111111111";
    let hex: String = plain.bytes().map(|b| format!("{b:02x}")).collect();
    let percent: String = plain.bytes().map(|b| format!("%{b:02x}")).collect();
    let hex = format!("{hex} ").repeat(200);
    for text in [&hex, &percent] {
        let full = bounded(4 << 20).scan(text);
        assert!(!full.findings.is_empty() && full.doubt.is_empty(), "{full:?}");
        let cut = bounded(10).scan(text);
        assert!(cut.findings.is_empty(), "{cut:?}");
        assert_eq!(cut.doubt, [policies::Doubt::EncodedTooDeep]);
    }
    // The budget is one for the whole text: a part of the layers is read, the rest is a doubt.
    let part = bounded(21 * 50).scan(&hex);
    assert_eq!(part.findings.len(), 50);
    assert_eq!(part.doubt, [policies::Doubt::EncodedTooDeep]);
}

#[test]
fn findings_grow_with_the_text_and_no_faster() {
    for piece in
        ["a@b.co ", "4111111111111111 ", "password=Tr0ub4dor&3 ", "four one 1 1 ", "%41%42", "1.2.3.4."]
    {
        let count = |times: usize| DETECTOR.scan(&piece.repeat(times)).findings.len();
        let (some, many) = (count(500), count(5_000));
        assert!(many <= 10 * some.max(1) + 500, "{piece:?}: {some} in 500, {many} in 5,000");
    }
}

/// Words around a value: no digits, no context words, but every width of character.
fn context() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["lorem", "čaj", "日本", "😀", "naïve", "и", "ok", "\u{200b}x", "…"]),
        0..6,
    )
    .prop_map(|w| w.join(" "))
}

fn group(digits: &str, form: usize) -> String {
    let sep = ["", " ", "-", "."][form];
    if sep.is_empty() {
        return digits.to_owned();
    }
    let chars: Vec<char> = digits.chars().collect();
    chars.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join(sep)
}

fn with_luhn(body: &str) -> String {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let d = u32::from(b - b'0');
            if i % 2 == 1 {
                d
            } else if d > 4 {
                d * 2 - 9
            } else {
                d * 2
            }
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn with_mod97(country: &str, body: &str) -> String {
    let rest = |text: &str| {
        text.bytes().fold(0_u32, |r, c| {
            if c.is_ascii_digit() {
                (r * 10 + u32::from(c - b'0')) % 97
            } else {
                (r * 100 + u32::from(c - b'A') + 10) % 97
            }
        })
    };
    format!("{country}{:02}{body}", 98 - rest(&format!("{body}{country}00")))
}

/// The value stands between the contexts at the offsets that the detector reports.
fn found(before: &str, value: &str, after: &str, kind: EntityKind) -> Result<(), TestCaseError> {
    let text = format!("{before} {value} {after}");
    let start = before.chars().count() + 1;
    let end = start + value.chars().count();
    let scan = DETECTOR.scan(&text);
    let hit = scan.findings.iter().any(|f| f.kind == kind && f.start == start && f.end == end);
    prop_assert!(hit, "{kind} {value} not at {start}..{end} of {text:?}: {:?}", scan.findings);
    Ok(())
}
