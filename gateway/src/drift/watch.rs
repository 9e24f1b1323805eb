//! The task that looks at drift again and again.

use std::sync::Arc;
use std::time::Duration;

use crate::gateway::Gateway;

/// How often histograms are compared.
const PERIOD: Duration = Duration::from_secs(1);
/// Of that many looks, one reads the ratings too: they come slowly, and are read on the ledger's own thread.
const LOOKS_PER_READING: u32 = 30;
/// Ratings of older answers say nothing about now: 30 days.
const RATED_MS_MAX: i64 = 30 * 24 * 3600 * 1000;

/// Starts the task.
pub fn watch(gateway: &Arc<Gateway>) {
    let (watched, tasks) = (gateway.clone(), gateway.tasks.clone());
    gateway.tasks.spawn("drift", async move {
        let stopping = tasks.stopping();
        tokio::pin!(stopping);
        let mut look = 0_u32;
        loop {
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            review(&watched, look.is_multiple_of(LOOKS_PER_READING)).await;
            look = look.wrapping_add(1);
        }
    });
}

/// Looks at once, ratings included.
pub async fn refresh(gateway: &Arc<Gateway>) {
    review(gateway, true).await;
}

async fn review(gateway: &Arc<Gateway>, with_ratings: bool) {
    let latest = gateway.config.router.drift_window;
    let (since, router) = (gateway.now_ms() - RATED_MS_MAX, gateway.router.revision());
    let rated = match with_ratings {
        false => None,
        true => match gateway.ledger.query(move |store| store.rated_answers(latest, since, &router)).await {
            Ok(rated) => Some(rated),
            Err(error) => {
                tracing::warn!(%error, "the ratings of answers could not be read");
                None
            }
        },
    };
    let (gateway, now) = (gateway.clone(), gateway.now_ms());
    let _ = tokio::task::spawn_blocking(move || gateway.drift.review(now, rated.as_deref())).await;
}
