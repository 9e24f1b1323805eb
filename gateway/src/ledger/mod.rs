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

mod audited;
mod budget;
mod graded;
mod history;
mod opinion;
mod rated;
mod report;
mod row;
mod schema;
mod sessions;
mod store;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub use audited::Extract;
pub use budget::{BudgetError, Budgets, Reservation};
pub use history::{Considered, Period, Recorded, Stood};
pub use opinion::Feedback;
pub use report::{Grouping, Report, ReportLine, month_start_ms, parse_day};
pub use row::{Asked, Finish, Row};
pub use sessions::{STORED_MS, SessionLabel};
pub use store::{Key, LedgerError, Store};

use crate::audit::{Entry, Head, Seal};
use audited::Batch;

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
    /// Write a row, with its audit record; answer when it is on disk, if somebody waits.
    Write { row: Box<Row>, settled: bool, entry: Option<Box<Entry>>, answer: Option<Answer> },
    /// Append an audit record; answer when it is on disk, if somebody waits.
    Audit { entry: Box<Entry>, answer: Option<Answer> },
    /// Raise a session's label.
    Session(Box<SessionLabel>),
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
    audit_lost: AtomicU64,
    audit_head: Mutex<Head>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens a ledger and starts its writer, which goes on with the audit chain under this seal. Rows that a dead process
    /// left open are settled first.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be opened, or its chain is sealed with a key and none is given.
    pub fn open(path: &Path, seal: Seal, now_ms: i64) -> Result<Self, LedgerError> {
        let mut store = Store::open(path)?;
        store.audit_head(&seal)?;
        let lost = store.recover(&seal, now_ms)?;
        if lost > 0 {
            tracing::warn!(lost, "requests were running when the process died: settled at their reservation");
        }
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let audit_head = Mutex::new(store.audit_head(&seal)?);
        let health = Arc::new(Health { audit_head, ..Health::default() });
        let pending = Pending::default();
        let writer = Writer { store, seal, receiver, health: health.clone(), pending, lost_told: 0 };
        std::thread::Builder::new()
            .name(String::from("ledger"))
            .spawn(move || writer.run())
            .map_err(|_| LedgerError::Stopped)?;
        Ok(Self { sender, health })
    }

    /// Opens a row before money can be spent, without waiting for the disk.
    pub fn open_row(&self, row: Row) {
        self.send(row, false, None);
    }

    /// Opens a row and waits until it is on disk: for requests that must not run unaccounted.
    ///
    /// # Errors
    /// [`LedgerError`] when it could not be written.
    pub async fn open_now(&self, row: Row) -> Result<(), LedgerError> {
        let (answer, written) = oneshot::channel();
        let command =
            Command::Write { row: Box::new(row), settled: false, entry: None, answer: Some(answer) };
        self.sender.try_send(command).map_err(|_| LedgerError::Stopped)?;
        written.await.map_err(|_| LedgerError::Stopped)?
    }

    /// Settles a row, and appends its audit record in the same transaction. Does not wait.
    pub fn settle(&self, row: Row, entry: Option<Entry>) {
        self.send(row, true, entry);
    }

    /// Appends an audit record without waiting for the disk.
    pub fn audit(&self, entry: Entry) {
        self.hand(Command::Audit { entry: Box::new(entry), answer: None });
    }

    /// Appends an audit record and waits until it is on disk: for data that must not leave unrecorded. A record that could
    /// not be written is not tried again, since what it tells of does not happen.
    ///
    /// # Errors
    /// [`LedgerError`] when it could not be written.
    pub async fn audit_now(&self, entry: Entry) -> Result<(), LedgerError> {
        let (answer, written) = oneshot::channel();
        let command = Command::Audit { entry: Box::new(entry), answer: Some(answer) };
        self.sender.try_send(command).map_err(|_| LedgerError::Stopped)?;
        written.await.map_err(|_| LedgerError::Stopped)?
    }

    /// Raises the stored label of a session, without waiting. False when it could not be handed over.
    #[must_use]
    pub fn label_session(&self, label: SessionLabel) -> bool {
        self.hand(Command::Session(Box::new(label)))
    }

    fn send(&self, row: Row, settled: bool, entry: Option<Entry>) {
        let entry = entry.map(Box::new);
        self.hand(Command::Write { row: Box::new(row), settled, entry, answer: None });
    }

    /// Hands a command to the writer; what finds no room is lost, and counted.
    fn hand(&self, command: Command) -> bool {
        let Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) =
            self.sender.try_send(command)
        else {
            return true;
        };
        let (rows, entries, request) = match &refused {
            Command::Write { row, entry, .. } => (1, u64::from(entry.is_some()), Some(&row.id)),
            Command::Audit { entry, .. } => (0, 1, Some(&entry.request)),
            Command::Session(_) | Command::Query(_) | Command::Stop => (0, 0, None),
        };
        self.health.dropped.fetch_add(rows, Ordering::Relaxed);
        self.health.audit_lost.fetch_add(entries, Ordering::Relaxed);
        self.health.broken.store(true, Ordering::Relaxed);
        let request = request.map(|id| &**id).unwrap_or_default();
        tracing::error!(request, rows, audit = entries, "lost for the ledger: its writer cannot keep up");
        false
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

    /// Is what was written last on disk? Without trying it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.health.broken.load(Ordering::Relaxed)
    }

    /// The last record of the audit chain that is on disk.
    #[must_use]
    pub fn audit_head(&self) -> Head {
        *self.health.audit_head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Audit records that were lost since the start. The chain tells of them too, as soon as it can be written again.
    #[must_use]
    pub fn audit_lost(&self) -> u64 {
        self.health.audit_lost.load(Ordering::Relaxed)
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

/// What the disk has not taken yet.
#[derive(Default)]
struct Pending {
    rows: Vec<(Row, bool)>,
    entries: Vec<Entry>,
    /// Records that somebody waits for. They are tried once.
    urgent: Vec<Entry>,
    sessions: Vec<SessionLabel>,
}

impl Pending {
    const fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.entries.is_empty() && self.urgent.is_empty() && self.sessions.is_empty()
    }

    const fn len(&self) -> usize {
        self.rows.len() + self.entries.len() + self.urgent.len() + self.sessions.len()
    }
}

struct Writer {
    store: Store,
    seal: Seal,
    receiver: Receiver<Command>,
    health: Arc<Health>,
    pending: Pending,
    /// Lost audit records that the chain tells of.
    lost_told: u64,
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
        let (rows, audit) = (self.pending.rows.len(), self.pending.entries.len());
        if !self.pending.is_empty() {
            tracing::error!(rows, audit, "the ledger could not be written to the end: these are lost");
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
                Command::Write { row, settled, entry, answer } => {
                    slept |= answer.is_some();
                    self.push(*row, settled);
                    self.pending.entries.extend(entry.map(|entry| *entry));
                    waiting.extend(answer);
                }
                Command::Audit { entry, answer } => {
                    slept |= answer.is_some();
                    let place =
                        if answer.is_some() { &mut self.pending.urgent } else { &mut self.pending.entries };
                    place.push(*entry);
                    waiting.extend(answer);
                }
                Command::Session(label) => self.pending.sessions.push(*label),
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
            && let Some(open) =
                self.pending.rows.iter_mut().rev().find(|(open, done)| !done && open.id == row.id)
        {
            *open = (row, true);
            return;
        }
        self.pending.rows.push((row, settled));
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let lost = self.tell_lost();
        let Pending { rows, entries, urgent, sessions } = &self.pending;
        let result = self.store.write_batch(&Batch { rows, urgent, entries, sessions }, &self.seal);
        self.pending.urgent.clear();
        match result {
            Ok(head) => {
                self.pending = Pending::default();
                self.lost_told += lost;
                if let Some(head) = head {
                    *self.health.audit_head.lock().unwrap_or_else(PoisonError::into_inner) = head;
                }
                if self.health.broken.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger can be written again");
                }
                Ok(())
            }
            Err(error) => {
                if lost > 0 {
                    self.pending.entries.remove(0);
                }
                self.keep_bounded(&error);
                Err(error)
            }
        }
    }

    /// Puts a record of what was lost before the others. Returns how many it tells of.
    fn tell_lost(&mut self) -> u64 {
        let lost = self.health.audit_lost.load(Ordering::Relaxed) - self.lost_told;
        if lost > 0 {
            let time_ms = self.pending.entries.first().map_or(0, |entry| entry.time_ms);
            let time_ms = time_ms.max(self.pending.rows.first().map_or(0, |(row, _)| row.time_ms));
            self.pending.entries.insert(0, Entry::lost(lost, time_ms));
        }
        lost
    }

    /// What the disk refuses is kept in memory, up to a bound.
    fn keep_bounded(&mut self, error: &LedgerError) {
        let Pending { rows, entries, sessions, .. } = &mut self.pending;
        if !self.health.broken.swap(true, Ordering::Relaxed) {
            let (rows, audit) = (rows.len(), entries.len());
            tracing::error!(%error, rows, audit, "the ledger cannot be written: what it is to hold is kept in memory");
        }
        let dropped = shorten(rows);
        self.health.dropped.fetch_add(dropped, Ordering::Relaxed);
        let lost = shorten(entries);
        self.health.audit_lost.fetch_add(lost, Ordering::Relaxed);
        shorten(sessions);
    }
}

/// Drops the oldest of what is beyond the bound. Returns how many.
fn shorten<T>(waiting: &mut Vec<T>) -> u64 {
    let excess = waiting.len().saturating_sub(QUEUE_MAX);
    waiting.drain(..excess);
    excess as u64
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
        let ledger = Ledger::open(&path, Seal::default(), 0).unwrap();
        for i in 0..100 {
            ledger.open_row(row(&format!("r{i}"), "a", 500, None));
            ledger.settle(row(&format!("r{i}"), "a", 500, Some(i)), None);
            ledger.settle(row(&format!("r{i}"), "a", 500, Some(1_000_000)), None);
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
        Ledger::open(&path, Seal::default(), 0).unwrap().stop(Duration::from_secs(10));
        assert_eq!(spent(&path, "a"), 703);
        let report = Store::open(&path).unwrap().report(Grouping::Team, 0, i64::MAX).unwrap();
        assert_eq!(report.total.requests, 3, "what has no price is not settled as free of charge");
    }

    #[test]
    fn a_judgement_follows_the_row_that_it_is_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&path, Seal::default(), 0).unwrap();
        ledger.settle(row("r", "a", 0, Some(0)), None);
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
        let error = Ledger::open(&path, Seal::default(), 0).unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }
}
