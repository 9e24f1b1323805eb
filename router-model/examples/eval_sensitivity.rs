//! Scores the detector on labelled records: `{text, source, spans: [{start, end, type}], annotated, hard_negative?}`.
//!
//! Reads JSON lines from the paths given, or from standard input. A span is found when a finding of its kind shares
//! a character with it. A kind that is not in `annotated` is unknown in that record: its findings count for
//! nothing. A document leaks when a span of a direct identifier is covered to less than 90 % by findings of any kind.
//! `--misses KIND` and `--false KIND` print examples.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::time::Instant;

use router_model::sensitivity::{Detector, DetectorConfig, LocalFinding};
use serde_json::Value;

const SOFT: &[&str] = &["ORG", "LOCATION", "DATE", "NRP", "URL", "AGE", "GENDER", "PROFESSION", "FAMILY"];
/// Direct identifiers that need the token-classification model.
const MODEL: &[&str] = &["PERSON"];

#[derive(Default, Clone)]
struct Count {
    hit: usize,
    missed: usize,
    right: usize,
    wrong: usize,
}

/// Records, and by topic how many score at least one half, and the sum of scores.
type TopicTally = (usize, BTreeMap<&'static str, (usize, f32)>);

#[derive(Default)]
struct Leaks {
    docs: usize,
    all: usize,
    supported_docs: usize,
    supported: usize,
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        let i = args.iter().position(|a| a == name)?;
        args.remove(i);
        (i < args.len()).then(|| args.remove(i))
    };
    let (show_missed, show_wrong, only) = (option("--misses"), option("--false"), option("--source"));
    let detector = Detector::new(DetectorConfig::default()).unwrap();
    let readers: Vec<Box<dyn BufRead>> = if args.is_empty() {
        vec![Box::new(BufReader::new(std::io::stdin()))]
    } else {
        args.iter()
            .map(|p| Box::new(BufReader::new(std::fs::File::open(p).unwrap())) as Box<dyn BufRead>)
            .collect()
    };
    let mut counts: BTreeMap<(String, String), Count> = BTreeMap::new();
    let mut leaks: BTreeMap<String, Leaks> = BTreeMap::new();
    let mut topics: BTreeMap<String, TopicTally> = BTreeMap::new();
    let (mut negatives, mut flagged) = (0, BTreeMap::<String, usize>::new());
    let (mut bytes, mut seconds, mut docs, mut flagged_docs) = (0, 0.0, 0, 0);
    for line in readers.into_iter().flat_map(BufRead::lines) {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = record["text"].as_str().unwrap_or("");
        let source = record["source"].as_str().unwrap_or("?").to_owned();
        if only.as_ref().is_some_and(|o| *o != source) {
            continue;
        }
        let start = Instant::now();
        let scan = detector.scan(text);
        seconds += start.elapsed().as_secs_f64();
        bytes += text.len();
        docs += 1;
        let tally = topics.entry(source.clone()).or_default();
        tally.0 += 1;
        for (topic, score) in &scan.topics {
            let t = tally.1.entry(topic.as_str()).or_default();
            t.0 += usize::from(*score >= 0.5);
            t.1 += score;
        }
        let chars: Vec<char> = text.chars().collect();
        let cut = |s: usize, e: usize| {
            let from = s.saturating_sub(25);
            chars[from..(e + 15).min(chars.len())].iter().collect::<String>().replace('\n', "\\n")
        };
        if !matches!(record["hard_negative"], Value::Null | Value::Bool(false)) {
            negatives += 1;
            flagged_docs += usize::from(!scan.findings.is_empty());
            for f in &scan.findings {
                *flagged.entry(f.kind.to_string()).or_default() += 1;
                if show_wrong.as_deref() == Some("negatives") {
                    println!(
                        "NEG {} {:?} [{}] {}",
                        f.kind,
                        f.subtype,
                        chars[f.start..f.end].iter().collect::<String>(),
                        cut(f.start, f.end)
                    );
                }
            }
        }
        let annotated: Vec<&str> = record["annotated"]
            .as_array()
            .map(|a| a.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let spans: Vec<(usize, usize, &str)> = record["spans"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|s| {
                (
                    s["start"].as_u64().unwrap() as usize,
                    s["end"].as_u64().unwrap() as usize,
                    s["type"].as_str().unwrap(),
                )
            })
            .collect();
        let overlaps = |f: &LocalFinding, s: &(usize, usize, &str)| {
            f.start < s.1 && s.0 < f.end && f.kind.as_str() == s.2
        };
        for s in &spans {
            let c = counts.entry((source.clone(), s.2.to_owned())).or_default();
            if scan.findings.iter().any(|f| overlaps(f, s)) {
                c.hit += 1;
            } else {
                c.missed += 1;
                if show_missed.as_deref() == Some(s.2) {
                    println!(
                        "MISS [{}] {}",
                        chars[s.0..s.1].iter().collect::<String>().replace('\n', "\\n"),
                        cut(s.0, s.1)
                    );
                }
            }
        }
        for f in scan.findings.iter().filter(|f| annotated.contains(&f.kind.as_str())) {
            let c = counts.entry((source.clone(), f.kind.to_string())).or_default();
            if spans.iter().any(|s| overlaps(f, s)) {
                c.right += 1;
            } else {
                c.wrong += 1;
                if show_wrong.as_deref() == Some(f.kind.as_str()) {
                    println!(
                        "FALSE {:?} {:.2} [{}] {}",
                        f.subtype,
                        f.score,
                        chars[f.start..f.end].iter().collect::<String>().replace('\n', "\\n"),
                        cut(f.start, f.end)
                    );
                }
            }
        }
        leak(&spans, &scan.findings, leaks.entry(source).or_default());
    }
    report(&counts, &leaks);
    for (source, (n, of)) in &topics {
        let list: Vec<String> = of
            .iter()
            .map(|(t, (k, sum))| format!("{t} {:.2}/{:.2}", *k as f64 / *n as f64, *sum as f64 / *n as f64))
            .collect();
        println!("topics {source} ({n}; share >= 0.5 / mean): {}", list.join(", "));
    }
    println!("look-alikes: {flagged_docs} of {negatives} records flagged {flagged:?}");
    println!(
        "{docs} records, {:.2} MB/s, {:.0} records/s",
        bytes as f64 / 1e6 / seconds,
        docs as f64 / seconds
    );
}

fn leak(spans: &[(usize, usize, &str)], findings: &[LocalFinding], out: &mut Leaks) {
    let leaks = |s: &&(usize, usize, &str)| {
        let covered = (s.0..s.1).filter(|i| findings.iter().any(|f| f.start <= *i && *i < f.end)).count();
        covered * 10 < (s.1 - s.0) * 9
    };
    let direct = || spans.iter().filter(|s| !SOFT.contains(&s.2));
    let supported = || direct().filter(|s| !MODEL.contains(&s.2));
    out.docs += usize::from(direct().count() > 0);
    out.all += usize::from(direct().any(|s| leaks(&s)));
    out.supported_docs += usize::from(supported().count() > 0);
    out.supported += usize::from(supported().any(|s| leaks(&s)));
}

fn row(name: &str, c: &Count) {
    let p = c.right as f64 / (c.right + c.wrong).max(1) as f64;
    let r = c.hit as f64 / (c.hit + c.missed).max(1) as f64;
    let f = |b: f64| if p + r > 0.0 { (1.0 + b * b) * p * r / (b * b * p + r) } else { 0.0 };
    println!(
        "  {name:16} n {:5}  P {p:.3}  R {r:.3}  F1 {:.3}  F2 {:.3}  false {}",
        c.hit + c.missed,
        f(1.0),
        f(2.0),
        c.wrong
    );
}

fn report(counts: &BTreeMap<(String, String), Count>, leaks: &BTreeMap<String, Leaks>) {
    let mut source = "";
    for ((s, kind), c) in counts {
        if s != source {
            let l = &leaks[s];
            println!(
                "{s}: documents leaking {}/{} direct, {}/{} without names",
                l.all, l.docs, l.supported, l.supported_docs
            );
            let all = counts.iter().filter(|((x, _), _)| x == s).fold(Count::default(), |a, (_, c)| Count {
                hit: a.hit + c.hit,
                missed: a.missed + c.missed,
                right: a.right + c.right,
                wrong: a.wrong + c.wrong,
            });
            row("(all)", &all);
            source = s;
        }
        row(kind, c);
    }
}
