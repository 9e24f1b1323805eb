//! `sluicegate check` and `sluicegate init`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CliError, Common, Outcome, print, say};
use crate::config::{Overrides, TEMPLATE, reference};
use crate::router::RouterModel;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Print the reference of all keys (Markdown) instead.
    #[arg(long)]
    reference: bool,
}

#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// File to write; `-` for standard output.
    #[arg(default_value = "sluicegate.toml")]
    path: PathBuf,
    /// Overwrite a file that exists.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: &Options) -> Outcome {
    if options.reference {
        print(reference().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = options.common.load(Overrides::default())?;
    let router = RouterModel::load(config.classifier(), 0).map_err(|error| CliError::fault(&error))?;
    print(format_args!("{}: no faults", options.common.source()))?;
    print(format_args!("router model {}", router.revision()))?;
    print(format_args!("policy {} ({})", config.policy.name(), config.policy.revision()))?;
    for (rule, mode) in config.policy.modes() {
        print(format_args!("rule {rule}: {mode}"))?;
    }
    for term in config.policy.terms() {
        let what = match term.literals() {
            0 => String::from("a pattern"),
            1 => String::from("1 literal"),
            literals => format!("{literals} literals"),
        };
        let means = term.label.map_or_else(String::new, |label| format!(", at least {label}"));
        print(format_args!("term {}: {what}, found as {}{means}", term.name, term.kind))?;
    }
    for upstream in &config.upstreams {
        if let Err(error) = &upstream.api_key {
            say(&format!("warning: upstream {} is not available: {error}", upstream.name));
        }
        for model in &upstream.models {
            if model.price.or_else(|| config.prices.price(&model.name)).is_none() {
                say(&format!("warning: no price is known for {}/{}", upstream.name, model.name));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn init(options: &InitOptions) -> Outcome {
    if options.path.as_os_str() == "-" {
        print(TEMPLATE.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.path.exists() && !options.force {
        let message = format!("{} exists; give another name or --force", options.path.display());
        return Err(CliError::Fault(message));
    }
    std::fs::write(&options.path, TEMPLATE)?;
    say(&format!("wrote {}; next: sluicegate check, sluicegate serve", options.path.display()));
    Ok(ExitCode::SUCCESS)
}
