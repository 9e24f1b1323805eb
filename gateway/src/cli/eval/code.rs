//! Running a model's Python against tests, for those who ask for it.
//!
//! **This is no sandbox.** The code runs as the user who runs the evaluation and can read what that user can read
//! and reach the network. What is done keeps honest mistakes cheap: an own process group, an empty environment, a
//! temporary directory, Python's isolated mode, limits on processor time, memory, file size, open files and
//! processes, a wall-clock limit, and no input. Use a container or a throw-away machine for models that
//! are not trusted. Without the flag nothing is run and such questions count as skipped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::score::fenced;

/// Time of one snippet, by the clock.
const WALL_MAX: Duration = Duration::from_secs(10);
/// How often a running snippet is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Sets limits on itself, runs the snippet, and writes a word that the snippet does not know, so that leaving early is
/// not taken for passing. Limits that a platform lacks are left out.
const RUNNER: &str = r#"
import resource, sys
word = sys.argv[1]
del sys.argv[1:]
for name, most in (("CPU", 5), ("AS", 1 << 30), ("FSIZE", 1 << 20), ("NOFILE", 32), ("NPROC", 0), ("CORE", 0)):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
    except (AttributeError, OSError, ValueError):
        pass
with open("snippet.py", encoding="utf-8") as file:
    program = compile(file.read(), "snippet.py", "exec")
exec(program, {"__name__": "__main__"})
sys.stdout.write("\n" + word)
sys.stdout.flush()
"#;

/// A Python interpreter that snippets may be run with.
#[derive(Debug)]
pub(super) struct Python {
    executable: PathBuf,
    pub(super) version: String,
}

impl Python {
    /// Asks an interpreter where it really is, since a wrapper script would not work in an empty environment.
    pub(super) fn find(command: &Path) -> Result<Self, String> {
        if cfg!(not(unix)) {
            return Err(String::from("--allow-code-execution needs the process limits of a Unix system"));
        }
        let question = "import resource, sys; print(sys.executable); print(sys.version.split()[0])";
        let output = Command::new(command).args(["-I", "-c", question]).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", command.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().collect::<Vec<_>>()[..] {
            [executable, version] if output.status.success() => {
                Ok(Self { executable: PathBuf::from(executable), version: version.to_owned() })
            }
            _ => Err(format!("{}: does not answer as a Python 3 interpreter does", command.display())),
        }
    }

    /// Whether the answer's code passes the tests.
    ///
    /// # Errors
    /// Where the snippet could not be started at all.
    pub(super) fn passes(&self, answer: &str, tests: &str) -> std::io::Result<bool> {
        let program = fenced(answer).unwrap_or(answer);
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("runner.py"), RUNNER)?;
        std::fs::write(directory.path().join("snippet.py"), format!("{program}\n\n{tests}\n"))?;
        let word = uuid::Uuid::new_v4().simple().to_string();
        let said = directory.path().join("output");
        let mut command = Command::new(&self.executable);
        command
            .args(["-I", "-S", "-B", "-X", "utf8", "runner.py", &word])
            .current_dir(directory.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&said)?)
            .stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let finished = wait(command.spawn()?)?;
        Ok(finished && std::fs::read(&said)?.ends_with(word.as_bytes()))
    }
}

/// Waits for a process, not for ever; true if it ended well. Whatever it started and left behind is ended too.
fn wait(mut child: Child) -> std::io::Result<bool> {
    let started = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if started.elapsed() > WALL_MAX => break None,
            None => std::thread::sleep(POLL),
        }
    };
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Usually there is nobody left to end.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    if status.is_none() {
        let _ = child.kill();
        child.wait()?;
    }
    Ok(status.is_some_and(|status| status.success()))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn code_is_right_when_its_tests_pass() {
        // Without an interpreter there is nothing to test; the feature itself says so then.
        let Ok(python) = Python::find(Path::new("python3")) else { return };
        let tests = "assert double(4) == 8";
        for (answer, passes) in [
            ("Sure:\n```python\ndef double(x):\n    return x * 2\n```\nDone.", true),
            ("def double(x):\n    return 2 * x", true),
            ("```python\ndef double(x):\n    return x\n```", false),
            ("no code at all", false),
            ("import os\nos._exit(0)", false),
            ("raise SystemExit(0)", false),
            ("import os\nassert 'HOME' not in os.environ\ndef double(x): return 2 * x", true),
            ("x = bytearray(1 << 31)\ndef double(x): return 2 * x", false),
            ("while True: pass", false),
        ] {
            assert_eq!(python.passes(answer, tests).unwrap(), passes, "{answer}");
        }
    }

    #[test]
    fn what_is_no_interpreter_is_refused() {
        assert!(Python::find(Path::new("/bin/false")).is_err());
        assert!(Python::find(Path::new("/nowhere/python3")).is_err());
    }
}
