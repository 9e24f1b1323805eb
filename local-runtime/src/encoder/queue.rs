//! Waiting for an encoder, with a bound.
//!
//! Requests that wait and requests at work count together, since the worker interleaves them. Callers who left take no
//! place. A full queue refuses at once and says when to come back: the tokens ahead, by a moving mean of tokens a second.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Tokens a second that are assumed before anything was measured.
const FIRST_RATE: f64 = 2000.0;
/// Weight of the newest measurement in the mean.
const SMOOTHING: f64 = 0.2;

/// What a caller gets.
#[derive(Debug)]
pub(super) struct Answer {
    /// One row of values a text, in the caller's order.
    pub(super) rows: Vec<Vec<f32>>,
    /// The request's share of computing, threads not counted.
    pub(super) busy: Duration,
}

/// One request.
#[derive(Debug)]
pub(super) struct Job {
    /// Texts, markers included; none is empty.
    pub(super) texts: Vec<Vec<u32>>,
    /// Leading tokens that do not count when vectors are pooled.
    pub(super) skip: usize,
    pub(super) sink: oneshot::Sender<Result<Answer>>,
}

impl Job {
    pub(super) fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// The caller left.
    pub(super) fn is_abandoned(&self) -> bool {
        self.sink.is_closed()
    }

    pub(super) fn fail(self, error: Error) {
        // A caller who left does not mind.
        let _ = self.sink.send(Err(error));
    }
}

/// The bounded queue between callers and the worker.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    max: usize,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Job>,
    /// Requests that the worker has, and the tokens that they still need.
    running: usize,
    running_tokens: usize,
    closed: bool,
    rate: f64,
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: 0,
            running_tokens: 0,
            closed: false,
            rate: FIRST_RATE,
        };
        Self { state: Mutex::new(state), ready: Condvar::new(), max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, or refuses it.
    pub(super) fn push(&self, job: Job) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::WorkerGone);
        }
        state.waiting.retain(|job| !job.is_abandoned());
        let queued = state.waiting.len() + state.running;
        if queued > self.max {
            let ahead = state.running_tokens + state.waiting.iter().map(Job::tokens).sum::<usize>();
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let retry_after = Duration::from_secs_f64((ahead as f64 / state.rate).clamp(0.001, 3600.0));
            return Err(Error::Busy { queued, retry_after });
        }
        state.waiting.push_back(job);
        self.ready.notify_one();
        Ok(())
    }

    /// All jobs that wait; with `block`, at least one. `None` once closed.
    pub(super) fn take(&self, block: bool) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            state.waiting.retain(|job| !job.is_abandoned());
            if !block || !state.waiting.is_empty() {
                let jobs: Vec<Job> = state.waiting.drain(..).collect();
                state.running += jobs.len();
                state.running_tokens += jobs.iter().map(Job::tokens).sum::<usize>();
                return Some(jobs);
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes what the worker still has, and how fast its last batch went.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn note(&self, running: usize, running_tokens: usize, computed: usize, took: Duration) {
        let mut state = self.state();
        state.running = running;
        state.running_tokens = running_tokens;
        if computed > 0 {
            let rate = computed as f64 / took.as_secs_f64().max(1e-6);
            state.rate = state.rate * (1.0 - SMOOTHING) + rate * SMOOTHING;
        }
    }

    /// Requests waiting or at work.
    pub(super) fn depth(&self) -> usize {
        let state = self.state();
        state.running + state.waiting.iter().filter(|job| !job.is_abandoned()).count()
    }

    /// Refuses new jobs and hands back those that wait.
    pub(super) fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        self.ready.notify_all();
        state.waiting.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> (Job, oneshot::Receiver<Result<Answer>>) {
        let (sink, receiver) = oneshot::channel();
        (Job { texts: vec![vec![1, 2, 3]], skip: 0, sink }, receiver)
    }

    #[test]
    fn a_full_queue_refuses_and_estimates_the_wait_by_tokens() {
        let queue = Queue::new(1);
        let (first, _a) = job();
        let (second, _b) = job();
        let (third, _c) = job();
        queue.push(first).expect("room");
        assert_eq!(queue.take(false).map(|jobs| jobs.len()), Some(1));
        queue.push(second).expect("room for one");
        match queue.push(third) {
            Err(Error::Busy { queued: 2, retry_after }) => {
                assert_eq!(retry_after, Duration::from_secs_f64(6.0 / FIRST_RATE));
            }
            other => panic!("{other:?}"),
        }
        queue.note(0, 0, 3, Duration::from_secs(1));
        assert_eq!(queue.depth(), 1);
    }

    #[test]
    fn callers_who_left_take_no_place() {
        let queue = Queue::new(0);
        let (first, receiver) = job();
        queue.push(first).expect("room");
        drop(receiver);
        assert_eq!(queue.depth(), 0);
        let (second, _b) = job();
        queue.push(second).expect("the first one's place is free");
    }

    #[test]
    fn closing_ends_the_worker_and_refuses_callers() {
        let queue = Queue::new(4);
        let (first, _a) = job();
        queue.push(first).expect("room");
        assert_eq!(queue.close().len(), 1);
        assert!(queue.take(true).is_none());
        let (second, _b) = job();
        assert!(matches!(queue.push(second), Err(Error::WorkerGone)));
    }
}
