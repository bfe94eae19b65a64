//! The layout as the registry holds it: JSON that a person can read, one node and one partition per line.
//!
//! ```json
//! {
//! "format":1,"version":3,"replication":3,
//! "nodes":{
//! "5f02":{"id":"5f02…","zone":"a","capacity":1000000},
//! …
//! },
//! "partitions":[
//! {"partition":0,"config":1,"replicas":["5f02","91c0","d3aa"]},
//! {"partition":1,"config":2,"replicas":["5f02","91c0","d3aa"],"next":["5f02","91c0","e7b1"]},
//! …
//! ]}
//! ```
//!
//! A node is named once in full; partitions use a short label, the beginning of its id. 1024 partitions with three
//! replicas take about 65 KiB, far below etcd's 1.5 MiB.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use holdfast_core::error::Invalid;
use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::{Layout, Member, PartitionLayout};
use holdfast_core::term::ConfigVersion;
use serde::{Deserialize, Serialize};

use super::node_json::{LABEL_BYTES_MAX, check_text};
use super::store::VALUE_BYTES_MAX;

/// Most nodes in a layout, and most registrations that are followed.
pub const NODES_MAX: usize = 1000;
/// Most replicas of one partition: more cost every write more than they can give.
pub const REPLICAS_MAX: usize = 15;
/// The only format so far.
const FORMAT: u32 = 1;
/// Fewest digits of a label.
const LABEL_DIGITS_MIN: usize = 4;

#[derive(Deserialize)]
struct LayoutJson<'a> {
    format: u32,
    version: u64,
    replication: u8,
    nodes: BTreeMap<String, MemberJson>,
    #[serde(borrow)]
    partitions: Vec<PartitionJson<'a>>,
}

#[derive(Serialize, Deserialize)]
struct MemberJson {
    id: String,
    zone: String,
    capacity: u64,
}

#[derive(Serialize, Deserialize)]
struct PartitionJson<'a> {
    partition: u32,
    config: u64,
    #[serde(borrow)]
    replicas: Vec<Label<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    next: Option<Vec<Label<'a>>>,
}

/// There are thousands in a layout: they are not copied.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Label<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct FormatJson {
    format: u32,
}

/// Answers a newer format with what to do, before its unknown fields confuse anybody.
pub(super) fn check_format(json: &str, known: u32, what: &str) -> Result<(), Invalid> {
    let found: FormatJson = serde_json::from_str(json)
        .map_err(|error| Invalid::owned(format!("{what} cannot be read: {error}")))?;
    if found.format == known { Ok(()) } else { Err(other_format(what, found.format, known)) }
}

fn other_format(what: &str, found: u32, known: u32) -> Invalid {
    Invalid::owned(format!(
        "{what} has format {found}, this node reads format {known}: run a newer version of it"
    ))
}

/// The layout's JSON. Errors when the layout breaks a rule or is too large.
pub fn encode_layout(layout: &Layout) -> Result<String, Invalid> {
    check_layout(layout)?;
    let labels = labels(layout);
    let names = |ids: &[NodeId]| ids.iter().map(|id| Label(Cow::Borrowed(&labels[id]))).collect::<Vec<_>>();
    let mut text = String::with_capacity(80 * layout.partitions.len());
    let (version, replication) = (layout.version, layout.replication);
    writeln!(
        text,
        "{{\n\"format\":{FORMAT},\"version\":{version},\"replication\":{replication},\n\"nodes\":{{"
    )
    .expect("a String takes all");
    for (index, (id, member)) in layout.nodes.iter().enumerate() {
        let json = MemberJson { id: id.to_string(), zone: member.zone.clone(), capacity: member.capacity };
        let comma = if index + 1 < layout.nodes.len() { "," } else { "" };
        writeln!(text, "\"{}\":{}{comma}", labels[id], line(&json)).expect("a String takes all");
    }
    text.push_str("},\n\"partitions\":[\n");
    for (partition, place) in Partition::all().zip(&layout.partitions) {
        let json = PartitionJson {
            partition: u32::from(partition.number()),
            config: place.config.0,
            replicas: names(&place.replicas),
            next: place.next.as_deref().map(names),
        };
        let comma = if partition.number() + 1 < Partition::COUNT { "," } else { "" };
        writeln!(text, "{}{comma}", line(&json)).expect("a String takes all");
    }
    text.push_str("]}\n");
    if text.len() > VALUE_BYTES_MAX {
        return Err(Invalid::owned(format!(
            "the layout takes {} bytes, the registry holds at most {VALUE_BYTES_MAX}: use fewer replicas",
            text.len()
        )));
    }
    Ok(text)
}

/// The layout from its JSON, checked.
pub fn decode_layout(json: &str) -> Result<Layout, Invalid> {
    if json.len() > VALUE_BYTES_MAX {
        return Err(Invalid::owned(format!("the layout is longer than {VALUE_BYTES_MAX} bytes")));
    }
    let json: LayoutJson = match serde_json::from_str(json) {
        Ok(LayoutJson { format, .. }) if format != FORMAT => {
            return Err(other_format("the layout", format, FORMAT));
        }
        Ok(layout) => layout,
        Err(error) => {
            check_format(json, FORMAT, "the layout")?;
            return Err(Invalid::owned(format!("the layout cannot be read: {error}")));
        }
    };
    let mut nodes = BTreeMap::new();
    let mut by_label = BTreeMap::new();
    for (label, member) in json.nodes {
        let id: NodeId = member.id.parse()?;
        if nodes.insert(id, Member { zone: member.zone, capacity: member.capacity }).is_some() {
            return Err(Invalid::owned(format!("the layout names node {id} twice")));
        }
        by_label.insert(label, id);
    }
    let ids = |labels: &[Label<'_>]| -> Result<Vec<NodeId>, Invalid> {
        let find = |Label(label): &Label<'_>| {
            by_label.get(&**label).copied().ok_or_else(|| {
                Invalid::owned(format!("the layout uses the label {label:?}, which none of its nodes has"))
            })
        };
        labels.iter().map(find).collect()
    };
    let mut partitions = Vec::with_capacity(json.partitions.len());
    for (index, place) in json.partitions.iter().enumerate() {
        if usize::try_from(place.partition) != Ok(index) {
            return Err(Invalid::owned(format!(
                "the layout has partition {} where {index} must be",
                place.partition
            )));
        }
        partitions.push(PartitionLayout {
            config: ConfigVersion(place.config),
            replicas: ids(&place.replicas)?,
            next: place.next.as_deref().map(ids).transpose()?,
        });
    }
    let layout = Layout { version: json.version, replication: json.replication, nodes, partitions };
    check_layout(&layout)?;
    Ok(layout)
}

/// The rules every layout keeps, whoever made it.
pub fn check_layout(layout: &Layout) -> Result<(), Invalid> {
    if layout.version == 0 {
        return Err(Invalid::new("the layout has version 0: the first one is 1"));
    }
    if layout.nodes.is_empty() || layout.nodes.len() > NODES_MAX {
        return Err(Invalid::owned(format!(
            "the layout has {} nodes: 1 to {NODES_MAX} are possible",
            layout.nodes.len()
        )));
    }
    if layout.replication == 0 || usize::from(layout.replication) > REPLICAS_MAX {
        return Err(Invalid::owned(format!(
            "the layout has replication {}: 1 to {REPLICAS_MAX} are possible",
            layout.replication
        )));
    }
    for (id, member) in &layout.nodes {
        check_text("zone", &member.zone, LABEL_BYTES_MAX)?;
        if member.capacity == 0 {
            return Err(Invalid::owned(format!("the layout gives node {id} a capacity of 0 bytes")));
        }
    }
    if layout.partitions.len() != usize::from(Partition::COUNT) {
        return Err(Invalid::owned(format!(
            "the layout has {} partitions: it must have {}",
            layout.partitions.len(),
            Partition::COUNT
        )));
    }
    for (partition, place) in Partition::all().zip(&layout.partitions) {
        check_replicas(layout, partition, &place.replicas)?;
        if let Some(next) = &place.next {
            check_replicas(layout, partition, next)?;
        }
    }
    Ok(())
}

/// Whether `next` can have come from `last`, at whatever distance. A registry that was emptied or restored from an old
/// copy can hold a valid layout that gives the same config to other replicas: two majorities that never meet.
pub fn check_successor(last: &Layout, next: &Layout) -> Result<(), Invalid> {
    const ASK: &str = "was the registry emptied, or restored from an old copy?";
    if next.version < last.version {
        return Err(Invalid::owned(format!(
            "the layout went back from version {} to {}: {ASK}",
            last.version, next.version
        )));
    }
    if next.version == last.version && next != last {
        return Err(Invalid::owned(format!(
            "the layout is another one of the same version {}: {ASK}",
            last.version
        )));
    }
    for (partition, (old, new)) in Partition::all().zip(last.partitions.iter().zip(&next.partitions)) {
        if new.config < old.config
            || (new.config == old.config && (&new.replicas, &new.next) != (&old.replicas, &old.next))
        {
            return Err(Invalid::owned(format!(
                "the layout gives partition {partition} other replicas or next ones without a higher config: {ASK}"
            )));
        }
    }
    Ok(())
}

fn check_replicas(layout: &Layout, partition: Partition, replicas: &[NodeId]) -> Result<(), Invalid> {
    if replicas.is_empty() || replicas.len() > REPLICAS_MAX {
        return Err(Invalid::owned(format!(
            "the layout gives partition {partition} {} replicas: 1 to {REPLICAS_MAX} are possible",
            replicas.len()
        )));
    }
    for (index, id) in replicas.iter().enumerate() {
        if !layout.nodes.contains_key(id) {
            return Err(Invalid::owned(format!(
                "the layout gives partition {partition} to node {id}, which is not among its nodes"
            )));
        }
        if replicas[..index].contains(id) {
            return Err(Invalid::owned(format!("the layout gives partition {partition} twice to node {id}")));
        }
    }
    Ok(())
}

/// The shortest beginnings of the ids, all of one length, that tell the nodes apart.
fn labels(layout: &Layout) -> BTreeMap<NodeId, String> {
    let texts: Vec<(NodeId, String)> = layout.nodes.keys().map(|id| (*id, id.to_string())).collect();
    let apart = |digits: usize| {
        let short: BTreeSet<&str> = texts.iter().map(|(_, text)| &text[..digits]).collect();
        short.len() == texts.len()
    };
    let digits = (LABEL_DIGITS_MIN..32).find(|digits| apart(*digits)).unwrap_or(32);
    texts.iter().map(|(id, text)| (*id, text[..digits].to_string())).collect()
}

fn line(json: &impl Serialize) -> String {
    serde_json::to_string(json).expect("strings and numbers always encode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(nodes: u128, replicas: usize) -> Layout {
        let ids: Vec<NodeId> = (0..nodes).map(|n| NodeId((n + 1) * 0x1111_0000_0000_0000_0000)).collect();
        let place = |p: Partition| PartitionLayout {
            config: ConfigVersion(1),
            replicas: (0..replicas).map(|r| ids[(p.index() + r) % ids.len()]).collect(),
            next: p.number().is_multiple_of(100).then(|| ids[..replicas].to_vec()),
        };
        Layout {
            version: 3,
            replication: u8::try_from(replicas).unwrap(),
            nodes: ids.iter().map(|id| (*id, Member { zone: "a".into(), capacity: 9 })).collect(),
            partitions: Partition::all().map(place).collect(),
        }
    }

    #[test]
    fn a_layout_is_read_back_as_it_was_written() {
        for (nodes, replicas) in [(1, 1), (3, 3), (50, 3), (500, 7)] {
            let layout = layout(nodes, replicas);
            let json = encode_layout(&layout).unwrap();
            assert!(json.len() < VALUE_BYTES_MAX / 2, "{nodes} nodes: {} bytes", json.len());
            assert_eq!(decode_layout(&json).unwrap(), layout);
        }
    }

    #[test]
    fn format_1_looks_like_this() {
        let mut small = layout(1, 1);
        small.nodes = [(NodeId(0x5f02 << 112), Member { zone: "a".into(), capacity: 9 })].into();
        for place in &mut small.partitions {
            *place = PartitionLayout {
                config: ConfigVersion(1),
                replicas: vec![NodeId(0x5f02 << 112)],
                next: None,
            };
        }
        let json = encode_layout(&small).unwrap();
        let head = "{\n\"format\":1,\"version\":3,\"replication\":1,\n\"nodes\":{\n\"5f02\":{\"id\":\"5f020000000000000000000000000000\",\"zone\":\"a\",\"capacity\":9}\n},\n\"partitions\":[\n{\"partition\":0,\"config\":1,\"replicas\":[\"5f02\"]},\n";
        assert!(json.starts_with(head), "{}", &json[..300]);
        assert!(json.ends_with("{\"partition\":1023,\"config\":1,\"replicas\":[\"5f02\"]}\n]}\n"));
    }

    #[test]
    fn layouts_that_break_a_rule_are_refused() {
        let good = encode_layout(&layout(3, 3)).unwrap();
        let first = good.find("{\"partition\":0").unwrap();
        let line_end = first + good[first..].find('\n').unwrap() + 1;
        let replicas = &good[first..line_end];
        let label = &replicas[replicas.find("[\"").unwrap() + 2..replicas.find("\",").unwrap()];
        for (what, bad) in [
            ("a newer format", good.replacen("\"format\":1", "\"format\":2", 1)),
            ("no partition 0", good.replacen(replicas, "", 1)),
            (
                "an unknown label",
                good.replacen(&format!("\"replicas\":[\"{label}\""), "\"replicas\":[\"zzzz\"", 1),
            ),
            (
                "a node twice",
                good.replacen("\"replicas\":[", &format!("\"replicas\":[\"{label}\",\"{label}\","), 1),
            ),
            ("no capacity", good.replacen("\"capacity\":9", "\"capacity\":0", 1)),
            ("version 0", good.replacen("\"version\":3", "\"version\":0", 1)),
            ("replication 0", good.replacen("\"replication\":3", "\"replication\":0", 1)),
            ("a cut text", good[..good.len() - 5].to_string()),
            ("nothing", String::new()),
        ] {
            assert_ne!(bad, good, "{what}: the test changed nothing");
            assert!(decode_layout(&bad).is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn what_cannot_have_come_from_the_last_layout_is_found() {
        let last = layout(5, 3);
        let later = |change: &dyn Fn(&mut Layout)| {
            let mut next = Layout { version: 4, ..last.clone() };
            change(&mut next);
            check_successor(&last, &next)
        };
        assert_eq!(check_successor(&last, &last), Ok(()));
        // Two majorities under one config must never differ.
        let moving = |next: &mut Layout| next.partitions[7].next = Some(last.partitions[8].replicas.clone());
        assert!(later(&moving).is_err());
        assert_eq!(
            later(&|next| {
                moving(next);
                next.partitions[7].config = ConfigVersion(2);
            }),
            Ok(())
        );
        let moved = |next: &mut Layout| next.partitions[7].replicas = last.partitions[8].replicas.clone();
        assert!(later(&moved).is_err());
        assert_eq!(
            later(&|next| {
                moved(next);
                next.partitions[7].config = ConfigVersion(2);
            }),
            Ok(())
        );
        assert!(later(&|next| next.partitions[7].config = ConfigVersion(0)).is_err());
        assert!(later(&|next| next.version = 2).is_err());
        let twin = |next: &mut Layout| {
            next.version = last.version;
            next.partitions[7].config = ConfigVersion(2);
        };
        assert!(later(&twin).is_err());
    }

    #[test]
    fn ids_with_one_beginning_still_have_labels_of_their_own() {
        let mut layout = layout(2, 2);
        let (a, b) = (NodeId(0xabcd_ef01 << 96), NodeId(0xabcd_ef02 << 96));
        layout.nodes = [a, b].map(|id| (id, Member { zone: String::new(), capacity: 1 })).into();
        for place in &mut layout.partitions {
            *place = PartitionLayout { config: ConfigVersion(1), replicas: vec![b, a], next: None };
        }
        let json = encode_layout(&layout).unwrap();
        assert!(json.contains("[\"abcdef02\",\"abcdef01\"]"));
        assert_eq!(decode_layout(&json).unwrap(), layout);
    }
}
