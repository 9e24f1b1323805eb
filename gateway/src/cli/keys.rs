//! `sluicegate keys`: virtual keys.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;

use super::{CliError, Common, Outcome, print, say, system_clock};
use crate::config::Overrides;
use crate::identity::create_key;
use crate::ledger::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a key; its secret is shown once and stored only as a hash.
    Create {
        #[command(flatten)]
        common: Common,
        /// Team that pays for what the key uses.
        #[arg(long)]
        team: String,
        /// Name for people.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// All keys, without their secrets.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a key; running gateways notice within seconds.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// Identifier from `keys list`.
        id: String,
    },
}

pub(super) fn run(command: &Command) -> Outcome {
    let (Command::Create { common, .. } | Command::List { common } | Command::Revoke { common, .. }) =
        command;
    let config = common.load(Overrides::default())?;
    let fault = |error: crate::ledger::LedgerError| CliError::fault(&error);
    let store = Store::open(&config.ledger).map_err(fault)?;
    let now_ms = system_clock()();
    match command {
        Command::Create { team, name, .. } => {
            if team.trim().is_empty() {
                return Err(CliError::Usage(String::from("--team must not be empty")));
            }
            let (key, secret) = create_key(&store, name, team.trim(), now_ms).map_err(fault)?;
            print(&secret)?;
            say(&format!("{} for team {}: this is shown once, keep it safe", key.id, key.team));
        }
        Command::List { .. } => {
            let mut table = Table::new();
            table.load_style(comfy_table::presets::NOTHING);
            table.set_header(["id", "team", "name", "created", "revoked"]);
            for key in store.keys().map_err(fault)? {
                let revoked = key.revoked_ms.map(shown_time).unwrap_or_default();
                table.add_row([key.id, key.team, key.name, shown_time(key.created_ms), revoked]);
            }
            print(table.trim_fmt())?;
        }
        Command::Revoke { id, .. } => {
            if !store.revoke_key(id, now_ms).map_err(fault)? {
                return Err(CliError::Fault(format!("no valid key is called {id}")));
            }
            say(&format!("{id} is revoked"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_time(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M").to_string())
        .unwrap_or_default()
}
