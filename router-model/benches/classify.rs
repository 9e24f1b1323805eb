//! Time of features with the score, and of the whole classification, at three sizes.
//!
//! Each call gets a text of its own, so that no memory of earlier scans helps; a last line repeats one prompt to
//! show what the memory saves. Prints p50 and p99 in microseconds.
#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::hint::black_box;
use std::time::Instant;

use router_model::complexity::ComplexityModel;
use router_model::{Classifier, ClassifierConfig, Prompt};

const WORDS: &str = "the service retries a failed call at most three times and records each attempt with its cost, \
    why does the second replica answer 12.5 ms later than the first when both read the same table? ";
const ROUNDS: usize = 400;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ComplexityModel::embedded()?;
    let classifier = Classifier::new(ClassifierConfig::default())?;
    for bytes in [64, 1024, 32 * 1024] {
        let texts: Vec<String> = (0..ROUNDS).map(|round| text(round, bytes)).collect();
        report("features+score", bytes, &texts, |text| {
            black_box(model.assess(&Prompt::from_text(text)));
        });
        report("classify", bytes, &texts, |text| {
            black_box(classifier.classify(&Prompt::from_text(text)));
        });
        let again = vec![texts[0].clone(); ROUNDS];
        report("classify (seen before)", bytes, &again, |text| {
            black_box(classifier.classify(&Prompt::from_text(text)));
        });
    }
    Ok(())
}

fn text(round: usize, bytes: usize) -> String {
    let mut text = format!("request {round}: ");
    while text.len() < bytes {
        text.push_str(WORDS);
    }
    text.truncate(bytes);
    text
}

fn report(what: &str, bytes: usize, texts: &[String], call: impl Fn(&str)) {
    call(&texts[0]);
    let mut times: Vec<f64> = texts
        .iter()
        .map(|text| {
            let start = Instant::now();
            call(text);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{what:24} {bytes:6} B  p50 {:8.1} us  p99 {:8.1} us",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}
