//! A detector that fails, in a whole gateway: the request gets the label of doubt and goes nowhere, the reason is in the
//! header and in the metrics, and the gateway goes on.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::config::{Config, Overrides};
use gateway::gateway::{Gateway, Parts};
use gateway::router::RouterModel;
use policies::Doubt;
use router_model::sensitivity::Scan;
use router_model::{Classifier, Scanner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What takes the detector's place.
#[derive(Clone, Copy)]
enum Stand {
    Panics,
    Says(Doubt),
    Takes(Duration),
    FindsNothing,
}

impl Scanner for Stand {
    fn scan(&self, _: &str) -> Scan {
        match self {
            Self::Panics => panic!("a recogniser failed"),
            Self::Says(doubt) => Scan { doubt: vec![*doubt], ..Scan::default() },
            Self::Takes(time) => {
                std::thread::sleep(*time);
                Scan::default()
            }
            Self::FindsNothing => Scan::default(),
        }
    }
}

/// What came of a request.
struct Seen {
    /// The response; empty if the upstream was reached before there was one.
    response: String,
    metrics: String,
    /// Somebody connected to the upstream.
    left: bool,
    took: Duration,
}

async fn exchange(address: SocketAddr, request: String) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

fn post(body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A chat of so many messages of so many words, none like another: what was read once is not read again.
fn chat(messages: usize, words: usize) -> String {
    let text = "water boils ".repeat(words / 2);
    let messages: Vec<_> =
        (0..messages).map(|number| format!(r#"{{"role":"user","content":"{number} {text}"}}"#)).collect();
    format!(r#"{{"model":"gpt-4o","messages":[{}]}}"#, messages.join(","))
}

async fn ask(stand: Stand, body: &str) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = format!(
        "[local]\nenabled = false\n[ledger]\nurl = 'sqlite://{}'\n[router]\nencoder = false\n\
         [detection]\nnames = 'off'\ndeadline_ms = 150\n[[upstream]]\nname = 'cloud'\nprotocol = 'openai'\n\
         base_url = 'http://{}/v1'\nclearance = 'confidential'\nlocation = 'cloud'\n\
         [[upstream.models]]\nname = 'gpt-4o'\nstrength = 1.0\n",
        folder.path().join("ledger.db").display(),
        upstream.local_addr().unwrap()
    );
    let config = Config::parse("test.toml", &text, &Overrides::default()).unwrap();
    let classifier = Classifier::with_scanner(config.classifier(), Box::new(stand)).unwrap();
    let router = RouterModel::of(classifier, 0);
    let gateway = Gateway::build_with(config, Arc::new(|| 0), router).unwrap();
    let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, admin_at) = (data.local_addr().unwrap(), admin.local_addr().unwrap());
    let parts = Parts { data, admin, clock: Arc::new(|| 0) };
    let client = async {
        let began = Instant::now();
        let (response, left) = tokio::select! {
            _ = upstream.accept() => (String::new(), true),
            response = exchange(at, post(body)) => (response, false),
        };
        let took = began.elapsed();
        let metrics =
            exchange(admin_at, "GET /metrics HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n".into())
                .await;
        Seen { response, metrics, left, took }
    };
    tokio::select! {
        _ = gateway::server::serve(gateway, parts, std::future::pending()) => panic!("the gateway ended"),
        seen = client => seen,
    }
}

fn assert_doubted(seen: &Seen, reason: &str, what: &str) {
    assert!(!seen.left, "{what}: it left");
    assert!(seen.response.starts_with("HTTP/1.1 403"), "{what}: {}", seen.response);
    let header = |name: &str| {
        let line = seen.response.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.unwrap_or_default().to_owned()
    };
    assert!(header("x-sluicegate-label").ends_with("restricted"), "{what}: {}", seen.response);
    assert!(header("x-sluicegate-reason").contains(&format!("doubt: {reason}")), "{what}: {}", seen.response);
    let counted = format!("sluicegate_doubt_total{{reason=\"{reason}\"}} 1");
    assert!(seen.metrics.contains(&counted), "{what}: {}", seen.metrics);
}

#[tokio::test]
async fn a_detector_that_fails_is_doubt_whichever_way_it_fails() {
    for (stand, messages, words) in [
        (Stand::Panics, 1, 20),
        (Stand::Panics, 1, 20_000), // read off the threads that move bytes
        (Stand::Says(Doubt::DetectorError), 2, 20),
    ] {
        let what = format!("{messages} messages of {words} words");
        assert_doubted(&ask(stand, &chat(messages, words)).await, "detector_error", &what);
    }
}

#[tokio::test]
async fn a_detector_that_is_slow_is_stopped_and_is_doubt() {
    let seen = ask(Stand::Takes(Duration::from_millis(40)), &chat(200, 20)).await;
    assert_doubted(&seen, "detector_timeout", "200 messages of 40 ms");
    assert!(seen.took < Duration::from_secs(4), "200 scans would take 8 s; it took {:?}", seen.took);
}

#[tokio::test]
async fn a_detector_that_works_lets_it_go() {
    let seen = ask(Stand::FindsNothing, &chat(1, 20)).await;
    assert!(seen.left, "{}", seen.response);
    for doubt in Doubt::ALL {
        let counted = format!("sluicegate_doubt_total{{reason=\"{doubt}\"}} 0");
        assert!(
            seen.metrics.contains(&counted),
            "{doubt} is there for alerts before the first one: {}",
            seen.metrics
        );
    }
}
