//! `sluicegate audit verify`: walks the chain in a ledger or in an exported file, and changes neither.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::super::{CliError, Common, Outcome, print};
use super::export::{Heading, Line};
use crate::audit::chain::{Body, Walked};
use crate::audit::{Broken, Hash, Head, Link, Seal, Walk};
use crate::config::{Overrides, SecretRef};
use crate::ledger::LedgerError;

#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Ledger to read (`sqlite://PATH`) instead of the configured one.
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    ledger: Option<String>,
    /// File that `sluicegate audit export --format jsonl` wrote, to verify instead of a ledger.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Begin with this record; the one before it is taken as it is.
    #[arg(long, value_name = "NUMBER", conflicts_with = "file", value_parser = clap::value_parser!(u64).range(1..))]
    since: Option<u64>,
    /// A head that was noted earlier, as `NUMBER:HASH` or the hash alone: the chain must still hold it. Only so is it seen that
    /// the end was cut off.
    #[arg(long, value_name = "HEAD", value_parser = Noted::parse)]
    head: Option<Noted>,
    /// Key that seals records (`env:NAME` or `file:PATH`), besides the configured one; may be given several times.
    #[arg(long, value_name = "REFERENCE")]
    key: Vec<String>,
}

/// A head that was noted earlier.
#[derive(Debug, Clone)]
struct Noted {
    text: String,
    sequence: Option<u64>,
    hash: Hash,
}

impl Noted {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || String::from("a head is written as NUMBER:HASH or HASH, with 64 hexadecimal digits");
        let (sequence, hash) = match text.split_once(':') {
            Some((number, hash)) => (Some(number.parse().map_err(|_| wrong())?), hash),
            None => (None, text),
        };
        let hash = Hash::parse(hash).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), sequence, hash })
    }

    fn is(&self, head: Head) -> bool {
        self.hash == head.hash && self.sequence.is_none_or(|sequence| sequence == head.sequence)
    }
}

/// Why a walk ended before its time.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Unreadable(String),
}

pub(super) fn run(options: &Options) -> Outcome {
    let config = options.common.load(Overrides::default())?;
    let mut seals: Vec<Seal> = options.key.iter().map(|key| seal(key)).collect::<Result<_, _>>()?;
    seals.extend(config.audit.is_keyed().then(|| config.audit.clone()));
    let walked = match &options.file {
        Some(path) => in_file(path, options.head.as_ref(), &seals),
        None => {
            let store = super::open(options.ledger.as_deref(), &config)?;
            in_ledger(&store, options.since.unwrap_or(1), options.head.as_ref(), &seals)
        }
    };
    match walked {
        Ok(walked) => {
            let withheld = match walked.withheld {
                0 => String::new(),
                count => format!(", {count} of them withheld"),
            };
            print(format_args!("intact: {} records{withheld}", walked.records))?;
            print(format_args!("head: {} ({})", walked.head, walked.seal))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Stopped::Broken(broken)) => Err(CliError::Fault(format!("BROKEN: {broken}"))),
        Err(error) => Err(CliError::fault(&error)),
    }
}

fn seal(reference: &str) -> Result<Seal, CliError> {
    let wrong = |message: String| CliError::Usage(format!("--key: {message}"));
    let secret = SecretRef::parse(reference)
        .and_then(|reference| reference.resolve())
        .map_err(|error| wrong(error.to_string()))?;
    Seal::keyed(secret.expose().as_bytes()).map_err(|error| wrong(error.to_string()))
}

/// Follows a walk and looks out for a noted head.
struct Watched<'a> {
    walk: Walk<'a>,
    noted: Option<&'a Noted>,
    met: bool,
}

impl<'a> Watched<'a> {
    fn after(head: Head, noted: Option<&'a Noted>, seals: &'a [Seal]) -> Self {
        Self { walk: Walk::after(head, seals), noted, met: noted.is_some_and(|noted| noted.is(head)) }
    }

    fn step(&mut self, link: &Link) -> Result<(), Broken> {
        self.walk.step(link)?;
        let head = Head { sequence: link.sequence, hash: link.hash };
        self.met |= self.noted.is_some_and(|noted| noted.is(head));
        Ok(())
    }

    fn end(self) -> Result<Walked, Broken> {
        let walked = self.walk.end()?;
        match self.noted.filter(|_| !self.met) {
            Some(noted) => Err(Broken::HeadMissing(noted.text.clone())),
            None => Ok(walked),
        }
    }
}

fn in_ledger(
    store: &crate::ledger::Store,
    since: u64,
    noted: Option<&Noted>,
    seals: &[Seal],
) -> Result<Walked, Stopped> {
    let before = match since {
        0 | 1 => Head::default(),
        since => {
            let sequence = since - 1;
            let missing = Stopped::Unreadable(format!("there is no record {sequence} to begin after"));
            Head { sequence, hash: store.audit_hash(sequence)?.ok_or(missing)? }
        }
    };
    let mut watched = Watched::after(before, noted, seals);
    store.audit_links::<Stopped>(since, |link| Ok(watched.step(&link?)?))?;
    Ok(watched.end()?)
}

fn in_file(path: &Path, noted: Option<&Noted>, seals: &[Seal]) -> Result<Walked, Stopped> {
    let fail = |line: usize, why: &dyn std::fmt::Display| {
        Stopped::Unreadable(format!("{}, line {line}: {why}", path.display()))
    };
    let mut lines = BufReader::new(File::open(path).map_err(|error| fail(0, &error))?).lines();
    let first = lines.next().transpose().map_err(|error| fail(1, &error))?.unwrap_or_default();
    let heading: Heading = serde_json::from_str(&first).map_err(|error| fail(1, &error))?;
    let before = heading.before().ok_or_else(|| fail(1, &"`after` is no head of a chain"))?;
    let mut watched = Watched::after(before, noted, seals);
    for (index, line) in lines.enumerate() {
        let number = index + 2;
        let line = line.map_err(|error| fail(number, &error))?;
        let line: Line<'_> = serde_json::from_str(&line).map_err(|error| fail(number, &error))?;
        let link = line.link().ok_or_else(|| fail(number, &"a line has `record` or `digest`, and `hash`"))?;
        watched.step(&link)?;
    }
    Ok(watched.end()?)
}

impl Heading {
    /// The head that the first record follows.
    fn before(&self) -> Option<Head> {
        Some(Head { sequence: self.after.0, hash: Hash::parse(&self.after.1)? })
    }
}

impl Line<'_> {
    fn link(&self) -> Option<Link> {
        let body = match (self.record, &self.digest) {
            (Some(record), None) => Body::Line(record.get().to_owned()),
            (None, Some(digest)) => Body::Withheld(Hash::parse(digest)?),
            _ => return None,
        };
        Some(Link { sequence: self.sequence, body, hash: Hash::parse(&self.hash)? })
    }
}
