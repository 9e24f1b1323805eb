//! Waiting for the model, with a bound.
//!
//! First come, first served. Callers who left while waiting take no place and are skipped. A full queue
//! refuses at once and says when to come back, from a moving mean of recent service times.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::generate::{EventSink, GenerateRequest};

/// What is assumed before anything was measured.
const FIRST_ESTIMATE: Duration = Duration::from_secs(2);
/// Weight of the newest measurement in the mean.
const SMOOTHING: f64 = 0.2;

/// A request and where its events go.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: GenerateRequest,
    pub(crate) sink: EventSink,
    pub(crate) submitted: Instant,
}

/// The bounded queue between callers and the worker.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    max: usize,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Job>,
    running: bool,
    closed: bool,
    service: Duration,
}

impl Queue {
    pub(crate) fn new(max: usize) -> Self {
        let state =
            State { waiting: VecDeque::new(), running: false, closed: false, service: FIRST_ESTIMATE };
        Self { state: Mutex::new(state), ready: Condvar::new(), max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, or refuses it.
    pub(crate) fn push(&self, job: Job) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::WorkerGone);
        }
        state.waiting.retain(|job| !job.sink.is_abandoned());
        let queued = state.waiting.len();
        if queued + usize::from(state.running) > self.max {
            let retry_after = state.service * u32::try_from(queued + 1).unwrap_or(u32::MAX);
            return Err(Error::Busy { queued, retry_after });
        }
        state.waiting.push_back(job);
        self.ready.notify_one();
        Ok(())
    }

    /// The next job whose caller still waits; `None` once closed. Counts as running until [`Queue::done`].
    pub(crate) fn pop(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            while let Some(job) = state.waiting.pop_front() {
                if !job.sink.is_abandoned() {
                    state.running = true;
                    return Some(job);
                }
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that the running job ended, and how long it took.
    pub(crate) fn done(&self, took: Duration) {
        let mut state = self.state();
        state.running = false;
        state.service = state.service.mul_f64(1.0 - SMOOTHING) + took.mul_f64(SMOOTHING);
    }

    /// Jobs whose callers still wait, the running one not included.
    pub(crate) fn depth(&self) -> usize {
        self.state().waiting.iter().filter(|job| !job.sink.is_abandoned()).count()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Refuses new jobs and hands back those that wait.
    pub(crate) fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        self.ready.notify_all();
        state.waiting.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{TokenStream, channel};

    fn job() -> (Job, TokenStream) {
        let (sink, stream) = channel();
        (Job { request: GenerateRequest::new(vec![1], 1), sink, submitted: Instant::now() }, stream)
    }

    #[test]
    fn full_queue_refuses_and_says_when_to_return() {
        let queue = Queue::new(1);
        let (first, _a) = job();
        let (second, _b) = job();
        queue.push(first).expect("room");
        assert!(queue.pop().is_some());
        queue.push(second).expect("room for one");
        let (third, _c) = job();
        match queue.push(third) {
            Err(Error::Busy { queued: 1, retry_after }) => assert!(retry_after > Duration::ZERO),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn callers_who_left_take_no_place() {
        let queue = Queue::new(0);
        let (first, stream) = job();
        queue.push(first).expect("room");
        drop(stream);
        assert_eq!(queue.depth(), 0);
        let (second, _b) = job();
        queue.push(second).expect("the first one's place is free");
        assert_eq!(queue.depth(), 1);
    }

    #[test]
    fn closing_ends_the_worker_and_refuses_callers() {
        let queue = Queue::new(4);
        let (first, _a) = job();
        queue.push(first).expect("room");
        assert_eq!(queue.close().len(), 1);
        assert!(queue.pop().is_none());
        let (second, _b) = job();
        assert!(matches!(queue.push(second), Err(Error::WorkerGone)));
    }
}
