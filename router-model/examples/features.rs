//! Writes the features of prompts for training: JSON lines with a `prompt` on stdin, records on stdout.
//!
//! Each record is little-endian: `u32` number of hand features and the `f32` values, `u32` number of buckets and
//! the `u32` values, `u32` number of words and their `u32` vocabulary slots, `f32` coverage. An optional argument
//! names the file with the bits of the vocabulary; without it every word is known.

use std::io::{BufRead, BufWriter, Write};

use router_model::complexity::{Extractor, Vocabulary};

#[derive(serde::Deserialize)]
struct Row {
    prompt: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vocabulary = match std::env::args().nth(1) {
        Some(path) => Vocabulary::from_bytes(&std::fs::read(path)?).ok_or("vocabulary has the wrong size")?,
        None => Vocabulary::everything(),
    };
    let extractor = Extractor::new(vocabulary);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let features = extractor.extract(&row.prompt);
        out.write_all(&u32::try_from(features.dense.len())?.to_le_bytes())?;
        for value in features.dense {
            out.write_all(&value.to_le_bytes())?;
        }
        for list in [&features.buckets, &features.slots] {
            out.write_all(&u32::try_from(list.len())?.to_le_bytes())?;
            for value in list {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        out.write_all(&features.coverage.to_le_bytes())?;
    }
    out.flush()?;
    Ok(())
}
