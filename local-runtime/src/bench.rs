//! How fast a loaded model is, on this machine, now.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::generate::{Finish, GenerateRequest, Sampling, TokenEvent};
use crate::runtime::Runtime;

/// Prompt tokens of the prefill measurement.
const PROMPT_TOKENS: usize = 512;
/// Prompt tokens of the decode measurement.
const SHORT_PROMPT_TOKENS: usize = 64;
const OUTPUT_TOKENS: u32 = 64;
/// Runs of each; the median counts.
const RUNS: usize = 3;
/// Answers that are generated together.
const BATCHES: [usize; 4] = [1, 2, 4, 8];
/// Memory that is read to measure the bandwidth: more than processors keep near them.
const BANDWIDTH_BYTES: usize = 256 << 20;
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog, and 12 wizards quietly box 7 jugs of liquor. ";

/// Speed of a loaded model: medians of three runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BenchReport {
    /// Prompt tokens a second, for a prompt of [`BenchReport::prompt_tokens`].
    pub prefill_tokens_per_second: f64,
    /// Length of the long prompt, in tokens.
    pub prompt_tokens: usize,
    /// From the request to the first token, for a prompt of 64 tokens, in seconds.
    pub first_token_seconds: f64,
    /// The same for the long prompt, sent again with its last tokens changed.
    pub first_token_again_seconds: f64,
    /// Generated tokens a second of one answer, after the first, without guessing.
    pub decode_tokens_per_second: f64,
    /// The same for an answer that repeats its prompt, with guessing.
    pub copying_tokens_per_second: f64,
    /// Generated tokens a second of all answers together, for some numbers of answers.
    pub aggregate: Vec<Aggregate>,
    /// Tokens generated in each decode run.
    pub output_tokens: u32,
    /// Bytes of weights that are read for each token, if known.
    pub weight_bytes: Option<u64>,
    /// What this machine reads from memory with the model's threads, in bytes a second.
    pub bandwidth_bytes_per_second: f64,
    /// Threads that compute a step.
    pub threads: usize,
    /// Peak resident memory of the process so far, in bytes, where the platform tells (Linux). Mapped files count.
    pub peak_memory_bytes: Option<u64>,
}

/// Several answers at once.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Aggregate {
    /// Number of answers.
    pub batch: usize,
    /// Generated tokens a second of all together.
    pub tokens_per_second: f64,
}

impl BenchReport {
    /// The share of the memory bandwidth that decoding one answer uses.
    #[must_use]
    pub fn bandwidth_share(&self) -> Option<f64> {
        let bytes = self.weight_bytes? as f64;
        Some(bytes * self.decode_tokens_per_second / self.bandwidth_bytes_per_second)
    }
}

/// Measures a loaded model. Blocks; other requests meanwhile spoil the figures.
///
/// # Errors
/// Whatever generating can fail with.
pub fn bench(runtime: &Runtime) -> Result<BenchReport> {
    let room = runtime.info().context_tokens as usize;
    let long = PROMPT_TOKENS.min(room * 3 / 4);
    let mut tokens = runtime.tokenize(TEXT)?;
    while tokens.len() < long + RUNS {
        tokens.extend_from_within(..);
    }
    let plain = |input: Vec<u32>, max_tokens| GenerateRequest {
        ignore_eos: true,
        sampling: Sampling::greedy(),
        guessing: false,
        ..GenerateRequest::new(input, max_tokens)
    };
    let short = |run: usize| tokens[run..run + SHORT_PROMPT_TOKENS.min(long)].to_vec();
    measure(runtime, vec![plain(tokens[..16.min(long)].to_vec(), 2)])?;
    let (mut prefill, mut decode, mut first) = (Vec::new(), Vec::new(), Vec::new());
    let (mut again, mut copying) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let input = tokens[run..run + long].to_vec();
        let finish = one(runtime, plain(input.clone(), 1))?;
        prefill.push(long as f64 / finish.time_to_first_token.as_secs_f64());
        let finish = one(runtime, plain(short(run), OUTPUT_TOKENS))?;
        decode.push(rate(&finish));
        first.push(finish.time_to_first_token.as_secs_f64());
        let tenant = Some("bench".into());
        let mut changed = input.clone();
        changed.rotate_right(4);
        changed[..long - 8].copy_from_slice(&input[..long - 8]);
        one(runtime, GenerateRequest { tenant: tenant.clone(), ..plain(input, 1) })?;
        let finish = one(runtime, GenerateRequest { tenant, ..plain(changed, 1) })?;
        again.push(finish.time_to_first_token.as_secs_f64());
        let request = GenerateRequest { guessing: true, ..plain(short(run), OUTPUT_TOKENS) };
        copying.push(rate(&one(runtime, request)?));
    }
    let mut aggregate = Vec::new();
    for batch in BATCHES.into_iter().filter(|&batch| batch <= runtime.max_concurrency()) {
        let mut rates = Vec::new();
        for run in 0..RUNS {
            let requests = (0..batch).map(|_| plain(short(run), OUTPUT_TOKENS)).collect();
            rates.push(measure(runtime, requests)?);
        }
        aggregate.push(Aggregate { batch, tokens_per_second: median(&mut rates) });
    }
    // Before the bandwidth is measured, which takes memory of its own.
    let peak_memory_bytes = peak_memory_bytes();
    Ok(BenchReport {
        prefill_tokens_per_second: median(&mut prefill),
        prompt_tokens: long,
        first_token_seconds: median(&mut first),
        first_token_again_seconds: median(&mut again),
        decode_tokens_per_second: median(&mut decode),
        copying_tokens_per_second: median(&mut copying),
        aggregate,
        output_tokens: OUTPUT_TOKENS,
        weight_bytes: runtime.info().weight_bytes,
        bandwidth_bytes_per_second: bandwidth(runtime.threads()),
        threads: runtime.threads(),
        peak_memory_bytes,
    })
}

/// Generated tokens a second after the first.
fn rate(finish: &Finish) -> f64 {
    f64::from(finish.output_tokens - 1) / (finish.total - finish.time_to_first_token).as_secs_f64()
}

fn one(runtime: &Runtime, request: GenerateRequest) -> Result<Finish> {
    for event in runtime.generate(request)?.blocking() {
        if let TokenEvent::Done(finish) = event? {
            return Ok(finish);
        }
    }
    Err(crate::error::Error::WorkerGone)
}

/// Runs requests together; tokens a second of all together, from the time when all have their first token to when
/// the first one ends.
fn measure(runtime: &Runtime, requests: Vec<GenerateRequest>) -> Result<f64> {
    let streams =
        requests.into_iter().map(|request| runtime.generate(request)).collect::<Result<Vec<_>>>()?;
    let readers: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            std::thread::spawn(move || {
                let mut times = Vec::new();
                for event in stream.blocking() {
                    if let TokenEvent::Token(_) = event? {
                        times.push(Instant::now());
                    }
                }
                Ok::<_, crate::error::Error>(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.join().map_err(|_| crate::error::Error::WorkerGone)??);
    }
    let begin = all.iter().filter_map(|times| times.first()).max().copied();
    let end = all.iter().filter_map(|times| times.last()).min().copied();
    let (Some(begin), Some(end)) = (begin, end) else { return Ok(0.0) };
    let tokens = all.iter().flatten().filter(|&&time| time > begin && time <= end).count();
    Ok(tokens as f64 / end.duration_since(begin).max(Duration::from_micros(1)).as_secs_f64())
}

/// Reads a large piece of memory with some threads, several times; the best counts.
fn bandwidth(threads: usize) -> f64 {
    let memory = vec![1_u64; BANDWIDTH_BYTES / size_of::<u64>()];
    let pass = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for part in memory.chunks(memory.len().div_ceil(threads)) {
                scope.spawn(move || {
                    let mut sums = [0_u64; 32];
                    for words in part.chunks_exact(32) {
                        sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
                    }
                    black_box(sums)
                });
            }
        });
        BANDWIDTH_BYTES as f64 / started.elapsed().as_secs_f64()
    };
    (0..4).map(|_| pass()).fold(0.0, f64::max)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The high-water mark that Linux keeps (`VmHWM` in `proc(5)`).
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
