//! The gateway's own time before execution: parse, classify, decide. No network, no model, no upstream.
//!
//! `cargo bench -p sluicegate --bench decision` prints p50 and p99 in microseconds for bodies of 1, 32 and
//! 512 KB, for text that was never seen and for a conversation that is sent again (findings are memoised), and
//! the ratio to reading the JSON alone.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, reason = "a bench has nobody to tell")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use gateway::config::{Config, Overrides};
use gateway::http::chat::ChatRequest;
use gateway::http::inbound::Inbound;
use gateway::identity::Identity;
use gateway::pipeline::decide;
use gateway::portfolio::Portfolio;
use hyper::HeaderMap;
use router_model::{Classifier, ClassifierConfig};

const ROUNDS: usize = 300;
const SENTENCE: &str =
    "The quarterly review covers shipping, returns and the new packing line; totals follow below. ";

fn body(kilobytes: usize, salt: usize) -> Bytes {
    let mut text = format!("Note {salt}. ");
    while text.len() < kilobytes * 1024 {
        text.push_str(SENTENCE);
    }
    let body = serde_json::json!({"model": "auto", "messages": [
        {"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}]});
    Bytes::from(body.to_string())
}

fn percentiles(mut micros: Vec<f64>) -> (f64, f64) {
    micros.sort_by(f64::total_cmp);
    (micros[micros.len() / 2], micros[micros.len() * 99 / 100])
}

fn measure(rounds: usize, mut run: impl FnMut(usize)) -> (f64, f64) {
    let times = (0..rounds).map(|round| {
        let start = Instant::now();
        run(round);
        start.elapsed().as_secs_f64() * 1e6
    });
    percentiles(times.collect())
}

fn main() {
    let config = Config::built_in(&Overrides::default()).unwrap();
    let portfolio = Portfolio::new(&config).unwrap();
    let classifier = Classifier::new(ClassifierConfig::default()).unwrap();
    let (identity, headers) = (Identity::default(), HeaderMap::new());
    println!(
        "{:>8} {:>22} {:>22} {:>22} {:>10}",
        "body", "JSON alone p50/p99 us", "new text p50/p99 us", "sent again p50/p99 us", "new/JSON"
    );
    for kilobytes in [1, 32, 512] {
        let rounds = (ROUNDS * 8 / kilobytes.max(8)).max(20);
        let bodies: Vec<Bytes> = (0..rounds).map(|salt| body(kilobytes, salt)).collect();
        let serve = |body: &Bytes| {
            let inbound = Inbound::<ChatRequest>::parse(body.clone(), &headers).unwrap();
            let profile = classifier.classify(&inbound.prompt().unwrap());
            black_box(decide(&config.policy, &portfolio, &inbound.request, &profile, &identity));
        };
        let json = measure(rounds, |round| {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(&bodies[round]).unwrap());
        });
        let fresh = measure(rounds, |round| serve(&bodies[round]));
        let again = measure(rounds, |_| serve(&bodies[0]));
        println!(
            "{kilobytes:>5} KB {:>11.1} /{:>9.1} {:>11.1} /{:>9.1} {:>11.1} /{:>9.1} {:>10.1}",
            json.0,
            json.1,
            fresh.0,
            fresh.1,
            again.0,
            again.1,
            fresh.0 / json.0
        );
    }
}
