//! The real binary, on free ports, with a configuration and a ledger of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rusqlite::Connection;

use crate::{client, eventually};

/// The small model that the tests run.
pub const MODEL: &str = "smollm2-135m-instruct";
/// The section that runs it.
const LOCAL: &str = "[local]\nmodel = \"smollm2-135m-instruct\"\nspinning = false\nmax_output_tokens = 24\n";

/// Path of the `sluicegate` binary that belongs to this test run.
///
/// # Panics
/// When it was not built: `cargo test --workspace` builds it.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let directory = test.parent().and_then(Path::parent).unwrap();
    let binary = directory.join(format!("sluicegate{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.is_file(), "{} is missing: run `cargo test --workspace`", binary.display());
    binary
}

/// Runs the binary to its end.
#[must_use]
pub fn run(arguments: &[&str], directory: &Path, stdin: &str) -> Output {
    let mut child = Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .env_remove("OPENAI_API_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut input, text.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Obtains the ONNX Runtime and the small model once, through the product's own command.
pub fn ensure_model() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let output = run(&["models", "pull", MODEL], directory.path(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// Obtains the ONNX Runtime once.
pub fn ensure_library() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let output = run(&["models", "pull", "onnxruntime"], directory.path(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// The committed tiny encoders, with `reference.json` beside them.
#[must_use]
pub fn encoders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../local-runtime/fixtures/encoders")
}

/// A running gateway; killed when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// Data plane.
    pub data: SocketAddr,
    /// Admin plane.
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    directory: Directory,
}

/// Where a gateway keeps its files.
#[derive(Debug)]
enum Directory {
    Own(tempfile::TempDir),
    Given(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Given(path) => path,
        }
    }
}

impl Gateway {
    /// Starts a gateway without a local model.
    pub async fn without_model(config: &str) -> Self {
        let own = tempfile::tempdir().unwrap();
        Self::start(Directory::Own(own), &format!("{config}\n[local]\nenabled = false\n"), &[]).await
    }

    /// The same in a given directory.
    pub async fn without_model_in(directory: &Path, config: &str) -> Self {
        let given = Directory::Given(directory.to_owned());
        Self::start(given, &format!("{config}\n[local]\nenabled = false\n"), &[]).await
    }

    /// Starts a gateway with the small model and waits until it is ready.
    pub async fn with_model(config: &str) -> Self {
        Self::with_model_in(None, config, &[]).await
    }

    /// The same in a given directory, with more arguments.
    pub async fn with_model_in(directory: Option<&Path>, config: &str, arguments: &[&str]) -> Self {
        tokio::task::spawn_blocking(ensure_model).await.unwrap();
        let directory = match directory {
            Some(path) => Directory::Given(path.to_owned()),
            None => Directory::Own(tempfile::tempdir().unwrap()),
        };
        let gateway = Self::start(directory, &format!("{config}\n{LOCAL}"), arguments).await;
        gateway.wait_ready().await;
        gateway
    }

    /// Starts a gateway with the small model and more lines of `[local]`, and waits until it is ready.
    pub async fn with_model_and(settings: &str) -> Self {
        tokio::task::spawn_blocking(ensure_model).await.unwrap();
        let own = Directory::Own(tempfile::tempdir().unwrap());
        let gateway = Self::start(own, &format!("{LOCAL}{settings}"), &[]).await;
        gateway.wait_ready().await;
        gateway
    }

    /// The same with more sections before it.
    pub async fn with_model_in_and(config: &str, settings: &str) -> Self {
        tokio::task::spawn_blocking(ensure_model).await.unwrap();
        let own = Directory::Own(tempfile::tempdir().unwrap());
        let gateway = Self::start(own, &format!("{config}\n{LOCAL}{settings}"), &[]).await;
        gateway.wait_ready().await;
        gateway
    }

    /// The same, when the model cannot be used; waits until it has said so.
    pub async fn with_unusable_model(settings: &str) -> Self {
        tokio::task::spawn_blocking(ensure_model).await.unwrap();
        let own = Directory::Own(tempfile::tempdir().unwrap());
        let gateway = Self::start(own, &format!("{LOCAL}{settings}"), &[]).await;
        let refused = "the local model cannot be used";
        eventually("the refusal", async || gateway.log().contains(refused).then_some(())).await;
        gateway
    }

    /// Starts a gateway with a tiny encoder and no chat model, and waits until it is ready. `settings` are more lines
    /// of `[local.embedding]`.
    pub async fn with_encoder(config: &str, settings: &str) -> Self {
        tokio::task::spawn_blocking(ensure_library).await.unwrap();
        let own = Directory::Own(tempfile::tempdir().unwrap());
        let model = encoders().join("tiny-bert");
        let local = format!(
            "[local]\nenabled = false\n[local.embedding]\nmodel = \"{}\"\nthreads = 1\n{settings}",
            model.display()
        );
        let gateway = Self::start(own, &format!("{config}\n{local}"), &[]).await;
        gateway.wait_ready().await;
        gateway
    }

    /// Starts a gateway whose embedding model is no such thing, and waits until it has said so.
    pub async fn with_broken_encoder() -> Self {
        tokio::task::spawn_blocking(ensure_library).await.unwrap();
        let own = Directory::Own(tempfile::tempdir().unwrap());
        let model = encoders().join("tiny-tagger");
        let local = format!("[local]\nenabled = false\n[local.embedding]\nmodel = \"{}\"\n", model.display());
        let gateway = Self::start(own, &local, &[]).await;
        let refused = "the local embedding model cannot be used";
        eventually("the refusal", async || gateway.log().contains(refused).then_some(())).await;
        gateway
    }

    async fn start(directory: Directory, config: &str, arguments: &[&str]) -> Self {
        let path = directory.path().join("test.toml");
        let ports =
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_timeout_s = 20\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        let ports = if config.contains("[server]") { "" } else { ports };
        // The names model needs the ONNX Runtime, which a test asks for by a section of its own.
        let detection = if config.contains("[detection]") { "" } else { "[detection]\nnames = \"off\"\n" };
        std::fs::write(&path, format!("{ports}{config}\n{detection}")).unwrap();
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&path)
            .args(arguments)
            .current_dir(directory.path())
            .env_remove("OPENAI_API_KEY")
            .env("TEST_UPSTREAM_KEY", "test-upstream-key")
            .env("RUST_LOG", "debug,hyper=info,h2=info,rustls=info,ort=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, sink) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                sink.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let seen = log.clone();
        let listening = eventually("the gateway to listen", async || {
            let text = seen.lock().unwrap().clone();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended with {status}: {text}");
            }
            text.lines().find(|line| line.starts_with("listening: ")).map(str::to_owned)
        })
        .await;
        let addresses: Vec<SocketAddr> = listening
            .split("://")
            .skip(1)
            .map(|part| part.split('/').next().unwrap_or_default().parse().unwrap())
            .collect();
        Self { child, data: addresses[0], admin: addresses[1], log, directory }
    }

    /// Waits for `/readyz`.
    pub async fn wait_ready(&self) {
        eventually("readiness", async || {
            let reply = client::get(self.data, "/readyz").await;
            assert!(!self.log().contains("cannot be used"), "{}", self.log());
            reply.status.is_success().then_some(())
        })
        .await;
    }

    /// Everything that it wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Directory of its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory().join("test.toml")
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The settled row of a request, as text by column name; waits for it.
    pub async fn row(&self, request_id: &str) -> Row {
        self.row_where("id = ?1", request_id).await
    }

    /// The settled row of the shadow of a request; waits for it.
    pub async fn shadow_of(&self, request_id: &str) -> Row {
        self.row_where("shadow_of = ?1", request_id).await
    }

    async fn row_where(&self, condition: &str, value: &str) -> Row {
        let path = self.directory().join("sluicegate.db");
        let query = format!("SELECT * FROM requests WHERE {condition} AND state = 'settled'");
        eventually("a settled row", async || {
            let connection = Connection::open(&path).unwrap();
            connection.busy_timeout(Duration::from_secs(5)).unwrap();
            let mut statement = connection.prepare(&query).unwrap();
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let mut rows = statement.query([value]).unwrap();
            let row = rows.next().unwrap()?;
            let value = |index: usize| match row.get_ref(index).unwrap() {
                rusqlite::types::ValueRef::Null => String::new(),
                rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                rusqlite::types::ValueRef::Real(x) => x.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Blob(_) => String::from("(blob)"),
            };
            Some(Row(names.into_iter().enumerate().map(|(index, name)| (name, value(index))).collect()))
        })
        .await
    }

    /// What a judge said of a request, from 0 to 1; waits for it.
    pub async fn judgement(&self, request_id: &str, judge: &str) -> f64 {
        let path = self.directory().join("sluicegate.db");
        let query = "SELECT agreement FROM judgements WHERE request_id = ?1 AND judge = ?2";
        eventually("a judgement", async || {
            let connection = Connection::open(&path).unwrap();
            connection.busy_timeout(Duration::from_secs(5)).unwrap();
            connection.query_row(query, [request_id, judge], |row| row.get(0)).ok()
        })
        .await
    }

    /// Number of rows in a state.
    #[must_use]
    pub fn rows(&self, state: &str) -> u64 {
        let connection = Connection::open(self.directory().join("sluicegate.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        let count = "SELECT COUNT(*) FROM requests WHERE state = ?1";
        connection.query_row(count, [state], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    }

    /// Asks it to read its configuration again.
    #[cfg(unix)]
    pub fn hang_up(&self) {
        let status = Command::new("kill").args(["-HUP", &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let killed = Command::new("kill").arg(self.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap()
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut log = std::io::Cursor::new(self.log());
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        }
    }
}

/// One ledger row.
#[derive(Debug, Clone)]
pub struct Row(Vec<(String, String)>);

impl Row {
    /// A column's text; NULL is empty.
    #[must_use]
    pub fn get(&self, column: &str) -> &str {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str()).unwrap()
    }

    /// A column as a whole number.
    #[must_use]
    pub fn number(&self, column: &str) -> i64 {
        self.get(column).parse().unwrap()
    }
}
