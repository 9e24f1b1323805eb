//! How fast the detector reads: prose, program text and short records, texts that are made to be slow, and a
//! conversation that it has seen before.
//!
//! Everything is measured in one run, because only ratios say something on a shared machine: the last column is the
//! time per byte against that of prose. Time is that of the process's own thread where it is the only one.
#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use router_model::sensitivity::{Detector, DetectorConfig};
use router_model::{Classifier, ClassifierConfig, Prompt};

const MEGABYTE: usize = 1_000_000;
const PROSE: &str = "The service retries a failed call at most three times and records each attempt with what it cost. \
    When the second replica answers later than the first, readers see the older value until the next round begins. ";
const CODE: &str = "    let total: u64 = items.iter().map(|item| item.price * item.count).sum();\n    if total > limit { return Err(Error::TooMuch { total, limit }); }\n    self.cache.insert(key.clone(), Entry { total, at: now() });\n";
const RECORD: &str = "{\"id\": 48213, \"name\": \"Maria Lopez\", \"email\": \"maria.lopez@example.org\", \"phone\": \"+34 612 345 678\", \"note\": \"called twice\"}\n";

/// Texts that exercise one recogniser in every byte.
const PATTERNS: &[(&str, &str)] = &[
    ("one letter", "a"),
    ("digits", "1234567890"),
    ("digits with spaces", "4 1 1 1 "),
    ("digit groups", "4111 1111 "),
    ("digits with dots", "1.2.3.4."),
    ("dashes", "1-2-3-"),
    ("at signs", "a@"),
    ("at signs and dots", "a@b.c."),
    ("colons", "a:b:"),
    ("slashes", "http://"),
    ("closing brackets in a URL", "http://a))))))))))))))))))))))))))))))))))))))))))))"),
    ("quotes", "\"'"),
    ("quoted assignments", "password=\""),
    ("assignments", "password="),
    ("names of secrets", "password secret token key "),
    ("calls", "login("),
    ("nested calls", "credentials(((("),
    ("base64", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo"),
    ("hexadecimal", "4a6f686e20446f65"),
    ("spaced hexadecimal", "4a 6f "),
    ("wrapped base64", "QUJDREVGR0hJSktMTU5P\n"),
    ("percent", "%41%25"),
    ("references", "&#65;&#"),
    ("escapes", "\\u0041\\"),
    ("backslashes", "\\"),
    ("equals signs", "=41="),
    ("number words", "one two "),
    ("number words without end", "oneone"),
    ("combining marks", "e\u{301}\u{302}"),
    ("zero width", "a\u{200b}"),
    ("joined emoji", "\u{1f468}\u{200d}\u{1f469}\u{200d}"),
    ("look-alike letters", "аa"),
    ("full width", "１２３４"),
    ("capitals", "A B C "),
    ("capitalised words", "Main Street "),
    ("street words", "calle rua via "),
    ("numbers and streets", "12 Main "),
    ("months", "5 May 2012 "),
    ("table", "a,b,c\n"),
    ("header rows", "name,ssn\n"),
    ("empty lines", "\n"),
    ("dots", "."),
    ("dots and letters", "a."),
    ("key headers", "-----BEGIN RSA PRIVATE KEY-----"),
    ("token headers", "eyJhbGciOiJIUzI1NiJ9."),
    ("vendor prefixes", "sk-ghp_AKIA"),
    ("bearer", "Authorization: Bearer "),
    ("cookies", "Cookie: a=b; "),
    ("accounts", "account number "),
    ("user names", "login user "),
    ("manifests", "kind: Secret\ndata:\n  a: b\n"),
    ("braces", "{\"a\":"),
    ("Han", "北京市朝阳区"),
    ("Cyrillic", "ул. Ленина "),
    ("grouped tokens", "1a2b-3c4d-"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let detector = Detector::new(DetectorConfig::default())?;
    println!("{:28} {:9.0} ms", "building the detector", start.elapsed().as_secs_f64() * 1e3);
    let prose = per_byte(&detector, &repeat(PROSE, MEGABYTE));
    println!("{:28} {:9.1} MB/s", "prose", 1e3 / prose);
    for (name, text) in [("program text", CODE), ("records in JSON lines", RECORD)] {
        let cost = per_byte(&detector, &repeat(text, MEGABYTE));
        println!("{name:28} {:9.1} MB/s  {:5.1}", 1e3 / cost, cost / prose);
    }
    records(&detector);
    let mut slowest = (0.0, "");
    for (name, pattern) in PATTERNS {
        let cost = per_byte(&detector, &repeat(pattern, MEGABYTE));
        println!("{name:28} {:9.1} MB/s  {:5.1}", 1e3 / cost, cost / prose);
        if cost / prose > slowest.0 {
            slowest = (cost / prose, name);
        }
    }
    println!("slowest: {} at {:.1} times the time of prose", slowest.1, slowest.0);
    memory()
}

fn repeat(text: &str, bytes: usize) -> String {
    text.repeat(bytes / text.len() + 1)
}

/// Nanoseconds per byte, the best of several runs.
fn per_byte(detector: &Detector, text: &str) -> f64 {
    let once = || {
        let start = Instant::now();
        black_box(detector.scan(black_box(text)));
        start.elapsed()
    };
    let best = (0..3).map(|_| once()).min().unwrap_or(Duration::MAX);
    best.as_nanos() as f64 / text.len() as f64
}

/// Documents per second of short records, each with its own text.
fn records(detector: &Detector) {
    let texts: Vec<String> = (0..20_000).map(|i| RECORD.replace("48213", &i.to_string())).collect();
    let start = Instant::now();
    for text in &texts {
        black_box(detector.scan(text));
    }
    println!("{:28} {:9.0} /s", "short records", texts.len() as f64 / start.elapsed().as_secs_f64());
}

/// What a conversation costs the first time, and when it is sent again with nothing changed.
fn memory() -> Result<(), Box<dyn std::error::Error>> {
    let classifier = Classifier::new(ClassifierConfig::default())?;
    let text = repeat(PROSE, 32 * 1024);
    let prompt = Prompt::from_text(&text);
    let timed = || {
        let start = Instant::now();
        black_box(classifier.classify(&prompt));
        start.elapsed().as_secs_f64() * 1e6
    };
    let first = timed();
    let mut again: Vec<f64> = (0..200).map(|_| timed()).collect();
    again.sort_by(f64::total_cmp);
    println!(
        "32 KiB conversation, whole classification: first {first:.0} us, again p50 {:.1} us",
        again[again.len() / 2]
    );
    Ok(())
}
