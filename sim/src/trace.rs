//! The trace of a run: everything that happened, in order, hashed. Two runs of one seed must give the same hash.
//!
//! What goes in: every byte written to and read from a connection, every disk operation with its data, every change of
//! the registry, every fault, every log line of nodes and clients, every operation of a client; each with its time.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::disk::Journal;
use crate::hooks;

/// Lines kept for a reader.
const LINES_MAX: usize = 4000;

/// The trace of one run. Clones are the same trace.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    hasher: blake3::Hasher,
    events: u64,
    lines: VecDeque<String>,
    print: bool,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("events", &self.0.lock().events).finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty one. `print`: every line goes to the standard error as it comes.
    pub fn new(print: bool) -> Self {
        let trace = Self::default();
        trace.0.lock().print = print;
        trace
    }

    /// Something that a person can read.
    pub fn line(&self, line: fmt::Arguments<'_>) {
        let now = hooks::now();
        let line = format!("{:>10.3} {line}", now.as_secs_f64() * 1e3);
        let mut state = self.0.lock();
        state.add(line.as_bytes(), &[]);
        if state.print {
            eprintln!("{line}");
        }
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// Bytes that moved: what and where, and the bytes.
    pub fn bytes(&self, what: fmt::Arguments<'_>, data: &[u8]) {
        let now = hooks::now();
        let head = format!("{} {what}", now.as_micros());
        self.0.lock().add(head.as_bytes(), data);
    }

    /// The hash of everything so far, and the number of events.
    pub fn digest(&self) -> (blake3::Hash, u64) {
        let state = self.0.lock();
        (state.hasher.finalize(), state.events)
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let state = self.0.lock();
        state.lines.iter().skip(state.lines.len().saturating_sub(count)).cloned().collect()
    }

    /// Takes in this thread's log lines, until the guard is dropped. `filter`: as in `RUST_LOG`.
    pub fn capture_logs(&self, filter: &str) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_env_filter(EnvFilter::new(filter))
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

/// A disk's operations go into the run's trace.
impl Journal for Trace {
    fn line(&self, line: fmt::Arguments<'_>) {
        Self::line(self, line);
    }

    fn bytes(&self, what: fmt::Arguments<'_>, data: &[u8]) {
        Self::bytes(self, what, data);
    }
}

impl State {
    fn add(&mut self, head: &[u8], data: &[u8]) {
        self.events += 1;
        // Lengths keep neighbours apart.
        self.hasher.update(&(head.len() as u64).to_le_bytes());
        self.hasher.update(head);
        self.hasher.update(&(data.len() as u64).to_le_bytes());
        self.hasher.update(data);
    }
}

impl<'a> MakeWriter<'a> for Trace {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter(self.clone())
    }
}

/// Writes log lines into a trace. The formatter writes each event at once.
#[derive(Debug)]
pub struct LineWriter(Trace);

impl io::Write for LineWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(data);
        self.0.line(format_args!("{}", text.trim_end()));
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
