//! `sluicegate explain`: what would happen to a prompt, and what each alternative would cost. Sends nothing.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use comfy_table::Table;
use hyper::HeaderMap;
use policies::{Cost, Decision, Outcome as Decided, Plan, Profile, Rung, Situation, Standing};
use serde_json::json;

use super::{CliError, Common, Outcome, print};
use crate::ask::Ask as _;
use crate::config::{Config, Overrides};
use crate::http::chat::ChatRequest;
use crate::http::inbound::Inbound;
use crate::identity::{DEFAULT_TEAM, Identity};
use crate::local;
use crate::pipeline::decide;
use crate::portfolio::Portfolio;
use crate::refine;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// The prompt.
    #[arg(conflicts_with = "file", required_unless_present = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file (`-` for standard input); a JSON object is taken as a whole chat request.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Team that asks.
    #[arg(long)]
    team: Option<String>,
    /// Model that is asked for.
    #[arg(long, default_value = "auto")]
    model: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Outcome {
    let config = options.common.load(Overrides::default())?;
    let text = read_prompt(options)?;
    let is_request = options.file.is_some() && text.trim_start().starts_with('{');
    let body = if is_request {
        Bytes::from(text)
    } else {
        Bytes::from(
            json!({"model": options.model, "messages": [{"role": "user", "content": text}]}).to_string(),
        )
    };
    let inbound =
        Inbound::<ChatRequest>::parse(body, &HeaderMap::new()).map_err(|error| CliError::fault(&error))?;
    let classifier = super::whole_classifier(&config)?;
    let prompt = inbound.prompt().map_err(|error| CliError::fault(&error))?;
    let (mut profile, view) = classifier.look(&prompt);
    classifier.name(&prompt, &mut profile);
    let mut identity = Identity::default();
    identity.facts.team = options.team.clone().unwrap_or_else(|| DEFAULT_TEAM.to_owned());
    identity.facts.tier = config.team(&identity.facts.team).map_or("standard", |team| &team.tier).to_owned();
    let portfolio = assumed_portfolio(&config)?;
    let decides =
        |profile: &Profile| decide(&config.policy, &portfolio, &inbound.request, profile, &identity).1;
    if !refine::is_decisive(&profile, classifier.encoder_reach(), decides) {
        refine::refine_now(&classifier, &mut profile, &view);
    }
    let decision = decides(&profile);
    let (wants, targets) = inbound.request.targets(&portfolio);
    let request = inbound.request.facts(wants);
    let situation = Situation { request: &request, caller: &identity.facts, targets: &targets };
    let masked = config.policy.presume_masked(&decision, &profile, &situation);
    if options.json {
        let mut shown = as_json(&profile, &decision, &prompt);
        shown["masked"] = masked.as_ref().and_then(plan_of).map_or(
            serde_json::Value::Null,
            |plan| json!({"target": plan.target().id.to_string(), "label": plan.label()}),
        );
        print(shown)?;
    } else {
        let mut shown = for_people(&profile, &decision);
        if let Some(plan) = masked.as_ref().and_then(plan_of) {
            let (target, label) = (&plan.target().id, plan.label());
            shown.push_str(&format!(
                "\n\nmasked      {target}, as {label}, if nothing is found in what is left"
            ));
        }
        print(shown)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn plan_of(decision: &Decision) -> Option<&Plan> {
    match &decision.outcome {
        Decided::Serve(plan) => Some(plan),
        Decided::Refuse(_) => None,
    }
}

fn read_prompt(options: &Options) -> Result<String, CliError> {
    match (&options.prompt, &options.file) {
        (Some(prompt), _) => Ok(prompt.clone()),
        (None, Some(path)) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            Ok(text)
        }
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| CliError::Fault(format!("{} could not be read: {error}", path.display()))),
        (None, None) => Err(CliError::Usage(String::from("give a prompt or --file"))),
    }
}

/// The portfolio of a configuration, with the local model taken for usable when it is installed.
fn assumed_portfolio(config: &Config) -> Result<Portfolio, CliError> {
    let portfolio = Portfolio::new(config).map_err(|error| CliError::fault(&error))?;
    for model in &portfolio.locals {
        if local::store(config).locate(&model.config().model).is_some() {
            model.assume_installed();
        } else {
            let name = &model.config().model;
            model.set_missing(&format!("{name} is not installed: sluicegate models pull {name}"));
        }
    }
    Ok(portfolio)
}

fn as_json(profile: &Profile, decision: &Decision, prompt: &router_model::Prompt<'_>) -> serde_json::Value {
    let findings: Vec<_> = profile
        .sensitivity
        .findings
        .iter()
        .map(|finding| {
            let path = prompt.segments.get(finding.segment).map(|segment| &*segment.path);
            json!({"path": path, "start": finding.start, "end": finding.end, "type": finding.kind,
                   "subtype": finding.subtype, "score": finding.score, "source": finding.source})
        })
        .collect();
    let (route, refusal) = match &decision.outcome {
        Decided::Serve(plan) => (Some(crate::settlement::route(plan.target())), None),
        Decided::Refuse(refusal) => (None, Some(refusal)),
    };
    let (target, degraded) = match &decision.outcome {
        Decided::Serve(plan) => (Some(plan.target().id.to_string()), plan.degraded),
        Decided::Refuse(_) => (None, false),
    };
    let mode = match &decision.outcome {
        Decided::Serve(plan) => json!({
            "rule": plan.mode, "escalates_to": plan.escalation(plan.target()).map(|next| next.id.to_string()),
            "shadow": plan.shadow().map(|shadow| shadow.id.to_string()),
        }),
        Decided::Refuse(_) => serde_json::Value::Null,
    };
    json!({
        "profile": {
            "complexity": profile.complexity, "confidence": profile.confidence, "task": profile.task,
            "language": profile.language, "input_tokens": profile.input_tokens,
            "output_tokens": profile.output_tokens, "rung": profile.rung, "findings": findings,
            "topics": profile.sensitivity.topics, "doubt": profile.sensitivity.doubt,
        },
        "label": decision.labelled.label, "because": decision.labelled.because,
        "route": route, "target": target, "mode": mode, "degraded": degraded, "refusal": refusal,
        "rule": decision.reason.rule, "reason": decision.reason.text,
        "policy": decision.policy_revision, "alternatives": decision.alternatives,
    })
}

fn for_people(profile: &Profile, decision: &Decision) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "profile     complexity {:.2} (by {}), task {}, language {}, about {} tokens, answer about {}",
        profile.complexity,
        match profile.rung {
            Rung::Features => "features",
            Rung::Encoder => "features and encoder",
            Rung::Late => "features; the encoder failed",
        },
        profile.task,
        profile.language,
        profile.input_tokens,
        profile.output_tokens
    ));
    let kinds: Vec<String> =
        decision.labelled.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let topics: Vec<String> =
        profile.sensitivity.topics.iter().map(|(topic, score)| format!("{topic} {score:.2}")).collect();
    line(format!("found       {}", if kinds.is_empty() { "nothing".into() } else { kinds.join(", ") }));
    if !topics.is_empty() {
        line(format!("topics      {}", topics.join(", ")));
    }
    let doubt: Vec<_> = decision.labelled.doubt.iter().map(|doubt| doubt.as_str()).collect();
    if !doubt.is_empty() {
        line(format!("doubt       {}", doubt.join(", ")));
    }
    line(format!("label       {} ({})", decision.labelled.label, decision.labelled.because));
    let outcome = match &decision.outcome {
        Decided::Serve(plan) if plan.degraded => format!("{} (degraded)", plan.target().id),
        Decided::Serve(plan) => plan.target().id.to_string(),
        Decided::Refuse(refusal) => format!("refused: {refusal:?}"),
    };
    line(format!("decision    {outcome}"));
    line(format!("reason      {}", decision.reason.text));
    line(format!("policy      {}, rule {}", decision.policy_revision, decision.reason.rule));
    if let Decided::Serve(plan) = &decision.outcome {
        line(format!("mode        {}", mode(plan)));
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["alternative", "estimate in dollars", "expected quality", "standing"]);
    for alternative in &decision.alternatives {
        let estimate = match alternative.estimate {
            Cost::Priced(money) => money.to_string(),
            Cost::Unpriced => String::from("unpriced"),
        };
        table.add_row([
            alternative.target.to_string(),
            estimate,
            format!("{:.2}", alternative.expected_quality),
            standing(&alternative.standing),
        ]);
    }
    line(format!("\n{}", table.trim_fmt()));
    out.trim_end().to_owned()
}

/// The rule's mode, and who would be asked besides.
fn mode(plan: &Plan) -> String {
    let next = plan.escalation(plan.target()).map(|next| format!(" to {}", next.id));
    let shadow = plan.shadow().map(|shadow| format!(", shadow {}", shadow.id));
    format!("{}{}", plan.mode, next.or(shadow).unwrap_or_default())
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Chosen => String::from("chosen"),
        Standing::Fallback(place) => format!("fallback {place}"),
        Standing::Eligible => String::from("eligible"),
        Standing::NotCleared => String::from("not cleared for the label"),
        Standing::Incapable(what) => format!("does not support {what}"),
        Standing::Unavailable(why) => format!("not available: {why}"),
        Standing::NotAsked => String::from("the request names another model"),
    }
}
