//! Accounting: one row a request, written once, in integer nano-dollars.
//!
//! [`Ledger`] is a handle to one writer thread behind a bounded channel. Rows are written in batches, one
//! transaction each, so that accounting costs microseconds a request. A row that opens a reservation for a
//! team with a hard budget is waited for ([`Ledger::open_now`]): such a request does not run unaccounted. While
//! the disk refuses rows they are kept in memory and the ledger is unhealthy; only when more wait than the
//! channel holds is a row dropped, which is counted, logged and an alarm in the metrics.
//!
//! A row keeps what its decision was made of ([`Recorded`]), so that another policy can be tried on it, and what was
//! said about its answer ([`Feedback`], judgements) is kept beside it. The text of a request is not.

mod budget;
mod graded;
mod history;
mod opinion;
mod rated;
mod report;
mod row;
mod schema;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub use budget::{BudgetError, Budgets, Reservation};
pub use history::{Considered, Period, Recorded, Stood};
pub use opinion::Feedback;
pub use report::{Grouping, Report, ReportLine, month_start_ms, parse_day};
pub use row::{Asked, Finish, Row};
pub use store::{Key, LedgerError, Store};

/// Commands that may wait for the writer.
const QUEUE_MAX: usize = 65_536;
/// Rows of one transaction at most.
const BATCH_MAX: usize = 1_024;
/// How long the writer collects rows before it commits a batch.
const BATCH_WAIT: Duration = Duration::from_millis(5);
/// How long the writer waits before it tries again after a failure.
const RETRY_WAIT: Duration = Duration::from_millis(500);

type Answer = oneshot::Sender<Result<(), LedgerError>>;
type Query = Box<dyn FnOnce(&mut Store) + Send>;

enum Command {
    /// Write a row; answer when it is on disk, if somebody waits.
    Write { row: Box<Row>, settled: bool, answer: Option<Answer> },
    /// Run a query.
    Query(Query),
    /// Write what there is and stop.
    Stop,
}

/// Handle to the ledger's writer.
#[derive(Clone)]
pub struct Ledger {
    sender: SyncSender<Command>,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Health {
    broken: AtomicBool,
    dropped: AtomicU64,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens a ledger and starts its writer. Rows that a dead process left open are settled first.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let store = Store::open(path)?;
        let lost = store.recover()?;
        if lost > 0 {
            tracing::warn!(lost, "requests were running when the process died: settled at their reservation");
        }
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let health = Arc::new(Health::default());
        let writer = Writer { store, receiver, health: health.clone(), pending: Vec::new() };
        std::thread::Builder::new()
            .name(String::from("ledger"))
            .spawn(move || writer.run())
            .map_err(|_| LedgerError::Stopped)?;
        Ok(Self { sender, health })
    }

    /// Opens a row before money can be spent, without waiting for the disk.
    pub fn open_row(&self, row: Row) {
        self.send(row, false);
    }

    /// Opens a row and waits until it is on disk: for requests that must not run unaccounted.
    ///
    /// # Errors
    /// [`LedgerError`] when it could not be written.
    pub async fn open_now(&self, row: Row) -> Result<(), LedgerError> {
        let (answer, written) = oneshot::channel();
        let command = Command::Write { row: Box::new(row), settled: false, answer: Some(answer) };
        self.sender.try_send(command).map_err(|_| LedgerError::Stopped)?;
        written.await.map_err(|_| LedgerError::Stopped)?
    }

    /// Settles a row.
    pub fn settle(&self, row: Row) {
        self.send(row, true);
    }

    fn send(&self, row: Row, settled: bool) {
        let command = Command::Write { row: Box::new(row), settled, answer: None };
        match self.sender.try_send(command) {
            Ok(()) => {}
            Err(
                TrySendError::Full(Command::Write { row, .. })
                | TrySendError::Disconnected(Command::Write { row, .. }),
            ) => {
                self.health.dropped.fetch_add(1, Ordering::Relaxed);
                self.health.broken.store(true, Ordering::Relaxed);
                tracing::error!(request = %row.id, settled, "a ledger row was dropped: the writer cannot keep up");
            }
            Err(_) => {}
        }
    }

    /// Runs a query on the writer's connection.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn query<T, F>(&self, query: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, LedgerError> + Send + 'static,
    {
        let (answer, done) = oneshot::channel();
        let run: Query = Box::new(move |store| {
            let _ = answer.send(query(store));
        });
        self.sender.try_send(Command::Query(run)).map_err(|_| LedgerError::Stopped)?;
        done.await.map_err(|_| LedgerError::Stopped)?
    }

    /// Notes how far two answers to a request agree (0 to 1), by a judge of that name. Does not wait: it is written
    /// after the rows that were settled before.
    pub fn judge(&self, request_id: &str, judge: &'static str, agreement: f64, time_ms: i64) {
        let request_id = request_id.to_owned();
        let write: Query = Box::new(move |store| match store.judge(&request_id, judge, agreement, time_ms) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(request = %request_id, judge, "a judgement about a request that has no row")
            }
            Err(error) => tracing::error!(request = %request_id, judge, %error, "a judgement was lost"),
        });
        if self.sender.try_send(Command::Query(write)).is_err() {
            tracing::error!(judge, "a judgement was lost: the ledger's writer cannot keep up or has stopped");
        }
    }

    /// Can rows be written now? Tries it.
    pub async fn is_writable(&self) -> bool {
        !self.health.broken.load(Ordering::Relaxed) && self.query(Store::probe).await.is_ok()
    }

    /// Rows that were lost because the writer could not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.health.dropped.load(Ordering::Relaxed)
    }

    /// Writes everything that is waiting and stops the writer. Blocks for at most `patience`.
    pub fn stop(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        if self.sender.send(Command::Stop).is_err() {
            return;
        }
        while !self.health.stopped.load(Ordering::Acquire) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

struct Writer {
    store: Store,
    receiver: Receiver<Command>,
    health: Arc<Health>,
    pending: Vec<(Row, bool)>,
}

impl Writer {
    fn run(mut self) {
        let mut waiting: Vec<Answer> = Vec::new();
        let mut queries: Vec<Query> = Vec::new();
        let mut stopping = false;
        while !stopping {
            stopping = self.collect(&mut waiting, &mut queries);
            let written = self.commit();
            for answer in waiting.drain(..) {
                let _ = answer.send(match &written {
                    Ok(()) => Ok(()),
                    Err(_) => Err(LedgerError::Stopped),
                });
            }
            for query in queries.drain(..) {
                query(&mut self.store);
            }
        }
        self.health.stopped.store(true, Ordering::Release);
    }

    /// Gathers a batch; true when the writer is to stop after it.
    ///
    /// After the first row of a batch the writer sleeps instead of waiting, so that the senders of the next ones
    /// need not wake it: waking a thread costs more than writing a row.
    fn collect(&mut self, waiting: &mut Vec<Answer>, queries: &mut Vec<Query>) -> bool {
        let first = if self.pending.is_empty() {
            self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            // Rows that the disk refused are tried again, also when nothing new arrives.
            self.receiver.recv_timeout(RETRY_WAIT)
        };
        let mut command = match first {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let mut slept = false;
        loop {
            match command {
                Command::Write { row, settled, answer } => {
                    slept |= answer.is_some();
                    self.push(*row, settled);
                    waiting.extend(answer);
                }
                Command::Query(query) => {
                    queries.push(query);
                    return false;
                }
                Command::Stop => return true,
            }
            if self.pending.len() >= BATCH_MAX {
                return false;
            }
            if !std::mem::replace(&mut slept, true) {
                std::thread::sleep(BATCH_WAIT);
            }
            command = match self.receiver.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            };
        }
    }

    /// Adds a row; a settlement replaces the opening that is still in the same batch.
    fn push(&mut self, row: Row, settled: bool) {
        if settled
            && let Some(open) = self.pending.iter_mut().rev().find(|(open, done)| !done && open.id == row.id)
        {
            *open = (row, true);
            return;
        }
        self.pending.push((row, settled));
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.store.write(&self.pending);
        match &result {
            Ok(()) => {
                self.pending.clear();
                if self.health.broken.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger can be written again");
                }
            }
            Err(error) => {
                if !self.health.broken.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, rows = self.pending.len(), "the ledger cannot be written: rows are kept in memory");
                }
                if self.pending.len() > QUEUE_MAX {
                    let excess = self.pending.len() - QUEUE_MAX;
                    self.pending.drain(..excess);
                    self.health.dropped.fetch_add(excess as u64, Ordering::Relaxed);
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use policies::Money;

    use super::*;

    fn row(id: &str, team: &str, reserved: i64, cost: Option<i64>) -> Row {
        Row {
            team: team.into(),
            reserved: Money::from_nanos(reserved),
            cost: cost.map(Money::from_nanos),
            price_source: String::from("catalogue"),
            ..Row::new(id.into(), 1_000)
        }
    }

    fn spent(path: &Path, team: &str) -> i64 {
        Store::open(path).unwrap().spent_since(team, 0).unwrap().nanos()
    }

    #[test]
    fn a_row_settles_once_and_sums_are_conserved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&path).unwrap();
        for i in 0..100 {
            ledger.open_row(row(&format!("r{i}"), "a", 500, None));
            ledger.settle(row(&format!("r{i}"), "a", 500, Some(i)));
            ledger.settle(row(&format!("r{i}"), "a", 500, Some(1_000_000)));
        }
        ledger.stop(Duration::from_secs(10));
        assert_eq!(spent(&path, "a"), (0..100).sum::<i64>());
    }

    #[test]
    fn what_a_dead_process_left_open_is_settled_at_its_reservation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let mut store = Store::open(&path).unwrap();
        let unpriced = Row { price_source: String::new(), ..row("z", "b", 0, None) };
        store
            .write(&[
                (row("x", "a", 700, None), false),
                (row("y", "a", 700, Some(3)), true),
                (unpriced, false),
            ])
            .unwrap();
        drop(store);
        Ledger::open(&path).unwrap().stop(Duration::from_secs(10));
        assert_eq!(spent(&path, "a"), 703);
        let report = Store::open(&path).unwrap().report(Grouping::Team, 0, i64::MAX).unwrap();
        assert_eq!(report.total.requests, 3, "what has no price is not settled as free of charge");
    }

    #[test]
    fn a_judgement_follows_the_row_that_it_is_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&path).unwrap();
        ledger.settle(row("r", "a", 0, Some(0)));
        ledger.judge("r", "shadow", 0.25, 2_000);
        ledger.judge("nobody's", "shadow", 1.0, 2_000);
        ledger.stop(Duration::from_secs(10));
        let mut rows = Vec::new();
        let period = Period { from_ms: 0, to_ms: i64::MAX, team: None };
        Store::open(&path)
            .unwrap()
            .recorded::<LedgerError>(&period, true, |row| {
                rows.push((row.id, row.agreement));
                Ok(())
            })
            .unwrap();
        assert_eq!(rows, [(String::from("r"), Some(0.25))]);
    }

    #[test]
    fn a_file_that_is_no_ledger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        std::fs::write(&path, b"this is not a database at all, not even close").unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }
}
