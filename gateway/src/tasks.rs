//! Background tasks: named, counted and drained.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Starts tasks and waits for them at shutdown.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts a task. It should watch [`Tasks::stopping`] if it does not end by itself.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task.instrument(tracing::info_span!("task", task = name)));
    }

    /// Completes when tasks are to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Tells tasks to stop, and waits for them.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
