//! Credentials, placeholders, and values hidden by encodings. Keys are put together at run time, so that scanners
//! of source hosts do not take them for real ones.

use std::sync::LazyLock;

use policies::Doubt;
use policies::EntityKind::{self, *};
use router_model::sensitivity::{Detector, DetectorConfig};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(DetectorConfig::default()).expect("built-in patterns compile"));

const MIXED: &str = "a8Kd03Lm29Qx71Zp46Wn58Rt3Vb6Yc9Ue2Hs5Jf7Ga1Do4Ti0XqBzNvMwEyPl83rT6uK9";
const HEX: &str = "3f9a0c7e52b81d46e0a97c35f2148b6d9e03ac5817f4d2b60a9c7e53f18b2d46";

fn kinds(text: &str) -> Vec<(EntityKind, String)> {
    let chars: Vec<char> = text.chars().collect();
    DETECTOR.scan(text).findings.iter().map(|f| (f.kind, chars[f.start..f.end].iter().collect())).collect()
}

fn secret(text: &str, value: &str) {
    let found = kinds(text);
    assert!(found.iter().any(|(k, v)| *k == Secret && v == value), "{value:?} in {text:?}: {found:?}");
}

fn no_secret(text: &str) {
    let found = kinds(text);
    assert!(!found.iter().any(|(k, _)| *k == Secret), "{text:?}: {found:?}");
}

#[test]
fn vendor_prefixes() {
    for (prefix, body) in [
        ("ghp", format!("_{}", &MIXED[..36])),
        ("glpat", format!("-{}", &MIXED[..20])),
        ("sk_li", format!("ve_{}", &MIXED[..24])),
        ("xo", format!("xb-123456789012-{}", &MIXED[..24])),
        ("AKI", "A7QX3LMN8RT5VB2YC".to_owned()),
        ("AIz", format!("a{}", &MIXED[..35])),
        ("npm", format!("_{}", &MIXED[..36])),
        ("hf", format!("_{}", &MIXED[..34])),
        ("dop_v1", format!("_{HEX}")),
        ("sk-an", format!("t-api03-{}", &MIXED[..60])),
        ("SG", format!(".{}.{}", &MIXED[..22], &MIXED[20..63])),
        ("shpat", format!("_{}", &HEX[..32])),
        ("hvs", format!(".{}", &MIXED[..24])),
        ("dapi", HEX[..32].to_owned()),
    ] {
        let key = format!("{prefix}{body}");
        secret(&format!("use {key} here"), &key);
        secret(&format!("x=\"{key}\";"), &key);
    }
}

#[test]
fn structures() {
    let jwt = format!(
        "{}.{}.{}",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        &MIXED[..43]
    );
    secret(&format!("AUTH={jwt}"), &jwt);
    let pem = format!("-----BEGIN {} KEY-----\n{MIXED}\n{MIXED}\n-----END {} KEY-----", "PRIVATE", "PRIVATE");
    secret(&format!("key:\n{pem}\n"), &pem);
    secret("postgres://jo:Blue%21934@db.internal/x", "Blue%21934");
    secret("mongodb+srv://jo:While!1239@cluster0.mongodb.net/prod", "While!1239");
    no_secret("postgres://user:password@localhost/db");
    no_secret("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----");
}

#[test]
fn assignments() {
    secret("password = Religious#6278", "Religious#6278");
    secret("{\"password\": \"feke-oykumbaf9\"}", "feke-oykumbaf9");
    secret("DB_PASS=Role#4800", "Role#4800");
    secret("  trust_store_password: dkwpyklp\n", "dkwpyklp");
    secret("login --password Tr0ub4dor&3", "Tr0ub4dor&3");
    secret("the wifi password is L8Qxym6xJ^Pd and", "L8Qxym6xJ^Pd");
    secret("admin login is xwhite / saveSince86!, put", "saveSince86!");
    let bearer = &MIXED[..40];
    secret(&format!("Authorization: Bearer {bearer}"), bearer);
    secret(&format!("datadog_api_key={}", &HEX[..32]), &HEX[..32]);
}

#[test]
fn placeholders_references_and_code() {
    for text in [
        "password = changeme",
        "password: ${DB_PASSWORD}",
        "token: <your-token>",
        "apiKey = \"YOUR_API_KEY\"",
        "secret = null",
        "password = os.environ['PASSWORD']",
        "const password = process.env.PASS;",
        "password: string;",
        "String password = getPassword();",
        "if password is incorrect then retry",
        "the token is invalid",
        "passwordField.setText(value)",
        "password_hash = compute(x)",
        "api_key: xxxxxxxxxxxxxxxxxxxx",
        "token_type: bearer",
        "password = \"********\"",
        "def login(user, password):",
    ] {
        no_secret(text);
    }
}

#[test]
fn hashes_are_not_secrets() {
    no_secret(&format!("sha256:{HEX}"));
    no_secret(&format!("commit {}", &HEX[..40]));
    no_secret(
        "\"integrity\": \"sha512-Wz6oUt8u2DHSFO+WtjAEwCXAuX5YLY1dFBsLcePUTIHccD61EtZDdUfQ55IaSVc5bzXxyasJwrm/IgOktDkKES==\"",
    );
    no_secret("id 123e4567-e89b-12d3-a456-426614174000");
    no_secret(&format!("checksum = \"{HEX}\""));
}

#[test]
fn hidden_values() {
    let card = "4111111111111111";
    let wide: String = card.chars().filter_map(|c| char::from_u32(c as u32 + 0xFEE0)).collect();
    let cases: &[(EntityKind, &str, &str)] = &[
        (CreditCard, &wide, &wide),
        (CreditCard, "4111\u{200b}1111\u{200b}1111\u{200b}1111", "4111\u{200b}1111\u{200b}1111\u{200b}1111"),
        (UsSsn, "ssn 219–09–9998", "219–09–9998"),
        (Email, "jo＠example.de", "jo＠example.de"),
        (Email, "write jo%40example%2Ede now", "jo%40example%2Ede"),
        (Email, "jo&#64;example.de", "jo&#64;example.de"),
        (Email, "jo\\u0040example.de", "jo\\u0040example.de"),
        (Email, "jo\\\\u0040example.de", "jo\\\\u0040example.de"),
        (Encoded, "decode: 6a6f2e646f65406578616d706c652e636f6d", "6a6f2e646f65406578616d706c652e636f6d"),
        (Encoded, "decode: eyJzc24iOiAiMjE5LTA5LTk5OTgifQ==", "eyJzc24iOiAiMjE5LTA5LTk5OTgifQ=="),
    ];
    for (kind, text, value) in cases {
        let found = kinds(text);
        assert!(
            found.iter().any(|(k, v)| k == kind && v == value),
            "{kind} {value:?} in {text:?}: {found:?}"
        );
    }
    let token = format!("ghp_{}\\\n{}", &MIXED[..16], &MIXED[16..36]);
    secret(&format!("use {token} ok"), &token);
}

fn base64(text: &str) -> String {
    const A: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes()
        .chunks(3)
        .flat_map(|c| {
            let n = c.iter().fold(0_u32, |a, b| a << 8 | u32::from(*b)) << (8 * (3 - c.len()));
            (0..4).map(
                move |i| if i <= c.len() { char::from(A[(n >> (18 - 6 * i) & 63) as usize]) } else { '=' },
            )
        })
        .collect()
}

#[test]
fn nested_layers_end_in_doubt() {
    let once = base64("my ssn is 219-09-9998 ok");
    assert!(kinds(&once).iter().any(|(k, _)| *k == Encoded));
    let twice = base64(&once);
    assert!(kinds(&twice).iter().any(|(k, _)| *k == Encoded));
    let scan = DETECTOR.scan(&base64(&twice));
    assert!(scan.doubt.contains(&Doubt::EncodedTooDeep));
}

#[test]
fn every_form_of_a_credential_is_found() {
    let lines = include_str!("data/secret_forms.txt").lines().filter(|l| !l.starts_with('#'));
    for line in lines {
        let line = line.replace("\\n", "\n");
        let text: String = line.chars().filter(|c| !matches!(c, '«' | '»')).collect();
        let values = line.split('«').skip(1).filter_map(|part| part.split('»').next());
        for value in values {
            let found = kinds(&text);
            let covers = |(k, v): &(EntityKind, String)| *k == Secret && v.contains(value);
            assert!(found.iter().any(covers), "{value:?} in {text:?}: {found:?}");
        }
    }
}

#[test]
fn what_only_looks_like_a_credential_is_left_alone() {
    for line in include_str!("data/secret_look_alikes.txt").lines().filter(|l| !l.starts_with('#')) {
        no_secret(&line.replace("\\n", "\n"));
    }
}

#[test]
fn key_files() {
    let body = "MIIEowIBAAKCAQEA3Tz2mr7SZiAMfQyuvBjM9OiZ1BjP5CEWm".repeat(3);
    for kind in ["RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let text = format!("-----BEGIN {kind}-----\n\n{body}\n-----END {kind}-----\n");
        assert!(kinds(&text).iter().any(|(k, v)| *k == Secret && v.contains(&body)), "{kind}");
    }
    let putty = format!(
        "PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 2\n{body}\nPrivate-MAC: ab12\n"
    );
    assert!(kinds(&putty).iter().any(|(k, v)| *k == Secret && v.contains(&body)));
}
