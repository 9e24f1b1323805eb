//! Python clients: the official SDK, installed once per build directory.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with the packages that the example clients need.
///
/// # Panics
/// When pip cannot install them.
#[must_use]
pub fn packages() -> PathBuf {
    let root = std::env::current_exe().unwrap().parent().unwrap().join("python-clients");
    std::fs::create_dir_all(&root).unwrap();
    let lock = File::create(root.join("lock")).unwrap();
    lock.lock().unwrap();
    let requirements = examples::clients().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let stamp = root.join("installed.txt");
    let packages = root.join("packages");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return packages;
    }
    let _ = std::fs::remove_dir_all(&packages);
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(&packages)
        .arg("--requirement")
        .arg(&requirements)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&stamp, wanted).unwrap();
    packages
}

/// Runs a Python script against a gateway and returns what it printed.
///
/// # Panics
/// When it fails; the message has what it wrote.
#[must_use]
pub fn run(script: &Path, gateway: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new("python3")
        .arg(script)
        .args(arguments)
        .env("PYTHONPATH", packages())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SLUICEGATE_BASE_URL", format!("http://{gateway}/v1"))
        .env("OPENAI_API_KEY", "not-a-real-key")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", script.display());
    out.into_owned()
}
