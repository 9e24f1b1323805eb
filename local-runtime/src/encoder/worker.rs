//! The one thread that computes for an encoder.
//!
//! Takes what waits, computes batch after batch, and answers a request when its last text is done. Between batches it
//! drops the requests whose callers left. A batch that fails is tried again text by text, so that one request's fault is not
//! another's; a panic ends the thread, not the process: all requests get [`Error::WorkerGone`], and readiness
//! turns false.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::batch::{Active, Pick, plan};
use super::config::Pooling;
use super::network::{Batch, Forward, Output};
use super::pool::pool;
use super::queue::Queue;
use crate::error::{Error, Result};

/// What becomes of a batch's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// One result a token or a text.
    pub(super) kind: Output,
    /// How vectors of tokens become one; `None` keeps those between the markers.
    pub(super) pooling: Option<Pooling>,
    /// Markers before and after a text.
    pub(super) markers: (usize, usize),
    /// The most tokens of a batch.
    pub(super) batch_tokens: usize,
    /// Texts are computed one by one.
    pub(super) alone: bool,
}

/// The thread's state.
pub(super) struct Worker<F> {
    pub(super) network: F,
    pub(super) reading: Reading,
    pub(super) queue: Arc<Queue>,
    pub(super) healthy: Arc<AtomicBool>,
}

impl<F: Forward> Worker<F> {
    /// Works until the queue closes or something panics.
    pub(super) fn run(mut self) {
        let mut active: VecDeque<Active> = VecDeque::new();
        while let Some(jobs) = self.queue.take(active.is_empty()) {
            active.extend(jobs.into_iter().map(Active::new));
            active.retain(|request| !request.job.is_abandoned());
            let picks = plan(&mut active, self.reading.batch_tokens, self.reading.alone);
            let started = Instant::now();
            let Ok(computed) = catch_unwind(AssertUnwindSafe(|| self.step(&mut active, &picks))) else {
                tracing::error!("an encoder's thread panicked; the encoder is out of service");
                break;
            };
            let done = take_done(&mut active);
            let left = active.iter().map(Active::tokens_left).sum();
            // Before the answers, so that a caller who has one finds its place free.
            self.queue.note(active.len(), left, computed, started.elapsed());
            done.into_iter().for_each(Active::finish);
        }
        self.healthy.store(false, Ordering::Release);
        let waiting = self.queue.close();
        for job in active.into_iter().map(|request| request.job).chain(waiting) {
            job.fail(Error::WorkerGone);
        }
        self.queue.note(0, 0, 0, Duration::ZERO);
    }

    /// Computes a batch; returns its tokens, padding included.
    fn step(&mut self, active: &mut VecDeque<Active>, picks: &[Pick]) -> usize {
        if picks.is_empty() {
            return 0;
        }
        if let Err(error) = self.compute(active, picks) {
            let several = picks.iter().any(|pick| pick.request != picks[0].request);
            if !several {
                active[picks[0].request].fail(error);
                return 0;
            }
            for pick in picks {
                if let Err(error) = self.compute(active, std::slice::from_ref(pick)) {
                    active[pick.request].fail(error);
                }
            }
        }
        let width = picks.iter().map(|pick| active[pick.request].job.texts[pick.text].len()).max();
        picks.len() * width.unwrap_or(0)
    }

    fn compute(&mut self, active: &mut VecDeque<Active>, picks: &[Pick]) -> Result<()> {
        let texts = picks.iter().map(|pick| active[pick.request].job.texts[pick.text].clone());
        let batch = Batch::of(texts.collect());
        let started = Instant::now();
        let values = self.network.forward(&batch)?;
        let each = values.len() / picks.len().max(1);
        let mut rows = Vec::with_capacity(picks.len());
        for (index, pick) in picks.iter().enumerate() {
            let skip = active[pick.request].job.skip;
            let values = &values[index * each..(index + 1) * each];
            rows.push(self.reading.row(values, &batch, batch.rows[index].len(), skip)?);
        }
        let share = started.elapsed() / u32::try_from(picks.len()).unwrap_or(u32::MAX);
        for (pick, row) in picks.iter().zip(rows) {
            active[pick.request].put(pick.text, row, share);
        }
        Ok(())
    }
}

impl Reading {
    /// One text's result out of its part of a batch's.
    fn row(&self, values: &[f32], batch: &Batch, length: usize, skip: usize) -> Result<Vec<f32>> {
        let row = match (self.kind, self.pooling) {
            (Output::Text, _) => values.to_vec(),
            (Output::Tokens, Some(pooling)) => {
                pool(values, values.len() / batch.width.max(1), length, skip, pooling)
            }
            (Output::Tokens, None) => {
                let size = values.len() / batch.width.max(1);
                values[self.markers.0 * size..(length - self.markers.1) * size].to_vec()
            }
        };
        if row.iter().all(|value| value.is_finite()) {
            Ok(row)
        } else {
            let source = ort::Error::new("a value is not finite; the weights are corrupt or overflow");
            Err(Error::Onnx { action: "compute a batch", source })
        }
    }
}

/// Takes out the requests that are done and keeps the others in their order.
fn take_done(active: &mut VecDeque<Active>) -> Vec<Active> {
    let (done, kept): (Vec<_>, Vec<_>) = active.drain(..).partition(Active::is_done);
    active.extend(kept);
    done
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::oneshot;

    use super::*;
    use crate::encoder::queue::{Answer, Job};

    /// Gives each token its id and the number of texts beside it; the id 13 panics, 12 fails, 11 waits for a word.
    struct Counting {
        batches: Arc<Mutex<Vec<usize>>>,
        gate: std::sync::mpsc::Receiver<()>,
    }

    impl Forward for Counting {
        fn forward(&mut self, batch: &Batch) -> Result<Vec<f32>> {
            self.batches.lock().expect("not poisoned").push(batch.rows.len());
            let has = |id| batch.rows.iter().flatten().any(|one| *one == id);
            assert!(!has(13), "asked to panic");
            if has(12) {
                return Err(Error::Tokenizer { action: "compute", reason: "asked to fail".to_owned() });
            }
            if has(11) {
                self.gate.recv().expect("the test holds the other end");
            }
            let token = |row: &Vec<u32>, index| row.get(index).map_or(-1.0, |id| *id as f32);
            Ok(batch.rows.iter().flat_map(|row| (0..batch.width).map(move |i| token(row, i))).collect())
        }
    }

    struct Bench {
        queue: Arc<Queue>,
        healthy: Arc<AtomicBool>,
        batches: Arc<Mutex<Vec<usize>>>,
        open: std::sync::mpsc::Sender<()>,
        thread: std::thread::JoinHandle<()>,
    }

    fn bench(pooling: Option<Pooling>) -> Bench {
        let (queue, healthy) = (Arc::new(Queue::new(8)), Arc::new(AtomicBool::new(true)));
        let batches = Arc::new(Mutex::new(Vec::new()));
        let (open, gate) = std::sync::mpsc::channel();
        let worker = Worker {
            network: Counting { batches: batches.clone(), gate },
            reading: Reading {
                kind: Output::Tokens,
                pooling,
                markers: (1, 1),
                batch_tokens: 64,
                alone: false,
            },
            queue: queue.clone(),
            healthy: healthy.clone(),
        };
        Bench { queue, healthy, batches, open, thread: std::thread::spawn(move || worker.run()) }
    }

    fn push(bench: &Bench, texts: Vec<Vec<u32>>) -> oneshot::Receiver<Result<Answer>> {
        let (sink, receiver) = oneshot::channel();
        bench.queue.push(Job { texts, skip: 0, sink }).expect("room");
        receiver
    }

    #[test]
    fn rows_come_in_the_callers_order_without_padding_or_markers() {
        let bench = bench(None);
        let answer = push(&bench, vec![vec![1, 5, 2], vec![1, 6, 7, 8, 2], vec![1, 2]]);
        let rows = answer.blocking_recv().expect("answered").expect("computed").rows;
        assert_eq!(rows, [vec![5.0], vec![6.0, 7.0, 8.0], vec![]]);
        bench.queue.close();
        bench.thread.join().expect("ended");
    }

    #[test]
    fn one_requests_fault_is_not_anothers() {
        let bench = bench(Some(Pooling::Mean));
        let held = push(&bench, vec![vec![11; 20]]);
        let (good, bad) = (push(&bench, vec![vec![3; 4]]), push(&bench, vec![vec![12; 4]]));
        bench.open.send(()).expect("it waits");
        held.blocking_recv().expect("answered").expect("computed");
        assert_eq!(good.blocking_recv().expect("answered").expect("computed").rows, [[3.0]]);
        assert!(matches!(bad.blocking_recv().expect("answered"), Err(Error::Tokenizer { .. })));
        assert!(bench.healthy.load(Ordering::Acquire));
        bench.queue.close();
        bench.thread.join().expect("ended");
    }

    #[test]
    fn callers_who_left_are_not_computed_for() {
        let bench = bench(Some(Pooling::Cls));
        let held = push(&bench, vec![vec![11; 20]]);
        while bench.batches.lock().expect("not poisoned").is_empty() {
            std::thread::yield_now();
        }
        drop(push(&bench, vec![vec![3; 4]; 100]));
        bench.open.send(()).expect("it waits");
        held.blocking_recv().expect("answered").expect("computed");
        push(&bench, vec![vec![4; 4]]).blocking_recv().expect("answered").expect("computed");
        assert_eq!(*bench.batches.lock().expect("not poisoned"), [1, 1]);
        bench.queue.close();
        bench.thread.join().expect("ended");
    }

    #[test]
    fn a_panic_ends_the_encoder_and_everybody_is_told() {
        let bench = bench(Some(Pooling::Cls));
        let (first, second) = (push(&bench, vec![vec![13; 3]]), push(&bench, vec![vec![3; 30]]));
        assert!(matches!(first.blocking_recv().expect("answered"), Err(Error::WorkerGone)));
        // The second may have been done before the first one's turn came.
        let _ = second.blocking_recv().expect("answered");
        bench.thread.join().expect("the panic was caught");
        assert!(!bench.healthy.load(Ordering::Acquire));
        let (sink, _receiver) = oneshot::channel();
        let late = Job { texts: vec![vec![1]], skip: 0, sink };
        assert!(matches!(bench.queue.push(late), Err(Error::WorkerGone)));
    }
}
