//! The trace of a run: everything that happened, in order, hashed. Two runs of one seed must give the same hash.
//!
//! What goes in: every byte that crossed the network, every disk operation with its data, every change of the registry,
//! every fault, every operation of a client; each with its time. A run that a person will read keeps lines too, the log
//! lines of nodes and clients among them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use twox_hash::xxhash3_128::Hasher;

use crate::disk::Journal;
use crate::hooks;

/// Lines kept for a reader.
const LINES_MAX: usize = 6000;
/// How much is kept for a reader. The hash does not depend on it, but for the log lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Detail {
    /// Only the hash.
    #[default]
    Hash,
    /// The last lines as well.
    Lines,
    /// And every line goes to the standard error as it comes.
    Print,
}

/// Something that happened, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When.
    pub at: Duration,
    /// What.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3} {}", self.at.as_secs_f64() * 1e3, self.text)
    }
}

/// The trace of one run. Clones are the same trace.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    hasher: Hasher,
    events: u64,
    lines: VecDeque<Line>,
    detail: Detail,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("events", &self.0.lock().events).finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty one.
    pub fn new(detail: Detail) -> Self {
        let trace = Self::default();
        trace.0.lock().detail = detail;
        trace
    }

    /// Whether lines are kept.
    pub fn keeps_lines(&self) -> bool {
        self.0.lock().detail >= Detail::Lines
    }

    /// Something that happened rarely enough to be written out.
    pub fn line(&self, line: fmt::Arguments<'_>) {
        let mut state = self.0.lock();
        if state.detail == Detail::Hash {
            return;
        }
        let line = Line { at: hooks::now(), text: line.to_string() };
        if state.detail == Detail::Print {
            eprintln!("{line}");
        }
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// Something that happened: what kind of thing (a short constant name), where (numbers of the kind's own), and bytes.
    pub fn event(&self, kind: &str, place: [usize; 2], data: &[u8]) {
        self.0.lock().add(kind.as_bytes(), place, data);
    }

    /// Bytes that moved: what and where, and the bytes.
    pub fn bytes(&self, what: fmt::Arguments<'_>, data: &[u8]) {
        use io::Write as _;
        let mut state = self.0.lock();
        let mut text = [0_u8; 64];
        let mut rest = &mut text[..];
        // What is longer is cut off: the bytes are what counts.
        let _ = write!(rest, "{what}");
        let left = rest.len();
        let used = text.len() - left;
        state.add(&text[..used], [0, 0], data);
    }

    /// The hash of everything so far, and the number of events.
    pub fn digest(&self) -> (u128, u64) {
        let state = self.0.lock();
        (state.hasher.finish_128(), state.events)
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let state = self.0.lock();
        state.lines.iter().skip(state.lines.len().saturating_sub(count)).map(Line::to_string).collect()
    }

    /// The lines that are kept, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().lines.iter().cloned().collect()
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
    fn add(&mut self, kind: &[u8], place: [usize; 2], data: &[u8]) {
        self.events += 1;
        let now = u64::try_from(hooks::now().as_micros()).unwrap_or(u64::MAX);
        let mut head = [0; 24];
        head[..8].copy_from_slice(&now.to_le_bytes());
        // Lengths keep neighbours apart.
        for (place, number) in head[8..].chunks_exact_mut(4).zip([kind.len(), place[0], place[1], data.len()])
        {
            place.copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.hasher.write(&head);
        self.hasher.write(kind);
        self.hasher.write(data);
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
        let host = crate::net::current_host_name();
        self.0.line(format_args!("{host}: {}", text.trim_end()));
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
