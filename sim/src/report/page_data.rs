//! The part of a record that fits into a page: rows instead of objects, each text once, and of what is too much the
//! part that is nearest to the guilty operations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::record::{BakeInPoint, FaultFamily, Lane, Level, RunRecord, Verdict};

/// All of the data, as JSON within the page. With the page's own style and program it stays below 500 KB, which opens
/// at once anywhere and can be sent by mail.
pub(super) const DATA_BYTES_MAX: usize = 400_000;
/// What operations may take of it, so that messages have room.
const OPS_BYTES_MAX: usize = DATA_BYTES_MAX / 2;
/// What faults may take of it: some hundred, far more than a plan has.
const FAULTS_BYTES_MAX: usize = DATA_BYTES_MAX / 8;
/// Points of the bake-in curve: twenty are usual.
const BAKE_IN_POINTS_MAX: usize = 500;
/// Far more than a run has.
const LANES_MAX: usize = 200;
/// Far more than a run has.
const OPTIONS_MAX: usize = 60;
/// Characters of a text within a row: a key, an action, an answer, a log line.
const TEXT_CHARS_MAX: usize = 400;
/// Characters of the sentence and of the command.
const LONG_CHARS_MAX: usize = 4_000;

/// What the page's program reads. Times in microseconds.
#[derive(Serialize)]
pub(super) struct PageData {
    title: String,
    /// As text: JavaScript's numbers end at 2^53.
    seed: Option<String>,
    mode: String,
    options: Vec<(String, String)>,
    verdict: Verdict,
    passed: bool,
    duration: u64,
    lanes: Vec<Lane>,
    /// `[lane, from, to]`.
    downs: Vec<(usize, u64, u64)>,
    faults: Vec<FaultRow>,
    /// `[number, lane, key, action, began, ended, seen, guilty]`; key, action and seen are places in `texts`.
    ops: Vec<OpRow>,
    /// `[from, to, sent, received, label, bytes]`; the label is a place in `texts`.
    messages: Vec<MessageRow>,
    /// `[lane, at, text, level]`; the text is a place in `texts`.
    notes: Vec<NoteRow>,
    texts: Vec<String>,
    bake_in: Vec<BakeInPoint>,
    replay: String,
    dropped: Dropped,
}

#[derive(Clone, Serialize)]
struct FaultRow {
    id: u32,
    kind: String,
    family: FaultFamily,
    from: u64,
    to: Option<u64>,
    lanes: Vec<usize>,
    down: bool,
    text: String,
}

type OpRow = (u64, usize, usize, usize, u64, Option<u64>, usize, u8);
type MessageRow = (usize, usize, u64, Option<u64>, usize, u64);
type NoteRow = (Option<usize>, u64, usize, Level);

/// What had no room.
#[derive(Default, Serialize)]
struct Dropped {
    faults: usize,
    ops: usize,
    messages: usize,
    notes: usize,
    /// Messages and notes are complete up to this distance in time from the guilty operations; none: all of them are
    /// there, or not even all that are at the same time.
    complete_within: Option<u64>,
}

impl PageData {
    pub(super) fn of(record: &RunRecord) -> Self {
        let lanes = record.lanes.len().min(LANES_MAX);
        let focus = Focus::of(record);
        let mut texts = Texts::default();
        let mut dropped = Dropped::default();
        let faults = faults(record, lanes, &mut dropped);
        let ops = ops(record, lanes, &focus, &mut texts, &mut dropped);
        let mut data = Self {
            title: clean(&record.title, TEXT_CHARS_MAX),
            seed: record.seed.map(|seed| seed.to_string()),
            mode: clean(&record.mode, TEXT_CHARS_MAX),
            options: cleaned_options(record),
            verdict: Verdict {
                kind: clean(&record.verdict.kind, TEXT_CHARS_MAX),
                sentence: clean(&record.verdict.sentence, LONG_CHARS_MAX),
            },
            passed: record.verdict.kind == Verdict::PASSED,
            duration: record.duration_us,
            lanes: record.lanes[..lanes]
                .iter()
                .map(|lane| Lane { name: clean(&lane.name, TEXT_CHARS_MAX), kind: lane.kind })
                .collect(),
            downs: record.down_times().into_iter().filter(|(lane, ..)| *lane < lanes).take(2_000).collect(),
            faults,
            ops,
            messages: Vec::new(),
            notes: Vec::new(),
            texts: Vec::new(),
            bake_in: bake_in(record),
            replay: clean(&record.replay, LONG_CHARS_MAX),
            dropped,
        };
        let left = DATA_BYTES_MAX.saturating_sub(json_for_script(&data).len() + texts.bytes);
        data.take_surroundings(record, lanes, &focus, &mut texts, left);
        data.texts = texts.list;
        data
    }

    /// Messages and notes, nearest to the guilty operations first, until `left` bytes are spent.
    fn take_surroundings(
        &mut self,
        record: &RunRecord,
        lanes: usize,
        focus: &Focus,
        texts: &mut Texts,
        mut left: usize,
    ) {
        let message_times = |at: usize| {
            let message = &record.messages[at];
            (message.sent_us, message.received_us.unwrap_or(message.sent_us))
        };
        let messages = (0..record.messages.len()).map(|at| {
            let (from, to) = message_times(at);
            (focus.distance(from, to), from, Item::Message(at))
        });
        let notes = record
            .notes
            .iter()
            .enumerate()
            .map(|(at, note)| (focus.distance(note.at_us, note.at_us), note.at_us, Item::Note(at)));
        let mut items: Vec<(u64, u64, Item)> = messages.chain(notes).collect();
        items.sort_unstable();
        let mut full = false;
        for (distance, _, item) in items {
            let taken = !full && self.take(record, lanes, item, texts, &mut left);
            match item {
                _ if taken => {}
                Item::Message(_) => self.dropped.messages += 1,
                Item::Note(_) => self.dropped.notes += 1,
            }
            if !taken && !full && left == 0 {
                full = true;
                self.dropped.complete_within = Some(distance).filter(|distance| *distance > 0);
            }
        }
        self.messages.sort_by_key(|(.., sent, received, _, _)| (*sent, *received));
        self.notes.sort_by_key(|(_, at, ..)| *at);
    }

    /// Whether it was taken. `left` is 0 from the first on that has no room.
    fn take(
        &mut self,
        record: &RunRecord,
        lanes: usize,
        item: Item,
        texts: &mut Texts,
        left: &mut usize,
    ) -> bool {
        match item {
            Item::Message(at) => {
                let message = &record.messages[at];
                if message.from_lane.max(message.to_lane) >= lanes {
                    return false;
                }
                let (from, to) = (message.from_lane, message.to_lane);
                let row = |label| (from, to, message.sent_us, message.received_us, label, message.bytes);
                let Some([label]) = texts.spend(left, [&message.label], |[label]| row_bytes(&row(label)))
                else {
                    return false;
                };
                self.messages.push(row(label));
            }
            Item::Note(at) => {
                let note = &record.notes[at];
                if note.lane.is_some_and(|lane| lane >= lanes) {
                    return false;
                }
                let row = |text| (note.lane, note.at_us, text, note.level);
                let Some([text]) = texts.spend(left, [&note.text], |[text]| row_bytes(&row(text))) else {
                    return false;
                };
                self.notes.push(row(text));
            }
        }
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Message(usize),
    Note(usize),
}

fn cleaned_options(record: &RunRecord) -> Vec<(String, String)> {
    let clean = |text: &String| clean(text, TEXT_CHARS_MAX);
    record.options.iter().take(OPTIONS_MAX).map(|(name, value)| (clean(name), clean(value))).collect()
}

fn bake_in(record: &RunRecord) -> Vec<BakeInPoint> {
    let mut points: Vec<_> = record.bake_in.iter().flatten().copied().collect();
    points.retain(|point| point.failing_percent.is_finite());
    points.sort_by_key(|point| point.at_us);
    let every = points.len().div_ceil(BAKE_IN_POINTS_MAX).max(1);
    points.into_iter().step_by(every).collect()
}

/// Earliest first. Too many: the first ones.
fn faults(record: &RunRecord, lanes: usize, dropped: &mut Dropped) -> Vec<FaultRow> {
    let mut rows: Vec<FaultRow> = record
        .faults
        .iter()
        .map(|fault| FaultRow {
            id: fault.id,
            kind: clean(&fault.kind, TEXT_CHARS_MAX),
            family: fault.family,
            from: fault.from_us,
            to: fault.to_us,
            lanes: fault.lanes.iter().copied().filter(|lane| *lane < lanes).collect(),
            down: fault.down,
            text: clean(&fault.text, TEXT_CHARS_MAX),
        })
        .collect();
    rows.sort_by_key(|row| (row.from, row.id));
    let mut left = FAULTS_BYTES_MAX;
    let room = rows.iter().take_while(|row| spend(&mut left, row_bytes(row))).count();
    dropped.faults = rows.len() - room;
    rows.truncate(room);
    rows
}

/// Guilty ones first, then those on their keys, then the nearest in time, until their share is spent. Returned in the
/// order in which they began.
fn ops(
    record: &RunRecord,
    lanes: usize,
    focus: &Focus,
    texts: &mut Texts,
    dropped: &mut Dropped,
) -> Vec<OpRow> {
    let guilty_keys: Vec<&str> = record.ops.iter().filter(|op| op.guilty).map(|op| op.key.as_str()).collect();
    let mut order: Vec<_> = record.ops.iter().filter(|op| op.lane < lanes).collect();
    order.sort_by_cached_key(|op| {
        let end = op.ended_us.unwrap_or(record.duration_us);
        (!op.guilty, !guilty_keys.contains(&op.key.as_str()), focus.distance(op.began_us, end), op.number)
    });
    let mut left = OPS_BYTES_MAX;
    let mut rows: Vec<OpRow> = Vec::new();
    for op in order {
        let row = |key, action, seen| {
            (op.number, op.lane, key, action, op.began_us, op.ended_us, seen, u8::from(op.guilty))
        };
        let bytes = |[key, action, seen]: [usize; 3]| row_bytes(&row(key, action, seen));
        let Some([key, action, seen]) = texts.spend(&mut left, [&op.key, &op.action, &op.seen], bytes) else {
            break;
        };
        rows.push(row(key, action, seen));
    }
    dropped.ops = record.ops.len() - rows.len();
    rows.sort_by_key(|(number, _, _, _, began, ..)| (*began, *number));
    rows
}

/// The times that a reader looks at.
struct Focus(Vec<(u64, u64)>);

impl Focus {
    /// The guilty operations; without any, the last error; without that, the end.
    fn of(record: &RunRecord) -> Self {
        let guilty = record.ops.iter().filter(|op| op.guilty);
        let times: Vec<(u64, u64)> = guilty
            // One without an answer is looked at where it began.
            .map(|op| (op.began_us, op.ended_us.unwrap_or(op.began_us)))
            .collect();
        if !times.is_empty() {
            return Self(times);
        }
        let errors = record.notes.iter().filter(|note| note.level == Level::Error);
        let at = errors.map(|note| note.at_us).max().unwrap_or(record.duration_us);
        Self(vec![(at, at)])
    }

    /// How far a time is from the nearest of them.
    fn distance(&self, from: u64, to: u64) -> u64 {
        let gap = |(begin, end): &(u64, u64)| from.saturating_sub(*end).max(begin.saturating_sub(to));
        self.0.iter().map(gap).min().unwrap_or(0)
    }
}

/// Each text once.
#[derive(Default)]
struct Texts {
    list: Vec<String>,
    places: BTreeMap<String, usize>,
    /// What all of them take in the JSON.
    bytes: usize,
}

impl Texts {
    /// The places of the texts, if they and the row, `row_bytes` long with these places, have room in `left`, which they
    /// are taken off; otherwise `left` is 0 and nothing changes.
    fn spend<const N: usize>(
        &mut self,
        left: &mut usize,
        new: [&String; N],
        row_bytes: impl FnOnce([usize; N]) -> usize,
    ) -> Option<[usize; N]> {
        let cleaned = new.map(|text| clean(text, TEXT_CHARS_MAX));
        let mut places = [0; N];
        let mut added: Vec<&String> = Vec::new();
        for (place, text) in places.iter_mut().zip(&cleaned) {
            *place = self.places.get(text).copied().unwrap_or_else(|| {
                let at = added.iter().position(|other| *other == text).unwrap_or_else(|| {
                    added.push(text);
                    added.len() - 1
                });
                self.list.len() + at
            });
        }
        let text_bytes: usize = added.iter().map(|text| row_bytes_of_text(text)).sum();
        if !spend(left, text_bytes + row_bytes(places)) {
            return None;
        }
        self.bytes += text_bytes;
        for text in added {
            self.places.insert(text.clone(), self.list.len());
            self.list.push(text.clone());
        }
        Some(places)
    }
}

fn spend(left: &mut usize, bytes: usize) -> bool {
    let enough = bytes <= *left;
    *left = if enough { *left - bytes } else { 0 };
    enough
}

/// What a row takes, with the comma.
fn row_bytes(row: &impl Serialize) -> usize {
    json_for_script(row).len() + 1
}

fn row_bytes_of_text(text: &str) -> usize {
    row_bytes(&text)
}

/// JSON that can stand in a `<script>` element whatever its texts are: without `<` nothing there ends or begins an
/// element or a comment.
pub(super) fn json_for_script(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("all keys are strings and nothing refuses to be written");
    json.replace('<', "\\u003c")
}

/// A text as a reader can see it: characters that are invisible or turn the reading direction are written as
/// `\u{…}`, and what is longer than `chars_max` loses its middle.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(4 * chars_max));
    let count = text.chars().count();
    let head = if count > chars_max { chars_max * 3 / 4 } else { count };
    let tail = if count > chars_max { count - (chars_max - head) } else { count };
    for (at, letter) in text.chars().enumerate() {
        if at == head {
            let _ = write!(clean, " … {} characters … ", tail - head);
        }
        if (head..tail).contains(&at) {
            continue;
        }
        match letter {
            '\n' | '\t' => clean.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                let _ = write!(clean, "{}", letter.escape_unicode());
            }
            _ if letter.is_control() => {
                let _ = write!(clean, "{}", letter.escape_unicode());
            }
            _ => clean.push(letter),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_in_the_middle_and_hide_nothing() {
        assert_eq!(clean("a\u{202e}b\u{0}\nc", 100), "a\\u{202e}b\\u{0} c");
        let long = clean(&"äb".repeat(500), 400);
        assert!(
            long.starts_with("äbäb") && long.contains("… 600 characters …") && long.ends_with("äb"),
            "{long}"
        );
    }

    #[test]
    fn the_distance_is_to_the_nearest() {
        let focus = Focus(vec![(10, 20), (50, 60)]);
        assert_eq!(focus.distance(15, 16), 0);
        assert_eq!(focus.distance(0, 5), 5);
        assert_eq!(focus.distance(25, 30), 5);
        assert_eq!(focus.distance(35, 48), 2);
        assert_eq!(focus.distance(0, 100), 0);
    }

    #[test]
    fn each_text_is_kept_once_and_paid_once() {
        let mut texts = Texts::default();
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let mut left = 100;
        assert_eq!(texts.spend(&mut left, [&a, &b, &a], |_| 10), Some([0, 1, 0]));
        assert_eq!(left, 100 - 10 - 2 * 4);
        assert_eq!(texts.spend(&mut left, [&b], |_| 10), Some([1]));
        assert_eq!(texts.spend(&mut left, [&b], |_| 1_000), None);
        assert_eq!((left, texts.list.len(), texts.bytes), (0, 2, 8));
    }
}
