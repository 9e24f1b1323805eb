//! Scenarios: configurations, clients and traffic, and where they are for tests.

use std::path::PathBuf;

/// Root of the examples.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Folder of the clients.
#[must_use]
pub fn clients() -> PathBuf {
    root().join("clients")
}

/// Every configuration among the examples.
///
/// # Errors
/// When the folder cannot be read.
pub fn configurations() -> std::io::Result<Vec<PathBuf>> {
    let mut found = vec![root().join("sluicegate.toml")];
    for entry in std::fs::read_dir(root())? {
        let path = entry?.path().join("sluicegate.toml");
        if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}
