//! `sluicegate chat`: ask the local model, as fast as it goes.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt as _;
use local_runtime::{ChatMessage, ChatPrompt, FinishReason, GenerateRequest, Role, Sampling, TokenEvent};
use policies::Profile;
use router_model::confidence::Gathering;
use router_model::{AnswerModel, Classifier, ClassifierConfig, Prompt};

use super::{CliError, Common, Outcome, print, runtime, say};
use crate::config::Overrides;
use crate::local;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Local model [default: the configured one].
    #[arg(long, value_name = "NAME_OR_DIR")]
    model: Option<String>,
    /// System prompt.
    #[arg(long)]
    system: Option<String>,
    /// Output tokens at most.
    #[arg(long, default_value_t = 512)]
    max_tokens: u32,
    /// 0 takes the likeliest token each time.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Seed of the random choices.
    #[arg(long)]
    seed: Option<u64>,
    /// The prompt.
    prompt: String,
}

pub(super) fn run(options: &Options) -> Outcome {
    let overrides = Overrides { model: options.model.clone(), ..Overrides::default() };
    let config = options.common.load(overrides)?;
    let Some(settings) = config.local() else {
        return Err(CliError::Fault(String::from("no local model is configured (local.enabled is false)")));
    };
    let model = local::load(&config, settings).map_err(CliError::Fault)?;
    let _stop = local::StopOnDrop(model.clone());
    let mut messages = Vec::new();
    messages.extend(options.system.clone().map(|text| ChatMessage::new(Role::System, text)));
    messages.push(ChatMessage::new(Role::User, options.prompt.clone()));
    let fault = |error: local_runtime::Error| CliError::fault(&error);
    let (answers, profile) = judges(&options.prompt)?;
    let mut gathering = Gathering::new(false);
    let mut request =
        GenerateRequest::new(model.render(&ChatPrompt::new(messages)).map_err(fault)?, options.max_tokens);
    request.sampling =
        Sampling { temperature: options.temperature, seed: options.seed, ..Sampling::default() };
    runtime()?.block_on(async {
        let mut tokens = model.generate(request).map_err(fault)?;
        let mut out = std::io::stdout();
        while let Some(event) = tokens.next().await {
            match event.map_err(fault)? {
                TokenEvent::Token(token) => {
                    gathering.token(token.logprob, token.entropy, &token.text);
                    out.write_all(token.text.as_bytes())?;
                    out.flush()?;
                }
                TokenEvent::Done(finish) => {
                    print(&finish.text)?;
                    gathering.text(&finish.text);
                    gathering.finish(finish.reason == FinishReason::Length, &finish.flags);
                    let confidence = answers.assess(&gathering.evidence(), &profile);
                    let decode = finish.total.saturating_sub(finish.time_to_first_token).as_secs_f64();
                    let speed = f64::from(finish.output_tokens.saturating_sub(1)) / decode.max(1e-9);
                    say(&format!(
                        "{}: {} tokens in, {} out, first after {:.2} s, {speed:.1} tok/s, confidence {confidence:.2} ({:?})",
                        model.info().name,
                        finish.input_tokens,
                        finish.output_tokens,
                        finish.time_to_first_token.as_secs_f64(),
                        finish.reason,
                    ));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The answer model, and what it is to know of the prompt.
fn judges(prompt: &str) -> Result<(Arc<AnswerModel>, Profile), CliError> {
    let classifier = Classifier::new(ClassifierConfig::default()).map_err(|error| CliError::fault(&error))?;
    Ok((classifier.answers().clone(), classifier.classify(&Prompt::from_text(prompt))))
}
