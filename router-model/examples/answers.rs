//! Writes the features of graded answers for training: JSON lines on stdin, JSON lines on stdout.
//!
//! A line in has `prompt`, `answer`, `logprob` and `entropy` (one number a token), and the booleans `json`, `looped`,
//! `empty` and `cut_short`. A line out has `features`, whether the answer is `worthless` by rule, what was
//! made of the prompt as `profile`, and under `prefix` the features of the first tokens for each of the counts given as arguments that the answer
//! is longer than.

use std::io::{BufRead, BufWriter, Write};

use local_runtime::OutputFlag;
use router_model::confidence::{Gathering, features};
use router_model::{Classifier, ClassifierConfig, Prompt};
use serde_json::json;

#[derive(serde::Deserialize)]
struct Row {
    prompt: String,
    answer: String,
    logprob: Vec<f32>,
    entropy: Vec<f32>,
    json: bool,
    looped: bool,
    empty: bool,
    cut_short: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counts: Vec<usize> = std::env::args().skip(1).map(|count| count.parse()).collect::<Result<_, _>>()?;
    let classifier = Classifier::new(ClassifierConfig::default())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let profile = classifier.classify(&Prompt::from_text(&row.prompt));
        let mut gathering = Gathering::new(row.json);
        let mut prefix = serde_json::Map::new();
        for (index, (logprob, entropy)) in row.logprob.iter().zip(&row.entropy).enumerate() {
            if counts.contains(&index) && index > 0 {
                let evidence = gathering.evidence();
                prefix.insert(index.to_string(), json!(features(&evidence, &profile)));
            }
            gathering.token(*logprob, *entropy, "");
        }
        gathering.text(&row.answer);
        let flags = [
            (OutputFlag::Empty, row.empty),
            (OutputFlag::Loop, row.looped),
            (OutputFlag::Refusal, OutputFlag::refuses(&row.answer)),
            (OutputFlag::Truncated, row.cut_short),
        ];
        let flags: Vec<OutputFlag> =
            flags.into_iter().filter_map(|(flag, is_so)| is_so.then_some(flag)).collect();
        gathering.finish(row.cut_short, &flags);
        let evidence = gathering.evidence();
        let line = json!({
            "features": features(&evidence, &profile), "worthless": evidence.is_worthless(),
            "prefix": prefix, "profile": {"complexity": profile.complexity, "confidence": profile.confidence,
                "task": profile.task, "input_tokens": profile.input_tokens},
        });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
