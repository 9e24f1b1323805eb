//! How fast a loaded model is, on this machine, now.

use std::time::Duration;

use crate::error::Result;
use crate::generate::{GenerateRequest, Sampling, TokenEvent};
use crate::runtime::Runtime;

/// Prompt tokens of the prefill measurement.
const PROMPT_TOKENS: usize = 512;
/// Prompt tokens of the decode measurement.
const SHORT_PROMPT_TOKENS: usize = 64;
const OUTPUT_TOKENS: u32 = 64;
/// Runs of each; the median counts.
const RUNS: usize = 3;
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog, and 12 wizards quietly box 7 jugs of liquor. ";

/// Speed of a loaded model: medians of three runs, one request at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchReport {
    /// Prompt tokens a second, for a prompt of [`BenchReport::prompt_tokens`].
    pub prefill_tokens_per_second: f64,
    /// Generated tokens a second, after the first.
    pub decode_tokens_per_second: f64,
    /// From the request to the first token, for a prompt of 64 tokens.
    pub time_to_first_token: Duration,
    /// Length of the long prompt, in tokens.
    pub prompt_tokens: usize,
    /// Tokens generated in each decode run.
    pub output_tokens: u32,
    /// Peak resident memory of the process so far, in bytes, where the platform tells (Linux).
    pub peak_memory_bytes: Option<u64>,
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
    let (mut prefill, mut decode, mut first) = (Vec::new(), Vec::new(), Vec::new());
    measure(runtime, tokens[..16.min(long)].to_vec(), 2)?;
    for run in 0..RUNS {
        // Each run begins elsewhere in the text, so that no prefix is reused.
        let (waited, _) = measure(runtime, tokens[run..run + long].to_vec(), 1)?;
        prefill.push(long as f64 / waited.as_secs_f64());
        let (waited, rest) =
            measure(runtime, tokens[run..run + SHORT_PROMPT_TOKENS.min(long)].to_vec(), OUTPUT_TOKENS)?;
        decode.push(f64::from(OUTPUT_TOKENS - 1) / rest.as_secs_f64());
        first.push(waited.as_secs_f64());
    }
    Ok(BenchReport {
        prefill_tokens_per_second: median(&mut prefill),
        decode_tokens_per_second: median(&mut decode),
        time_to_first_token: Duration::from_secs_f64(median(&mut first)),
        prompt_tokens: long,
        output_tokens: OUTPUT_TOKENS,
        peak_memory_bytes: peak_memory_bytes(),
    })
}

/// Time to the first token, and from there to the end.
fn measure(runtime: &Runtime, input: Vec<u32>, max_tokens: u32) -> Result<(Duration, Duration)> {
    let request = GenerateRequest {
        ignore_eos: true,
        sampling: Sampling::greedy(),
        ..GenerateRequest::new(input, max_tokens)
    };
    let mut times = (Duration::ZERO, Duration::ZERO);
    for event in runtime.generate(request)?.blocking() {
        if let TokenEvent::Done(finish) = event? {
            times = (finish.time_to_first_token, finish.total - finish.time_to_first_token);
        }
    }
    Ok(times)
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
