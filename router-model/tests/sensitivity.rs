//! Properties that hold for every text.

use proptest::prelude::*;
use router_model::sensitivity::{Detector, DetectorConfig, LocalFinding};
use std::sync::LazyLock;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new(DetectorConfig::default()).unwrap());

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
        Just("password=".to_owned()), Just("\"token\": \"".to_owned()), Just("Name: ".to_owned()), Just("né le ".to_owned()),
        Just("calle ".to_owned()), Just("rue de ".to_owned()), Just("ñ".to_owned()), Just("\u{200b}".to_owned()), Just("\u{202e}".to_owned()),
        Just("😀".to_owned()), Just("@".to_owned()), Just("://".to_owned()), Just("www.".to_owned()), Just("%C3%A9".to_owned()), Just("&#x40;".to_owned()),
        Just("\\u00e9".to_owned()), Just("eyJ".to_owned()), Just("-----BEGIN PRIVATE KEY-----".to_owned()), Just(" años".to_owned()), Just("PO Box ".to_owned()),
        Just("NHC: ".to_owned()), Just("DNI ".to_owned()), Just("plate ".to_owned()), Just("BIC: ".to_owned()), Just("IBAN ".to_owned()), Just("user: ".to_owned()),
        Just("Dr. ".to_owned()), Just("Regards, ".to_owned()), Just("APO AE ".to_owned()), Just("ул. ".to_owned()), Just("é".to_owned()), Just("\n".to_owned()), Just(",".to_owned()),
        Just("name,ssn,phone\n".to_owned()), Just(" at ".to_owned()), Just(" dot ".to_owned()), Just(" | ".to_owned()), Just("４".to_owned()), Just("straße ".to_owned()),
        "[0-9]{1,20}", "[A-Z]{1,4}", "[a-z]{1,9}", "[ .:/()+-]{1,3}", "[A-Fa-f0-9:.-]{1,40}", "\\PC{1,4}", "[A-Za-z0-9+/]{20,60}={0,2}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_scanned(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_row_of_pieces_is_scanned(pieces in prop::collection::vec(piece(), 0..40)) {
        check(&pieces.concat());
    }
}
