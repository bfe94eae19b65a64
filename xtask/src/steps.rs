//! A run of named steps: headings, timings, counted tests, and a summary that says how to repeat what failed.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::ops::AddAssign;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tests that a step ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    counts: Counts,
}

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Steps {
    total: usize,
    started: Instant,
    done: Vec<Step>,
}

impl Steps {
    /// A run of `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, started: Instant::now(), done: Vec::new() }
    }

    /// Runs one step; whether it succeeded.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        what: &str,
        work: impl FnOnce() -> Result<Counts, String>,
    ) -> bool {
        println!("\n== {}/{} {name}: {what}", self.done.len() + 1, self.total);
        // A step's own output must not overtake its heading.
        let _ = std::io::stdout().flush();
        let started = Instant::now();
        let (outcome, counts) = match work() {
            Ok(counts) => (Outcome::Passed, counts),
            Err(message) => (Outcome::Failed(message), Counts::default()),
        };
        let took = started.elapsed();
        let passed = matches!(outcome, Outcome::Passed);
        if let Outcome::Failed(message) = &outcome {
            println!("-- {name} FAILED after {}: {message}", seconds(took));
        } else {
            println!("-- {name} passed in {}", seconds(took));
        }
        self.done.push(Step { name, outcome, took, counts });
        passed
    }

    /// Notes a step that was not run, and why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        println!("\n== {}/{} {name}: not run, {why}", self.done.len() + 1, self.total);
        let outcome = Outcome::Skipped(why.to_owned());
        self.done.push(Step { name, outcome, took: Duration::ZERO, counts: Counts::default() });
    }

    /// Prints the summary. Errors with the failed steps.
    pub(crate) fn finish(self) -> Result<(), String> {
        println!("\n== Summary");
        let mut total = Counts::default();
        let mut failed = Vec::new();
        for step in &self.done {
            let tests = match step.counts {
                Counts { passed: 0, failed: 0 } => String::new(),
                counts => format!("  {} tests passed", counts.passed),
            };
            let outcome = match &step.outcome {
                Outcome::Passed => "ok".to_owned(),
                Outcome::Skipped(why) => format!("not run: {why}"),
                Outcome::Failed(message) => {
                    failed.push(step.name);
                    format!("FAILED: {message}\n{:24}repeat it: cargo xtask test {}", "", step.name)
                }
            };
            println!("  {:<12}{:>8}  {outcome}{tests}", step.name, seconds(step.took));
            total += step.counts;
        }
        println!("{} tests passed in {}", total.passed, seconds(self.started.elapsed()));
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}

/// Runs a test command with its output shown, and counts what it reports. Errors when it fails, or reports no test.
pub(crate) fn run_tests(command: &mut Command) -> Result<Counts, String> {
    let described = crate::build::describe(command);
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {described}: {error}"))?;
    let errors = child.stderr.take().expect("it was asked for");
    let reader = std::thread::spawn(move || show(errors, std::io::stderr()));
    let mut counts = show(child.stdout.take().expect("it was asked for"), std::io::stdout());
    counts += reader.join().expect("the reader does not panic");
    let status = child.wait().map_err(|error| format!("{described}: {error}"))?;
    if !status.success() {
        return Err(format!("{described} ended with {status}, {} tests failed", counts.failed));
    }
    if counts.passed == 0 {
        return Err(format!("{described} reported no test"));
    }
    Ok(counts)
}

fn show(from: impl Read, mut to: impl Write) -> Counts {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    let mut from = BufReader::new(from);
    while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        // Whoever closed our output does not want to see it: the tests go on.
        let _ = to.write_all(&line);
        let _ = to.flush();
        counts += counts_in(&String::from_utf8_lossy(&line));
        line.clear();
    }
    counts
}

/// What one line of cargo test, cargo nextest or Node's test runner says of tests that ran.
fn counts_in(line: &str) -> Counts {
    let plain = without_colours(line);
    let words: Vec<&str> =
        plain.split([' ', '\t', ',', ';']).map(str::trim).filter(|word| !word.is_empty()).collect();
    let before = |name: &str| {
        words.windows(2).find(|pair| pair[1] == name).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
    };
    match words.as_slice() {
        ["test", "result:", ..] | ["Summary", "[", ..] => {
            Counts { passed: before("passed"), failed: before("failed") }
        }
        ["\u{2139}" | "#", "pass", number] => Counts { passed: number.parse().unwrap_or(0), failed: 0 },
        ["\u{2139}" | "#", "fail", number] => Counts { passed: 0, failed: number.parse().unwrap_or(0) },
        _ => Counts::default(),
    }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut characters = line.trim_end().chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // An escape sequence ends with a letter.
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Counts, counts_in};

    #[test]
    fn reads_what_the_test_runners_print() {
        for (line, passed, failed) in [
            (
                "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
                5,
                0,
            ),
            ("test result: FAILED. 5 passed; 2 failed; 0 ignored", 5, 2),
            ("     Summary [   0.123s] 12 tests run: 11 passed, 1 failed, 0 skipped\n", 11, 1),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [  10.123s] \u{1b}[1m7\u{1b}[0m tests run: \u{1b}[1m7\u{1b}[0m \
              \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped",
                7,
                0,
            ),
            ("# pass 31", 31, 0),
            ("\u{2139} fail 2", 0, 2),
            ("all of it passed", 0, 0),
        ] {
            assert_eq!(counts_in(line), Counts { passed, failed }, "{line}");
        }
    }
}
