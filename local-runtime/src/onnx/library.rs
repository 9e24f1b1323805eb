//! Loading the ONNX Runtime library, once.
//!
//! The one global of this crate, because the library itself is one: a process can load a single ONNX Runtime, and its
//! environment must outlive every session.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::error::{Error, Result};

static LOADED: OnceLock<(PathBuf, Environment)> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// The environment of the library at `path`, which is loaded if none is.
pub(crate) fn environment(path: &Path) -> Result<&'static Environment> {
    let unusable = |reason: String| Error::LibraryUnusable { path: path.to_path_buf(), reason };
    let absolute = std::fs::canonicalize(path).map_err(|error| unusable(error.to_string()))?;
    let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded, environment)) = LOADED.get() {
        return match *loaded == absolute {
            true => Ok(environment),
            false => Err(Error::LibraryAlreadyLoaded { loaded: loaded.clone(), asked: absolute }),
        };
    }
    let builder = ort::init_from(&absolute).map_err(|error| unusable(error.to_string()))?;
    let environment = builder.with_name("sluicegate").build().map_err(Error::onnx("start"))?;
    environment.set_log_level(LogLevel::Fatal);
    Ok(&LOADED.get_or_init(|| (absolute, environment)).1)
}
