//! The worker's behaviour with a network that does as it is told.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::{Limits, Worker};
use crate::artifact::{NoProgress, Store};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::generate::sequence::Vocabulary;
use crate::generate::{GenerateRequest, Sampling, TokenEvent, TokenStream, channel};
use crate::queue::{Job, Queue};
use crate::tokenizer::TextCodec;

const VOCABULARY: usize = 320;

/// What happens at a step.
enum Act {
    /// The token after the last one given is the most likely.
    Count,
    Fail,
    Panic,
    NotANumber,
}

struct Scripted {
    act: fn(usize) -> Act,
    steps: Arc<AtomicUsize>,
}

impl Backend for Scripted {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn begin(&mut self, _capacity: usize, keep: usize) -> Result<usize> {
        Ok(keep)
    }

    fn step(&mut self, tokens: &[u32], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        logits.resize(VOCABULARY, 0.0);
        match (self.act)(self.steps.fetch_add(1, Ordering::SeqCst)) {
            Act::Count => logits[(tokens[tokens.len() - 1] as usize + 1) % 256] = 9.0,
            Act::Fail => return Err(Error::WorkerGone),
            Act::Panic => panic!("scripted"),
            Act::NotANumber => logits.fill(f32::NAN),
        }
        Ok(())
    }
}

struct Harness {
    queue: Arc<Queue>,
    healthy: Arc<AtomicBool>,
    steps: Arc<AtomicUsize>,
    worker: Option<Worker<Scripted>>,
}

impl Harness {
    fn new(act: fn(usize) -> Act) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama.gguf");
        let model = Store::open(directory.path()).convert(&gguf, "tiny", &NoProgress).expect("converts");
        let codec = Arc::new(TextCodec::load(&model.path).expect("loads"));
        let limits = Limits {
            context_tokens: 256,
            max_output_tokens: 64,
            prefill_chunk_tokens: 16,
            prefix_reuse: true,
        };
        let (queue, healthy, steps) =
            (Arc::new(Queue::new(8)), Arc::new(AtomicBool::new(true)), Arc::default());
        let worker = Worker {
            backend: Scripted { act, steps: Arc::clone(&steps) },
            vocabulary: Arc::new(Vocabulary { codec, eos_ids: vec![316] }),
            limits: Arc::new(limits),
            queue: Arc::clone(&queue),
            healthy: Arc::clone(&healthy),
            computed: Vec::new(),
        };
        Self { queue, healthy, steps, worker: Some(worker) }
    }

    fn submit(&self, input: Vec<u32>, max_tokens: u32) -> TokenStream {
        let (sink, stream) = channel();
        let request =
            GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::new(input, max_tokens) };
        self.queue.push(Job { request, sink, submitted: Instant::now() }).expect("room");
        stream
    }

    /// Serves the jobs that are queued, on this thread.
    fn serve(&mut self, jobs: usize) {
        let worker = self.worker.as_mut().expect("it lives");
        for _ in 0..jobs {
            let job = worker.queue.pop().expect("a job");
            worker.serve(job);
        }
    }
}

fn ids(stream: TokenStream) -> Vec<u32> {
    stream
        .blocking()
        .filter_map(|event| if let Ok(TokenEvent::Token(token)) = event { Some(token.id) } else { None })
        .collect()
}

#[test]
fn a_panic_is_told_to_everybody_and_ends_readiness() {
    let mut harness = Harness::new(|step| if step == 2 { Act::Panic } else { Act::Count });
    let (first, second) = (harness.submit(vec![40], 10), harness.submit(vec![40], 10));
    harness.worker.take().expect("it lives").run();
    assert!(!harness.healthy.load(Ordering::Acquire));
    let events: Vec<_> = first.blocking().collect();
    assert_eq!(events.len(), 3);
    assert!(matches!(events.last(), Some(Err(Error::WorkerGone))));
    assert!(matches!(second.blocking().next(), Some(Err(Error::WorkerGone))));
    let (sink, _stream) = channel();
    let job = Job { request: GenerateRequest::new(vec![1], 1), sink, submitted: Instant::now() };
    assert!(matches!(harness.queue.push(job), Err(Error::WorkerGone)));
}

#[test]
fn a_failed_step_fails_its_own_request_only() {
    let mut harness = Harness::new(|step| if step == 1 { Act::Fail } else { Act::Count });
    let (first, second) = (harness.submit(vec![40], 10), harness.submit(vec![40], 3));
    harness.serve(2);
    assert!(matches!(first.blocking().last(), Some(Err(_))));
    assert_eq!(ids(second), [41, 42, 43]);
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let mut harness = Harness::new(|_| Act::NotANumber);
    let stream = harness.submit(vec![40], 10);
    harness.serve(1);
    assert!(matches!(stream.blocking().next(), Some(Err(Error::NothingFinite))));
}

#[test]
fn a_long_prompt_is_left_between_chunks() {
    static LEAVE: std::sync::Mutex<Option<TokenStream>> = std::sync::Mutex::new(None);
    // The caller leaves while the second chunk is computed.
    let mut harness = Harness::new(|step| {
        if step == 1 {
            LEAVE.lock().expect("no panic").take();
        }
        Act::Count
    });
    let stream = harness.submit((0..160).collect(), 10);
    *LEAVE.lock().expect("no panic") = Some(stream);
    harness.serve(1);
    assert_eq!(harness.steps.load(Ordering::SeqCst), 2, "the other eight chunks were not computed");
}

#[test]
fn whole_chunks_of_a_shared_prefix_are_reused() {
    let mut harness = Harness::new(|_| Act::Count);
    let shared: Vec<u32> = (0..40).collect();
    let (first, second) =
        (harness.submit(shared.clone(), 1), harness.submit([&shared[..], &[9]].concat(), 1));
    harness.serve(1);
    assert_eq!(harness.steps.load(Ordering::SeqCst), 3);
    harness.serve(1);
    assert_eq!(harness.steps.load(Ordering::SeqCst), 4, "two chunks of sixteen were there already");
    assert_eq!((ids(first), ids(second)), (vec![40], vec![10]));
}

#[test]
fn output_limits_hold() {
    let mut harness = Harness::new(|_| Act::Count);
    let (by_config, by_context) = (harness.submit(vec![1], 1000), harness.submit(vec![1; 250], 1000));
    harness.serve(2);
    assert_eq!((ids(by_config).len(), ids(by_context).len()), (64, 6));
}
