//! The order of the values against real time: whether the versions can be it, and if not, whether any order can.

use holdfast::Condition;

use super::values::{Local, Moment, OneKey, Value, Values};
use super::violation::{Kind, Violation};

/// For every value, which one its writer replaced: known of swaps only.
pub(super) type Replaces = Vec<Option<usize>>;

/// Checks that the values can have followed each other in the order of their versions, as far as operations with known
/// values say. Returns the swaps.
pub(super) fn check(one: &OneKey<'_>, all: &Values) -> Result<Replaces, Violation> {
    let values = &all.values;
    let replaces = swaps(one, values)?;
    for value in values {
        let (seen, seer) = value.first_seen;
        if let Some(writer) = value.writer.filter(|writer| seen < one.began(*writer)) {
            let (seer_name, writer_name) = (one.name(seer), one.name(writer));
            let sentence = format!("{seer_name} saw {}, and ended before {writer_name} began", value.name());
            return Err(one.violation(Kind::SeenTooEarly, &[writer, seer], sentence));
        }
    }
    if let Some((at, replaced)) = falling_swap(&replaces) {
        let fell = || {
            let writer = values[at].writer.expect("only writers replace");
            let (name, old, new) = (one.name(writer), values[replaced].name(), values[at].name());
            let sentence = format!("{name} replaced {old} and wrote {new}, which is lower");
            one.violation(Kind::VersionsFall, &[writer, values[replaced].witness], sentence)
        };
        return Err(went_back(one, all, &replaces).unwrap_or_else(fell));
    }
    let mut latest = (0, 0, 0);
    for (at, value) in values.iter().enumerate() {
        if value.first_ended.0 < latest.0 {
            let (early, late) = ((value.first_ended.1, at), (latest.1, latest.2));
            return Err(went_back(one, all, &replaces).unwrap_or_else(|| fell(one, values, early, late)));
        }
        latest = latest.max((value.last_begun.0, value.last_begun.1, at));
    }
    for (at, replaced) in replaces.iter().enumerate() {
        if let Some(replaced) = replaced.filter(|replaced| replaced + 1 != at) {
            let between = &values[at - 1];
            let writer = values[at].writer.expect("only writers replace");
            let sentence = format!(
                "{} swapped {} for {}, although {} was written in between",
                one.name(writer),
                values[replaced].name(),
                values[at].name(),
                between.name()
            );
            let guilty = [values[replaced].witness, between.witness, writer];
            return Err(one.violation(Kind::LostUpdate, &guilty, sentence));
        }
    }
    Ok(replaces)
}

fn swaps(one: &OneKey<'_>, values: &[Value]) -> Result<Replaces, Violation> {
    let mut replaces = vec![None; values.len()];
    let mut replaced_by: Vec<Option<Local>> = vec![None; values.len()];
    for (at, value) in values.iter().enumerate() {
        let Some(writer) = value.writer else { continue };
        let Condition::IfVersion(version) = one.condition(writer) else { continue };
        // Where nothing is wrong it is the one before.
        let before = at.checked_sub(1).filter(|before| values[*before].version == Some(version));
        let replaced = before.unwrap_or_else(|| {
            let found = values.binary_search_by_key(&Some(version), |value| value.version);
            found.expect("a version that was replaced is a value")
        });
        if let Some(other) = replaced_by[replaced].replace(writer) {
            let (first, second) = (one.name(other), one.name(writer));
            let sentence = format!("{first} and {second} both replaced {}", values[replaced].name());
            let guilty = [other, writer, values[replaced].witness];
            return Err(one.violation(Kind::LostUpdate, &guilty, sentence));
        }
        replaces[at] = Some(replaced);
    }
    Ok(replaces)
}

fn falling_swap(replaces: &Replaces) -> Option<(usize, usize)> {
    let mut swaps = replaces.iter().enumerate().filter_map(|(at, replaced)| Some((at, (*replaced)?)));
    swaps.find(|(at, replaced)| replaced > at)
}

/// `late` began after `early` had ended, but knows the lower version. Nothing else forbids another order.
fn fell(one: &OneKey<'_>, values: &[Value], early: (Local, usize), late: (Local, usize)) -> Violation {
    let sentence = format!(
        "{} knows {}, and began after {} had ended with the higher {}: the versions fall",
        one.name(late.0),
        values[late.1].name(),
        one.name(early.0),
        values[early.1].name()
    );
    let guilty = [early.0, late.0, values[early.1].witness, values[late.1].witness];
    one.violation(Kind::VersionsFall, &guilty, sentence)
}

/// An operation at one end of a zone, with its value. Moments are one more than elsewhere: zero is before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    at: Moment,
    op: Local,
    value: usize,
}

/// Values that must follow each other directly, as each swap replaced the one before.
struct Block {
    /// The first end of its operations.
    first_ended: Mark,
    /// The last beginning.
    last_begun: Mark,
}

/// Whether the answers contradict every order of the values, not only that of the versions. Between the first end and
/// the last beginning of a block's operations (its *zone*) the key must have had its values. Two blocks cannot be put
/// in order exactly when each has an operation that ended before one of the other's began; if no two blocks are such, there
/// is an order of all (Gibbons and Korach).
fn went_back(one: &OneKey<'_>, all: &Values, replaces: &Replaces) -> Option<Violation> {
    let values = &all.values;
    let blocks = match blocks(all, replaces) {
        Ok(blocks) => blocks,
        Err(NoBlocks::Crossed(early, late)) => return Some(backwards(one, values, early, late, &[])),
        Err(NoBlocks::Circle(at)) => {
            let sentence = format!("swaps replaced each other in a circle, with {}", values[at].name());
            let guilty = [at, replaces[at].expect("all in a circle are swaps")];
            return Some(one.violation(Kind::WentBack, &guilty.map(|at| values[at].witness), sentence));
        }
    };
    // `one` has an operation before the other's, and the other has one before its.
    let crossed =
        |a: &Block, b: &Block| a.first_ended.at < b.last_begun.at && b.first_ended.at < a.last_begun.at;
    let (mut forward, backward): (Vec<_>, Vec<_>) =
        blocks.iter().partition(|block| block.first_ended.at < block.last_begun.at);
    forward.sort_by_key(|block| block.first_ended);
    let overlapping = forward.windows(2).map(|pair| (pair[0], pair[1])).find(|(a, b)| crossed(a, b));
    let inside = || {
        backward.iter().find_map(|block| {
            let after = forward.partition_point(|zone| zone.first_ended.at < block.last_begun.at);
            let zone = forward[after.checked_sub(1)?];
            crossed(zone, block).then_some((zone, *block))
        })
    };
    let (a, b) = overlapping.or_else(inside)?;
    // The one with the lower version is the one that should not have come back.
    let (old, new) = if a.last_begun.value < b.first_ended.value { (a, b) } else { (b, a) };
    let other_way = [old.first_ended.op, new.last_begun.op];
    Some(backwards(one, values, new.first_ended, old.last_begun, &other_way))
}

fn backwards(one: &OneKey<'_>, values: &[Value], early: Mark, late: Mark, other_way: &[Local]) -> Violation {
    let (old, new) = (&values[late.value], &values[early.value]);
    let sentence = format!(
        "{} knows {}, although {} had ended with {} before it began",
        one.name(late.op),
        old.name(),
        one.name(early.op),
        new.name()
    );
    let mut guilty = vec![early.op, late.op];
    guilty.extend(other_way);
    guilty.extend([old, new].iter().filter(|value| value.version.is_some()).map(|value| value.witness));
    one.violation(Kind::WentBack, &guilty, sentence)
}

/// Why values cannot be in blocks.
enum NoBlocks {
    /// Within a block, the first ended before the second began, though it is of a later value.
    Crossed(Mark, Mark),
    /// This value comes after itself.
    Circle(usize),
}

fn blocks(all: &Values, replaces: &Replaces) -> Result<Vec<Block>, NoBlocks> {
    let values = &all.values;
    let mut next: Vec<Option<usize>> = vec![None; values.len()];
    let mut heads = vec![true; values.len()];
    let mut glue = |before: usize, after: usize| {
        next[before] = Some(after);
        heads[after] = false;
    };
    for (at, replaced) in replaces.iter().enumerate() {
        if let Some(replaced) = replaced {
            glue(*replaced, at);
        }
    }
    let no_free_delete = all.free.iter().all(|free| free.put);
    if no_free_delete && values.get(1).is_some_and(|value| !value.object && value.writer.is_none()) {
        // A fence's tombstone: nothing comes before it.
        glue(0, 1);
    }
    let mark = |(at, op): (Moment, Local), value| Mark { at: at.saturating_add(1), op, value };
    let (mut blocks, mut placed) = (Vec::new(), vec![false; values.len()]);
    for head in (0..values.len()).filter(|at| heads[*at]) {
        let begun = mark(values[head].last_begun, head);
        let mut ended = mark(values[head].first_ended, head);
        if head == 0 {
            ended.at = 0;
        }
        let mut block = Block { first_ended: ended, last_begun: begun };
        let mut at = head;
        placed[at] = true;
        while let Some(after) = next[at] {
            let ended = mark(values[after].first_ended, after);
            if ended.at < block.last_begun.at {
                return Err(NoBlocks::Crossed(ended, block.last_begun));
            }
            block.first_ended = block.first_ended.min(ended);
            block.last_begun = block.last_begun.max(mark(values[after].last_begun, after));
            at = after;
            placed[at] = true;
        }
        blocks.push(block);
    }
    if let Some(circle) = placed.iter().position(|placed| !placed) {
        return Err(NoBlocks::Circle(circle));
    }
    Ok(blocks)
}
