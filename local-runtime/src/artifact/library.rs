//! Finding and fetching the ONNX Runtime shared library.
//!
//! The wheel is only a container: one shared library is taken out of it, and Python is not needed to run it.

use std::path::{Path, PathBuf};

use super::assemble;
use super::catalogue::{ONNX_RUNTIME_BUILDS, ONNX_RUNTIME_VERSION, RuntimeBuild};
use super::fetch::{Fetcher, Progress};
use crate::error::{Error, Result};

const VARIABLE: &str = "ORT_DYLIB_PATH";
const COMMAND: &str = "sluicegate models pull onnxruntime";

pub(crate) fn find(root: &Path, config: Option<&Path>) -> Result<PathBuf> {
    let from_environment = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(explicit) = config.map(Path::to_path_buf).or(from_environment) {
        if explicit.is_file() {
            return Ok(explicit);
        }
        let reason = "there is no such file".to_owned();
        return Err(Error::LibraryUnusable { path: explicit, reason });
    }
    let cached = root.join("onnxruntime").join(ONNX_RUNTIME_VERSION).join(file_name());
    if cached.is_file() {
        return Ok(cached);
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    if let Some(found) = beside.as_deref().and_then(in_directory) {
        return Ok(found);
    }
    let searched =
        [Some("the configuration".to_owned()), Some(VARIABLE.to_owned()), Some(cached.display().to_string())]
            .into_iter()
            .chain([beside.map(|directory| directory.display().to_string())])
            .flatten()
            .collect::<Vec<_>>()
            .join(", ");
    Err(Error::LibraryMissing { searched, command: COMMAND.to_owned() })
}

pub(crate) fn fetch(root: &Path, fetcher: &dyn Fetcher, progress: &dyn Progress) -> Result<PathBuf> {
    let build = build_for_this_platform()?;
    let downloads = root.join("downloads").join("onnxruntime");
    std::fs::create_dir_all(&downloads).map_err(Error::io("create", &downloads))?;
    progress.begin(&format!("downloading ONNX Runtime {ONNX_RUNTIME_VERSION}"), None);
    let wheel = assemble::ensure_wheel(&build.wheel, &downloads, fetcher);
    progress.end();
    let part = downloads.join("library.part");
    let digest = assemble::concatenate(&[build.wheel], &[wheel?], &part, progress)?;
    if digest != build.library_sha256 {
        return Err(assemble::mismatch("the ONNX Runtime library", build.library_sha256, &digest));
    }
    let directory = root.join("onnxruntime").join(ONNX_RUNTIME_VERSION);
    std::fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
    let path = directory.join(file_name());
    std::fs::rename(&part, &path).map_err(Error::io("rename", part))?;
    super::remove_if_present(&downloads)?;
    Ok(path)
}

fn build_for_this_platform() -> Result<&'static RuntimeBuild> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = ONNX_RUNTIME_BUILDS.iter().find(|build| build.os == os && build.arch == arch);
    build.ok_or(Error::UnsupportedPlatform { os, arch })
}

fn file_name() -> String {
    match std::env::consts::OS {
        "macos" => format!("libonnxruntime.{ONNX_RUNTIME_VERSION}.dylib"),
        "windows" => "onnxruntime.dll".to_owned(),
        _ => format!("libonnxruntime.so.{ONNX_RUNTIME_VERSION}"),
    }
}

/// Any version of the library in a directory, the newest name first.
fn in_directory(directory: &Path) -> Option<PathBuf> {
    let is_library = |name: &str| {
        name.starts_with("libonnxruntime.so")
            || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
            || name == "onnxruntime.dll"
    };
    let entries = std::fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok());
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| is_library(&name.to_string_lossy())))
        .collect();
    found.sort();
    found.pop()
}
