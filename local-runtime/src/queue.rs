//! Waiting for the model, with a bound, and whose turn it is.
//!
//! The highest priority first; among equals the tenant that the model has worked least for (the virtual token counter of
//! Sheng et al. 2024, "Fairness in Serving Large Language Models": prompt tokens count once, generated tokens twice); of one
//! tenant the oldest request. A tenant that comes back starts level with those that are there, so that idleness earns no credit. Callers
//! who left while waiting take no place and are skipped. A full queue refuses at once and says when to come
//! back, from moving means of what requests took.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::generate::{EventSink, GenerateRequest};

/// What is assumed before anything was measured.
const FIRST_ESTIMATE: Duration = Duration::from_secs(2);
/// Weight of the newest measurement in the means.
const SMOOTHING: f64 = 0.2;
/// What a generated token counts, in prompt tokens.
pub(crate) const OUTPUT_WEIGHT: u64 = 2;
/// Tenants that are remembered while they have nothing waiting or running.
const IDLE_TENANTS_MAX: usize = 1024;

/// A request and where its events go.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: GenerateRequest,
    pub(crate) sink: EventSink,
    pub(crate) submitted: Instant,
}

type Tenant = Option<Arc<str>>;

/// The bounded queue between callers and the worker.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    max: usize,
    concurrency: usize,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    closed: bool,
    draining: bool,
    /// When a step last ended, while something runs.
    progress: Instant,
    /// Mean time from start to end of a request.
    service: Duration,
    /// Work done for each tenant, and its requests that wait or run.
    tenants: HashMap<Tenant, Account>,
    /// The least work that a tenant that comes now is taken to have had: that of the least served one that is there, or was last.
    level: u64,
    /// Memory of the cache, held and at most.
    cache_bytes: (usize, usize),
}

#[derive(Debug, Default)]
struct Account {
    work: u64,
    active: usize,
}

/// How busy the model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests that are being computed.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// How long a request that comes now is expected to wait before it is started.
    pub estimated_wait: Duration,
    /// Memory that keys and values of past tokens take, in bytes.
    pub cache_bytes: usize,
    /// The most that they may take.
    pub cache_bytes_max: usize,
    /// How long the current step has been running; zero if nothing runs. Minutes mean that something is stuck.
    pub step_running: Duration,
}

impl Queue {
    pub(crate) fn new(max: usize, concurrency: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: 0,
            closed: false,
            draining: false,
            progress: Instant::now(),
            service: FIRST_ESTIMATE,
            tenants: HashMap::new(),
            level: 0,
            cache_bytes: (0, 0),
        };
        Self { state: Mutex::new(state), ready: Condvar::new(), max, concurrency }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, or refuses it.
    pub(crate) fn push(&self, job: Job) -> Result<()> {
        let mut state = self.state();
        if state.closed || state.draining {
            return Err(Error::WorkerGone);
        }
        state.forget_abandoned();
        let places = self.max + self.concurrency;
        if state.waiting.len() + state.running >= places {
            let retry_after = state.estimated_wait(self.concurrency);
            return Err(Error::Busy { queued: state.waiting.len(), retry_after });
        }
        state.enter(&job.request.tenant);
        state.waiting.push_back(job);
        self.ready.notify_one();
        Ok(())
    }

    /// The next job whose caller still waits; `None` once closed, when there is none and `wait` is false, and when there is none and
    /// none will come. Counts as running until
    /// [`Queue::done`] or [`Queue::put_back`].
    pub(crate) fn pop(&self, wait: bool) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            state.forget_abandoned();
            if let Some(job) = state.take_next() {
                state.running += 1;
                state.progress = Instant::now();
                return Some(job);
            }
            if !wait || state.draining {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets a popped job wait on; it will be the first of its tenant again.
    pub(crate) fn put_back(&self, job: Job) {
        let mut state = self.state();
        state.running -= 1;
        state.waiting.push_front(job);
    }

    /// Notes work done for a tenant.
    pub(crate) fn charge(&self, tenant: &Tenant, work: u64) {
        if let Some(account) = self.state().tenants.get_mut(tenant) {
            account.work += work;
        }
    }

    /// Notes that a running job ended, and how long it took, if it came to its end.
    pub(crate) fn done(&self, tenant: &Tenant, took: Option<Duration>) {
        let mut state = self.state();
        state.running -= 1;
        state.leave(tenant);
        if let Some(took) = took {
            state.service = state.service.mul_f64(1.0 - SMOOTHING) + took.mul_f64(SMOOTHING);
        }
    }

    /// Notes that a step ended, and the memory of the cache, held and at most.
    pub(crate) fn note_step(&self, cache_bytes: (usize, usize)) {
        let mut state = self.state();
        state.cache_bytes = cache_bytes;
        state.progress = Instant::now();
    }

    /// How busy the model is now.
    pub(crate) fn load(&self) -> Load {
        let mut state = self.state();
        state.forget_abandoned();
        Load {
            running: state.running,
            waiting: state.waiting.len(),
            estimated_wait: state.estimated_wait(self.concurrency),
            cache_bytes: state.cache_bytes.0,
            cache_bytes_max: state.cache_bytes.1,
            step_running: if state.running > 0 { state.progress.elapsed() } else { Duration::ZERO },
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Refuses new jobs; those that wait are still done.
    pub(crate) fn drain(&self) {
        self.state().draining = true;
        self.ready.notify_all();
    }

    /// Whether all is done that was to be done before the end.
    pub(crate) fn is_drained(&self) -> bool {
        let mut state = self.state();
        state.forget_abandoned();
        state.draining && state.waiting.is_empty() && state.running == 0
    }

    /// Refuses new jobs and hands back those that wait.
    pub(crate) fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        self.ready.notify_all();
        state.waiting.drain(..).collect()
    }
}

impl State {
    fn enter(&mut self, tenant: &Tenant) {
        let active = self.tenants.values().filter(|account| account.active > 0);
        let least = active.map(|account| account.work).min();
        self.level = self.level.max(least.unwrap_or(0));
        if self.tenants.len() > IDLE_TENANTS_MAX {
            self.tenants.retain(|_, account| account.active > 0);
        }
        let account = self.tenants.entry(tenant.clone()).or_default();
        if account.active == 0 {
            account.work = account.work.max(self.level);
        }
        account.active += 1;
    }

    fn leave(&mut self, tenant: &Tenant) {
        if let Some(account) = self.tenants.get_mut(tenant) {
            account.active = account.active.saturating_sub(1);
            let left = account.work;
            if self.tenants.values().all(|account| account.active == 0) {
                self.level = self.level.max(left);
            }
        }
    }

    fn forget_abandoned(&mut self) {
        if !self.waiting.iter().any(|job| job.sink.is_abandoned()) {
            return;
        }
        let (kept, left): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|job| !job.sink.is_abandoned());
        self.waiting = kept;
        for job in left {
            self.leave(&job.request.tenant);
        }
    }

    fn take_next(&mut self) -> Option<Job> {
        let work = |job: &Job| self.tenants.get(&job.request.tenant).map_or(0, |account| account.work);
        let key = |(index, job): &(usize, &Job)| (std::cmp::Reverse(job.request.priority), work(job), *index);
        let (index, _) = self.waiting.iter().enumerate().min_by_key(key)?;
        self.waiting.remove(index)
    }

    /// With all places taken, one gets free each `service / concurrency` on average. While requests wait although places are
    /// free, memory is what is short, and there are no more places than requests that run.
    fn estimated_wait(&self, concurrency: usize) -> Duration {
        let is_short = !self.waiting.is_empty() && self.running > 0;
        let concurrency = if is_short { concurrency.min(self.running) } else { concurrency };
        let ahead = (self.waiting.len() + self.running + 1).saturating_sub(concurrency);
        self.service.mul_f64(ahead as f64 / concurrency as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{TokenStream, channel};

    fn job_of(tenant: Option<&str>, priority: i8) -> (Job, TokenStream) {
        let (sink, stream) = channel();
        let request =
            GenerateRequest { tenant: tenant.map(Arc::from), priority, ..GenerateRequest::new(vec![1], 1) };
        (Job { request, sink, submitted: Instant::now() }, stream)
    }

    fn job() -> (Job, TokenStream) {
        job_of(None, 0)
    }

    #[test]
    fn full_queue_refuses_and_says_when_to_return() {
        let queue = Queue::new(1, 1);
        let (first, _a) = job();
        let (second, _b) = job();
        queue.push(first).expect("room");
        assert!(queue.pop(true).is_some());
        queue.push(second).expect("room for one");
        let (third, _c) = job();
        match queue.push(third) {
            Err(Error::Busy { queued: 1, retry_after }) => assert!(retry_after > Duration::ZERO),
            other => panic!("{other:?}"),
        }
        assert_eq!((queue.load().running, queue.load().waiting), (1, 1));
    }

    #[test]
    fn callers_who_left_take_no_place() {
        let queue = Queue::new(0, 1);
        let (first, stream) = job();
        queue.push(first).expect("room");
        drop(stream);
        assert_eq!(queue.load().waiting, 0);
        let (second, _b) = job();
        queue.push(second).expect("the first one's place is free");
        assert_eq!(queue.load().waiting, 1);
    }

    #[test]
    fn an_idle_model_has_no_wait() {
        let queue = Queue::new(4, 2);
        assert_eq!(queue.load().estimated_wait, Duration::ZERO);
        let (first, _a) = job();
        queue.push(first).expect("room");
        assert_eq!(queue.load().estimated_wait, Duration::ZERO, "the second place is free");
    }

    #[test]
    fn tenants_take_turns_by_work_and_priority_goes_first() {
        let queue = Queue::new(9, 9);
        let mut streams = Vec::new();
        for (tenant, priority) in [("a", 0), ("a", 0), ("a", 0), ("b", 0), ("b", 0), ("c", 1)] {
            let (job, stream) = job_of(Some(tenant), priority);
            queue.push(job).expect("room");
            streams.push(stream);
        }
        let order: Vec<String> = (0..6)
            .map(|_| {
                let job = queue.pop(false).expect("a job");
                queue.charge(&job.request.tenant, 10);
                job.request.tenant.expect("a tenant").to_string()
            })
            .collect();
        assert_eq!(order, ["c", "a", "b", "a", "b", "a"]);
    }

    #[test]
    fn a_newcomer_starts_level() {
        let queue = Queue::new(9, 9);
        let (first, _a) = job_of(Some("a"), 0);
        let (second, _b) = job_of(Some("a"), 0);
        queue.push(first).expect("room");
        queue.push(second).expect("room");
        let running = queue.pop(false).expect("a job");
        queue.charge(&running.request.tenant, 1000);
        let (newcomer, _c) = job_of(Some("b"), 0);
        queue.push(newcomer).expect("room");
        assert_eq!(queue.state().tenants[&Some(Arc::from("b"))].work, 1000);
    }

    #[test]
    fn draining_refuses_callers_and_serves_those_that_wait() {
        let queue = Queue::new(4, 1);
        let (first, _a) = job();
        queue.push(first).expect("room");
        queue.drain();
        let (second, _b) = job();
        assert!(matches!(queue.push(second), Err(Error::WorkerGone)));
        assert!(!queue.is_drained());
        let job = queue.pop(true).expect("the one that waited");
        assert!(!queue.is_drained());
        queue.done(&job.request.tenant, None);
        assert!(queue.is_drained() && queue.pop(true).is_none());
    }

    #[test]
    fn idleness_earns_no_credit_and_no_debt() {
        let queue = Queue::new(9, 9);
        let serve = |tenant: &str, work: u64| {
            let (job, _stream) = job_of(Some(tenant), 0);
            queue.push(job).expect("room");
            let job = queue.pop(false);
            // The stream is dropped at the end of this block, so the job is there.
            let tenant = job.expect("a job").request.tenant;
            queue.charge(&tenant, work);
            queue.done(&tenant, None);
        };
        serve("a", 1_000_000);
        serve("b", 10);
        assert_eq!(queue.state().tenants[&Some(Arc::from("b"))].work, 1_000_010, "b starts where a left");
    }

    #[test]
    fn closing_ends_the_worker_and_refuses_callers() {
        let queue = Queue::new(4, 1);
        let (first, _a) = job();
        queue.push(first).expect("room");
        assert_eq!(queue.close().len(), 1);
        assert!(queue.pop(true).is_none());
        let (second, _b) = job();
        assert!(matches!(queue.push(second), Err(Error::WorkerGone)));
    }
}
