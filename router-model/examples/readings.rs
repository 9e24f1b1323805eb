//! Writes what the encoder reads of prompts, for training: JSON lines with a `prompt` on stdin, JSON strings on stdout.

use std::io::{BufRead, BufWriter, Write};

use router_model::complexity::reading;

#[derive(serde::Deserialize)]
struct Row {
    prompt: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let row: Row = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &reading(&row.prompt))?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
