//! The worker's behaviour with a network that does as it is told.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Limits, Worker};
use crate::artifact::{NoProgress, Store};
use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::convert::Operators;
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
    /// Tokens that all sequences together may come to.
    room: usize,
    open: HashMap<SequenceId, usize>,
    /// Whether tokens can be taken back.
    forgets: bool,
    steps: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
    /// Tokens of each chunk of each step.
    log: Arc<Mutex<Vec<Vec<usize>>>>,
}

impl Backend for Scripted {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn open(&mut self, sequence: SequenceId, opening: &Opening<'_>) -> Result<Opened> {
        let held: usize = self.open.values().sum();
        if held + opening.capacity > self.room {
            return Ok(Opened::NoRoom);
        }
        self.open.insert(sequence, opening.capacity);
        self.most_open.fetch_max(self.open.len(), Ordering::SeqCst);
        Ok(Opened::Ready { reused: 0 })
    }

    fn step(&mut self, chunks: &[Chunk<'_>], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        let act = (self.act)(self.steps.fetch_add(1, Ordering::SeqCst));
        match act {
            Act::Fail => return Err(Error::WorkerGone),
            Act::Panic => panic!("scripted"),
            Act::Count | Act::NotANumber => {}
        }
        for chunk in chunks {
            assert!(self.open.contains_key(&chunk.sequence) && !chunk.tokens.is_empty());
            for token in &chunk.tokens[chunk.tokens.len() - chunk.outputs..] {
                let mut row = vec![0.0; VOCABULARY];
                match act {
                    Act::NotANumber => row.fill(f32::NAN),
                    _ => row[(*token as usize + 1) % 256] = 9.0,
                }
                logits.extend(row);
            }
        }
        self.log.lock().expect("no panic").push(chunks.iter().map(|chunk| chunk.tokens.len()).collect());
        Ok(())
    }

    fn can_truncate(&self) -> bool {
        self.forgets
    }

    fn truncate(&mut self, _: SequenceId, _: usize) {
        assert!(self.forgets, "this cache cannot forget");
    }

    fn tokens_max(&self) -> usize {
        self.room
    }

    fn close(&mut self, sequence: SequenceId, _: bool) {
        assert!(self.open.remove(&sequence).is_some(), "closed twice");
    }

    fn cache_bytes(&self) -> (usize, usize) {
        (0, 0)
    }
}

struct Harness {
    queue: Arc<Queue>,
    healthy: Arc<AtomicBool>,
    steps: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<Vec<usize>>>>,
    worker: Option<Worker<Scripted>>,
}

impl Harness {
    fn new(act: fn(usize) -> Act) -> Self {
        Self::with_room(act, usize::MAX / 2, 4)
    }

    fn with_room(act: fn(usize) -> Act, room: usize, max_concurrency: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama.gguf");
        let model = Store::open(directory.path())
            .convert(&gguf, "tiny", Operators::Fastest, &NoProgress)
            .expect("converts");
        let codec = Arc::new(TextCodec::load(&model.path).expect("loads"));
        let limits = Limits {
            context_tokens: 256,
            max_output_tokens: 64,
            prefill_chunk_tokens: 16,
            max_concurrency,
            prefix_reuse: true,
            guessing: true,
        };
        let (queue, healthy) = (Arc::new(Queue::new(8, max_concurrency)), Arc::new(AtomicBool::new(true)));
        let (steps, most_open, log) = (Arc::default(), Arc::default(), Arc::default());
        let backend = Scripted {
            act,
            room,
            open: HashMap::new(),
            forgets: true,
            steps: Arc::clone(&steps),
            most_open: Arc::clone(&most_open),
            log: Arc::clone(&log),
        };
        let vocabulary = Arc::new(Vocabulary::new(codec, vec![316]));
        let worker =
            Worker::new(backend, vocabulary, Arc::new(limits), Arc::clone(&queue), Arc::clone(&healthy));
        Self { queue, healthy, steps, most_open, log, worker: Some(worker) }
    }

    fn submit(&self, input: Vec<u32>, max_tokens: u32) -> TokenStream {
        let (sink, stream) = channel();
        let request =
            GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::new(input, max_tokens) };
        self.queue.push(Job { request, sink, submitted: Instant::now() }).expect("room");
        stream
    }

    /// Works until nothing is left to do, on this thread.
    fn serve(&mut self) {
        let worker = self.worker.as_mut().expect("it lives");
        while worker.turn(false) {}
    }

    fn log(&self) -> Vec<Vec<usize>> {
        self.log.lock().expect("no panic").clone()
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
    for stream in [first, second] {
        let events: Vec<_> = stream.blocking().collect();
        assert_eq!(events.len(), 3);
        assert!(matches!(events.last(), Some(Err(Error::WorkerGone))));
    }
    let (sink, _stream) = channel();
    let job = Job { request: GenerateRequest::new(vec![1], 1), sink, submitted: Instant::now() };
    assert!(matches!(harness.queue.push(job), Err(Error::WorkerGone)));
}

#[test]
fn a_failed_step_fails_who_took_part_and_nobody_else() {
    let mut harness = Harness::with_room(|step| if step == 1 { Act::Fail } else { Act::Count }, 1000, 1);
    let (first, second) = (harness.submit(vec![40], 10), harness.submit(vec![40], 3));
    harness.serve();
    assert!(matches!(first.blocking().last(), Some(Err(_))));
    assert_eq!(ids(second), [41, 42, 43]);
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let mut harness = Harness::new(|_| Act::NotANumber);
    let stream = harness.submit(vec![40], 10);
    harness.serve();
    assert!(matches!(stream.blocking().next(), Some(Err(Error::NothingFinite))));
}

#[test]
fn a_long_prompt_is_left_between_chunks() {
    static LEAVE: Mutex<Option<TokenStream>> = Mutex::new(None);
    // The caller leaves while the second chunk is computed.
    let mut harness = Harness::new(|step| {
        if step == 1 {
            LEAVE.lock().expect("no panic").take();
        }
        Act::Count
    });
    let stream = harness.submit((0..160).collect(), 10);
    *LEAVE.lock().expect("no panic") = Some(stream);
    harness.serve();
    assert_eq!(harness.steps.load(Ordering::SeqCst), 2, "the other eight chunks were not computed");
}

#[test]
fn requests_run_together_and_a_long_prompt_does_not_stall_them() {
    let mut harness = Harness::new(|_| Act::Count);
    let short = harness.submit(vec![40], 8);
    harness.worker.as_mut().expect("it lives").turn(false);
    let long = harness.submit((0..64).collect(), 2);
    harness.serve();
    assert_eq!((ids(short).len(), ids(long)), (8, vec![64, 65]));
    let mixed = harness.log().iter().filter(|chunks| chunks.len() == 2).count();
    assert!(mixed >= 4, "the answer grew in every step that read the prompt: {:?}", harness.log());
}

#[test]
fn prompts_share_a_step_and_the_short_one_is_first() {
    let mut harness = Harness::with_room(|_| Act::Count, 1000, 4);
    harness.worker.as_mut().expect("it lives").limits = Arc::new(Limits {
        prefill_chunk_tokens: 64,
        context_tokens: 256,
        max_output_tokens: 64,
        max_concurrency: 4,
        prefix_reuse: false,
        guessing: false,
    });
    let (long, short) = (harness.submit((0..200).collect(), 1), harness.submit((0..20).collect(), 1));
    harness.serve();
    assert_eq!((ids(long).len(), ids(short).len()), (1, 1));
    assert_eq!(harness.log()[0], [20, 44], "the short prompt is read at once, the long one gets the rest");
}

#[test]
fn what_does_not_fit_waits_for_its_turn() {
    let mut harness = Harness::with_room(|_| Act::Count, 30, 4);
    let streams: Vec<_> = (0..3).map(|_| harness.submit(vec![40], 14)).collect();
    harness.serve();
    assert_eq!(harness.most_open.load(Ordering::SeqCst), 2);
    assert!(streams.into_iter().all(|stream| ids(stream).len() == 14));
    let never = harness.submit(vec![40], 60);
    harness.serve();
    assert!(matches!(never.blocking().next(), Some(Err(Error::ContextExceeded { .. }))));
}

#[test]
fn guesses_save_steps_and_change_nothing() {
    let run = |guessing: bool| {
        let mut harness = Harness::new(|_| Act::Count);
        let worker = harness.worker.as_mut().expect("it lives");
        worker.limits = Arc::new(Limits {
            context_tokens: 256,
            max_output_tokens: 64,
            prefill_chunk_tokens: 128,
            max_concurrency: 4,
            prefix_reuse: false,
            guessing,
        });
        // The prompt counts up to 60 and starts over: the answer goes on as the prompt did, then beyond it.
        let stream = harness.submit((1..60).chain(1..4).collect(), 64);
        harness.serve();
        (ids(stream), harness.steps.load(Ordering::SeqCst))
    };
    let ((plain, plain_steps), (guessed, guessed_steps)) = (run(false), run(true));
    assert_eq!(plain, (4..68).collect::<Vec<u32>>());
    assert_eq!(guessed, plain);
    assert_eq!(plain_steps, 64);
    assert!(guessed_steps < 25, "{guessed_steps} steps");
}

#[test]
fn nothing_is_guessed_where_nothing_can_be_taken_back() {
    let mut harness = Harness::new(|_| Act::Count);
    harness.worker.as_mut().expect("it lives").backend.forgets = false;
    let stream = harness.submit((1..60).chain(1..4).collect(), 32);
    harness.serve();
    assert_eq!(ids(stream), (4..36).collect::<Vec<u32>>());
    assert!(harness.log().iter().skip(4).all(|chunks| *chunks == [1]), "{:?}", harness.log());
}

#[test]
fn output_limits_hold() {
    let mut harness = Harness::new(|_| Act::Count);
    let (by_config, by_context) = (harness.submit(vec![1], 1000), harness.submit(vec![1; 250], 1000));
    harness.serve();
    assert_eq!((ids(by_config).len(), ids(by_context).len()), (64, 6));
}
