//! What putting masked values back costs a streamed chunk, beside what the gateway does with a chunk anyway.
//!
//! `cargo bench -p sluicegate --bench unmask` prints nanoseconds per chunk: reading it for accounting (JSON of the wire), and
//! putting values back, for answers in which one chunk in ten belongs to a word and for answers without any.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, reason = "a bench has nobody to tell")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway::identity::Identity;
use gateway::mask::{Unmasking, Vaults};
use gateway::upstream::openai::WireChunk;
use gateway::upstream::sse;
use policies::{EntityKind, MaskSettings};

const CHUNKS: usize = 20_000;
const ROUNDS: usize = 15;

fn event(text: &str) -> Bytes {
    let chunk = serde_json::json!({"id": "chatcmpl-9f2", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "gpt-4o", "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": null, "finish_reason": null}]});
    Bytes::from(format!("data: {chunk}\n\n"))
}

/// Chunks of a few letters each, as models stream them; every `every`-th group of pieces is a word.
fn answer(word: &str, every: usize) -> Vec<Bytes> {
    let pieces = ["The", " refund", " was", " sent", " to", " Person", " in", " charge", ".", " ["];
    let mut chunks = Vec::with_capacity(CHUNKS);
    while chunks.len() < CHUNKS {
        for piece in pieces {
            chunks.push(event(piece));
        }
        if every > 0 && chunks.len() % (every * pieces.len()) == 0 {
            let letters: Vec<char> = word.chars().collect();
            chunks.extend(letters.chunks(4).map(|part| event(&part.iter().collect::<String>())));
        }
    }
    chunks
}

/// The median time of a chunk, in nanoseconds.
fn per_chunk(chunks: &[Bytes], mut run: impl FnMut(&[Bytes])) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run(chunks);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let count = chunks.len() as f64;
    times[ROUNDS / 2] * 1e9 / count
}

fn main() {
    let conversation = Vaults::default().conversation(&Identity::default(), "first");
    let mut conversation = conversation.lock().unwrap();
    for (number, kind) in EntityKind::ALL.iter().enumerate() {
        let settings = MaskSettings::default();
        conversation.entry(*kind, &format!("value-{number}"), &settings, |_| true).unwrap();
    }
    let word = conversation.word(0, false);
    let words = Arc::new(conversation.words());
    println!("{:>28} {:>12} {:>12} {:>8}", "answer", "read ns", "unmask ns", "ratio");
    for (name, every) in [("without words", 0), ("a word in some 15 chunks", 1)] {
        let chunks = answer(&word, every);
        let read = per_chunk(&chunks, |chunks| {
            for chunk in chunks {
                let data = sse::data(chunk).unwrap();
                black_box(serde_json::from_slice::<WireChunk<'_>>(&data).unwrap().written_chars());
            }
        });
        let unmask = per_chunk(&chunks, |chunks| {
            let mut unmasking = Unmasking::new(words.clone(), false);
            for chunk in chunks {
                black_box(unmasking.event(chunk.clone()));
            }
        });
        println!("{name:>28} {read:>12.0} {unmask:>12.0} {:>8.2}", unmask / read);
    }
}
