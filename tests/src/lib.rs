//! The harness of the end-to-end tests: a real gateway process, capturing upstreams, and clients.
//!
//! Everything is on loopback and on free ports. Nothing sleeps for a fixed time: waits poll for a condition
//! and give up after a bound.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]
#![allow(clippy::missing_panics_doc, reason = "a harness panics where an expectation fails")]

pub mod client;
pub mod leak;
pub mod process;
pub mod python;
pub mod upstream;
pub mod weights;

use std::time::{Duration, Instant};

/// Longest wait for a condition. Generous: the tests share two cores with real inference.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a condition yields something.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "gave up waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
