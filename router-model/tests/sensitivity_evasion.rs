//! Every kind of identifier with a check digit and several secrets, behind every layer that hides text: each is
//! found, and the finding covers what was hidden in the original.
#![allow(clippy::expect_used, reason = "a test")]

use std::sync::LazyLock;

use policies::EntityKind::{self, *};
use router_model::sensitivity::{Detector, DetectorConfig};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(DetectorConfig::default()).expect("built-in patterns compile"));

/// Kind, words before, value. Keys are put together, so that scanners do not take them for real ones.
fn values() -> Vec<(EntityKind, &'static str, String)> {
    let v = |kind, cue, value: &str| (kind, cue, value.to_owned());
    vec![
        v(CreditCard, "card ", "4111111111111111"),
        v(CreditCard, "card ", "5500 0000 0000 0004"),
        v(Iban, "IBAN ", "DE89370400440532013000"),
        v(Iban, "IBAN ", "GB82 WEST 1234 5698 7654 32"),
        v(UsSsn, "SSN ", "219-09-9998"),
        v(NationalId, "DNI ", "55597971W"),
        v(NationalId, "PESEL ", "71050147353"),
        v(NationalId, "BSN ", "457384426"),
        v(NationalId, "codice fiscale ", "RCCMNL89D18F205G"),
        v(NationalId, "Aadhaar ", "9006 3560 7873"),
        v(TaxId, "NIP ", "3897602222"),
        v(MedicalId, "NHS number ", "633 974 7035"),
        v(VehicleId, "VIN ", "1M8GDM9AXKP042788"),
        v(DeviceId, "IMEI ", "490154203237518"),
        v(RoutingNumber, "routing number ", "021000021"),
        v(CryptoWallet, "wallet ", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        v(Email, "mail ", "jo.doe@example.co.uk"),
        (Secret, "use ", format!("gh{}_a8Kd03Lm29Qx71Zp46Wn58Rt3Vb6Yc9Ue2Hs", "p")),
        (Secret, "use ", format!("AKI{}7QX3LMN8RT5VB2YC", "A")),
        (Secret, "use ", format!("glpa{}-a8Kd03Lm29Qx71Zp46Wn", "t")),
        (Secret, "use ", format!("sk_li{}_a8Kd03Lm29Qx71Zp46Wn58Rt", "ve")),
    ]
}

/// Whether something covers the characters `from..to` of `text`, as the kind itself or as an encoded layer.
fn covered(text: &str, from: usize, to: usize, kind: EntityKind) -> bool {
    let scan = DETECTOR.scan(text);
    let fits = |k: EntityKind| k == kind || k == Encoded || k == Secret;
    scan.findings.iter().any(|f| fits(f.kind) && f.start <= from && f.end >= to)
}

fn check(name: &str, hide: impl Fn(&str) -> String) {
    check_some(name, |_, _| true, hide);
}

/// Hides each value alone, and leaves its words readable.
fn check_some(name: &str, takes: impl Fn(EntityKind, &str) -> bool, hide: impl Fn(&str) -> String) {
    let mut missed = Vec::new();
    for (kind, cue, value) in values().into_iter().filter(|(kind, _, value)| takes(*kind, value)) {
        let hidden = hide(&value);
        let text = format!("Please look: {cue}{hidden} and answer.");
        let from = "Please look: ".chars().count() + cue.chars().count();
        if !covered(&text, from, from + hidden.chars().count(), kind) {
            missed.push(format!("{kind} {text:?}: {:?}", DETECTOR.scan(&text).findings));
        }
    }
    assert!(missed.is_empty(), "{name}:\n{}", missed.join("\n"));
}

/// Hides words and value together; any finding inside or over the layer will do.
fn check_whole(name: &str, hide: impl Fn(&str) -> String) {
    let mut missed = Vec::new();
    for (kind, cue, value) in values() {
        let hidden = hide(&format!("Please look: {cue}{value} and answer."));
        let text = format!("Consider this: {hidden}");
        let scan = DETECTOR.scan(&text);
        if !scan.findings.iter().any(|f| matches!(f.kind, Encoded | Secret) || f.kind == kind) {
            missed.push(format!("{kind} {text:?}: {:?}", scan.findings));
        }
    }
    assert!(missed.is_empty(), "{name}:\n{}", missed.join("\n"));
}

fn each(text: &str, of: impl Fn(char) -> String) -> String {
    text.chars().map(of).collect()
}

fn between(text: &str, with: &str) -> String {
    text.chars().map(String::from).collect::<Vec<_>>().join(with)
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

fn base64(text: &str, url: bool) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let sign = |n: u32| match (n, url) {
        (62, true) => '-',
        (63, true) => '_',
        (62, false) => '+',
        (63, false) => '/',
        _ => char::from(SIGNS[n as usize]),
    };
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(sign(n >> (18 - 6 * i) & 63));
        }
        if !url {
            out.extend(std::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    out
}

#[test]
fn full_width_and_mathematical_forms() {
    check("full width", |v| {
        each(v, |c| match c {
            '!'..='~' => char::from_u32(c as u32 + 0xFEE0).map_or_else(String::new, String::from),
            _ => c.to_string(),
        })
    });
    check("mathematical digits", |v| {
        each(v, |c| match c {
            '0'..='9' => char::from_u32(c as u32 - 0x30 + 0x1D7CE).map_or_else(String::new, String::from),
            _ => c.to_string(),
        })
    });
    check("other scripts' digits", |v| {
        each(v, |c| match c {
            '0'..='9' => char::from_u32(c as u32 - 0x30 + 0x660).map_or_else(String::new, String::from),
            _ => c.to_string(),
        })
    });
}

#[test]
fn characters_that_nobody_sees() {
    for (name, sign) in [
        ("zero width space", "\u{200b}"),
        ("zero width joiner", "\u{200d}"),
        ("soft hyphen", "\u{ad}"),
        ("word joiner", "\u{2060}"),
        ("right to left mark", "\u{200f}"),
        ("isolate", "\u{2066}\u{2069}"),
        ("variation selector", "\u{fe0f}"),
        ("tag", "\u{e0020}"),
        ("combining grapheme joiner", "\u{34f}"),
    ] {
        check(name, |v| between(v, sign));
    }
    for (kind, cue, value) in values() {
        let text = format!("{cue}\u{202d}{value}\u{202c} please");
        let from = cue.chars().count() + 1;
        assert!(covered(&text, from, from + value.chars().count(), kind), "{kind} inside an override");
    }
}

#[test]
fn look_alike_letters() {
    // A word that is not all look-alikes: "AKIA" alone may as well be Cyrillic.
    let swap = |v: &str| {
        each(v, |c| {
            let other = match c {
                'A' => 'А',
                'E' => 'Е',
                'O' => 'О',
                'P' => 'Р',
                'C' => 'С',
                'o' => 'о',
                'e' => 'е',
                'a' => 'а',
                'p' => 'р',
                'c' => 'с',
                _ => c,
            };
            other.to_string()
        })
    };
    check("Cyrillic", swap);
}

#[test]
fn digits_apart() {
    let numeric = |kind, value: &str| {
        matches!(kind, CreditCard | Iban | UsSsn | NationalId)
            && value.bytes().filter(u8::is_ascii_digit).count() * 2 > value.len()
    };
    let bare = |v: &str| v.replace([' ', '-'], "");
    check_some("spaced", numeric, |v| between(&bare(v), " "));
    check_some("no-break spaces", numeric, |v| v.replace(' ', "\u{a0}"));
    check_some("en dashes", numeric, |v| v.replace(['-', ' '], "\u{2013}"));
    check_some("dotted", numeric, |v| between(&bare(v), "."));
    check_some("dashed", numeric, |v| between(&bare(v), "-"));
}

#[test]
fn digits_in_words() {
    const WORDS: &[(&str, [&str; 10])] = &[
        ("en", ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]),
        ("de", ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]),
        ("fr", ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"]),
        ("es", ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"]),
        ("it", ["zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"]),
        ("pt", ["zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"]),
        ("nl", ["nul", "een", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen"]),
        ("pl", ["zero", "jeden", "dwa", "trzy", "cztery", "pięć", "sześć", "siedem", "osiem", "dziewięć"]),
        ("sv", ["noll", "ett", "två", "tre", "fyra", "fem", "sex", "sju", "åtta", "nio"]),
        ("ru", ["ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"]),
    ];
    for (language, words) in WORDS {
        for (kind, cue, value) in [(CreditCard, "card ", "4111111111111111"), (UsSsn, "SSN ", "219099998")] {
            for sep in [" ", "-", ", "] {
                let spelled: Vec<&str> = value.bytes().map(|b| words[usize::from(b - b'0')]).collect();
                let spelled = spelled.join(sep);
                let text = format!("{cue}{spelled}");
                let from = cue.chars().count();
                let to = from + spelled.chars().count();
                assert!(
                    covered(&text, from, to, kind),
                    "{language} {text:?}: {:?}",
                    DETECTOR.scan(&text).findings
                );
            }
        }
    }
    let mixed = "my card: four one 1 1 one one one 1 one one one one one one one 1";
    assert!(covered(mixed, 9, mixed.chars().count(), CreditCard));
    for plain in
        ["one two three four", "one of the two, or seven", "uno dos tres cuatro cinco seis siete ocho nueve"]
    {
        assert!(DETECTOR.scan(plain).findings.is_empty(), "{plain}");
    }
}

#[test]
fn spelled_out_mail() {
    for text in [
        "jane.doe at example dot com",
        "jane.doe (at) example (dot) com",
        "jane.doe [at] example [dot] com",
        "jane dot doe at example dot co dot uk",
        "jane.doe AT example DOT com",
        "jane.doe arroba example punto com",
        "jane.doe{at}example{dot}com",
        "jane.doe at example.com",
        "jane.doe @ example . com",
    ] {
        let whole = format!("write to {text}");
        assert!(
            covered(&whole, 9, whole.chars().count(), Email),
            "{whole:?}: {:?}",
            DETECTOR.scan(&whole).findings
        );
    }
}

#[test]
fn inline_encodings() {
    check("percent", |v| each(v, |c| format!("%{:02X}", c as u32)));
    check("double percent", |v| each(v, |c| format!("%25{:02X}", c as u32)));
    check("decimal references", |v| each(v, |c| format!("&#{};", c as u32)));
    check("hexadecimal references", |v| each(v, |c| format!("&#x{:x};", c as u32)));
    check("references without end", |v| each(v, |c| format!("&#{:07}", c as u32)));
    check("unicode escapes", |v| each(v, |c| format!("\\u{:04x}", c as u32)));
    check("escapes with braces", |v| each(v, |c| format!("\\u{{{:x}}}", c as u32)));
    check("byte escapes", |v| each(v, |c| format!("\\x{:02x}", c as u32)));
    check("octal escapes", |v| each(v, |c| format!("\\{:03o}", c as u32)));
    check("escaped escapes", |v| each(v, |c| format!("\\\\u{:04x}", c as u32)));
    check("quoted-printable", |v| each(v, |c| format!("={:02X}", c as u32)));
    check("references of percent", |v| each(v, |c| format!("&#37;{:02X}", c as u32)));
}

#[test]
fn encoded_layers() {
    check_whole("base64", |t| base64(t, false));
    check_whole("base64url", |t| base64(t, true));
    check_whole("hexadecimal", hex);
    check_whole("spaced hexadecimal", |t| t.bytes().map(|b| format!("{b:02X} ")).collect());
    check_whole("prefixed hexadecimal", |t| t.bytes().map(|b| format!("0x{b:02x}, ")).collect());
    check_whole("base64 twice", |t| base64(&base64(t, false), false));
    check_whole("hexadecimal of base64", |t| hex(&base64(t, false)));
    check_whole("percent of base64", |t| base64(t, false).replace('=', "%3D").replace('+', "%2B"));
    check_whole("wrapped base64", |t| {
        let coded = base64(&format!("{t} {t}"), false);
        coded.as_bytes().chunks(24).map(|c| String::from_utf8_lossy(c) + "\n").collect()
    });
    check_whole("data URL", |t| format!("data:text/plain;base64,{}", base64(t, false)));
    check_whole("base64 in quotes", |t| format!("{{\"payload\": \"{}\"}}", base64(t, false)));
}

#[test]
fn documents_in_documents() {
    for (name, before, after) in [
        ("CSV cell", "id,value,x\n1,\"", "\",3\n"),
        ("XML attribute", "<row value=\"", "\"/>"),
        ("XML text", "<value>", "</value>"),
        ("CDATA", "<![CDATA[", "]]>"),
        ("line comment", "// ", "\n"),
        ("block comment", "/* ", " */"),
        ("shell comment", "# ", "\n"),
        ("SQL", "INSERT INTO t VALUES ('", "');"),
        ("YAML", "value: \"", "\"\n"),
        ("Markdown", "**`", "`**"),
        ("tool arguments", "{\"arguments\": \"{\\\"q\\\": \\\"", "\\\"}\"}"),
        ("tab separated", "a\tb\n1\t", "\t2\n"),
    ] {
        let mut missed = Vec::new();
        for (kind, cue, value) in values() {
            let text = format!("{cue}\n{before}{value}{after}");
            let from = cue.chars().count() + 1 + before.chars().count();
            if !covered(&text, from, from + value.chars().count(), kind) {
                missed.push(format!("{kind} {text:?}: {:?}", DETECTOR.scan(&text).findings));
            }
        }
        assert!(missed.is_empty(), "{name}:\n{}", missed.join("\n"));
    }
}
