//! Whether what can happen in the product's code has happened: the points that the sources name ([`all_points`]), against
//! those that runs have reached ([`mod@holdfast_core::sometimes`]).
//!
//! ```
//! let mut reach = sim::reach::Reach::new();
//! // After each run in this process; or from the lines that a run in another one has printed.
//! reach.note(1, sim::reach::reached());
//! println!("{reach}");
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use holdfast_core::sometimes;

/// The crates whose points count: what runs in production.
const CRATES: [&str; 4] = ["core", "proto", "client", "node"];
/// Where the macro itself and its tests are.
const THE_MACRO: &str = "core/src/sometimes.rs";
const CALL: &str = "sometimes!(";
/// Names a file to which every run adds a line for each point that it reached: `seed sentence`.
const FILE: &str = "HOLDFAST_SIM_REACH";

/// A point that the sources name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeclaredPoint {
    /// What happens there.
    pub sentence: String,
    /// From the repository's root.
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// Every point of the product, in the order of files and lines. Reads the sources: only where they are at hand.
///
/// Panics when a source cannot be read, or a call is not of the form that the macro takes: then this must be mended.
pub fn all_points() -> Vec<DeclaredPoint> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
    let mut files = Vec::new();
    for name in CRATES {
        sources(&root.join(name).join("src"), &mut files).expect("the product's sources can be read");
    }
    files.sort();
    let mut points = Vec::new();
    for path in files {
        let file = path.strip_prefix(root).expect("it lies below the root").to_string_lossy().into_owned();
        if file != THE_MACRO {
            let source = fs::read_to_string(&path).expect("the product's sources can be read");
            points.extend(points_in(&file, &source));
        }
    }
    points
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn points_in(file: &str, source: &str) -> Vec<DeclaredPoint> {
    let mut points = Vec::new();
    for (at, _) in source.match_indices(CALL) {
        let begin = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        if source[begin..at].contains("//") {
            continue;
        }
        let line = source[..at].matches('\n').count() + 1;
        let sentence = last_literal(&source[at + CALL.len()..]);
        let sentence = sentence.unwrap_or_else(|| panic!("{file}:{line}: a sometimes! without a sentence"));
        points.push(DeclaredPoint { sentence, file: file.to_owned(), line });
    }
    points
}

/// The last string literal up to the parenthesis that closes the call. Sentences hold no escapes.
fn last_literal(rest: &str) -> Option<String> {
    let (mut depth, mut literal, mut within) = (1, None, None);
    for (at, c) in rest.char_indices() {
        match (within, c) {
            (None, '"') => within = Some(at + 1),
            (Some(from), '"') => {
                literal = Some(rest[from..at].to_owned());
                within = None;
            }
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return literal;
        }
    }
    None
}

/// What this process has reached so far, in the order of the sentences.
pub fn reached() -> BTreeSet<String> {
    sometimes::reached().map(|point| point.sentence().to_owned()).collect()
}

/// At the end of a run in a process of its own: adds what it reached to the file that the environment names.
pub(crate) fn note_if_asked(seed: u64) {
    let Some(path) = std::env::var_os(FILE) else { return };
    let lines: String = reached().iter().map(|sentence| format!("{seed} {sentence}\n")).collect();
    let file = OpenOptions::new().create(true).append(true).open(&path);
    // One write: runs at the same time do not mix their lines.
    let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
    written.unwrap_or_else(|error| panic!("{FILE} names {}: {error}", path.display()));
}

/// What some runs have reached, of all that the sources name.
#[derive(Clone, Debug)]
pub struct Reach {
    declared: Vec<DeclaredPoint>,
    /// By sentence: the seeds that reached it.
    seeds: BTreeMap<String, BTreeSet<u64>>,
}

impl Reach {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { declared: all_points(), seeds: BTreeMap::new() }
    }

    /// A run with `seed` has reached these.
    pub fn note(&mut self, seed: u64, sentences: impl IntoIterator<Item = String>) {
        for sentence in sentences {
            self.seeds.entry(sentence).or_default().insert(seed);
        }
    }

    /// The same from lines `seed sentence`. Others are left out.
    pub fn note_lines(&mut self, lines: &str) {
        for (seed, sentence) in lines.lines().filter_map(|line| line.split_once(' ')) {
            if let Ok(seed) = seed.parse() {
                self.note(seed, [sentence.to_owned()]);
            }
        }
    }

    /// Points that no run has reached, in the order of files and lines.
    pub fn missing(&self) -> Vec<&DeclaredPoint> {
        self.declared.iter().filter(|point| !self.seeds.contains_key(&point.sentence)).collect()
    }
}

impl Default for Reach {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Reach {
    /// A line for each point, the least reached first: how many seeds reached it, its sentence, where it stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |point: &DeclaredPoint| self.seeds.get(&point.sentence).map_or(0, BTreeSet::len);
        let mut points: Vec<_> = self.declared.iter().collect();
        points.sort_by_key(|point| count(point));
        for point in points {
            writeln!(f, "{:>6}  {} ({}:{})", count(point), point.sentence, point.file, point.line)?;
        }
        let (missing, all) = (self.missing().len(), self.declared.len());
        writeln!(f, "{} of {all} points reached", all - missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the field expects of a simulator, and we promise.
    const POINTS_MIN: usize = 60;

    #[test]
    fn points_are_many_and_no_two_have_one_sentence() {
        let points = all_points();
        assert!(points.len() >= POINTS_MIN, "only {} points", points.len());
        let mut by_sentence = BTreeMap::new();
        for point in &points {
            let other = by_sentence.insert(&point.sentence, point);
            assert!(other.is_none(), "{point:?} and {other:?} have the same sentence");
        }
        for point in &points {
            let words = point.sentence.split(' ').count();
            assert!(words >= 4, "{point:?} is no sentence");
            assert!(!point.sentence.contains('\\'), "{point:?}: sentences hold no escapes");
        }
    }

    #[test]
    fn calls_are_found_in_every_form() {
        let source = "sometimes!(\"one\");\n// sometimes!(\"a comment\");\nx.inspect(|_| sometimes!(\"two\"));\n\
                      sometimes!(a(b) == \"(\", \"three\");\n    sometimes!(\n        f(),\n        \"four\"\n    );\n";
        let found: Vec<_> =
            points_in("f", source).into_iter().map(|point| (point.line, point.sentence)).collect();
        let expected = [(1, "one"), (3, "two"), (4, "three"), (5, "four")];
        assert_eq!(found, expected.map(|(line, sentence)| (line, sentence.to_owned())));
    }

    #[test]
    fn what_no_run_reached_is_missing() {
        let mut reach = Reach::new();
        let all = reach.missing().len();
        let first = reach.declared[0].sentence.clone();
        reach.note_lines(&format!("7 {first}\nsomething else\n8 {first}\n"));
        assert_eq!(reach.missing().len(), all - 1);
        assert!(reach.to_string().contains(&format!("     2  {first} (")));
    }
}
